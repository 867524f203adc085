//! Atomic batches: when one begins, which messages it takes, and what becomes of it.

use super::{Drain, Guard, Machine, Order, Phase, Place};
use std::time::Duration;

/// Waiting messages from which on a batch is worth its round trip.
const WORTH: u64 = 16;
/// How long a batch may take on a slow link.
const BATCH_SECONDS: f64 = 4.0;
/// What it may have even there, bytes.
const LEAST_BYTES: u64 = 16 * 1024;
/// Round trips that a batch has to last: the link is idle for one of them before the next can begin.
const TRIPS: u64 = 20;
/// Bytes a second from which on a link is not what a backlog waits for.
const FAST: f64 = 1e6;
/// What the hub takes for a message of a batch, about.
const BATCHED: Duration = Duration::from_micros(25);
/// A message takes this on the wire at least, bytes.
const LEAST_MESSAGE: u64 = 100;

/// What is known of the hub's batches, for one session.
#[derive(Default)]
pub(super) struct Batches {
    /// The hub has answered to the first message of a batch as one that knows them.
    proved: bool,
    /// The hub's stream takes none.
    refused: bool,
    /// Up to this message none is tried: one of them cannot be batched.
    avoid: u64,
    /// The batch that is being sent.
    pub(super) open: Option<Open>,
}

/// A batch of which at least one message was sent.
#[derive(Clone, Copy)]
pub(super) struct Open {
    first: u64,
    /// The message that commits it, unless its bytes reach the bound before.
    last: u64,
    sent: u64,
    bytes: u64,
    /// The commit was sent.
    complete: bool,
}

impl Batches {
    /// No batch takes message `upto`, nor those before it.
    pub(super) fn avoid(&mut self, upto: u64) {
        self.avoid = self.avoid.max(upto);
    }
}

impl Machine {
    /// Whether the next message begins a batch.
    pub(super) fn wants_batch(&self) -> bool {
        let waiting = (self.committed + 1).saturating_sub(self.next);
        let limit = self.settings.batch as u64;
        !self.batches.refused
            && self.asked
            && self.guard_failures == 0
            && self.next > self.batches.avoid
            && waiting.min(limit) >= WORTH
            && !self.chain_fills_better()
    }

    /// Whether a chain of single messages keeps the link busy and is the better choice: the link is so slow that a batch, of a
    /// few seconds, does not, or so fast that the hub's work is what takes the time. The hub writes each message of a batch
    /// twice, and the link waits for it.
    fn chain_fills_better(&self) -> bool {
        self.drains.filter(|_| self.chains).is_some_and(|Drain { rate, trip }| {
            if rate >= FAST {
                // A chain goes as fast as its answers come, a batch as fast as the hub writes it.
                return trip < BATCHED * u32::try_from(self.burst).unwrap_or(u32::MAX);
            }
            let on_way = (rate * trip.as_secs_f64()) as u64;
            on_way < self.burst as u64 * LEAST_MESSAGE && on_way * TRIPS > self.batch_bytes()
        })
    }

    /// Whether a message waits for the answer to the one before, as the hub takes neither chains nor batches.
    pub fn goes_one_by_one(&self) -> bool {
        !self.chains && self.batches.refused
    }

    /// Whether the hub need not answer to the message of `order`, as it will to a later one that is refused unless this one is
    /// stored: true of a chain over a fast link while nothing goes wrong, where the answers are a large part of the hub's work.
    pub fn may_go_unanswered(&self, order: &Order) -> bool {
        matches!(order.guard, Guard::After(_))
            && order.batch.is_none()
            && order.seq < self.committed
            && self.previous.is_some()
            && self.guard_failures == 0
            && self.drains.is_some_and(|drain| drain.rate >= FAST)
    }

    /// The next message of a batch. `None`: the next message does not belong to one; `Some(None)`: it does, and has to wait.
    pub(super) fn batch_order(&self) -> Option<Option<Order>> {
        let order = |guard, place| Order { seq: self.next, run: self.run, guard, batch: Some(place) };
        let Some(open) = self.batches.open else {
            let begins = self.head == Some(Guard::Position) && self.in_flight.is_empty() && self.wants_batch();
            let place = Place { first: self.next, at: 1, commit: false };
            return begins.then(|| Some(order(Guard::Position, place)));
        };
        if open.complete || !self.batches.proved {
            return Some(None);
        }
        let commit = self.next >= open.last || open.bytes >= self.batch_bytes();
        // The guard of the first message is that of all.
        Some(Some(order(Guard::Window, Place { first: open.first, at: open.sent + 1, commit })))
    }

    fn batch_bytes(&self) -> u64 {
        let slow = self.drains.map_or(LEAST_BYTES, |drain| ((drain.rate * BATCH_SECONDS) as u64).max(LEAST_BYTES));
        slow.min(self.settings.batch_bytes)
    }

    /// Message `seq` of `bytes` is being noted as sent.
    pub(super) fn batched(&mut self, seq: u64, bytes: u64) {
        let Some(Some(Order { batch: Some(place), .. })) = self.batch_order() else { return };
        let last = self.committed.min(seq + self.settings.batch as u64 - 1);
        let begun = Open { first: seq, last, sent: 0, bytes: 0, complete: false };
        let open = self.batches.open.get_or_insert(begun);
        open.sent += 1;
        open.bytes += bytes;
        open.complete = place.commit;
    }

    /// There are no messages up to `to`; whether the open batch now lacks the one that would have committed it.
    pub(super) fn batch_lacks(&mut self, to: u64) -> bool {
        let lacks = self.batches.open.is_some_and(|open| !open.complete && to >= open.last);
        if lacks {
            self.batches.avoid(to);
        }
        lacks
    }

    /// The hub holds a message back for its batch.
    pub(super) fn staged(&mut self, now: Duration, seq: u64) {
        if self.batches.open.is_some_and(|open| seq >= open.first) {
            self.batches.proved = true;
            self.last_progress = now;
            // The link is slow, not dead: the rest has this long again.
            self.in_flight.iter_mut().for_each(|flight| flight.at = now);
        }
    }

    /// The hub has stored message `seq`, sent in `run`: the end of a batch, or the first of one by a hub that knows none.
    pub(super) fn batch_stored(&mut self, run: u64, seq: u64) {
        let Some(open) = self.batches.open.filter(|_| run == self.run && self.phase == Phase::Sending) else { return };
        if open.complete && seq + 1 == self.next {
            self.counters.batches += 1;
            self.batches.open = None;
        } else if seq == open.first {
            self.batches.refused = true;
            self.batches.open = None;
        }
    }

    /// The hub does not take the batch.
    pub(super) fn unbatched(&mut self, now: Duration, never: bool) {
        self.batches.refused |= never;
        let upto = self.batches.open.map_or(self.committed, |open| open.last);
        self.batches.avoid(upto);
        self.restart(now);
    }
}
