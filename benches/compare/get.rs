//! Gets from a key-value bucket, as clients make them: direct gets of the last message on a subject, each with a reply subject
//! of its own.

use super::client::Client;
use super::server::Server;
use std::fmt::Write;
use std::time::Instant;

/// What gets cost.
pub struct Got {
    /// Gets a second.
    pub rate: f64,
    /// Processor microseconds of the server per get.
    pub cpu: f64,
    /// Median of the time that a get takes where one is in flight; else of as many as are answered together.
    pub p50: f64,
}

/// The name of key `n`.
fn key(n: usize) -> String {
    format!("$KV.b.k{}.{n}", n % 97)
}

/// A bucket with `count` keys of `size` bytes; puts a second, 256 in flight.
pub fn fill(server: &Server, count: usize, size: usize) -> f64 {
    let config = r#"{"name":"KV_b","subjects":["$KV.b.>"],"storage":"file","max_msgs_per_subject":1,"allow_direct":true,"allow_rollup_hdrs":true,"discard":"new"}"#;
    let mut client = Client::connect(server.address);
    client.request("$JS.API.STREAM.CREATE.KV_b", config);
    client.write(b"SUB _INBOX.k 1\r\n");
    client.flush();
    let value = "0123456789abcdef".repeat(size.div_ceil(16));
    let value = &value[..size];
    let began = Instant::now();
    let (mut sent, mut acked) = (0, 0);
    while acked < count {
        if sent < count && sent - acked <= 128 {
            let until = (sent + 128).min(count);
            let lines: String =
                (sent..until).map(|n| format!("PUB {} _INBOX.k {size}\r\n{value}\r\n", key(n))).collect();
            client.write(lines.as_bytes());
            sent = until;
        }
        client.message();
        acked += 1;
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// `count` gets, `window` in flight on one connection, of keys that jump about among `keys`.
pub fn gets(server: &Server, keys: usize, count: usize, window: usize) -> Got {
    let mut client = Client::connect(server.address);
    client.write(b"SUB _INBOX.g.* 1\r\n");
    client.flush();
    let mut requests = String::new();
    let mut ask = |client: &mut Client, range: std::ops::Range<usize>| {
        requests.clear();
        for n in range {
            let key = key(n * 7919 % keys);
            let _ = write!(requests, "PUB $JS.API.DIRECT.GET.KV_b.{key} _INBOX.g.{n} 0\r\n\r\n");
        }
        client.write(requests.as_bytes());
    };
    let mut answers = Answers::default();
    let mut times = Vec::with_capacity(count);
    let (cpu, began) = (server.cpu(), Instant::now());
    let (mut asked, mut answered) = (window, 0);
    let mut since = began;
    ask(&mut client, 0..asked);
    while answered < count {
        answered += answers.take(&mut client);
        let now = Instant::now();
        times.push((now - since).as_secs_f64() * 1e6);
        since = now;
        let until = (answered + window).min(count);
        ask(&mut client, asked..until);
        asked = until;
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Got { rate: count as f64 / seconds, cpu: (server.cpu() - cpu) * 1e6 / count as f64, p50: times[times.len() / 2] }
}

/// Counts answers, and looks at no more of them than their lengths.
#[derive(Default)]
struct Answers {
    buffer: Vec<u8>,
}

impl Answers {
    /// Waits for some bytes; how many answers are whole by now.
    fn take(&mut self, client: &mut Client) -> usize {
        let have = self.buffer.len();
        self.buffer.resize(have + 64 * 1024, 0);
        let read = client.read_raw(&mut self.buffer[have..]);
        self.buffer.truncate(have + read);
        let (mut at, mut count) = (0, 0);
        while let Some(end) = memchr::memchr(b'\n', &self.buffer[at..]) {
            let line = std::str::from_utf8(&self.buffer[at..at + end]).expect("text").trim_end();
            if !line.starts_with("HMSG ") {
                assert!(line == "PING", "{line}");
                client.write(b"PONG\r\n");
                at += end + 1;
                continue;
            }
            let mut sizes = line.rsplit(' ').map(|field| field.parse::<usize>().expect("a size"));
            let (size, headers) = (sizes.next().expect("a size"), sizes.next().expect("a size"));
            assert!(size > headers, "every key has a value: {line}");
            if self.buffer.len() < at + end + 1 + size + 2 {
                break;
            }
            at += end + 1 + size + 2;
            count += 1;
        }
        self.buffer.drain(..at);
        count
    }
}
