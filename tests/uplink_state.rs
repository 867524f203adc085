//! The state of an uplink as others get it: whoever asks here, whoever listens, and the hub. And buckets as its source.

mod common;

use async_nats::jetstream::{self, kv};
use common::leafd::Leafd;
use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Proxy, have, hub, wait_for};
use futures_util::StreamExt;
use serde_json::Value;

async fn bucket(context: &jetstream::Context, name: &str) -> kv::Store {
    let config = kv::Config { bucket: name.to_owned(), ..Default::default() };
    context.create_key_value(config).await.expect("a bucket")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_told_here_and_at_the_hub() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    hub.stream().await;
    let states = bucket(&jetstream::new(hub.client().await), "gateways").await;
    let proxy = Proxy::start(hub.leafs).await;
    proxy.set(Link::Cut);
    let dir = tempfile::tempdir().expect("a folder");
    let keys = "status_bucket = \"gateways\"\nstatus_interval = \"1s\"\n";
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(keys).leafd(dir.path());
    leafd.start();
    let local = leafd.client().await;
    let context = jetstream::new(local.clone());
    for n in 0..50 {
        let ack = context.publish("plant1.gw1.telemetry.t", n.to_string().into()).await.expect("sent");
        ack.await.expect("stored");
    }
    // The publisher may know of its last message a moment earlier than the uplink.
    let state = wait_for("an answer with the backlog", LIMIT, || async {
        let answer = local.request("$LEAFD.UPLINK.telemetry", "".into()).await.expect("an answer");
        let state: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        (state["backlog_messages"] == 50).then_some(state)
    })
    .await;
    assert_eq!(state["class"], "telemetry", "{state}");
    assert!(state["time"].is_string(), "{state}");

    let mut events = local.subscribe("$LEAFD.EVENT.UPLINK.>").await.expect("subscribed");
    local.flush().await.expect("flushed");
    proxy.set(Link::Open);
    let up = async {
        loop {
            let event = events.next().await.expect("an event");
            let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
            let changed = event["changed"].as_array().expect("a list").contains(&"link".into());
            if changed && event["link"].as_str().is_some_and(|link| link.starts_with("up")) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, up).await.expect("the link's return is told");
    wait_for("the hub has the state", LIMIT, || async {
        let state = states.get("gw1.uplink.telemetry").await.ok()??;
        let state: Value = serde_json::from_slice(&state).ok()?;
        (state["delivered"] == 50 && state["backlog_messages"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_bucket_is_forwarded_to_the_hubs() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    hub.stream().await;
    let at_hub = bucket(&jetstream::new(hub.client().await), "config").await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let table = "[[uplink]]\nname = \"config\"\nkv = \"config\"\nack_timeout = \"1s\"\n";
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(table).leafd(dir.path());
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let here = context.get_key_value("config").await.expect("made by the uplink");
    here.put("a", "1".into()).await.expect("put");
    here.put("b", "1".into()).await.expect("put");
    wait_for("the hub has it", LIMIT, || async { (at_hub.get("b").await.ok()?? == "1").then_some(()) }).await;

    proxy.set(Link::Cut);
    for n in 2..40 {
        here.put("a", n.to_string().into()).await.expect("put");
    }
    here.delete("b").await.expect("deleted");
    proxy.set(Link::Open);
    wait_for("the hub has the last values", LIMIT, || async {
        let (a, b) = (at_hub.get("a").await.ok()?, at_hub.get("b").await.ok()?);
        (a.is_some_and(|a| a == "39") && b.is_none()).then_some(())
    })
    .await;
    let status = leafd.status().expect("answers");
    let uplink = status["uplinks"].as_array().expect("uplinks").iter().find(|uplink| uplink["name"] == "config");
    let uplink = uplink.expect("it is there");
    assert_eq!((&uplink["gaps"], &uplink["exactly_once"]), (&0.into(), &"yes".into()), "{uplink}");
    assert!(here.get("a").await.expect("readable").is_some_and(|a| a == "39"), "it stays here too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_have_an_uplink_each() {
    if !have(&hub::binary()) {
        return;
    }
    let (mut first, second) = (Hub::start().await, Hub::start().await);
    first.stream().await;
    let config = jetstream::stream::Config {
        name: "ALARMS".into(),
        subjects: vec!["plant1.*.alarm".into()],
        ..Default::default()
    };
    let alarms = jetstream::new(second.client().await).create_stream(config).await.expect("a stream");
    let more = format!(
        r#"remote = "hub"
[[leaf.remote]]
name = "second"
urls = ["tls://localhost:{port}"]
user = "gw1"
password = "secret"
tls = {{ ca_file = {ca:?} }}
reconnect = {{ min = "50ms", max = "500ms" }}
[[uplink]]
name = "alarms"
subjects = ["plant1.gw1.alarm"]
remote = "second"
"#,
        port = second.leafs.port(),
        ca = second.ca_file(),
    );
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&first, first.leafs).text(&more).leafd(dir.path());
    leafd.start();
    first.stop(false);
    let context = jetstream::new(leafd.client().await);
    for n in 0..20 {
        for subject in ["plant1.gw1.telemetry.t", "plant1.gw1.alarm"] {
            context.publish(subject, n.to_string().into()).await.expect("sent").await.expect("stored");
        }
    }
    wait_for("the second hub has its messages while the first is away", LIMIT, || async {
        (alarms.get_info().await.ok()?.state.messages == 20).then_some(())
    })
    .await;
    first.restart().await;
    let telemetry = first.stream().await;
    wait_for("the first hub has its own", LIMIT, || async {
        (telemetry.get_info().await.ok()?.state.messages == 20).then_some(())
    })
    .await;
}

/// Neither is there a hub, nor is one needed.
fn alone(uplinks: &str) -> String {
    format!("[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://127.0.0.1:1\"]\n{uplinks}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_cannot_delete_what_an_uplink_reads() {
    let dir = tempfile::tempdir().expect("a folder");
    let table = "[[uplink]]\nname = \"config\"\nkv = \"config\"\n[[uplink]]\nname = \"t\"\nsubjects = [\"t.>\"]\n";
    let mut leafd = Leafd::new(dir.path(), &alone(table));
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    for stream in ["KV_config", "UPLINK_t", "DEAD_t", "DEAD_config"] {
        let error = context.delete_stream(stream).await.map(drop).expect_err("held").to_string();
        assert!(error.contains("[[uplink]]"), "{stream}: {error}");
    }
    let ack = context.publish("t.1", "1".into()).await.expect("sent").await.expect("stored");
    assert_eq!(ack.stream, "UPLINK_t");
    // No longer in the configuration: what waits is told of, and may be deleted.
    leafd.terminate();
    leafd.configure(&alone(""));
    leafd.start();
    leafd.wait_log("1 messages wait in stream UPLINK_t, whose uplink is not in the configuration", 0);
    let context = jetstream::new(leafd.client().await);
    context.delete_stream("UPLINK_t").await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_in_an_uplinks_way_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), &alone(""));
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let own = jetstream::stream::Config { name: "OWN".into(), subjects: vec!["t.own".into()], ..Default::default() };
    context.create_stream(own).await.expect("made");
    leafd.terminate();
    leafd.configure(&alone("[[uplink]]\nname = \"t\"\nsubjects = [\"t.>\"]\n"));
    assert!(leafd.try_start().is_err());
    leafd.wait_log("the stream OWN stores t.own already", 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_stores_under_other_subjects_is_not_said_to_be_exact() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    let stream = hub.stream().await;
    let hub_context = jetstream::new(hub.client().await);
    let info: Value = hub_context.request("STREAM.INFO.TELEMETRY", &()).await.expect("it tells");
    let mut renamed = info["config"].clone();
    renamed["subject_transform"] = serde_json::json!({ "src": ">", "dest": "t.>" });
    let answer: Value = hub_context.request("STREAM.UPDATE.TELEMETRY", &renamed).await.expect("an answer");
    assert!(answer["error"].is_null(), "{answer}");
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&hub, proxy.address).leafd(dir.path());
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    context.publish("plant1.gw1.telemetry.t", "1".into()).await.expect("sent").await.expect("stored");
    let uplink = |leafd: &Leafd| leafd.status().map(|status| status["uplinks"][0].clone());
    wait_for("it is delivered", LIMIT, || async { (uplink(&leafd)?["delivered"] == 1).then_some(()) }).await;
    proxy.set(Link::Cut);
    wait_for("the link is down", LIMIT, || async { (leafd.status()?["links"][0]["up"] == false).then_some(()) }).await;
    proxy.set(Link::Open);
    wait_for("that is known", LIMIT, || async {
        (uplink(&leafd)?["exactly_once"] == "dedup window only").then_some(())
    })
    .await;
    leafd.wait_log("the hub stores our messages on other subjects (t.plant1.gw1.telemetry.t)", 0);
    context.publish("plant1.gw1.telemetry.t", "2".into()).await.expect("sent").await.expect("stored");
    wait_for("both are there", LIMIT, || async { (stream.get_info().await.ok()?.state.messages == 2).then_some(()) })
        .await;
}
