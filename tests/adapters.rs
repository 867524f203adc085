//! Sensors and what befalls them: brokers that restart or forget, devices that are unplugged, streams that are full.

mod common;

use async_nats::jetstream;
use common::{LIMIT, Leafd, Mosquitto, Pty, wait_for};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

const STREAM: &str = "READINGS";

/// The adapter of a broker.
fn mqtt(port: u16, filters: &[&str]) -> String {
    let topics: Vec<String> = filters.iter().map(|filter| format!("{{ filter = {filter:?} }}")).collect();
    format!(
        "[[adapter.mqtt]]\nname = \"line1\"\nurl = \"mqtt://127.0.0.1:{port}\"\ntopics = [{}]\nsubject = \"r.{{topic}}\"\ncommand = \"c.line1\"\n",
        topics.join(", ")
    )
}

/// The adapter of a device.
fn serial(path: &Path) -> String {
    format!(
        "[[adapter.serial]]\nname = \"scale1\"\nport = {path:?}\nbaud = 115200\nsubject = \"r.scale1\"\ncommand = \"c.scale1\"\n"
    )
}

/// The stream that takes the readings.
async fn stream(leafd: &Leafd, config: jetstream::stream::Config) -> jetstream::stream::Stream {
    let config = jetstream::stream::Config { name: STREAM.to_owned(), subjects: vec!["r.>".to_owned()], ..config };
    jetstream::new(leafd.client().await).get_or_create_stream(config).await.expect("a stream")
}

/// Payloads by subject, in the stream's order.
async fn stored(leafd: &Leafd) -> BTreeMap<String, Vec<String>> {
    let context = jetstream::new(leafd.client().await);
    let mut stream = context.get_stream(STREAM).await.expect("it is there");
    let state = stream.info().await.expect("answers").state.clone();
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for seq in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(seq).await {
            let payload = String::from_utf8_lossy(&message.payload).into_owned();
            all.entry(message.subject.to_string()).or_default().push(payload);
        }
    }
    all
}

/// Waits until the adapter shows what is wanted, and gives it.
async fn adapter(leafd: &Leafd, what: &str, condition: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    wait_for(what, LIMIT, || async {
        leafd.status().map(|status| status["adapters"][0].clone()).filter(|adapter| condition(adapter))
    })
    .await
}

async fn ok(leafd: &Leafd) {
    adapter(leafd, "the adapter is ok", |adapter| adapter["state"] == "ok").await;
}

async fn stored_count(leafd: &Leafd, count: u64) {
    adapter(leafd, &format!("{count} readings are stored"), |adapter| adapter["stored"] == count).await;
}

