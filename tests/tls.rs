//! TLS for clients: async-nats and nats-py, unmodified, with and without certificates of their own, and a certificate that
//! changes while clients are connected.

mod common;

use async_nats::ConnectOptions;
use common::certificates::{Authority, Certificate};
use common::{LIMIT, Leafd};
use futures_util::StreamExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

fn started(dir: &Path, server: &Certificate, more: &str) -> Leafd {
    let mut leafd = Leafd::new(dir, &table(server, more));
    leafd.start();
    leafd
}

fn table(server: &Certificate, more: &str) -> String {
    format!("[tls]\ncert_file = {:?}\nkey_file = {:?}\n{more}\n", server.cert, server.key)
}

fn options(authority: &Authority) -> ConnectOptions {
    ConnectOptions::new().add_root_certificates(authority.file()).retry_on_initial_connect()
}

async fn connect(leafd: &Leafd, options: ConnectOptions) -> Option<async_nats::Client> {
    let url = leafd.url().replace("127.0.0.1", "localhost");
    let connected = options.require_tls(true).max_reconnects(1).connect(url).await.ok()?;
    timeout(Duration::from_secs(5), connected.flush()).await.ok()?.ok()?;
    Some(connected)
}

async fn talks(client: &async_nats::Client) {
    let mut inbox = client.subscribe("a.>").await.expect("subscribed");
    let large = vec![b'x'; 500_000];
    client.publish("a.b", large.clone().into()).await.expect("published");
    let message = timeout(LIMIT, inbox.next()).await.expect("in time").expect("a message");
    assert_eq!(message.payload, large);
}

/// Reads INFO as the server sends it before anything else.
async fn info(leafd: &Leafd) -> (serde_json::Value, BufReader<TcpStream>) {
    let mut stream = BufReader::new(TcpStream::connect(leafd.clients.expect("it listens")).await.expect("connected"));
    let mut line = String::new();
    timeout(LIMIT, stream.read_line(&mut line)).await.expect("in time").expect("INFO");
    (serde_json::from_str(line.strip_prefix("INFO ").expect("INFO")).expect("JSON"), stream)
}

#[tokio::test]
async fn clients_speak_tls_and_only_tls() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let leafd = started(dir.path(), &authority.server("server"), "");
    leafd.wait_log("TLS required for client connections", 0);
    talks(&connect(&leafd, options(&authority)).await.expect("connected")).await;
    assert!(connect(&leafd, ConnectOptions::new()).await.is_none(), "an authority that the client does not know");
    let (info, mut plain) = info(&leafd).await;
    assert_eq!((&info["tls_required"], &info["tls_verify"]), (&true.into(), &serde_json::Value::Null));
    plain.write_all(b"CONNECT {}\r\nPING\r\n").await.expect("written");
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, plain.read_to_end(&mut rest)).await.expect("closed");
    assert!(!String::from_utf8_lossy(&rest).contains("PONG"), "served in the clear");
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_wanted() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let more = format!("ca_file = {:?}\nverify = true\nmin_version = \"1.3\"", authority.file());
    let leafd = started(dir.path(), &authority.server("server"), &more);
    let client = authority.client("alice");
    let with = options(&authority).add_client_certificate(client.cert, client.key);
    talks(&connect(&leafd, with).await.expect("connected")).await;
    assert!(connect(&leafd, options(&authority)).await.is_none(), "no certificate");
    let other = tempfile::tempdir().expect("a folder");
    let stranger = Authority::new(other.path()).client("mallory");
    let with = options(&authority).add_client_certificate(stranger.cert, stranger.key);
    assert!(connect(&leafd, with).await.is_none(), "a certificate of another authority");
    assert_eq!(info(&leafd).await.0["tls_verify"], true);
}

#[tokio::test]
async fn tls_may_come_before_info() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("server");
    let leafd = started(dir.path(), &server, "handshake_first = true");
    talks(&connect(&leafd, options(&authority).tls_first()).await.expect("connected")).await;
    let mut plain = TcpStream::connect(leafd.clients.expect("it listens")).await.expect("connected");
    let mut got = Vec::new();
    let _ = timeout(LIMIT, plain.read_to_end(&mut got)).await.expect("the handshake has a time limit");
    assert!(!got.starts_with(b"INFO"), "INFO before TLS");
    drop(leafd);
    let leafd = started(dir.path(), &server, "handshake_first = \"auto\"\nallow_non_tls = true");
    talks(&connect(&leafd, options(&authority).tls_first()).await.expect("TLS first")).await;
    talks(&connect(&leafd, options(&authority)).await.expect("INFO first")).await;
    talks(&leafd.client().await).await;
    let info = info(&leafd).await.0;
    assert_eq!((&info["tls_required"], &info["tls_available"]), (&serde_json::Value::Null, &true.into()));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_clients_and_drops_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("server");
    let leafd = started(dir.path(), &server, "");
    let before = connect(&leafd, options(&authority)).await.expect("connected");
    let other = tempfile::tempdir().expect("a folder");
    let newer = Authority::new(other.path());
    let renewed = newer.server("server");
    std::fs::copy(&renewed.cert, &server.cert).expect("copied");
    let from = leafd.log().len();
    leafd.hup();
    leafd.wait_log("the old one goes on", from);
    talks(&connect(&leafd, options(&authority)).await.expect("a certificate that is not the key's is not used")).await;
    std::fs::copy(&renewed.key, &server.key).expect("copied");
    let from = leafd.log().len();
    leafd.hup();
    leafd.wait_log("certificates read again", from);
    talks(&connect(&leafd, options(&newer)).await.expect("the new certificate")).await;
    assert!(connect(&leafd, options(&authority)).await.is_none(), "the old certificate");
    talks(&before).await;
    assert_eq!(before.statistics().connects.load(std::sync::atomic::Ordering::Relaxed), 1, "it was dropped");
}
