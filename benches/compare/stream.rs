//! Streams: publishing with acks, pulling with acks, replay.

use super::client::Client;
use super::server::Server;
use std::thread;
use std::time::{Duration, Instant};

/// What publishing costs.
pub struct Published {
    /// Acknowledged messages a second.
    pub rate: f64,
    /// Bytes written to disk per message.
    pub written: f64,
    /// Processor microseconds per message.
    pub cpu: f64,
}

/// A file-backed stream on `s.*`.
pub fn create(server: &Server, name: &str) {
    let config = format!(
        r#"{{"name":"{name}","subjects":["{name}.*"],"storage":"file","retention":"limits","max_consumers":20000,"max_msgs":-1,"max_bytes":-1,"discard":"old","num_replicas":1}}"#
    );
    Client::connect(server.address).request(&format!("$JS.API.STREAM.CREATE.{name}"), &config);
}

/// Publishes `count` messages of 128 bytes with at most `window` unacknowledged.
pub fn publish(server: &Server, name: &str, count: usize, window: usize) -> Published {
    let mut client = Client::connect(server.address);
    client.write(b"SUB _INBOX.p.* 1\r\n");
    client.flush();
    let line = format!("PUB {name}.x _INBOX.p.1 128\r\n{}\r\n", "x".repeat(128));
    let (cpu, written, began) = (server.cpu(), server.written(), Instant::now());
    let (mut sent, mut acked) = (0, 0);
    while acked < count {
        // Half a window at a time, as clients with a semaphore do under load.
        let free = (window - (sent - acked)).min(count - sent);
        if free > 0 && (free * 2 >= window || sent + free == count) {
            client.write(line.repeat(free).as_bytes());
            sent += free;
        }
        let (_, ack) = client.message();
        assert!(ack.starts_with(b"{\"stream\""), "{}", String::from_utf8_lossy(&ack));
        acked += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    Published {
        rate: count as f64 / seconds,
        written: (server.written() - written) as f64 / count as f64,
        cpu: (server.cpu() - cpu) * 1e6 / count as f64,
    }
}

/// Bytes that a server with streams that nobody uses writes in an hour, by what it writes in a minute.
pub fn idle(server: &Server) -> f64 {
    // What came before is on disk by then.
    thread::sleep(Duration::from_secs(20));
    let before = server.written();
    thread::sleep(Duration::from_secs(60));
    (server.written() - before) as f64 * 60.0
}

/// Pulls `count` messages in batches of 256, each acknowledged; messages a second.
pub fn pull(server: &Server, name: &str, count: usize) -> f64 {
    let mut client = Client::connect(server.address);
    let config = format!(
        r#"{{"stream_name":"{name}","config":{{"durable_name":"d","ack_policy":"explicit","deliver_policy":"all","max_ack_pending":10000}}}}"#
    );
    client.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{name}.d"), &config);
    client.write(b"SUB _INBOX.q 2\r\n");
    client.flush();
    let next = "{\"batch\":256,\"expires\":10000000000}";
    let ask = format!("PUB $JS.API.CONSUMER.MSG.NEXT.{name}.d _INBOX.q {}\r\n{next}\r\n", next.len());
    let began = Instant::now();
    let mut got = 0;
    // Two requests ahead, so that the server always has one to serve.
    client.write(ask.repeat(2).as_bytes());
    let mut acks = Vec::new();
    while got < count {
        let (reply, _) = client.message();
        if !reply.starts_with("$JS.ACK") {
            continue;
        }
        got += 1;
        acks.extend_from_slice(format!("PUB {reply} 4\r\n+ACK\r\n").as_bytes());
        if got % 256 == 0 {
            acks.extend_from_slice(ask.as_bytes());
        }
        if got % 64 == 0 {
            client.write(&acks);
            acks.clear();
        }
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Replays `count` messages to a push consumer without acks; messages a second.
pub fn replay(server: &Server, name: &str, count: usize) -> f64 {
    let mut client = Client::connect(server.address);
    client.write(b"SUB deliver.x 3\r\n");
    client.flush();
    let config = format!(
        r#"{{"stream_name":"{name}","config":{{"deliver_subject":"deliver.x","ack_policy":"none","deliver_policy":"all"}}}}"#
    );
    let began = Instant::now();
    client.write(format!("PUB $JS.API.CONSUMER.CREATE.{name} _INBOX.none {}\r\n{config}\r\n", config.len()).as_bytes());
    for _ in 0..count {
        client.message();
    }
    count as f64 / began.elapsed().as_secs_f64()
}
