//! Declared gaps: what was dropped or damaged here before the hub had it is told to the hub, so that it can tell "lost" from
//! "nothing to report". A gap is a message on a subject of the uplink's own, captured by the local stream like any other.

use crate::protocol::headers::HeadersBuilder;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Present messages between two gaps that still count as one, as thinning leaves them.
const NEAR: u64 = 64;
/// Most gaps that wait to be declared; what comes above that is joined to the last.
const MOST: usize = 16;
/// How long a gap may grow before it is declared.
const GROWS: Duration = Duration::from_secs(1);

/// A stretch of local messages of which some never reach the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First local sequence that is missing.
    pub first: u64,
    /// Last one.
    pub last: u64,
    /// How many between them, both included, are missing.
    pub count: u64,
    /// Whether some were damaged on disk; otherwise they were dropped for want of room, or deleted.
    pub damaged: bool,
}

impl Gap {
    /// As the headers of its declaration.
    pub fn headers(&self, id: &str) -> Vec<u8> {
        HeadersBuilder::new()
            .add("Nats-Msg-Id", id)
            .add("Leafd-Gap-First", &self.first.to_string())
            .add("Leafd-Gap-Last", &self.last.to_string())
            .add("Leafd-Gap-Count", &self.count.to_string())
            .add("Leafd-Gap-Reason", if self.damaged { "damaged" } else { "dropped" })
            .build()
    }
}

/// Gaps that are to be declared. Saved with the cursor, so that none is forgotten or declared twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// Up to this place in line gaps are known already.
    upto: u64,
    waiting: VecDeque<Gap>,
    #[serde(skip)]
    last_grown: Duration,
}

impl Gaps {
    /// Messages `seqs`, inclusive, which would be the next in line up to `place`, are missing. `backwards`: the last of them
    /// would be the first in line.
    pub fn add(&mut self, now: Duration, place: u64, seqs: (u64, u64), backwards: bool, damaged: bool) {
        let new = place.saturating_sub(self.upto).min(seqs.1 - seqs.0 + 1);
        if new == 0 {
            return;
        }
        let (first, last) = if backwards { (seqs.0, seqs.0 + new - 1) } else { (seqs.1 + 1 - new, seqs.1) };
        self.upto = place;
        self.last_grown = now;
        let full = self.waiting.len() >= MOST;
        let near = |gap: &Gap| gap.last < first && first - gap.last <= NEAR || last + 1 == gap.first;
        match self.waiting.back_mut().filter(|gap| full || near(gap)) {
            Some(gap) => {
                (gap.first, gap.last) = (gap.first.min(first), gap.last.max(last));
                gap.count += new;
                gap.damaged |= damaged;
            }
            None => self.waiting.push_back(Gap { first, last, count: new, damaged }),
        }
    }

    /// The gap to declare now.
    pub fn due(&self, now: Duration) -> Option<&Gap> {
        let grown = self.waiting.len() > 1 || now >= self.last_grown + GROWS;
        self.waiting.front().filter(|_| grown)
    }

    /// When [`Gaps::due`] is worth asking.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(self.last_grown + GROWS)
    }

    /// This one is declared, as it was when it was due.
    pub fn declared(&mut self, gap: &Gap) {
        let Some(front) = self.waiting.front_mut() else { return };
        let rest = front.count.saturating_sub(gap.count);
        // Where it has grown meanwhile, the rest is a gap of its own.
        match (front.first == gap.first, front.last == gap.last) {
            (true, true) => drop(self.waiting.pop_front()),
            (true, false) => (front.first, front.count) = (gap.last + 1, rest),
            (false, true) => (front.last, front.count) = (gap.first - 1, rest),
            (false, false) => {}
        }
    }

    /// Tries again later.
    pub fn put_off(&mut self, now: Duration) {
        self.last_grown = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::headers;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn near_gaps_are_one_and_none_is_told_twice() {
        let mut gaps = Gaps::default();
        gaps.add(at(1), 9, (5, 9), false, false);
        gaps.add(at(1), 9, (5, 9), false, false);
        gaps.add(at(1), 12, (12, 12), false, true);
        assert_eq!(gaps.due(at(1)), None);
        let gap = gaps.due(at(2)).expect("has not grown for a second").clone();
        assert_eq!(gap, Gap { first: 5, last: 12, count: 6, damaged: true });
        gaps.add(at(2), 20, (13, 20), false, false);
        gaps.declared(&gap);
        assert_eq!(gaps.due(at(3)), Some(&Gap { first: 13, last: 20, count: 8, damaged: true }));
        let rest = gaps.due(at(3)).cloned().expect("the rest");
        gaps.declared(&rest);
        gaps.add(at(4), 20, (1, 20), false, false);
        assert_eq!((gaps.due(at(9)), gaps.deadline()), (None, None));
        let block = gap.headers("id");
        assert_eq!(headers::get(&block, "Leafd-Gap-First"), Some("5"));
        assert_eq!(headers::get(&block, "Leafd-Gap-Count"), Some("6"));
        assert_eq!(headers::get(&block, "Leafd-Gap-Reason"), Some("damaged"));
    }

    #[test]
    fn where_the_line_runs_backwards_gaps_grow_downwards() {
        let mut gaps = Gaps::default();
        gaps.add(at(1), 3, (18, 20), true, false);
        let gap = gaps.due(at(2)).expect("has not grown for a second").clone();
        assert_eq!(gap, Gap { first: 18, last: 20, count: 3, damaged: false });
        gaps.add(at(2), 5, (16, 17), true, false);
        gaps.add(at(2), 6, (15, 17), true, false);
        gaps.declared(&gap);
        assert_eq!(gaps.due(at(3)), Some(&Gap { first: 15, last: 17, count: 3, damaged: false }));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut gaps = Gaps::default();
        for n in 1..100 {
            gaps.add(at(1), n * 1000, (n * 1000, n * 1000), false, false);
        }
        assert_eq!(gaps.waiting.len(), MOST);
        assert_eq!(gaps.waiting.iter().map(|gap| gap.count).sum::<u64>(), 99);
    }
}
