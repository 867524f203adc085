//! The sequences of a log that turned out damaged: told once, left out, and listed for whoever asks.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// Most ranges that are listed; what comes after is only told.
const MAX_RANGES: usize = 1024;

/// Ranges in order, which neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct Quarantine(Mutex<Vec<(u64, u64)>>);

impl Quarantine {
    /// The sequences from `first` to `last`, if there are any, cannot be read; whether that was not known of all of them.
    pub fn add(&self, id: &str, first: u64, last: u64) -> bool {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if first > last || ranges.iter().any(|(from, to)| *from <= first && last <= *to) || ranges.len() == MAX_RANGES {
            return false;
        }
        tracing::error!("{id}: sequences {first} to {last} are damaged and are left out; the rest is served");
        let begin = ranges.partition_point(|(_, to)| to.saturating_add(1) < first);
        let end = ranges.partition_point(|(from, _)| *from <= last.saturating_add(1));
        let merged = ranges[begin..end].iter().fold((first, last), |all, one| (all.0.min(one.0), all.1.max(one.1)));
        ranges.splice(begin..end, [merged]);
        true
    }

    pub fn ranges(&self) -> Vec<RangeInclusive<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(from, to)| *from..=*to).collect()
    }

    /// How many sequences there are.
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(from, to)| to - from + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged() {
        let quarantine = Quarantine::default();
        for (first, last) in [(5, 6), (1, 2), (9, 9), (9, 9), (7, 6), (3, 3), (6, 8)] {
            quarantine.add("log", first, last);
        }
        assert_eq!(quarantine.ranges(), [1..=3, 5..=9]);
        assert_eq!(quarantine.count(), 8);
    }
}
