//! The places of local messages in the line to the hub.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How a piece of the line runs through the local stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A message's place is its sequence: nothing that is older waits behind it.
    Own,
    /// Upwards.
    Forward,
    /// Downwards.
    Backward,
}

/// Local sequences `first` to `last`, which have the places from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    start: u64,
    first: u64,
    last: u64,
    way: Way,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + (self.last - self.first)
    }

    fn seq(&self, place: u64) -> u64 {
        match self.way {
            Way::Own | Way::Forward => self.first + (place - self.start),
            Way::Backward => self.last - (place - self.start),
        }
    }
}

/// A message and those behind it in line, as far as they run the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The message's local sequence.
    pub seq: u64,
    /// How those behind it run.
    pub way: Way,
    /// The local sequence of the last of them.
    pub end: u64,
}

/// The line. Every local sequence is in it, or waits for a place, or (where its end is open) has its own sequence as place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In line, without those that are forgotten.
    pieces: VecDeque<Piece>,
    /// Inclusive ranges of sequences without a place, ascending and apart.
    waiting: Vec<(u64, u64)>,
    /// Sequences up to here have a place or wait for one.
    upto: u64,
    /// What lies above `upto` waits for a place too.
    closed: bool,
}

impl Plan {
    /// Whether the line has an end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether each message's place is its sequence.
    pub fn is_plain(&self) -> bool {
        !self.closed && self.pieces.is_empty()
    }

    /// Sequences without a place up to `committed`.
    pub fn waiting(&self, committed: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let new = (self.closed && committed > self.upto).then_some((self.upto + 1, committed));
        self.waiting.iter().copied().chain(new)
    }

    /// The first place that is not forgotten.
    pub fn first(&self) -> u64 {
        self.pieces.front().map_or(self.planned(self.upto) + 1, |piece| piece.start)
    }

    /// Pieces in line; what they take on disk grows with them.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// The last place that is taken, with local messages up to `committed`.
    pub fn planned(&self, committed: u64) -> u64 {
        match self.closed {
            // Each sequence up to `upto` has a place, except for those that wait.
            true => self.upto - self.waiting.iter().map(|(first, last)| last - first + 1).sum::<u64>(),
            false => committed.max(self.upto),
        }
    }

    /// The message at `place`. One at a place that is forgotten was confirmed long ago.
    pub fn at(&self, place: u64) -> Stretch {
        let at = self.pieces.partition_point(|piece| piece.end() < place);
        match self.pieces.get(at).filter(|piece| piece.start <= place) {
            Some(piece) => {
                let end = if piece.way == Way::Backward { piece.first } else { piece.last };
                Stretch { seq: piece.seq(place), way: piece.way, end }
            }
            None => Stretch { seq: place, way: Way::Own, end: u64::MAX },
        }
    }

    /// The place that an id tells of message `seq`; `None` if this plan cannot have given it that one.
    pub fn place(&self, seq: u64, told: Option<u64>) -> Option<u64> {
        let place = told.unwrap_or(seq);
        let own = told.is_none();
        if place < self.first() {
            return Some(place);
        }
        if self.closed && place > self.planned(self.upto) {
            // Beyond an older plan: the local stream was restored from a backup. All that is in line is at the hub.
            return own.then_some(place);
        }
        let Stretch { seq: ours, way, .. } = self.at(place);
        (ours == seq && (way == Way::Own) == own).then_some(place)
    }

    /// Ends the line at sequence `upto`, up to which messages may have been sent: what is newer waits for its place.
    pub fn close(&mut self, upto: u64) {
        if upto > self.upto {
            let first = self.upto + 1;
            self.push(Piece { start: first, first, last: upto, way: Way::Own });
        }
        self.upto = self.upto.max(upto);
        self.closed = true;
    }

    /// Messages up to `committed` wait for a place.
    pub fn arrived(&mut self, committed: u64) {
        if self.closed && committed > self.upto {
            match self.waiting.last_mut().filter(|(_, last)| *last == self.upto) {
                Some((_, last)) => *last = committed,
                None => self.waiting.push((self.upto + 1, committed)),
            }
            self.upto = committed;
        }
    }

    /// Gives places to `first` to `last`, which lie in one range of those that wait.
    pub fn append(&mut self, first: u64, last: u64, way: Way) {
        let start = self.planned(self.upto) + 1;
        let Some(at) = self.waiting.iter().position(|range| range.0 <= first && last <= range.1) else { return };
        let (low, high) = self.waiting[at];
        let left = [(low, first - 1), (last + 1, high)].into_iter().filter(|(low, high)| low <= high);
        self.waiting.splice(at..=at, left);
        self.push(Piece { start, first, last, way });
    }

