//! The main job on real parts: numbered readings from a serial device and an MQTT broker, while the link is cut, stalled and
//! reset, the hub restarted and leafd killed with -9. `LEAFD_SEED` replays a run.
//!
//! What leafd accepted is told by the ids under which its uplink delivers (`gateway:stream:epoch:sequence`): the hub's
//! stream must hold every sequence of the local stream once and in order. MQTT readings must all be there, because the
//! broker sends again what was not acknowledged. Serial readings may be missing only where a kill caught them between
//! the device and the disk; no device sends those again.

mod common;

use common::proxy::Link;
use common::{Gateway, Hub, Leafd, Mosquitto, Proxy, Pty, wait_for, within};
use futures_util::StreamExt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Readings of each source.
const READINGS: usize = 10_000;
/// Of those, sent when nothing breaks any more.
const CALM: usize = 100;
/// Readings of each source in a second.
const RATE: f64 = 320.0;
/// Serial readings that a kill may cost: what the kernel and the adapter hold.
const LOST_PER_KILL: usize = 1024;
/// How long the end may take to arrive.
const DRAIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Cut,
    Stall,
    Reset,
    HubEnds,
    HubKilled,
    Kill,
    KillWhileCut,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_reading_is_at_the_hub_once_and_in_order() {
    if !common::have(&common::hub::binary()) || !common::have(&common::mosquitto::binary()) {
        return;
    }
    let mut random = fastrand::Rng::with_seed(common::seed());
    let mut hub = Hub::start().await;
    let stream = hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let broker = Mosquitto::start();
    let dir = tempfile::tempdir().expect("a folder");
    let pty = Pty::new(&dir.path().join("scale1"));
    let gateway = Gateway::default().linked(&hub, proxy.address).serial("scale1", &pty.path).mqtt("line1", broker.port);
    let mut leafd = gateway.leafd(dir.path());
    leafd.start();

    let calm = Arc::new(AtomicBool::new(false));
    let (mqtt, acked) = mqtt_client(broker.port);
    wait_for("a first reading from the broker at the hub", common::LIMIT, || async {
        let _ = mqtt.publish("sensors/probe", rumqttc::QoS::AtLeastOnce, false, "probe").await;
        stream.get_last_raw_message_by_subject("plant1.gw1.telemetry.sensors.probe").await.ok()
    })
    .await;
    let began = Instant::now();
    let device = pty.device.try_clone().expect("a copy");
    let serial = std::thread::spawn({
        let calm = calm.clone();
        move || serial_readings(device, &calm)
    });
    let numbers = tokio::spawn(mqtt_readings(mqtt, calm.clone()));

    let blows = blows(&mut random);
    let mut kills = 0;
    for blow in &blows {
        pause(&mut random, 300..1500).await;
        eprintln!("{:6.2} s: {blow:?}", began.elapsed().as_secs_f64());
        kills += strike(*blow, &mut random, &proxy, &mut hub, &mut leafd, &pty).await;
        assert!(leafd.runs(), "leafd has ended by itself");
    }
    calm.store(true, Ordering::Relaxed);
    numbers.await.expect("published");
    serial.join().expect("written");
    wait_for("the broker has taken every reading", DRAIN, || async {
        (acked.load(Ordering::Relaxed) >= READINGS).then_some(())
    })
    .await;
    let produced = began.elapsed();

    let stream = hub.stream().await;
    for (subject, last) in [("sensors.line1", reading("mqtt", READINGS)), ("scale1", reading("serial", READINGS))] {
        let subject = format!("plant1.gw1.telemetry.{subject}");
        wait_for(&format!("the last reading of {subject} at the hub"), DRAIN, || async {
            let found = stream.get_last_raw_message_by_subject(&subject).await.ok()?;
            (found.payload == last.as_bytes()).then_some(())
        })
        .await;
    }
    let local = async_nats::jetstream::new(leafd.client().await);
    let accepted =
        local.get_stream("UPLINK_telemetry").await.expect("the uplink's stream").cached_info().state.last_sequence;
    wait_for("the hub holds as many as leafd accepted", DRAIN, || async {
        let state = hub.stream().await.cached_info().state.clone();
        (state.messages >= accepted).then_some(())
    })
    .await;
    check(&stream, accepted, kills, &blows, produced, began).await;
    let violations: Vec<_> = hub.log().lines().filter(|line| line.contains("iolation")).map(str::to_owned).collect();
    assert!(violations.is_empty(), "the hub saw what it does not allow: {violations:#?}");
    assert!(leafd.terminate().success(), "SIGTERM ends with status 0");
}

fn reading(source: &str, number: usize) -> String {
    format!("{source} n={number:06} end")
}

fn number(payload: &str, source: &str) -> Option<usize> {
    payload.strip_prefix(source)?.strip_prefix(" n=")?.strip_suffix(" end")?.parse().ok()
}

fn blows(random: &mut fastrand::Rng) -> Vec<Blow> {
    let of = |blow, times| std::iter::repeat_n(blow, times);
    let mut blows: Vec<_> = of(Blow::Cut, 3)
        .chain(of(Blow::Stall, 3))
        .chain(of(Blow::Reset, 5))
        .chain(of(Blow::HubEnds, 2))
        .chain(of(Blow::HubKilled, 2))
        .chain(of(Blow::Kill, 3))
        .chain(of(Blow::KillWhileCut, 2))
        .collect();
    random.shuffle(&mut blows);
    blows
}

/// How long something lasts; the time is part of the scenario, nothing is awaited by it.
async fn pause(random: &mut fastrand::Rng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.u64(millis))).await;
}

