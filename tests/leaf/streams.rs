//! Mirrors and sources across the link while it breaks: nothing is missing, nothing comes twice, nothing stands still.

use crate::common::leafd::Leafd;
use crate::common::nats_server::NatsServer;
use crate::common::proxy::{Link, Proxy};
use crate::common::{seed, wait_for};
use crate::rig;
use async_nats::jetstream;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// nats-server looks after a source that has stopped every ten seconds, and waits in between.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a stream of another domain needs to cross.
const CROSSING: &str =
    r#"["$JS.*.API.>", "$JS.M.>", "$JS.S.>", "$JS.FC.>", "$JS.ACK.>", "$JSC.>", "_INBOX.>", "deliver.>"]"#;

pub async fn api(client: &async_nats::Client, verb: &str, body: Value) -> Value {
    let request = || client.request(format!("$JS.API.{verb}"), body.to_string().into());
    let answer = wait_for(&format!("an answer to {verb}"), PATIENCE, || async { request().await.ok() }).await;
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert!(answer["error"].is_null(), "{verb} {body}: {answer}");
    answer
}

/// Publishes the numbers `from..=to`, each until it is stored once.
pub async fn publish(client: &async_nats::Client, subject: &str, from: u64, to: u64) {
    let context = jetstream::new(client.clone());
    for n in from..=to {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{subject}-{n}").as_str());
        wait_for("a stored message", PATIENCE, || async {
            let sent = context.publish_with_headers(subject.to_owned(), headers.clone(), n.to_string().into()).await;
            sent.ok()?.await.ok()
        })
        .await;
    }
}

/// The bodies of a stream by subject, once it has `count` messages.
pub async fn bodies(client: &async_nats::Client, stream: &str, subject: &str, count: u64) -> Vec<String> {
    let info = wait_for(&format!("{count} messages in {stream}"), PATIENCE, || async {
        let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), "".into()).await.ok()?;
        let info: Value = serde_json::from_slice(&info.payload).ok()?;
        assert!(info["state"]["messages"].as_u64() <= Some(count), "too many: {info}");
        (info["state"]["messages"] == count).then_some(info)
    })
    .await;
    let context = jetstream::new(client.clone());
    let stream = context.get_stream(stream).await.expect("it is there");
    let (first, last) = (info["state"]["first_seq"].as_u64(), info["state"]["last_seq"].as_u64());
    let mut all = Vec::new();
    for seq in first.expect("a number")..=last.expect("a number") {
        let Ok(message) = stream.get_raw_message(seq).await else { continue };
        if message.subject.as_str() == subject {
            all.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
    }
    all
}

pub fn numbers(to: u64) -> Vec<String> {
    (1..=to).map(|n| n.to_string()).collect()
}

pub fn external(name: &str, domain: &str) -> Value {
    json!({ "name": name, "external": { "api": format!("$JS.{domain}.API"), "deliver": "" } })
}

async fn hub(dir: &Path) -> NatsServer {
    rig::nats_hub("", &format!("jetstream {{ store_dir: {:?}, domain: hub }}\n", dir.join("hub"))).await
}

/// The configuration of a gateway whose hub is at `urls`.
pub fn gateway(dir: &Path, name: &str, urls: &str) -> Leafd {
    std::fs::create_dir_all(dir).expect("a folder");
    let leafd = Leafd::new(dir, "");
    leafd.configure_raw(&format!(
        "server_name = {name:?}\ndata_dir = {:?}\n[listen]\nport = 0\n[[leaf.remote]]\nname = \"hub\"\nurls = [{urls}]\n\
         ping_interval = \"500ms\"\nreconnect = {{ min = \"20ms\", max = \"500ms\" }}\nexport = {CROSSING}\nimport = {CROSSING}\n",
        leafd.data()
    ));
    leafd
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_resume_after_every_kind_of_interruption() {
    let mut random = fastrand::Rng::with_seed(seed());
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(dir.path()).await;
    let leafs = std::net::SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await));
    let proxy = Proxy::start(leafs).await;
    let mut leafd = gateway(&dir.path().join("gw"), "gw1", &format!("\"nats://{}\"", proxy.address));
    leafd.start();
    let (here, there) = (leafd.client().await, hub.client().await);
    api(&there, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "subjects": ["down"]})).await;
    api(&here, "STREAM.CREATE.UP", json!({"name": "UP", "subjects": ["up"]})).await;
    api(&here, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "mirror": external("DOWN", "hub")})).await;
    api(&here, "STREAM.CREATE.IN", json!({"name": "IN", "sources": [external("DOWN", "hub")]})).await;
    api(&there, "STREAM.CREATE.UP", json!({"name": "UP", "mirror": external("UP", "gw1")})).await;
    api(&there, "STREAM.CREATE.ALL", json!({"name": "ALL", "sources": [external("UP", "gw1")]})).await;
    let mut count = 0;
    for _ in 0..10 {
        let link = match random.u8(..4) {
            0 => Link::Cut,
            1 => Link::Stalled,
            2 => Link::Open,
            _ => Link::Reset(random.usize(..300)),
        };
        let more = random.u64(5..40);
        publish(&here, "up", count + 1, count + more / 2).await;
        proxy.set(link);
        publish(&here, "up", count + more / 2 + 1, count + more).await;
        publish(&there, "down", count + 1, count + more).await;
        count += more;
        // The length of the outage is part of the schedule.
        tokio::time::sleep(Duration::from_millis(random.u64(..3000))).await;
        proxy.set(Link::Open);
    }
    assert_eq!(bodies(&here, "DOWN", "down", count).await, numbers(count));
    assert_eq!(bodies(&here, "IN", "down", count).await, numbers(count));
    assert_eq!(bodies(&there, "UP", "up", count).await, numbers(count));
    assert_eq!(bodies(&there, "ALL", "up", count).await, numbers(count));
}

