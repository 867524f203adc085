//! An ordinary client, async-nats, unmodified, on leafd's ordinary port.

mod common;

use async_nats::jetstream::{self, consumer::PullConsumer};
use common::{LIMIT, Leafd};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::time::timeout;

fn started() -> (tempfile::TempDir, Leafd) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    (dir, leafd)
}

async fn next(subscriber: &mut async_nats::Subscriber) -> async_nats::Message {
    timeout(LIMIT, subscriber.next()).await.expect("in time").expect("a message")
}

#[tokio::test]
async fn messages_reach_subscribers_by_subject_and_wildcard() {
    let (_dir, leafd) = started();
    let client = leafd.client().await;
    let (mut plain, mut star, mut rest) = (
        client.subscribe("a.b").await.expect("subscribed"),
        client.subscribe("a.*").await.expect("subscribed"),
        client.subscribe("a.>").await.expect("subscribed"),
    );
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("X-Kind", "test");
    client.publish_with_headers("a.b", headers, "one".into()).await.expect("published");
    client.publish("a.c.d", "two".into()).await.expect("published");
    for subscriber in [&mut plain, &mut star, &mut rest] {
        let message = next(subscriber).await;
        assert_eq!(&message.payload[..], b"one");
        assert_eq!(message.headers.expect("headers").get("X-Kind").map(|v| v.as_str()), Some("test"));
    }
    assert_eq!(next(&mut rest).await.subject.as_str(), "a.c.d");
}

#[tokio::test]
async fn a_queue_group_shares_its_messages() {
    let (_dir, leafd) = started();
    let client = leafd.client().await;
    let mut one = client.queue_subscribe("jobs", "workers".into()).await.expect("subscribed");
    let mut two = client.queue_subscribe("jobs", "workers".into()).await.expect("subscribed");
    let mut all = client.subscribe("jobs").await.expect("subscribed");
    for job in 0..200 {
        client.publish("jobs", job.to_string().into()).await.expect("published");
    }
    for _ in 0..200 {
        next(&mut all).await;
    }
    let (mut first, mut second) = (0, 0);
    while first + second < 200 {
        tokio::select! {
            Some(_) = one.next() => first += 1,
            Some(_) = two.next() => second += 1,
            () = tokio::time::sleep(LIMIT) => panic!("{first} and {second} of 200"),
        }
    }
    assert!(first > 0 && second > 0, "{first} and {second}");
}

#[tokio::test]
async fn requests_are_answered_and_without_responders_refused_at_once() {
    let (_dir, leafd) = started();
    let client = leafd.client().await;
    let mut service = client.subscribe("service").await.expect("subscribed");
    client.flush().await.expect("flushed");
    let responder = client.clone();
    tokio::spawn(async move {
        while let Some(request) = service.next().await {
            let reply = request.reply.expect("a reply subject");
            let _ = responder.publish(reply, request.payload).await;
        }
    });
    let answer = client.request("service", "ping".into()).await.expect("an answer");
    assert_eq!(&answer.payload[..], b"ping");
    let refused = client.request("nobody", "ping".into()).await.expect_err("nobody answers");
    assert_eq!(refused.kind(), async_nats::RequestErrorKind::NoResponders);
}

#[tokio::test]
async fn a_durable_consumer_redelivers_and_survives_kill_9() {
    let (_dir, mut leafd) = started();
    let context = jetstream::new(leafd.client().await);
    let config =
        jetstream::stream::Config { name: "ORDERS".into(), subjects: vec!["orders.>".into()], ..Default::default() };
    let stream = context.create_stream(config).await.expect("a stream");
    for order in 1..=20u64 {
        let ack =
            context.publish("orders.new", order.to_string().into()).await.expect("sent").await.expect("acknowledged");
        assert_eq!((ack.stream.as_str(), ack.sequence, ack.duplicate), ("ORDERS", order, false));
    }
    let config = jetstream::consumer::pull::Config {
        durable_name: Some("worker".into()),
        ack_wait: Duration::from_secs(1),
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut batch = consumer.fetch().max_messages(10).messages().await.expect("a batch");
    for order in 1..=10u64 {
        let message = timeout(LIMIT, batch.next()).await.expect("in time").expect("a message").expect("no error");
        assert_eq!(message.info().expect("a reply subject").stream_sequence, order);
        if order != 5 {
            message.double_ack().await.expect("acknowledged");
        }
    }
    let message = fetch_one(&consumer).await;
    let info = message.info().expect("a reply subject");
    // The fifth again after its ack wait, or the eleventh before.
    assert!(info.stream_sequence == 5 || info.stream_sequence == 11, "{info:?}");
    leafd.restart();
    let context = jetstream::new(leafd.client().await);
    let stream = context.get_stream("ORDERS").await.expect("the stream is there again");
    assert_eq!(stream.cached_info().state.messages, 20);
    let consumer: PullConsumer = stream.get_consumer("worker").await.expect("the consumer is there again");
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 11 {
        let message = fetch_one(&consumer).await;
        seen.insert(message.info().expect("a reply subject").stream_sequence);
        message.double_ack().await.expect("acknowledged");
    }
    let expected: std::collections::BTreeSet<u64> = std::iter::once(5).chain(11..=20).collect();
    assert_eq!(seen, expected, "all that was not acknowledged, and nothing that was");
}

async fn fetch_one(consumer: &PullConsumer) -> jetstream::Message {
    let mut batch = consumer.batch().max_messages(1).expires(LIMIT).messages().await.expect("a batch");
    timeout(LIMIT, batch.next()).await.expect("in time").expect("a message").expect("no error")
}

#[tokio::test]
async fn a_bucket_keeps_its_values_over_kill_9() {
    let (_dir, mut leafd) = started();
    let context = jetstream::new(leafd.client().await);
    let config = jetstream::kv::Config { bucket: "settings".into(), history: 5, ..Default::default() };
    let bucket = context.create_key_value(config).await.expect("a bucket");
    let mut watch = bucket.watch("unit.>").await.expect("a watch");
    let revision = bucket.put("unit.speed", "10".into()).await.expect("put");
    let seen = timeout(LIMIT, watch.next()).await.expect("in time").expect("a change").expect("no error");
    assert_eq!((seen.key.as_str(), &seen.value[..], seen.revision), ("unit.speed", &b"10"[..], revision));
    let newer = bucket.update("unit.speed", "11".into(), revision).await.expect("updated");
    assert!(bucket.update("unit.speed", "12".into(), revision).await.is_err(), "an old revision is refused");
    bucket.put("unit.gone", "x".into()).await.expect("put");
    bucket.delete("unit.gone").await.expect("deleted");
    leafd.restart();
    let context = jetstream::new(leafd.client().await);
    let bucket = context.get_key_value("settings").await.expect("the bucket is there again");
    let entry = bucket.entry("unit.speed").await.expect("read").expect("there");
    assert_eq!((&entry.value[..], entry.revision), (&b"11"[..], newer));
    assert_eq!(bucket.get("unit.gone").await.expect("read"), None);
}
