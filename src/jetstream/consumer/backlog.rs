//! How many messages a consumer has still to deliver. Each delivery and each pull request tells it, so it is not counted
//! anew: deliveries are subtracted, and of what was committed since only the new part is counted. Where messages were
//! removed in between the number may be too high for a while; it is right again when the end of the stream is reached, and
//! for those who ask for it by itself.

use super::context::Filter;
use crate::store::Log;

/// Messages that pass the filter within a range of sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// First sequence of the range; 0: nothing is known.
    next: u64,
    /// Last sequence of the range.
    upto: u64,
    pending: u64,
    /// Messages that had left the stream when it was counted.
    removed: u64,
}

impl Backlog {
    /// Everything before `next` is delivered, and nothing follows up to there.
    pub fn none_before(next: u64) -> Self {
        Backlog { next, upto: next.saturating_sub(1), pending: 0, removed: 0 }
    }

    /// How many messages from `next` to the end of what is committed pass.
    pub fn at(&mut self, log: &Log, filter: &Filter, next: u64) -> u64 {
        let (committed, removed) = log.committed_and_removed();
        if self.next != next || next == 0 {
            *self = Backlog { next, upto: committed, pending: between(log, filter, next, committed), removed };
        } else if committed > self.upto {
            self.pending += between(log, filter, (self.upto + 1).max(next), committed);
            self.upto = committed;
        }
        self.pending
    }

    /// The same, counted anew if messages have left the stream since it was.
    pub fn exactly_at(&mut self, log: &Log, filter: &Filter, next: u64) -> u64 {
        if self.removed != log.committed_and_removed().1 {
            *self = Backlog::default();
        }
        self.at(log, filter, next)
    }

    /// `count` messages were delivered, after which `next` is next.
    pub fn delivered(&mut self, count: u64, next: u64) {
        self.pending = self.pending.saturating_sub(count);
        self.next = next;
    }
}

/// Messages from `from` to `committed`, without those that are only staged.
fn between(log: &Log, filter: &Filter, from: u64, committed: u64) -> u64 {
    if from > committed {
        return 0;
    }
    let staged = match filter {
        Filter::Subject(subject)
            if log.subject_info(subject).is_ok_and(|info| info.is_none_or(|info| info.last <= committed)) =>
        {
            0
        }
        _ => filter.count_from(log, committed + 1),
    };
    filter.count_from(log, from).saturating_sub(staged)
}