    /// Opens the end again if nothing waits.
    pub fn open(&mut self) {
        self.closed &= !self.waiting.is_empty();
    }

    /// Places before `place` will not be asked for any more.
    pub fn forget(&mut self, place: u64) {
        while self.pieces.front().is_some_and(|piece| piece.end() < place) {
            self.pieces.pop_front();
        }
    }

    /// The sequences with places `from` to `to`, of pieces in line.
    pub fn sequences(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        let parts = self.pieces.iter().filter(move |piece| piece.start <= to && piece.end() >= from);
        parts.flat_map(move |piece| (piece.start.max(from)..=piece.end().min(to)).map(|place| piece.seq(place)))
    }

    /// Ranges of sequences up to `committed` that are not confirmed, if places up to `confirmed` are.
    pub fn unconfirmed(&self, confirmed: u64, committed: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pieces = self.pieces.iter().filter(move |piece| piece.end() > confirmed).map(move |piece| {
            let done = (confirmed + 1).saturating_sub(piece.start);
            match piece.way {
                Way::Backward => (piece.first, piece.last - done),
                Way::Own | Way::Forward => (piece.first + done, piece.last),
            }
        });
        let open = (confirmed.max(self.upto) + 1, committed);
        let open = (!self.closed && open.0 <= open.1).then_some(open);
        pieces.chain(open).chain(self.waiting(committed))
    }

    fn push(&mut self, piece: Piece) {
        let joins = |last: &&mut Piece| {
            last.way == piece.way
                && match piece.way {
                    Way::Own | Way::Forward => last.last + 1 == piece.first,
                    Way::Backward => piece.last + 1 == last.first,
                }
        };
        match self.pieces.back_mut().filter(joins) {
            Some(last) => (last.first, last.last) = (last.first.min(piece.first), last.last.max(piece.last)),
            None => self.pieces.push_back(piece),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(plan: &Plan) -> Vec<u64> {
        (1..=plan.planned(0)).map(|place| plan.at(place).seq).collect()
    }

    #[test]
    fn each_message_has_one_place() {
        let mut plan = Plan::default();
        assert_eq!((plan.planned(7), plan.at(7).seq, plan.place(7, None)), (7, 7, Some(7)));
        plan.close(3);
        plan.arrived(10);
        assert_eq!(plan.planned(10), 3);
        plan.append(9, 10, Way::Backward);
        plan.append(7, 8, Way::Backward);
        plan.arrived(12);
        plan.append(11, 12, Way::Forward);
        plan.append(4, 6, Way::Backward);
        assert_eq!(line(&plan), [1, 2, 3, 10, 9, 8, 7, 11, 12, 6, 5, 4]);
        assert_eq!(plan.pieces(), 4, "what runs on is one piece");
        assert_eq!(plan.at(5), Stretch { seq: 9, way: Way::Backward, end: 7 });
        assert_eq!(plan.sequences(6, 9).collect::<Vec<_>>(), [8, 7, 11, 12]);
        assert_eq!(plan.unconfirmed(5, 13).collect::<Vec<_>>(), [(7, 8), (11, 12), (4, 6), (13, 13)]);
        plan.open();
        assert_eq!((plan.planned(20), plan.at(13).seq, plan.at(20).seq), (20, 13, 20));
        assert_eq!(plan.unconfirmed(11, 20).collect::<Vec<_>>(), [(4, 4), (13, 20)]);
        plan.forget(9);
        assert_eq!((plan.at(8).seq, plan.at(9).seq), (11, 12), "its piece goes on");
        plan.forget(13);
        assert_eq!(plan.pieces(), 0);
    }

    #[test]
    fn an_id_that_does_not_fit_is_not_ours() {
        let mut plan = Plan::default();
        plan.close(3);
        plan.arrived(10);
        plan.append(8, 10, Way::Backward);
        assert_eq!((plan.place(2, None), plan.place(10, Some(4)), plan.place(8, Some(6))), (Some(2), Some(4), Some(6)));
        assert_eq!(plan.place(9, Some(4)), None, "another one has that place");
        assert_eq!(plan.place(5, None), None, "its place is not its sequence");
        assert_eq!(plan.place(7, Some(7)), None, "it has none yet");
        assert_eq!(plan.place(30, None), Some(30), "the local stream is older than the hub's");
        assert_eq!(Plan::default().place(8, Some(6)), None, "the plan was lost");
    }
}
