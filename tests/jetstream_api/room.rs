//! A full stream that keeps messages until they are acknowledged has room as soon as one is.

use super::behaviour::{ask, publish};
use super::peers::Peers;
use async_nats::{Client, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

const ROUNDS: usize = 100;

/// Asks for messages, and acknowledges those that come without asking for an answer.
async fn acknowledge(client: &Client, inbox: &str, messages: &mut Subscriber, count: usize) {
    let pull = json!({ "batch": count, "expires": 5_000_000_000_u64 }).to_string();
    client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.W.c", inbox.to_owned(), pull.into()).await.expect("sent");
    for _ in 0..count {
        let message = tokio::time::timeout(Duration::from_secs(5), messages.next()).await;
        let message = message.expect("a message").expect("open");
        client.publish(message.reply.expect("a reply subject"), "+ACK".into()).await.expect("sent");
    }
}

/// How often a publish right after an ack on the same connection is refused; then who waits for room gets it in turn.
async fn refusals(client: &Client, config: &Value) -> usize {
    assert!(ask(client, "STREAM.CREATE.W", config.clone()).await["error"].is_null());
    let consumer = json!({ "durable_name": "c", "ack_policy": "explicit" });
    let made = ask(client, "CONSUMER.CREATE.W.c", json!({ "stream_name": "W", "config": consumer })).await;
    assert!(made["error"].is_null(), "{made}");
    for body in ["1", "2", "3"] {
        assert!(publish(client, "w", &[], body).await["error"].is_null());
    }
    let full = publish(client, "w", &[], "4").await;
    assert_eq!(full["error"]["err_code"], 10077, "nothing was acknowledged: {full}");
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
    let mut refused = 0;
    for _ in 0..ROUNDS {
        acknowledge(client, &inbox, &mut messages, 1).await;
        while !publish(client, "w", &[], "x").await["error"].is_null() {
            refused += 1;
        }
    }
    refused
}

/// Several that come together while the stream is full: as many as have been acknowledged are taken, in their order.
async fn in_turn(client: &Client) {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
    acknowledge(client, &inbox, &mut messages, 2).await;
    let answers = client.new_inbox();
    let mut answered = client.subscribe(answers.clone()).await.expect("subscribed");
    for body in ["a", "b", "c"] {
        client.publish_with_reply("w", answers.clone(), body.into()).await.expect("sent");
    }
    let (mut seqs, mut codes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let answer = tokio::time::timeout(Duration::from_secs(5), answered.next()).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.expect("open").payload).expect("JSON");
        seqs.extend(answer["seq"].as_u64().filter(|seq| *seq > 0));
        codes.extend(answer["error"]["err_code"].as_u64());
    }
    assert_eq!(codes, [10077]);
    let mut bodies = Vec::new();
    for seq in seqs {
        let got = client.request("$JS.API.DIRECT.GET.W", json!({ "seq": seq }).to_string().into()).await;
        bodies.push(got.expect("an answer").payload);
    }
    assert_eq!(bodies, ["a", "b"]);
}

/// On leafd none is refused; on nats-server, where an ack is taken in beside what its connection goes on to say, now and then one.
pub async fn made_by_acks(peers: &mut Peers) {
    for retention in ["workqueue", "interest"] {
        for storage in ["file", "memory"] {
            let config = json!({
                "name": "W", "subjects": ["w"], "retention": retention, "storage": storage, "discard": "new",
                "max_msgs": 3, "allow_direct": true
            });
            let [ours, theirs] = &peers.clients;
            assert_eq!(refusals(ours, &config).await, 0, "{config}");
            in_turn(ours).await;
            eprintln!("{retention} {storage}: nats-server refuses {} of {ROUNDS}", refusals(theirs, &config).await);
            peers.delete_stream("W").await;
        }
    }
}
