//! `$JS.API.STREAM.>` but for messages, and `$JS.API.INFO`.

use super::peers::Peers;
use serde_json::{Value, json};

/// Each field with valid values, values at a limit, and values that cannot be.
fn table() -> Vec<(&'static str, Vec<Value>)> {
    let long = "x".repeat(4097);
    let (number, flag) = (|| json!("7"), || vec![json!(true), json!(false), json!("true"), json!(1), Value::Null]);
    vec![
        ("name", vec![json!("T.a"), json!(""), json!("T*"), json!("T a"), json!("a/b"), json!(7), Value::Null]),
        ("description", vec![json!("words"), json!(long[..4096]), json!(long), json!(1)]),
        (
            "subjects",
            vec![
                json!([]),
                json!(["a", "a"]),
                json!(["a.*", "a.b"]),
                json!([">"]),
                json!(["a..b"]),
                json!(["$JS.API.x"]),
                json!(["$SYS.x"]),
                json!(["$JS.EVENT.x"]),
                json!(["$SYS.ACCOUNT.x"]),
                json!("a"),
                json!([1]),
                json!([""]),
                json!(["a b"]),
                json!(["a.>.b"]),
            ],
        ),
        ("retention", vec![json!("limits"), json!("interest"), json!("workqueue"), json!("none"), json!(1), json!("")]),
        ("max_consumers", vec![json!(-2), json!(-1), json!(0), json!(1), number(), json!(1.5)]),
        ("max_msgs", vec![json!(-2), json!(-1), json!(0), json!(1), json!(9_223_372_036_854_775_807_i64), number()]),
        ("max_bytes", vec![json!(-2), json!(0), json!(1), json!(2_000_000_000_i64), number()]),
        ("max_age", vec![json!(-1), json!(99_999_999), json!(100_000_000), json!(1_000_000_000_000_i64), number()]),
        ("max_msgs_per_subject", vec![json!(-2), json!(0), json!(1), number()]),
        ("max_msg_size", vec![json!(-2), json!(0), json!(1), json!(2_147_483_647), json!(2_147_483_648_i64), number()]),
        ("discard", vec![json!("old"), json!("new"), json!("none"), json!(1)]),
        ("storage", vec![json!("file"), json!("memory"), json!("any"), json!("tape"), json!(22)]),
        ("num_replicas", vec![json!(-1), json!(0), json!(1), json!(2), json!(3), json!(6), number()]),
        ("no_ack", flag()),
        ("duplicate_window", vec![json!(-1), json!(99_999_999), json!(100_000_000), json!(0), number()]),
        (
            "placement",
            vec![
                json!({}),
                json!({"cluster": "C"}),
                json!({"tags": ["a"]}),
                json!({"preferred": "s"}),
                json!({"rack": 1}),
                json!("C"),
                Value::Null,
            ],
        ),
        ("compression", vec![json!("none"), json!("s2"), json!("zip"), json!(1), json!("")]),
        ("first_seq", vec![json!(0), json!(1), json!(1000), json!(-1), number()]),
        ("allow_direct", flag()),
        ("mirror_direct", flag()),
        ("discard_new_per_subject", flag()),
        ("sealed", flag()),
        ("deny_delete", flag()),
        ("deny_purge", flag()),
        ("allow_rollup_hdrs", flag()),
        (
            "consumer_limits",
            vec![
                json!({}),
                json!({"inactive_threshold": 1, "max_ack_pending": 2}),
                json!({"inactive_threshold": -1}),
                json!({"max_ack_pending": -1}),
                json!({"other": 1}),
                json!(1),
            ],
        ),
        ("allow_msg_ttl", flag()),
        ("subject_delete_marker_ttl", vec![json!(-1), json!(0), json!(999_999_999), json!(1_000_000_000), number()]),
        ("allow_msg_counter", flag()),
        ("allow_atomic", flag()),
        ("allow_msg_schedules", flag()),
        ("allow_batched", flag()),
        ("persist_mode", vec![json!("default"), json!("async"), json!(""), json!("later"), json!(1)]),
        (
            "metadata",
            vec![json!({"a": "b"}), json!({"a": 1}), json!([]), json!({"_nats.ver": "x", "_nats.req.level": "9"})],
        ),
        (
            "subject_transform",
            vec![
                json!({"src": "t.*", "dest": "u.{{wildcard(1)}}"}),
                json!({"src": "t.*", "dest": "u.$2"}),
                json!({"src": "t..", "dest": "u"}),
                json!({}),
                json!("t"),
            ],
        ),
        (
            "republish",
            vec![
                json!({"src": "t.>", "dest": "r.>"}),
                json!({"src": "t.>", "dest": "t.>"}),
                json!({"dest": "r.>"}),
                json!({"src": "t.>", "dest": "r.>", "headers_only": true}),
                json!({}),
                json!(1),
            ],
        ),
        ("mirror", vec![json!({"name": "O"}), json!({}), json!({"name": "a.b"}), json!("O")]),
        (
            "sources",
            vec![json!([{"name": "O"}]), json!([{"name": "O"}, {"name": "O"}]), json!([{}]), json!({"name": "O"})],
        ),
        ("nonsense", vec![json!(1), Value::Null]),
        ("pedantic", vec![json!(true), json!("x")]),
    ]
}

