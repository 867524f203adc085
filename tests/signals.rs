//! Signals, and what systemd is told: SIGTERM ends in order, SIGHUP re-reads the configuration, `NOTIFY_SOCKET` hears of it.

mod common;

use async_nats::jetstream;
use common::{LIMIT, Leafd};
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
