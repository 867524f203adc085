//! `$JS.API.CONSUMER.>` and pull requests.

use super::peers::Peers;
use serde_json::{Value, json};

/// Each field with valid values, values at a limit, and values that cannot be.
fn table() -> Vec<(&'static str, Vec<Value>)> {
    let long = "x".repeat(4097);
    let number = || json!("7");
    let flag = || vec![json!(true), json!(false), json!("true"), Value::Null];
    let limit = || vec![json!(-2), json!(-1), json!(0), json!(1), json!(1_000_000), number()];
    vec![
        ("durable_name", vec![json!("d"), json!("D"), json!("a.b"), json!(""), json!(1)]),
        ("name", vec![json!("d"), json!("other"), json!("a.b"), json!("a b"), json!(1)]),
        ("description", vec![json!("words"), json!(long[..4096]), json!(long)]),
        (
            "deliver_policy",
            vec![
                json!("all"),
                json!("last"),
                json!("new"),
                json!("by_start_sequence"),
                json!("by_start_time"),
                json!("last_per_subject"),
                json!("first"),
                json!(1),
            ],
        ),
        ("opt_start_seq", vec![json!(0), json!(1), json!(-1)]),
        // The first year is Go's zero time: the `nats` CLI sends it in fields that it does not use.
        (
            "opt_start_time",
            vec![json!("2024-01-01T00:00:00Z"), json!("0001-01-01T00:00:00Z"), json!("yesterday"), Value::Null],
        ),
        (
            "ack_policy",
            vec![json!("none"), json!("all"), json!("explicit"), json!("flow_control"), json!("some"), json!(1)],
        ),
        ("ack_wait", vec![json!(-1), json!(0), json!(1), json!(1_000_000_000), number()]),
        ("max_deliver", limit()),
        ("backoff", vec![json!([1, 2]), json!([]), json!([-1]), json!(1), Value::Null]),
        ("filter_subject", vec![json!("c.a"), json!("c.*"), json!("none"), json!("c..a"), json!(1), json!("")]),
        (
            "filter_subjects",
            vec![
                json!(["c.a", "c.b"]),
                json!(["c.*", "c.a"]),
                json!([""]),
                json!(["c.a", ""]),
                json!(["none"]),
                json!(["c.a", "c.a"]),
                json!("c.a"),
                json!([]),
            ],
        ),
        ("replay_policy", vec![json!("instant"), json!("original"), json!("fast")]),
        ("rate_limit_bps", vec![json!(0), json!(1000), json!(-1)]),
        ("sample_freq", vec![json!("30%"), json!("100"), json!("x"), json!("0"), json!("101%")]),
        ("max_waiting", limit()),
        ("max_ack_pending", limit()),
        ("flow_control", flag()),
        ("headers_only", flag()),
        ("max_batch", limit()),
        ("max_expires", vec![json!(-1), json!(1), json!(1_000_000), json!(1_000_000_000), number()]),
        ("max_bytes", limit()),
        ("deliver_subject", vec![json!("out"), json!("out.*"), json!("c.x"), json!("a..b"), json!("")]),
        ("deliver_group", vec![json!("g"), json!("g.h"), json!("g h")]),
        ("idle_heartbeat", vec![json!(-1), json!(1), json!(100_000_000), json!(1_000_000_000)]),
        ("inactive_threshold", vec![json!(-1), json!(0), json!(1_000_000_000_000_i64), number()]),
        ("num_replicas", vec![json!(-1), json!(0), json!(1), json!(3)]),
        ("mem_storage", flag()),
        ("direct", flag()),
        ("metadata", vec![json!({"a": "b"}), json!({"a": 1}), json!({"_nats.ver": "x", "_nats.req.level": "9"})]),
        (
            "pause_until",
            vec![
                json!("2099-01-01T00:00:00Z"),
                json!("2000-01-01T00:00:00Z"),
                json!("0001-01-01T00:00:00Z"),
                json!("x"),
                Value::Null,
            ],
        ),
        (
            "priority_groups",
            vec![
                json!(["a"]),
                json!([]),
                json!([""]),
                json!(["a", "b"]),
                json!(["averyveryverylongname"]),
                json!(["a b"]),
            ],
        ),
        (
            "priority_policy",
            vec![json!("none"), json!("overflow"), json!("pinned_client"), json!("prioritized"), json!("first")],
        ),
        ("priority_timeout", vec![json!(-1), json!(0), json!(1_000_000_000)]),
        ("nonsense", vec![json!(1)]),
    ]
}

