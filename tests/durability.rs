//! A PubAck means that the message is on disk: a publisher with many in flight, kill -9 at random, and a look at what is
//! there after the restart. `LEAFD_SEED` replays a run, `LEAFD_KILLS` sets the number of kills.

mod common;

use async_nats::jetstream;
use common::{Leafd, within};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

/// Messages that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 256;
/// A stream with so many messages is purged, as all of it is read after each kill.
const MANY: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("LEAFD_KILLS").map_or(20, |text| text.parse().expect("LEAFD_KILLS is a number"));
    let mut random = fastrand::Rng::with_seed(common::seed());
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    jetstream::new(leafd.client().await).create_stream(config).await.expect("a stream");
    let mut acked = HashMap::new();
    let (mut next, mut purged) = (0, 0);
    for _ in 0..rounds {
        let until = tokio::time::Instant::now() + Duration::from_millis(random.u64(30..250));
        let publisher = publish(&leafd, &mut next, &mut acked);
        let _ = tokio::time::timeout_at(until, publisher).await;
        leafd.restart();
        let stored = read_all(&leafd).await;
        for (seq, payload) in &acked {
            assert_eq!(
                stored.get(seq),
                Some(payload),
                "acknowledged under sequence {seq}, and not there after kill -9"
            );
        }
        if stored.len() > MANY {
            ask(&leafd.client().await, "STREAM.PURGE.S", Value::Null).await;
            purged += acked.len();
            acked.clear();
        }
    }
    let acknowledged = purged + acked.len();
    eprintln!("{rounds} kills, {next} published, {acknowledged} acknowledged, all there");
    assert!(acknowledged > rounds, "the test has shown something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_synced_at_an_interval_says_so_and_loses_nothing_to_kill_9() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "[jetstream]\nsync_interval = \"1h\"\n");
    leafd.start();
    let client = leafd.client().await;
    for (name, more) in [
        ("A", json!({ "persist_mode": "async" })),
        ("D", json!({})),
        ("M", json!({ "storage": "memory" })),
        ("F", json!({ "persist_mode": "async", "sources": [{ "name": "A" }] })),
    ] {
        let mut config = json!({ "name": name, "subjects": [name], "storage": "file" });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let answer = ask(&client, &format!("STREAM.CREATE.{name}"), config).await;
        assert!(answer["error"].is_null(), "{answer}");
    }
    // One that follows another keeps its place there durably, and has to have what is before it.
    let told = |status: &Value, name: &str| {
        let streams = status["streams"].as_array().expect("a list");
        streams.iter().find(|s| s["name"] == name).expect("the stream")["sync"].clone()
    };
    let status = leafd.status().expect("a status");
    for (name, sync) in [("A", "every 3600s"), ("D", "durable"), ("M", "none"), ("F", "durable")] {
        assert_eq!(told(&status, name), sync, "{name}");
    }
    let syncs = |status: &Value| status["store"]["syncs"].as_u64().expect("a number");
    ask(&client, "STREAM.DELETE.F", Value::Null).await;
    let before = syncs(&leafd.status().expect("a status"));
    let context = jetstream::new(client);
    for n in 1..=200 {
        let ack = context.publish("A", n.to_string().into()).await.expect("sent").await.expect("stored");
        assert_eq!(ack.sequence, n);
    }
    let after = syncs(&leafd.status().expect("a status"));
    assert!(after - before < 20, "200 messages one by one took {} syncs", after - before);
    leafd.restart();
    let info = ask(&leafd.client().await, "STREAM.INFO.A", Value::Null).await;
    assert_eq!(info["state"]["messages"], 200);
    assert_eq!(told(&leafd.status().expect("a status"), "A"), "every 3600s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_while_streams_come_and_go_leaves_no_half_of_one() {
    let mut random = fastrand::Rng::with_seed(common::seed());
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    for _ in 0..10 {
        let until = tokio::time::Instant::now() + Duration::from_millis(random.u64(50..400));
        let coming = (0..3).map(|n| come_and_go(&leafd, n));
        let _ = tokio::time::timeout_at(until, futures_util::future::join_all(coming)).await;
        leafd.restart();
        let list = ask(&leafd.client().await, "STREAM.LIST", json!({})).await;
        assert!(list["offline"].is_null(), "{list}");
        let mut streams: Vec<String> = list["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|s| s["config"]["name"].as_str().expect("a name").to_owned())
            .collect();
        streams.sort();
        let folders = std::fs::read_dir(leafd.data().join("streams")).expect("a folder");
        let names = folders.map(|folder| folder.expect("listed").file_name().to_string_lossy().into_owned());
        let mut kept: Vec<String> = names.map(|name| name.split('.').nth(1).expect("a name").to_owned()).collect();
        kept.sort();
        assert_eq!(kept, streams, "on disk, and known");
    }
}

#[tokio::test]
async fn where_the_end_of_a_stream_is_lost_no_sequence_is_given_again() {
    for damage in ["gone", "zeros", "half"] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut leafd = Leafd::new(dir.path(), "");
        leafd.start();
        let client = leafd.client().await;
        let consumer = json!({ "stream_name": "S", "config": { "durable_name": "d", "ack_policy": "explicit" } });
        let bodies =
            [("STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s"] })), ("CONSUMER.CREATE.S.d", consumer)];
        for (verb, body) in bodies {
            assert!(ask(&client, verb, body).await["error"].is_null());
        }
        for _ in 0..10 {
            client.request("s", "x".into()).await.expect("stored");
        }
        for _ in 0..8 {
            assert_eq!(take_one(&leafd).await, "x");
        }
        leafd.kill9();
        let log =
            std::fs::read_dir(leafd.data().join("streams")).expect("listed").next().expect("one").expect("listed");
        let segment = log.path().join("00000000000000000001.seg");
        let bytes = std::fs::read(&segment).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("records") + 1;
        match damage {
            "gone" => std::fs::remove_file(&segment).expect("removed"),
            "zeros" => std::fs::write(&segment, vec![0; bytes.len()]).expect("written"),
            _ => std::fs::write(&segment, &bytes[..used / 2]).expect("written"),
        }
        for round in 0..2 {
            leafd.start();
            let client = leafd.client().await;
            let state = ask(&client, "STREAM.INFO.S", Value::Null).await["state"].clone();
            assert_eq!(state["last_seq"], 8 + round, "{damage}: {state}");
            let told = leafd.log().contains("damaged");
            assert!(told || round > 0, "{damage}: {}", leafd.log());
            let stored = client.request("s", "new".into()).await.expect("stored").payload;
            let stored: Value = serde_json::from_slice(&stored).expect("JSON");
            assert_eq!(stored["seq"], 9 + round, "{damage}");
            assert_eq!(take_one(&leafd).await, "new", "{damage}");
            leafd.kill9();
        }
    }
}

