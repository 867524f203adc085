//! Monitoring over HTTP beside a real nats-server: the same requests, after the same work, get answers of the same shape.

mod common;

use async_nats::jetstream;
use common::certificates::Authority;
use common::http::get;
use common::nats_server::NatsServer;
use common::play::Raw;
use common::{LIMIT, Leafd, have, wait_for};
use serde_json::Value;
use std::collections::BTreeSet;

const NATS_SERVER: &str = "http: \"127.0.0.1:-1\"\nserver_name: gw1\njetstream: { store_dir: STORE }\n";

fn leafd(dir: &std::path::Path, config: &str) -> Leafd {
    let mut leafd = Leafd::new(dir, config);
    leafd.start();
    leafd
}

/// The work whose traces the pages show.
async fn work(client: &async_nats::Client) -> async_nats::Subscriber {
    let context = jetstream::new(client.clone());
    let config =
        jetstream::stream::Config { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..Default::default() };
    let stream = context.create_stream(config).await.expect("a stream");
    context.publish("orders.new", "one".into()).await.expect("sent").await.expect("stored");
    let config = jetstream::consumer::pull::Config { durable_name: Some("worker".into()), ..Default::default() };
    stream.create_consumer(config).await.expect("a consumer");
    let subscriber = client.queue_subscribe("jobs.*", "workers".into()).await.expect("subscribed");
    client.publish("jobs.1", "hello".into()).await.expect("published");
    client.flush().await.expect("flushed");
    // Of a flush the server tells nothing; what a request behind it is answered comes after the message was routed.
    context.query_account().await.expect("answered");
    subscriber
}

/// Every path of keys, list elements as `[]`; of differing elements all keys.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                keys(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, &format!("{path}[]"), found)),
        _ => {}
    }
}

