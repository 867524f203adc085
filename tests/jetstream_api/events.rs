//! Advisories and metrics: who is told what, field by field.

use super::peers::{Peers, header_map};
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Nothing more comes when nothing came for so long.
const QUIET: Duration = Duration::from_secs(1);

async fn ask(client: &Client, verb: &str, body: Value) -> Value {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(format!("$JS.API.{verb}"), payload.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

async fn consumer(client: &Client, name: &str, fields: Value) {
    let mut config = json!({ "durable_name": name, "ack_policy": "explicit" });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let made = ask(client, &format!("CONSUMER.CREATE.V.{name}"), json!({ "stream_name": "V", "config": config })).await;
    assert!(made["error"].is_null(), "{made}");
}

async fn pull(client: &Client, name: &str, body: Value) -> Message {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.V.{name}");
    client.publish_with_reply(subject, inbox, body.to_string().into()).await.expect("sent");
    tokio::time::timeout(QUIET * 5, messages.next()).await.expect("a message").expect("open")
}

async fn acknowledge(client: &Client, message: Message, how: &'static str) {
    client.request(message.reply.expect("a reply subject"), how.into()).await.expect("acknowledged");
}

async fn all(mut events: Subscriber) -> Vec<Message> {
    let mut all = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(QUIET, events.next()).await {
        all.push(event);
    }
    all
}

/// An event, without what each server makes up.
fn shown(event: &Message) -> Value {
    let mut body: Value = serde_json::from_slice(&event.payload).expect("JSON");
    let fields = body.as_object_mut().expect("an object");
    for own in ["id", "timestamp", "ack_time", "delivered", "server", "pinned_id", "paused_until", "pause_until"] {
        if let Some(value) = fields.get_mut(own) {
            *value = json!(!value.is_null());
        }
    }
    show_client(fields.get_mut("client"));
    // What answers say is compared elsewhere.
    if let Some(response) = fields.get_mut("response") {
        let answer: Value = serde_json::from_str(response.as_str().expect("text")).expect("JSON");
        *response = json!([answer["type"], answer["error"], answer["config"]["name"]]);
    }
    json!({ "subject": event.subject.to_string(), "body": body })
}

/// Who asked, without what is of its connection alone.
pub fn show_client(client: Option<&mut Value>) {
    let fields = client.and_then(Value::as_object_mut);
    for (key, value) in fields.into_iter().flatten() {
        if ["id", "start", "rtt"].contains(&&**key) {
            *value = json!(!value.is_null());
        }
    }
}

/// All kinds that a single server gives, but for those of backups.
pub async fn kinds(peers: &mut Peers) {
    let mut told = Vec::new();
    for client in peers.clients.clone() {
        let events = client.subscribe("$JS.EVENT.>").await.expect("subscribed");
        let stream = json!({ "name": "V", "subjects": ["v.>"], "allow_atomic": true, "storage": "memory" });
        ask(&client, "STREAM.CREATE.V", stream.clone()).await;
        let mut changed = stream;
        changed["description"] = json!("changed");
        ask(&client, "STREAM.UPDATE.V", changed).await;
        for n in 1..=4 {
            client.request("v.a", n.to_string().into()).await.expect("stored");
        }
        consumer(&client, "acks", json!({ "sample_freq": "100%", "max_deliver": 2 })).await;
        let none = json!({ "batch": 1, "expires": 5_000_000_000_i64 });
        let message = pull(&client, "acks", none.clone()).await;
        acknowledge(&client, message, "+ACK").await;
        let message = pull(&client, "acks", none.clone()).await;
        acknowledge(&client, message, "-NAK").await;
        let message = pull(&client, "acks", none.clone()).await;
        acknowledge(&client, message, "-NAK").await;
        let message = pull(&client, "acks", none.clone()).await;
        acknowledge(&client, message, "+TERM the reason").await;
        let message = pull(&client, "acks", none.clone()).await;
        acknowledge(&client, message, "+TERM").await;
        ask(&client, "CONSUMER.PAUSE.V.acks", json!({ "pause_until": "2099-01-01T00:00:00Z" })).await;
        ask(&client, "CONSUMER.PAUSE.V.acks", json!({})).await;
        consumer(&client, "pins", json!({ "priority_groups": ["a"], "priority_policy": "pinned_client" })).await;
        let grouped = json!({ "batch": 1, "expires": 5_000_000_000_i64, "group": "a" });
        let message = pull(&client, "pins", grouped).await;
        acknowledge(&client, message, "+ACK").await;
        let mut unpinned = client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.UNPINNED.>").await.expect("subscribed");
        ask(&client, "CONSUMER.UNPIN.V.pins", json!({ "group": "a" })).await;
        tokio::time::timeout(QUIET * 5, unpinned.next()).await.expect("told").expect("open");
        for name in ["pins", "acks"] {
            ask(&client, &format!("CONSUMER.DELETE.V.{name}"), Value::Null).await;
        }
        for (id, seq) in [("gap", "1"), ("gap", "3")] {
            let headers = header_map(&[("Nats-Batch-Id", id), ("Nats-Batch-Sequence", seq)]);
            client.publish_with_headers("v.b", headers, "".into()).await.expect("sent");
        }
        ask(&client, "STREAM.MSG.DELETE.V", json!({ "seq": 1 })).await;
        ask(&client, "STREAM.PURGE.V", Value::Null).await;
        ask(&client, "STREAM.DELETE.V", Value::Null).await;
        ask(&client, "STREAM.DELETE.V", Value::Null).await;
        let mut events: Vec<Value> = all(events).await.iter().map(shown).collect();
        // Those of one subject keep their order, but for those about requests: nats-server has several threads for these.
        events.sort_by_key(|event| {
            let about = |field: &str| event["body"][field].to_string();
            let request = ["subject", "request", "response"].map(about);
            (event["subject"].to_string(), event["body"]["response"].is_array().then_some(request))
        });
        told.push(events);
    }
    let [ours, theirs] = <[Vec<Value>; 2]>::try_from(told).expect("two servers");
    let subjects = |events: &[Value]| events.iter().map(|event| event["subject"].clone()).collect::<Vec<_>>();
    assert_eq!(subjects(&ours), subjects(&theirs));
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        peers.note(&format!("event {}", theirs["subject"]), ours, theirs);
    }
}
