//! What a consumer has delivered and what was acknowledged: a pure state machine. It does no I/O, reads no clock and
//! knows no subjects; stream sequences, acks and the time (monotonic nanoseconds) come in, decisions go out.
//!
//! A message enters with [`Delivery::deliver`], stays *ack pending* until [`Delivery::ack`], and is queued for redelivery
//! by [`Delivery::nak`] or when its ack wait ends ([`Delivery::expire`]). The rules are nats-server's
//! (`server/consumer.go`), without its per-message timers: one lower bound of the next deadline is kept.

use super::config::{AckPolicy, ConsumerConfig};
use std::collections::{BTreeMap, VecDeque};

/// Monotonic time in nanoseconds since the process started.
pub type Ticks = u64;

/// A stream sequence with the consumer's own number of the delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// Numbers deliveries from 1, redeliveries included.
    pub consumer: u64,
    /// The stream sequence.
    pub stream: u64,
}

/// The part of the configuration that the state machine obeys.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What counts as an acknowledgement.
    pub ack: AckPolicy,
    /// Waits before the first, second, ... redelivery; the last one repeats. Empty: never.
    pub waits: Vec<Ticks>,
    /// Deliveries of one message at most.
    pub max_deliver: Option<u64>,
    /// Messages delivered and not acknowledged at most.
    pub max_ack_pending: Option<usize>,
}

/// One message waiting for its ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// The number of its first delivery.
    pub(super) delivery: u64,
    /// When it is due for redelivery.
    pub(super) deadline: Ticks,
    /// Its place in the redelivery queue.
    pub(super) queued: Option<i64>,
    /// Its last delivery reached nobody and does not count.
    pub(super) unseen: bool,
}

/// What an ack did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// It is for something that was never delivered; no answer is due.
    Ignored,
    /// It changed nothing: the message was acknowledged before.
    Again,
    /// It was counted.
    Counted,
}

/// A message that has been delivered as often as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The stream sequence.
    pub stream_seq: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// The delivery state of one consumer.
#[derive(Debug)]
pub struct Delivery {
    pub(super) rules: Rules,
    /// The next stream sequence to look at.
    pub(super) next: u64,
    pub(super) delivered: Pair,
    pub(super) floor: Pair,
    /// By stream sequence. Bounded by `max_ack_pending`, or by the stream where that is unlimited.
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Redeliveries of messages that were delivered more than once; those that used up their deliveries stay until they
    /// are acknowledged or leave the stream.
    pub(super) redelivered: BTreeMap<u64, u64>,
    /// Order of redelivery: place to stream sequence.
    queue: BTreeMap<i64, u64>,
    /// Last-per-subject: what is left to deliver before `resume` is reached.
    picks: VecDeque<u64>,
    pub(super) resume: u64,
    /// No pending message is due before this.
    due: Ticks,
}

impl Rules {
    /// The rules that `config`, with its defaults set, asks for.
    pub fn of(config: &ConsumerConfig) -> Self {
        let ticks = |nanos: i64| Ticks::try_from(nanos).unwrap_or(0);
        let waits = if config.backoff.is_empty() {
            vec![ticks(config.ack_wait)]
        } else {
            config.backoff.iter().map(|w| ticks(*w)).collect()
        };
        Rules {
            ack: config.ack_policy,
            waits,
            max_deliver: u64::try_from(config.max_deliver).ok().filter(|max| *max > 0),
            max_ack_pending: usize::try_from(config.max_ack_pending).ok().filter(|max| *max > 0),
        }
    }

    fn deadline(&self, now: Ticks, redeliveries: u64) -> Ticks {
        let last = self.waits.len().saturating_sub(1);
        let at = usize::try_from(redeliveries).unwrap_or(last).min(last);
        self.waits.get(at).filter(|wait| **wait > 0).map_or(Ticks::MAX, |wait| now.saturating_add(*wait))
    }
}

impl Delivery {
    /// A consumer that starts at stream sequence `next`.
    pub fn new(rules: Rules, next: u64) -> Self {
        let before = Pair { consumer: 0, stream: next.saturating_sub(1) };
        Delivery {
            rules,
            next,
            delivered: before,
            floor: before,
            pending: BTreeMap::new(),
            redelivered: BTreeMap::new(),
            queue: BTreeMap::new(),
            picks: VecDeque::new(),
            resume: 0,
            due: Ticks::MAX,
        }
    }

