//! Mirrors and sources, within leafd and across the leaf link in both directions, with a real nats-server as the hub.

mod common;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, Context};
use common::{LIMIT, Leafd, hub, wait_for};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

async fn api(client: &async_nats::Client, verb: &str, body: Value) -> Value {
    let answer = client.request(format!("$JS.API.{verb}"), body.to_string().into()).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert!(answer["error"].is_null(), "{verb} {body}: {answer}");
    answer
}

async fn publish(client: &async_nats::Client, subject: &str, from: u64, to: u64) {
    let context = jetstream::new(client.clone());
    for n in from..=to {
        let ack = context.publish(subject.to_owned(), n.to_string().into()).await.expect("sent");
        ack.await.expect("stored");
    }
}

/// Subjects, sequences and bodies of all messages of a stream, once there are `count` of them.
async fn contents(client: &async_nats::Client, stream: &str, count: u64) -> Vec<(String, u64, String)> {
    let context: Context = jetstream::new(client.clone());
    let what = format!("{count} messages in {stream}");
    let (first, last) = wait_for(&what, LIMIT, || async {
        let info = api(client, &format!("STREAM.INFO.{stream}"), json!({})).await;
        let state = &info["state"];
        assert!(state["messages"].as_u64() <= Some(count), "too many: {info}");
        (state["messages"] == count).then(|| (state["first_seq"].as_u64(), state["last_seq"].as_u64()))
    })
    .await;
    let stream = context.get_stream(stream).await.expect("it is there");
    let mut all = Vec::new();
    for seq in first.expect("a number")..=last.expect("a number") {
        if let Ok(message) = stream.get_raw_message(seq).await {
            all.push((message.subject.to_string(), seq, String::from_utf8_lossy(&message.payload).into_owned()));
        }
    }
    all
}

fn rows(subject: &str, seqs: impl IntoIterator<Item = u64>) -> Vec<(String, u64, String)> {
    seqs.into_iter().map(|seq| (subject.to_owned(), seq, seq.to_string())).collect()
}

#[tokio::test]
async fn a_mirror_keeps_sequences_and_sources_come_once_also_after_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
    api(&client, "STREAM.CREATE.P", json!({"name": "P", "subjects": ["p.*"]})).await;
    publish(&client, "o.a", 1, 20).await;
    api(&client, "STREAM.MSG.DELETE.O", json!({"seq": 3})).await;
    api(&client, "STREAM.CREATE.M", json!({"name": "M", "mirror": {"name": "O"}})).await;
    let sources = json!([
        {"name": "O", "filter_subject": "o.a"},
        {"name": "P", "subject_transforms": [{"src": "p.*", "dest": "from.p.{{wildcard(1)}}"}]},
    ]);
    api(&client, "STREAM.CREATE.S", json!({"name": "S", "sources": sources})).await;
    assert_eq!(contents(&client, "M", 19).await, rows("o.a", (1..=20).filter(|seq| *seq != 3)));
    contents(&client, "S", 19).await;
    leafd.restart();
    let client = leafd.client().await;
    publish(&client, "o.a", 21, 30).await;
    publish(&client, "p.x", 1, 5).await;
    assert_eq!(contents(&client, "M", 29).await, rows("o.a", (1..=30).filter(|seq| *seq != 3)));
    let all = contents(&client, "S", 34).await;
    let bodies = |subject: &str| all.iter().filter(|row| row.0 == subject).map(|row| row.2.clone()).collect::<Vec<_>>();
    let expected: Vec<String> = (1..=30).filter(|n| *n != 3).map(|n: u64| n.to_string()).collect();
    assert_eq!(bodies("o.a"), expected);
    assert_eq!(bodies("from.p.x"), ["1", "2", "3", "4", "5"]);
    let info = api(&client, "STREAM.INFO.M", json!({})).await;
    assert_eq!((&info["mirror"]["name"], &info["mirror"]["lag"]), (&json!("O"), &json!(0)), "{info}");
}

struct Hub {
    child: Child,
    clients: SocketAddr,
    leafs: SocketAddr,
}

