//! Deliveries of consumers across a leaf connection: the subscriber sees the message's own subject, not that of the delivery.

use crate::common::proxy::{Link, Proxy};
use crate::common::{LIMIT, nats_server::NatsServer, wait_for};
use crate::rig;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt;
use std::future::IntoFuture;
use std::net::SocketAddr;

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

/// What is stored has time: where live traffic would be dropped, a consumer waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_waits_for_a_link_that_takes_no_more() {
    const MANY: usize = 20_000;
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
            acks.push(context.publish("all", format!("{n:01024}").into()).await.expect("sent").into_future());
        }
        futures_util::future::try_join_all(acks).await.expect("stored");
    }

    let mut heard = app.subscribe("there").await.expect("subscribed");
    wait_for("a consumer", LIMIT, || async {
        let config = r#"{"stream_name":"ALL","config":{"name":"c","deliver_subject":"there","ack_policy":"none"}}"#;
        app.request("$JS.gw.API.CONSUMER.CREATE.ALL.c", config.into()).await.ok()
    })
    .await;
    let mut next =
        async || tokio::time::timeout(LIMIT, heard.next()).await.expect("in time").expect("one more").payload;
    assert_eq!(next().await, format!("{:01024}", 0));
    proxy.set(Link::Stalled);
    wait_for("a full link", LIMIT, || async {
        let status = leafd.status()?;
        (status["links"][0]["waiting_bytes"].as_u64()? > 2 << 20).then_some(())
    })
    .await;
    proxy.set(Link::Open);
    for n in 1..MANY {
        assert_eq!(next().await, format!("{n:01024}"));
    }
}
