//! A leaf node and its hub, an ordinary nats-server: messages across the link both ways, what they weigh on the wire, and how
//! long a backlog takes.

use super::client::Client;
use super::server::{Rival, Server};
use super::stream;
use super::wire::Wire;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A hub with JetStream in the domain `hub`.
pub fn hub() -> Server {
    Server::configured(Rival::Nats, "server_name: hub\nleafnodes { listen: \"127.0.0.1:-1\" }\n", ", domain: hub")
}

/// A leaf node `gw1` of the hub that listens at `address`; with an uplink of `up.>` where it is leafd's.
pub fn leaf(rival: Rival, address: SocketAddr, compression: &str) -> Server {
    if rival == Rival::Leafd {
        let remote = format!(
            "server_name = \"gw1\"\n[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://{address}\"]\nexport = [\">\"]\n\
             import = [\">\"]\nreconnect = {{ min = \"50ms\", max = \"100ms\" }}\ncompression = \"{compression}\"\n\
             [[uplink]]\nname = \"up\"\nsubjects = [\"up.>\"]\nhub_stream = \"UP\"\nmax_bytes = \"4GB\"\n"
        );
        return Server::configured(rival, &remote, "");
    }
    let remote = format!(
        "server_name: gw1\nleafnodes {{ reconnect: \"100ms\", remotes: [ {{ urls: [\"nats-leaf://{address}\"], compression: {compression} }} ] }}\n"
    );
    Server::configured(rival, &remote, ", domain: gw1")
}

/// Bytes that may be on their way across the link.
const FAR_BEHIND: usize = 8 << 20;

/// Readings that may be: some 5 MB, of the 8 at which leafd drops what is live.
const READINGS_BEHIND: usize = 20_000;

/// What crossing the link costs.
pub struct Crossed {
    /// Messages a second.
    pub rate: f64,
    /// Processor microseconds of the leaf node per message.
    pub cpu: f64,
}

/// `count` messages of 128 bytes from a client of `from` to one of `to`; `leaf` is whichever is the leaf node.
pub fn cross(from: &Server, to: &Server, leaf: &Server, count: usize) -> Crossed {
    let payload = "x".repeat(128);
    let delivered = format!("MSG bench.x 1 128\r\n{payload}\r\n").len() * count;
    let got = Arc::new(AtomicUsize::new(0));
    let mut reader = Client::connect(to.address);
    reader.write(b"SUB bench.x 1\r\nSUB ready 2\r\n");
    reader.flush();
    let arrived = got.clone();
    let reading = thread::spawn(move || {
        answer_one(&mut reader);
        let mut buffer = vec![0; 256 * 1024];
        while arrived.load(Ordering::Relaxed) < delivered {
            arrived.fetch_add(reader.read_raw(&mut buffer), Ordering::Relaxed);
        }
    });
    let mut writer = Client::connect(from.address);
    until_answered(&mut writer);
    let one = format!("PUB bench.x 128\r\n{payload}\r\n");
    let batch = one.repeat(64);
    let (cpu, began) = (leaf.cpu(), Instant::now());
    let mut sent = 0;
    while sent < count {
        // Nothing holds a publisher back across a link, and the far server drops a reader that is 64 MB behind.
        if sent * delivered / count > got.load(Ordering::Relaxed) + FAR_BEHIND {
            thread::sleep(Duration::from_micros(100));
            continue;
        }
        let n = (count - sent).min(64);
        writer.write(&batch.as_bytes()[..n * one.len()]);
        sent += n;
    }
    reading.join().expect("all arrives");
    let seconds = began.elapsed().as_secs_f64();
    Crossed { rate: count as f64 / seconds, cpu: (leaf.cpu() - cpu) * 1e6 / count as f64 }
}

