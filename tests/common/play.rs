//! A play: lines that clients send, and what they get to hear.

use super::{Leafd, NatsServer, have, hub};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A bare connection.
pub struct Raw {
    stream: TcpStream,
    got: Vec<u8>,
    /// The server's INFO.
    pub info: Value,
}

impl Raw {
    /// Connects and reads INFO.
    pub async fn connect(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        let mut raw = Raw { stream, got: Vec::new(), info: Value::Null };
        let line = raw.read_until(|got| got.ends_with(b"\r\n")).await;
        raw.info = serde_json::from_str(line.trim().strip_prefix("INFO ").expect("INFO first")).expect("JSON");
        raw
    }

    /// Sends `text` and two PINGs (an INFO follows the first PONG); what came besides, until the second PONG or the end of
    /// the connection.
    pub async fn say(&mut self, text: &str) -> String {
        // The server may have closed; what it said is still there to be read.
        let _ = self.stream.write_all(format!("{text}PING\r\nPING\r\n").as_bytes()).await;
        let pongs = |got: &[u8]| got.windows(6).filter(|line| line == b"PONG\r\n").count();
        let got = self.read_until(|got| got.ends_with(b"PONG\r\n") && pongs(got) == 2).await;
        plain(&got)
    }

    /// What comes until the connection ends.
    pub async fn rest(&mut self) -> String {
        plain(&self.read_until(|_| false).await)
    }

    async fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) -> String {
        while !enough(&self.got) {
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.got)).await.expect("the server answers");
            if matches!(read, Ok(0) | Err(_)) {
                self.got.extend_from_slice(b"(closed)");
                break;
            }
        }
        String::from_utf8(std::mem::take(&mut self.got)).expect("text")
    }
}

/// Of a later INFO only what tells the account is compared, and PINGs and PONGs are left out.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for line in text.split_inclusive("\r\n") {
        match line.strip_prefix("INFO ") {
            Some(json) => {
                let info: Value = serde_json::from_str(json).expect("JSON");
                out += &format!("INFO {} {} {}\r\n", info["remote_account"], info["acc_is_sys"], info["connect_info"]);
            }
            None if line == "PONG\r\n" || line == "PING\r\n" => {}
            None => out += line,
        }
    }
    out
}

/// leafd and nats-server, with configurations that mean the same.
pub struct Both {
    _dir: tempfile::TempDir,
    pub leafd: Leafd,
    nats: NatsServer,
}

impl Both {
    /// Starts both; `None` where there is no nats-server to compare with.
    pub async fn start(toml: &str, conf: &str) -> Option<Both> {
        if !have(&hub::binary()) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let mut leafd = Leafd::new(dir.path(), toml);
        leafd.start();
        Some(Both { _dir: dir, leafd, nats: NatsServer::start(conf).await })
    }

    /// leafd's address, then nats-server's.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [self.leafd.clients.expect("it listens"), self.nats.clients]
    }

    /// Has both read another configuration; they may still be about it.
    pub fn reconfigure(&self, toml: &str, conf: &str) {
        self.leafd.configure(toml);
        self.leafd.hup();
        self.nats.reconfigure(conf);
    }

    /// Where they listen for `kind`, in the same order.
    pub fn ports(&self, kind: &str) -> [String; 2] {
        [self.leafd.port(kind), self.nats.port(kind)]
    }

    /// Plays `lines` (who sends what) to both servers: each speaker has a connection of its own from its first line on.
    /// Asserts that both answer the same, and returns the answers.
    pub async fn play(&self, lines: &[(&str, String)]) -> Vec<String> {
        let [leafd, nats] = self.addresses();
        let ours = play(leafd, lines).await;
        let theirs = play(nats, lines).await;
        for (at, (who, text)) in lines.iter().enumerate() {
            assert_eq!(ours[at], theirs[at], "line {at}, {who}: {text:?}; first ours, then nats-server's");
        }
        ours
    }
}

async fn play(address: SocketAddr, lines: &[(&str, String)]) -> Vec<String> {
    let mut speakers: Vec<(&str, Raw)> = Vec::new();
    let mut answers = Vec::new();
    for (who, text) in lines {
        let at = match speakers.iter().position(|(name, _)| name == who) {
            Some(at) => at,
            None => {
                speakers.push((who, Raw::connect(address).await));
                speakers.len() - 1
            }
        };
        answers.push(speakers[at].1.say(text).await);
    }
    answers
}

/// A CONNECT with these members beside the usual.
pub fn connect(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"protocol\":1,\"headers\":true,\"no_responders\":true{comma}{members}}}\r\n"
    )
}

/// CONNECT as a user with a password.
pub fn login(user: &str, password: &str) -> String {
    connect(&format!("\"user\":\"{user}\",\"pass\":\"{password}\""))
}
