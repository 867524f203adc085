//! Backups taken from either server and restored into the other, driven as the `nats` tool does it.

use super::peers::{Peers, header_map};
use async_nats::{Client, Message};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// What a server gave out.
struct Backup {
    config: Value,
    state: Value,
    chunks: Vec<Vec<u8>>,
}

async fn request(client: &Client, subject: &str, body: &Value) -> Value {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(subject.to_owned(), payload.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

async fn ask(client: &Client, verb: &str, body: Value) -> Value {
    let answer = request(client, &format!("$JS.API.{verb}"), &body).await;
    assert!(answer["error"].is_null(), "{verb} {body}: {answer}");
    answer
}

/// As clients in Go do it: they subscribe only after the answer, to a subject within the wildcard for all their answers.
async fn back_up(client: &Client, stream: &str, options: Value) -> Backup {
    let answers = client.new_inbox();
    let _answers = client.subscribe(format!("{answers}.*")).await.expect("subscribed");
    let inbox = format!("{answers}.backup");
    let mut body = json!({ "deliver_subject": inbox });
    for (key, value) in options.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let begun = ask(client, &format!("STREAM.SNAPSHOT.{stream}"), body).await;
    let mut chunks = client.subscribe(inbox).await.expect("subscribed");
    let mut taken = Vec::new();
    loop {
        let chunk: Message = tokio::time::timeout(LIMIT, chunks.next()).await.expect("a chunk").expect("open");
        if let Some(status) = chunk.status {
            assert_eq!(status.as_u16(), 204, "{:?}", chunk.description);
        }
        if chunk.payload.is_empty() {
            break;
        }
        taken.push(chunk.payload.to_vec());
        if let Some(reply) = chunk.reply {
            client.publish(reply, "".into()).await.expect("acknowledged");
        }
    }
    Backup { config: begun["config"].clone(), state: begun["state"].clone(), chunks: taken }
}

/// Sends a backup; gives what is said at its end.
async fn restore(client: &Client, stream: &str, backup: &Backup) -> Value {
    let body = json!({ "config": backup.config, "state": backup.state });
    let begun = ask(client, &format!("STREAM.RESTORE.{stream}"), body).await;
    let subject = begun["deliver_subject"].as_str().expect("a subject").to_owned();
    for chunk in &backup.chunks {
        let answer = client.request(subject.clone(), chunk.clone().into()).await.expect("an answer");
        if !answer.payload.is_empty() {
            return serde_json::from_slice(&answer.payload).expect("JSON");
        }
    }
    request(client, &subject, &Value::Null).await
}

async fn pull(client: &Client, consumer: &str, count: usize) -> Vec<Message> {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("subscribed");
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{consumer}");
    let body = json!({ "batch": count, "no_wait": true }).to_string();
    client.publish_with_reply(subject, inbox, body.into()).await.expect("sent");
    let mut got = Vec::new();
    while got.len() < count {
        let message = tokio::time::timeout(LIMIT, messages.next()).await.expect("a message").expect("open");
        if message.status.is_some() {
            break;
        }
        got.push(message);
    }
    got
}

async fn acknowledge(client: &Client, message: &Message, how: &'static str) {
    let reply = message.reply.clone().expect("a reply subject");
    client.request(reply, how.into()).await.expect("acknowledged");
}

/// A stream with gaps at its front, within and at its end, and consumers that are somewhere.
async fn fill(client: &Client, config: Value) {
    ask(client, "STREAM.CREATE.S", config).await;
    for n in 0..60u32 {
        // Bytes that do not compress, so that there are many chunks.
        let payload: Vec<u8> = (0..n * 40).map(|_| fastrand::u8(..)).collect();
        let subject = format!("s.{}", n % 5);
        match n % 3 {
            0 => {
                let headers = [("X-Number", &*n.to_string()), ("Nats-Msg-Id", &*format!("id{n}"))];
                let headers = header_map(&headers);
                client.publish_with_headers(subject, headers, payload.into()).await.expect("sent");
            }
            _ => client.publish(subject, payload.into()).await.expect("sent"),
        }
    }
    client.flush().await.expect("flushed");
    ask(client, "STREAM.INFO.S", Value::Null).await;
    for consumer in [
        json!({"durable_name": "some", "ack_policy": "explicit", "ack_wait": 600_000_000_000u64}),
        json!({"durable_name": "filtered", "ack_policy": "all", "filter_subject": "s.2"}),
        json!({"durable_name": "new", "ack_policy": "explicit", "deliver_policy": "new"}),
        json!({"durable_name": "none", "ack_policy": "none", "max_deliver": 3}),
        json!({"name": "brief", "ack_policy": "explicit", "inactive_threshold": 600_000_000_000u64}),
    ] {
        let name = consumer["durable_name"].as_str().or(consumer["name"].as_str()).expect("a name").to_owned();
        let body = json!({ "stream_name": "S", "config": consumer, "action": "" });
        ask(client, &format!("CONSUMER.CREATE.S.{name}"), body).await;
    }
    let some = pull(client, "some", 12).await;
    for n in [0, 1, 2, 5, 7] {
        acknowledge(client, &some[n], "+ACK").await;
    }
    acknowledge(client, &some[9], "-NAK").await;
    assert_eq!(pull(client, "some", 1).await.len(), 1, "once more");
    let filtered = pull(client, "filtered", 4).await;
    acknowledge(client, &filtered[2], "+ACK").await;
    assert_eq!(pull(client, "none", 6).await.len(), 6);
    pull(client, "brief", 5).await;
    for seq in [30, 31, 45, 59, 60] {
        ask(client, "STREAM.MSG.DELETE.S", json!({ "seq": seq })).await;
    }
    ask(client, "STREAM.PURGE.S", json!({ "seq": 4 })).await;
}

/// All that a user can see of the stream and its consumers.
async fn seen(client: &Client, consumers: bool) -> Value {
    let mut messages = Vec::new();
    for seq in 1..=61 {
        let mut answer = request(client, "$JS.API.STREAM.MSG.GET.S", &json!({ "seq": seq })).await;
        messages.push(answer["message"].take());
    }
    let info = ask(client, "STREAM.INFO.S", json!({ "deleted_details": true, "subjects_filter": ">" })).await;
    let mut config = info["config"].clone();
    config["metadata"].take();
    let mut state = info["state"].clone();
    // The time of the last message is not told in a backup if that message was removed.
    for own in ["bytes", "consumer_count", "last_ts"] {
        state[own].take();
    }
    let mut all = json!({ "messages": messages, "config": config, "state": state });
    let names = ["some", "filtered", "new", "none", "brief"];
    for name in names.into_iter().filter(|_| consumers) {
        let info = ask(client, &format!("CONSUMER.INFO.S.{name}"), Value::Null).await;
        let mut shown = json!({});
        for field in ["num_ack_pending", "num_redelivered", "num_pending", "num_waiting", "config"] {
            shown[field] = info[field].clone();
        }
        for field in ["delivered", "ack_floor"] {
            for seq in ["consumer_seq", "stream_seq"] {
                shown[field][seq] = info[field][seq].clone();
            }
        }
        shown["config"]["metadata"].take();
        all["consumers"][name] = shown;
    }
    all
}

/// From each server into the other, and into itself.
pub async fn both_ways(peers: &mut Peers, options: Value) {
    let config = json!({ "name": "S", "subjects": ["s.>"], "max_msgs": 1000 });
    for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let label = format!("{options} from {from} to {to}");
        let (source, target) = (peers.clients[from].clone(), peers.clients[to].clone());
        fill(&source, config.clone()).await;
        let consumers = options["no_consumers"] != true;
        let before = seen(&source, consumers).await;
        let backup = back_up(&source, "S", options.clone()).await;
        if options["chunk_size"] == 1024 {
            assert!(backup.chunks.len() > 20, "{} chunks", backup.chunks.len());
        }
        ask(&source, "STREAM.DELETE.S", Value::Null).await;
        let answer = restore(&target, "S", &backup).await;
        assert!(answer["error"].is_null(), "{label}: {answer}");
        assert_eq!(answer["state"]["messages"], before["state"]["messages"], "{label}: {answer}");
        let after = seen(&target, consumers).await;
        if before != after {
            for (key, value) in before.as_object().expect("an object") {
                assert_eq!(value, &after[key], "{label}: {key}");
            }
        }
        // It goes on where it was. nats-server has forgotten the message ids.
        if to == 0 {
            let headers = header_map(&[("Nats-Msg-Id", "id57")]);
            let again = async_nats::Request::new().headers(headers).payload("x".into());
            let again = target.send_request("s.1", again).await.expect("an answer");
            let again: Value = serde_json::from_slice(&again.payload).expect("JSON");
            assert_eq!((&again["seq"], &again["duplicate"]), (&json!(58), &json!(true)), "{label}: {again}");
        }
        let next = request(&target, "s.1", &json!(1)).await;
        assert_eq!(next["seq"], 61, "{label}: {next}");
        if consumers {
            let more = pull(&target, "some", 1).await;
            let reply = more[0].reply.as_ref().expect("a reply").to_string();
            let tokens: Vec<&str> = reply.split('.').collect();
            let place = tokens[tokens.len() - 5..tokens.len() - 2].join(" ");
            assert_eq!(place, "1 13 14", "{label}: {reply}");
        }
        ask(&target, "STREAM.DELETE.S", Value::Null).await;
    }
}

/// What servers before 2.15 backed up, of a stream with gaps of all kinds and consumers that are somewhere.
pub async fn older(peers: &mut Peers) {
    for (described, bytes) in [
        (include_str!("backups/2.10.26.json"), &include_bytes!("backups/2.10.26.bin")[..]),
        (include_str!("backups/2.14.6.json"), &include_bytes!("backups/2.14.6.bin")[..]),
    ] {
        let described: Value = serde_json::from_str(described).expect("JSON");
        let chunks = bytes.chunks(1000).map(<[u8]>::to_vec).collect();
        let backup = Backup { config: described["config"].clone(), state: described["state"].clone(), chunks };
        for client in peers.clients.clone() {
            let answer = restore(&client, "S", &backup).await;
            assert!(answer["error"].is_null(), "{answer}");
            for field in ["messages", "first_seq", "last_seq", "num_deleted", "consumer_count"] {
                assert_eq!(answer["state"][field], backup.state[field], "{field}: {answer}");
            }
        }
        peers.ask("$JS.API.STREAM.INFO.S", &json!({ "deleted_details": true, "subjects_filter": ">" })).await;
        for name in ["some", "all", "new", "brief"] {
            peers.ask_raw(&format!("$JS.API.CONSUMER.INFO.S.{name}"), &[], "").await;
        }
        for seq in 1..=86 {
            peers.ask("$JS.API.STREAM.MSG.GET.S", &json!({ "seq": seq })).await;
        }
        for name in ["some", "all", "new", "brief"] {
            peers
                .ask_many(&format!("$JS.API.CONSUMER.MSG.NEXT.S.{name}"), &json!({ "batch": 3, "no_wait": true }))
                .await;
        }
        peers.ask_raw("s.0", &[], "the next").await;
        peers.delete_stream("S").await;
    }
}

/// Requests that are refused, and backups that are none.
pub async fn refusals(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.S", &json!({ "name": "S", "subjects": ["s.>"] })).await;
    for (stream, body) in [
        ("S", Value::Null),
        ("S", json!({})),
        ("S", json!({ "deliver_subject": "" })),
        ("S", json!({ "deliver_subject": "a.*" })),
        ("S", json!({ "deliver_subject": "a b" })),
        ("S", json!({ "nonsense": 1 })),
        ("X", Value::Null),
        ("X", json!({ "deliver_subject": "a" })),
    ] {
        peers.ask(&format!("$JS.API.STREAM.SNAPSHOT.{stream}"), &body).await;
    }
    for body in [
        Value::Null,
        json!({}),
        json!({ "config": { "name": "S" } }),
        json!({ "config": { "name": "T" } }),
        json!({ "config": { "name": "S", "num_replicas": 9 } }),
        json!({ "config": { "name": "S", "subjects": ["a b"] } }),
        json!({ "config": { "name": "S", "max_bytes": 1u64 << 50 } }),
    ] {
        peers.ask("$JS.API.STREAM.RESTORE.S", &body).await;
    }
    let good = back_up(&peers.clients[0], "S", json!({})).await;
    peers.delete_stream("S").await;
    let chunk = good.chunks.concat();
    for broken in [vec![b"nonsense, and that at some length".to_vec()], vec![chunk[..chunk.len() / 2].to_vec()], vec![]]
    {
        let backup = Backup { config: good.config.clone(), state: good.state.clone(), chunks: broken };
        let answer = restore(&peers.clients[0], "S", &backup).await;
        assert_eq!(answer["error"]["err_code"], 10062, "{answer}");
        let none = request(&peers.clients[0], "$JS.API.STREAM.INFO.S", &Value::Null).await;
        assert_eq!(none["error"]["err_code"], 10059, "nothing of it is left: {none}");
    }
    let answer = restore(&peers.clients[0], "S", &good).await;
    assert!(answer["error"].is_null(), "{answer}");
    peers.delete_stream("S").await;
}

/// What is told of a backup and of a restore, but for what each server makes up.
pub async fn advisories(peers: &mut Peers) {
    let mut told = Vec::new();
    for client in peers.clients.clone() {
        ask(&client, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s.>"] })).await;
        request(&client, "s.1", &json!(1)).await;
        let mut events = client.subscribe("$JS.EVENT.ADVISORY.STREAM.>").await.expect("subscribed");
        let backup = back_up(&client, "S", json!({})).await;
        ask(&client, "STREAM.DELETE.S", Value::Null).await;
        let answer = restore(&client, "S", &backup).await;
        assert!(answer["error"].is_null(), "{answer}");
        let mut all = Vec::new();
        for _ in 0..6 {
            let event = tokio::time::timeout(LIMIT, events.next()).await.expect("an advisory").expect("open");
            let mut body: Value = serde_json::from_slice(&event.payload).expect("JSON");
            super::events::show_client(body.get_mut("client"));
            for own in ["id", "timestamp", "start", "end", "bytes", "state"] {
                body[own] = json!(!body[own].is_null());
            }
            all.push(json!([event.subject.to_string(), body]));
        }
        all.sort_by_key(Value::to_string);
        told.push(Value::Array(all));
    }
    assert_eq!(told[0], told[1]);
    peers.delete_stream("S").await;
}
