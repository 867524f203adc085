//! Deliveries of consumers across a leaf connection: the subscriber sees the message's own subject, not that of the delivery.

use crate::common::proxy::{Link, Proxy};
use crate::common::{LIMIT, leafd::Leafd, nats_server::NatsServer, wait_for};
use crate::rig;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::Duration;

const JETSTREAM: &str = "jetstream { domain: hub, store_dir: STORE }\n";

/// A push consumer in `domain`, made and read by a client of the other side.
async fn pushed(local: &async_nats::Client, domain: &str) {
    let context = jetstream::with_domain(local.clone(), domain);
    let config = stream::Config { name: "ORDERS@1".into(), subjects: vec!["orders.>".into()], ..Default::default() };
    let stream = context.create_stream(config).await.expect("a stream");
    let ack = context.publish("orders.new", "one".into()).await.expect("sent").await;
    assert_eq!(ack.expect("an ack").sequence, 1);
    let config = consumer::push::Config {
        deliver_subject: local.new_inbox(),
        durable_name: Some("watch".into()),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("messages");
    let message = tokio::time::timeout(LIMIT, messages.next()).await.expect("in time").expect("one").expect("good");
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("orders.new", &b"one"[..]));
    let reply = message.reply.as_ref().expect("a reply subject").to_string();
    assert!(reply.starts_with("$JS.ACK.") && !reply.ends_with("@orders.new"), "{reply}");
    message.double_ack().await.expect("the consumer hears the ack");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hubs_consumer_delivers_to_a_leafds_client() {
    let store = tempfile::tempdir().expect("a folder");
    let config = JETSTREAM.replace("STORE", &format!("{:?}", store.path()));
    let hub = rig::nats_hub("", &config).await;
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
    let leafd = rig::leafd(dir.path(), &rig::remote(&url, ""));
    let (app, local) = (hub.client().await, leafd.client().await);
    rig::joined(&app, &local).await;
    pushed(&local, "hub").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leafds_consumer_delivers_to_a_nats_servers_client() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = "[http]\nport = 0\n[jetstream]\ndomain = \"gw\"\n[leaf.listen]\nport = 0\n";
    let leafd = rig::leafd(dir.path(), config);
    let leaf = NatsServer::start(&format!(
        "server_name: leaf1\nleafnodes {{ reconnect: 1, remotes: [ {{ url: \"{}\" }} ] }}\n",
        leafd.port("leafnodes")
    ))
    .await;
    let (app, local) = (leafd.client().await, leaf.client().await);
    rig::joined(&app, &local).await;
    pushed(&local, "gw").await;
}

const MANY: usize = 20_000;

/// A leafd with a stream of many messages behind a proxy to its hub.
struct Backlog {
    _hub: NatsServer,
    proxy: Proxy,
    leafd: Leafd,
    /// A client at the hub, and one at the leafd.
    app: async_nats::Client,
    local: async_nats::Client,
    _dir: tempfile::TempDir,
}

impl Backlog {
    async fn new() -> Backlog {
        let hub = rig::nats_hub("", "").await;
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], rig::leaf_port(&hub).await))).await;
        let dir = tempfile::tempdir().expect("a folder");
        let remote = rig::remote(&format!("\"nats://{}\"", proxy.address), "max_pending = \"4MB\"");
        let leafd = rig::leafd(dir.path(), &format!("{remote}[jetstream]\ndomain = \"gw\"\n"));
        let (app, local) = (hub.client().await, leafd.client().await);
        rig::joined(&app, &local).await;
        let context = jetstream::new(local.clone());
        let config = stream::Config { name: "ALL".into(), subjects: vec!["all".into()], ..Default::default() };
        context.create_stream(config).await.expect("a stream");
        for from in (0..MANY).step_by(500) {
            let mut acks = Vec::new();
            for n in from..from + 500 {
                acks.push(context.publish("all", payload(n).into()).await.expect("sent").into_future());
            }
            futures_util::future::try_join_all(acks).await.expect("stored");
        }
        Backlog { _hub: hub, proxy, leafd, app, local, _dir: dir }
    }

    /// Makes a consumer from afar, so that the interest of those there is known here.
    async fn consumer(&self, settings: &str) {
        let config = format!(r#"{{"stream_name":"ALL","config":{{"name":"c",{settings}}}}}"#);
        wait_for("a consumer", LIMIT, || async {
            self.app.request("$JS.gw.API.CONSUMER.CREATE.ALL.c", config.clone().into()).await.ok()
        })
        .await;
    }

    /// A link that stands still takes no more of what is stored.
    async fn standing_link(&self) {
        let mut before = (0, 0);
        wait_for("a link that stands still", LIMIT, || {
            let waiting = self.leafd.status().and_then(|status| status["links"][0]["waiting_bytes"].as_u64());
            let waiting = waiting.unwrap_or(0);
            before = if waiting > 2048 && waiting == before.0 { (waiting, before.1 + 1) } else { (waiting, 0) };
            std::future::ready((before.1 >= 20).then_some(()))
        })
        .await;
    }

    async fn full_link(&self) {
        wait_for("a full link", LIMIT, || async {
            let status = self.leafd.status()?;
            (status["links"][0]["waiting_bytes"].as_u64()? > 2 << 20).then_some(())
        })
        .await;
    }
}