/// Who has tried in vain for a while tries rarely; a link that is up again is not waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_goes_on_as_soon_as_the_link_is_up_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(dir.path()).await;
    let leafs = std::net::SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await));
    let proxy = Proxy::start(leafs).await;
    let there = hub.client().await;
    api(&there, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "subjects": ["down"]})).await;
    publish(&there, "down", 1, 10).await;
    proxy.set(Link::Cut);
    let mut leafd = gateway(&dir.path().join("gw"), "gw1", &format!("\"nats://{}\"", proxy.address));
    leafd.start();
    let here = leafd.client().await;
    api(&here, "STREAM.CREATE.DOWN", json!({"name": "DOWN", "mirror": external("DOWN", "hub")})).await;
    // The length of the outage: by then it tries every ten to thirty seconds.
    tokio::time::sleep(Duration::from_secs(16)).await;
    proxy.set(Link::Open);
    let up = Instant::now();
    assert_eq!(bodies(&here, "DOWN", "down", 10).await, numbers(10));
    assert!(up.elapsed() < Duration::from_secs(5), "{:?}", up.elapsed());
}

/// Four gateways, of which one is killed and one loses its link meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn many_gateways_are_sourced_into_one_stream_of_the_hub() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(dir.path()).await;
    let leafs = std::net::SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await));
    let (proxy, there) = (Proxy::start(leafs).await, hub.client().await);
    let mut gateways = Vec::new();
    for n in 1..=4 {
        let to = if n == 2 { proxy.address } else { leafs };
        let mut leafd = gateway(&dir.path().join(format!("gw{n}")), &format!("gw{n}"), &format!("\"nats://{to}\""));
        leafd.start();
        let config = json!({"name": "EVENTS", "subjects": [format!("events.gw{n}")]});
        api(&leafd.client().await, "STREAM.CREATE.EVENTS", config).await;
        gateways.push(leafd);
    }
    let sources: Vec<_> = (1..=4).map(|n| external("EVENTS", &format!("gw{n}"))).collect();
    api(&there, "STREAM.CREATE.ALL", json!({"name": "ALL", "sources": sources})).await;
    for (from, to) in [(1, 20), (21, 40), (41, 60)] {
        for (n, leafd) in gateways.iter().enumerate() {
            publish(&leafd.client().await, &format!("events.gw{}", n + 1), from, to).await;
        }
        match from {
            1 => proxy.set(Link::Cut),
            21 => gateways[2].restart(),
            _ => proxy.set(Link::Open),
        }
    }
    for n in 1..=4 {
        assert_eq!(bodies(&there, "ALL", &format!("events.gw{n}"), 240).await, numbers(60), "gw{n}");
    }
}

