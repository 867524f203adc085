//! INFO of both servers, key by key.

use super::common::nats_server::NatsServer;
use super::common::{LIMIT, Leafd, have};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A nats-server's and leafd's configuration that mean the same.
const SAME: [(&str, &str); 6] = [
    ("", "[jetstream]\nenabled = false\n"),
    ("jetstream: { store_dir: STORE }\n", ""),
    ("jetstream: { domain: d, store_dir: STORE }\n", "[jetstream]\ndomain = \"d\"\n"),
    (
        "authorization { user: a, password: b }\n",
        "[jetstream]\nenabled = false\n[authorization]\nuser = \"a\"\npassword = \"b\"\n",
    ),
    (
        "server_name: \"a.b\"\nleafnodes { listen: \"127.0.0.1:-1\" }\n",
        "[jetstream]\nenabled = false\n[leaf.listen]\nport = 0\n",
    ),
    ("max_payload: 4096\n", "[jetstream]\nenabled = false\n[limits]\nmax_payload = 4096\n"),
];

/// The first line of a connection, and its second INFO, after PING.
async fn infos(address: &str) -> Vec<BTreeMap<String, Value>> {
    let mut stream = BufReader::new(TcpStream::connect(address).await.expect("it listens"));
    let connect = "CONNECT {\"protocol\":1,\"verbose\":false,\"user\":\"a\",\"pass\":\"b\"}\r\nPING\r\n";
    stream.write_all(connect.as_bytes()).await.expect("sent");
    let mut infos = Vec::new();
    while infos.len() < 2 {
        let mut line = String::new();
        timeout(LIMIT, stream.read_line(&mut line)).await.expect("in time").expect("read");
        assert!(!line.is_empty(), "closed after {infos:?}");
        infos.extend(line.strip_prefix("INFO ").map(read));
    }
    infos
}

fn read(json: &str) -> BTreeMap<String, Value> {
    let mut info: BTreeMap<String, Value> = serde_json::from_str(json).expect("JSON");
    for different in ["server_id", "server_name", "git_commit", "go", "port", "client_id", "xkey", "nonce"] {
        if let Some(value) = info.get_mut(different) {
            *value = different.into();
        }
    }
    info
}

#[tokio::test(flavor = "multi_thread")]
async fn info_has_the_same_keys_and_values() {
    if !have("nats-server") {
        return;
    }
    for (theirs, ours) in SAME {
        let dir = tempfile::tempdir().expect("a folder");
        let peer = NatsServer::start(&theirs.replace("STORE", &format!("{:?}", dir.path().join("nats")))).await;
        let mut leafd = Leafd::new(dir.path(), ours);
        leafd.start();
        let theirs_said = infos(&peer.clients.to_string()).await;
        let ours_said = infos(&leafd.clients.expect("it listens").to_string()).await;
        assert_eq!(theirs_said, ours_said, "{ours}");
    }
}

/// The first frame of a connection by WebSocket, as of [`infos`].
async fn by_websocket(url: &str) -> BTreeMap<String, Value> {
    let address = url.trim_start_matches("ws://");
    let mut stream = BufReader::new(TcpStream::connect(address).await.expect("it listens"));
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        timeout(LIMIT, stream.read_line(&mut line)).await.expect("in time").expect("read");
    }
    // A frame's head of two bytes and a length of two.
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[..2], [0x82, 126], "one binary frame of middling size");
    let mut frame = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
    stream.read_exact(&mut frame).await.expect("all of it");
    let text = String::from_utf8(frame).expect("text");
    read(text.trim().strip_prefix("INFO ").expect("INFO"))
}

#[tokio::test(flavor = "multi_thread")]
async fn info_by_websocket_has_the_same_keys_and_values() {
    if !have("nats-server") {
        return;
    }
    for (theirs, ours) in SAME {
        let dir = tempfile::tempdir().expect("a folder");
        let theirs = theirs.replace("STORE", &format!("{:?}", dir.path().join("nats")));
        let websocket = "websocket { listen: \"127.0.0.1:-1\", no_tls: true }\n";
        let peer = NatsServer::start(&format!("{theirs}{websocket}")).await;
        let mut leafd = Leafd::new(dir.path(), &format!("{ours}[websocket]\nport = 0\nno_tls = true\n"));
        leafd.start();
        let theirs_said = by_websocket(&peer.port("websocket")).await;
        assert_eq!(theirs_said, by_websocket(&leafd.port("websocket")).await, "{ours}: first nats-server's");
    }
}
