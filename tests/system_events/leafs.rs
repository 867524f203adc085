//! Leafs that connect: what is told of them, how they are sent away, and how many an account may have.

use super::common::{LIMIT, have};
use super::pair::{Pair, Server, next};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NATS_SERVER: &str = r#"
server_name: gw1
accounts {
  SYS { users: [{ user: sys, password: s }] }
  APP { users: [{ user: app, password: a }], limits { max_leafnodes: 1 } }
}
system_account: SYS
leafnodes { listen: "127.0.0.1:-1", compression: off }
"#;

const LEAFD: &str = r#"
[jetstream]
enabled = false
[leaf.listen]
port = 0
compression = "off"
[authorization]
system_account = "SYS"
[accounts.SYS]
users = [{ user = "sys", password = "s" }]
[accounts.APP]
users = [{ user = "app", password = "a" }]
limits = { max_leafnodes = 1 }
"#;

/// A leaf of which the handshake is done.
struct Leaf(BufReader<TcpStream>);

impl Leaf {
    async fn connect(address: &str, name: &str) -> Leaf {
        let mut leaf = Leaf(BufReader::new(TcpStream::connect(address).await.expect("it listens")));
        let connect = format!(
            "CONNECT {{\"name\":\"{name}\",\"server_id\":\"{name}\",\"version\":\"2.15.1\",\"user\":\"app\",\"pass\":\"a\",\"headers\":true}}\r\nPING\r\n"
        );
        leaf.0.get_mut().write_all(connect.as_bytes()).await.expect("sent");
        leaf
    }

    /// The next line that begins with `word`; empty if there is none.
    async fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(LIMIT, self.0.read_line(&mut line)).await.expect("in time");
            if line.starts_with(word) || !matches!(read, Ok(1..)) {
                return line;
            }
        }
    }
}

/// A leaf comes, another one is too many, the first is sent away: what is told.
async fn visit(server: &Server, port: &str) -> Vec<Value> {
    let mut told = server.listen("$SYS.ACCOUNT.APP.*").await;
    let mut leaf = Leaf::connect(port, "first").await;
    let info: Value = serde_json::from_str(&leaf.line("INFO ").await[5..]).expect("JSON");
    assert_eq!(leaf.line("PONG").await, "PONG\r\n", "let in");
    let (_, came) = next(server, &mut told).await;
    assert_eq!(info["client_id"], came["client"]["id"], "one number for the leaf");
    let refused = Leaf::connect(port, "second").await.line("-ERR").await;
    let kick = format!("{{\"cid\":{}}}", came["client"]["id"]);
    let kicked = server.ask("$SYS.REQ.SERVER.ID.KICK", &kick).await.expect("answered");
    assert_eq!(leaf.line("-").await, "", "the connection is closed");
    let mut all = vec![came, refused.into(), kicked];
    // Of the one that is too many nats-server tells as well, though it never was let in.
    let gone = timeout(LIMIT, async {
        loop {
            let (subject, event) = next(server, &mut told).await;
            if subject.ends_with(".DISCONNECT") && event["client"]["name"] == "first" {
                return event;
            }
        }
    });
    all.push(gone.await.expect("told"));
    all.into_iter().map(|value| server.comparable(value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn leafs_are_told_of_and_limited_as_by_nats_server() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::with(NATS_SERVER, LEAFD).await;
    let ([theirs, ours], [their_port, our_port]) = (pair.servers().await, pair.leaf_ports());
    let (expected, told) = (visit(&theirs, &their_port).await, visit(&ours, &our_port).await);
    for (expected, told) in expected.iter().zip(&told) {
        assert_eq!(expected, told, "first nats-server's, then ours");
    }
    assert_eq!(told[1], "-ERR 'maximum account active connections exceeded'\r\n");
}