impl Hub {
    /// A hub without users, in the JetStream domain `hub`.
    async fn start(dir: &Path) -> Hub {
        let config = format!(
            "server_name: hub\nlisten: \"127.0.0.1:-1\"\nports_file_dir: {dir:?}\njetstream {{ store_dir: {:?}, domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:-1\" }}\n",
            dir.join("data")
        );
        fs::write(dir.join("hub.conf"), config).expect("written");
        let log = fs::File::create(dir.join("hub.log")).expect("a log");
        let mut command = Command::new(hub::binary());
        command.arg("-c").arg(dir.join("hub.conf")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nats-server starts");
        let ports = dir.join(format!("nats-server_{}.ports", child.id()));
        let clients = wait_for("the hub's ports file", LIMIT, || async { hub::read_port(&ports) }).await;
        let leafs = wait_for("the hub's leaf port in its log", LIMIT, || async {
            let log = fs::read_to_string(dir.join("hub.log")).unwrap_or_default();
            let (_, address) = log.rsplit_once("Listening for leafnode connections on ")?;
            address.split_once('\n')?.0.trim().parse().ok()
        })
        .await;
        Hub { child, clients, leafs }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn streams_mirror_each_other_across_the_leaf_link() {
    if !common::have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path()).await;
    let crossing = r#"["$JS.hub.API.>", "$JS.gw1.API.>", "$JS.M.>", "$JS.S.>", "$JS.FC.>", "$JSC.>", "_INBOX.>"]"#;
    let remote = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://{}\"]\nexport = {crossing}\nimport = {crossing}\n",
        hub.leafs
    );
    let mut leafd = Leafd::new(dir.path(), &remote);
    leafd.start();
    let here = leafd.client().await;
    let there = async_nats::connect(hub.clients.to_string()).await.expect("the hub takes clients");
    api(&there, "STREAM.CREATE.RECIPES", json!({"name": "RECIPES", "subjects": ["recipes.*"]})).await;
    publish(&there, "recipes.a", 1, 10).await;
    let mirror = json!({"name": "RECIPES", "external": {"api": "$JS.hub.API", "deliver": ""}});
    api(&here, "STREAM.CREATE.RECIPES", json!({"name": "RECIPES", "mirror": mirror})).await;
    assert_eq!(contents(&here, "RECIPES", 10).await, rows("recipes.a", 1..=10));
    publish(&there, "recipes.a", 11, 15).await;
    assert_eq!(contents(&here, "RECIPES", 15).await, rows("recipes.a", 1..=15));

    api(&here, "STREAM.CREATE.EVENTS", json!({"name": "EVENTS", "subjects": ["events.*"]})).await;
    publish(&here, "events.a", 1, 10).await;
    let mirror = json!({"name": "EVENTS", "external": {"api": "$JS.gw1.API", "deliver": ""}});
    api(&there, "STREAM.CREATE.EVENTS", json!({"name": "EVENTS", "mirror": mirror})).await;
    let sources = json!([{"name": "EVENTS", "external": {"api": "$JS.gw1.API", "deliver": ""}}]);
    api(&there, "STREAM.CREATE.ALL", json!({"name": "ALL", "sources": sources})).await;
    assert_eq!(contents(&there, "EVENTS", 10).await, rows("events.a", 1..=10));
    publish(&here, "events.a", 11, 15).await;
    assert_eq!(contents(&there, "EVENTS", 15).await, rows("events.a", 1..=15));
    assert_eq!(contents(&there, "ALL", 15).await, rows("events.a", 1..=15));
}

/// Waits until the work queue is empty: what was read through its consumer has been acknowledged.
async fn emptied(client: &async_nats::Client, stream: &str) {
    wait_for("an empty work queue", LIMIT, || async {
        let info = api(client, &format!("STREAM.INFO.{stream}"), json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;
}

/// The stream that answers a direct get of the last message on `subject` in `stream`, and the body.
async fn direct(client: &async_nats::Client, stream: &str, subject: &str) -> Option<(String, String)> {
    let asked = client.request(format!("$JS.API.DIRECT.GET.{stream}.{subject}"), "".into()).await.ok()?;
    let by = asked.headers?.get("Nats-Stream")?.to_string();
    Some((by, String::from_utf8_lossy(&asked.payload).into_owned()))
}

#[tokio::test]
async fn a_mirror_answers_direct_gets_for_its_origin_also_while_the_hub_is_away() {
    if !common::have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path()).await;
    let crossing = r#"["$JS.hub.API.>", "$JS.M.>", "$JS.FC.>", "_INBOX.>"]"#;
    let remote = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://{}\"]\nexport = {crossing}\nimport = {crossing}\n",
        hub.leafs
    );
    let mut leafd = Leafd::new(dir.path(), &remote);
    leafd.start();
    let here = leafd.client().await;
    let there = async_nats::connect(hub.clients.to_string()).await.expect("the hub takes clients");
    let bucket = jetstream::kv::Config { bucket: "config".to_owned(), history: 3, ..Default::default() };
    let bucket = jetstream::new(there.clone()).create_key_value(bucket).await.expect("a bucket at the hub");
    bucket.put("line.speed", "7".into()).await.expect("put at the hub");
    let mirror = json!({"name": "KV_config", "external": {"api": "$JS.hub.API", "deliver": ""}});
    for name in ["KV_config", "COPY"] {
        let config = json!({"name": name, "mirror": mirror, "mirror_direct": true, "max_msgs_per_subject": 3});
        api(&here, &format!("STREAM.CREATE.{name}"), config).await;
        contents(&here, name, 1).await;
    }
    drop(hub);
    leafd.restart();
    let here = leafd.client().await;
    let local = jetstream::new(here.clone()).get_key_value("config").await.expect("the bucket is here");
    assert_eq!(local.get("line.speed").await.expect("read without the hub").as_deref(), Some(&b"7"[..]));
    api(&here, "STREAM.DELETE.KV_config", json!({})).await;
    let expected = Some(("COPY".to_owned(), "7".to_owned()));
    assert_eq!(direct(&here, "KV_config", "$KV.config.line.speed").await, expected);
    let config = json!({"name": "COPY", "mirror": mirror, "mirror_direct": false, "max_msgs_per_subject": 3});
    api(&here, "STREAM.UPDATE.COPY", config).await;
    assert_eq!(direct(&here, "KV_config", "$KV.config.line.speed").await, None);
}

#[tokio::test]
async fn a_mirror_that_has_caught_up_helps_an_origin_beside_it_and_one_that_has_not_does_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"], "allow_direct": true})).await;
    publish(&client, "o.a", 1, 5).await;
    api(&client, "STREAM.CREATE.M", json!({"name": "M", "mirror": {"name": "O"}})).await;
    // Its origin is not there, so it never catches up.
    let config = json!({"name": "N", "mirror": {"name": "ABSENT"}, "mirror_direct": true});
    api(&client, "STREAM.CREATE.N", config).await;
    wait_for("an answer by the mirror", LIMIT, || async {
        let (by, body) = direct(&client, "O", "o.a").await.expect("one of them answers");
        assert_eq!(body, "5");
        (by == "M").then_some(())
    })
    .await;
    assert_eq!(direct(&client, "ABSENT", "o.a").await, None);
}

#[tokio::test]
async fn a_source_goes_on_where_it_was_when_none_of_its_messages_is_left() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
    publish(&client, "o.a", 1, 10).await;
    api(&client, "STREAM.CREATE.S", json!({"name": "S", "sources": [{"name": "O"}]})).await;
    contents(&client, "S", 10).await;
    api(&client, "STREAM.PURGE.S", json!({})).await;
    leafd.restart();
    let client = leafd.client().await;
    publish(&client, "o.a", 11, 12).await;
    let rows = |seqs: [u64; 2]| seqs.map(|seq| ("o.a".to_owned(), seq, seq.to_string())).to_vec();
    assert_eq!(contents(&client, "S", 2).await, rows([11, 12]));
    // Another stream of that name is read from its start.
    api(&client, "STREAM.DELETE.O", json!({})).await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
    publish(&client, "o.a", 13, 14).await;
    let all = contents(&client, "S", 4).await;
    assert_eq!(all[2..], rows([13, 14]));
}