fn with(fields: Value) -> Value {
    let mut config = json!({ "name": "T", "subjects": ["t.>"], "storage": "memory" });
    for (key, value) in fields.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config
}

async fn create(peers: &mut Peers, fields: Value) {
    peers.ask("$JS.API.STREAM.CREATE.T", &with(fields)).await;
    peers.delete_stream("T").await;
}

/// Each value of each field by itself, in a create and in an update.
pub async fn fields(peers: &mut Peers) {
    for (field, values) in table() {
        for value in values {
            create(peers, json!({ field: value })).await;
            peers.prepare("$JS.API.STREAM.CREATE.T", &with(json!({}))).await;
            if peers.ask("$JS.API.STREAM.UPDATE.T", &with(json!({ field: value }))).await {
                peers.ask("$JS.API.STREAM.INFO.T", &Value::Null).await;
            }
            peers.delete_stream("T").await;
        }
    }
}

/// Fields that depend on each other.
pub async fn combinations(peers: &mut Peers) {
    let second = 1_000_000_000_i64;
    for fields in [
        json!({"discard": "new", "discard_new_per_subject": true}),
        json!({"discard": "new", "discard_new_per_subject": true, "max_msgs_per_subject": 1}),
        json!({"deny_purge": true, "allow_rollup_hdrs": true}),
        json!({"subjects": [">"], "no_ack": true}),
        json!({"subjects": [">"], "no_ack": true, "num_replicas": 3}),
        json!({"subjects": ["$JS.>"], "no_ack": true}),
        json!({"max_age": second, "duplicate_window": 2 * second}),
        json!({"max_age": second, "duplicate_window": second}),
        json!({"max_age": second, "pedantic": true}),
        json!({"max_msgs": -5, "pedantic": true}),
        json!({"max_bytes": -5, "pedantic": true}),
        json!({"max_msg_size": -5, "pedantic": true}),
        json!({"max_consumers": -5, "pedantic": true}),
        json!({"max_msgs_per_subject": -5, "pedantic": true}),
        json!({"subject_delete_marker_ttl": second, "allow_msg_ttl": true, "allow_rollup_hdrs": true}),
        json!({"subject_delete_marker_ttl": second, "pedantic": true}),
        json!({"subject_delete_marker_ttl": second, "allow_msg_ttl": true, "pedantic": true}),
        json!({"subject_delete_marker_ttl": second, "deny_purge": true}),
        json!({"allow_msg_counter": true, "discard": "new"}),
        json!({"allow_msg_counter": true, "allow_msg_ttl": true}),
        json!({"allow_msg_counter": true, "allow_msg_schedules": true}),
        json!({"allow_msg_counter": true, "retention": "interest"}),
        json!({"allow_msg_schedules": true, "discard": "new"}),
        json!({"allow_msg_schedules": true, "pedantic": true}),
        json!({"allow_msg_schedules": true, "deny_purge": true}),
        json!({"persist_mode": "async", "storage": "file"}),
        json!({"persist_mode": "async", "storage": "file", "allow_atomic": true}),
        json!({"storage": "file", "max_bytes": 5_000_000_000_i64}),
        json!({"subjects": [], "mirror": {"name": "O"}}),
        json!({"subjects": [], "mirror": {"name": "T"}}),
        json!({"subjects": [], "mirror": {"name": "O", "opt_start_seq": 5, "filter_subject": "o.a"}}),
        json!({"subjects": [], "mirror": {"name": "O"}, "first_seq": 5}),
        json!({"subjects": [], "mirror": {"name": "O"}, "sources": [{"name": "P"}]}),
        json!({"subjects": [], "mirror": {"name": "O"}, "allow_msg_counter": true}),
        json!({"subjects": [], "mirror": {"name": "O"}, "subject_delete_marker_ttl": second}),
        json!({"subjects": [], "mirror": {"name": "O", "filter_subject": "a", "subject_transforms": [{"src": "a", "dest": "b"}]}}),
        json!({"subjects": [], "mirror": {"name": "O", "subject_transforms": [{"src": "a.*", "dest": "b"}, {"src": "a.b", "dest": "c"}]}}),
        json!({"subjects": [], "mirror": {"name": "O", "subject_transforms": [{"src": "a..b", "dest": "b"}]}}),
        json!({"subjects": [], "mirror": {"name": "O", "subject_transforms": [{"src": "a.*", "dest": "b.$2"}]}}),
        json!({"subjects": [], "mirror": {"name": "O", "external": {"api": "$JS.x.API", "deliver": "d"}}}),
        json!({"subjects": [], "mirror": {"name": "O", "external": {"api": "$JS.API", "deliver": ""}}}),
        json!({"subjects": [], "mirror": {"name": "O", "external": {"api": "$JS.*.API", "deliver": ""}}}),
        json!({"subjects": [], "mirror": {"name": "O", "external": {"api": "$JS.x.API", "deliver": "d.*"}}}),
        json!({"sources": [{"name": "O"}, {"name": "O"}]}),
        json!({"sources": [{"name": "O"}, {"name": "O", "filter_subject": "o.a"}]}),
        json!({"sources": [{"name": "O"}], "allow_msg_schedules": true}),
        json!({"sources": [{"name": "T"}]}),
        json!({"sources": [{"name": "O", "nonsense": 1}]}),
        json!({"sources": [{"name": "O", "subject_transforms": [{"src": "a.*", "dest": "b"}, {"src": "a.b", "dest": "c"}]}]}),
    ] {
        create(peers, fields).await;
    }
}