/// The next message of the consumer `d` of the stream `S`, acknowledged.
async fn take_one(leafd: &Leafd) -> String {
    let context = jetstream::new(leafd.client().await);
    let consumer: jetstream::consumer::PullConsumer = context.get_consumer_from_stream("d", "S").await.expect("there");
    let mut messages = consumer.fetch().max_messages(1).messages().await.expect("asked");
    let message = messages.next().await.expect("one").expect("delivered");
    message.double_ack().await.expect("acknowledged");
    String::from_utf8_lossy(&message.payload).into_owned()
}

/// Makes a stream, fills and deletes it, without end.
async fn come_and_go(leafd: &Leafd, n: usize) {
    let client = leafd.client().await;
    let (name, subject) = (format!("S{n}"), format!("s{n}"));
    let api = async |verb: &str, body: Value| {
        client.request(format!("$JS.API.STREAM.{verb}.{name}"), body.to_string().into()).await.is_ok()
    };
    while api("CREATE", json!({ "name": name, "subjects": [subject], "storage": "file" })).await {
        for _ in 0..10 {
            if client.request(subject.clone(), "x".into()).await.is_err() {
                return;
            }
        }
        if client.request(format!("$JS.API.STREAM.DELETE.{name}"), "".into()).await.is_err() {
            return;
        }
    }
}

/// Publishes without end; notes each acknowledgement.
async fn publish(leafd: &Leafd, next: &mut u64, acked: &mut HashMap<u64, String>) {
    let context = jetstream::new(leafd.client().await);
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let payload = format!("message {next}");
            *next += 1;
            let Ok(ack) = context.publish("s.x", payload.clone().into()).await else { return };
            waiting.push(async move { (ack.await, payload) });
        }
        if let Some((Ok(ack), payload)) = waiting.next().await {
            acked.insert(ack.sequence, payload);
        }
    }
}

async fn read_all(leafd: &Leafd) -> HashMap<u64, String> {
    let stream = jetstream::new(leafd.client().await).get_stream("S").await.expect("the stream is there again");
    let mut stored = HashMap::new();
    if stream.cached_info().state.messages == 0 {
        return stored;
    }
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    loop {
        let message = within("all of the stream", messages.next()).await.expect("more").expect("a message");
        let info = message.info().expect("a reply subject");
        stored.insert(info.stream_sequence, String::from_utf8_lossy(&message.payload).into_owned());
        if info.pending == 0 {
            return stored;
        }
    }
}

/// What the API says to a request.
async fn ask(client: &async_nats::Client, verb: &str, body: Value) -> Value {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client.request(format!("$JS.API.{verb}"), payload.into()).await.expect("an answer");
    serde_json::from_slice(&answer.payload).expect("JSON")
}