/// What `consumer` of `stream` gives out and takes the acknowledgement of, up to the body `last`.
async fn consumed(client: &async_nats::Client, stream: &str, consumer: &str, last: u64) -> Vec<u64> {
    let context = jetstream::new(client.clone());
    let consumer: PullConsumer = context.get_consumer_from_stream(consumer, stream).await.expect("it is there");
    let mut messages = consumer.messages().await.expect("messages");
    let mut all = Vec::new();
    while all.last() != Some(&last) {
        let message =
            tokio::time::timeout(LIMIT, messages.next()).await.expect("in time").expect("open").expect("sound");
        all.push(String::from_utf8_lossy(&message.payload).parse().expect("a number"));
        message.double_ack().await.expect("acknowledged");
    }
    all
}

#[tokio::test]
async fn what_was_acknowledged_of_a_source_does_not_come_again_after_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let mut client = leafd.client().await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
    let queue = json!({"name": "S", "sources": [{"name": "O"}], "retention": "workqueue"});
    api(&client, "STREAM.CREATE.S", queue).await;
    let consumer = json!({"durable_name": "d", "ack_policy": "explicit"});
    api(&client, "CONSUMER.CREATE.S.d", json!({"stream_name": "S", "config": consumer})).await;
    for round in 0..5 {
        let (from, to) = (10 * round + 1, 10 * round + 10);
        publish(&client, "o.a", from, to).await;
        assert_eq!(consumed(&client, "S", "d", to).await, (from..=to).collect::<Vec<_>>());
        if round % 2 == 0 {
            emptied(&client, "S").await;
        }
        leafd.restart();
        client = leafd.client().await;
    }
    api(&client, "STREAM.PURGE.S", json!({})).await;
    publish(&client, "o.a", 51, 51).await;
    assert_eq!(consumed(&client, "S", "d", 51).await, [51]);
}

