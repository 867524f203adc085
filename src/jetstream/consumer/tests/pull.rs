//! Pull consumers: deliveries, statuses, redelivery.

use super::*;
use crate::jetstream::consumer::config::DeliverPolicy;

#[tokio::test]
async fn a_batch_comes_with_the_stored_subject_and_counts() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.3"]).await;
    bench.create(pulled("c"));
    let mut inbox = bench.pull("c", "2");
    let (first, second) = (next(&mut inbox).await, next(&mut inbox).await);
    assert_eq!((&*first.subject, text(&first), counts(&first)), ("a.1", "m1".into(), [1, 1, 1, 2]));
    assert_eq!((&*second.subject, text(&second), counts(&second)), ("a.2", "m2".into(), [1, 2, 2, 1]));
    nothing(&mut inbox, Duration::from_millis(30)).await;
    bench.ack(&first, "");
    let info = bench.consumers.get("c").expect("there").info();
    assert_eq!((info.num_ack_pending, info.num_pending, info.ack_floor.stream_seq), (1, 1, 1));
    assert_eq!((info.delivered.consumer_seq, info.delivered.stream_seq), (2, 2));
}

#[tokio::test]
async fn a_request_waits_for_what_is_stored_later() {
    let bench = Bench::new();
    bench.create(pulled("c"));
    let mut inbox = bench.pull("c", r#"{"batch":1,"expires":5000000000}"#);
    nothing(&mut inbox, Duration::from_millis(30)).await;
    bench.store_message("a.x", "late");
    assert_eq!(text(&next(&mut inbox).await), "late");
}

#[tokio::test]
async fn statuses_end_requests() {
    let bench = Bench::new();
    bench.create(ConsumerConfig { max_waiting: 2, max_request_batch: 10, ..pulled("c") });
    let mut none = bench.pull("c", r#"{"no_wait":true}"#);
    assert_eq!(status(&next(&mut none).await), "404 No Messages");
    let mut late = bench.pull("c", r#"{"batch":5,"expires":50000000}"#);
    let timeout = "408 Request Timeout | Nats-Pending-Messages: 5 | Nats-Pending-Bytes: 0";
    assert_eq!(status(&next(&mut late).await), timeout);
    let mut large = bench.pull("c", "11");
    assert_eq!(status(&next(&mut large).await), "409 Exceeded MaxRequestBatch of 10");
    let mut bad = bench.pull("c", "{");
    assert!(status(&next(&mut bad).await).starts_with("400 Bad Request - "));

    let (mut one, mut two) = (bench.pull("c", "1"), bench.pull("c", "1"));
    let mut three = bench.pull("c", "1");
    assert_eq!(status(&next(&mut three).await), "409 Exceeded MaxWaiting");
    bench.consumers.delete("c").expect("there").await.expect("durable");
    assert_eq!(status(&next(&mut one).await), "409 Consumer Deleted");
    assert_eq!(status(&next(&mut two).await), "409 Consumer Deleted");
}

#[tokio::test]
async fn bytes_limit_a_request() {
    let bench = Bench::new();
    bench.store_message("a.1", &"x".repeat(500));
    bench.store_message("a.1", "y");
    bench.store.barrier().await.expect("durable");
    bench.create(pulled("c"));
    let mut small = bench.pull("c", r#"{"batch":1,"max_bytes":100}"#);
    let refused = "409 Message Size Exceeds MaxBytes | Nats-Pending-Messages: 1 | Nats-Pending-Bytes: 100";
    assert_eq!(status(&next(&mut small).await), refused);
    let mut fits = bench.pull("c", r#"{"batch":1,"max_bytes":1000}"#);
    let message = next(&mut fits).await;
    assert_eq!((message.payload.len(), counts(&message)), (500, [1, 1, 1, 1]));
    assert!(status(&next(&mut fits).await).starts_with("409 Batch Completed | Nats-Pending-Messages: 0"));
}

#[tokio::test]
async fn silence_is_filled_with_signs_of_life() {
    let bench = Bench::new();
    bench.create(pulled("c"));
    let mut inbox = bench.pull("c", r#"{"batch":1,"expires":400000000,"idle_heartbeat":100000000}"#);
    for _ in 0..2 {
        let beat = "100 Idle Heartbeat | Nats-Last-Consumer: 0 | Nats-Last-Stream: 0";
        assert_eq!(status(&next(&mut inbox).await), beat);
    }
}

#[tokio::test]
async fn a_request_whose_inbox_is_gone_gets_nothing() {
    let bench = Bench::new();
    bench.create(pulled("c"));
    drop(bench.pull("c", "1"));
    let mut inbox = bench.pull("c", "1");
    bench.store_message("a.1", "once");
    let message = next(&mut inbox).await;
    assert_eq!((text(&message), counts(&message)), ("once".into(), [1, 1, 1, 0]));
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_until_it_has_come_often_enough() {
    let bench = Bench::new();
    bench.fill(&["a.1"]).await;
    let mut advisories = bench.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", 10);
    bench.create(ConsumerConfig { ack_wait: 50 * MS, max_deliver: 2, ..pulled("c") });
    let mut inbox = bench.pull("c", "3");
    assert_eq!(counts(&next(&mut inbox).await), [1, 1, 1, 0]);
    assert_eq!(counts(&next(&mut inbox).await), [2, 1, 2, 0]);
    let advisory = next(&mut advisories).await;
    assert_eq!(&*advisory.subject, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.c");
    let json: serde_json::Value = serde_json::from_slice(&advisory.payload).expect("JSON");
    assert_eq!((json["stream_seq"].as_u64(), json["deliveries"].as_u64()), (Some(1), Some(2)));
    nothing(&mut inbox, Duration::from_millis(150)).await;
    let info = bench.consumers.get("c").expect("there").info();
    assert_eq!((info.num_ack_pending, info.num_redelivered, info.ack_floor.stream_seq), (0, 1, 1));
}

#[tokio::test]
async fn naks_wpi_and_term_do_what_they_say() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(ConsumerConfig { ack_wait: 200 * MS, ..pulled("c") });
    let mut inbox = bench.pull("c", "20");
    let (first, second) = (next(&mut inbox).await, next(&mut inbox).await);
    bench.ack(&first, "-NAK");
    let again = next(&mut inbox).await;
    assert_eq!(counts(&again)[..2], [2, 1]);
    bench.ack(&again, r#"-NAK {"delay": 60000000}"#);
    bench.ack(&second, "+TERM because");
    let sent = std::time::Instant::now();
    let third = next(&mut inbox).await;
    assert_eq!(counts(&third)[..2], [3, 1]);
    assert!(sent.elapsed() >= Duration::from_millis(55), "the delay was kept");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(120)).await;
        bench.ack(&third, "+WPI");
    }
    nothing(&mut inbox, Duration::from_millis(20)).await;
    bench.ack(&third, "+ACK");
    nothing(&mut inbox, Duration::from_millis(250)).await;
}

#[tokio::test]
async fn an_ack_can_ask_for_the_next_message() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(pulled("c"));
    let mut inbox = bench.pull("c", "1");
    let first = next(&mut inbox).await;
    let answer = bench.client.request(&first.reply, &[], b"+NXT", Duration::from_secs(5)).await.expect("the next");
    assert_eq!(text(&answer), "m2");
}

#[tokio::test]
async fn pending_acks_hold_deliveries_back() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.3"]).await;
    bench.create(ConsumerConfig { max_ack_pending: 2, ..pulled("c") });
    let mut inbox = bench.pull("c", r#"{"batch":3,"no_wait":true}"#);
    let first = next(&mut inbox).await;
    next(&mut inbox).await;
    nothing(&mut inbox, Duration::from_millis(50)).await;
    bench.ack(&first, "");
    assert_eq!(text(&next(&mut inbox).await), "m3");
}

#[tokio::test]
async fn each_deliver_policy_starts_where_it_says() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.1", "a.3"]).await;
    let filtered = |config: ConsumerConfig| ConsumerConfig { filter_subject: "a.*".into(), ..config };
    for (name, policy, config, expected) in [
        ("all", DeliverPolicy::All, pulled("all"), vec!["m1", "m2", "m3", "m4"]),
        ("last", DeliverPolicy::Last, pulled("last"), vec!["m4"]),
        ("new", DeliverPolicy::New, pulled("new"), vec![]),
        ("seq", DeliverPolicy::ByStartSequence, ConsumerConfig { opt_start_seq: 3, ..pulled("seq") }, vec!["m3", "m4"]),
        ("subject", DeliverPolicy::LastPerSubject, filtered(pulled("subject")), vec!["m2", "m3", "m4"]),
        ("one", DeliverPolicy::All, ConsumerConfig { filter_subject: "a.1".into(), ..pulled("one") }, vec!["m1", "m3"]),
        (
            "two",
            DeliverPolicy::All,
            ConsumerConfig { filter_subjects: vec!["a.2".into(), "a.3".into()], ..pulled("two") },
            vec!["m2", "m4"],
        ),
    ] {
        bench.create(ConsumerConfig { deliver_policy: policy, ..config });
        let mut inbox = bench.pull(name, r#"{"batch":10,"no_wait":true}"#);
        let mut got = Vec::new();
        loop {
            let message = next(&mut inbox).await;
            if message.payload.is_empty() {
                assert_eq!(status(&message), "404 No Messages");
                break;
            }
            assert_eq!(counts(&message)[3] as usize, expected.len() - got.len() - 1, "pending of {name}");
            got.push(text(&message));
        }
        assert_eq!(got, expected, "{name}");
    }
}

#[tokio::test]
async fn headers_only_tells_the_size() {
    let bench = Bench::new();
    bench.fill(&["a.1"]).await;
    bench.create(ConsumerConfig { headers_only: true, ..pulled("c") });
    let message = next(&mut bench.pull("c", "1")).await;
    assert_eq!((&*message.headers, message.payload.len()), (&b"NATS/1.0\r\nNats-Msg-Size: 2\r\n\r\n"[..], 0));
}

#[tokio::test]
async fn ten_thousand_messages_come_once_and_in_order() {
    let bench = Bench::new();
    for n in 0..10_000 {
        bench.store_message("a.n", &n.to_string());
    }
    bench.store.barrier().await.expect("durable");
    bench.create(pulled("c"));
    let mut got = 0;
    while got < 10_000 {
        let mut inbox = bench.pull("c", "500");
        for _ in 0..500 {
            let message = next(&mut inbox).await;
            assert_eq!(text(&message), got.to_string());
            bench.ack(&message, "");
            got += 1;
        }
    }
    let info = bench.consumers.get("c").expect("there").info();
    assert_eq!((info.num_ack_pending, info.num_pending, info.ack_floor.stream_seq), (0, 0, 10_000));
}
