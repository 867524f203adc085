//! What streams do by themselves: messages that age, markers, copies elsewhere, sums, and consumers that pause.

use super::peers::{Peers, header_map};
use async_nats::{Client, Subscriber};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

pub async fn ask(client: &Client, verb: &str, body: Value) -> Value {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(format!("$JS.API.{verb}"), payload.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

/// The messages of the stream: sequence, subject, sorted headers, body.
async fn held(client: &Client, stream: &str, upto: u64) -> Vec<Value> {
    let mut held = Vec::new();
    for seq in 1..=upto {
        let message = ask(client, &format!("STREAM.MSG.GET.{stream}"), json!({ "seq": seq })).await["message"].take();
        if message.is_null() {
            continue;
        }
        let block = STANDARD.decode(message["hdrs"].as_str().unwrap_or_default()).expect("base64");
        let mut headers: Vec<String> = String::from_utf8_lossy(&block).lines().map(str::to_owned).collect();
        headers.sort();
        held.push(json!([seq, message["subject"], headers, message["data"]]));
    }
    held
}

pub async fn publish(client: &Client, subject: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let request = async_nats::Request::new().headers(header_map(headers)).payload(body.to_owned().into());
    let answer = client.send_request(subject.to_owned(), request).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

async fn wait_for_messages(client: &Client, stream: &str, last: u64, count: u64) {
    let mut state = Value::Null;
    for _ in 0..400 {
        state = ask(client, &format!("STREAM.INFO.{stream}"), Value::Null).await["state"].take();
        if state["last_seq"] == last && state["messages"] == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{stream}: not {count} messages up to {last}: {state}");
}

/// Messages with a time to live go in time, others stay; the end of a subject leaves a marker where one is wanted.
pub async fn ages(peers: &mut Peers) {
    let mut seen = Vec::new();
    for client in peers.clients.clone() {
        let config = json!({"name": "A", "subjects": ["a.>"], "allow_msg_ttl": true});
        assert!(ask(&client, "STREAM.CREATE.A", config).await["error"].is_null());
        for (subject, ttl) in [("a.1", "1s"), ("a.2", "never"), ("a.3", "1h"), ("a.1", "2s"), ("a.4", "1")] {
            publish(&client, subject, &[("Nats-TTL", ttl)], ttl).await;
        }
        let config = json!({
            "name": "M", "subjects": ["m.>"], "max_age": 1_000_000_000u64, "subject_delete_marker_ttl": 60_000_000_000u64
        });
        assert!(ask(&client, "STREAM.CREATE.M", config).await["error"].is_null());
        publish(&client, "m.1", &[], "first").await;
        publish(&client, "m.1", &[("X", "y")], "second").await;
        publish(&client, "m.2", &[("Nats-TTL", "1h")], "longer than the others").await;
        publish(&client, "m.3", &[("Nats-TTL", "never")], "for ever").await;
    }
    for client in peers.clients.clone() {
        wait_for_messages(&client, "A", 5, 2).await;
        let markers = ask(&client, "STREAM.INFO.M", Value::Null).await["state"]["last_seq"].as_u64();
        assert!(markers.is_some_and(|last| last >= 4));
        let mut held_by_marked = Vec::new();
        for _ in 0..200 {
            held_by_marked = held(&client, "M", 8).await;
            let text = format!("{held_by_marked:?}");
            if !text.contains("m.1\"), Array [String(\"NATS/1.0\"") && text.matches("MaxAge").count() >= 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let without_seq = |message: &Value| json!([message[1], message[2], message[3]]);
        let mut marked: Vec<Value> = held_by_marked.iter().map(without_seq).collect();
        marked.sort_by_key(Value::to_string);
        seen.push((held(&client, "A", 5).await, marked));
    }
    assert_eq!(seen[0], seen[1]);
    for name in ["A", "M"] {
        peers.delete_stream(name).await;
    }
}

async fn next(messages: &mut Subscriber) -> Value {
    let message =
        tokio::time::timeout(Duration::from_secs(5), messages.next()).await.expect("a message").expect("open");
    let mut headers: Vec<String> = Vec::new();
    for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
        let name = name.to_string();
        let shown = if name == "Nats-Time-Stamp" { "a time".to_owned() } else { format!("{values:?}") };
        headers.push(format!("{name}: {shown}"));
    }
    headers.sort();
    json!([message.subject.as_str(), headers, String::from_utf8_lossy(&message.payload)])
}

/// Copies of what is stored go elsewhere, with where they stand; sums are kept.
pub async fn copies_and_sums(peers: &mut Peers) {
    let mut seen = Vec::new();
    for client in peers.clients.clone() {
        let mut all = Vec::new();
        for headers_only in [false, true] {
            let republish = json!({"src": "r.*.x", "dest": "copy.{{wildcard(1)}}", "headers_only": headers_only});
            let config = json!({"name": "R", "subjects": ["r.>"], "republish": republish});
            assert!(ask(&client, "STREAM.CREATE.R", config).await["error"].is_null());
            let mut copies = client.subscribe("copy.>").await.expect("subscribed");
            client.flush().await.expect("flushed");
            for (subject, body) in [("r.1.x", "one"), ("r.2.y", "not this"), ("r.1.x", "two"), ("r.3.x", "")] {
                all.push(publish(&client, subject, &[("H", "v")], body).await);
            }
            for _ in 0..3 {
                all.push(next(&mut copies).await);
            }
            ask(&client, "STREAM.DELETE.R", Value::Null).await;
        }
        let config = json!({"name": "N", "subjects": ["n.>"], "allow_msg_counter": true});
        assert!(ask(&client, "STREAM.CREATE.N", config).await["error"].is_null());
        for (subject, by) in [("n.1", "1"), ("n.1", "+41"), ("n.2", "-7"), ("n.1", "-100"), ("n.1", "0"), ("n.1", "x")]
        {
            all.push(publish(&client, subject, &[("Nats-Incr", by)], "").await);
        }
        all.extend(held(&client, "N", 6).await);
        ask(&client, "STREAM.DELETE.N", Value::Null).await;
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
}

/// A paused consumer delivers nothing until its time has come, or it is told to go on.
pub async fn pauses(peers: &mut Peers) {
    for (n, client) in peers.clients.clone().into_iter().enumerate() {
        let config = json!({"name": "Q", "subjects": ["q"]});
        assert!(ask(&client, "STREAM.CREATE.Q", config).await["error"].is_null());
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
        let consumer = json!({"durable_name": "d", "deliver_subject": inbox, "ack_policy": "none"});
        let made = ask(&client, "CONSUMER.CREATE.Q.d", json!({"stream_name": "Q", "config": consumer})).await;
        assert!(made["error"].is_null(), "{n}: {made}");
        let until = time::OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let until = until.format(&time::format_description::well_known::Rfc3339).expect("text");
        let paused = ask(&client, "CONSUMER.PAUSE.Q.d", json!({ "pause_until": until })).await;
        assert_eq!(paused["paused"], true, "{n}: {paused}");
        publish(&client, "q", &[], "waits").await;
        let nothing = tokio::time::timeout(Duration::from_millis(300), messages.next()).await;
        assert!(nothing.is_err(), "{n}: {nothing:?}");
        let soon = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
        let soon = soon.format(&time::format_description::well_known::Rfc3339).expect("text");
        ask(&client, "CONSUMER.PAUSE.Q.d", json!({ "pause_until": soon })).await;
        let first =
            tokio::time::timeout(Duration::from_secs(5), messages.next()).await.expect("in time").expect("open");
        assert_eq!(&*first.payload, b"waits", "{n}: its time has come");
        ask(&client, "CONSUMER.PAUSE.Q.d", json!({ "pause_until": until })).await;
        publish(&client, "q", &[], "again").await;
        let gone_on = ask(&client, "CONSUMER.PAUSE.Q.d", json!({})).await;
        assert!(gone_on["paused"].is_null() || gone_on["paused"] == false, "{n}: {gone_on}");
        // nats-server's goes on with the next message that is stored.
        if n == 1 {
            publish(&client, "q", &[], "wakes it").await;
        }
        let second = tokio::time::timeout(Duration::from_secs(5), messages.next()).await;
        let second = second.unwrap_or_else(|_| panic!("{n}: nothing when told to go on")).expect("open");
        assert_eq!(&*second.payload, b"again", "{n}: it was told to go on");
        ask(&client, "STREAM.DELETE.Q", Value::Null).await;
    }
}

/// Who publishes or acknowledges without waiting for an answer, and then asks on the same connection, is told of it; by
/// nats-server only most often, so that there is nothing to compare.
pub async fn own_doings(peers: &mut Peers) {
    let client = peers.clients[0].clone();
    for retention in ["workqueue", "interest"] {
        let config = json!({
            "name": "D", "subjects": ["d.*"], "retention": retention, "max_msgs_per_subject": 2, "allow_direct": true
        });
        assert!(ask(&client, "STREAM.CREATE.D", config).await["error"].is_null());
        let config = json!({ "durable_name": "c", "ack_policy": "explicit", "filter_subject": "d.*" });
        let made = ask(&client, "CONSUMER.CREATE.D.c.d.*", json!({ "stream_name": "D", "config": config })).await;
        assert!(made["error"].is_null(), "{made}");
        for _ in 0..5 {
            for subject in ["d.a", "d.b", "d.b", "d.b"] {
                client.publish(subject, "x".into()).await.expect("sent");
            }
            assert_eq!(ask(&client, "CONSUMER.INFO.D.c", Value::Null).await["num_pending"], 3);
            assert_eq!(ask(&client, "STREAM.LIST", Value::Null).await["streams"][0]["state"]["messages"], 3);
            client.publish("d.c", "x".into()).await.expect("sent");
            let next = client.request("$JS.API.DIRECT.GET.D", r#"{"seq":1,"next_by_subj":"d.c"}"#.into()).await;
            let headers = next.expect("an answer").headers.expect("headers");
            assert_eq!(headers.get("Nats-Subject").map(|subject| subject.as_str()), Some("d.c"));
            let inbox = client.new_inbox();
            let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
            let pull = json!({ "batch": 4, "expires": 5_000_000_000_u64 }).to_string();
            client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.D.c", inbox, pull.into()).await.expect("sent");
            for _ in 0..4 {
                let message = tokio::time::timeout(Duration::from_secs(5), messages.next()).await;
                let message = message.expect("a message").expect("open");
                client.publish(message.reply.expect("a reply subject"), "+ACK".into()).await.expect("sent");
            }
            assert_eq!(ask(&client, "STREAM.INFO.D", Value::Null).await["state"]["messages"], 0);
        }
        ask(&client, "STREAM.DELETE.D", Value::Null).await;
    }
}

/// Direct gets that must be read from disk for long do not fall behind those that can be answered at once.
pub async fn direct_gets_in_order(peers: &mut Peers) {
    let client = peers.clients[0].clone();
    let config = json!({ "name": "O", "subjects": ["o.*"], "allow_direct": true });
    assert!(ask(&client, "STREAM.CREATE.O", config).await["error"].is_null());
    for n in 0..50 {
        assert!(publish(&client, "o.many", &[], &"x".repeat(n)).await["error"].is_null());
    }
    assert!(publish(&client, "o.large", &[], &"x".repeat(100_000)).await["error"].is_null());
    assert!(publish(&client, "o.small", &[], "x").await["error"].is_null());
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(format!("{inbox}.*")).await.expect("subscribed");
    for round in 0..20 {
        for (n, request) in [
            json!({ "seq": 1, "batch": 50 }),
            json!({ "last_by_subj": "o.small" }),
            json!({ "last_by_subj": "o.large" }),
            json!({ "seq": 7 }),
            json!({ "last_by_subj": "o.none" }),
            json!({ "multi_last": ["o.*"] }),
            json!({ "last_by_subj": "o.*" }),
            json!({ "last_by_subj": "o.small" }),
        ]
        .into_iter()
        .enumerate()
        {
            let request = request.to_string().into();
            client.publish_with_reply("$JS.API.DIRECT.GET.O", format!("{inbox}.{n}"), request).await.expect("sent");
        }
        let mut order = Vec::new();
        // A batch has an end beside its messages.
        for _ in 0..51 + 3 + 1 + 4 + 2 {
            let answer = tokio::time::timeout(Duration::from_secs(5), answers.next()).await;
            let subject = answer.expect("an answer").expect("open").subject.to_string();
            order.push(subject[inbox.len() + 1..].parse::<usize>().expect("a number"));
        }
        let counts: Vec<usize> = (0..8).map(|n| order.iter().filter(|o| **o == n).count()).collect();
        assert_eq!(counts, [51, 1, 1, 1, 1, 4, 1, 1], "round {round}");
        assert!(order.is_sorted(), "round {round}: {order:?}");
    }
    ask(&client, "STREAM.DELETE.O", Value::Null).await;
}

/// A stream's limits for consumers cannot become narrower than a consumer's own.
pub async fn consumer_limits(peers: &mut Peers) {
    let limits = |threshold: u64, pending: u64| json!({"name": "L", "subjects": ["l"], "consumer_limits": {"inactive_threshold": threshold, "max_ack_pending": pending}});
    peers.prepare("$JS.API.STREAM.CREATE.L", &limits(20_000_000_000, 50)).await;
    let consumer = json!({"durable_name": "d", "ack_policy": "explicit", "inactive_threshold": 10_000_000_000u64, "max_ack_pending": 40});
    peers.prepare("$JS.API.CONSUMER.CREATE.L.d", &json!({"stream_name": "L", "config": consumer})).await;
    for (threshold, pending) in
        [(10_000_000_000, 40), (9_000_000_000, 40), (10_000_000_000, 39), (0, 0), (1_000_000_000, 1)]
    {
        peers.ask("$JS.API.STREAM.UPDATE.L", &limits(threshold, pending)).await;
    }
    peers.delete_stream("L").await;
}