#[tokio::test]
async fn a_work_queue_is_read_through_its_consumer_and_acknowledged_when_it_is_on_disk_here() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    let queue = json!({"name": "Q", "subjects": ["q.*"], "retention": "workqueue"});
    api(&client, "STREAM.CREATE.Q", queue).await;
    let consumer = json!({"durable_name": "d", "deliver_subject": "deliver.q", "ack_policy": "flow_control"});
    let made = api(&client, "CONSUMER.CREATE.Q.d", json!({"stream_name": "Q", "config": consumer})).await;
    assert_eq!(
        (&made["config"]["flow_control"], &made["config"]["idle_heartbeat"]),
        (&json!(true), &json!(1_000_000_000))
    );
    publish(&client, "q.a", 1, 10).await;
    let sources = json!([{"name": "Q", "consumer": {"name": "d", "deliver_subject": "deliver.q"}}]);
    api(&client, "STREAM.CREATE.S", json!({"name": "S", "sources": sources})).await;
    assert_eq!(contents(&client, "S", 10).await, rows("q.a", 1..=10));
    emptied(&client, "Q").await;
    publish(&client, "q.a", 11, 15).await;
    leafd.restart();
    let client = leafd.client().await;
    publish(&client, "q.a", 16, 20).await;
    assert_eq!(contents(&client, "S", 20).await, rows("q.a", 1..=20));
    emptied(&client, "Q").await;
}

