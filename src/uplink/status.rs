//! What the operator sees of an uplink.

use super::machine::{Counters, Phase};
use super::traffic::Usage;
use serde::Serialize;

/// A snapshot of one uplink, for `leafd status`.
#[derive(Clone, Debug, Default, Serialize, PartialEq)]
pub struct UplinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// What it is doing, in words.
    pub state: String,
    /// The link, in words.
    pub link: String,
    /// The local stream.
    pub stream: String,
    /// The hub's stream, once known.
    pub hub_stream: Option<String>,
    /// The JetStream domain of the hub's stream, if it has one.
    pub hub_domain: Option<String>,
    /// Messages that wait for the hub's confirmation.
    pub backlog_messages: u64,
    /// Their size on disk, in bytes (estimated while confirmed messages are being dropped).
    pub backlog_bytes: u64,
    /// Age of the oldest of them, in seconds.
    pub oldest_age: Option<f64>,
    /// Messages confirmed a second, over the last half minute.
    pub rate: Option<f64>,
    /// Bytes that crossed a second, likewise.
    pub byte_rate: Option<f64>,
    /// Seconds until the backlog has crossed at that rate, if it goes on and nothing is added; absent while a budget or the schedule
    /// holds it back.
    pub eta: Option<f64>,
    /// When the hub last confirmed something, RFC 3339.
    pub last_ack_time: Option<String>,
    /// The last local sequence that it confirmed.
    pub last_ack_seq: u64,
    /// How urgent its messages are.
    pub class: &'static str,
    /// Bytes that crossed the link for it since the start, both ways, as compressed, without TLS and below.
    pub bytes: u64,
    /// Of today.
    pub bytes_today: u64,
    /// Of this calendar month.
    pub bytes_this_month: u64,
    /// What the link drains, bytes a second, as measured by the hub's answers; `None` before that.
    pub link_rate: Option<u64>,
    /// Bytes that may be on their way over the link.
    pub link_window: u64,
    /// Messages in flight.
    pub in_flight: usize,
    /// How many may be; less than configured while others write to the hub's stream between ours.
    pub window: usize,
    /// Messages confirmed since the start.
    pub delivered: u64,
    /// Of those, how many the hub already had when they were sent again.
    pub duplicates: u64,
    /// Messages sent more than once.
    pub resends: u64,
    /// Messages that the hub refuses for good, kept in the dead-letter stream.
    pub dead_letters: u64,
    /// Local messages that were damaged, deleted or dropped before they were confirmed.
    pub gaps: u64,
    /// Declarations of gaps that are on their way to the hub.
    pub gaps_declared: u64,
    /// Messages dropped since the start to thin a stream that is nearly full.
    pub thinned: u64,
    /// Confirmed messages that the hub has lost.
    pub hub_lost: u64,
    /// Times the hub was asked where it stands.
    pub reconciliations: u64,
    /// Times nothing was confirmed for too long while the link was up; then it was dialled anew.
    pub watchdog: u64,
    /// Times another publisher's message came between ours at the hub.
    pub chain_breaks: u64,
    /// Atomic batches that the hub has stored.
    pub batches: u64,
    /// `yes`, or `dedup window only` where the hub does not tell where it stands.
    pub exactly_once: &'static str,
    /// The hub's latest refusal since the last confirmation.
    pub refusal: Option<String>,
    /// What can be done at the hub to make it faster, if anything is known.
    pub advice: Option<&'static str>,
}

impl UplinkStatus {
    pub(super) fn used(&mut self, usage: &Usage) {
        self.class = usage.class.as_str();
        self.bytes = usage.bytes;
        self.bytes_today = usage.spent.day_bytes;
        self.bytes_this_month = usage.spent.month_bytes;
        self.link_rate = usage.link_drain.map(|drain| drain.rate as u64);
        self.link_window = usage.link_window;
    }

    pub(super) fn count(&mut self, counters: Counters) {
        self.delivered = counters.delivered;
        self.duplicates = counters.duplicates;
        self.resends = counters.resends;
        self.dead_letters = counters.dead_letters;
        self.gaps = counters.gaps;
        self.hub_lost = counters.hub_lost;
        self.reconciliations = counters.reconciliations;
        self.watchdog = counters.watchdog;
        self.chain_breaks = counters.chain_breaks;
        self.batches = counters.batches;
    }
}

/// What a phase is called.
pub(super) fn words(phase: Phase, backlog: u64) -> &'static str {
    match phase {
        Phase::Offline => "waiting for the link",
        Phase::Backoff { .. } => "waiting before it tries again",
        Phase::Asking { .. } => "asking the hub where it stands",
        Phase::Positioning { .. } | Phase::Sending if backlog > 0 => "sending",
        Phase::Positioning { .. } | Phase::Sending => "up to date",
        Phase::Burying => "storing a dead letter",
        Phase::Renaming => "starting a new generation of message ids",
    }
}