/// Carries out one blow and mends what it broke; returns the kills of leafd.
async fn strike(
    blow: Blow,
    random: &mut fastrand::Rng,
    proxy: &Proxy,
    hub: &mut Hub,
    leafd: &mut Leafd,
    pty: &Pty,
) -> usize {
    match blow {
        Blow::Cut | Blow::Stall => {
            proxy.set(if blow == Blow::Cut { Link::Cut } else { Link::Stalled });
            pause(random, 200..3000).await;
            proxy.set(Link::Open);
            0
        }
        Blow::Reset => {
            proxy.set(Link::Reset(random.usize(1..400)));
            pause(random, 50..500).await;
            proxy.set(Link::Open);
            0
        }
        Blow::HubEnds | Blow::HubKilled => {
            hub.stop(blow == Blow::HubEnds);
            pause(random, 100..1000).await;
            hub.restart().await;
            0
        }
        Blow::Kill | Blow::KillWhileCut => {
            if blow == Blow::KillWhileCut {
                proxy.set(Link::Cut);
                pause(random, 100..700).await;
            }
            leafd.kill9();
            pty.release();
            pause(random, 20..500).await;
            leafd.start();
            proxy.set(Link::Open);
            1
        }
    }
}

/// Numbers of the readings in batches at the scenario's rate; the last ones when it is calm.
fn batches() -> impl Iterator<Item = std::ops::RangeInclusive<usize>> {
    (0..READINGS / 10).map(|batch| batch * 10 + 1..=batch * 10 + 10)
}

fn serial_readings(mut device: std::fs::File, calm: &AtomicBool) {
    for batch in batches() {
        while *batch.end() > READINGS - CALM && !calm.load(Ordering::Relaxed) {
            std::thread::sleep(common::LOOK);
        }
        for number in batch {
            device.write_all(format!("{}\n", reading("serial", number)).as_bytes()).expect("the device writes");
        }
        std::thread::sleep(Duration::from_secs_f64(10.0 / RATE));
    }
}

async fn mqtt_readings(client: rumqttc::AsyncClient, calm: Arc<AtomicBool>) {
    for batch in batches() {
        while *batch.end() > READINGS - CALM && !calm.load(Ordering::Relaxed) {
            tokio::time::sleep(common::LOOK).await;
        }
        for number in batch {
            let payload = reading("mqtt", number);
            client.publish("sensors/line1", rumqttc::QoS::AtLeastOnce, false, payload).await.expect("published");
        }
        tokio::time::sleep(Duration::from_secs_f64(10.0 / RATE)).await;
    }
}

/// A publisher, and how many of its messages the broker has taken.
fn mqtt_client(port: u16) -> (rumqttc::AsyncClient, Arc<AtomicUsize>) {
    let options = rumqttc::MqttOptions::new("sensor", "127.0.0.1", port);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 64);
    let acked = Arc::new(AtomicUsize::new(0));
    let counter = acked.clone();
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            if matches!(event, rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (client, acked)
}

/// Compares the hub's stream with what leafd accepted, and reports.
async fn check(
    stream: &async_nats::jetstream::stream::Stream,
    accepted: u64,
    kills: usize,
    blows: &[Blow],
    produced: Duration,
    began: Instant,
) {
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.expect("a consumer at the hub");
    let mut messages = consumer.messages().await.expect("messages");
    let (mut ids, mut prefixes) = (Vec::new(), std::collections::BTreeSet::new());
    let (mut serial, mut mqtt, mut fragments) = (Vec::new(), Vec::new(), 0);
    loop {
        let message = within("all of the stream", messages.next()).await.expect("more").expect("a message");
        let id = message.headers.as_ref().and_then(|h| h.get("Nats-Msg-Id")).expect("an id").as_str();
        let (prefix, seq) = id.rsplit_once(':').expect("gateway:stream:epoch:seq");
        prefixes.insert(prefix.to_owned());
        ids.push(seq.parse::<u64>().expect("a sequence"));
        let payload = std::str::from_utf8(&message.payload).unwrap_or_default();
        match message.subject.as_str() {
            "plant1.gw1.telemetry.scale1" => match number(payload, "serial") {
                Some(number) => serial.push(number),
                None => fragments += 1,
            },
            "plant1.gw1.telemetry.sensors.line1" => {
                mqtt.push(number(payload, "mqtt").expect("an MQTT reading is whole"))
            }
            _ => {}
        }
        if message.info().expect("a reply subject").pending == 0 {
            break;
        }
    }
    eprintln!(
        "{} blows, {kills} kills, {produced:.1?} of readings, {:.1?} in all; accepted {accepted}, at the hub {}: \
         serial {} of {READINGS} ({fragments} fragments), MQTT {} of {READINGS}",
        blows.len(),
        began.elapsed(),
        ids.len(),
        serial.len(),
        mqtt.len(),
    );
    assert_eq!(prefixes.len(), 1, "one stream, one epoch: {prefixes:?}");
    let misplaced = ids.iter().zip(1u64..).find(|(id, expected)| *id != expected);
    assert_eq!(misplaced, None, "(sequence at the hub, expected) differ: lost, twice or out of order");
    assert_eq!(ids.len() as u64, accepted, "the hub holds what leafd accepted");
    let misplaced = mqtt.iter().zip(1..).find(|(number, expected)| *number != expected);
    assert_eq!(misplaced, None, "(MQTT reading, expected) differ");
    assert_eq!(mqtt.len(), READINGS, "every MQTT reading");
    let disorder = serial.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(disorder, None, "serial readings twice or out of order");
    assert!(READINGS - serial.len() <= kills * LOST_PER_KILL, "kills may cost only what was on its way to the disk");
    assert!(fragments <= kills, "only a kill may tear a reading");
}
