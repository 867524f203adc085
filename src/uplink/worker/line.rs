//! The line to the hub and the local stream: what is planned, which message has a place, and what may go when it is confirmed.

use super::super::local::{LocalMessage, Lookup};
use super::super::machine::Event;
use super::super::order::{self, Step, Stretch, Way};
use super::super::traffic::Held;
use super::{Done, Worker};
use std::time::Duration;

/// Messages that are read at once where the line runs backwards.
const READ_BACK: u64 = 64;
/// Messages that are planned at once: what the uplink sends in a second, within these bounds. So what is more urgent
/// does not wait long behind what was planned before it came.
const BLOCK: (u64, u64) = (16, 512);
/// Wait after a plan that could not be saved.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// What the chunk that was read knows of a place.
pub(super) enum Found {
    Here(LocalMessage),
    Missing(Missing),
    Unknown,
}

/// Messages that are next in line and not there.
pub(super) struct Missing {
    /// The place of the last of them in line.
    pub(super) to: u64,
    /// Their local sequences, inclusive.
    pub(super) seqs: (u64, u64),
    /// The line runs backwards there.
    pub(super) backwards: bool,
}

impl Worker {
    /// The message at `place`.
    pub(super) fn find(&self, place: u64) -> Found {
        let Stretch { seq, way, end } = self.planner.plan().at(place);
        let seqs = match self.chunk.lookup(seq) {
            Lookup::Here(message) => return Found::Here(message.clone()),
            Lookup::Unknown => return Found::Unknown,
            Lookup::Missing(_) if way == Way::Backward => (self.chunk.missing_from(seq).max(end), seq),
            Lookup::Missing(to) => (seq, to.min(end)),
        };
        Found::Missing(Missing { to: place + (seqs.1 - seqs.0), seqs, backwards: way == Way::Backward })
    }

    /// Reads the message at `place` and others of those behind it in line.
    pub(super) fn read(&mut self, place: u64) {
        if self.reading {
            return;
        }
        self.reading = true;
        let Stretch { seq, way, end } = self.planner.plan().at(place);
        let (local, committed) = (self.local.clone(), *self.local.committed().borrow());
        self.jobs.spawn_blocking(move || {
            if way != Way::Backward {
                return Done::Read(local.read(seq, committed));
            }
            let mut from = end.max((seq + 1).saturating_sub(READ_BACK));
            loop {
                match local.read(from, seq) {
                    // Large messages: the chunk is full before it.
                    Ok(chunk) if chunk.covered < seq => from = chunk.covered + 1,
                    read => return Done::Read(read),
                }
            }
        });
    }

    /// Lets the machine send as far as is planned, and has the line planned on. Returns whether there is more to send.
    pub(super) fn go_on(&mut self) -> bool {
        let committed = *self.local.committed().borrow();
        let closed = self.held.is_some_and(|(held, _)| matches!(held, Held::Daily | Held::Monthly | Held::Schedule));
        self.planner.online(self.machine.has_link() && !closed, committed);
        let sent = self.machine.sent_high().max(self.machine.cursor().confirmed);
        // The hub may lose what it had confirmed: then the line goes back to what is still here.
        let kept = self.held_on_disk.min(self.machine.cursor().held).min(self.trimmed);
        let step = Step { committed, sent, kept, block: self.block() };
        if let Some(plan) = self.planner.step(step) {
            let (local, name) = (self.local.clone(), self.options.name.clone());
            self.jobs.spawn(async move {
                let save = move || local.save_plan(order::encode(local.epoch(), &plan));
                let saved = tokio::task::spawn_blocking(save).await.unwrap_or_else(|error| Err(error.to_string()));
                if let Err(error) = &saved {
                    tracing::warn!("uplink {name}: cannot save in which order messages go: {error}");
                    tokio::time::sleep(SAVE_AGAIN).await;
                }
                Done::Planned(saved.is_ok())
            });
        }
        let more = self.planner.told() > self.machine.committed();
        if more {
            self.feed(Event::Committed(self.planner.told()));
        }
        more
    }

    fn block(&self) -> u64 {
        let snapshot = self.shared.snapshot();
        let rate = snapshot.messages.rate(self.shared.start.elapsed(), snapshot.status.delivered);
        (rate.unwrap_or_default() as u64).clamp(BLOCK.0, BLOCK.1)
    }

    /// The first place whose message may still be there.
    pub(super) fn first(&self) -> u64 {
        if self.planner.plan().is_plain() { self.local.extent().first_seq } else { self.trimmed + 1 }
    }

    /// Drops what has places up to `upto`.
    pub(super) fn trim(&mut self, upto: u64) {
        let committed = *self.local.committed().borrow();
        let plan = self.planner.plan();
        let low = plan.unconfirmed(upto, committed).map(|(first, _)| first).min().unwrap_or(upto + 1);
        let apart: Vec<u64> = plan.sequences(self.trimmed + 1, upto).filter(|seq| *seq > low).collect();
        self.trimmed = self.trimmed.max(upto);
        let (local, name) = (self.local.clone(), self.options.name.clone());
        self.jobs.spawn_blocking(move || {
            local.trim(low - 1);
            if !apart.is_empty()
                && let Err(error) = local.remove(&apart)
            {
                tracing::warn!("uplink {name}: cannot drop what the hub has: {error}");
            }
            Done::Trimmed
        });
    }
}
