//! Outages in compressed time, by a seeded schedule: the WAN cut, stalled and reset, the hub ended, killed and restored from an
//! older backup, its stream deleted and made anew, leafd killed with -9. The hub's stream must hold each reading once and in
//! order; only what the hub itself has lost may be missing. `LEAFD_CHAOS_MINUTES` says how long it lasts (half a minute),
//! `LEAFD_SEED` replays a run.

mod common;

use async_nats::jetstream::{self, stream::Stream};
use common::hub::STREAM;
use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Leafd, Proxy, have, hub, wait_for};
use fastrand::Rng;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const SUBJECT: &str = "plant1.gw1.telemetry.t";
/// Between two readings; each is stored durably before the next.
const PAUSE: Duration = Duration::from_millis(4);
/// How long the end may take to arrive.
const DRAIN: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Cut,
    LongCut,
    Stall,
    Reset,
    HubEnds,
    HubKilled,
    Kill,
    KillWhileStalled,
    /// The hub comes back as it was at an earlier end.
    Restored,
    /// The hub's stream is deleted and made anew.
    Recreated,
}

const BLOWS: [Blow; 14] = [
    Blow::Cut,
    Blow::Cut,
    Blow::LongCut,
    Blow::Stall,
    Blow::Stall,
    Blow::Reset,
    Blow::Reset,
    Blow::HubEnds,
    Blow::HubKilled,
    Blow::Kill,
    Blow::Kill,
    Blow::KillWhileStalled,
    Blow::Restored,
    Blow::Recreated,
];

struct World {
    random: Rng,
    hub: Hub,
    proxy: Proxy,
    leafd: Leafd,
    /// Where leafd listens now.
    address: watch::Sender<String>,
    /// Sequences that the hub had and has lost.
    lost: Vec<RangeInclusive<u64>>,
    /// The last sequence in the backup, if there is one.
    backup: Option<u64>,
    backups: tempfile::TempDir,
}

impl World {
    async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(millis))).await;
    }

    fn backup_dir(&self) -> std::path::PathBuf {
        self.backups.path().join("data")
    }

    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Cut | Blow::LongCut | Blow::Stall => {
                self.proxy.set(if blow == Blow::Stall { Link::Stalled } else { Link::Cut });
                self.pause(if blow == Blow::LongCut { 4000..9000 } else { 100..2500 }).await;
            }
            Blow::Reset => {
                self.proxy.set(Link::Reset(self.random.usize(1..600)));
                self.pause(50..500).await;
            }
            Blow::HubEnds | Blow::HubKilled => {
                if blow == Blow::HubEnds {
                    self.proxy.set(Link::Cut);
                    let last = last_at_hub(&self.hub.stream().await).await;
                    self.hub.stop(true);
                    copy(&self.hub.data(), &self.backup_dir());
                    self.backup = Some(last);
                }
                self.hub.stop(false);
                self.pause(100..1000).await;
                self.hub.restart().await;
            }
            Blow::Kill | Blow::KillWhileStalled => {
                if blow == Blow::KillWhileStalled {
                    self.proxy.set(Link::Stalled);
                    self.pause(100..1500).await;
                }
                self.leafd.kill9();
                self.pause(20..400).await;
                self.leafd.start();
                self.address.send_replace(self.leafd.url());
            }
            Blow::Restored => {
                let Some(kept) = self.backup else { return };
                self.proxy.set(Link::Cut);
                let last = last_at_hub(&self.hub.stream().await).await;
                self.hub.stop(false);
                copy(&self.backup_dir(), &self.hub.data());
                self.lost.push(kept + 1..=last);
                self.hub.restart().await;
            }
            Blow::Recreated => {
                self.proxy.set(Link::Cut);
                let last = last_at_hub(&self.hub.stream().await).await;
                let context = jetstream::new(self.hub.client().await);
                context.delete_stream(STREAM).await.expect("deleted");
                self.hub.stream().await;
                self.lost.push(1..=last);
                // Its messages are no part of the stream that there is now.
                self.backup = None;
            }
        }
        self.proxy.set(Link::Open);
    }
}

/// Replaces the folder `to` by a copy of `from`.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
}

fn sequence(id: &str) -> u64 {
    let (_, seq) = id.rsplit_once(':').expect("gateway:stream:epoch:seq");
    seq.parse().expect("a sequence")
}