/// What may be changed in a stream that is there, and what not.
pub async fn updates(peers: &mut Peers) {
    for (before, after) in [
        (json!({"storage": "file"}), json!({"storage": "memory"})),
        (json!({"max_consumers": 1}), json!({"max_consumers": 2})),
        (json!({"retention": "limits"}), json!({"retention": "workqueue"})),
        (json!({"retention": "limits"}), json!({"retention": "interest"})),
        (json!({"retention": "interest"}), json!({"retention": "limits"})),
        (json!({"retention": "workqueue"}), json!({"retention": "interest"})),
        (json!({"sealed": false}), json!({"sealed": true})),
        (json!({"deny_delete": true}), json!({})),
        (json!({"deny_purge": true}), json!({})),
        (json!({"first_seq": 10}), json!({"first_seq": 20})),
        (json!({"first_seq": 10}), json!({})),
        (
            json!({"discard": "new", "max_msgs_per_subject": 1}),
            json!({"discard": "new", "max_msgs_per_subject": 1, "discard_new_per_subject": true}),
        ),
        (json!({"allow_msg_ttl": true}), json!({"allow_msg_ttl": false})),
        (json!({"allow_rollup_hdrs": true}), json!({})),
        (json!({"allow_direct": true}), json!({})),
        (json!({"allow_msg_counter": true}), json!({})),
        (json!({}), json!({"allow_msg_counter": true})),
        (json!({"allow_msg_schedules": true}), json!({})),
        (json!({}), json!({"allow_msg_schedules": true})),
        (json!({"allow_atomic": true}), json!({})),
        (json!({}), json!({"mirror": {"name": "O"}, "subjects": []})),
        (json!({}), json!({"subjects": ["u.>"]})),
        (json!({}), json!({"subjects": []})),
        (json!({"subject_delete_marker_ttl": 1_000_000_000_i64}), json!({})),
    ] {
        if peers.ask("$JS.API.STREAM.CREATE.T", &with(before)).await {
            peers.ask("$JS.API.STREAM.CREATE.T", &with(after.clone())).await;
            if peers.ask("$JS.API.STREAM.UPDATE.T", &with(after)).await {
                peers.ask("$JS.API.STREAM.INFO.T", &Value::Null).await;
            }
        }
        peers.delete_stream("T").await;
    }
    peers.ask("$JS.API.STREAM.UPDATE.T", &with(json!({}))).await;
}