fn durable(fields: &Value) -> Value {
    with(json!({ "durable_name": "d", "ack_policy": "explicit" }), fields)
}

fn push(fields: &Value) -> Value {
    with(json!({ "durable_name": "d", "ack_policy": "explicit", "deliver_subject": "out" }), fields)
}

fn with(mut config: Value, fields: &Value) -> Value {
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

fn request(config: &Value) -> Value {
    json!({ "stream_name": "C", "config": config })
}

async fn stream(peers: &mut Peers, fields: Value) {
    let config = with(json!({ "name": "C", "subjects": ["c.>"], "storage": "memory" }), &fields);
    peers.prepare("$JS.API.STREAM.CREATE.C", &config).await;
}

async fn create(peers: &mut Peers, config: &Value) {
    if peers.ask("$JS.API.CONSUMER.CREATE.C.d", &request(config)).await {
        peers.ask_raw("$JS.API.CONSUMER.INFO.C.d", &[], "").await;
        peers.ask("$JS.API.CONSUMER.DELETE.C.d", &Value::Null).await;
        peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
    } else {
        peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
    }
}

/// Each value of each field by itself, for pull and push consumers.
pub async fn fields(peers: &mut Peers) {
    stream(peers, json!({})).await;
    for (field, values) in table() {
        for value in values {
            create(peers, &durable(&json!({ field: value }))).await;
            create(peers, &push(&json!({ field: value }))).await;
        }
    }
    let time = json!("2024-01-01T00:00:00Z");
    for fields in [
        json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 5}),
        json!({"deliver_policy": "by_start_time", "opt_start_time": time}),
        json!({"deliver_policy": "by_start_time", "opt_start_time": "0001-01-01T00:00:00Z"}),
        json!({"deliver_policy": "by_start_time", "opt_start_time": time, "opt_start_seq": 5}),
        json!({"deliver_policy": "last_per_subject", "filter_subject": "c.>"}),
        json!({"deliver_policy": "last_per_subject", "filter_subjects": ["c.a", "c.b"]}),
        json!({"backoff": [1, 2, 3], "max_deliver": 2}),
        json!({"backoff": [1, 2, 3], "max_deliver": 4}),
        json!({"filter_subject": "c.a", "filter_subjects": ["c.b"]}),
        json!({"flow_control": true, "idle_heartbeat": 1_000_000_000}),
        json!({"deliver_group": "g", "flow_control": true, "idle_heartbeat": 1_000_000_000}),
        json!({"ack_policy": "none", "max_ack_pending": 5}),
        json!({"priority_groups": ["a"], "priority_policy": "overflow"}),
        json!({"priority_groups": ["a"], "priority_policy": "pinned_client", "priority_timeout": 1_000_000_000}),
        json!({"priority_groups": ["a"], "priority_policy": "prioritized"}),
        json!({"priority_groups": ["a"], "priority_policy": "overflow", "priority_timeout": 5}),
        json!({"durable_name": "", "name": "d"}),
        json!({"durable_name": "", "name": "d", "inactive_threshold": 60_000_000_000_i64}),
        json!({"direct": true, "durable_name": "", "name": "d"}),
        json!({"ack_policy": "flow_control", "flow_control": true, "idle_heartbeat": 1_000_000_000}),
    ] {
        create(peers, &durable(&fields)).await;
        create(peers, &push(&fields)).await;
    }
    pedantry(peers).await;
    peers.delete_stream("C").await;
    for fields in [
        json!({"retention": "workqueue"}),
        json!({"retention": "interest"}),
        json!({"max_consumers": 1}),
        json!({"consumer_limits": {"max_ack_pending": 5, "inactive_threshold": 1_000_000_000}}),
    ] {
        stream(peers, fields).await;
        for config in [
            json!({}),
            json!({"ack_policy": "none"}),
            json!({"deliver_policy": "new"}),
            json!({"max_ack_pending": 9}),
            json!({"inactive_threshold": 2_000_000_000_i64}),
            json!({"filter_subject": "c.a"}),
        ] {
            create(peers, &durable(&config)).await;
        }
        for (name, filter) in [("a", "c.a"), ("b", "c.a"), ("c", "c.*"), ("d", "c.d")] {
            let config = json!({"durable_name": name, "ack_policy": "explicit", "filter_subject": filter});
            peers.ask(&format!("$JS.API.CONSUMER.CREATE.C.{name}"), &request(&config)).await;
        }
        peers.delete_stream("C").await;
    }
}

