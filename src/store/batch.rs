//! Batches while a log is opened: one of which a record is missing was never acknowledged, or is damaged, and none of it is
//! served.

use super::record::Part;
use super::tombstones::Tomb;

/// Follows the records of a segment, in their order.
#[derive(Default)]
pub(super) struct Batches {
    /// First and last sequence so far, and where the first one begins.
    open: Option<(Tomb, u64)>,
    /// Records of batches that are not whole.
    pub broken: Vec<Tomb>,
}

impl Batches {
    /// A record was read at `offset`.
    pub fn record(&mut self, seq: u64, part: Part, offset: u64) {
        if part.joins {
            match &mut self.open {
                Some((range, _)) if range.1 + 1 == seq => {
                    range.1 = seq;
                    if !part.goes_on {
                        self.open = None;
                    }
                }
                _ => {
                    self.give_up();
                    self.broken.push(Tomb(seq, seq));
                }
            }
            return;
        }
        self.give_up();
        if part.goes_on {
            self.open = Some((Tomb(seq, seq), offset));
        }
    }

    /// The batch that is being read, if there is one, has no end.
    pub fn give_up(&mut self) {
        self.broken.extend(self.open.take().map(|(range, _)| range));
    }

    /// Where a batch begins that had not ended with the last record.
    pub fn unfinished(&self) -> Option<u64> {
        self.open.as_ref().map(|(_, offset)| *offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(records: &[(u64, bool, bool)]) -> (Vec<(u64, u64)>, Option<u64>) {
        let mut batches = Batches::default();
        for (seq, joins, goes_on) in records {
            batches.record(*seq, Part { joins: *joins, goes_on: *goes_on }, seq * 100);
        }
        (batches.broken.iter().map(|tomb| (tomb.0, tomb.1)).collect(), batches.unfinished())
    }

    #[test]
    fn only_whole_batches_count() {
        let (first, middle, last, single) = ((false, true), (true, true), (true, false), (false, false));
        let of = |parts: &[(u64, (bool, bool))]| broken(&parts.iter().map(|(s, p)| (*s, p.0, p.1)).collect::<Vec<_>>());
        assert_eq!(of(&[(1, single), (2, first), (3, middle), (4, last), (5, single)]), (vec![], None));
        assert_eq!(of(&[(1, single), (2, first), (3, middle)]), (vec![], Some(200)));
        assert_eq!(of(&[(2, first), (3, middle), (5, single)]), (vec![(2, 3)], None), "the last one is missing");
        assert_eq!(of(&[(2, first), (4, last), (5, first)]), (vec![(2, 2), (4, 4)], Some(500)), "one between");
        assert_eq!(of(&[(3, middle), (4, last)]), (vec![(3, 3), (4, 4)], None), "the first one");
    }
}