#[tokio::test]
async fn a_source_that_finds_its_stream_full_is_told_once_and_once_when_it_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    api(&client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
    publish(&client, "o.a", 1, 10).await;
    let full = json!({"name": "S", "sources": [{"name": "O"}], "max_msgs": 5, "discard": "new"});
    api(&client, "STREAM.CREATE.S", full).await;
    wait_for("it has tried again", LIMIT, || async {
        let status = leafd.status()?;
        let origin = &status["origins"][0];
        (origin["retries"].as_u64()? >= 2 && origin["error"].is_string()).then_some(())
    })
    .await;
    api(&client, "STREAM.PURGE.S", json!({})).await;
    contents(&client, "S", 5).await;
    leafd.wait_log("takes messages again", 0);
    let log = leafd.log();
    for line in [
        "source O of stream S: the stream does not take the next message",
        "source O of stream S: takes messages again",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[tokio::test]
async fn an_origin_that_is_read_through_its_consumer_and_made_anew_is_noticed() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let mut client = leafd.client().await;
    let origin = async |client: &async_nats::Client| {
        api(client, "STREAM.CREATE.O", json!({"name": "O", "subjects": ["o.*"]})).await;
        for name in ["m", "s"] {
            let deliver = format!("deliver.{name}");
            let config = json!({"durable_name": name, "deliver_subject": deliver, "ack_policy": "flow_control"});
            api(client, &format!("CONSUMER.CREATE.O.{name}"), json!({"stream_name": "O", "config": config})).await;
        }
    };
    let through =
        |name: &str| json!({"name": "O", "consumer": {"name": name, "deliver_subject": format!("deliver.{name}")}});
    origin(&client).await;
    publish(&client, "o.a", 1, 10).await;
    api(&client, "STREAM.CREATE.M", json!({"name": "M", "mirror": through("m")})).await;
    api(&client, "STREAM.CREATE.S", json!({"name": "S", "sources": [through("s")]})).await;
    for stream in ["M", "S"] {
        assert_eq!(contents(&client, stream, 10).await, rows("o.a", 1..=10));
    }
    for (restarts, mirror) in [(false, 10), (true, 12)] {
        api(&client, "STREAM.DELETE.O", json!({})).await;
        if restarts {
            leafd.restart();
            client = leafd.client().await;
        }
        origin(&client).await;
        publish(&client, "o.a", 11, 22).await;
        let all = (1..=10).chain(11..23).chain(if restarts { 11..23 } else { 0..0 });
        let count = if restarts { 34 } else { 22 };
        let bodies: Vec<String> = contents(&client, "S", count).await.into_iter().map(|(_, _, body)| body).collect();
        assert!(bodies.into_iter().eq(all.map(|n| n.to_string())), "a source has all streams there were");
        wait_for("the mirror says so", LIMIT, || async {
            let info = api(&client, "STREAM.INFO.M", json!({})).await;
            info.pointer("/mirror/error/description")?.as_str()?.contains("made anew").then_some(())
        })
        .await;
        assert_eq!(contents(&client, "M", mirror).await.len() as u64, mirror, "a mirror mixes nothing");
        // As it is told to do.
        api(&client, "STREAM.DELETE.M", json!({})).await;
        api(&client, "STREAM.CREATE.M", json!({"name": "M", "mirror": through("m")})).await;
        assert_eq!(contents(&client, "M", 12).await.len(), 12);
    }
}

#[tokio::test]
async fn a_work_queue_is_mirrored_by_the_hub_and_acknowledged() {
    if !common::have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path()).await;
    let crossing = r#"["$JS.gw1.API.>", "$JS.M.>", "$JS.S.>", "$JS.FC.>", "$JSC.>", "_INBOX.>"]"#;
    let remote = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://{}\"]\nexport = {crossing}\nimport = {crossing}\n",
        hub.leafs
    );
    let mut leafd = Leafd::new(dir.path(), &remote);
    leafd.start();
    let here = leafd.client().await;
    let there = async_nats::connect(hub.clients.to_string()).await.expect("the hub takes clients");
    api(&here, "STREAM.CREATE.Q", json!({"name": "Q", "subjects": ["q.*"], "retention": "workqueue"})).await;
    publish(&here, "q.a", 1, 10).await;
    let sources = json!([{"name": "Q", "external": {"api": "$JS.gw1.API", "deliver": ""}}]);
    api(&there, "STREAM.CREATE.ALL", json!({"name": "ALL", "sources": sources})).await;
    assert_eq!(contents(&there, "ALL", 10).await, rows("q.a", 1..=10));
    emptied(&here, "Q").await;
    publish(&here, "q.a", 11, 15).await;
    assert_eq!(contents(&there, "ALL", 15).await, rows("q.a", 1..=15));
    emptied(&here, "Q").await;
}

