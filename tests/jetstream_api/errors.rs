//! Errors that no table of fields comes upon: of names, origins, consumers that are there already, and full streams.

use super::peers::Peers;
use crate::common::within;
use futures_util::StreamExt;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000_000;

fn with(mut config: Value, fields: &Value) -> Value {
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

async fn stream(peers: &mut Peers, name: &str, fields: Value) {
    let config = json!({ "name": name, "subjects": [format!("{}.>", name.to_lowercase())] });
    peers.prepare(&format!("$JS.API.STREAM.CREATE.{name}"), &with(config, &fields)).await;
}

/// Names that are none, in the subject of a request and in its body.
pub async fn names(peers: &mut Peers) {
    stream(peers, "E", json!({})).await;
    let long = "n".repeat(256);
    for name in ["a/b", "a\\b", "a b", "", "a*", ">", "É", "E ", &long, &long[..255]] {
        for verb in ["CREATE", "UPDATE"] {
            let config = json!({ "name": name, "subjects": ["names"] });
            peers.ask(&format!("$JS.API.STREAM.{verb}.{}", name.replace(' ', "")), &config).await;
            peers.ask(&format!("$JS.API.STREAM.{verb}.X"), &config).await;
        }
        let (shown, subject) = (name.replace(' ', ""), |verb: &str, name: &str| format!("$JS.API.{verb}.{name}"));
        peers.ask_raw(&subject("STREAM.INFO", &shown), &[], "").await;
        let restore = json!({ "config": { "name": name, "subjects": ["names"] }, "state": {} });
        if !name.starts_with('n') {
            peers.ask(&subject("STREAM.RESTORE", &shown), &restore).await;
        }
        peers.delete_stream(&shown).await;
        for field in ["durable_name", "name"] {
            let body = json!({ "stream_name": "E", "config": { field: name, "ack_policy": "explicit" } });
            peers.ask(&subject("CONSUMER.CREATE.E", &shown), &body).await;
            peers.ask(&subject("CONSUMER.DURABLE.CREATE.E", &shown), &body).await;
            peers.ask(&subject("CONSUMER.CREATE.E", &format!("{shown}.e.a")), &body).await;
            peers.delete(&subject("CONSUMER.DELETE.E", &shown)).await;
            if field == "durable_name" && !name.is_empty() {
                peers.ask("$JS.API.CONSUMER.CREATE.E", &body).await;
            }
        }
    }
    peers.delete_stream("E").await;
}

/// Mirrors and sources of streams that are there, and do not fit.
pub async fn origins(peers: &mut Peers) {
    stream(peers, "O", json!({ "max_msg_size": 100 })).await;
    stream(peers, "E", json!({})).await;
    let flow = json!({ "name": "C", "deliver_subject": "to.me" });
    let external = |api: &str, deliver: &str| json!({ "name": "Q", "external": { "api": api, "deliver": deliver } });
    for origin in [
        json!({ "name": "O" }),
        json!({ "name": "E" }),
        json!({ "name": "a/b" }),
        json!({ "name": "a b" }),
        json!({ "name": "O", "opt_start_seq": 5, "opt_start_time": "2024-01-01T00:00:00Z" }),
        json!({ "name": "O", "filter_subject": "nothing.here" }),
        json!({ "name": "O", "filter_subject": "o..a" }),
        json!({ "name": "O", "filter_subject": "o.a", "subject_transforms": [{ "src": "o.>", "dest": "p.>" }] }),
        json!({ "name": "O", "subject_transforms": [{ "src": "o.>", "dest": "p.>" }, { "src": "o.a", "dest": "" }] }),
        json!({ "name": "O", "subject_transforms": [{ "src": "o.*", "dest": "p.{{partition(x,1)}}" }] }),
        json!({ "name": "O", "subject_transforms": [{ "src": "o.*", "dest": "p.{{nothing(1)}}" }] }),
        json!({ "name": "O", "subject_transforms": [{ "src": "", "dest": "" }] }),
        json!({ "name": "O", "subject_transforms": [{ "src": "x.*", "dest": "y" }] }),
        external("$JS.q.API", "t.deliver"),
        external("$JS.q.API", "deliver"),
        external("$JS.q.API", "deliver.>"),
        external("", ""),
        external("$JS.q.>", ""),
        json!({ "name": "O", "consumer": flow }),
        json!({ "name": "O", "consumer": { "name": "C" } }),
        json!({ "name": "O", "consumer": { "deliver_subject": "to.me" } }),
        json!({ "name": "O", "consumer": { "name": "C", "deliver_subject": "to.*" } }),
        json!({ "name": "O", "consumer": { "name": "C.d", "deliver_subject": "to.me" } }),
        json!({ "name": "O", "consumer": { "name": "C", "deliver_subject": "t.x" } }),
        json!({ "name": "O", "consumer": flow, "filter_subject": "o.a" }),
        json!({ "name": "O", "consumer": flow, "opt_start_seq": 5 }),
        json!({ "name": "O", "consumer": flow, "opt_start_time": "2024-01-01T00:00:00Z" }),
        json!({ "name": "O", "consumer": flow, "subject_transforms": [{ "src": "o.>", "dest": "p.>" }] }),
        json!({ "name": "O", "consumer": flow, "external": { "api": "$JS.q.API", "deliver": "" } }),
    ] {
        for fields in [json!({}), json!({ "max_msg_size": 50 }), json!({ "allow_msg_schedules": true })] {
            let sourced = json!({ "name": "T", "subjects": ["t.>"], "sources": [origin] });
            let mirrored = json!({ "name": "T", "mirror": origin });
            let twice = json!({ "name": "T", "sources": [origin, origin] });
            for config in [sourced, mirrored, twice] {
                peers.ask("$JS.API.STREAM.CREATE.T", &with(config, &fields)).await;
                peers.delete_stream("T").await;
            }
        }
    }
    for fields in [
        json!({ "subjects": ["t"] }),
        json!({ "first_seq": 5 }),
        json!({ "allow_atomic": true }),
        json!({ "allow_batched": true }),
        json!({ "allow_msg_counter": true }),
        json!({ "allow_msg_ttl": true, "subject_delete_marker_ttl": SECOND }),
        json!({ "discard": "new", "max_msgs": 1 }),
        json!({ "retention": "workqueue" }),
        json!({ "retention": "interest" }),
        json!({ "subject_transform": { "src": ">", "dest": "x.>" } }),
        json!({ "sources": [{ "name": "E" }] }),
        json!({ "mirror_direct": true, "allow_direct": false }),
    ] {
        peers.ask("$JS.API.STREAM.CREATE.T", &with(json!({ "name": "T", "mirror": { "name": "O" } }), &fields)).await;
        peers.delete_stream("T").await;
    }
    several(peers).await;
    changes(peers).await;
    for name in ["O", "E"] {
        peers.delete_stream(name).await;
    }
}

/// Sources that may stand beside each other or not.
async fn several(peers: &mut Peers) {
    let consumer = |name: &str| json!({ "name": name, "deliver_subject": "to.me" });
    let transformed = |src: &str| json!([{ "src": src, "dest": src }]);
    let external = json!({ "api": "$JS.hub.API", "deliver": "" });
    for sources in [
        json!([{ "name": "O" }, { "name": "O", "filter_subject": "o.a" }]),
        json!([{ "name": "O", "filter_subject": "o.a" }, { "name": "O", "filter_subject": "o.a" }]),
        json!([{ "name": "O", "consumer": consumer("C") }, { "name": "E", "consumer": consumer("C") }]),
        json!([{ "name": "O", "consumer": consumer("C") }, { "name": "O", "consumer": consumer("D") }]),
        json!([
            { "name": "O", "consumer": consumer("C"), "subject_transforms": transformed("o.a") },
            { "name": "O", "consumer": consumer("C"), "subject_transforms": transformed("o.b") },
        ]),
        json!([
            { "name": "O", "consumer": consumer("C"), "subject_transforms": transformed("o.a") },
            { "name": "O", "consumer": consumer("D"), "subject_transforms": transformed("o.b") },
        ]),
        json!([
            { "name": "O", "consumer": consumer("C"), "external": external },
            { "name": "O", "consumer": consumer("C"), "subject_transforms": transformed("o.b") },
        ]),
    ] {
        peers.ask("$JS.API.STREAM.CREATE.T", &json!({ "name": "T", "sources": sources })).await;
        peers.delete_stream("T").await;
    }
}

/// Mirrors and sources that become others.
async fn changes(peers: &mut Peers) {
    let mirror = json!({ "name": "T", "mirror": { "name": "O" } });
    let sources = json!({ "name": "T", "subjects": ["t.>"], "sources": [{ "name": "O" }] });
    for (before, fields) in [
        (&mirror, json!({ "mirror": { "name": "E" } })),
        (&mirror, json!({ "mirror": null })),
        (&mirror, json!({ "mirror": null, "subjects": ["t.>"] })),
        (&mirror, json!({ "mirror": { "name": "O", "filter_subject": "o.a" } })),
        (&mirror, json!({ "description": "the same" })),
        (&mirror, json!({ "mirror_direct": true })),
        (&sources, json!({ "sources": [{ "name": "E" }] })),
        (&sources, json!({ "sources": [] })),
        (&sources, json!({ "sources": [{ "name": "O" }, { "name": "O" }] })),
        (&sources, json!({ "mirror": { "name": "O" } })),
        (&sources, json!({ "sources": null, "mirror": { "name": "O" }, "subjects": [] })),
    ] {
        peers.prepare("$JS.API.STREAM.CREATE.T", before).await;
        peers.ask("$JS.API.STREAM.UPDATE.T", &with(before.clone(), &fields)).await;
        peers.delete_stream("T").await;
    }
}

/// Consumers that are there already, those that somebody listens to, and those of streams with other ideas.
pub async fn consumers(peers: &mut Peers) {
    stream(peers, "E", json!({})).await;
    let request = |config: Value| json!({ "stream_name": "E", "config": config });
    let push = json!({ "durable_name": "d", "deliver_subject": "to.me", "ack_policy": "explicit" });
    for listening in [false, true] {
        let mut heard = Vec::new();
        for client in peers.clients.clone() {
            if listening {
                heard.push(client.subscribe("to.me").await.expect("subscribed"));
                client.request("$JS.API.INFO", "".into()).await.expect("an answer");
            }
        }
        for subject in ["CREATE.E.d", "DURABLE.CREATE.E.d"] {
            for fields in [
                json!({}),
                json!({ "deliver_subject": "to.you" }),
                json!({ "deliver_subject": "to.me", "deliver_group": "g" }),
                json!({ "deliver_subject": "" }),
                json!({ "deliver_subject": null }),
                json!({ "ack_policy": "all" }),
                json!({ "max_deliver": 3 }),
                json!({ "filter_subject": "e.a" }),
                json!({ "filter_subjects": ["e.a", "e.b"] }),
                json!({ "deliver_policy": "new" }),
                json!({ "replay_policy": "original" }),
                json!({ "mem_storage": true }),
                json!({ "durable_name": "" }),
                json!({ "name": "other" }),
                json!({ "headers_only": true, "description": "d", "sample_freq": "3", "max_ack_pending": 3 }),
            ] {
                peers.prepare("$JS.API.CONSUMER.CREATE.E.d", &request(push.clone())).await;
                if listening {
                    peers.wait_until_bound("E.d").await;
                }
                peers.ask(&format!("$JS.API.CONSUMER.{subject}"), &request(with(push.clone(), &fields))).await;
                peers.ask_raw("$JS.API.CONSUMER.INFO.E.d", &[], "").await;
                peers.delete("$JS.API.CONSUMER.DELETE.E.d").await;
            }
        }
        for mut messages in heard {
            messages.unsubscribe().await.expect("unsubscribed");
            while within("the end of what was heard", messages.next()).await.is_some() {}
        }
    }
    let pull = json!({ "durable_name": "d", "ack_policy": "explicit" });
    let mut metadata = json!({});
    metadata["much"] = "m".repeat(128 << 10).into();
    for fields in [
        json!({ "metadata": metadata }),
        json!({ "deliver_subject": "to.me" }),
        json!({ "priority_groups": ["a"], "priority_policy": "overflow", "deliver_subject": "to.me" }),
        json!({ "priority_groups": [], "priority_policy": "overflow" }),
        json!({ "rate_limit_bps": 5 }),
        json!({ "backoff": [SECOND, -SECOND], "max_deliver": 5 }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me" }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "flow_control": true, "idle_heartbeat": 2 * SECOND }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "flow_control": true, "idle_heartbeat": SECOND, "max_ack_pending": -1 }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "flow_control": true, "idle_heartbeat": SECOND, "max_ack_pending": 5 }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "flow_control": true, "idle_heartbeat": SECOND, "max_ack_pending": 5, "ack_wait": SECOND }),
        json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "flow_control": true, "idle_heartbeat": SECOND, "max_ack_pending": 5, "max_deliver": 5 }),
        json!({ "direct": true, "deliver_subject": "to.me" }),
        json!({ "deliver_policy": "last", "opt_start_seq": 5 }),
        json!({ "deliver_policy": "new", "opt_start_time": "2024-01-01T00:00:00Z" }),
        json!({ "deliver_policy": "last_per_subject", "opt_start_seq": 5, "filter_subject": "e.a" }),
    ] {
        peers.ask("$JS.API.CONSUMER.CREATE.E.d", &request(with(pull.clone(), &fields))).await;
        peers.delete("$JS.API.CONSUMER.DELETE.E.d").await;
    }
    // The oldest request: whoever asks has no name.
    for config in
        [json!({ "deliver_subject": "e.cycle" }), json!({ "ack_policy": "some" }), json!({ "durable_name": "d" })]
    {
        peers.ask("$JS.API.CONSUMER.CREATE.E", &request(config)).await;
    }
    for body in [Value::Null, json!({}), json!({ "stream_name": "E" }), json!({ "stream_name": "F", "config": {} })] {
        peers.ask("$JS.API.CONSUMER.DURABLE.CREATE.E.d", &body).await;
        peers.ask("$JS.API.CONSUMER.CREATE.E.d", &body).await;
        peers.delete("$JS.API.CONSUMER.DELETE.E.d").await;
    }
    peers.delete_stream("E").await;
}

