//! What must hold in the simulation: of the line while it is planned, and of the hub's stream at the end.

use super::{SUBJECTS, Sim};
use crate::uplink::order::Way;
use std::collections::BTreeSet;

impl Sim {
    /// Each place is given once, and to one message.
    pub(super) fn told(&mut self) {
        let plan = self.planner.plan();
        for place in self.machine.cursor().confirmed + 1..=self.planner.told() {
            let (seq, own) = (plan.at(place).seq, plan.at(place).way == Way::Own);
            assert_eq!(*self.hub.line.entry(place).or_insert((seq, own)), (seq, own), "place {place} was given before");
            assert_eq!(plan.place(seq, (!own).then_some(place)), Some(place), "its id tells its place");
        }
    }

    pub(super) fn check(&self) {
        let held: Vec<u64> = self.hub.stream.iter().filter_map(|held| held.seq).collect();
        if self.world.sparse {
            // What is there is the last of each subject, and nothing is there twice.
            let last = |subject: u64| held.iter().rev().find(|seq| *seq % SUBJECTS == subject).copied().unwrap_or(0);
            for seq in (self.committed + 1).saturating_sub(SUBJECTS).max(1)..=self.committed {
                assert_eq!(last(seq % SUBJECTS), seq, "an old value is the last: {held:?}");
            }
            assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "not once: {held:?}");
            return;
        }
        assert!(held.is_sorted_by(|a, b| a < b), "not once and in order: {held:?}");
        let local: BTreeSet<u64> = (1..=self.committed).map(|place| self.hub.local(place)).collect();
        assert_eq!(local, (1..=self.committed).collect(), "each message has a place");
        let gap = |place: &u64| self.world.gaps && self.hub.local(*place) % 41 == 7;
        let refused = |place: &u64| self.world.permanent && self.hub.local(*place) % 37 == 5;
        let want: Vec<u64> = (1..=self.committed).filter(|seq| !gap(seq) && !refused(seq)).collect();
        if self.world.rollback {
            assert!(held.len() + 200 > want.len() && held.iter().all(|seq| want.contains(seq)));
        } else {
            assert_eq!(held, want, "something is missing at the hub");
        }
        let want: BTreeSet<u64> = (1..=self.committed).filter(|seq| !gap(seq) && refused(seq)).collect();
        assert_eq!(self.buried, want, "dead letters");
    }
}
