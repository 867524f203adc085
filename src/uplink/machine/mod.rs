//! The uplink's decisions, without I/O or clock: events in, actions out, time passed in as what has elapsed.
//!
//! Sequences are those of the line to the hub, which are the local ones unless another [`order`](super::order) is asked for.
//!
//! # Why each message is stored once and in order
//! The invariant is the *prefix property*: the hub holds our messages up to some sequence and none beyond it (dead
//! letters and gaps aside). Pipelining alone does not give it: a hub whose leader changes can lose message 5 and take 6.
//! So each message carries a guard that the hub itself checks:
//!
//! - The first of a run goes alone, guarded by its subject's position (`Nats-Expected-Last-Subject-Sequence`). The
//!   position and the id of the message there come from one answer of the hub; if that message is ours and not older than
//!   the one to send, the hub has moved on and we follow. So when the guard holds, the message is not there yet.
//! - Those after it are chained (`Nats-Expected-Last-Msg-Id`), so 6 is refused unless 5 is the stream's last message. A
//!   refusal anywhere makes the hub refuse all that is behind it: going back loses nothing and turns nothing round.
//!
//! Chains are not sent to hubs that could break by them ([`Machine::chain_messages`]); there each message goes alone, or in
//! an atomic batch.
//!
//! As an ack for a message confirms all before it, most of a chain over a fast link asks for none: a message that is refused makes
//! the hub refuse the next one that does, and the run after it begins with that message alone, which asks.
//!
//! A connection that is half open, or a slow hub, may still process messages of an earlier run, however late. Each of
//! them either continues the prefix (its guard holds: then it is the very next message, and what we send again of it is
//! refused or acknowledged as a duplicate) or is refused. Nothing has to be waited out, and a stale answer to a
//! reconciliation only makes us resend. This rests on guards, not on the hub's deduplication window; the window is what is
//! left where we may not ask the hub (then a chain guard to the last confirmed message still protects a stream that only
//! this uplink writes), or where others write to the same subject all the time.
//!
//! From the prefix property follows that an ack for a message confirms all before it.
//!
//! One case is left: a message that was sent, is dropped here before it is confirmed (`on_full = "drop_oldest"`), and was
//! still under way on an old connection can arrive behind its successors; once, but late.
//!
//! # Atomic batches
//! Where the hub's stream takes them, a backlog travels in atomic batches, one after the other: the first message has the
//! guard of a run's first, which the hub checks when the batch is committed, and the rest is stored with it or not at
//! all, so the prefix property holds. A hub that does not know batches stores the first message as an ordinary one, whose
//! guard it checks, so nothing else is sent in a session until the hub has answered to the first message of a batch.
//!
//! # Streams shared with others
//! A foreign message between two of ours breaks the chain, and what was behind it is sent again. Then the burst that may be in
//! flight is halved, or more where the chain was short, down to one message at a time (each guarded by position), and doubled again
//! after a few full bursts without a break.

mod batch;
mod event;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod simulation;
mod steps;

pub use event::{AckResult, Action, Cursor, Event, Guard, HubAnswer, LastId, Order, Place, Settings};

use batch::Batches;
use std::collections::VecDeque;
use std::time::Duration;

/// Guard failures in a row without progress after which the deduplication window has to do.
const GUARD_TRIES: u32 = 8;
/// What a link is taken to drain before that is known, and what it drains at least, bytes a second.
const UNKNOWN_RATE: f64 = 8192.0;
/// See [`UNKNOWN_RATE`].
const LEAST_RATE: f64 = 100.0;
/// A burst is no more than so many times the chain that broke last.
const CHAINS: usize = 2;
/// How many times longer it has to be calm where the last doublings brought breaks, at most.
const WARIEST: usize = 4;
/// Confirmed bursts after which a halved burst is doubled, where that went well before.
const CALM_BURSTS: usize = 8;