async fn last_at_hub(stream: &Stream) -> u64 {
    match stream.get_last_raw_message_by_subject(SUBJECT).await {
        Ok(message) => sequence(message.headers.get("Nats-Msg-Id").expect("an id").as_str()),
        Err(_) => 0,
    }
}

/// Stores numbers until told to end; returns how many. One that was not acknowledged is sent again under its id.
async fn readings(mut address: watch::Receiver<String>, end: Arc<AtomicBool>) -> u64 {
    let mut number = 0;
    let mut context = None;
    while !end.load(Ordering::Relaxed) {
        if address.has_changed().unwrap_or(false) || context.is_none() {
            let url = address.borrow_and_update().clone();
            context = async_nats::connect(url).await.ok().map(jetstream::new);
        }
        let Some(context) = &context else {
            tokio::time::sleep(common::LOOK).await;
            continue;
        };
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", (number + 1).to_string().as_str());
        let stored = async {
            let payload = (number + 1).to_string();
            context.publish_with_headers(SUBJECT, headers, payload.into()).await.ok()?.await.ok()
        };
        if tokio::time::timeout(Duration::from_millis(500), stored).await.is_ok_and(|stored| stored.is_some()) {
            number += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    number
}

/// The sequences at the hub and their readings, in the order in which they lie there.
async fn at_hub(stream: &Stream) -> Vec<(u64, u64)> {
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    let mut held = Vec::new();
    loop {
        let message = messages.next().await.expect("more").expect("a message");
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id");
        let payload = std::str::from_utf8(&message.payload).expect("a number");
        held.push((sequence(id.as_str()), payload.parse().expect("a number")));
        if message.info().expect("a reply subject").pending == 0 {
            return held;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_hub_holds_each_reading_once_and_in_order() {
    if !have(&hub::binary()) {
        return;
    }
    let minutes = std::env::var("LEAFD_CHAOS_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(0.5);
    let random = Rng::with_seed(common::seed());
    let hub = Hub::start().await;
    hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&hub, proxy.address).leafd(dir.path());
    leafd.start();
    let (address, addresses) = watch::channel(leafd.url());
    let backups = tempfile::tempdir().expect("a folder");
    let mut world = World { random, hub, proxy, leafd, address, lost: Vec::new(), backup: None, backups };
    let end = Arc::new(AtomicBool::new(false));
    let producer = tokio::spawn(readings(addresses, end.clone()));

    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut blows = BTreeMap::<Blow, u32>::new();
    while Instant::now() < until {
        world.pause(100..2000).await;
        let blow = world.random.choice(BLOWS).expect("there are some");
        *blows.entry(blow).or_default() += 1;
        world.strike(blow).await;
        assert!(world.leafd.runs(), "leafd has ended by itself");
    }
    // Some readings of a calm time come last, so that the stream is not empty if it was made anew at the end.
    world.pause(2000..3000).await;
    end.store(true, Ordering::Relaxed);
    let stored = producer.await.expect("ended");
    assert!(stored > 0, "nothing was stored");
    let status = wait_for("the backlog has crossed", DRAIN, || async {
        let status = world.leafd.status()?["uplinks"][0].clone();
        (status["backlog_messages"] == 0 && status["in_flight"] == 0).then_some(status)
    })
    .await;
    let stream = wait_for("the hub's stream", LIMIT, || async { Some(world.hub.stream().await) }).await;
    let held = at_hub(&stream).await;
    eprintln!("{blows:?}: {stored} readings stored, {} at the hub, lost by it {:?}; {status}", held.len(), world.lost);
    let disorder = held.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1);
    assert_eq!(disorder, None, "(sequence, reading) twice or out of order");
    let last = held.last().map_or(0, |(seq, _)| *seq);
    assert!(last >= stored, "all that was acknowledged is there: {last}");
    let mut at = held.iter().map(|(seq, _)| *seq).peekable();
    let missing: Vec<u64> = (1..=last).filter(|seq| at.next_if_eq(seq).is_none()).collect();
    let unexplained = missing.iter().find(|seq| !world.lost.iter().any(|lost| lost.contains(seq)));
    assert_eq!(unexplained, None, "missing though the hub has lost nothing of it: {missing:?}");
}
