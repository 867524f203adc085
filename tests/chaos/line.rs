//! The gateway and its line to the hub, and what befalls these two.

use crate::common::proxy::{Link, Side};
use crate::common::{self, Leafd, Proxy};
use fastrand::Rng;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long the backlog may stay as large as it is at the end. It goes by one message a round trip at a cluster whose stream takes
/// no batches, which on a loaded machine is ten a second.
const DRAIN: Duration = Duration::from_secs(90);

/// Debian's libfaketime, if it is installed.
fn faketime() -> Option<String> {
    let of = |dir: std::io::Result<std::fs::DirEntry>| Some(dir.ok()?.path().join("faketime/libfaketimeMT.so.1"));
    let found = std::fs::read_dir("/usr/lib").ok()?.filter_map(of).find(|path| path.exists());
    assert!(found.is_some() || std::env::var_os("LEAFD_REQUIRE_PEERS").is_none(), "libfaketime is not installed");
    Some(found?.to_string_lossy().into_owned())
}

/// What the wall clock is set to, beside the true time.
const CLOCKS: [&str; 5] = ["+0s", "+3600s", "-3600s", "+30d", "-400d"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blow {
    Cut,
    LongCut,
    /// As long as an hour of compressed time.
    HourCut,
    Stall,
    Reset,
    /// The hub has closed, and the gateway is not told.
    HubGone,
    /// The gateway has closed, and the hub is not told.
    GatewayGone,
    Kill,
    KillWhileStalled,
    /// The gateway's wall clock is set to another time.
    Clock,
}

/// How often which comes; the long one is rare.
const BLOWS: [(Blow, u32); 10] = [
    (Blow::Cut, 6),
    (Blow::LongCut, 3),
    (Blow::HourCut, 1),
    (Blow::Stall, 6),
    (Blow::Reset, 6),
    (Blow::HubGone, 3),
    (Blow::GatewayGone, 3),
    (Blow::Kill, 6),
    (Blow::KillWhileStalled, 3),
    (Blow::Clock, 4),
];

/// A blow by its weight.
pub fn blow(random: &mut Rng) -> Blow {
    let total: u32 = BLOWS.iter().map(|(_, weight)| weight).sum();
    let mut at = random.u32(..total);
    for (blow, weight) in BLOWS {
        if at < weight {
            return blow;
        }
        at -= weight;
    }
    Blow::Cut
}

pub struct Line {
    pub random: Rng,
    /// One before each node of the hub.
    proxies: Vec<Proxy>,
    pub leafd: Leafd,
    /// Where leafd listens now.
    address: watch::Sender<String>,
    /// What libfaketime reads.
    clock: PathBuf,
}

impl Line {
    /// Starts `leafd`, whose files are in `dir`.
    pub fn start(mut leafd: Leafd, dir: &Path, proxies: Vec<Proxy>, random: Rng) -> Line {
        let clock = dir.join("clock");
        std::fs::write(&clock, CLOCKS[0]).expect("written");
        if let Some(library) = faketime() {
            leafd.environment("LD_PRELOAD", &library);
            leafd.environment("FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy());
            leafd.environment("FAKETIME_NO_CACHE", "1");
            leafd.environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        leafd.start();
        let address = watch::Sender::new(leafd.url());
        Line { random, proxies, leafd, address, clock }
    }

    /// Where leafd listens, also after it was killed.
    pub fn address(&self) -> watch::Receiver<String> {
        self.address.subscribe()
    }

    /// Lets some milliseconds of the schedule pass.
    pub async fn pause(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(millis))).await;
    }

    /// Sets the link to every node.
    pub fn set(&self, link: Link) {
        self.proxies.iter().for_each(|proxy| proxy.set(link));
    }

    pub async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Cut | Blow::LongCut | Blow::HourCut | Blow::Stall => {
                self.set(if blow == Blow::Stall { Link::Stalled } else { Link::Cut });
                let length = match blow {
                    Blow::HourCut => 30_000..30_001,
                    Blow::LongCut => 4000..9000,
                    _ => 100..2500,
                };
                self.pause(length).await;
            }
            Blow::Reset => {
                let bytes = self.random.usize(1..600);
                self.set(Link::Reset(bytes));
                self.pause(50..500).await;
            }
            Blow::HubGone | Blow::GatewayGone => {
                self.set(Link::HalfOpen(if blow == Blow::HubGone { Side::Near } else { Side::Far }));
                // Longer than it takes to notice.
                self.pause(1000..5000).await;
            }
            Blow::Kill | Blow::KillWhileStalled => {
                if blow == Blow::KillWhileStalled {
                    self.set(Link::Stalled);
                    self.pause(100..1500).await;
                }
                self.leafd.kill9();
                self.pause(20..400).await;
                self.leafd.start();
                self.address.send_replace(self.leafd.url());
            }
            Blow::Clock => {
                let time = self.random.choice(CLOCKS).expect("there are some");
                let next = self.clock.with_extension("next");
                std::fs::write(&next, time).expect("written");
                std::fs::rename(&next, &self.clock).expect("renamed");
            }
        }
        self.set(Link::Open);
    }

    /// Waits until the hub has confirmed everything; what the uplink's status says then.
    pub async fn drained(&self) -> Value {
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let status = self.leafd.status().map(|status| status["uplinks"][0].clone()).unwrap_or_default();
            let left = status["backlog_messages"].as_u64();
            if left == Some(0) && status["in_flight"] == 0 {
                return status;
            }
            if let Some(left) = left.filter(|left| *left < least) {
                (least, since) = (left, Instant::now());
            }
            assert!(since.elapsed() < DRAIN, "the backlog stays: {status}");
            tokio::time::sleep(common::LOOK).await;
        }
    }
}

/// How long a test lasts.
pub fn length() -> Duration {
    let minutes = std::env::var("LEAFD_CHAOS_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(0.5);
    Duration::from_secs_f64(minutes * 60.0)
}
