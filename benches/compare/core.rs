//! Routed messages and requests.

use super::client::Client;
use super::server::Server;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Messages a second and processor microseconds per delivered message.
pub struct Routed {
    pub rate: f64,
    pub cpu: f64,
}

/// `publishers` send `count` messages of 128 bytes in all; each of `subscribers` gets all of them, or, in a queue group,
/// one of them each.
pub fn routed(server: &Server, publishers: usize, subscribers: usize, queue: bool, count: usize) -> Routed {
    let each = count / publishers;
    let total = each * publishers;
    let payload = "x".repeat(128);
    let one = format!("PUB bench.x 128\r\n{payload}\r\n");
    let delivered = format!("MSG bench.x 1 128\r\n{payload}\r\n").len() * total;
    let (done, finished) = mpsc::channel();
    let shared = Arc::new(AtomicUsize::new(0));
    for _ in 0..subscribers {
        let mut client = Client::connect(server.address);
        client.write(if queue { b"SUB bench.x q 1\r\n" } else { b"SUB bench.x 1\r\n" });
        client.flush();
        let counter = if queue { shared.clone() } else { Arc::default() };
        let done = done.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            loop {
                let n = client.read_raw(&mut buffer);
                if counter.fetch_add(n, Ordering::SeqCst) + n >= delivered {
                    let _ = done.send(());
                    return client;
                }
            }
        });
    }
    let (cpu, began) = (server.cpu(), Instant::now());
    for _ in 0..publishers {
        let mut client = Client::connect(server.address);
        let batch = one.repeat(64);
        let len = one.len();
        thread::spawn(move || {
            let mut left = each;
            while left > 0 {
                let n = left.min(64);
                client.write(&batch.as_bytes()[..n * len]);
                left -= n;
            }
            client.flush();
        });
    }
    for _ in 0..if queue { 1 } else { subscribers } {
        finished.recv_timeout(Duration::from_secs(120)).expect("all arrives");
    }
    let seconds = began.elapsed().as_secs_f64();
    let deliveries = total * if queue { 1 } else { subscribers };
    Routed { rate: total as f64 / seconds, cpu: (server.cpu() - cpu) * 1e6 / deliveries as f64 }
}

/// Lock-step requests: median and 99th percentile in microseconds.
pub fn requests(server: &Server, count: usize) -> (f64, f64) {
    let mut service = Client::connect(server.address);
    service.write(b"SUB svc 1\r\n");
    service.flush();
    thread::spawn(move || {
        for _ in 0..count {
            let (reply, _) = service.message();
            service.write(format!("PUB {reply} 2\r\nok\r\n").as_bytes());
        }
        service
    });
    let mut client = Client::connect(server.address);
    client.write(b"SUB _INBOX.r.* 1\r\n");
    client.flush();
    let mut times: Vec<f64> = (0..count)
        .map(|n| {
            let began = Instant::now();
            client.write(format!("PUB svc _INBOX.r.{n} 2\r\nhi\r\n").as_bytes());
            client.message();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[count / 2], times[count * 99 / 100])
}