/// Lock-step requests from a client of the leaf node to a service at the hub: median in microseconds.
pub fn requests(leaf: &Server, hub: &Server, count: usize) -> f64 {
    let mut service = Client::connect(hub.address);
    service.write(b"SUB ready 1\r\n");
    service.flush();
    let serving = thread::spawn(move || (0..=count).for_each(|_| answer_one(&mut service)));
    let mut client = Client::connect(leaf.address);
    until_answered(&mut client);
    let mut times: Vec<f64> = (0..count)
        .map(|_| {
            let began = Instant::now();
            client.write(b"PUB ready _INBOX.ready 2\r\nhi\r\n");
            client.message();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    serving.join().expect("all answered");
    times.sort_by(f64::total_cmp);
    times[count / 2]
}

/// Bytes on the wire for each of `count` readings of some 130 bytes of JSON that a gateway tells the hub, 100 at a time.
pub fn weight(leaf: &Server, hub: &Server, wire: &Wire, count: usize) -> f64 {
    let mut reader = Client::connect(hub.address);
    reader.write(b"SUB plant.> 1\r\nSUB ready 2\r\n");
    reader.flush();
    let got = Arc::new(AtomicUsize::new(0));
    let arrived = got.clone();
    let reading = thread::spawn(move || {
        answer_one(&mut reader);
        for _ in 0..count {
            reader.message();
            arrived.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut writer = Client::connect(leaf.address);
    until_answered(&mut writer);
    let before = wire.to_hub();
    for from in (0..count).step_by(100) {
        while from > got.load(Ordering::Relaxed) + READINGS_BEHIND {
            thread::sleep(Duration::from_micros(100));
        }
        let mut lines = String::new();
        for n in from..count.min(from + 100) {
            let reading = format!(
                r#"{{"machine":"press-{}","sensor":"temperature","unit":"C","value":{}.{:02},"time":"2026-01-01T12:{:02}:{:02}.{:03}Z"}}"#,
                n % 7,
                20 + n * 7919 % 13,
                n * 104_729 % 100,
                n / 60_000 % 60,
                n / 1000 % 60,
                n % 1000
            );
            let _ = write!(lines, "PUB plant.line1.press{}.temperature {}\r\n{reading}\r\n", n % 7, reading.len());
        }
        writer.write(lines.as_bytes());
        // What comes together is compressed together: a gateway's readings come in bursts.
        writer.flush();
    }
    reading.join().expect("all arrives");
    (wire.to_hub() - before) as f64 / count as f64
}

/// How a backlog travels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The hub mirrors the leaf node's stream.
    Mirror,
    /// The hub sources it.
    Source,
    /// leafd's uplink brings it, into a stream that takes atomic batches.
    Uplink,
}

/// What it takes until a backlog is in the hub's stream.
pub struct CaughtUp {
    /// From when the hub could be reached.
    pub seconds: f64,
    /// Processor microseconds of the hub per message.
    pub hub: f64,
    /// The same of the leaf node.
    pub leaf: f64,
}

/// `count` messages of 128 bytes that the leaf node stored without a link go to the hub's stream.
pub fn catch_up(rival: Rival, way: Way, count: usize) -> CaughtUp {
    let hub = hub();
    let wire = Wire::closed(hub.leaf_port());
    let leaf = leaf(rival, wire.address, "off");
    let external = r#""external":{"api":"$JS.gw1.API"}"#;
    let config = match way {
        Way::Uplink => r#"{"name":"UP","subjects":["up.>"],"allow_atomic":true}"#.to_owned(),
        Way::Mirror => format!(r#"{{"name":"UP","mirror":{{"name":"log",{external}}}}}"#),
        Way::Source => format!(r#"{{"name":"UP","sources":[{{"name":"log",{external}}}]}}"#),
    };
    let stored = if way == Way::Uplink { "up" } else { "log" };
    if way != Way::Uplink {
        stream::create(&leaf, stored);
    }
    stream::publish(&leaf, stored, count, 1024);
    let mut client = Client::connect(hub.address);
    let before = (hub.cpu(), leaf.cpu());
    let began = if way == Way::Uplink {
        client.request("$JS.API.STREAM.CREATE.UP", &config);
        let began = Instant::now();
        wire.open();
        began
    } else {
        wire.open();
        // A mirror of what cannot be reached would be dialled again only after a pause of the hub's.
        let mut near = Client::connect(leaf.address);
        near.write(b"SUB ready 1\r\n");
        near.flush();
        let answering = thread::spawn(move || answer_one(&mut near));
        until_answered(&mut client);
        answering.join().expect("answered");
        let began = Instant::now();
        client.request("$JS.API.STREAM.CREATE.UP", &config);
        began
    };
    let until = began + Duration::from_secs(600);
    loop {
        let info = client.request("$JS.API.STREAM.INFO.UP", "");
        if info["state"]["messages"].as_u64() == Some(count as u64) {
            let each = |spent: f64| spent * 1e6 / count as f64;
            let (hub, leaf) = (each(hub.cpu() - before.0), each(leaf.cpu() - before.1));
            return CaughtUp { seconds: began.elapsed().as_secs_f64(), hub, leaf };
        }
        assert!(Instant::now() < until, "the backlog does not arrive: {}\n{}", info["state"], leaf.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Answers the next request.
fn answer_one(service: &mut Client) {
    let (reply, _) = service.message();
    service.write(format!("PUB {reply} 2\r\nok\r\n").as_bytes());
}

/// Asks on `ready` until somebody across the link answers: interest that was told before it has crossed as well then.
fn until_answered(client: &mut Client) {
    client.write(b"SUB _INBOX.ready 9\r\n");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        client.write(b"PUB ready _INBOX.ready 2\r\nhi\r\n");
        if client.message().1 == b"ok" {
            return;
        }
        assert!(Instant::now() < until, "nobody answers across the link");
        thread::sleep(Duration::from_millis(20));
    }
}