/// Names of consumers that are too long (10102), and names and replicas that contradict something else: other checks come
/// before those that nats-server has for it (10126, 10132).
pub async fn contradictions(peers: &mut Peers) {
    stream(peers, "E", json!({})).await;
    let request =
        |config: Value| json!({ "stream_name": "E", "config": with(json!({ "ack_policy": "explicit" }), &config) });
    for length in [255, 256] {
        let name = "n".repeat(length);
        for (verb, config) in [
            ("CREATE.E", json!({ "durable_name": name })),
            ("CREATE.E", json!({ "name": name })),
            ("CREATE.E.", json!({ "durable_name": name })),
            ("CREATE.E.", json!({ "durable_name": name, "name": name })),
            ("CREATE.E.", json!({ "name": name })),
            ("DURABLE.CREATE.E.", json!({ "durable_name": name })),
            ("DURABLE.CREATE.E.", json!({ "name": name })),
        ] {
            let named = if verb.ends_with('.') { &*name } else { "" };
            peers.ask(&format!("$JS.API.CONSUMER.{verb}{named}"), &request(config)).await;
            peers.delete(&format!("$JS.API.CONSUMER.DELETE.E.{name}")).await;
        }
    }
    for verb in ["CREATE.E", "CREATE.E.a", "CREATE.E.b", "DURABLE.CREATE.E.a", "DURABLE.CREATE.E.b"] {
        for config in
            [json!({ "name": "a", "durable_name": "b" }), json!({ "name": "a" }), json!({ "durable_name": "b" })]
        {
            for replicas in [0, 1, 2, 3, -1] {
                let config = with(config.clone(), &json!({ "num_replicas": replicas }));
                peers.ask(&format!("$JS.API.CONSUMER.{verb}"), &request(config)).await;
                for name in ["a", "b"] {
                    peers.delete(&format!("$JS.API.CONSUMER.DELETE.E.{name}")).await;
                }
            }
        }
    }
    peers.delete_stream("E").await;
}

