//! Errors that need something to be there before: other consumers of a work queue, or an origin whose consumer does not suit.

use super::common::{LIMIT, wait_for};
use super::peers::{Peers, header_map};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

async fn consumer(peers: &mut Peers, name: &str, fields: Value) {
    let mut config = json!({ "durable_name": name, "ack_policy": "explicit" });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let body = json!({ "stream_name": "R", "config": config });
    peers.ask(&format!("$JS.API.CONSUMER.CREATE.R.{name}"), &body).await;
}

/// No message of a work queue is for two consumers, and each is acknowledged (10098 to 10101). Groups without a name, and
/// acks by a flow control that was not asked for (10161, 10219).
pub async fn work_queues(peers: &mut Peers) {
    let stream = json!({ "name": "R", "subjects": ["r.*"], "retention": "workqueue" });
    peers.prepare("$JS.API.STREAM.CREATE.R", &stream).await;
    for fields in [
        json!({ "ack_policy": "none", "deliver_subject": "to.me" }),
        json!({ "ack_policy": "all" }),
        json!({ "deliver_policy": "last" }),
        json!({ "filter_subjects": ["r.a", "r.*"] }),
        json!({ "filter_subjects": ["r.a", ""] }),
    ] {
        consumer(peers, "a", fields).await;
    }
    for group in ["", "a b", "a"] {
        consumer(peers, "g", json!({ "priority_groups": [group], "priority_policy": "overflow" })).await;
        peers.delete("$JS.API.CONSUMER.DELETE.R.g").await;
    }
    for heartbeat in [0, 1_000_000_000_i64] {
        let fields = json!({ "ack_policy": "flow_control", "deliver_subject": "to.me", "idle_heartbeat": heartbeat });
        consumer(peers, "g", fields).await;
    }
    consumer(peers, "a", json!({})).await;
    for fields in [json!({}), json!({ "filter_subject": "r.a" }), json!({ "filter_subjects": ["r.a", "r.b"] })] {
        consumer(peers, "b", fields).await;
    }
    consumer(peers, "a", json!({ "filter_subject": "r.a" })).await;
    for fields in [json!({}), json!({ "filter_subject": "r.a" }), json!({ "filter_subject": "r.b" })] {
        consumer(peers, "b", fields).await;
    }
    consumer(peers, "b", json!({ "filter_subject": "r.*" })).await;
    peers.delete_stream("R").await;
}

/// Who follows a stream through a consumer of the origin, which must be acknowledged by flow control (10214, 10217), and
/// sources whose transforms are none (10145), or whose messages would come to another one (10022).
pub async fn follows(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.R", &json!({ "name": "R", "subjects": ["r.>"] })).await;
    for deliver in ["r", "r.a", "s"] {
        let away = json!({ "name": "Q", "external": { "api": "$JS.q.API", "deliver": deliver } });
        let config = json!({ "name": "T", "sources": [{ "name": "R" }, away] });
        peers.ask("$JS.API.STREAM.CREATE.T", &config).await;
        peers.delete_stream("T").await;
    }
    let config = json!({ "durable_name": "c", "deliver_subject": "to.me", "ack_policy": "explicit" });
    peers.prepare("$JS.API.CONSUMER.CREATE.R.c", &json!({ "stream_name": "R", "config": config })).await;
    let origin = json!({ "name": "R", "consumer": { "name": "c", "deliver_subject": "to.me" } });
    for (config, place) in [
        (json!({ "name": "T", "mirror": origin }), "/mirror/error"),
        (json!({ "name": "T", "sources": [origin] }), "/sources/0/error"),
    ] {
        peers.prepare("$JS.API.STREAM.CREATE.T", &config).await;
        let mut told = Vec::new();
        for client in peers.clients.clone() {
            let error = wait_for("the error of who follows", LIMIT, || async {
                let info = client.request("$JS.API.STREAM.INFO.T", "".into()).await.expect("an answer");
                let info: Value = serde_json::from_slice(&info.payload).expect("JSON");
                info.pointer(place).cloned()
            });
            told.push(error.await);
        }
        assert_eq!(told[0], told[1], "{place}");
        peers.delete_stream("T").await;
    }
    for transforms in [
        json!([{ "src": "r..a", "dest": "x" }]),
        json!([{ "src": "r a", "dest": "x" }]),
        json!([{ "src": "r.>.a", "dest": "x" }]),
        json!([{ "src": "r.*", "dest": "x y" }]),
    ] {
        for field in ["mirror", "sources"] {
            let origin = json!({ "name": "R", "subject_transforms": transforms });
            let value = if field == "mirror" { origin } else { json!([origin]) };
            let mut config = json!({ "name": "T" });
            config[field] = value;
            peers.ask("$JS.API.STREAM.CREATE.T", &config).await;
            peers.delete_stream("T").await;
        }
    }
    peers.delete_stream("R").await;
}