fn payload(n: usize) -> String {
    format!("{n:01024}")
}

async fn hears(heard: &mut async_nats::Subscriber, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let message = tokio::time::timeout(LIMIT, heard.next()).await.expect("in time").expect("one more");
        assert_eq!(message.payload, payload(n));
    }
}

/// What is stored has time: where live traffic would be dropped, a consumer waits.
async fn waits_for_the_link(settings: &str, group: Option<&str>) {
    let backlog = Backlog::new().await;
    let app = &backlog.app;
    let mut heard = match group {
        None => app.subscribe("there").await,
        Some(group) => app.queue_subscribe("there", group.to_owned()).await,
    }
    .expect("subscribed");
    backlog.consumer(settings).await;
    if !settings.contains("deliver_subject") {
        let ask = MANY.to_string().into();
        app.publish_with_reply("$JS.gw.API.CONSUMER.MSG.NEXT.ALL.c", "there", ask).await.expect("asked");
    }
    hears(&mut heard, 0..1).await;
    backlog.proxy.set(Link::Stalled);
    backlog.standing_link().await;
    backlog.proxy.set(Link::Open);
    hears(&mut heard, 1..MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_waits_for_a_link_that_takes_no_more() {
    waits_for_the_link(r#""deliver_subject":"there","ack_policy":"none""#, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_consumer_of_a_group_waits_for_a_link_that_takes_no_more() {
    waits_for_the_link(r#""deliver_subject":"there","deliver_group":"g","ack_policy":"none""#, Some("g")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_consumer_waits_for_a_link_that_takes_no_more() {
    waits_for_the_link(r#""ack_policy":"none""#, None).await;
}

/// Local first: who is here gets what is here, whatever becomes of those who listen from afar.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_near_does_not_wait_for_a_link_that_takes_no_more() {
    let backlog = Backlog::new().await;
    let mut tap = backlog.app.subscribe("there").await.expect("subscribed");
    let known = async {
        while tokio::time::timeout(Duration::from_millis(100), tap.next()).await.is_err() {
            backlog.local.publish("there", "".into()).await.expect("sent");
        }
    };
    tokio::time::timeout(LIMIT, known).await.expect("the tap is known here");
    let mut near = backlog.local.subscribe("there").await.expect("subscribed");
    backlog.local.flush().await.expect("flushed");
    backlog.proxy.set(Link::Stalled);
    let config = r#"{"stream_name":"ALL","config":{"name":"c","deliver_subject":"there","ack_policy":"none"}}"#;
    backlog.local.request("$JS.API.CONSUMER.CREATE.ALL.c", config.into()).await.expect("a consumer");
    hears(&mut near, 0..MANY).await;
    backlog.full_link().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_from_near_is_served_while_the_link_takes_no_more() {
    let backlog = Backlog::new().await;
    let mut far = backlog.app.subscribe("far").await.expect("subscribed");
    backlog.consumer(r#""ack_policy":"none""#).await;
    let next = "$JS.gw.API.CONSUMER.MSG.NEXT.ALL.c";
    backlog.app.publish_with_reply(next, "far", MANY.to_string().into()).await.expect("asked");
    hears(&mut far, 0..1).await;
    backlog.proxy.set(Link::Stalled);
    backlog.standing_link().await;
    let mut near = backlog.local.subscribe("near").await.expect("subscribed");
    backlog.local.publish_with_reply(next, "near", "1000".into()).await.expect("asked");
    for _ in 0..1000 {
        let message = tokio::time::timeout(LIMIT, near.next()).await.expect("in time").expect("one more");
        assert_eq!(message.payload.len(), payload(0).len());
    }
}