/// What the uplink is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No link.
    Offline,
    /// Waiting after a temporary refusal.
    Backoff {
        /// When it ends.
        until: Duration,
    },
    /// Asking the hub where it stands.
    Asking {
        /// Since when.
        since: Duration,
        /// How often in this run.
        tries: u32,
    },
    /// Asking for the position of the next message's subject.
    Positioning {
        /// Since when.
        since: Duration,
    },
    /// Sending, or having nothing to send.
    Sending,
    /// Storing a dead letter.
    Burying,
    /// Making a new generation of message ids durable.
    Renaming,
}

/// What a link drains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drain {
    /// Bytes a second.
    pub rate: f64,
    /// The shortest round trip, without the time that the link takes for the bytes.
    pub trip: Duration,
}

/// Counters for the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages known to be at the hub.
    pub delivered: u64,
    /// Acks that said the message had been there before.
    pub duplicates: u64,
    /// Messages sent more than once.
    pub resends: u64,
    /// Messages refused for good.
    pub dead_letters: u64,
    /// Local messages that could not be read.
    pub gaps: u64,
    /// Times the hub was asked where it stands.
    pub reconciliations: u64,
    /// Times nothing was confirmed for too long.
    pub watchdog: u64,
    /// Chains broken by other publishers.
    pub chain_breaks: u64,
    /// Confirmed messages that the hub has lost.
    pub hub_lost: u64,
    /// Atomic batches that the hub has stored.
    pub batches: u64,
}

struct Flight {
    /// The message, or the last of a run of missing ones.
    seq: u64,
    bytes: u64,
    at: Duration,
    /// How many missing ones; 0 for a message.
    missing: u64,
}

/// The state of one uplink.
pub struct Machine {
    settings: Settings,
    rng: fastrand::Rng,
    phase: Phase,
    session: Option<u64>,
    /// Whether the hub is given messages that are chained to the one before.
    chains: bool,
    run: u64,
    /// Acks of earlier runs are void: they belong to another connection, and the hub may have lost since what they tell.
    first_valid_run: u64,
    committed: u64,
    cursor: Cursor,
    saved: Cursor,
    saving: bool,
    next_save: Duration,
    next: u64,
    /// Highest sequence handed to the link since the start.
    sent_high: u64,
    in_flight: VecDeque<Flight>,
    in_flight_bytes: u64,
    /// The last message of this run that the hub may have, and when it was sent.
    previous: Option<(u64, Duration)>,
    /// The guard of a message that goes alone, once it may be sent.
    head: Option<Guard>,
    /// The message that went alone, until it is confirmed.
    head_in_flight: Option<u64>,
    unsendable: Option<(u64, String)>,
    batches: Batches,
    burst: usize,
    calm: usize,
    /// Whether the burst was doubled since the last break.
    doubled: bool,
    /// So many times longer it has to be calm, as the last doublings brought breaks.
    wary: usize,
    /// Messages of this run that were confirmed.
    unbroken: usize,
    /// Whether the hub told in this run where it stands.
    asked: bool,
    /// Whether a chain to the last confirmed message failed, so that without asking only the window is left.
    chain_failed: bool,
    guard_failures: u32,
    attempts: u32,
    last_progress: Duration,
    /// When the hub last said anything, or it had no reason to.
    last_heard: Duration,
    /// When the hub last answered to a message, or there was none to answer to.
    last_ack: Duration,
    /// Times since then that the link was given up for that.
    silences: u32,
    drains: Option<Drain>,
    counters: Counters,
}