/// Counters that are the sums of counters elsewhere, whose sums come as they are, and of what is published to them.
pub async fn sums_of_sums(peers: &mut Peers) {
    let transform = |src: &str| json!([{ "src": src, "dest": "t.>" }]);
    for config in [
        json!({ "name": "A", "subjects": ["a.>"], "allow_msg_counter": true, "allow_direct": true }),
        json!({ "name": "B", "subjects": ["b.>"], "allow_msg_counter": true, "allow_direct": true }),
        json!({
            "name": "T", "subjects": ["t.>"], "allow_msg_counter": true, "allow_direct": true, "allow_atomic": true,
            "sources": [
                { "name": "A", "subject_transforms": transform("a.>") },
                { "name": "B", "subject_transforms": transform("b.>") },
            ],
        }),
    ] {
        let name = config["name"].as_str().expect("a name").to_owned();
        peers.prepare(&format!("$JS.API.STREAM.CREATE.{name}"), &config).await;
    }
    let mut seen = Vec::new();
    for client in peers.clients.clone() {
        let mut held = Vec::new();
        let (mut sum, mut seq) = (0, 0);
        for (subject, by) in [("a.x", 5), ("b.x", -7), ("t.x", 10), ("a.x", 1), ("a.x", 1), ("t.x", -4), ("b.x", 3)] {
            (sum, seq) = (sum + by, seq + 1);
            let headers = header_map(&[("Nats-Incr", &by.to_string())]);
            client.publish_with_headers(subject, headers, "".into()).await.expect("sent");
            let stored = wait_for("the sum", LIMIT, || async {
                let get = json!({ "seq": seq }).to_string();
                let got = client.request("$JS.API.STREAM.MSG.GET.T", get.into()).await.expect("an answer");
                let got: Value = serde_json::from_slice(&got.payload).expect("JSON");
                (!got["message"].is_null()).then(|| got["message"].clone())
            })
            .await;
            let text = |field: &str| {
                let bytes = STANDARD.decode(stored[field].as_str().expect("text")).expect("base64");
                String::from_utf8(bytes).expect("text")
            };
            assert_eq!(text("data"), format!("{{\"val\":\"{sum}\"}}"), "{subject} {by}");
            let mut headers: Vec<String> = text("hdrs").lines().map(str::to_owned).collect();
            headers.retain(|line| !line.starts_with("Nats-Stream-Source"));
            headers.sort();
            held.push(headers);
        }
        seen.push(held);
    }
    assert_eq!(seen[0], seen[1]);
    for name in ["T", "A", "B"] {
        peers.delete_stream(name).await;
    }
}

/// Mirrors and sources that begin at a sequence or a time of their origin. Its name is one that no stream had before: on a
/// busy machine nats-server may find messages of a stream that was deleted a moment ago in a new one of its name.
pub async fn start_points(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.START", &json!({ "name": "START", "subjects": ["start.>"] })).await;
    let mut seen = Vec::new();
    for client in peers.clients.clone() {
        let ask = async |verb: &str, body: Value| {
            let answer = client.request(format!("$JS.API.{verb}"), body.to_string().into()).await.expect("an answer");
            serde_json::from_slice::<Value>(&answer.payload).expect("JSON")
        };
        for subject in ["start.a", "start.b", "start.a", "start.b", "start.a", "start.b"] {
            client.request(subject, "".into()).await.expect("stored");
        }
        let fourth = ask("STREAM.MSG.GET.START", json!({ "seq": 4 })).await["message"]["time"].take();
        let mut held = Vec::new();
        for (fields, messages) in [
            (json!({ "opt_start_seq": 3 }), 4),
            (json!({ "opt_start_time": fourth }), 3),
            (json!({ "opt_start_seq": 3, "filter_subject": "start.a" }), 2),
            (json!({ "opt_start_time": fourth, "filter_subject": "start.b" }), 2),
            (json!({ "opt_start_seq": 9 }), 0),
            (json!({ "opt_start_seq": 3, "filter_subject": "start.none" }), 0),
            (json!({ "opt_start_time": "2099-01-01T00:00:00Z" }), 0),
        ] {
            let mut origin = fields.clone();
            origin["name"] = json!("START");
            for config in [json!({ "name": "T", "mirror": origin }), json!({ "name": "T", "sources": [origin] })] {
                let made = ask("STREAM.CREATE.T", config.clone()).await;
                assert!(made["error"].is_null(), "{config}: {made}");
                let state = wait_for("what is from there on", LIMIT, || async {
                    let info = ask("STREAM.INFO.T", json!({})).await;
                    // An empty mirror begins where the origin says that its messages will.
                    let begun = messages > 0 || config["mirror"].is_null() || info["state"]["first_seq"] != 0;
                    (info["state"]["messages"] == messages && begun).then(|| info["state"].clone())
                })
                .await;
                held.push(json!([fields, state["messages"], state["first_seq"], state["last_seq"]]));
                ask("STREAM.DELETE.T", json!({})).await;
            }
        }
        held.iter_mut().for_each(|one| one[0]["opt_start_time"] = Value::Null);
        seen.push(held);
    }
    assert_eq!(seen[0], seen[1]);
    peers.delete_stream("START").await;
}