#[tokio::test]
async fn how_a_mirror_stands_is_told_here_and_that_its_origin_is_gone_is_an_event() {
    if !common::have(&hub::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::start(dir.path()).await;
    let crossing = r#"["$JS.hub.API.>", "$JS.M.>", "$JS.FC.>", "_INBOX.>"]"#;
    let remote = format!(
        "[[leaf.remote]]\nname = \"hub\"\nurls = [\"nats-leaf://{}\"]\nexport = {crossing}\nimport = {crossing}\n[http]\nport = 0\n",
        hub.leafs
    );
    let mut leafd = Leafd::new(dir.path(), &remote);
    leafd.start();
    let here = leafd.client().await;
    let there = async_nats::connect(hub.clients.to_string()).await.expect("the hub takes clients");
    api(&there, "STREAM.CREATE.RECIPES", json!({"name": "RECIPES", "subjects": ["recipes.*"]})).await;
    publish(&there, "recipes.a", 1, 10).await;
    api(&there, "STREAM.MSG.DELETE.RECIPES", json!({"seq": 3})).await;
    let mirror = json!({"name": "RECIPES", "external": {"api": "$JS.hub.API", "deliver": ""}});
    api(&here, "STREAM.CREATE.COPY", json!({"name": "COPY", "mirror": mirror})).await;
    contents(&here, "COPY", 9).await;
    let status = wait_for("the mirror is up to date", LIMIT, || async {
        let status = leafd.status()?["origins"][0].clone();
        (status["state"] == "up to date" && status["last_seq"] == 10).then_some(status)
    })
    .await;
    for (key, value) in [
        ("stream", json!("COPY")),
        ("kind", json!("mirror")),
        ("origin", json!("RECIPES")),
        ("api", json!("$JS.hub.API")),
        ("backlog_messages", json!(0)),
        ("received", json!(9)),
        ("gaps", json!(1)),
    ] {
        assert_eq!(status[key], value, "{key}: {status}");
    }
    let mut events = here.subscribe("$LEAFD.EVENT.ORIGIN.>").await.expect("subscribed");
    let answer = here.request("$LEAFD.ORIGIN.COPY.RECIPES", "".into()).await.expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert_eq!((&answer["up"], &answer["gaps"]), (&json!(true), &json!(1)), "{answer}");
    let page = common::http::get(&format!("{}/metrics", leafd.port("monitoring")), "", None).await.body;
    let line = "leafd_origin_gap_messages_total{stream=\"COPY\",origin=\"RECIPES\",kind=\"mirror\"} 1";
    assert!(page.contains(line), "{page}");
    for page in ["jsz", "leafz"] {
        let page = common::http::get(&format!("{}/{page}", leafd.port("monitoring")), "", None).await.json();
        assert_eq!((&page["origins"][0]["stream"], &page["origins"][0]["gaps"]), (&json!("COPY"), &json!(1)), "{page}");
        assert!(page["server_id"].is_string(), "{page}");
    }

    // What was not asked for is no gap.
    for (name, more) in [
        ("LATER", json!({"opt_start_seq": 6})),
        ("FEW", json!({"subject_transforms": [{"src": "recipes.b", "dest": "b"}]})),
    ] {
        let mut mirror = mirror.clone();
        mirror.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        api(&here, &format!("STREAM.CREATE.{name}"), json!({"name": name, "mirror": mirror})).await;
    }
    publish(&there, "recipes.b", 11, 12).await;
    for (name, received) in [("LATER", 7), ("FEW", 2)] {
        wait_for("what was asked for, and no gap", LIMIT, || async {
            let status = leafd.status()?;
            let status = status["origins"].as_array()?.iter().find(|status| status["stream"] == name)?;
            (status["received"] == received && status["gaps"] == 0).then_some(())
        })
        .await;
    }

    drop(hub);
    let gone = async {
        loop {
            let event = futures_util::StreamExt::next(&mut events).await.expect("an event");
            let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
            if event["changed"].as_array().expect("a list").contains(&json!("up")) && event["up"] == false {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("that the origin is gone is told");
}
