//! Batches: their messages, their ends, what is checked of them, and what is stored.

use super::peers::{Peers, header_map};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::Duration;

/// Subject, headers beside those of the batch, body.
type Part = (&'static str, &'static [(&'static str, &'static str)], &'static str);

fn stream(fields: Value) -> Value {
    let mut config = json!({ "name": "B", "subjects": ["b.>"], "allow_atomic": true });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// Publishes the parts as one batch that the last one commits, or `eob` behind it.
async fn send(peers: &mut Peers, id: &str, parts: &[Part], eob: bool) {
    for (n, (subject, headers, payload)) in parts.iter().enumerate() {
        let seq = (n + 1).to_string();
        let mut all = vec![("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &seq)];
        if n + 1 == parts.len() && !eob {
            all.push(("Nats-Batch-Commit", "1"));
        }
        all.extend_from_slice(headers);
        peers.ask_raw(subject, &all, payload).await;
    }
    if eob {
        let seq = (parts.len() + 1).to_string();
        let all = [("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &seq), ("Nats-Batch-Commit", "eob")];
        peers.ask_raw("b.end", &all, "not stored").await;
    }
}

/// What the stream holds.
async fn look(peers: &mut Peers) {
    peers.ask("$JS.API.STREAM.INFO.B", &json!({"subjects_filter": ">", "deleted_details": true})).await;
    for seq in 1..12 {
        peers.ask("$JS.API.STREAM.MSG.GET.B", &json!({ "seq": seq })).await;
    }
}

const PLAIN: &[Part] = &[("b.a", &[], "1"), ("b.b", &[("X", "y")], "2"), ("b.a", &[], "3")];

/// Whole batches with every header that a stream obeys.
pub async fn contents(peers: &mut Peers) {
    let cases: &[(Value, &[Part])] = &[
        (json!({}), PLAIN),
        (json!({"storage": "memory"}), PLAIN),
        (json!({}), &[("b.a", &[], "1")]),
        (json!({"allow_atomic": false}), PLAIN),
        (
            json!({"no_ack": false, "max_msg_size": 80}),
            &[("b.a", &[], "1"), ("b.a", &[], "much longer than the others are, and too long")],
        ),
        (json!({}), &[("b.a", &[("Nats-Msg-Id", "1")], "1"), ("b.a", &[("Nats-Msg-Id", "2")], "2")]),
        (json!({}), &[("b.a", &[("Nats-Msg-Id", "1")], "1"), ("b.a", &[("Nats-Msg-Id", "1")], "2")]),
        (json!({}), &[("b.a", &[("Nats-Msg-Id", "known")], "1"), ("b.a", &[], "2")]),
        (json!({}), &[("b.a", &[("Nats-Expected-Last-Msg-Id", "known")], "1"), ("b.a", &[], "2")]),
        (json!({}), &[("b.a", &[("Nats-Expected-Stream", "B")], "1"), ("b.a", &[("Nats-Expected-Stream", "X")], "2")]),
        (json!({}), &[("b.a", &[("Nats-Expected-Last-Sequence", "2")], "1"), ("b.a", &[], "2")]),
        (json!({}), &[("b.a", &[("Nats-Expected-Last-Sequence", "1")], "1"), ("b.a", &[], "2")]),
        (json!({}), &[("b.a", &[], "1"), ("b.a", &[("Nats-Expected-Last-Sequence", "3")], "2")]),
        (json!({}), &[("b.a", &[], "1"), ("b.a", &[("Nats-Expected-Last-Sequence", "2")], "2")]),
        (
            json!({}),
            &[
                ("b.x", &[("Nats-Expected-Last-Subject-Sequence", "0")], "1"),
                ("b.known", &[("Nats-Expected-Last-Subject-Sequence", "2")], "2"),
            ],
        ),
        (json!({}), &[("b.x", &[("Nats-Expected-Last-Subject-Sequence", "1")], "1"), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[], "1"), ("b.x", &[("Nats-Expected-Last-Subject-Sequence", "3")], "2")]),
        (
            json!({}),
            &[
                (
                    "b.x",
                    &[
                        ("Nats-Expected-Last-Subject-Sequence", "2"),
                        ("Nats-Expected-Last-Subject-Sequence-Subject", "b.known"),
                    ],
                    "1",
                ),
                (
                    "b.y",
                    &[
                        ("Nats-Expected-Last-Subject-Sequence", "2"),
                        ("Nats-Expected-Last-Subject-Sequence-Subject", "b.known"),
                    ],
                    "2",
                ),
                (
                    "b.z",
                    &[
                        ("Nats-Expected-Last-Subject-Sequence", "1"),
                        ("Nats-Expected-Last-Subject-Sequence-Subject", "b.known"),
                    ],
                    "2",
                ),
            ],
        ),
        (json!({}), &[("b.x", &[("Nats-Expected-Last-Subject-Sequence-Subject", "b.known")], "1"), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-Rollup", "sub")], "1"), ("b.y", &[], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.known", &[("Nats-Rollup", "sub")], "1"), ("b.y", &[], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.y", &[], "1"), ("b.known", &[("Nats-Rollup", "sub")], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.y", &[], "1"), ("b.y", &[("Nats-Rollup", "sub")], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.y", &[("Nats-Rollup", "all")], "1"), ("b.z", &[], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.y", &[], "1"), ("b.z", &[("Nats-Rollup", "all")], "2")]),
        (json!({"allow_rollup_hdrs": true}), &[("b.y", &[("Nats-Rollup", "some")], "1"), ("b.z", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-TTL", "1m")], "1"), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-TTL", "x")], "1"), ("b.y", &[], "2")]),
        (
            json!({"allow_msg_ttl": true}),
            &[("b.x", &[("Nats-TTL", "1m")], "1"), ("b.y", &[("Nats-TTL", "never")], "2")],
        ),
        (json!({"allow_msg_ttl": true}), &[("b.x", &[("Nats-TTL", "x")], "1"), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-Incr", "1")], ""), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-Stream-Source", "S 1")], ""), ("b.y", &[], "2")]),
        (
            json!({}),
            &[
                ("b.x", &[("Nats-Schedule", "@at 2099-01-01T00:00:00Z"), ("Nats-Schedule-Target", "b.y")], "1"),
                ("b.z", &[], "2"),
            ],
        ),
        (json!({}), &[("b.x", &[("Nats-Required-Api-Level", "2")], "1"), ("b.y", &[], "2")]),
        (json!({}), &[("b.x", &[("Nats-Required-Api-Level", "99")], "1"), ("b.y", &[], "2")]),
        (json!({"discard": "new", "max_msgs": 4}), PLAIN),
        (json!({"discard": "new", "max_msgs": 5}), PLAIN),
        (json!({"max_msgs": 4}), PLAIN),
        (json!({"max_msgs_per_subject": 1}), PLAIN),
        (json!({"discard": "new", "max_msgs_per_subject": 1, "discard_new_per_subject": true}), PLAIN),
        (json!({"discard": "new", "max_msgs_per_subject": 2, "discard_new_per_subject": true}), PLAIN),
        (json!({"retention": "interest"}), PLAIN),
        (json!({"subject_transform": {"src": "b.*", "dest": "c.{{wildcard(1)}}"}}), PLAIN),
        (json!({"no_ack": true}), PLAIN),
    ];
    for (fields, parts) in cases {
        for eob in [false, true] {
            peers.prepare("$JS.API.STREAM.CREATE.B", &stream(fields.clone())).await;
            if fields["no_ack"] != true {
                peers.ask_raw("b.first", &[], "first").await;
                peers.ask_raw("b.known", &[("Nats-Msg-Id", "known")], "known").await;
            }
            send(peers, "one", parts, eob).await;
            look(peers).await;
            peers.delete_stream("B").await;
        }
    }
    counters(peers).await;
}

