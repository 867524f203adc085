//! Many of everything: connections, subscriptions, streams, consumers, keys; and clients that behave badly.

use super::client::Client;
use super::get;
use super::server::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Resident kilobytes that `count` idle connections add.
pub fn connections(server: &Server, count: usize) -> f64 {
    let before = server.rss();
    let clients: Vec<Client> = (0..count).map(|_| Client::connect(server.address)).collect();
    let grown = server.rss() as f64 - before as f64;
    drop(clients);
    grown
}

/// What many subscriptions cost.
pub struct Subscriptions {
    /// Resident kilobytes that they add.
    pub rss: f64,
    /// Subscriptions a second.
    pub rate: f64,
    /// Messages routed a second while they are held, each to another one of them.
    pub routed: f64,
}

/// `count` subscriptions on as many subjects, spread over ten connections.
pub fn subscriptions(server: &Server, count: usize) -> Subscriptions {
    let before = server.rss();
    let began = Instant::now();
    let each = count / 10;
    let mut clients: Vec<Client> = (0..10)
        .map(|c| {
            let mut client = Client::connect(server.address);
            for from in (0..each).step_by(1000) {
                let lines: String = (from..from + 1000).map(|n| format!("SUB s.{c}.{}.{n} {n}\r\n", n % 97)).collect();
                client.write(lines.as_bytes());
            }
            client.flush();
            client
        })
        .collect();
    let rate = (each * 10) as f64 / began.elapsed().as_secs_f64();
    let rss = server.rss() as f64 - before as f64;
    let mut publisher = Client::connect(server.address);
    let messages = 100_000;
    let began = Instant::now();
    let reader = thread::spawn(move || {
        for _ in 0..messages {
            clients[3].message();
        }
    });
    for from in (0..messages).step_by(100) {
        let lines: String = (from..from + 100)
            .map(|n| n * 7919 % each)
            .map(|n| format!("PUB s.3.{}.{n} 16\r\n0123456789abcdef\r\n", n % 97))
            .collect();
        publisher.write(lines.as_bytes());
    }
    reader.join().expect("all arrive");
    Subscriptions { rss, rate, routed: messages as f64 / began.elapsed().as_secs_f64() }
}

/// What one subscriber that never reads costs the others.
pub struct Stalled {
    /// Messages delivered a second to those that read.
    pub rate: f64,
    /// The most that the server's memory grew by, kilobytes.
    pub rss: f64,
}

/// `readers` subscribers that read, beside one that does not; `count` messages of 1,024 bytes.
pub fn stalled(server: &Server, readers: usize, count: usize) -> Stalled {
    let mut deaf = Client::connect(server.address);
    deaf.write(b"SUB f 1\r\n");
    deaf.flush();
    let payload = "x".repeat(1024);
    let total = format!("MSG f 1 1024\r\n{payload}\r\n").len() * count;
    let clients: Vec<Client> = (0..readers)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.write(b"SUB f 1\r\n");
            client.flush();
            client
        })
        .collect();
    let before = server.rss();
    let received: Arc<Vec<AtomicUsize>> = Arc::new((0..readers).map(|_| AtomicUsize::new(0)).collect());
    let began = Instant::now();
    // A few threads read for all, so that the machine is not lost in switching.
    let waiting = Arc::new(AtomicUsize::new(readers));
    let mut shares: Vec<Vec<(usize, Client)>> = (0..8).map(|_| Vec::new()).collect();
    for (n, client) in clients.into_iter().enumerate() {
        client.nonblocking();
        shares[n % 8].push((n, client));
    }
    for mut share in shares {
        let (received, waiting) = (received.clone(), waiting.clone());
        thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while !share.is_empty() {
                let mut idle = true;
                share.retain_mut(|(n, client)| {
                    let Some(got) = client.try_read(&mut buffer) else { return true };
                    idle = false;
                    let done = received[*n].fetch_add(got, Ordering::Relaxed) + got >= total;
                    if done {
                        waiting.fetch_sub(1, Ordering::Relaxed);
                    }
                    !done
                });
                if idle {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }
    let mut publisher = Client::connect(server.address);
    let line = format!("PUB f 1024\r\n{payload}\r\n");
    let mut most = before;
    for n in 0..count {
        publisher.write(line.as_bytes());
        // In step with those that read: they must never be the slow ones.
        while n % 64 == 0 && received.iter().any(|r| r.load(Ordering::Relaxed) + 4_000_000 < total * n / count) {
            thread::sleep(Duration::from_millis(1));
        }
        if n % 64 == 0 {
            most = most.max(server.rss());
        }
    }
    while waiting.load(Ordering::Relaxed) > 0 {
        assert!(began.elapsed() < Duration::from_secs(120), "{waiting:?} of {readers} did not get all");
        most = most.max(server.rss());
        thread::sleep(Duration::from_millis(5));
    }
    Stalled { rate: (count * readers) as f64 / began.elapsed().as_secs_f64(), rss: (most - before) as f64 }
}

/// Requests' median in microseconds while eight connections send garbage as fast as they are let.
pub fn flooded(server: &Server) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..8)
        .map(|n| {
            let (stop, address) = (stop.clone(), server.address);
            thread::spawn(move || {
                let garbage: Vec<u8> = (0..65536u32).map(|b| (b.wrapping_mul(2654435761 + n) >> 13) as u8).collect();
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut socket) = TcpStream::connect(address) else { continue };
                    let _ = socket.read(&mut [0; 4096]);
                    while socket.write_all(&garbage).is_ok() && !stop.load(Ordering::Relaxed) {}
                }
            })
        })
        .collect();
    let (p50, _) = super::core::requests(server, 5_000);
    stop.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().expect("ends"));
    p50
}

