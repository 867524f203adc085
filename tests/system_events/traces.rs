//! Messages that are traced: what is told of their way, and that those that are only traced reach nobody.

use super::common::{LIMIT, have};
use super::pair::{Pair, Server};
use async_nats::{Client, HeaderMap, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Subjects and what is published there, whether it is only traced.
const MESSAGES: &[(&str, &str, &str)] = &[
    ("t.a", "delivered", ""),
    ("t.a", "looked at", "true"),
    ("q.a", "delivered", "false"),
    ("q.a", "looked at", "on"),
    ("own", "echoed", ""),
    ("s.a", "looked at", "1"),
    ("s.a", "stored", ""),
    ("s.a", "one too many", ""),
    ("nobody", "", ""),
    ("nobody", "", "true"),
];

async fn publish(client: &Client, subject: &str, payload: &str, dest: &str, only: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Trace-Dest", dest);
    headers.insert("X", "y");
    if !only.is_empty() {
        headers.insert("Nats-Trace-Only", only);
    }
    client.publish_with_headers(subject.to_owned(), headers, payload.to_owned().into()).await.expect("sent");
}

async fn api(client: &Client, verb: &str, body: Value) -> Value {
    let answer = client.request(format!("$JS.API.{verb}"), body.to_string().into()).await.expect("answered");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

async fn payloads(subscriber: &mut Subscriber) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(Some(message)) = timeout(Duration::from_millis(200), subscriber.next()).await {
        all.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    all
}

fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.remove("ts").is_some_and(|time| !time.is_string()) {
                fields.insert("ts".into(), json!("no time"));
            }
            fields.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

/// The traces, what was delivered and what was stored.
async fn seen(server: &Server) -> (Vec<Value>, Vec<String>, Value) {
    let (worker, publisher) = (server.app("worker").await, server.app("publisher").await);
    let stream = json!({ "name": "S", "subjects": ["s.>"], "storage": "memory", "max_msgs": 1, "discard": "new" });
    assert!(api(&publisher, "STREAM.CREATE.S", stream).await["error"].is_null());
    let mut delivered = worker.subscribe("t.*").await.expect("subscribed");
    let mut queued = worker.queue_subscribe("q.*", "g".into()).await.expect("subscribed");
    api(&worker, "INFO", Value::Null).await;
    let _own = publisher.subscribe("own").await.expect("subscribed");
    let dest = publisher.new_inbox();
    let mut traces = publisher.subscribe(dest.clone()).await.expect("subscribed");
    let mut told = Vec::new();
    for (subject, payload, only) in MESSAGES {
        publish(&publisher, subject, payload, &dest, only).await;
        let trace = timeout(LIMIT, traces.next()).await.expect("a trace in time").expect("subscribed");
        let mut trace: Value = serde_json::from_slice(&trace.payload).expect("JSON");
        without_times(&mut trace);
        told.push(server.comparable(trace));
    }
    // Where no trace may be told or can be, what is only traced reaches nobody either.
    publish(&publisher, "t.a", "not permitted", "secret", "").await;
    publish(&publisher, "t.a", "not permitted, looked at", "secret", "true").await;
    publish(&publisher, "t.a", "no subject", "a..b", "").await;
    publish(&publisher, "t.a", "no subject, looked at", "a..b", "true").await;
    publish(&publisher, "t.a", "switched off", "trace disabled", "true").await;
    api(&publisher, "INFO", Value::Null).await;
    let mut all = payloads(&mut delivered).await;
    all.extend(payloads(&mut queued).await);
    let state = api(&publisher, "STREAM.INFO.S", Value::Null).await["state"]["messages"].clone();
    (told, all, state)
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_tell_what_those_of_nats_server_tell() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::start().await;
    let [theirs, ours] = pair.servers().await;
    let (theirs, ours) = (seen(&theirs).await, seen(&ours).await);
    for (message, (theirs, ours)) in MESSAGES.iter().zip(theirs.0.iter().zip(&ours.0)) {
        assert_eq!(theirs, ours, "{message:?}");
    }
    assert_eq!(theirs.1, ours.1, "what was delivered");
    assert_eq!(ours.1, ["delivered", "no subject", "switched off", "delivered"], "what was delivered");
    assert_eq!((&theirs.2, &ours.2), (&json!(1), &json!(1)), "what was stored");
}