/// Keys that only one has: `-` nats-server's, `+` leafd's; below those of `known` they may differ.
fn differences(theirs: &Value, ours: &Value, known: &[&str]) -> Vec<String> {
    let (mut left, mut right) = (BTreeSet::new(), BTreeSet::new());
    keys(theirs, "", &mut left);
    keys(ours, "", &mut right);
    let unknown = |path: &&String| !known.iter().any(|known| path.starts_with(known));
    let missing = left.difference(&right).filter(unknown).map(|path| format!("-{path}"));
    missing.chain(right.difference(&left).filter(unknown).map(|path| format!("+{path}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_have_nats_servers_keys() {
    if !have("nats-server") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let store = format!("{:?}", dir.path().join("nats"));
    let peer = NatsServer::start(&NATS_SERVER.replace("STORE", &store)).await;
    let leafd = leafd(dir.path(), "[http]\nport = 0\n");
    let (theirs, ours) = (peer.client().await, leafd.client().await);
    let _held = (work(&theirs).await, work(&ours).await);
    let bases = (peer.port("monitoring"), leafd.port("monitoring"));
    for (path, known) in [
        // leafd syncs before it acknowledges.
        ("varz", &[".jetstream.config.", ".jetstream.limits"][..]),
        ("connz", &[]),
        ("connz?subs=1&auth=1", &[]),
        ("connz?subs=detail&sort=bytes_to&limit=1", &[]),
        ("connz?state=closed", &[]),
        ("connz?state=any&acc=$G", &[]),
        ("connz?acc=NONE", &[]),
        ("connz?acc=$G&subs=1", &[]),
        ("connz?mqtt_client=x", &[]),
        ("connz?user=nobody", &[]),
        ("connz?offset=5", &[]),
        ("subsz", &[]),
        ("subsz?subs=1&test=jobs.1", &[]),
        ("leafz?subs=1", &[]),
        ("accountz", &[]),
        // Inside, nats-server offers its own services as imports and the domain as mappings.
        ("accountz?acc=$G", &[".account_detail.mappings", ".account_detail.imports"]),
        ("accstatz", &[]),
        ("jsz", &[".config.", ".limits"]),
        ("jsz?acc=$G&streams=1&consumers=1&config=1", &[".config.", ".limits"]),
        ("jsz?consumers=1", &[".config.", ".limits"]),
        ("healthz", &[]),
        ("healthz?details=1&js-enabled-only=1", &[]),
        ("healthz?stream=X", &[]),
        ("healthz?consumer=X", &[]),
        ("healthz?account=$G", &[]),
        ("healthz?account=NONE", &[]),
        ("healthz?account=NONE&details=1", &[]),
        ("healthz?account=$G&stream=ORDERS", &[]),
        ("healthz?account=$G&stream=NONE", &[]),
        ("healthz?account=$G&stream=NONE&details=true", &[]),
        ("healthz?account=$G&stream=ORDERS&consumer=worker", &[]),
        ("healthz?account=$G&stream=ORDERS&consumer=NONE", &[]),
        ("healthz?account=$G&stream=ORDERS&consumer=NONE&details=1", &[]),
        ("healthz?js-server-only=1&account=NONE", &[]),
        ("healthz?js-enabled-only=1&account=NONE", &[]),
        ("healthz?js-meta-only=1", &[]),
        ("accstatz?unused=1", &[]),
        ("jsz?accounts=1", &[".config.", ".limits"]),
        ("jsz?accounts=1&offset=3", &[".config.", ".limits"]),
        ("jsz?streams=1&limit=-1", &[".config.", ".limits"]),
        ("jsz?acc=NONE&streams=1", &[".config.", ".limits"]),
        ("jsz?leader-only=1&raft=1&stream-leader-only=1&direct-consumers=1", &[".config.", ".limits"]),
        ("subsz?subs=1&acc=$G&limit=2&offset=1", &[".subscriptions_list[].qgroup"]),
        ("subsz?subs=1&acc=NONE", &[]),
        ("subscriptionsz?subs=1&test=nobody.listens", &[]),
        ("ipqueuesz", &[]),
        ("debug/vars", &[".memstats."]),
        ("routez", &[]),
        ("gatewayz", &[]),
    ] {
        let theirs = get(&format!("{}/{path}", bases.0), "", None).await;
        let ours = get(&format!("{}/{path}", bases.1), "", None).await;
        assert_eq!(theirs.status, ours.status, "{path}: {}", ours.body);
        assert!(ours.head.contains("Content-Type: application/json"), "{path}: {}", ours.head);
        let differences = differences(&theirs.json(), &ours.json(), known);
        assert!(differences.is_empty(), "{path}: {differences:#?}");
    }
    for path in [
        "connz?limit=x",
        "connz?auth=maybe",
        "connz?cid=-1",
        "connz?state=half",
        "connz?sort=size",
        "connz?sort=stop",
        "subsz?subs=1&test=a.*",
        "accountz?acc=NONE",
        "jsz?streams=2",
        "healthz?details=7",
        "healthz?js-meta-only=x",
        "healthz?account=NONE",
        "healthz?account=$G&stream=NONE",
        "healthz?account=$G&stream=ORDERS&consumer=NONE",
        "healthz?stream=X",
        "jsz?limit=ten",
        "jsz?raft=maybe",
        "raftz",
        "nowhere",
    ] {
        let theirs = get(&format!("{}/{path}", bases.0), "", None).await;
        let ours = get(&format!("{}/{path}", bases.1), "", None).await;
        assert_eq!((theirs.status, theirs.body), (ours.status, ours.body), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_are_those_of_the_work_done() {
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = leafd(dir.path(), "[http]\nport = 0\n[websocket]\nport = 0\nno_tls = true\n");
    let base = leafd.port("monitoring");
    let page = async |path: &str| get(&format!("{base}/{path}"), "", None).await.json();
    let client = async_nats::ConnectOptions::new().name("app").connect(leafd.url()).await.expect("connected");
    let _held = work(&client).await;
    let connz = page("connz?subs=detail").await;
    let connection = &connz["connections"][0];
    assert_eq!(
        (&connz["num_connections"], &connection["name"], &connection["lang"]),
        (&1.into(), &"app".into(), &"rust".into())
    );
    let subs = connection["subscriptions_list_detail"].as_array().expect("subscriptions");
    let jobs = subs.iter().find(|sub| sub["subject"] == "jobs.*").expect("the subscription");
    assert_eq!((&jobs["qgroup"], &jobs["msgs"]), (&"workers".into(), &1.into()));
    let cid = &connection["cid"];
    assert_eq!(page(&format!("connz?cid={cid}")).await["connections"][0]["cid"], *cid);
    // The first question has the client pinged, and its answer tells the round trip.
    wait_for("a round trip", LIMIT, || async { (page("connz").await["connections"][0]["rtt"] != "0s").then_some(()) })
        .await;
    let jsz = page("jsz?consumers=1").await;
    let stream = &jsz["account_details"][0]["stream_detail"][0];
    assert_eq!((&jsz["streams"], &jsz["messages"], &stream["state"]["last_seq"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(stream["consumer_detail"][0]["num_pending"], 1);
    let varz = page("varz").await;
    assert_eq!((&varz["connections"], &varz["version"]), (&1.into(), &"2.15.1".into()));
    assert!(varz["in_msgs"].as_u64() >= Some(4) && varz["out_bytes"].as_u64() > Some(5), "{varz}");
    assert_eq!(varz["websocket"]["no_tls"], true);
    let metrics = get(&format!("{base}/metrics"), "", None).await;
    assert!(metrics.head.contains("text/plain; version=0.0.4"), "{}", metrics.head);
    for line in ["leafd_clients 1", "leafd_stream_messages{account=\"$G\",stream=\"ORDERS\"} 1"] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} in {}", metrics.body);
    }
    drop(_held);
    client.drain().await.expect("drained");
    let closed = wait_for("a closed connection", LIMIT, || async {
        page("connz?state=closed").await["connections"].get(0).cloned()
    })
    .await;
    assert_eq!((&closed["reason"], &closed["name"]), (&"Client Closed".into(), &"app".into()));
}

/// As nats-top shows it under LAST_ACTIVITY, and sorts by `last` and `idle`.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_activity_and_pings_are_not() {
    if !have("nats-server") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let peer = NatsServer::start("http: \"127.0.0.1:-1\"\n").await;
    let leafd = leafd(dir.path(), "[http]\nport = 0\n");
    let ours = leafd.clients.expect("it listens");
    for (clients, base) in [(peer.clients, peer.port("monitoring")), (ours, leafd.port("monitoring"))] {
        let last = async || {
            let page = get(&format!("{base}/connz"), "", None).await.json();
            page["connections"][0]["last_activity"].clone()
        };
        let mut client = Raw::connect(clients).await;
        client.say("CONNECT {\"verbose\":false}\r\nSUB plant.> 1\r\n").await;
        // Once this is answered, all that came before has been noted.
        client.say("").await;
        let subscribed = last().await;
        client.say("PONG\r\n").await;
        client.say("").await;
        assert_eq!(last().await, subscribed, "{base}");
        let publish = async {
            while last().await == subscribed {
                client.say("PUB elsewhere 1\r\nx\r\n").await;
            }
        };
        tokio::time::timeout(LIMIT, publish).await.expect("what it publishes is activity");
        client.say("").await;
        let published = last().await;
        let other = async_nats::connect(clients.to_string()).await.expect("connected");
        wait_for("a delivery as activity", LIMIT, || async {
            other.publish("plant.1", "x".into()).await.expect("published");
            (last().await != published).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_by_tls_and_with_a_password() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let server = authority.server("server");
    let config = format!(
        "[http]\nport = 0\nbase_path = \"/leaf\"\nuser = \"ops\"\npassword = \"pw\"\n[http.tls]\ncert_file = {:?}\nkey_file = {:?}\n",
        server.cert, server.key
    );
    let leafd = leafd(dir.path(), &config);
    let url = format!("{}/leaf/varz", leafd.port("monitoring"));
    let ca = authority.file();
    assert!(url.starts_with("https://"), "{url}");
    let refused = get(&url, "", Some(&ca)).await;
    assert!(refused.status == 401 && refused.head.contains("WWW-Authenticate: Basic"), "{}", refused.head);
    let wrong = get(&url, "Authorization: Basic b3BzOm5v\r\n", Some(&ca)).await;
    assert_eq!(wrong.status, 401);
    let right = "Authorization: Basic b3BzOnB3\r\n";
    assert_eq!(get(&url, right, Some(&ca)).await.json()["server_name"], "gw1");
    assert_eq!(get(&url.replace("/leaf", ""), right, Some(&ca)).await.status, 404);
}
