//! Streams, buckets and object stores with compression, as official clients ask for it: beside a real nats-server.

mod common;

use async_nats::jetstream::{self, object_store};
use common::{Leafd, hub};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

fn reading(n: usize) -> String {
    format!("{{\"sensor\":\"t{}\",\"unit\":\"celsius\",\"quality\":\"good\",\"value\":{}}}", n % 9, 20 + n % 7)
}

/// Makes or changes a stream; its compression as it is told then.
async fn configure(client: &async_nats::Client, verb: &str, name: &str, subjects: &str, compression: &str) -> Value {
    let config = json!({
        "name": name, "subjects": [subjects], "compression": compression, "max_msgs_per_subject": if name == "S" { -1 } else { 3 },
        "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true, "discard": "new",
    });
    let answer = client.request(format!("$JS.API.STREAM.{verb}.{name}"), config.to_string().into()).await;
    let answer: Value = serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON");
    answer["config"]["compression"].clone()
}

/// What a client sees of a compressed stream, bucket and object store.
async fn use_all(client: async_nats::Client) -> (u64, Vec<String>, Option<bytes::Bytes>, usize) {
    let context = jetstream::new(client.clone());
    assert_eq!(configure(&client, "CREATE", "S", "s.*", "s2").await, "s2");
    let made = context.get_stream("S").await.expect("made");
    let mut acks = Vec::new();
    for n in 0..1000 {
        acks.push(context.publish("s.a", reading(n).into()).await.expect("sent"));
    }
    for ack in acks {
        ack.await.expect("stored");
    }
    assert_eq!(configure(&client, "UPDATE", "S", "s.*", "none").await, "none");
    context.publish("s.a", "plain".into()).await.expect("sent").await.expect("stored");
    let mut got = Vec::new();
    for seq in [1, 500, 1000, 1001] {
        let message = made.get_raw_message(seq).await.expect("there");
        got.push(String::from_utf8_lossy(&message.payload).into_owned());
    }
    // As clients make a bucket that is to be compressed.
    assert_eq!(configure(&client, "CREATE", "KV_B", "$KV.B.>", "s2").await, "s2");
    let bucket = context.get_key_value("B").await.expect("made");
    for n in 0..20 {
        bucket.put("key", reading(n).into()).await.expect("put");
    }
    let objects = object_store::Config { bucket: "O".into(), compression: true, ..Default::default() };
    let objects = context.create_object_store(objects).await.expect("made");
    let text = "all the same ".repeat(100_000);
    objects.put("object", &mut text.as_bytes()).await.expect("put");
    let mut object = Vec::new();
    objects.get("object").await.expect("there").read_to_end(&mut object).await.expect("read");
    assert_eq!(object, text.as_bytes());
    let messages = made.get_info().await.expect("info").state.messages;
    (messages, got, bucket.get("key").await.expect("there"), object.len())
}

#[tokio::test]
async fn compressed_streams_buckets_and_objects_are_as_with_nats_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let ours = use_all(leafd.client().await).await;
    if common::have(&hub::binary()) {
        let config = format!("jetstream {{ store_dir: {:?} }}\n", dir.path().join("nats"));
        let nats = common::NatsServer::start(&config).await;
        assert_eq!(ours, use_all(nats.client().await).await);
    }
    leafd.kill9();
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let stream = context.get_stream("S").await.expect("there");
    assert_eq!(stream.cached_info().state.messages, 1001);
    assert_eq!(stream.get_raw_message(500).await.expect("there").payload, reading(499).as_bytes());
    let bucket = context.get_key_value("B").await.expect("there");
    assert_eq!(bucket.get("key").await.expect("there").expect("a value"), reading(19).as_bytes());
    let mut object = Vec::new();
    let objects = context.get_object_store("O").await.expect("there");
    objects.get("object").await.expect("there").read_to_end(&mut object).await.expect("read");
    assert_eq!(object.len(), 1_300_000);
}
