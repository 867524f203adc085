//! Pinned clients, sampled acks, acks by flow control, rate limits, replay as it was, and consumers that begin again.

use super::*;
use crate::jetstream::consumer::config::{PriorityPolicy, ReplayPolicy};
use std::time::Instant;

fn json(message: &OwnedMessage) -> serde_json::Value {
    serde_json::from_slice(&message.payload).expect("JSON")
}

fn pin(message: &OwnedMessage) -> String {
    crate::protocol::headers::get(&message.headers, "Nats-Pin-Id").expect("a pin").to_owned()
}

#[tokio::test]
async fn one_client_of_a_group_has_all_messages_until_it_is_unpinned() {
    let bench = Bench::new();
    let mut advisories = bench.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.*.S.d", 100);
    bench.fill(&["a.1", "a.2", "a.3", "a.4"]).await;
    let consumer = bench.create(ConsumerConfig {
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["g".into()],
        pinned_ttl: 3_600_000 * MS,
        ..pulled("d")
    });
    assert_eq!(json(&next(&mut advisories).await)["action"], "create");
    let mut first = bench.pull("d", r#"{"batch":1,"group":"g"}"#);
    let message = next(&mut first).await;
    let id = pin(&message);
    let told = json(&next(&mut advisories).await);
    assert_eq!(told["type"], "io.nats.jetstream.advisory.v1.consumer_group_pinned");
    assert_eq!((&told["account"], &told["group"], &told["pinned_id"]), (&"A".into(), &"g".into(), &id.as_str().into()));
    assert_eq!(consumer.info().priority_groups[0].pinned_client_id.as_deref(), Some(id.as_str()));

    let mut other = bench.pull("d", r#"{"batch":1,"group":"g"}"#);
    let mut wrong = bench.pull("d", r#"{"batch":1,"group":"g","id":"wrong"}"#);
    assert_eq!(status(&next(&mut wrong).await), "423 Nats-Pin-Id mismatch");
    let mut own = bench.pull("d", &format!(r#"{{"batch":1,"group":"g","id":"{id}"}}"#));
    assert_eq!((text(&next(&mut own).await), pin(&message)), ("m2".into(), id.clone()));
    let mut waits = bench.pull("d", &format!(r#"{{"batch":1,"group":"g","id":"{id}"}}"#));
    assert_eq!(text(&next(&mut waits).await), "m3");

    assert!(consumer.unpin("g") && !consumer.unpin("h"));
    let message = next(&mut other).await;
    assert_ne!((text(&message), pin(&message)), ("m4".into(), id.clone()));
    let told = json(&next(&mut advisories).await);
    assert_eq!((&told["reason"], &told["group"]), (&"admin".into(), &"g".into()));
    let mut late = bench.pull("d", &format!(r#"{{"batch":1,"group":"g","id":"{id}"}}"#));
    assert_eq!(status(&next(&mut late).await), "423 Nats-Pin-Id mismatch");
}

#[tokio::test]
async fn a_silent_client_loses_its_pin() {
    let bench = Bench::new();
    let mut advisories = bench.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.S.d", 100);
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(ConsumerConfig {
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["g".into()],
        pinned_ttl: 60 * MS,
        ..pulled("d")
    });
    let mut first = bench.pull("d", r#"{"batch":1,"group":"g"}"#);
    next(&mut first).await;
    let mut other = bench.pull("d", r#"{"batch":1,"group":"g"}"#);
    assert_eq!(text(&next(&mut other).await), "m2");
    assert_eq!(json(&next(&mut advisories).await)["reason"], "timeout");
}

#[tokio::test]
async fn acks_are_sampled() {
    let bench = Bench::new();
    let mut metrics = bench.client.subscribe("$JS.EVENT.METRIC.CONSUMER.ACK.S.d", 100);
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(ConsumerConfig { sample_freq: "100%".into(), ..pulled("d") });
    let mut inbox = bench.pull("d", "2");
    let (first, second) = (next(&mut inbox).await, next(&mut inbox).await);
    bench.ack(&first, "+TERM");
    bench.ack(&second, "+ACK");
    let metric = json(&next(&mut metrics).await);
    assert_eq!(metric["type"], "io.nats.jetstream.metric.v1.consumer_ack");
    assert_eq!(
        (&metric["stream_seq"], &metric["consumer_seq"], &metric["deliveries"]),
        (&2.into(), &2.into(), &1.into())
    );
    assert!((1..10_000_000_000).contains(&metric["ack_time"].as_i64().expect("a time")), "{metric}");
}

#[tokio::test]
async fn an_answer_to_flow_control_acknowledges() {
    let bench = Bench::with(rules(Retention::WorkQueue));
    let mut inbox = bench.client.subscribe("to", 100);
    bench.fill(&["a.1", "a.2", "a.3"]).await;
    let consumer = bench.create(ConsumerConfig {
        durable: "d".into(),
        deliver_subject: "to".into(),
        ack_policy: AckPolicy::FlowControl,
        max_ack_pending: 2,
        ..ConsumerConfig::default()
    });
    assert_eq!([text(&next(&mut inbox).await), text(&next(&mut inbox).await)], ["m1", "m2"]);
    let ask = next(&mut inbox).await;
    assert_eq!(status(&ask), "100 FlowControl Request");
    let headers = b"NATS/1.0\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n";
    bench.client.publish(&Message { subject: &ask.reply, reply: "", headers, payload: &[] });
    assert_eq!(text(&next(&mut inbox).await), "m3");
    let floor = consumer.info().ack_floor;
    assert_eq!((floor.consumer_seq, floor.stream_seq), (2, 2));
    // The last ones are asked for when there is silence.
    let mut heard = next(&mut inbox).await;
    while heard.reply.is_empty() {
        heard = next(&mut inbox).await;
    }
    assert_eq!(status(&heard), "100 FlowControl Request");
}

#[tokio::test]
async fn messages_come_in_the_pauses_in_which_they_were_stored() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2"]).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    bench.fill(&["a.3"]).await;
    let mut inbox = bench.client.subscribe("to", 100);
    let began = Instant::now();
    let replay_policy = ReplayPolicy::Original;
    bench.create(ConsumerConfig { deliver_subject: "to".into(), replay_policy, ..ConsumerConfig::default() });
    next(&mut inbox).await;
    next(&mut inbox).await;
    next(&mut inbox).await;
    assert!(began.elapsed() >= Duration::from_millis(149));
}

#[tokio::test]
async fn a_limited_consumer_takes_its_time() {
    let bench = Bench::new();
    for _ in 0..12 {
        bench.store_message("a.big", &"x".repeat(100_000));
    }
    let mut inbox = bench.client.subscribe("to", 100);
    let began = Instant::now();
    // 1 MiB may go at once; the other 150 kB take 0.15 s.
    bench.create(ConsumerConfig {
        deliver_subject: "to".into(),
        rate_limit_bps: 8_000_000,
        ..ConsumerConfig::default()
    });
    for _ in 0..12 {
        next(&mut inbox).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(140));
}

#[tokio::test]
async fn a_consumer_begins_again_also_after_a_restart() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.3"]).await;
    let consumer = bench.create(pulled("d"));
    let mut inbox = bench.pull("d", "3");
    for _ in 0..3 {
        bench.double_ack(&next(&mut inbox).await).await;
    }
    let reset = consumer.reset(2).expect("allowed");
    assert_eq!(reset.seq, 2);
    reset.commit.expect("stored").await.expect("durable");
    drop(consumer);
    let bench = bench.restart();
    let mut inbox = bench.pull("d", "2");
    let message = next(&mut inbox).await;
    assert_eq!((text(&message), counts(&message)), ("m2".into(), [1, 2, 1, 1]));
}