async fn counters(peers: &mut Peers) {
    let parts: &[&[Part]] = &[
        &[("b.a", &[("Nats-Incr", "1")], ""), ("b.a", &[("Nats-Incr", "+5")], ""), ("b.b", &[("Nats-Incr", "-2")], "")],
        &[("b.a", &[("Nats-Incr", "1")], ""), ("b.a", &[], "")],
        &[("b.a", &[("Nats-Incr", "1")], "x"), ("b.a", &[("Nats-Incr", "1")], "")],
        &[("b.a", &[("Nats-Incr", "x")], ""), ("b.a", &[("Nats-Incr", "1")], "")],
    ];
    for parts in parts {
        peers.prepare("$JS.API.STREAM.CREATE.B", &stream(json!({"allow_msg_counter": true}))).await;
        peers.ask_raw("b.a", &[("Nats-Incr", "10")], "").await;
        send(peers, "c", parts, false).await;
        look(peers).await;
        peers.delete_stream("B").await;
    }
}

/// Numbers and ends that are not as they should be, and the advisories of batches that are given up.
pub async fn ends(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.B", &stream(json!({}))).await;
    let subject = "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.B";
    let mut heard = Vec::new();
    for client in &peers.clients {
        heard.push(client.subscribe(subject).await.expect("subscribed"));
        client.flush().await.expect("flushed");
    }
    let long = "x".repeat(65);
    let fits = "y".repeat(64);
    let steps: &[(&str, &str, Option<&str>)] = &[
        (&long, "1", None),
        (&fits, "1", None),
        (&fits, "2", Some("1")),
        ("", "1", Some("1")),
        ("none", "", None),
        ("none", "x", None),
        ("none", "-1", None),
        ("none", "0", None),
        ("none", "2", None),
        ("none", "2", Some("1")),
        ("none", "1001", Some("1")),
        ("none", "1001", Some("eob")),
        ("none", "1002", Some("eob")),
        ("alone", "1", Some("eob")),
        ("gap", "1", None),
        ("gap", "3", None),
        ("gap", "4", Some("1")),
        ("again", "1", None),
        ("again", "1", None),
        ("again", "2", Some("1")),
        ("bad", "1", None),
        ("bad", "2", Some("x")),
        ("bad", "2", Some("1")),
        ("bad", "1", Some("")),
        ("bad", "1", Some("EOB")),
        ("fine", "1", Some("1")),
        ("fine", "1", None),
        ("fine", "2", Some("eob")),
    ];
    for (id, seq, commit) in steps {
        let mut headers = vec![("Nats-Batch-Id", *id), ("Nats-Batch-Sequence", *seq)];
        headers.extend(commit.map(|commit| ("Nats-Batch-Commit", commit)));
        peers.ask_raw("b.a", &headers, "x").await;
    }
    peers.ask_raw("b.a", &[("Nats-Batch-Id", "q")], "x").await;
    look(peers).await;
    for n in 1..=50 {
        let id = format!("open{n}");
        peers.ask_raw("b.a", &[("Nats-Batch-Id", &id), ("Nats-Batch-Sequence", "1")], "x").await;
    }
    peers.ask_raw("b.a", &[("Nats-Batch-Id", "more"), ("Nats-Batch-Sequence", "1")], "x").await;
    peers
        .ask_raw("b.a", &[("Nats-Batch-Id", "open1"), ("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")], "x")
        .await;
    // Those that were left open are given up after ten seconds.
    let mut advisories = Vec::new();
    for heard in &mut heard {
        let mut reasons = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(12), heard.next()).await {
            let mut advisory: Value = serde_json::from_slice(&message.payload).expect("JSON");
            for key in ["id", "timestamp"] {
                assert!(advisory[key].as_str().is_some_and(|text| !text.is_empty()), "{advisory}");
                advisory[key] = Value::Null;
            }
            reasons.push(advisory.to_string());
            if reasons.iter().filter(|reason| reason.contains("timeout")).count() == 49 {
                break;
            }
        }
        reasons.sort();
        advisories.push(reasons);
    }
    assert_eq!(advisories[0], advisories[1]);
    peers
        .ask_raw("b.a", &[("Nats-Batch-Id", "open2"), ("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")], "x")
        .await;
    look(peers).await;
    peers.delete_stream("B").await;
}