    /// Takes a state as it was stored; `remaining` of each pending message was turned into a deadline by the caller.
    pub(super) fn restored(
        rules: Rules,
        next: u64,
        resume: u64,
        delivered: Pair,
        floor: Pair,
        pending: BTreeMap<u64, Pending>,
        redelivered: BTreeMap<u64, u64>,
    ) -> Self {
        let due = pending.values().map(|p| p.deadline).min().unwrap_or(Ticks::MAX);
        Delivery { next, resume, delivered, floor, pending, redelivered, due, ..Delivery::new(rules, next) }
    }

    /// Changes the rules of a consumer that runs.
    pub fn set_rules(&mut self, rules: Rules, now: Ticks) {
        self.rules = rules;
        for (seq, pending) in &mut self.pending {
            let redeliveries = self.redelivered.get(seq).copied().unwrap_or(0);
            pending.deadline = pending.deadline.min(self.rules.deadline(now, redeliveries));
            self.due = self.due.min(pending.deadline);
        }
    }

    /// Begins again at `seq`, with nothing delivered.
    pub fn reset(&mut self, seq: u64) {
        let (rules, resume) = (self.rules.clone(), self.resume);
        *self = Delivery { resume, ..Delivery::new(rules, seq) };
    }

    /// Delivers these first, in this order, then goes on after `resume` (last-per-subject).
    pub fn set_picks(&mut self, picks: VecDeque<u64>, resume: u64) {
        match picks.front() {
            Some(first) => self.next = *first,
            None => self.next = self.next.max(resume + 1),
        }
        self.picks = picks;
        self.resume = resume;
    }

    /// What is left to pick.
    pub fn picks(&self) -> &VecDeque<u64> {
        &self.picks
    }

    /// The next stream sequence to look at for messages never delivered.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Moves past messages that do not match or are gone, up to but without `seq`.
    pub fn skip_to(&mut self, seq: u64) {
        while self.picks.front().is_some_and(|pick| *pick < seq) {
            self.picks.pop_front();
            if self.picks.is_empty() {
                self.next = self.next.max(self.resume + 1);
            }
        }
        self.next = match self.picks.front() {
            Some(pick) => *pick,
            None => self.next.max(seq),
        };
    }

    /// The last delivery.
    pub fn delivered(&self) -> Pair {
        self.delivered
    }

    /// Everything up to here is acknowledged.
    pub fn floor(&self) -> Pair {
        self.floor
    }

    /// Messages delivered and not acknowledged.
    pub fn ack_pending(&self) -> usize {
        self.pending.len()
    }

    /// Messages that were delivered more than once and are not acknowledged.
    pub fn num_redelivered(&self) -> usize {
        if self.rules.max_deliver == Some(1) { 0 } else { self.redelivered.len() }
    }

    /// How many more new messages may be delivered before acks must come.
    pub fn room(&self) -> usize {
        self.rules.max_ack_pending.map_or(usize::MAX, |max| max.saturating_sub(self.pending.len()))
    }

    /// Messages queued for redelivery.
    pub fn redeliveries(&self) -> usize {
        self.queue.len()
    }

    /// The first `max` messages due for redelivery, in order. They stay queued until delivered.
    pub fn peek_redeliveries(&self, max: usize, into: &mut Vec<u64>) {
        into.extend(self.queue.values().take(max));
    }

    /// Whether `seq` waits for redelivery.
    pub fn is_queued(&self, seq: u64) -> bool {
        self.pending.get(&seq).is_some_and(|p| p.queued.is_some())
    }

    /// When the message was last delivered, as far as its deadline tells; `None` if it is not pending.
    pub fn sent_at(&self, seq: u64) -> Option<Ticks> {
        let redeliveries = self.redelivered.get(&seq).copied().unwrap_or(0);
        let wait = self.rules.deadline(0, redeliveries);
        self.pending.get(&seq).map(|pending| pending.deadline.saturating_sub(wait))
    }

    /// Notes the first delivery of the message `seq`, which must not be below [`Delivery::next`]. Returns its number.
    pub fn deliver(&mut self, seq: u64, now: Ticks) -> u64 {
        debug_assert!(seq >= self.next);
        if self.picks.front() == Some(&seq) {
            self.picks.pop_front();
            self.next = self.picks.front().copied().unwrap_or(self.resume.max(seq) + 1);
        } else {
            self.next = seq + 1;
        }
        self.delivered = Pair { consumer: self.delivered.consumer + 1, stream: seq };
        if self.rules.ack == AckPolicy::None {
            self.floor = self.delivered;
        } else {
            let deadline = self.rules.deadline(now, 0);
            self.due = self.due.min(deadline);
            let delivery = self.delivered.consumer;
            self.pending.insert(seq, Pending { delivery, deadline, queued: None, unseen: false });
        }
        self.delivered.consumer
    }

