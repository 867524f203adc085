//! What is known of the hub's stream per subject, and the subjects of the messages in flight.

use std::collections::{BTreeMap, HashMap};

/// Most subjects remembered; beyond it all are forgotten and asked for again as they come.
const MOST: usize = 4096;

/// The positions of subjects at the hub. Bounded by [`MOST`] and by the window.
#[derive(Default)]
pub struct Positions {
    known: HashMap<Box<str>, u64>,
    in_flight: BTreeMap<u64, Box<str>>,
    /// What is not known has no message.
    none_else: bool,
}

impl Positions {
    /// Forgets everything: a new run begins.
    pub fn clear(&mut self) {
        self.known.clear();
        self.in_flight.clear();
        self.none_else = false;
    }

    /// The hub has told the last message of each of the uplink's filters that has one: a run begins with what that says of
    /// single subjects.
    pub fn surveyed(&mut self, last: Vec<(Box<str>, u64)>) {
        self.none_else = last.is_empty();
        last.into_iter().for_each(|(subject, position)| self.learn(subject, position));
    }

    /// The position of the last message on `subject`; 0 if the subject has none.
    pub fn get(&self, subject: &str) -> Option<u64> {
        self.known.get(subject).copied().or(self.none_else.then_some(0))
    }

    /// The hub has told the position of `subject`.
    pub fn learn(&mut self, subject: Box<str>, position: u64) {
        if self.known.len() >= MOST {
            self.known.clear();
            self.none_else = false;
        }
        self.known.insert(subject, position);
    }

    /// Message `seq` was sent on `subject`.
    pub fn sent(&mut self, seq: u64, subject: Box<str>) {
        self.in_flight.insert(seq, subject);
    }

    /// Message `seq` is at `position`, the last of `count` that lie behind each other there; with it all before it are at
    /// the hub, at positions that nobody told.
    pub fn stored(&mut self, seq: u64, position: u64, count: u64) {
        let behind = self.in_flight.split_off(&(seq + 1));
        let stored = std::mem::replace(&mut self.in_flight, behind);
        let untold = (stored.len() as u64).saturating_sub(count);
        for ((at, subject), n) in stored.into_iter().zip(1..) {
            if at == seq {
                self.learn(subject, position);
            } else if n > untold && count > 1 {
                self.learn(subject, (position + n).saturating_sub(untold + count));
            } else {
                self.known.remove(&subject);
                self.none_else = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_tells_its_own_position_and_voids_those_it_implies() {
        let mut positions = Positions::default();
        positions.learn("a".into(), 3);
        positions.sent(7, "a".into());
        positions.sent(8, "b".into());
        positions.sent(9, "a".into());
        positions.stored(8, 12, 1);
        assert_eq!((positions.get("a"), positions.get("b")), (None, Some(12)));
        positions.stored(9, 13, 1);
        assert_eq!(positions.get("a"), Some(13));
        for (seq, subject) in [(10, "b"), (11, "c"), (13, "d"), (14, "c")] {
            positions.sent(seq, subject.into());
        }
        positions.stored(13, 20, 2);
        assert_eq!((positions.get("b"), positions.get("c"), positions.get("d")), (None, Some(19), Some(20)));
        positions.clear();
        assert_eq!(positions.get("a"), None);
    }

    #[test]
    fn where_the_hub_has_nothing_no_subject_has() {
        let mut positions = Positions::default();
        positions.surveyed(Vec::new());
        assert_eq!(positions.get("a"), Some(0));
        positions.sent(1, "a".into());
        positions.sent(2, "b".into());
        positions.stored(2, 2, 1);
        assert_eq!((positions.get("a"), positions.get("b"), positions.get("c")), (None, Some(2), None));
        positions.clear();
        positions.surveyed(vec![("a".into(), 7)]);
        assert_eq!((positions.get("a"), positions.get("b")), (Some(7), None));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut positions = Positions::default();
        for n in 0..2 * MOST as u64 {
            positions.learn(n.to_string().into(), n);
            assert!(positions.known.len() <= MOST);
        }
    }
}