/// Resident kilobytes gained between the first fifth and the end of `time` in which clients come, subscribe, publish and go.
pub fn churn(server: &Server, time: Duration) -> (f64, f64) {
    let began = Instant::now();
    let (mut rounds, mut settled) = (0u64, None);
    while began.elapsed() < time {
        let mut client = Client::connect(server.address);
        client
            .write(format!("SUB churn.{rounds}.> 1\r\nSUB churn.* q 2\r\nPUB churn.{rounds}.x 2\r\nhi\r\n").as_bytes());
        client.flush();
        rounds += 1;
        if settled.is_none() && began.elapsed() > time / 5 {
            settled = Some(server.rss());
        }
    }
    (server.rss() as f64 - settled.unwrap_or_else(|| server.rss()) as f64, rounds as f64 / time.as_secs_f64())
}

/// Wake-ups a second of a server that nobody uses.
pub fn wakeups(server: &Server, time: Duration) -> f64 {
    // What the start left to do is not idling.
    thread::sleep(Duration::from_secs(5));
    let before = server.switches();
    thread::sleep(time);
    (server.switches() - before) as f64 / time.as_secs_f64()
}

/// Streams created a second, and the resident kilobytes that they add.
pub fn streams(server: &Server, count: usize) -> (f64, f64) {
    let before = server.rss();
    let began = Instant::now();
    let mut client = Client::connect(server.address);
    for n in 0..count {
        let config = format!(r#"{{"name":"M{n}","subjects":["m.{n}.*"],"storage":"file"}}"#);
        client.request(&format!("$JS.API.STREAM.CREATE.M{n}"), &config);
    }
    (count as f64 / began.elapsed().as_secs_f64(), server.rss() as f64 - before as f64)
}

/// Durable pull consumers created a second on one stream, and the resident kilobytes that they add.
pub fn consumers(server: &Server, stream: &str, count: usize) -> (f64, f64) {
    let before = server.rss();
    let began = Instant::now();
    let mut client = Client::connect(server.address);
    for n in 0..count {
        let config = format!(
            r#"{{"stream_name":"{stream}","config":{{"durable_name":"c{n}","ack_policy":"explicit","filter_subject":"{stream}.{n}"}}}}"#
        );
        client.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.c{n}"), &config);
    }
    (count as f64 / began.elapsed().as_secs_f64(), server.rss() as f64 - before as f64)
}

/// What a bucket of many keys costs.
pub struct Keys {
    /// Puts a second, 256 in flight.
    pub puts: f64,
    /// Resident kilobytes that the keys add.
    pub rss: f64,
    /// Direct gets a second, lock step.
    pub gets: f64,
}

/// A key-value bucket with `count` keys of 16 bytes.
pub fn keys(server: &Server, count: usize) -> Keys {
    let before = server.rss();
    let puts = get::fill(server, count, 16);
    let rss = server.rss() as f64 - before as f64;
    Keys { puts, rss, gets: get::gets(server, count, 20_000, 1).rate }
}
