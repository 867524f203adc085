//! Batches while a log is opened: one of which records are missing was never acknowledged, and none of it is served. Where they
//! are not missing but damaged, the others stay: a batch that is not at the end was acknowledged as a whole.

use super::record::Part;
use super::tombstones::Tomb;

/// Follows the records of a segment, in their order.
#[derive(Default)]
pub(super) struct Batches {
    /// First and last sequence so far, and where the first one begins.
    open: Option<(Tomb, u64)>,
    /// Records of batches that are not whole.
    pub broken: Vec<Tomb>,
    /// What stood before the next record is damaged.
    damage: bool,
}

impl Batches {
    /// A record was read at `offset`.
    pub fn record(&mut self, seq: u64, part: Part, offset: u64) {
        if !part.joins {
            self.give_up();
            if part.goes_on {
                self.open = Some((Tomb(seq, seq), offset));
            }
            return;
        }
        let damage = std::mem::take(&mut self.damage);
        match &mut self.open {
            Some((range, _)) if damage || range.1 + 1 == seq => range.1 = seq,
            None if damage => self.open = Some((Tomb(seq, seq), offset)),
            _ => {
                self.give_up();
                self.broken.push(Tomb(seq, seq));
            }
        }
        if !part.goes_on {
            self.open = None;
        }
    }

    /// What follows is damaged, up to the next record.
    pub fn damage(&mut self) {
        self.damage = true;
    }

    /// The batch that is being read, if there is one, has no end; unless that is in what is damaged.
    pub fn give_up(&mut self) {
        let open = self.open.take();
        if !std::mem::take(&mut self.damage) {
            self.broken.extend(open.map(|(range, _)| range));
        }
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

    #[test]
    fn what_is_damaged_does_not_cost_the_rest() {
        let parts = [(2, false, true), (3, true, true), (4, true, true), (5, true, false), (6, false, false)];
        for damaged in 2..=6 {
            let mut batches = Batches::default();
            for (seq, joins, goes_on) in parts {
                match seq == damaged {
                    true => batches.damage(),
                    false => batches.record(seq, Part { joins, goes_on }, seq * 100),
                }
            }
            batches.give_up();
            assert!(batches.broken.is_empty() && batches.unfinished().is_none(), "{damaged} is damaged");
        }
    }
}