/// Publishes with QoS 1 and waits for the broker's receipts.
async fn publish(port: u16, topic: &str, payloads: impl IntoIterator<Item = String>) {
    let mut options = MqttOptions::new(format!("sensor{}", fastrand::u32(..)), "127.0.0.1", port);
    options.set_inflight(50);
    let (client, mut events) = AsyncClient::new(options, 10_000);
    let mut count = 0;
    for payload in payloads {
        client.try_publish(topic, QoS::AtLeastOnce, false, payload).expect("queued");
        count += 1;
    }
    while count > 0 {
        let event = tokio::time::timeout(LIMIT, events.poll()).await.expect("in time").expect("connected");
        count -= u32::from(matches!(event, Event::Incoming(Incoming::PubAck(_))));
    }
    let _ = client.try_disconnect();
    while events.poll().await.is_ok() {}
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_restarts_or_forgets_its_sessions_is_found_again() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut broker = Mosquitto::start();
    let mut leafd = Leafd::new(dir.path(), &mqtt(broker.port, &["s/#"]));
    leafd.start();
    stream(&leafd, Default::default()).await;
    ok(&leafd).await;
    publish(broker.port, "s/a", numbers(0..50)).await;
    stored_count(&leafd, 50).await;

    // What comes while leafd is away waits in the session.
    leafd.kill9();
    publish(broker.port, "s/a", numbers(50..100)).await;
    leafd.start();
    stored_count(&leafd, 50).await;

    // A restart with what was saved, then one without.
    broker.stop();
    adapter(&leafd, "the broker is missed", |adapter| {
        adapter["state"].as_str().is_some_and(|state| state.contains("is not usable"))
    })
    .await;
    broker.start_again();
    ok(&leafd).await;
    publish(broker.port, "s/a", numbers(100..150)).await;
    stored_count(&leafd, 100).await;
    broker.stop();
    broker.forget();
    broker.start_again();
    wait_for("the subscription is made anew", LIMIT, || async {
        broker.log().rsplit("terminating").next().is_some_and(|log| log.contains("s/# (QoS 1)")).then_some(())
    })
    .await;
    publish(broker.port, "s/a", numbers(150..200)).await;
    stored_count(&leafd, 150).await;
    assert_eq!(stored(&leafd).await["r.s.a"], numbers(0..200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_messages_after_a_brokers_restart_are_each_stored() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut broker = Mosquitto::start();
    let mut leafd = Leafd::new(dir.path(), &mqtt(broker.port, &["s/#"]));
    leafd.start();
    stream(&leafd, Default::default()).await;
    for round in 1..=3 {
        ok(&leafd).await;
        publish(broker.port, "s/door", ["open".to_owned(), "shut".to_owned()]).await;
        stored_count(&leafd, 2 * round).await;
        // Its packet ids begin at 1 again.
        broker.stop();
        broker.start_again();
    }
    leafd.kill9();
    leafd.start();
    ok(&leafd).await;
    publish(broker.port, "s/door", ["open".to_owned(), "shut".to_owned()]).await;
    stored_count(&leafd, 2).await;
    assert_eq!(stored(&leafd).await["r.s.door"], ["open", "shut"].repeat(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_leaves_the_readings_at_the_broker_and_takes_them_when_it_has_room() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    // It sends more ahead than leafd keeps in memory.
    let broker = Mosquitto::with_inflight(0);
    let mut leafd = Leafd::new(dir.path(), &mqtt(broker.port, &["s/#"]));
    leafd.start();
    let config = jetstream::stream::Config {
        max_messages: 100,
        discard: jetstream::stream::DiscardPolicy::New,
        ..Default::default()
    };
    stream(&leafd, config).await;
    ok(&leafd).await;
    publish(broker.port, "s/a", numbers(0..5000)).await;
    adapter(&leafd, "the full stream is seen", |adapter| {
        adapter["stored"] == 100 && adapter["state"].as_str().is_some_and(|s| s.contains("maximum messages exceeded"))
    })
    .await;
    // The broker is only told of what is on disk, so a kill costs nothing.
    leafd.kill9();
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let mut stream = context.get_stream(STREAM).await.expect("it is there");
    let mut all = Vec::new();
    let until = Instant::now() + 2 * LIMIT;
    while all.last().map(String::as_str) != Some("4999") {
        assert!(Instant::now() < until, "only {} readings have come through", all.len());
        let state = stream.info().await.expect("answers").state.clone();
        for seq in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(seq).await.expect("it is there");
            all.push(String::from_utf8_lossy(&message.payload).into_owned());
        }
        stream.purge().sequence(state.last_sequence + 1).await.expect("purged");
    }
    assert_eq!(all, numbers(0..5000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_no_stream_can_ever_take_is_dropped_and_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let pty = Pty::new(&dir.path().join("scale1"));
    let mut leafd = Leafd::new(dir.path(), &serial(&pty.path));
    leafd.start();
    stream(&leafd, jetstream::stream::Config { max_message_size: 100, ..Default::default() }).await;
    ok(&leafd).await;
    let mut device = &pty.device;
    writeln!(device, "one\n{}\n{}\ntwo", "x".repeat(200), "y".repeat(600)).expect("written");
    let adapter = adapter(&leafd, "both good ones are stored", |adapter| adapter["stored"] == 2).await;
    assert_eq!(adapter["dropped"], 2, "one too long for the stream, one too long for a line: {adapter}");
    assert_eq!(stored(&leafd).await["r.scale1"], ["one", "two"]);
    assert!(leafd.log().contains("message size exceeds maximum allowed"), "{}", leafd.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_unplugged_is_found_again_and_its_commands_are_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("scale1");
    let pty = Pty::new(&path);
    let mut leafd = Leafd::new(dir.path(), &serial(&path));
    leafd.start();
    stream(&leafd, Default::default()).await;
    ok(&leafd).await;
    let client = leafd.client().await;
    let command = |text: &'static str| {
        let client = client.clone();
        async move {
            let answer = client.request("c.scale1", text.into()).await.expect("answered");
            String::from_utf8_lossy(&answer.payload).into_owned()
        }
    };
    writeln!(&pty.device, "1").expect("written");
    stored_count(&leafd, 1).await;
    assert_eq!(command("tare").await, "+OK");
    let mut text = [0; 5];
    (&pty.device).read_exact(&mut text).expect("read");
    assert_eq!(&text, b"tare\n");
    assert!(command("two\nlines").await.starts_with("-ERR a command is one line"));

    drop(pty);
    std::fs::remove_file(&path).expect("removed");
    adapter(&leafd, "the device is missed", |adapter| {
        adapter["state"].as_str().is_some_and(|state| state.contains("is not usable"))
    })
    .await;
    assert_eq!(command("tare").await, "-ERR the device is not there");

    let pty = Pty::new(&path);
    ok(&leafd).await;
    writeln!(&pty.device, "2").expect("written");
    stored_count(&leafd, 2).await;
    assert_eq!(stored(&leafd).await["r.scale1"], ["1", "2"]);
    let adapter = leafd.status().expect("answers")["adapters"][0].clone();
    assert_eq!((&adapter["commands"], &adapter["commands_failed"]), (&1.into(), &2.into()), "{adapter}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_to_a_broker_is_answered_when_the_broker_has_it() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut broker = Mosquitto::start();
    let mut leafd = Leafd::new(dir.path(), &mqtt(broker.port, &["s/#"]));
    leafd.start();
    ok(&leafd).await;
    let (listener, mut events) = AsyncClient::new(MqttOptions::new("valve", "127.0.0.1", broker.port), 10);
    listener.subscribe("valve/1.5/set", QoS::AtLeastOnce).await.expect("queued");
    while !matches!(events.poll().await.expect("connected"), Event::Incoming(Incoming::SubAck(_))) {}
    let client = leafd.client().await;
    let request = |subject: &'static str| {
        let client = client.clone();
        async move {
            let answer = client.request(subject, "open".into()).await.expect("answered");
            String::from_utf8_lossy(&answer.payload).into_owned()
        }
    };
    assert_eq!(request("c.line1.valve.1//5.set").await, "+OK");
    let heard = loop {
        if let Event::Incoming(Incoming::Publish(publish)) = events.poll().await.expect("connected") {
            break publish;
        }
    };
    assert_eq!((&*heard.topic, &heard.payload[..]), ("valve/1.5/set", &b"open"[..]));
    assert!(request("c.line1.valve.#").await.starts_with("-ERR"), "a filter is no topic");
    broker.stop();
    adapter(&leafd, "the broker is missed", |adapter| adapter["state"] != "ok").await;
    assert_eq!(request("c.line1.valve.1.set").await, "-ERR the broker is not connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_topics_and_leaves_other_adapters_alone() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start();
    let pty = Pty::new(&dir.path().join("scale1"));
    let config = |filters: &[&str]| serial(&pty.path) + &mqtt(broker.port, filters);
    let mut leafd = Leafd::new(dir.path(), &config(&["s/#", "old/#"]));
    leafd.start();
    stream(&leafd, Default::default()).await;
    let both_ok = || async {
        let status = leafd.status()?;
        let adapters = status["adapters"].as_array()?;
        (adapters.len() == 2 && adapters.iter().all(|adapter| adapter["state"] == "ok")).then_some(status.clone())
    };
    wait_for("both adapters are ok", LIMIT, both_ok).await;
    writeln!(&pty.device, "1").expect("written");
    publish(broker.port, "old/a", numbers(0..3)).await;
    wait_for("all is stored", LIMIT, || async {
        let status = leafd.status()?;
        (status["adapters"][0]["stored"] == 1 && status["adapters"][1]["stored"] == 3).then_some(())
    })
    .await;
    leafd.configure(&config(&["s/#", "new/#"]));
    let before = leafd.log().len();
    leafd.hup();
    leafd.wait_log("1 adapters ended, 1 started", before);
    let status = wait_for("both adapters are ok", LIMIT, both_ok).await;
    assert_eq!(status["adapters"][0]["stored"], 1, "the serial adapter has not been touched: {status}");
    wait_for("the broker has forgotten the old topic and knows the new one", LIMIT, || async {
        let log = broker.log();
        let unsubscribed = log.rsplit("UNSUBSCRIBE").next().is_some_and(|rest| rest.contains("old/#"));
        (unsubscribed && log.contains("new/# (QoS 1)")).then_some(())
    })
    .await;
    publish(broker.port, "old/a", numbers(3..6)).await;
    publish(broker.port, "new/a", numbers(0..3)).await;
    wait_for("the new topic's readings are stored", LIMIT, || async {
        (leafd.status()?["adapters"][1]["stored"] == 3).then_some(())
    })
    .await;
    let stored = stored(&leafd).await;
    assert_eq!((&stored["r.old.a"], &stored["r.new.a"]), (&numbers(0..3), &numbers(0..3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end_the_broker_is_told_goodbye_and_of_all_that_is_on_disk() {
    if !common::have(&common::mosquitto::binary()) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Mosquitto::start();
    let mut leafd = Leafd::new(dir.path(), &mqtt(broker.port, &["s/#"]));
    leafd.start();
    stream(&leafd, Default::default()).await;
    ok(&leafd).await;
    let port = broker.port;
    let sensor = tokio::spawn(async move { publish(port, "s/a", numbers(0..3000)).await });
    adapter(&leafd, "readings come", |adapter| adapter["stored"].as_u64() > Some(100)).await;
    assert!(leafd.terminate().success());
    // Where more came than it had room for, there was no connection to say goodbye on.
    wait_for("goodbye in the broker's log", LIMIT, || async {
        let told = broker.log().contains("Received DISCONNECT from leafd-gw1-line1");
        (told || leafd.log().contains("the broker waits until the store takes readings again")).then_some(())
    })
    .await;
    sensor.await.expect("no panic");
    leafd.start();
    wait_for("all readings are stored", LIMIT, || async {
        let mut stream = jetstream::new(leafd.client().await).get_stream(STREAM).await.ok()?;
        (stream.info().await.ok()?.state.messages >= 3000).then_some(())
    })
    .await;
    assert_eq!(stored(&leafd).await["r.s.a"], numbers(0..3000));
}

/// A broker that refuses the subscription, as a real one does whose access rules say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_shown() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let broker = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("leafd comes");
        let packet = |peer: &mut std::net::TcpStream| {
            let mut head = [0; 2];
            peer.read_exact(&mut head).expect("a packet");
            let mut body = vec![0; usize::from(head[1])];
            peer.read_exact(&mut body).expect("whole");
            body
        };
        packet(&mut peer);
        peer.write_all(&[0x20, 2, 0, 0]).expect("CONNACK");
        let subscribe = packet(&mut peer);
        peer.write_all(&[0x90, 4, subscribe[0], subscribe[1], 1, 0x80]).expect("SUBACK");
        // Until leafd goes.
        let _ = peer.read(&mut [0; 64]);
    });
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), &mqtt(port, &["s/#", "secret/#"]));
    leafd.start();
    let adapter = adapter(&leafd, "the refusal is shown", |adapter| {
        adapter["state"].as_str().is_some_and(|state| state.contains("refuses"))
    })
    .await;
    let state = adapter["state"].as_str().expect("a text");
    assert!(state.contains("secret/#") && !state.contains("s/#,"), "{state}");
    drop(leafd);
    broker.join().expect("no panic");
}