async fn pedantry(peers: &mut Peers) {
    for fields in [
        json!({"max_deliver": -2}),
        json!({"max_ack_pending": -2}),
        json!({"max_waiting": -1}),
        json!({"max_batch": -1}),
        json!({"max_expires": -1}),
        json!({"max_bytes": -1}),
        json!({"idle_heartbeat": -1}),
        json!({"inactive_threshold": -1}),
        json!({"priority_timeout": -1}),
        json!({"backoff": [5]}),
        json!({}),
    ] {
        let mut body = request(&durable(&fields));
        body["pedantic"] = json!(true);
        peers.ask("$JS.API.CONSUMER.CREATE.C.d", &body).await;
        peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
    }
}

/// What may be changed in a consumer that is there, and what not.
pub async fn updates(peers: &mut Peers) {
    stream(peers, json!({})).await;
    for (field, values) in table() {
        for value in values.into_iter().take(2) {
            for base in [durable(&json!({})), push(&json!({}))] {
                peers.prepare("$JS.API.CONSUMER.CREATE.C.d", &request(&base)).await;
                let changed = with(base, &json!({ field: value }));
                for action in ["create", ""] {
                    let mut body = request(&changed);
                    body["action"] = json!(action);
                    peers.ask("$JS.API.CONSUMER.CREATE.C.d", &body).await;
                }
                peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
            }
        }
    }
    for action in ["update", "replace", "create", "create", "update"] {
        let mut body = request(&durable(&json!({})));
        body["action"] = json!(action);
        peers.ask("$JS.API.CONSUMER.CREATE.C.d", &body).await;
    }
    peers.delete_stream("C").await;
}

/// The other requests, good and bad.
pub async fn requests(peers: &mut Peers) {
    for with_stream in [false, true] {
        if with_stream {
            stream(peers, json!({})).await;
            for name in ["a", "b", "c"] {
                peers
                    .prepare(
                        &format!("$JS.API.CONSUMER.CREATE.C.{name}"),
                        &request(&json!({"durable_name": name, "ack_policy": "explicit"})),
                    )
                    .await;
            }
        }
        for payload in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            "7",
            "{\"stream_name\":\"C\"}",
            "{\"stream_name\":\"X\",\"config\":{}}",
            "{\"stream_name\":\"C\",\"config\":{\"durable_name\":\"d\"}}",
            "{\"offset\":1}",
            "{\"offset\":-1}",
            "{\"offset\":9}",
            "{\"nonsense\":1}",
        ] {
            for subject in [
                "CREATE.C.d",
                "CREATE.C.d.c.a",
                "DURABLE.CREATE.C.d",
                "DURABLE.CREATE.C",
                "INFO.C.a",
                "INFO.C.none",
                "NAMES.C",
                "LIST.C",
                "DELETE.C.none",
                "DELETE.C.d",
                "PAUSE.C.a",
                "PAUSE.C.none",
                "UNPIN.C.a",
                "RESET.C.a",
                "RESET.C.none",
                "LEADER.STEPDOWN.C.a",
                "NONSENSE.C",
            ] {
                peers.ask_raw(&format!("$JS.API.CONSUMER.{subject}"), &[], payload).await;
            }
        }
    }
    for config in [
        json!({"filter_subject": "c.a"}),
        json!({"filter_subject": "c.b"}),
        json!({"filter_subjects": ["c.a", "c.b"]}),
        json!({"durable_name": "e"}),
        json!({"name": "e"}),
    ] {
        peers.ask("$JS.API.CONSUMER.CREATE.C.d.c.a", &request(&config)).await;
        peers.ask("$JS.API.CONSUMER.DURABLE.CREATE.C.d", &request(&config)).await;
        peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
    }
    peers.delete_stream("C").await;
}

