//! Removals for look-up, while a log is opened.

use super::segment::Segment;
use super::tombstones::Tomb;

/// Sequences that are no more.
#[derive(Default)]
pub(super) struct Removed {
    /// All below this one.
    pub below: u64,
    /// Sorted, disjoint.
    ranges: Vec<Tomb>,
}

impl Removed {
    pub fn new(tombs: impl Iterator<Item = Tomb>) -> Removed {
        let mut ranges: Vec<Tomb> = tombs.collect();
        let below = ranges.iter().filter(|t| t.0 == 0).map(|t| t.1 + 1).max().unwrap_or(0);
        ranges.retain(|t| t.1 >= below);
        ranges.sort_unstable_by_key(|t| t.0);
        let mut merged: Vec<Tomb> = Vec::with_capacity(ranges.len());
        for tomb in ranges {
            match merged.last_mut() {
                Some(last) if tomb.0 <= last.1.saturating_add(1) => last.1 = last.1.max(tomb.1),
                _ => merged.push(tomb),
            }
        }
        Removed { below, ranges: merged }
    }

    /// The sequence behind the last removed one.
    pub fn end(&self) -> u64 {
        self.ranges.last().map_or(self.below, |last| self.below.max(last.1 + 1))
    }

    pub fn contains(&self, seq: u64) -> bool {
        seq < self.below || self.ranges.get(self.at(seq)).is_some_and(|t| t.0 <= seq)
    }

    /// The removed sequences from `first` to `last`.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let front = first..self.below.clamp(first, last + 1);
        let from = front.end;
        let ranges = self.ranges[self.at(from)..].iter().take_while(move |t| t.0 <= last);
        front.chain(ranges.flat_map(move |t| t.0.max(from)..=t.1.min(last)))
    }

    /// How many sequences from `first` to `last` are removed.
    fn count(&self, first: u64, last: u64) -> u64 {
        self.within(first, last).count() as u64
    }

    /// Position of the first range that ends at or after `seq`.
    fn at(&self, seq: u64) -> usize {
        self.ranges.partition_point(|t| t.1 < seq)
    }
}

/// What has been removed from a segment since the checkpoint.
pub(super) struct Change {
    before: u64,
    now: u64,
}

impl Change {
    pub fn of(segment: &Segment, before: &Removed, now: &Removed) -> Change {
        let count = |removed: &Removed| removed.count(segment.base, segment.last);
        Change { before: count(before), now: count(now) }
    }

    /// Whether it has to be looked up, record by record: something was removed since, or it is not known which of the
    /// removed sequences there ever were.
    pub fn is_partial(&self, segment: &Segment) -> bool {
        let gaps = segment.records != segment.last + 1 - segment.base;
        self.before != self.now || gaps && self.now > 0
    }
}
