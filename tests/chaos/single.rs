//! A hub of one node: ended, killed, restored from an older backup, its stream deleted and made anew.

use crate::common::hub::{self, STREAM};
use crate::common::proxy::Link;
use crate::common::{self, Gateway, Hub, LIMIT, Proxy, have, wait_for};
use crate::line::{self, Line};
use crate::readings::{self, Ledger, Producer};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Line(line::Blow),
    HubEnds,
    HubKilled,
    /// The hub comes back as it was at an earlier end.
    Restored,
    /// The hub's stream is deleted and made anew.
    Recreated,
}

struct World {
    line: Line,
    hub: Hub,
    ledger: Ledger,
    /// The last sequence in the backup, if there is one.
    backup: Option<u64>,
    backups: tempfile::TempDir,
}

impl World {
    fn backup_dir(&self) -> PathBuf {
        self.backups.path().join("data")
    }

    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Line(blow) => self.line.strike(blow).await,
            Blow::HubEnds | Blow::HubKilled => {
                if blow == Blow::HubEnds {
                    self.line.set(Link::Cut);
                    let last = readings::last(&self.hub.stream().await).await;
                    self.hub.stop(true);
                    copy(&self.hub.data(), &self.backup_dir());
                    self.backup = Some(last);
                }
                self.hub.stop(false);
                self.line.pause(100..1000).await;
                self.hub.restart().await;
            }
            Blow::Restored => {
                let Some(kept) = self.backup else { return };
                self.line.set(Link::Cut);
                let last = self.ledger.check(&self.hub.stream().await).await;
                self.hub.stop(false);
                copy(&self.backup_dir(), &self.hub.data());
                self.ledger.lost.push(kept + 1..=last);
                self.hub.restart().await;
            }
            Blow::Recreated => {
                self.line.set(Link::Cut);
                let last = self.ledger.check(&self.hub.stream().await).await;
                let context = async_nats::jetstream::new(self.hub.client().await);
                context.delete_stream(STREAM).await.expect("deleted");
                self.hub.stream().await;
                self.ledger.lost.push(1..=last);
                // Its messages are no part of the stream that there is now.
                self.backup = None;
            }
        }
        self.line.set(Link::Open);
    }
}

/// Replaces the folder `to` by a copy of `from`.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "{copied}");
}

/// One of the hub's for each three of the line's.
fn blow(random: &mut Rng) -> Blow {
    match random.u8(..20) {
        0 | 1 => Blow::HubEnds,
        2 => Blow::HubKilled,
        3 => Blow::Restored,
        4 => Blow::Recreated,
        _ => Blow::Line(line::blow(random)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_hub_holds_each_reading_once_and_in_order() {
    if !have(&hub::binary()) {
        return;
    }
    let random = Rng::with_seed(common::seed());
    let hub = Hub::start().await;
    hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = Gateway::default().linked(&hub, proxy.address).leafd(dir.path());
    let line = Line::start(leafd, dir.path(), vec![proxy], random);
    let producer = Producer::start(line.address());
    let backups = tempfile::tempdir().expect("a folder");
    let mut world = World { line, hub, ledger: Ledger::default(), backup: None, backups };
    let until = Instant::now() + line::length();
    let mut blows = BTreeMap::<Blow, u32>::new();
    while Instant::now() < until {
        world.line.pause(100..2000).await;
        let blow = blow(&mut world.line.random);
        *blows.entry(blow).or_default() += 1;
        world.strike(blow).await;
        assert!(world.line.leafd.runs(), "leafd has ended by itself");
    }
    // Some readings of a calm time come last, so that the stream is not empty if it was made anew at the end.
    world.line.pause(2000..3000).await;
    let stored = producer.end().await;
    assert!(stored > 0, "nothing was stored");
    let status = world.line.drained().await;
    let stream = wait_for("the hub's stream", LIMIT, || async { Some(world.hub.stream().await) }).await;
    let last = world.ledger.check(&stream).await;
    eprintln!("{blows:?}: {stored} readings stored; {:?}; {status}", world.ledger);
    assert!(last >= stored, "all that was acknowledged is there: {last}");
}