/// Pull requests and their statuses.
pub async fn pulls(peers: &mut Peers) {
    stream(peers, json!({})).await;
    for (subject, payload) in [("c.a", "1"), ("c.b", "22"), ("c.a", "333")] {
        peers.ask_raw(subject, &[], payload).await;
    }
    let limited = json!({"durable_name": "d", "ack_policy": "explicit", "max_batch": 5, "max_expires": 1_000_000_000, "max_bytes": 200});
    let overflow = durable(&json!({"priority_groups": ["a"], "priority_policy": "overflow"}));
    let prioritized = durable(&json!({"priority_groups": ["a", "b"], "priority_policy": "prioritized"}));
    let pinned = durable(&json!({"priority_groups": ["a"], "priority_policy": "pinned_client"}));
    for config in [limited, durable(&json!({})), push(&json!({})), overflow, prioritized, pinned] {
        for body in [
            json!({"batch": 3, "no_wait": true}),
            json!({"batch": 9, "no_wait": true}),
            json!({"batch": 3, "expires": 20_000_000}),
            json!({"batch": 1, "expires": 2_000_000_000_i64}),
            json!({"batch": 4, "no_wait": true, "expires": 20_000_000}),
            json!({"batch": 2, "max_bytes": 1, "no_wait": true}),
            json!({"batch": 3, "max_bytes": 300, "expires": 20_000_000}),
            json!({"batch": 3, "max_bytes": 100, "no_wait": true}),
            json!({"batch": 1, "expires": 20_000_000, "idle_heartbeat": 20_000_000}),
            json!({"batch": -1, "no_wait": true}),
            json!({"batch": 3, "no_wait": true, "group": "a", "min_pending": 2}),
            json!({"batch": 1, "no_wait": true, "group": "x"}),
            json!({"batch": 2, "no_wait": true, "group": "a", "priority": 3}),
            json!({"batch": 1, "expires": 20_000_000, "group": "a", "min_pending": 9}),
            json!({"batch": "x"}),
            json!({"batch": 1, "no_wait": true, "nonsense": 1}),
            json!({"batch": 1, "no_wait": true, "group": "a"}),
            json!({"batch": 1, "no_wait": true, "min_pending": 1}),
            json!({"batch": 1, "no_wait": true, "id": "x"}),
            json!({"batch": 1, "no_wait": true, "priority": 10}),
            json!({"batch": 1, "no_wait": true, "priority": 5}),
            json!({"batch": 1, "no_wait": true, "min_ack_pending": 1}),
        ] {
            peers.prepare("$JS.API.CONSUMER.CREATE.C.d", &request(&config)).await;
            peers.ask_many("$JS.API.CONSUMER.MSG.NEXT.C.d", &body).await;
            peers.ask_raw("$JS.API.CONSUMER.INFO.C.d", &[], "").await;
            peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
        }
    }
    peers.ask_raw("$JS.API.CONSUMER.MSG.NEXT.C.none", &[], "").await;
    peers.delete_stream("C").await;
}

