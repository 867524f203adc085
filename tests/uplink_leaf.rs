//! Gateway to hub on real parts: a captured subject, the local stream, the leaf link and a real nats-server with
//! JetStream, whose user may do nothing but publish the gateway's subjects, ask where it stands, and be answered.

use leafd::account::{Account, LocalClient, Message};
use leafd::config::leaf::RemoteConfig;
use leafd::config::uplink::UplinkConfig;
use leafd::jetstream::{JetStream, Options};
use leafd::leaf::{Identity, Link};
use leafd::store::{Store, StoreOptions};
use leafd::uplink::{Uplink, UplinkStatus};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Starts nats-server with `leaf` as its leafnode port, and a gateway user that may not do much.
async fn hub(dir: &Path, port: u16, leaf: u16) -> Child {
    let publish = ["t.>", "$JS.API.STREAM.MSG.GET.T", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.T"];
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\nserver_name: hub\njetstream {{ store_dir: {dir:?} }}\n\
         leafnodes {{ listen: \"127.0.0.1:{leaf}\" }}\n\
         accounts {{ A {{ jetstream: enabled, users: [ {{ user: admin, password: a }}, {{ user: gw1, password: p, \
         permissions {{ publish {{ allow: {publish:?} }}, subscribe {{ allow: [\"_INBOX.>\"] }} }} }} ] }} }}\n"
    );
    let file = dir.join("hub.conf");
    std::fs::write(&file, config).expect("written");
    let program = std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let child = Command::new(program)
        .arg("-c")
        .arg(file)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server starts; set NATS_SERVER to its path");
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(Instant::now() < deadline, "the hub does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child
}

async fn context(port: u16) -> async_nats::jetstream::Context {
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "a".into());
    async_nats::jetstream::new(options.connect(format!("127.0.0.1:{port}")).await.expect("connected"))
}

async fn until(uplink: &Uplink, what: &str, done: impl Fn(&UplinkStatus) -> bool) -> UplinkStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = uplink.status();
        if done(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "not in time: {what}: {status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes numbered readings, each acknowledged by the local stream.
async fn publish(client: &LocalClient, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let (subject, payload) = (format!("t.{}", number % 3), number.to_string());
        let answer = client.request(&subject, b"", payload.as_bytes(), Duration::from_secs(10)).await.expect("an ack");
        let answer = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(answer.contains("UPLINK_t"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_reach_the_hub_once_and_in_order_over_the_leaf_link() {
    let (hub_dir, dir) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (port, leaf) = (free_port(), free_port());
    let mut server = hub(hub_dir.path(), port, leaf).await;
    let config =
        async_nats::jetstream::stream::Config { name: "T".into(), subjects: vec!["t.>".into()], ..Default::default() };
    context(port).await.create_stream(config).await.expect("the hub's stream");

    let (end, shutdown) = watch::channel(false);
    let account = Account::new("$G");
    let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
    let options =
        Options { domain: Some("gw1".into()), server_name: "gw1".into(), max_file: 8 << 30, max_memory: 1 << 20 };
    let jetstream = JetStream::start(account.clone(), store.clone(), options).expect("JetStream");
    let remote = format!(
        "name = \"hub\"\nurls = [\"nats-leaf://127.0.0.1:{leaf}\"]\nuser = \"gw1\"\npassword = \"p\"\n\
         reconnect = {{ min = \"20ms\", max = \"200ms\" }}\n"
    );
    let remote: RemoteConfig = toml::from_str(&remote).expect("a remote");
    let identity =
        Identity { server_name: "gw1".into(), server_id: "N".repeat(56), domain: Some("gw1".into()), jetstream: true };
    let link = Link::start(account.clone(), remote, identity, vec!["t.>".into()], shutdown.clone());
    let text = "name = \"t\"\nsubjects = [\"t.>\"]\nack_timeout = \"1s\"\n";
    let config: UplinkConfig = toml::from_str(text).expect("an uplink");
    let uplink = Uplink::start(&config, "gw1", &jetstream, link.clone(), account.clone(), store.clone(), shutdown)
        .expect("an uplink");

    let client = LocalClient::new(account);
    let mut next = 0;
    for _ in 0..4 {
        publish(&client, next..next + 150).await;
        next += 150;
        let target = u64::from(next) - 100;
        until(&uplink, "some progress", |status| status.last_ack_seq >= target).await;
        server.kill().await.expect("killed");
        publish(&client, next..next + 50).await;
        next += 50;
        server = hub(hub_dir.path(), port, leaf).await;
    }
    client.publish(&Message { subject: "other", reply: "", headers: b"", payload: b"stays here" });
    let status = until(&uplink, "drained", |status| status.backlog_messages == 0 && status.in_flight == 0).await;
    println!("{status:?}");
    assert_eq!(status.exactly_once, "yes");
    assert_eq!(status.hub_stream.as_deref(), Some("T"));

    let mut stream = context(port).await.get_stream("T").await.expect("the hub's stream");
    let last = stream.info().await.expect("its state").state.last_sequence;
    let mut payloads = Vec::new();
    for seq in 1..=last {
        payloads.push(String::from_utf8_lossy(&stream.get_raw_message(seq).await.expect("there").payload).into_owned());
    }
    assert_eq!(payloads, (0..next).map(|number| number.to_string()).collect::<Vec<_>>());
    end.send_replace(true);
    uplink.stopped().await;
    link.stopped().await;
    jetstream.shutdown();
    store.close();
    drop::<Arc<JetStream>>(jetstream);
}