    /// Notes a redelivery of a queued message. Returns the number of the delivery and how often that makes it; `None` if
    /// it is no longer queued.
    pub fn redeliver(&mut self, seq: u64, now: Ticks) -> Option<(u64, u64)> {
        let pending = self.pending.get_mut(&seq)?;
        self.queue.remove(&pending.queued.take()?);
        let redeliveries = match std::mem::take(&mut pending.unseen) {
            true => self.redelivered.get(&seq).copied().unwrap_or(0),
            false => *self.redelivered.entry(seq).and_modify(|n| *n += 1).or_insert(1),
        };
        pending.deadline = self.rules.deadline(now, redeliveries);
        self.due = self.due.min(pending.deadline);
        self.delivered.consumer += 1;
        Some((self.delivered.consumer, redeliveries + 1))
    }

    /// The delivery of `seq` reached nobody: it is due again at once and was not counted.
    pub fn undeliver(&mut self, seq: u64) {
        if let Some(pending) = self.pending.get_mut(&seq).filter(|p| p.queued.is_none()) {
            let place = self.queue.first_key_value().map_or(0, |(first, _)| first - 1);
            (pending.queued, pending.unseen) = (Some(place), true);
            self.queue.insert(place, seq);
        }
    }

    /// Takes an ack. Messages that became acknowledged are appended to `removed`.
    pub fn ack(&mut self, stream_seq: u64, consumer_seq: u64, removed: &mut Vec<u64>) -> Acked {
        if stream_seq >= self.next {
            return Acked::Ignored;
        }
        match self.rules.ack {
            AckPolicy::None => Acked::Ignored,
            AckPolicy::Explicit => {
                // A message that used up its deliveries is no longer pending, but can still be acknowledged.
                let exhausted = self.redelivered.remove(&stream_seq).is_some();
                if self.settle(stream_seq) || exhausted {
                    removed.push(stream_seq);
                    Acked::Counted
                } else {
                    Acked::Again
                }
            }
            AckPolicy::All | AckPolicy::FlowControl => {
                if consumer_seq <= self.floor.consumer
                    || stream_seq <= self.floor.stream
                    || consumer_seq > self.delivered.consumer
                {
                    return Acked::Again;
                }
                self.floor = Pair { consumer: consumer_seq, stream: stream_seq };
                let rest = self.pending.split_off(&(stream_seq + 1));
                self.queue.retain(|_, seq| *seq > stream_seq);
                removed.extend(self.pending.keys());
                self.pending = rest;
                self.redelivered = self.redelivered.split_off(&(stream_seq + 1));
                Acked::Counted
            }
        }
    }

    /// Wants the message again, at once or after `delay`. Returns whether it was pending; `exhausted` gets it if it has
    /// been delivered as often as it may be.
    pub fn nak(&mut self, seq: u64, delay: Option<Ticks>, now: Ticks, exhausted: &mut Vec<Exhausted>) -> bool {
        let Some(pending) = self.pending.get_mut(&seq) else { return false };
        if let Some(delay) = delay {
            if let Some(place) = pending.queued.take() {
                self.queue.remove(&place);
            }
            pending.deadline = now.saturating_add(delay);
            self.due = self.due.min(pending.deadline);
        } else if pending.queued.is_none() && !self.exhaust(seq, exhausted) {
            self.enqueue(seq);
        }
        true
    }

    /// The client is still at it: its ack wait starts again.
    pub fn progress(&mut self, seq: u64, now: Ticks) {
        if let Some(pending) = self.pending.get_mut(&seq) {
            let redeliveries = self.redelivered.get(&seq).copied().unwrap_or(0);
            pending.deadline = self.rules.deadline(now, redeliveries);
            self.due = self.due.min(pending.deadline);
        }
    }

    /// Queues what is due for redelivery by `now`. Returns whether anything was queued.
    pub fn expire(&mut self, now: Ticks, exhausted: &mut Vec<Exhausted>) -> bool {
        if now < self.due {
            return false;
        }
        let due: Vec<u64> =
            self.pending.iter().filter(|(_, p)| p.queued.is_none() && p.deadline <= now).map(|(seq, _)| *seq).collect();
        let before = self.queue.len();
        for seq in due {
            if !self.exhaust(seq, exhausted) {
                self.enqueue(seq);
            }
        }
        self.due = self.pending.values().filter(|p| p.queued.is_none()).map(|p| p.deadline).min().unwrap_or(Ticks::MAX);
        self.queue.len() > before
    }