/// A pinned client, told from others by its id, and unpinned.
pub async fn pins(peers: &mut Peers) {
    stream(peers, json!({})).await;
    for payload in ["1", "2", "3", "4", "5", "6"] {
        peers.ask_raw("c.a", &[], payload).await;
    }
    let config = durable(&json!({"priority_groups": ["a"], "priority_policy": "pinned_client"}));
    peers.prepare("$JS.API.CONSUMER.CREATE.C.d", &request(&config)).await;
    for round in 0..2 {
        for body in [
            json!({"batch": 1, "no_wait": true, "group": "a", "id": "wrong"}),
            json!({"batch": 1, "no_wait": true, "group": "a"}),
            json!({"batch": 1, "no_wait": true, "group": "a", "id": "wrong"}),
            json!({"batch": 1, "expires": 20_000_000, "group": "a", "id": "wrong"}),
            json!({"batch": 1, "expires": 20_000_000, "group": "a"}),
        ] {
            peers.ask_many("$JS.API.CONSUMER.MSG.NEXT.C.d", &body).await;
            peers.ask_raw("$JS.API.CONSUMER.INFO.C.d", &[], "").await;
        }
        for payload in
            ["", "{", "{}", r#"{"group":""}"#, r#"{"group":"b"}"#, r#"{"group":"b c"}"#, r#"{"group":"a","x":1}"#]
        {
            for name in ["d", "none"] {
                peers.ask_raw(&format!("$JS.API.CONSUMER.UNPIN.C.{name}"), &[], payload).await;
            }
        }
        peers.ask_raw("$JS.API.CONSUMER.INFO.C.d", &[], "").await;
        if round == 0 {
            let changed = with(config.clone(), &json!({"priority_timeout": 5_000_000_000_i64}));
            peers.ask("$JS.API.CONSUMER.CREATE.C.d", &request(&changed)).await;
        }
    }
    peers.delete_stream("C").await;
}

/// Consumers that begin again elsewhere.
pub async fn resets(peers: &mut Peers) {
    stream(peers, json!({})).await;
    for payload in ["1", "2", "3", "4", "5", "6"] {
        peers.ask_raw("c.a", &[], payload).await;
    }
    let time = json!("2024-01-01T00:00:00Z");
    for fields in [
        json!({}),
        json!({"ack_policy": "all"}),
        json!({"ack_policy": "none"}),
        json!({"mem_storage": true}),
        json!({"filter_subject": "c.b"}),
        json!({"deliver_policy": "new"}),
        json!({"deliver_policy": "last"}),
        json!({"deliver_policy": "last_per_subject", "filter_subject": "c.>"}),
        json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 3}),
        json!({"deliver_policy": "by_start_time", "opt_start_time": time}),
    ] {
        peers.prepare("$JS.API.CONSUMER.CREATE.C.d", &request(&durable(&fields))).await;
        peers.ask_many("$JS.API.CONSUMER.MSG.NEXT.C.d", &json!({"batch": 3, "no_wait": true})).await;
        for payload in
            ["", "{", "{}", r#"{"seq":2}"#, r#"{"seq":5,"x":1}"#, r#"{"seq":99}"#, r#"{"seq":-1}"#, "null", "[]"]
        {
            peers.ask_raw("$JS.API.CONSUMER.RESET.C.d", &[], payload).await;
            peers.ask_many("$JS.API.CONSUMER.MSG.NEXT.C.d", &json!({"batch": 2, "no_wait": true})).await;
            peers.ask_raw("$JS.API.CONSUMER.INFO.C.d", &[], "").await;
        }
        peers.delete("$JS.API.CONSUMER.DELETE.C.d").await;
    }
    peers.delete_stream("C").await;
}

/// Where messages are not acknowledged, nobody listens for acks.
pub async fn acks(peers: &mut Peers) {
    peers.prepare("$JS.API.STREAM.CREATE.C", &json!({"name": "C", "subjects": ["c.>"]})).await;
    for policy in ["none", "all", "explicit"] {
        let config = json!({"durable_name": policy, "ack_policy": policy});
        let create = format!("$JS.API.CONSUMER.CREATE.C.{policy}");
        peers.prepare(&create, &json!({"stream_name": "C", "config": config})).await;
        peers.ask_raw("c.a", &[], "x").await;
        peers.ask_many(&format!("$JS.API.CONSUMER.MSG.NEXT.C.{policy}"), &json!({"batch": 9, "no_wait": true})).await;
        peers.ask_raw(&format!("$JS.ACK.C.{policy}.1.1.1.1700000000000000000.0"), &[], "+ACK").await;
    }
    peers.delete_stream("C").await;
}
