//! Streams in process: an account, a store in a temporary directory and in-process clients that speak the API.

use super::*;
use crate::account::{Account, LocalClient};
use crate::protocol::headers::HeadersBuilder;
use crate::store::{Store, StoreOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

struct Bench {
    client: LocalClient,
    jetstream: Arc<JetStream>,
    store: Store,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Bench::on(tempfile::tempdir().expect("a directory"), 1 << 30)
    }

    fn on(dir: tempfile::TempDir, max_file: u64) -> Self {
        Bench::with(dir, max_file, StoreOptions::default())
    }

    fn with(dir: tempfile::TempDir, max_file: u64, options: StoreOptions) -> Self {
        Bench::of(dir, max_file, options, Domain::new("gw1".into(), true))
    }

    fn of(dir: tempfile::TempDir, max_file: u64, options: StoreOptions, domain: Domain) -> Self {
        let store = Store::open(dir.path(), options).expect("opens");
        let account = Account::new("$G");
        let options = Options {
            domain,
            server_name: "gw1".into(),
            max_file,
            max_memory: 1 << 20,
            sync_interval: Duration::from_secs(10),
            limits: ServerLimits::default(),
        };
        let jetstream = JetStream::start(account.clone(), store.clone(), options).expect("starts");
        Bench { client: LocalClient::new(account), jetstream, store, dir }
    }

    /// Ends it and opens it again from disk.
    async fn restart(self) -> Self {
        let Bench { client, jetstream, store, dir } = self;
        tokio::task::spawn_blocking(move || {
            jetstream.shutdown();
            drop(jetstream);
            store.close();
        })
        .await
        .expect("ends");
        drop(client);
        Bench::on(dir, 1 << 30)
    }

    /// What a process that is killed now leaves behind.
    fn as_killed(&self) -> Self {
        fn copy(from: &std::path::Path, to: &std::path::Path) {
            for entry in std::fs::read_dir(from).expect("listed") {
                let (from, to) = entry.map(|e| (e.path(), to.join(e.file_name()))).expect("listed");
                if from.is_dir() {
                    std::fs::create_dir(&to).expect("made");
                    copy(&from, &to);
                } else {
                    std::fs::copy(&from, &to).expect("copied");
                }
            }
        }
        let dir = tempfile::tempdir().expect("a directory");
        copy(self.dir.path(), dir.path());
        Bench::on(dir, 1 << 30)
    }

    async fn api(&self, verb: &str, request: Value) -> Value {
        let payload = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
        let subject = format!("$JS.API.{verb}");
        let answer = self.client.request(&subject, b"", &payload, Duration::from_secs(10)).await.expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }

    async fn publish(&self, subject: &str, headers: &[(&str, &str)], payload: &str) -> Value {
        let block = headers.iter().fold(HeadersBuilder::new(), |block, (name, value)| block.add(name, value)).build();
        let block = if headers.is_empty() { Vec::new() } else { block };
        let timeout = Duration::from_secs(10);
        let answer = self.client.request(subject, &block, payload.as_bytes(), timeout).await.expect("an answer");
        serde_json::from_slice(&answer.payload).expect("JSON")
    }
}