    /// Nothing is due before this; [`Ticks::MAX`] if nothing ever is.
    pub fn due(&self) -> Ticks {
        if self.pending.is_empty() { Ticks::MAX } else { self.due }
    }

    /// Queues everything pending for redelivery (the receiver changed).
    pub fn expire_all(&mut self, exhausted: &mut Vec<Exhausted>) {
        for pending in self.pending.values_mut() {
            pending.deadline = 0;
        }
        self.due = 0;
        self.expire(0, exhausted);
    }

    /// Messages that are pending, or have used up their deliveries.
    pub fn unsettled(&self) -> impl Iterator<Item = u64> + '_ {
        self.pending.keys().chain(self.redelivered.keys()).copied()
    }

    /// How often the message has been delivered, if it is pending.
    pub fn deliveries(&self, seq: u64) -> u64 {
        self.redelivered.get(&seq).copied().unwrap_or(0) + 1
    }

    /// The stream no longer has the message: nothing more is expected of it. Returns the number of its first delivery if
    /// it was pending.
    pub fn forget(&mut self, seq: u64) -> Option<u64> {
        let delivery = self.pending.get(&seq).map(|pending| pending.delivery);
        self.settle(seq);
        self.redelivered.remove(&seq);
        delivery
    }

    /// The stream begins at `first` now.
    pub fn forget_below(&mut self, first: u64) {
        while let Some((seq, _)) = self.pending.first_key_value().filter(|(seq, _)| **seq < first) {
            let seq = *seq;
            self.settle(seq);
        }
        if self.redelivered.first_key_value().is_some_and(|(seq, _)| *seq < first) {
            self.redelivered = self.redelivered.split_off(&first);
        }
        if self.next < first {
            self.skip_to(first);
        }
    }

    /// The stream ends at `last`: messages above it were lost with an unclean end and their numbers will be given again.
    pub fn forget_above(&mut self, last: u64) {
        if self.next <= last + 1 {
            return;
        }
        self.next = last + 1;
        let lost = self.pending.split_off(&(last + 1));
        self.queue.retain(|_, seq| *seq <= last);
        self.redelivered.split_off(&(last + 1));
        self.delivered.stream = self.delivered.stream.min(last);
        self.floor.stream = self.floor.stream.min(last);
        if !lost.is_empty() && self.pending.is_empty() {
            self.floor = self.delivered;
        }
    }

    /// Whether the consumer still has a use for the message (retention by interest).
    pub fn needs(&self, seq: u64) -> bool {
        let needed = match self.rules.ack {
            AckPolicy::Explicit if seq < self.next => self.pending.contains_key(&seq),
            _ => seq > self.floor.stream || seq >= self.next,
        };
        needed || self.redelivered.contains_key(&seq)
    }

    fn enqueue(&mut self, seq: u64) {
        if let Some(pending) = self.pending.get_mut(&seq) {
            let place = self.queue.last_key_value().map_or(0, |(last, _)| last + 1);
            pending.queued = Some(place);
            self.queue.insert(place, seq);
        }
    }

    /// Takes a message that used up its deliveries out of the pending ones.
    fn exhaust(&mut self, seq: u64, exhausted: &mut Vec<Exhausted>) -> bool {
        let deliveries = self.redelivered.get(&seq).copied().unwrap_or(0) + 1;
        if self.rules.max_deliver.is_none_or(|max| deliveries < max) {
            return false;
        }
        let redeliveries = deliveries - 1;
        if self.settle(seq) {
            self.redelivered.insert(seq, redeliveries);
            exhausted.push(Exhausted { stream_seq: seq, deliveries });
        }
        true
    }

    /// Removes a pending message and moves the ack floor over what is now settled.
    fn settle(&mut self, seq: u64) -> bool {
        let Some(settled) = self.pending.remove(&seq) else { return false };
        self.redelivered.remove(&seq);
        if let Some(place) = settled.queued {
            self.queue.remove(&place);
        }
        match self.pending.first_key_value() {
            None => self.floor = self.delivered,
            Some((first, pending)) if *first > seq => {
                self.floor = Pair { consumer: pending.delivery - 1, stream: first - 1 };
            }
            Some(_) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests;
