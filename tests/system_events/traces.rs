//! Messages that are traced: what is told of their way, and that those that are only traced reach nobody.

use super::common::{LIMIT, have};
use super::pair::{Pair, Server, connect};
use async_nats::{Client, HeaderMap, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::io::Read;
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

const THEIR_SHARES: &str = r#"
server_name: gw1
jetstream: { domain: gw1, store_dir: STORE }
accounts {
  SYS { users: [{ user: sys, password: s }] }
  OUT {
    jetstream: enabled
    users: [{ user: out, password: o }]
    exports: [{ service: "open.>", allow_trace: true }, { service: "closed.>" }, { stream: "news.>" }]
  }
  APP {
    users: [{ user: app, password: a }]
    imports: [
      { service: { account: OUT, subject: "open.>" }, to: "ask.>" }
      { service: { account: OUT, subject: "closed.a" } }
    ]
    msg_trace: { dest: "followed", sampling: "100%" }
  }
  IN {
    users: [{ user: in, password: i }]
    imports: [{ stream: { account: OUT, subject: "news.a" }, prefix: p, allow_trace: true }, { stream: { account: OUT, subject: "news.b" } }]
  }
}
system_account: SYS
"#;

const OUR_SHARES: &str = r#"
[jetstream]
domain = "gw1"
[authorization]
system_account = "SYS"
[accounts.SYS]
users = [{ user = "sys", password = "s" }]
[accounts.OUT]
jetstream = true
users = [{ user = "out", password = "o" }]
exports = [{ service = "open.>", allow_trace = true }, { service = "closed.>" }, { stream = "news.>" }]
[accounts.APP]
users = [{ user = "app", password = "a" }]
imports = [{ service = { account = "OUT", subject = "open.>" }, to = "ask.>" }, { service = { account = "OUT", subject = "closed.a" } }]
msg_trace = { dest = "followed" }
[accounts.IN]
users = [{ user = "in", password = "i" }]
imports = [{ stream = { account = "OUT", subject = "news.a" }, prefix = "p", allow_trace = true }, { stream = { account = "OUT", subject = "news.b" } }]
"#;

/// What is traced of messages that go into other accounts, and what arrives there.
async fn shared(server: &Server) -> (Vec<Value>, Vec<String>) {
    let client = async |user: &str, password: &str| {
        connect(user, password).name(user).connect(&server.url).await.expect("let in")
    };
    let (asks, owns, reads) = (client("app", "a").await, client("out", "o").await, client("in", "i").await);
    let stream = json!({ "name": "S", "subjects": ["open.stored"], "storage": "memory" });
    assert!(api(&owns, "STREAM.CREATE.S", stream).await["error"].is_null());
    let mut requests = owns.subscribe("*.a").await.expect("subscribed");
    api(&owns, "INFO", Value::Null).await;
    let mut news = reads.subscribe("p.>").await.expect("subscribed");
    let mut more = reads.queue_subscribe("news.b", "g".into()).await.expect("subscribed");
    reads.request("$SYS.REQ.USER.INFO", "".into()).await.expect("answered");
    let (mut told, mut arrived) = (Vec::new(), Vec::new());
    for (publisher, subject, only) in [
        (&asks, "ask.a", ""),
        (&asks, "ask.a", "true"),
        (&asks, "ask.stored", ""),
        (&asks, "closed.a", ""),
        (&asks, "closed.a", "true"),
        (&owns, "news.a", ""),
        (&owns, "news.a", "true"),
        (&owns, "news.b", ""),
        (&owns, "news.b", "true"),
    ] {
        let dest = publisher.new_inbox();
        let mut traces = publisher.subscribe(dest.clone()).await.expect("subscribed");
        publish(publisher, subject, subject, &dest, only).await;
        let trace = timeout(LIMIT, traces.next()).await.expect("a trace in time").expect("subscribed");
        let mut trace: Value = serde_json::from_slice(&trace.payload).expect("JSON");
        without_times(&mut trace);
        told.push(server.comparable(trace));
    }
    // Another system's, of which one is not sampled, and one that asks for a compressed trace.
    let mut followed = asks.subscribe("followed").await.expect("subscribed");
    for (parent, encoding) in [("00-1-2-00", ""), ("00-1-2-01", ""), ("00-1-2-01", "gzip"), ("00-1-2-03", "snappy")] {
        let mut headers = HeaderMap::new();
        headers.insert("Traceparent", parent);
        if !encoding.is_empty() {
            headers.insert("Accept-Encoding", encoding);
        }
        asks.publish_with_headers("nobody", headers, "".into()).await.expect("sent");
        if parent == "00-1-2-00" {
            continue;
        }
        let trace = timeout(LIMIT, followed.next()).await.expect("a trace in time").expect("subscribed");
        let said = trace.headers.as_ref().and_then(|headers| headers.get("Content-Encoding")).map(ToString::to_string);
        assert_eq!(said.unwrap_or_default(), encoding);
        let mut plain = Vec::new();
        match encoding {
            "gzip" => drop(flate2::read::GzDecoder::new(&trace.payload[..]).read_to_end(&mut plain).expect("packed")),
            "snappy" => drop(minlz::Reader::new(&trace.payload[..]).read_to_end(&mut plain).expect("packed")),
            _ => plain.extend_from_slice(&trace.payload),
        }
        let mut trace: Value = serde_json::from_slice(&plain).expect("JSON");
        without_times(&mut trace);
        told.push(server.comparable(trace));
    }
    for subscriber in [&mut requests, &mut news, &mut more] {
        while let Ok(Some(message)) = timeout(Duration::from_millis(200), subscriber.next()).await {
            let header = message.headers.as_ref().and_then(|headers| headers.get("Nats-Trace-Dest"));
            let header =
                header.map_or("", |header| if header.as_str().starts_with('_') { "inbox" } else { header.as_str() });
            arrived.push(format!("{} {header}", message.subject));
        }
    }
    (told, arrived)
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_through_imports_where_they_may() {
    if !have("nats-server") {
        return;
    }
    let pair = Pair::with(THEIR_SHARES, OUR_SHARES).await;
    let [theirs, ours] = pair.servers().await;
    let (theirs, ours) = (shared(&theirs).await, shared(&ours).await);
    for (nth, (theirs, ours)) in theirs.0.iter().zip(&ours.0).enumerate() {
        assert_eq!(theirs, ours, "trace {nth}");
    }
    assert_eq!(theirs.1, ours.1, "what arrived");
    assert_eq!(ours.1.len(), 5, "{:?}", ours.1);
}