fn code(answer: &Value) -> u64 {
    answer["error"]["err_code"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_creation_to_deletion() {
    let bench = Bench::new();
    let config = json!({"name": "S", "subjects": ["s.>"], "description": null});
    let made = bench.api("STREAM.CREATE.S", config.clone()).await;
    assert_eq!(made["did_create"].as_bool(), Some(true), "{made}");
    assert_eq!(made["state"]["first_seq"], 0);
    assert_eq!(code(&bench.api("STREAM.CREATE.S", config).await), 0);
    for (verb, request, expected) in [
        ("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.>"], "max_msgs": 5}), 10058),
        ("STREAM.CREATE.T", json!({"name": "T", "subjects": ["s.a"]}), 10065),
        ("STREAM.CREATE.T", json!({"name": "T", "bogus": 1}), 10025),
        ("STREAM.CREATE.T", json!({"name": "U"}), 10056),
        ("STREAM.CREATE.T", json!({"name": "T", "max_bytes": 2u64 << 30}), 10047),
        ("STREAM.CREATE.T", json!({"name": "T", "max_bytes": 2u64 << 30, "storage": "memory"}), 10028),
        ("STREAM.UPDATE.T", json!({"name": "T"}), 10059),
        ("STREAM.UPDATE.S", json!({"name": "S", "subjects": ["s.>"], "storage": "memory"}), 10052),
        ("STREAM.INFO.T", Value::Null, 10059),
        ("STREAM.DELETE.T", Value::Null, 10059),
        ("STREAM.PURGE.S", json!({"seq": 1, "keep": 1}), 10003),
        ("STREAM.MSG.GET.S", json!({}), 10003),
        ("STREAM.MSG.GET.S", json!({"seq": 9}), 10037),
        ("STREAM.MSG.DELETE.S", json!({"seq": 9}), 10043),
    ] {
        assert_eq!(code(&bench.api(verb, request.clone()).await), expected, "{verb} {request}");
    }
    for n in 1..=3 {
        assert_eq!(bench.publish(&format!("s.{}", n % 2), &[], "x").await["seq"], n);
    }
    let info = bench.api("STREAM.INFO.S", json!({"subjects_filter": ">"})).await;
    assert_eq!((&info["state"]["messages"], &info["state"]["subjects"]), (&json!(3), &json!({"s.0": 1, "s.1": 2})));
    assert_eq!(bench.api("STREAM.NAMES", Value::Null).await["streams"], json!(["S"]));
    assert_eq!(bench.api("STREAM.LIST", json!({"subject": "t"})).await["total"], 0);
    let got = bench.api("STREAM.MSG.GET.S", json!({"last_by_subj": "s.*"})).await;
    assert_eq!((&got["message"]["seq"], &got["message"]["data"]), (&json!(3), &json!("eA==")));
    let got = bench.api("STREAM.MSG.GET.S", json!({"seq": 2, "next_by_subj": "s.1"})).await;
    assert_eq!(got["message"]["seq"], 3);
    assert_eq!(bench.api("STREAM.MSG.DELETE.S", json!({"seq": 2})).await["success"], true);
    let info = bench.api("STREAM.INFO.S", json!({"deleted_details": true})).await;
    assert_eq!(info["state"]["deleted"], json!([2]));
    assert_eq!(bench.api("STREAM.PURGE.S", json!({"keep": 1})).await["purged"], 1);
    let account = bench.api("INFO", Value::Null).await;
    assert_eq!((&account["streams"], &account["api"]["level"]), (&json!(1), &json!(5)));
    assert!(account["api"]["errors"].as_u64() >= Some(14), "{account}");
    assert_eq!(bench.api("STREAM.DELETE.S", Value::Null).await["success"], true);
    assert!(bench.client.request("s.1", b"", b"", Duration::from_secs(1)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_is_not_told_is_answered_to() {
    for told in [true, false] {
        let dir = tempfile::tempdir().expect("a directory");
        let bench = Bench::of(dir, 1 << 30, StoreOptions::default(), Domain::new("gw1".into(), told));
        let domain = told.then_some("gw1");
        let asked = async |subject: &str| {
            let answer = bench.client.request(subject, b"", b"", Duration::from_secs(10)).await.expect("an answer");
            serde_json::from_slice::<Value>(&answer.payload).expect("JSON")["domain"].as_str().map(str::to_owned)
        };
        bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.>"]})).await;
        for subject in ["$JS.API.INFO", "$JS.gw1.API.INFO", "$JS.gw1.API.STREAM.INFO.S", "s.1"] {
            assert_eq!(asked(subject).await.as_deref(), domain, "{subject}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_are_checked_in_order() {
    let bench = Bench::new();
    let config = json!({"name": "S", "subjects": ["s.*"], "max_msg_size": 100, "allow_rollup_hdrs": true});
    assert_eq!(code(&bench.api("STREAM.CREATE.S", config).await), 0);
    assert_eq!(
        bench.publish("s.a", &[("Nats-Msg-Id", "1")], "x").await,
        json!({"stream": "S", "domain": "gw1", "seq": 1})
    );
    assert_eq!(bench.publish("s.a", &[("Nats-Msg-Id", "1")], "x").await["duplicate"], true);
    for (name, value, expected) in [
        ("Nats-Expected-Stream", "T", 10060),
        ("Nats-Expected-Last-Sequence", "7", 10071),
        ("Nats-Expected-Last-Subject-Sequence", "7", 10071),
        ("Nats-Expected-Last-Msg-Id", "7", 10070),
        ("Nats-Rollup", "most", 10111),
        ("Nats-TTL", "1s", 10166),
        ("Nats-Batch-Id", "b", 10174),
    ] {
        let answer = bench.publish("s.a", &[(name, value)], "x").await;
        assert_eq!((code(&answer), &answer["seq"]), (expected, &json!(0)), "{name}");
    }
    assert_eq!(code(&bench.publish("s.a", &[], &"x".repeat(101)).await), 10054);
    for (name, value) in
        [("Nats-Expected-Last-Sequence", "1"), ("Nats-Expected-Last-Subject-Sequence", "2"), ("Nats-Rollup", "sub")]
    {
        assert_eq!(code(&bench.publish("s.a", &[(name, value)], "x").await), 0, "{name}");
    }
    let state = bench.api("STREAM.INFO.S", Value::Null).await;
    assert_eq!((&state["state"]["messages"], &state["state"]["first_seq"]), (&json!(1), &json!(4)));
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_drop_the_old_or_refuse_the_new() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.OLD", json!({"name": "OLD", "subjects": ["o"], "max_msgs": 2})).await;
    let config = json!({"name": "NEW", "subjects": ["n.*"], "max_msgs": 2, "discard": "new", "max_msgs_per_subject": 1,
        "discard_new_per_subject": true, "storage": "memory"});
    bench.api("STREAM.CREATE.NEW", config).await;
    for _ in 0..3 {
        assert_eq!(code(&bench.publish("o", &[], "x").await), 0);
    }
    let state = bench.api("STREAM.INFO.OLD", Value::Null).await["state"].clone();
    assert_eq!((&state["messages"], &state["first_seq"]), (&json!(2), &json!(2)));
    for (subject, text) in [
        ("n.1", Value::Null),
        ("n.1", json!("maximum messages per subject exceeded")),
        ("n.2", Value::Null),
        ("n.3", json!("maximum messages exceeded")),
    ] {
        assert_eq!(bench.publish(subject, &[], "x").await["error"]["description"], text, "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart_and_duplicates_are_known() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s"]})).await;
    let epoch = bench.jetstream.stream("S").expect("made").epoch().to_owned();
    bench.publish("s", &[("Nats-Msg-Id", "a")], "1").await;
    bench.publish("s", &[("Nats-Msg-Id", "b")], "2").await;
    let bench = bench.restart().await;
    assert_eq!(bench.jetstream.stream("S").expect("recovered").epoch(), epoch);
    assert_eq!(bench.publish("s", &[("Nats-Msg-Id", "a")], "1").await["duplicate"], true);
    let next = bench.publish("s", &[("Nats-Expected-Last-Msg-Id", "b")], "3").await;
    assert_eq!(next["seq"], 3, "{next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_is_a_declared_gap() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s"]})).await;
    for n in 1..=3 {
        bench.publish("s", &[], &format!("payload {n}")).await;
    }
    let mut advisories = bench.client.subscribe("$JS.EVENT.ADVISORY.STREAM.DAMAGED.S", 10);
    let id = bench.store.log_ids().expect("listed").remove(0);
    let segment = bench.dir.path().join("streams").join(id).join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let at = bytes.windows(9).position(|part| part == b"payload 2").expect("stored");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    for _ in 0..2 {
        assert!(bench.api("STREAM.MSG.GET.S", json!({"seq": 2})).await["error"].is_object());
    }
    let advisory = advisories.next().await.expect("declared");
    let advisory: Value = serde_json::from_slice(&advisory.payload).expect("JSON");
    assert_eq!(advisory["type"], "io.leafd.jetstream.advisory.v1.stream_damaged");
    assert_eq!(
        (&advisory["first_seq"], &advisory["last_seq"], &advisory["damaged"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(bench.api("STREAM.MSG.GET.S", json!({"seq": 3})).await["message"]["seq"], 3);
    assert_eq!(bench.api("STREAM.INFO.S", json!({})).await["state"]["lost"], json!({"msgs": [2], "bytes": 0}));
    bench.api("STREAM.PURGE.S", json!({"seq": 3})).await;
    assert!(bench.api("STREAM.INFO.S", json!({})).await["state"]["lost"].is_null(), "it is not missed any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_gets_answer_as_stored() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.KV", json!({"name": "KV", "subjects": ["$KV.b.>"], "allow_direct": true})).await;
    let put = bench.publish("$JS.gw1.API.$KV.b.k", &[("X", "y")], "v").await;
    assert_eq!(put["seq"], 1, "through the domain: {put}");
    let get = async |subject: &str, payload: &str| {
        bench.client.request(subject, b"", payload.as_bytes(), Duration::from_secs(10)).await
    };
    for (subject, payload) in [
        ("$JS.API.DIRECT.GET.KV.$KV.b.k", ""),
        ("$JS.gw1.API.DIRECT.GET.KV", r#"{"seq":1}"#),
        ("$JS.API.DIRECT.GET.KV", r#"{"last_by_subj":"$KV.b.*"}"#),
    ] {
        let answer = get(subject, payload).await.expect("an answer");
        assert_eq!(&answer.payload[..], b"v");
        let header = |name| crate::protocol::headers::get(&answer.headers, name);
        assert_eq!(
            (header("X"), header("Nats-Subject"), header("Nats-Sequence")),
            (Some("y"), Some("$KV.b.k"), Some("1"))
        );
    }
    let missing = get("$JS.API.DIRECT.GET.KV.$KV.b.none", "").await.expect("an answer");
    assert_eq!(crate::protocol::headers::status(&missing.headers), Some(404));
    assert!(get("$JS.API.DIRECT.GET.NONE", "").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_stores_no_more_than_it_may() {
    let bench = Bench::on(tempfile::tempdir().expect("a directory"), 1000);
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s"]})).await;
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(code(&bench.publish("s", &[], &"x".repeat(100)).await) == 10023);
    }
    assert!((8..18).contains(&refused), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_on_request_makes_room_at_once() {
    let bench = Bench::on(tempfile::tempdir().expect("a directory"), 1000);
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s"]})).await;
    for (verb, body) in [("STREAM.MSG.DELETE.S", json!({"seq": 1})), ("STREAM.PURGE.S", Value::Null)] {
        while bench.publish("s", &[], &"x".repeat(100)).await["error"].is_null() {}
        assert_eq!(bench.api(verb, body).await["success"], true);
        let answer = bench.publish("s", &[], &"x".repeat(100)).await;
        assert!(answer["error"].is_null(), "after {verb}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interest_keeps_only_what_somebody_wants() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s"], "retention": "interest"})).await;
    assert_eq!(bench.publish("s", &[], "x").await["seq"], 1);
    assert_eq!(bench.api("STREAM.INFO.S", Value::Null).await["state"]["messages"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_off_leaves_nothing_behind() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({"name": "S"})).await;
    let config = StreamConfig { name: "T".into(), ..StreamConfig::default() };
    let (jetstream, store) = (bench.jetstream.clone(), bench.store.clone());
    let begun = tokio::task::spawn_blocking(move || {
        let made = jetstream.begin_restore(config).expect("begins");
        made.log.append_at(1, 0, &crate::store::Record { subject: "T", headers: b"", payload: b"x" }).expect("taken");
        store.barrier().wait().expect("stored");
    });
    begun.await.expect("begun");
    assert_eq!(bench.store.log_ids().expect("listed").len(), 2);
    let bench = bench.restart().await;
    assert_eq!(bench.store.log_ids().expect("listed").len(), 1);
    assert_eq!(bench.store.state().scan("restoring/").len(), 0);
    assert!(bench.jetstream.stream("S").is_some());
}

#[tokio::test]
async fn a_new_subject_is_refused_where_not_even_its_place_on_disk_fits_into_memory() {
    let options = StoreOptions { index_bytes: 4000, ..StoreOptions::default() };
    let bench = Bench::with(tempfile::tempdir().expect("a directory"), 1 << 30, options);
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.*"], "max_msgs_per_subject": 1})).await;
    let mut known = 0;
    let error = loop {
        let answer = bench.publish(&format!("s.{known}"), &[], "x").await;
        if answer["error"].is_object() {
            break answer["error"].clone();
        }
        known += 1;
    };
    assert!(known > 200, "{known}");
    assert_eq!((&error["code"], &error["err_code"]), (&json!(503), &json!(10023)));
    assert!(error["description"].as_str().is_some_and(|text| text.starts_with("insufficient resources")), "{error}");
    assert!(bench.publish("s.1", &[], "x").await["error"].is_null(), "known subjects go on");
    bench.api("STREAM.PURGE.S", json!({"filter": "s.2"})).await;
    bench.api("STREAM.PURGE.S", json!({"filter": "s.*"})).await;
    assert!(bench.publish("s.new", &[], "x").await["error"].is_null(), "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rollup_replaced_does_not_come_back() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.*"], "allow_rollup_hdrs": true})).await;
    for round in 0..20 {
        bench.publish("s.1", &[], "x").await;
        assert!(bench.publish("s.1", &[("Nats-Rollup", "sub")], "y").await["error"].is_null());
        let found = bench.as_killed().api("STREAM.INFO.S", Value::Null).await;
        assert_eq!(found["state"]["messages"], 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_takes_nothing_that_came_meanwhile() {
    let bench = Bench::new();
    let config = json!({
        "name": "S", "subjects": ["s.*"], "allow_msg_ttl": true, "allow_rollup_hdrs": true, "subject_delete_marker_ttl": 60_000_000_000u64,
    });
    assert!(bench.api("STREAM.CREATE.S", config).await["error"].is_null());
    let stream = bench.jetstream.stream("S").expect("made");
    for round in 0..300 {
        let subject = format!("s.{round}");
        let old = bench.publish(&subject, &[], "old").await["seq"].as_u64().expect("stored");
        let stored = stream.log().read(old).expect("readable").expect("there");
        let ageing = stream.clone();
        let gone = tokio::task::spawn_blocking(move || ageing.let_go(&ageing.config(), &stored).expect("gone"));
        let new = bench.publish(&subject, &[], "new").await["seq"].as_u64().expect("stored");
        gone.await.expect("ended");
        // What rolls up is done in its turn, before this is answered.
        bench.publish("s.end", &[("Nats-Rollup", "sub")], "").await;
        assert!(stream.log().contains(new), "round {round}");
    }
}
