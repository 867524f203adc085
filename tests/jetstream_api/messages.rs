//! Publishes with every header that a stream obeys, and reading and removing single messages.

use super::peers::Peers;
use serde_json::{Value, json};

fn stream(name: &str, fields: Value) -> Value {
    let mut config = json!({ "name": name, "subjects": [format!("{}.>", name.to_lowercase())], "storage": "memory" });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

/// Every header with good and bad values, on streams that allow it and on one that does not.
pub async fn publishes(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.P", &stream("P", json!({}))).await;
    peers
        .prepare("$JS.API.STREAM.CREATE.R", &stream("R", json!({"allow_rollup_hdrs": true, "max_msg_size": 60})))
        .await;
    let cases: &[&[(&str, &str)]] = &[
        &[],
        &[("Nats-Msg-Id", "one")],
        &[("Nats-Msg-Id", "one")],
        &[("Nats-Msg-Id", "")],
        &[("Nats-Msg-Id", "two"), ("Nats-Msg-Id", "three")],
        &[("Nats-Expected-Stream", "P")],
        &[("Nats-Expected-Stream", "X")],
        &[("Nats-Expected-Stream", "")],
        &[("Nats-Expected-Last-Sequence", "0")],
        &[("Nats-Expected-Last-Sequence", "4")],
        &[("Nats-Expected-Last-Sequence", "-1")],
        &[("Nats-Expected-Last-Sequence", "x")],
        &[("Nats-Expected-Last-Msg-Id", "two")],
        &[("Nats-Expected-Last-Msg-Id", "nobody")],
        &[("Nats-Msg-Id", "last")],
        &[("Nats-Expected-Last-Msg-Id", "last")],
        &[("Nats-Expected-Last-Subject-Sequence", "0")],
        &[("Nats-Expected-Last-Subject-Sequence", "1")],
        &[("Nats-Expected-Last-Subject-Sequence", "x")],
        &[("Nats-Expected-Last-Subject-Sequence", "0"), ("Nats-Expected-Last-Subject-Sequence-Subject", "p.none")],
        &[("Nats-Expected-Last-Subject-Sequence", "0"), ("Nats-Expected-Last-Subject-Sequence-Subject", "p.>")],
        &[("Nats-Expected-Last-Subject-Sequence", "3"), ("Nats-Expected-Last-Subject-Sequence-Subject", "elsewhere")],
        &[("Nats-Expected-Last-Subject-Sequence-Subject", "p.a")],
        &[("Nats-Rollup", "sub")],
        &[("Nats-Rollup", "all")],
        &[("Nats-Rollup", "SUB")],
        &[("Nats-Rollup", "some")],
        &[("Nats-Rollup", "")],
        &[("Nats-Expected-Stream", "X"), ("Nats-Msg-Id", "one")],
        &[("Nats-Expected-Last-Sequence", "99"), ("Nats-Msg-Id", "one")],
        &[("Nats-Expected-Last-Subject-Sequence", "99"), ("Nats-Msg-Id", "one")],
        &[("Nats-Expected-Last-Msg-Id", "nobody"), ("Nats-Msg-Id", "one")],
        &[("Nats-Rollup", "some"), ("Nats-Expected-Last-Msg-Id", "nobody")],
        &[("Nats-TTL", "1s")],
        &[("Nats-TTL", "never")],
        &[("Nats-TTL", "x")],
        &[("Nats-Incr", "1")],
        &[("Nats-Schedule", "@at 2099-01-01T00:00:00Z")],
        &[("Nats-Schedule-Target", "p.b")],
        &[("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "1")],
        &[("Nats-Batch-Sequence", "1")],
        &[("Nats-Stream-Source", "S 1")],
        &[("Nats-Required-Api-Level", "1")],
        &[("Nats-Required-Api-Level", "99")],
        &[("Nats-Required-Api-Level", "x")],
        &[("X-Other", "1"), ("Nats-Unknown", "2")],
    ];
    for subject in ["p.a", "r.a"] {
        for headers in cases {
            peers.ask_raw(subject, headers, "x").await;
        }
        peers.ask_raw(subject, &[], "").await;
        peers.ask_raw(subject, &[], &"y".repeat(61)).await;
    }
    peers.ask_raw("q.nobody", &[], "x").await;
    for name in ["P", "R"] {
        peers.ask(&format!("$JS.API.STREAM.INFO.{name}"), &json!({"subjects_filter": ">"})).await;
        peers.delete_stream(name).await;
    }
    limits(peers).await;
}

/// Publishes at the limits of a stream.
async fn limits(peers: &mut Peers) {
    for fields in [
        json!({"max_msgs": 2, "discard": "new"}),
        json!({"max_msgs": 2}),
        json!({"max_msgs_per_subject": 1, "discard": "new"}),
        json!({"max_msgs_per_subject": 1, "discard": "new", "discard_new_per_subject": true}),
        json!({"max_msgs_per_subject": 1, "max_msgs": 1, "discard": "new"}),
        json!({"max_bytes": 1, "discard": "new"}),
        json!({"no_ack": true}),
        json!({"first_seq": 100}),
        json!({"retention": "interest"}),
        json!({"retention": "workqueue"}),
    ] {
        peers.prepare("$JS.API.STREAM.CREATE.L", &stream("L", fields.clone())).await;
        if fields["no_ack"].is_null() {
            for subject in ["l.a", "l.a", "l.b", "l.c"] {
                peers.ask_raw(subject, &[], "x").await;
            }
        }
        peers.ask("$JS.API.STREAM.INFO.L", &json!({"subjects_filter": ">", "deleted_details": true})).await;
        peers.delete_stream("L").await;
    }
    peers.prepare("$JS.API.STREAM.CREATE.L", &stream("L", json!({}))).await;
    peers.ask_raw("l.a", &[], "x").await;
    peers.prepare("$JS.API.STREAM.UPDATE.L", &stream("L", json!({"sealed": true}))).await;
    peers.ask_raw("l.a", &[], "x").await;
    peers.ask_raw("$JS.API.STREAM.PURGE.L", &[], "").await;
    peers.ask("$JS.API.STREAM.MSG.DELETE.L", &json!({"seq": 1})).await;
    peers.delete_stream("L").await;
}

async fn fill(peers: &mut Peers, fields: Value) {
    peers.prepare("$JS.API.STREAM.CREATE.G", &stream("G", fields)).await;
    for (subject, payload) in [("g.a", "1"), ("g.b", "2"), ("g.a", "3"), ("g.c.d", "4"), ("g.b", ""), ("g.a", "6")] {
        peers.ask_raw(subject, &[("X-Header", "v")], payload).await;
    }
    peers.ask("$JS.API.STREAM.MSG.DELETE.G", &json!({"seq": 3})).await;
}

/// Single messages by the API and directly.
pub async fn gets(peers: &mut Peers) {
    fill(peers, json!({"allow_direct": true})).await;
    let requests = [
        json!({"seq": 1}),
        json!({"seq": 3}),
        json!({"seq": 99}),
        json!({"seq": 0}),
        json!({"seq": -1}),
        json!({"seq": "1"}),
        json!({"last_by_subj": "g.a"}),
        json!({"last_by_subj": "g.*"}),
        json!({"last_by_subj": "none"}),
        json!({"last_by_subj": ">"}),
        json!({"last_by_subj": 1}),
        json!({"next_by_subj": "g.b"}),
        json!({"next_by_subj": "g.b", "seq": 3}),
        json!({"next_by_subj": "g.*", "seq": 2}),
        json!({"next_by_subj": "g.c.d", "seq": 5}),
        json!({"next_by_subj": ">", "seq": 99}),
        json!({"seq": 1, "last_by_subj": "g.a"}),
        json!({"next_by_subj": "g.a", "last_by_subj": "g.a"}),
        json!({"start_time": "2020-01-01T00:00:00Z"}),
        json!({"start_time": "2099-01-01T00:00:00Z"}),
        json!({"start_time": "0001-01-01T00:00:00Z"}),
        json!({"start_time": "x"}),
        json!({"start_time": "2020-01-01T00:00:00Z", "next_by_subj": "g.b"}),
        json!({"start_time": "2020-01-01T00:00:00Z", "seq": 1}),
        json!({"start_time": "2020-01-01T00:00:00Z", "last_by_subj": "g.a"}),
        json!({"seq": 1, "no_hdr": true}),
        json!({"other": 1}),
        json!({"seq": 1, "other": 1}),
        Value::Null,
    ];
    for request in requests {
        peers.ask("$JS.API.STREAM.MSG.GET.G", &request).await;
        peers.ask("$JS.API.DIRECT.GET.G", &request).await;
    }
    for payload in ["{", "[]", "{}", "7"] {
        peers.ask_raw("$JS.API.STREAM.MSG.GET.G", &[], payload).await;
        peers.ask_raw("$JS.API.DIRECT.GET.G", &[], payload).await;
    }
    for subject in ["g.a", "g.c.d", "g.none", "g.*", ">"] {
        peers.ask_raw(&format!("$JS.API.DIRECT.GET.G.{subject}"), &[], "").await;
    }
    peers.ask_raw("$JS.gw1.API.DIRECT.GET.G.g.a", &[], "").await;
    peers.ask_raw("$JS.API.DIRECT.GET.NONE", &[], "{\"seq\":1}").await;
    batches(peers).await;
    peers.delete_stream("G").await;
    peers.prepare("$JS.API.STREAM.CREATE.G", &stream("G", json!({}))).await;
    peers.ask("$JS.API.DIRECT.GET.G", &json!({"seq": 1})).await;
    peers.ask("$JS.API.STREAM.MSG.GET.G", &json!({"seq": 1})).await;
    peers.ask("$JS.API.STREAM.MSG.GET.G", &json!({"batch": 1, "seq": 1})).await;
    peers.delete_stream("G").await;
}

/// Several messages at once (ADR-31).
async fn batches(peers: &mut Peers) {
    for request in [
        json!({"batch": 3}),
        json!({"batch": 3, "seq": 1}),
        json!({"batch": 10, "seq": 1}),
        json!({"batch": 2, "next_by_subj": "g.a"}),
        json!({"batch": 2, "seq": 2, "next_by_subj": "g.*"}),
        json!({"batch": 2, "next_by_subj": "none"}),
        json!({"batch": 2, "seq": 99}),
        json!({"batch": 10, "seq": 1, "max_bytes": 1}),
        json!({"batch": -1, "seq": 1}),
        json!({"batch": 2, "start_time": "2020-01-01T00:00:00Z"}),
        json!({"batch": 2, "start_time": "2099-01-01T00:00:00Z"}),
        json!({"batch": 2, "last_by_subj": "g.a"}),
        json!({"batch": 3, "seq": 1, "no_hdr": true}),
        json!({"multi_last": ["g.a"]}),
        json!({"multi_last": ["g.*"]}),
        json!({"multi_last": ["g.a", "g.c.d", "none"]}),
        json!({"multi_last": [">"], "up_to_seq": 2}),
        json!({"multi_last": [">"], "batch": 2}),
        json!({"multi_last": ["none"]}),
        json!({"multi_last": []}),
        json!({"multi_last": [">"], "up_to_time": "2020-01-01T00:00:00Z"}),
        json!({"multi_last": [">"], "up_to_time": "2099-01-01T00:00:00Z"}),
        json!({"multi_last": [">"], "up_to_time": "2099-01-01T00:00:00Z", "up_to_seq": 2}),
        json!({"multi_last": [">"], "seq": 1}),
        json!({"multi_last": [">"], "last_by_subj": "g.a"}),
        json!({"multi_last": [">"], "max_bytes": 1}),
        json!({"up_to_seq": 1}),
        json!({"max_bytes": 1}),
        json!({"max_bytes": 1, "seq": 1}),
        json!({"multi_last": "g.a"}),
        json!({"multi_last": [">"], "no_hdr": true}),
    ] {
        peers.ask_many("$JS.API.DIRECT.GET.G", &request).await;
    }
}

/// Deletes and purges.
pub async fn removals(peers: &mut Peers) {
    for (fields, verb, request) in [
        (json!({}), "PURGE", json!({})),
        (json!({}), "PURGE", Value::Null),
        (json!({}), "PURGE", json!({"filter": "g.a"})),
        (json!({}), "PURGE", json!({"filter": "g.*"})),
        (json!({}), "PURGE", json!({"filter": "none"})),
        (json!({}), "PURGE", json!({"seq": 4})),
        (json!({}), "PURGE", json!({"keep": 2})),
        (json!({}), "PURGE", json!({"keep": 1, "filter": "g.a"})),
        (json!({}), "PURGE", json!({"seq": 4, "filter": "g.b"})),
        (json!({}), "PURGE", json!({"seq": 1, "keep": 1})),
        (json!({}), "PURGE", json!({"seq": -1})),
        (json!({}), "PURGE", json!({"filter": 1})),
        (json!({}), "PURGE", json!({"more": 1})),
        (json!({"deny_purge": true}), "PURGE", json!({})),
        (json!({}), "MSG.DELETE", json!({"seq": 1})),
        (json!({}), "MSG.DELETE", json!({"seq": 2, "no_erase": true})),
        (json!({}), "MSG.DELETE", json!({"seq": 3})),
        (json!({}), "MSG.DELETE", json!({"seq": 99})),
        (json!({}), "MSG.DELETE", json!({"seq": 0})),
        (json!({}), "MSG.DELETE", json!({"seq": "x"})),
        (json!({}), "MSG.DELETE", json!({"more": 1})),
        (json!({"deny_delete": true}), "MSG.DELETE", json!({"seq": 1})),
        (json!({"deny_delete": true}), "MSG.DELETE", json!({"seq": 99})),
    ] {
        fill(peers, fields).await;
        peers.ask(&format!("$JS.API.STREAM.{verb}.G"), &request).await;
        peers.ask("$JS.API.STREAM.INFO.G", &json!({"subjects_filter": ">", "deleted_details": true})).await;
        peers.ask_raw("g.z", &[], "after").await;
        peers.delete_stream("G").await;
    }
    peers.ask("$JS.API.STREAM.MSG.DELETE.G", &json!({"seq": 1})).await;
    peers.ask("$JS.API.STREAM.PURGE.G", &json!({})).await;
}

/// Messages on subjects with tokens that are wildcards elsewhere: clients purge keys by them.
pub async fn subjects_with_wildcards(peers: &mut Peers) {
    let config = json!({"name": "M", "subjects": ["m.>"], "allow_rollup_hdrs": true, "allow_direct": true});
    peers.prepare("$JS.API.STREAM.CREATE.M", &config).await;
    for subject in ["m.a.1", "m.a.2", "m.b", "m.*"] {
        peers.ask_raw(subject, &[], "kept or not").await;
    }
    let subjects = r#"{"subjects_filter":">"}"#;
    for subject in ["m.a.*", "m.b.>", "m.>"] {
        peers.ask_raw(subject, &[("Nats-Rollup", "sub")], "in the place of others").await;
        peers.ask_raw("$JS.API.STREAM.INFO.M", &[], subjects).await;
        peers.ask_raw("$JS.API.STREAM.MSG.GET.M", &[], &json!({"last_by_subj": subject}).to_string()).await;
        peers.ask_raw(&format!("$JS.API.DIRECT.GET.M.{subject}"), &[], "").await;
    }
    peers.delete_stream("M").await;
}