/// The longest batch, and one that is longer.
pub async fn sizes(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.B", &stream(json!({}))).await;
    for (id, count, last, commit) in [("most", 1000, 1000, "1"), ("end", 1000, 1001, "eob"), ("more", 1001, 1001, "1")]
    {
        for client in &peers.clients {
            for n in 1..count + usize::from(last > count) {
                let mut headers = async_nats::HeaderMap::new();
                headers.insert("Nats-Batch-Id", id);
                headers.insert("Nats-Batch-Sequence", n.to_string());
                client.publish_with_headers("b.a", headers, "x".into()).await.expect("sent");
            }
        }
        let seq = last.to_string();
        let headers = [("Nats-Batch-Id", id), ("Nats-Batch-Sequence", &seq), ("Nats-Batch-Commit", commit)];
        peers.ask_raw("b.a", &headers, "x").await;
        peers.ask("$JS.API.STREAM.INFO.B", &json!({})).await;
    }
    peers.delete_stream("B").await;
}

/// A step of a fast batch: batch, flow, gaps, sequence, operation, headers, body.
type Step<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);

/// Sends the steps to both, one after the other, and compares all that each says.
async fn compare_fast(peers: &mut Peers, label: &str, steps: &[Step<'_>]) {
    let mut said: Vec<Vec<Value>> = Vec::new();
    for client in peers.clients.clone() {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.>")).await.expect("subscribed");
        let mut all = Vec::new();
        for (n, (id, flow, gaps, seq, operation, headers, body)) in steps.iter().enumerate() {
            let reply = format!("{inbox}.{id}.{flow}.{gaps}.{seq}.{operation}.$FI");
            let map = header_map(headers);
            match headers.is_empty() {
                true => client.publish_with_reply("b.a", reply, (*body).to_owned().into()).await.expect("sent"),
                false => {
                    let body = (*body).to_owned().into();
                    client.publish_with_reply_and_headers("b.a", reply, map, body).await.expect("sent");
                }
            }
            // The answer to this one comes behind all that the step has brought about.
            let mark = format!("{inbox}.mark");
            client.publish_with_reply("b.mark", mark.clone(), "".into()).await.expect("sent");
            loop {
                let message =
                    tokio::time::timeout(Duration::from_secs(5), answers.next()).await.expect(label).expect("open");
                if *message.subject == *mark {
                    break;
                }
                let place = message.subject.strip_prefix(&*inbox).unwrap_or_default();
                let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
                all.push(json!({ "step": n, "to": place, "body": body }));
            }
        }
        said.push(all);
    }
    let theirs = said.pop().expect("both");
    peers.note(label, Value::Array(said.pop().expect("both")), Value::Array(theirs));
    look(peers).await;
}

/// Batches whose messages are stored as they come.
pub async fn fast(peers: &mut Peers) {
    let known: &[(&str, &str)] = &[("Nats-Msg-Id", "known")];
    let wrong: &[(&str, &str)] = &[("Nats-Expected-Last-Sequence", "77")];
    let level: &[(&str, &str)] = &[("Nats-Required-Api-Level", "99")];
    let low: &[(&str, &str)] = &[("Nats-Required-Api-Level", "2"), ("X", "y")];
    let long = "x".repeat(65);
    let cases: &[(&str, &[Step<'_>])] = &[
        (
            "a whole one",
            &[
                ("f", "2", "fail", "1", "0", &[], "1"),
                ("f", "2", "fail", "2", "1", &[], "2"),
                ("f", "2", "fail", "3", "1", &[], "3"),
                ("f", "2", "fail", "4", "1", &[], "4"),
                ("f", "2", "fail", "5", "2", &[], "5"),
                ("f", "2", "fail", "6", "1", &[], "6"),
            ],
        ),
        (
            "ended before",
            &[
                ("f", "1", "ok", "1", "0", &[], "1"),
                ("f", "1", "ok", "2", "1", &[], "2"),
                ("f", "1", "ok", "3", "3", &[], "end"),
            ],
        ),
        ("ended before, gap", &[("f", "1", "ok", "1", "0", &[], "1"), ("f", "1", "ok", "4", "3", &[], "end")]),
        ("a single one", &[("f", "1", "ok", "1", "2", &[], "1"), ("f", "1", "ok", "2", "1", &[], "2")]),
        (
            "a gap that is fine",
            &[
                ("f", "10", "ok", "1", "0", &[], "1"),
                ("f", "10", "ok", "4", "1", &[], "4"),
                ("f", "10", "ok", "3", "1", &[], "3"),
                ("f", "10", "ok", "5", "2", &[], "5"),
            ],
        ),
        (
            "a gap that is not",
            &[
                ("f", "10", "fail", "1", "0", &[], "1"),
                ("f", "10", "fail", "4", "1", &[], "4"),
                ("f", "10", "fail", "2", "1", &[], "2"),
            ],
        ),
        (
            "the same again",
            &[
                ("f", "10", "fail", "1", "0", &[], "1"),
                ("f", "10", "fail", "1", "0", &[], "1"),
                ("f", "10", "fail", "2", "1", &[], "2"),
            ],
        ),
        (
            "pings",
            &[
                ("f", "3", "ok", "1", "0", &[], "1"),
                ("f", "3", "ok", "1", "4", &[], ""),
                ("f", "3", "ok", "5", "4", &[], ""),
                ("f", "3", "ok", "6", "1", &[], "6"),
                ("f", "3", "ok", "7", "3", &[], ""),
            ],
        ),
        (
            "a ping beyond",
            &[
                ("f", "3", "fail", "1", "0", &[], "1"),
                ("f", "3", "fail", "5", "4", &[], ""),
                ("f", "3", "fail", "2", "1", &[], ""),
            ],
        ),
        ("a ping first", &[("f", "3", "fail", "1", "4", &[], "1"), ("f", "3", "ok", "2", "4", &[], "")]),
        (
            "duplicates",
            &[
                ("f", "1", "ok", "1", "0", known, "1"),
                ("f", "1", "ok", "2", "1", known, "2"),
                ("f", "1", "ok", "3", "1", &[], "3"),
                ("f", "1", "ok", "4", "2", known, "4"),
            ],
        ),
        (
            "a duplicate first",
            &[
                ("f", "1", "fail", "1", "2", known, "1"),
                ("f", "1", "fail", "1", "0", known, "1"),
                ("f", "1", "fail", "2", "2", &[], "2"),
            ],
        ),
        ("a refusal first", &[("f", "1", "fail", "1", "0", wrong, "1"), ("f", "1", "fail", "2", "1", &[], "2")]),
        (
            "a refusal first, gaps are fine",
            &[
                ("f", "1", "ok", "1", "0", wrong, "1"),
                ("f", "1", "ok", "2", "1", &[], "2"),
                ("f", "1", "ok", "3", "2", wrong, "3"),
            ],
        ),
        (
            "a refusal later",
            &[
                ("f", "1", "fail", "1", "0", &[], "1"),
                ("f", "1", "fail", "2", "1", wrong, "2"),
                ("f", "1", "fail", "3", "1", &[], "3"),
            ],
        ),
        ("a refusal last", &[("f", "9", "fail", "1", "0", &[], "1"), ("f", "9", "fail", "2", "2", wrong, "2")]),
        (
            "levels",
            &[
                ("f", "1", "ok", "1", "0", low, "1"),
                ("f", "1", "ok", "2", "1", level, "2"),
                ("f", "1", "ok", "3", "1", &[], "3"),
            ],
        ),
        (
            "patterns",
            &[
                ("f", "1", "ok", "2", "0", &[], ""),
                ("f", "1", "ok", "1", "1", &[], ""),
                ("f", "1", "ok", "1", "3", &[], ""),
                ("f", "1", "ok", "0", "1", &[], ""),
                ("f", "1", "so", "1", "0", &[], ""),
                ("f", "1", "ok", "1", "5", &[], ""),
                ("f", "1", "ok", "x", "1", &[], ""),
                (&long, "1", "ok", "1", "0", &[], ""),
                ("f", "1", "ok", "7", "1", &[], ""),
                ("f", "-1", "ok", "1", "0", &[], ""),
                ("g", "x", "ok", "1", "0", &[], ""),
                ("h", "99999", "ok", "1", "0", &[], ""),
            ],
        ),
        (
            "flow of several",
            &[
                ("f", "4", "ok", "1", "0", &[], ""),
                ("g", "4", "ok", "1", "0", &[], ""),
                ("g", "4", "ok", "2", "1", &[], ""),
                ("g", "4", "ok", "3", "1", &[], ""),
                ("g", "4", "ok", "4", "1", &[], ""),
                ("g", "4", "ok", "5", "1", &[], ""),
                ("g", "4", "ok", "6", "1", &[], ""),
                ("g", "4", "ok", "7", "1", &[], ""),
            ],
        ),
    ];
    for fields in [json!({}), json!({"retention": "interest"}), json!({"max_msgs": 6})] {
        for (label, steps) in cases {
            peers.prepare("$JS.API.STREAM.CREATE.B", &stream(fields.clone())).await;
            peers
                .prepare("$JS.API.STREAM.UPDATE.B", &{
                    let mut config = stream(fields.clone());
                    config["allow_batched"] = json!(true);
                    config
                })
                .await;
            peers.ask_raw("b.known", &[("Nats-Msg-Id", "known")], "known").await;
            compare_fast(peers, &format!("{label} {fields}"), steps).await;
            peers.delete_stream("B").await;
        }
    }
    peers.prepare("$JS.API.STREAM.CREATE.B", &stream(json!({}))).await;
    compare_fast(peers, "not allowed", &[("f", "1", "ok", "1", "0", &[], "1"), ("f", "1", "so", "1", "0", &[], "")])
        .await;
    peers.delete_stream("B").await;
}

/// The end of a batch comes while its messages are on their way to disk: the PubAck goes to who said that it is the end.
pub async fn fast_ended_at_once(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.B", &stream(json!({"allow_batched": true}))).await;
    let mut ends = Vec::new();
    for client in &peers.clients {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.>")).await.expect("subscribed");
        for (n, operation) in [(1, 0), (2, 1), (3, 1), (4, 3)] {
            let reply = format!("{inbox}.e.100.fail.{n}.{operation}.$FI");
            client.publish_with_reply("b.a", reply, "x".into()).await.expect("sent");
        }
        loop {
            let message =
                tokio::time::timeout(Duration::from_secs(5), answers.next()).await.expect("ends").expect("open");
            let body: Value = serde_json::from_slice(&message.payload).expect("JSON");
            if body.get("batch").is_some() {
                let place = message.subject.strip_prefix(&*inbox).map(str::to_owned);
                ends.push(json!({ "to": place, "count": body["count"] }));
                break;
            }
        }
    }
    assert_eq!(ends[0], json!({ "to": ".e.100.fail.4.3.$FI", "count": 3 }));
    assert_eq!(ends[0], ends[1]);
    peers.delete_stream("B").await;
}