/// A work queue at the gateway, read by the hub through a durable consumer that flow control acknowledges, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_sourced_through_an_acknowledged_consumer_over_a_link_that_breaks() {
    if rig::version() < (2, 14) {
        return eprintln!("skipped: nats-server sources through a consumer since 2.14");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(dir.path()).await;
    let leafs = std::net::SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await));
    let proxy = Proxy::start(leafs).await;
    let mut leafd = gateway(&dir.path().join("gw"), "gw1", &format!("\"nats://{}\"", proxy.address));
    leafd.start();
    let (here, there) = (leafd.client().await, hub.client().await);
    for (queue, reader, domain, name) in [(&here, &there, "gw1", "a"), (&there, &here, "hub", "b")] {
        let (stream, subject, deliver) = (format!("Q{name}"), format!("q{name}"), format!("deliver.{name}"));
        let config = json!({"name": stream, "subjects": [subject], "retention": "workqueue"});
        api(queue, &format!("STREAM.CREATE.{stream}"), config).await;
        let consumer = json!({"durable_name": "d", "deliver_subject": deliver, "ack_policy": "flow_control"});
        let body = json!({"stream_name": stream, "config": consumer});
        api(queue, &format!("CONSUMER.CREATE.{stream}.d"), body).await;
        publish(queue, &subject, 1, 20).await;
        let mut source = external(&stream, domain);
        source["consumer"] = json!({"name": "d", "deliver_subject": deliver});
        api(reader, &format!("STREAM.CREATE.S{name}"), json!({"name": format!("S{name}"), "sources": [source]})).await;
        assert_eq!(bodies(reader, &format!("S{name}"), &subject, 20).await, numbers(20));
        proxy.set(Link::Stalled);
        publish(queue, &subject, 21, 40).await;
        proxy.set(Link::Cut);
        publish(queue, &subject, 41, 60).await;
        proxy.set(Link::Open);
        assert_eq!(bodies(reader, &format!("S{name}"), &subject, 60).await, numbers(60));
        wait_for("an empty work queue", PATIENCE, || async {
            let info = api(queue, &format!("STREAM.INFO.{stream}"), json!({})).await;
            (info["state"]["messages"] == 0).then_some(())
        })
        .await;
    }
}

/// A gateway that mirrors and sources a stream of the hub, which is then made anew with `count` messages, while the gateway is
/// there or not; what the mirror says of it.
async fn made_anew(count: u64, away: bool, says: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = hub(dir.path()).await;
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
    let mut leafd = gateway(&dir.path().join("gw"), "gw1", &url);
    leafd.start();
    let (here, there) = (leafd.client().await, hub.client().await);
    let origin = json!({"name": "DOWN", "subjects": ["down"]});
    api(&there, "STREAM.CREATE.DOWN", origin.clone()).await;
    publish(&there, "down", 1, 10).await;
    api(&here, "STREAM.CREATE.M", json!({"name": "M", "mirror": external("DOWN", "hub")})).await;
    api(&here, "STREAM.CREATE.S", json!({"name": "S", "sources": [external("DOWN", "hub")]})).await;
    for stream in ["M", "S"] {
        assert_eq!(bodies(&here, stream, "down", 10).await, numbers(10));
    }
    if away {
        leafd.terminate();
    }
    api(&there, "STREAM.DELETE.DOWN", json!({})).await;
    api(&there, "STREAM.CREATE.DOWN", origin).await;
    publish(&there, "down", 11, 10 + count).await;
    let here = if away {
        leafd.start();
        leafd.client().await
    } else {
        here
    };
    assert_eq!(bodies(&here, "S", "down", 10 + count).await, numbers(10 + count), "a source has both streams");
    wait_for("an error of the mirror", PATIENCE, || async {
        let info = api(&here, "STREAM.INFO.M", json!({})).await;
        info.pointer("/mirror/error/description")?.as_str()?.contains(says).then_some(())
    })
    .await;
    assert_eq!(bodies(&here, "M", "down", 10).await, numbers(10), "a mirror mixes nothing");
    let status = leafd.status().expect("a status");
    let origins = status["origins"].as_array().expect("origins").iter();
    let remade: u64 = origins.filter(|origin| origin["kind"] == "source").map(|s| s["remade"].as_u64().unwrap()).sum();
    assert_eq!(remade, 1, "{status}");
    // As it is told to do.
    api(&here, "STREAM.DELETE.M", json!({})).await;
    api(&here, "STREAM.CREATE.M", json!({"name": "M", "mirror": external("DOWN", "hub")})).await;
    let want: Vec<String> = numbers(10 + count).split_off(10);
    assert_eq!(bodies(&here, "M", "down", count).await, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_was_made_anew_is_noticed() {
    made_anew(3, false, "the origin was made anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_was_made_anew_and_holds_more_is_noticed() {
    made_anew(13, false, "the origin was made anew").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_was_made_anew_while_the_gateway_was_off_is_noticed() {
    made_anew(10, true, "the origin was made anew").await;
}