#[tokio::test]
async fn a_stream_whose_files_are_gone_says_so_until_it_is_deleted() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    for (name, subject) in [("LOST", "lost"), ("KEPT", "kept")] {
        let config = json!({ "name": name, "subjects": [subject] });
        assert!(ask(&client, &format!("STREAM.CREATE.{name}"), config).await["error"].is_null());
        let config = json!({ "durable_name": "d", "ack_policy": "explicit" });
        let request = json!({ "stream_name": name, "config": config });
        assert!(ask(&client, &format!("CONSUMER.CREATE.{name}.d"), request).await["error"].is_null());
        client.request(subject, "x".into()).await.expect("stored");
    }
    assert!(leafd.terminate().success());
    let logs = std::fs::read_dir(leafd.data().join("streams")).expect("a folder");
    let lost = logs.map(|log| log.expect("readable")).find(|log| log.file_name().to_string_lossy().contains("LOST"));
    std::fs::remove_dir_all(lost.expect("it is there").path()).expect("removed");
    leafd.start();
    let client = leafd.client().await;
    let config = json!({ "name": "LOST", "subjects": ["lost"] });
    for (verb, body) in [("STREAM.INFO.LOST", Value::Null), ("STREAM.CREATE.LOST", config.clone())] {
        let answer = ask(&client, verb, body).await;
        assert_eq!((&answer["error"]["code"], &answer["error"]["err_code"]), (&json!(500), &json!(10194)), "{answer}");
    }
    assert_eq!(ask(&client, "STREAM.INFO.KEPT", Value::Null).await["state"]["messages"], 1, "the others go on");
    let listed = ask(&client, "STREAM.LIST", Value::Null).await;
    assert_eq!(
        (&listed["missing"], listed["streams"].as_array().map(Vec::len)),
        (&json!(["LOST"]), Some(1)),
        "{listed}"
    );
    assert!(listed["offline"]["LOST"].is_string(), "with the reason: {listed}");
    assert_eq!(ask(&client, "STREAM.DELETE.LOST", Value::Null).await["success"], true);
    assert_eq!(ask(&client, "STREAM.INFO.LOST", Value::Null).await["error"]["err_code"], 10059);
    let made = ask(&client, "STREAM.CREATE.LOST", config).await;
    assert_eq!((&made["error"], &made["state"]["consumer_count"]), (&Value::Null, &json!(0)), "it begins anew");
    client.request("lost", "x".into()).await.expect("stored");
    leafd.restart();
    let client = leafd.client().await;
    let info = ask(&client, "STREAM.INFO.LOST", Value::Null).await;
    assert_eq!((&info["state"]["messages"], &info["state"]["consumer_count"]), (&json!(1), &json!(0)), "{info}");
}

#[tokio::test]
async fn a_stream_that_the_catalogue_has_lost_is_told_of_and_gives_its_consumers_to_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    let config = json!({ "name": "LOST", "subjects": ["lost"] });
    let consumer = json!({ "stream_name": "LOST", "config": { "durable_name": "d", "ack_policy": "explicit" } });
    for (verb, body) in [("STREAM.CREATE.LOST", &config), ("CONSUMER.CREATE.LOST.d", &consumer)] {
        assert!(ask(&client, verb, body.clone()).await["error"].is_null());
    }
    client.request("lost", "x".into()).await.expect("stored");
    leafd.kill9();
    let fsck = |leafd: &Leafd| {
        let output = Command::new(common::leafd::binary()).arg("fsck").arg(leafd.data()).output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(fsck(&leafd).0);
    let log =
        std::fs::read_dir(leafd.data().join("streams")).expect("listed").next().expect("one").expect("listed").path();
    let aside = leafd.data().join("aside");
    std::fs::rename(&log, &aside).expect("moved");
    let (sound, found) = fsck(&leafd);
    assert!(!sound && found.contains("the folder of stream LOST is missing"), "{found}");
    std::fs::rename(&aside, &log).expect("moved back");
    let state = leafd.data().join("state.log");
    let mut bytes = std::fs::read(&state).expect("readable");
    let entry = br#""name":"LOST""#;
    let at = bytes.windows(entry.len()).position(|window| window == entry).expect("the stream's entry");
    bytes[at] ^= 1;
    std::fs::write(&state, bytes).expect("written");
    let (sound, found) = fsck(&leafd);
    assert!(!sound && found.contains("knows no stream whose messages these are"), "{found}");
    leafd.start();
    assert!(leafd.log().contains("no stream is known whose messages these are"), "{}", leafd.log());
    let client = leafd.client().await;
    assert_eq!(ask(&client, "STREAM.INFO.LOST", Value::Null).await["error"]["err_code"], 10059);
    let made = ask(&client, "STREAM.CREATE.LOST", config).await;
    assert_eq!((&made["error"], &made["state"]["consumer_count"]), (&Value::Null, &json!(0)), "{made}");
}