/// What does not fit into a stream that is nearly full, in files and in memory, by the byte.
pub async fn rooms(peers: &mut Peers) {
    let headers = [("X", "y")];
    for storage in ["file", "memory"] {
        for fields in [
            json!({ "max_bytes": 100, "discard": "new" }),
            json!({ "max_bytes": 100 }),
            json!({ "max_bytes": 100, "discard": "new", "max_msgs_per_subject": 1 }),
            json!({ "max_bytes": 100, "discard": "new", "max_msgs_per_subject": 1, "discard_new_per_subject": true }),
            json!({ "max_msgs": 2, "discard": "new", "max_msgs_per_subject": 1, "discard_new_per_subject": true, "allow_rollup_hdrs": true }),
        ] {
            stream(peers, "E", with(json!({ "storage": storage }), &fields)).await;
            for (subject, length) in
                [("e.a", 10), ("e.b", 1), ("e.a", 9), ("e.a", 30), ("e.b", 5), ("e.c", 2), ("e.c", 60)]
            {
                peers.ask_raw(subject, &[], &"z".repeat(length)).await;
                peers.ask_raw("$JS.API.STREAM.INFO.E", &[], "").await;
                peers.ask_raw(subject, &headers, "").await;
                peers.ask_raw(subject, &[("Nats-Rollup", "sub")], "r").await;
                peers.ask_raw("$JS.API.STREAM.INFO.E", &[], "").await;
            }
            peers.delete_stream("E").await;
        }
    }
    stream(peers, "E", json!({ "storage": "memory" })).await;
    let long = "h".repeat(65_600);
    peers.ask_raw("e.a", &[("Long", &long)], "").await;
    peers.ask_raw("e.a", &[("Long", &long[..65_000])], "").await;
    peers.ask_raw("$JS.API.STREAM.INFO.E", &[], "").await;
    peers.delete_stream("E").await;
    for (fields, headers, payload) in [
        (json!({ "allow_msg_counter": true }), vec![], ""),
        (json!({ "allow_msg_counter": true }), vec![("Nats-Incr", "1")], "x"),
        (json!({ "allow_msg_counter": true }), vec![("Nats-Incr", "one")], ""),
        (json!({ "allow_msg_counter": true }), vec![("Nats-Incr", "")], ""),
        (json!({ "allow_msg_counter": true }), vec![("Nats-Incr", "1"), ("Nats-Counter-Sources", "none")], ""),
        (
            json!({ "allow_msg_counter": true, "allow_rollup_hdrs": true }),
            vec![("Nats-Incr", "1"), ("Nats-Rollup", "sub")],
            "",
        ),
        (json!({ "allow_msg_counter": true }), vec![("Nats-Incr", "1"), ("Nats-Expected-Last-Sequence", "0")], ""),
        (json!({ "allow_msg_ttl": true }), vec![("Nats-TTL", "-1")], ""),
        (json!({ "allow_msg_ttl": true }), vec![("Nats-TTL", "0.5")], ""),
        (json!({ "allow_msg_ttl": true }), vec![("Nats-TTL", "999ms")], ""),
        (json!({ "allow_msg_ttl": true }), vec![("Nats-TTL", "99999999999999999999")], ""),
        (json!({ "allow_atomic": true }), vec![("Nats-Batch-Id", "i"), ("Nats-Batch-Sequence", "2")], ""),
        (json!({ "allow_atomic": true }), vec![("Nats-Batch-Id", "i"), ("Nats-Batch-Sequence", "x")], ""),
        (json!({ "deny_purge": true }), vec![("Nats-Rollup", "all")], ""),
    ] {
        stream(peers, "E", with(json!({ "storage": "memory" }), &fields)).await;
        for _ in 0..2 {
            peers.ask_raw("e.a", &headers, payload).await;
        }
        // What was stored is compared where both stored something.
        if !headers.contains(&("Nats-TTL", "99999999999999999999")) {
            peers.ask_raw("$JS.API.STREAM.INFO.E", &[], "").await;
        }
        peers.delete_stream("E").await;
    }
}
