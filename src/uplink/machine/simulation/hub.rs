//! The hub of the simulation: checks guards, batches and duplicates as nats-server does.

use super::super::{AckResult, Guard, LastId, Order, Place};
use super::{SUBJECTS, World};
use std::collections::HashMap;
use std::time::Duration;

/// A message that it holds.
pub(super) struct Held {
    pub(super) position: u64,
    /// Ours; `None` is another publisher's.
    pub(super) seq: Option<u64>,
    pub(super) at: Duration,
}

/// The guard of a batch's first message, and its messages so far.
type Batch = (Option<u64>, Vec<u64>);

/// The hub's stream.
#[derive(Default)]
pub(super) struct Hub {
    pub(super) stream: Vec<Held>,
    pub(super) last_position: u64,
    pub(super) last_id: Option<Option<u64>>,
    pub(super) seen: HashMap<u64, (u64, Duration)>,
    /// Batches that wait for their commit.
    pub(super) staged: HashMap<(u64, u64, u64), Batch>,
    /// The local sequence of each place in line, and whether its id tells the place: once given, for ever.
    pub(super) line: HashMap<u64, (u64, bool)>,
}

impl Hub {
    pub(super) fn store(&mut self, now: Duration, seq: Option<u64>) -> u64 {
        self.last_position += 1;
        self.stream.push(Held { position: self.last_position, seq, at: now });
        self.last_id = Some(seq);
        if let Some(seq) = seq {
            self.seen.insert(seq, (self.last_position, now));
        }
        self.last_position
    }

    /// The local sequence of the message at `place`.
    pub(super) fn local(&self, place: u64) -> u64 {
        self.line[&place].0
    }

    pub(super) fn last_of(&self, subject: u64) -> Option<&Held> {
        self.stream.iter().rev().find(|held| held.seq.is_some_and(|seq| self.local(seq) % SUBJECTS == subject))
    }

    pub(super) fn restart(&mut self, now: Duration, window: Duration) {
        self.staged.clear();
        self.seen.retain(|_, (_, at)| now - *at < window);
        if self.stream.last().is_none_or(|last| now - last.at >= window) {
            self.last_id = None;
        }
    }

    pub(super) fn moved(&self, seq: u64, expected: Option<u64>) -> bool {
        let position = || self.last_of(self.local(seq) % SUBJECTS).map_or(0, |held| held.position);
        expected.is_some_and(|expected| position() != expected)
    }

    pub(super) fn duplicate(&self, now: Duration, world: &World, seq: u64) -> Option<u64> {
        let (position, at) = self.seen.get(&seq)?;
        (now - *at < world.hub_window).then_some(*position)
    }

    pub(super) fn publish(
        &mut self,
        now: Duration,
        world: &World,
        life: u64,
        order: &Order,
        expected: Option<u64>,
    ) -> AckResult {
        let Order { seq, guard, batch, run } = *order;
        let refuses = world.permanent && self.local(seq) % 37 == 5;
        if let (Some(place), Some(taken)) = (batch, world.batches) {
            let name = (life, run, place.first);
            return if taken {
                self.batch(now, world, name, place, seq, expected)
            } else {
                AckResult::Unbatched { never: true }
            };
        }
        if self.moved(seq, expected) {
            return AckResult::Moved(LastId::Unknown);
        }
        if let Some(position) = self.duplicate(now, world, seq) {
            return AckResult::Stored { position, duplicate: true };
        }
        if let Guard::After(previous) = guard
            && self.last_id != Some(Some(previous))
        {
            return AckResult::Moved(match self.last_id {
                Some(Some(seq)) => LastId::Ours(seq),
                Some(None) => LastId::Foreign,
                None => LastId::Unknown,
            });
        }
        if refuses {
            return AckResult::Permanent("too large".into());
        }
        AckResult::Stored { position: self.store(now, Some(seq)), duplicate: false }
    }

    /// As `processJetStreamAtomicBatchMsg` of nats-server's stream.go.
    pub(super) fn batch(
        &mut self,
        now: Duration,
        world: &World,
        name: (u64, u64, u64),
        place: Place,
        seq: u64,
        expected: Option<u64>,
    ) -> AckResult {
        if place.at == 1 {
            self.staged.insert(name, (expected, Vec::new()));
        }
        let Some((_, staged)) = self.staged.get_mut(&name).filter(|(_, staged)| staged.len() as u64 + 1 == place.at)
        else {
            self.staged.remove(&name);
            return AckResult::Unbatched { never: false };
        };
        staged.push(seq);
        if !place.commit {
            return AckResult::Staged;
        }
        let (expected, staged) = self.staged.remove(&name).expect("it was there");
        if self.moved(staged[0], expected) || staged.iter().any(|seq| self.duplicate(now, world, *seq).is_some()) {
            return AckResult::Moved(LastId::Unknown);
        }
        if world.permanent && staged.iter().any(|seq| self.local(*seq) % 37 == 5) {
            return AckResult::Permanent("one is too large".into());
        }
        let stored = staged.iter().map(|seq| self.store(now, Some(*seq))).last();
        AckResult::Stored { position: stored.expect("at least one"), duplicate: false }
    }
}
