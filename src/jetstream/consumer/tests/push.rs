//! Push consumers: interest, flow control, signs of life, queue groups, inactivity.

use super::*;

fn pushed(subject: &str) -> ConsumerConfig {
    ConsumerConfig { deliver_subject: subject.into(), ..ConsumerConfig::default() }
}

#[tokio::test]
async fn delivery_begins_with_the_first_listener() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2"]).await;
    let consumer = bench.create(pushed("to"));
    assert!(!consumer.info().push_bound);
    let mut inbox = bench.client.subscribe("to", 10);
    let first = next(&mut inbox).await;
    assert_eq!((&*first.subject, text(&first), counts(&first)), ("a.1", "m1".into(), [1, 1, 1, 1]));
    assert_eq!(text(&next(&mut inbox).await), "m2");
    bench.store_message("a.3", "m3");
    assert_eq!(text(&next(&mut inbox).await), "m3");
    assert!(consumer.info().push_bound);
}

#[tokio::test]
async fn a_queue_group_shares_the_messages() {
    let bench = Bench::new();
    bench.create(ConsumerConfig { deliver_group: "g".into(), ..pushed("to") });
    let mut inbox = bench.client.subscribe("to", 10);
    bench.store_message("a.1", "m1");
    assert_eq!(text(&next(&mut inbox).await), "m1");
}

#[tokio::test]
async fn silence_and_flow_control_are_told() {
    let bench = Bench::new();
    let mut inbox = bench.client.subscribe("to", 100_000);
    bench.create(ConsumerConfig { heartbeat: 100 * MS, flow_control: true, ..pushed("to") });
    assert_eq!(status(&next(&mut inbox).await), "100 Idle Heartbeat | Nats-Last-Consumer: 0 | Nats-Last-Stream: 0");
    for _ in 0..30 {
        bench.store_message("a.big", &"x".repeat(100_000));
    }
    let mut got = 0;
    while got < 30 {
        let message = next(&mut inbox).await;
        if !message.payload.is_empty() {
            got += 1;
        } else if message.reply.starts_with("$JS.FC.S.") {
            assert_eq!(status(&message), "100 FlowControl Request");
            let answer = Message { subject: &message.reply, reply: "", headers: &[], payload: &[] };
            bench.client.publish(&answer);
        }
    }
}

#[tokio::test]
async fn an_unanswered_flow_control_message_stalls_delivery() {
    let bench = Bench::new();
    let mut inbox = bench.client.subscribe("to", 100_000);
    bench.create(ConsumerConfig { heartbeat: 100 * MS, flow_control: true, ..pushed("to") });
    for _ in 0..40 {
        bench.store_message("a.big", &"x".repeat(100_000));
    }
    let mut got = 0;
    loop {
        let message = next(&mut inbox).await;
        if !message.payload.is_empty() {
            got += 1;
        } else if status(&message).contains("Nats-Consumer-Stalled: $JS.FC.S.") {
            break;
        }
    }
    assert!((20..40).contains(&got), "{got} of 40 came");
}

#[tokio::test]
async fn an_ephemeral_consumer_that_nobody_uses_goes() {
    let bench = Bench::new();
    let inbox = bench.client.subscribe("to", 10);
    let push = ConsumerConfig { inactive_threshold: 80 * MS, name: "push".into(), ..pushed("to") };
    bench.create(push);
    let pull = ConsumerConfig { inactive_threshold: 80 * MS, name: "pull".into(), ..ConsumerConfig::default() };
    bench.create(pull);
    let gone = |name: &'static str| bench.consumers.get(name).is_none();
    wait(|| gone("pull")).await;
    assert!(!gone("push"), "somebody listens to it");
    drop(inbox);
    wait(|| gone("push")).await;
}

async fn wait(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