/// The other requests, good and bad.
pub async fn requests(peers: &mut Peers) {
    for payload in ["", "{", "[]", "null", "{}", "7", "{\"name\":\"T\"} x", "{\"name\":\"U\"}", "\u{fffd}"] {
        for subject in [
            "CREATE.T",
            "UPDATE.T",
            "INFO.T",
            "NAMES",
            "LIST",
            "DELETE.T",
            "PURGE.T",
            "MSG.GET.T",
            "MSG.DELETE.T",
            "CREATE.a*b",
            "SNAPSHOT.T",
            "RESTORE.T",
            "PEER.REMOVE.T",
            "PEER.EVACUATE.T",
            "CANCEL_MOVE.T",
            "LEADER.STEPDOWN.T",
            "NONSENSE.T",
            "INFO",
            "CREATE",
        ] {
            peers.ask_raw(&format!("$JS.API.STREAM.{subject}"), &[], payload).await;
        }
        for subject in ["META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.X", "NONSENSE", "INFO"] {
            peers.ask_raw(&format!("$JS.API.{subject}"), &[], payload).await;
        }
    }
    for at in 0..3 {
        let config = json!({ "name": format!("S{at}"), "subjects": [format!("s{at}.>"), format!("x{at}")], "storage": "memory" });
        peers.ask(&format!("$JS.API.STREAM.CREATE.S{at}"), &config).await;
    }
    peers.ask("$JS.API.STREAM.CREATE.S9", &json!({"name": "S9", "subjects": ["s1.a"]})).await;
    peers.ask("$JS.API.STREAM.UPDATE.S0", &json!({"name": "S0", "subjects": ["s1.a"]})).await;
    for (subject, payload) in [("s0.a", "1"), ("s0.b", "22"), ("s0.a", "333"), ("s1.a", "1")] {
        peers.ask_raw(subject, &[], payload).await;
    }
    for request in [
        json!({"subject": "s1.>"}),
        json!({"subject": "s1.a"}),
        json!({"subject": ">"}),
        json!({"offset": 2}),
        json!({"offset": 9}),
        json!({"offset": -1}),
        json!({"subject": 1}),
        json!({"subject": "nobody"}),
        json!({"more": 1}),
        json!({"offset": 1, "subject": ">"}),
    ] {
        peers.ask("$JS.API.STREAM.NAMES", &request).await;
        peers.ask("$JS.API.STREAM.LIST", &request).await;
    }
    for request in [
        json!({"subjects_filter": ">"}),
        json!({"subjects_filter": "s0.a"}),
        json!({"subjects_filter": "none"}),
        json!({"deleted_details": true}),
        json!({"subjects_filter": ">", "offset": 1}),
        json!({"subjects_filter": ">", "offset": 9}),
        json!({"offset": 1}),
        json!({"other": 1}),
        json!({"subjects_filter": 1}),
    ] {
        peers.ask("$JS.API.STREAM.INFO.S0", &request).await;
    }
    peers.ask_raw("$JS.API.STREAM.INFO.S.0", &[], "").await;
    peers.ask_raw("$JS.gw1.API.STREAM.INFO.S0", &[], "").await;
    peers.ask_raw("$JS.other.API.STREAM.INFO.S0", &[], "").await;
    peers.ask_raw("$JS.API.INFO", &[], "").await;
    for at in 0..3 {
        peers.ask_raw(&format!("$JS.API.STREAM.DELETE.S{at}"), &[], "").await;
    }
}