impl Machine {
    /// A machine that starts at `cursor`, with local messages durable up to `committed`.
    pub fn new(settings: Settings, cursor: Cursor, committed: u64, seed: u64) -> Self {
        Machine {
            burst: settings.window.max(1),
            settings,
            rng: fastrand::Rng::with_seed(seed),
            phase: Phase::Offline,
            session: None,
            chains: true,
            // Acks of an earlier life of this process carry other inboxes; runs need to be unique only within one.
            run: 0,
            first_valid_run: 0,
            committed: committed.max(cursor.confirmed),
            cursor,
            saved: cursor,
            saving: false,
            next_save: Duration::ZERO,
            next: cursor.confirmed + 1,
            sent_high: cursor.confirmed,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            previous: None,
            head: None,
            head_in_flight: None,
            unsendable: None,
            batches: Batches::default(),
            calm: 0,
            doubled: false,
            wary: 1,
            unbroken: 0,
            asked: false,
            chain_failed: false,
            guard_failures: 0,
            attempts: 0,
            last_progress: Duration::ZERO,
            last_heard: Duration::ZERO,
            last_ack: Duration::ZERO,
            silences: 0,
            drains: None,
            counters: Counters::default(),
        }
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where it stands.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Its counters.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether an ack of `run` counts. The position of its subject may be remembered only then: a position that the
    /// machine has not followed would let a guard hold for a message that is already there.
    pub fn accepts(&self, run: u64) -> bool {
        run >= self.first_valid_run
    }

    /// Whether this answer to [`Action::AskPosition`] is awaited; only then may the position be remembered.
    pub fn awaits_position(&self, run: u64, seq: u64) -> bool {
        run == self.run && seq == self.next && matches!(self.phase, Phase::Positioning { .. })
    }

    /// The highest local sequence that was handed to the link.
    pub fn sent_high(&self) -> u64 {
        self.sent_high
    }

    /// Whether there is a link.
    pub fn has_link(&self) -> bool {
        self.session.is_some()
    }

    /// The present run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// What the link drains, if that is known: for how long the hub is waited for, whether a backlog travels in batches, and
    /// how large one may be, as one that is cut off is sent again as a whole.
    pub fn link_drains(&mut self, drain: Option<Drain>) {
        self.drains = drain;
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.iter().filter(|flight| flight.missing == 0).count()
    }

    /// How many messages may be in flight at present; less than the window where others write to the hub's stream.
    pub fn burst(&self) -> usize {
        self.burst
    }

    /// Whether exactly once holds beyond the hub's deduplication window: the hub tells where it stands.
    pub fn reconciled(&self) -> bool {
        self.asked && self.guard_failures < GUARD_TRIES
    }

    /// The last local sequence known to be on disk.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether the cursor on disk is the present one.
    pub fn saved(&self) -> bool {
        self.saved == self.cursor
    }

    /// Whether all that is committed is confirmed and the cursor is on disk.
    pub fn settled(&self) -> bool {
        self.cursor.confirmed >= self.committed && self.saved()
    }

    /// Takes an event at `now`; what is to be done is appended to `actions`.
    pub fn handle(&mut self, now: Duration, event: Event, actions: &mut Vec<Action>) {
        if matches!(event, Event::LinkUp(_) | Event::Ack { .. } | Event::Answer { .. } | Event::Position { .. }) {
            self.last_heard = now;
        }
        match event {
            Event::Committed(upto) => {
                if self.backlog() == 0 {
                    (self.last_progress, self.last_heard, self.last_ack) = (now, now, now);
                }
                self.committed = self.committed.max(upto);
            }
            Event::LinkUp(session) => {
                if self.session != Some(session) {
                    self.session = Some(session);
                    self.last_ack = now;
                    self.batches = Batches::default();
                    self.attempts = 0;
                    self.restart(now);
                    self.first_valid_run = self.run;
                }
            }
            Event::LinkDown => {
                self.session = None;
                self.restart(now);
                self.first_valid_run = self.run;
            }
            Event::Sent { seq, bytes } => self.sent(now, seq, bytes),
            Event::Gap { from, to } => self.gap(now, from, to),
            Event::Unsendable { seq, reason } => {
                if self.phase == Phase::Sending && seq == self.next {
                    self.unsendable = Some((seq, reason));
                }
            }
            Event::Held => (self.last_progress, self.last_heard, self.last_ack) = (now, now, now),
            Event::Unsaved => {
                if !self.saving && now >= self.next_save {
                    self.save(now, actions);
                }
            }
            Event::Blocked => self.back_off(now),
            Event::Ack { run, seq, result } => {
                (self.last_ack, self.silences) = (now, 0);
                self.ack(now, run, seq, result);
            }
            Event::Answer { run, answer } => {
                if run == self.run && matches!(self.phase, Phase::Asking { .. }) {
                    self.answer(now, answer, actions);
                }
            }
            Event::Position { run, seq, last } => {
                if self.awaits_position(run, seq) {
                    self.positioned(now, last);
                }
            }
            Event::Buried(seq) => {
                if self.phase == Phase::Burying {
                    if seq == self.cursor.confirmed + 1 {
                        self.cursor.confirmed = seq;
                        self.counters.dead_letters += 1;
                    }
                    self.restart(now);
                }
            }
            Event::BuryFailed => self.back_off(now),
            Event::Saved(cursor) => {
                self.saving = false;
                self.saved = cursor;
                // The cursor may have gone back since, when the hub lost something that is to be sent again.
                actions.push(Action::Trim(cursor.confirmed.min(self.cursor.confirmed)));
                if self.phase == Phase::Renaming {
                    self.restart(now);
                }
            }
            Event::SaveFailed => {
                self.saving = false;
                self.next_save = now + self.settings.save_interval;
            }
            Event::Tick => {}
        }
        self.advance(now, actions);
    }

    /// The message to send now, if any. The shell answers each order with one of [`Event::Sent`], [`Event::Gap`],
    /// [`Event::Unsendable`], [`Event::Blocked`], or not at all when the link took nothing (then it asks again later).
    pub fn next_order(&self, now: Duration) -> Option<Order> {
        if self.phase != Phase::Sending || self.next > self.committed || self.unsendable.is_some() {
            return None;
        }
        if let Some(order) = self.batch_order() {
            return order;
        }
        let guard = match (self.head, self.chain(now)) {
            (Some(guard), _) => guard,
            (None, Some(previous)) => Guard::After(previous),
            (None, None) => return None,
        };
        let room = self.in_flight.is_empty()
            || (self.in_flight.len() < self.burst && self.in_flight_bytes < self.settings.window_bytes);
        room.then_some(Order { seq: self.next, run: self.run, guard, batch: None })
    }

    /// Whether messages may be chained from the next [`Event::LinkUp`] on; they may unless said otherwise.
    pub fn chain_messages(&mut self, chains: bool) {
        self.chains = chains;
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match self.phase {
            Phase::Backoff { until } => Some(until),
            Phase::Asking { since, .. } | Phase::Positioning { since } => Some(since + self.settings.ack_timeout),
            Phase::Sending if self.backlog() > 0 => {
                let watchdog = self.last_progress + self.settings.watchdog + self.on_wire();
                let ack = self.in_flight.front().map(|flight| flight.at + self.settings.ack_timeout + self.on_wire());
                Some(ack.map_or(watchdog, |ack| ack.min(watchdog)))
            }
            _ => None,
        };
        let save = (self.cursor != self.saved && !self.saving).then_some(self.next_save);
        match (phase, save) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// How long the link takes for what is in flight, there and back.
    fn on_wire(&self) -> Duration {
        let Drain { rate, trip } = self.drains.unwrap_or(Drain { rate: UNKNOWN_RATE, trip: Duration::ZERO });
        Duration::from_secs_f64(self.in_flight_bytes as f64 / rate.max(LEAST_RATE)) + trip * 2
    }

    fn backlog(&self) -> u64 {
        self.committed.saturating_sub(self.cursor.confirmed)
    }

    /// The message that the next one may be chained to: of this run, not too old, and the run's first is confirmed.
    /// None where an atomic batch is to begin, which the hub takes only with the guard of a message that goes alone.
    fn chain(&self, now: Duration) -> Option<u64> {
        let (previous, at) = self.previous.filter(|_| self.chains && !self.wants_batch())?;
        let fresh = now.saturating_sub(at) < self.settings.chain_age;
        (self.burst > 1 && fresh && self.head_in_flight.is_none()).then_some(previous)
    }
}
