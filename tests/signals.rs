//! Signals, and what systemd is told: SIGTERM ends in order, SIGHUP re-reads the configuration, `NOTIFY_SOCKET` hears of it.

mod common;

use async_nats::jetstream;
use common::{LIMIT, Leafd, NatsServer, have, wait_for};
use futures_util::StreamExt;
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;

#[tokio::test]
async fn sigterm_ends_in_order_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s".into()], ..Default::default() };
    context.create_stream(config).await.expect("a stream");
    let mut acks = Vec::new();
    for number in 0..1000 {
        acks.push(context.publish("s", number.to_string().into()).await.expect("sent"));
    }
    let mut acked = 0;
    for ack in acks {
        acked += u64::from(ack.await.is_ok());
    }
    assert_eq!(acked, 1000);
    assert_eq!(leafd.terminate().code(), Some(0));
    leafd.start();
    let stream = jetstream::new(leafd.client().await).get_stream("S").await.expect("the stream is there again");
    assert_eq!(stream.cached_info().state.messages, acked);
}

/// Clients in Go go by it: without it they notice by the signs of life that do not come.
#[tokio::test]
async fn those_who_wait_for_messages_are_told_of_the_end() {
    if !have("nats-server") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let peer = NatsServer::start(&format!("jetstream: {{ store_dir: {:?} }}\n", dir.path().join("nats"))).await;
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let theirs = told(&peer.clients.to_string(), || peer.signal(Signal::TERM)).await;
    let ours = told(&leafd.url(), || assert!(leafd.terminate().success())).await;
    assert_eq!(theirs, ours);
    assert_eq!(ours.0, 409);
}

/// What a pull request ends with at the server's `end`: status, its text and its headers.
async fn told(url: &str, end: impl FnOnce()) -> (u16, Option<String>, Vec<(String, String)>) {
    let client = async_nats::connect(url).await.expect("connected");
    let ask = |subject: &str, body: &str| client.request(subject.to_owned(), body.to_owned().into());
    ask("$JS.API.STREAM.CREATE.S", r#"{"name":"S","subjects":["s"]}"#).await.expect("answered");
    let consumer = r#"{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit"}}"#;
    ask("$JS.API.CONSUMER.CREATE.S.c", consumer).await.expect("answered");
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
    let pull = r#"{"batch":5,"max_bytes":1000,"expires":60000000000}"#;
    client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.S.c", inbox, pull.into()).await.expect("sent");
    wait_for("the request waits", LIMIT, || async {
        let info = ask("$JS.API.CONSUMER.INFO.S.c", "").await.expect("answered");
        let info: serde_json::Value = serde_json::from_slice(&info.payload).expect("JSON");
        (info["num_waiting"] == 1).then_some(())
    })
    .await;
    end();
    let message = tokio::time::timeout(LIMIT, messages.next()).await.expect("in time").expect("told");
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    let mut headers: Vec<_> = headers.map(|(name, values)| (name.to_string(), format!("{values:?}"))).collect();
    headers.sort();
    (message.status.map_or(0, |status| status.as_u16()), message.description, headers)
}

#[tokio::test]
async fn a_bad_configuration_is_refused_and_the_old_one_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    let good = std::fs::read_to_string(leafd.config_file()).expect("read");
    leafd.configure("[jetstream]\nenabeld = true\n");
    let before = leafd.log().len();
    leafd.hup();
    leafd.wait_log("enabeld", before);
    client.flush().await.expect("it still answers");
    assert!(leafd.runs());
    let before = leafd.log().len();
    leafd.configure_raw(&good);
    leafd.hup();
    leafd.wait_log("configuration read again", before);
    client.flush().await.expect("it still answers");
}

#[test]
fn systemd_hears_of_start_reload_life_and_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(LIMIT)).expect("set");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.environment("NOTIFY_SOCKET", path.to_str().expect("UTF-8"));
    leafd.environment("WATCHDOG_USEC", "200000");
    leafd.start();
    hear(&socket, "READY=1");
    hear(&socket, "WATCHDOG=1");
    leafd.hup();
    hear(&socket, "RELOADING=1");
    hear(&socket, "READY=1");
    assert!(leafd.terminate().success());
    hear(&socket, "STOPPING=1");
}

/// Reads messages until one has this line.
fn hear(socket: &UnixDatagram, line: &str) {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
        if String::from_utf8_lossy(&buffer[..length]).lines().any(|l| l == line) {
            return;
        }
    }
}
