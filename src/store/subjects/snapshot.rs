//! The subjects as they were at one moment, given away piece by piece while they change: what is known of a subject is put aside
//! before the first change of it, unless that piece is past.

use super::entries::SHADOW;
use super::hot::Hot;
use super::{SubjectInfo, Subjects, block};
use crate::store::StoreError;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Bytes of a piece at most, about.
const PIECE: usize = 64 * 1024;
/// What is put aside aims at this part of the memory for all subjects; at twice as much it is given up.
const PART: u64 = 8;

/// A moment, as far as it is not given away.
pub(super) struct Snapshot {
    /// The last sequence then. A subject whose first one is later was not there.
    last: u64,
    /// Before this everything is given away.
    next: Vec<u8>,
    /// What changed since, as it was; without a count it was not there.
    aside: Hot,
    /// Subjects there were,
    all: usize,
    /// and that were looked at.
    seen: usize,
}

/// What to do about a snapshot after a piece of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Pace {
    /// The next piece is due at the next occasion.
    Steady,
    /// At once: what is put aside fills its memory sooner than the subjects are gone through.
    Hurry,
    /// That was the last piece.
    Done,
    /// It takes too much memory, and is given up.
    Lost,
}

/// The piece that is being made.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    before: String,
    seen: usize,
    visits: usize,
}

impl Piece {
    fn is_full(&self) -> bool {
        self.seen >= self.visits || self.bytes.len() >= PIECE
    }

    fn push(&mut self, subject: &str, info: SubjectInfo) {
        self.seen += 1;
        if info.count > 0 {
            block::put(&mut self.bytes, &self.before, subject, info);
            self.before.clear();
            self.before.push_str(subject);
        }
    }
}

impl Subjects {
    /// Begins to give away what is known now, but for the records after `last`: `staged` has the subjects of those with the last
    /// sequence before them, and how many there are. A snapshot that was begun before is given up.
    pub fn begin_snapshot(&mut self, last: u64, staged: &HashMap<&str, (Option<u64>, u64)>) {
        let mut aside = Hot::default();
        for (subject, (before, count)) in staged {
            let known = self.hot.find(subject.as_bytes()).map(|number| self.hot.info(number));
            // Else it is known by its sequence that it was not there.
            if let Some((info, last)) = known.zip(*before) {
                let count = info.count.saturating_sub(*count);
                aside.add(subject.as_bytes(), SubjectInfo { last, count, ..info }, SHADOW);
            }
        }
        self.snapshot = Some(Box::new(Snapshot { last, next: Vec::new(), aside, all: self.live, seen: 0 }));
        self.count();
    }

    /// The snapshot is of no use any more; whether there was one.
    pub fn end_snapshot(&mut self) -> bool {
        let ended = self.snapshot.take().is_some();
        if ended {
            self.count();
        }
        ended
    }

    /// The next piece of the snapshot, as [`block`] has it, for which at most so many subjects are looked at (one at least); empty if
    /// there is none.
    ///
    /// # Errors
    /// What is not in memory cannot be read.
    pub fn snapshot_piece(&mut self, visits: usize) -> Result<(Vec<u8>, Pace), StoreError> {
        let Some(mut snapshot) = self.snapshot.take() else { return Ok((Vec::new(), Pace::Lost)) };
        let mut piece = Piece { visits, ..Piece::default() };
        let filled = snapshot.fill(self, &mut piece);
        snapshot.seen += piece.seen;
        let filled = filled.map(|ended| match ended {
            true => Pace::Done,
            false => snapshot.pace(self.budget.max() / PART),
        });
        if let Ok(Pace::Steady | Pace::Hurry) = filled {
            self.snapshot = Some(snapshot);
        }
        self.count();
        filled.map(|pace| (piece.bytes, pace))
    }

    /// `before` is what is known of a subject that is about to change, if it is there.
    pub(super) fn put_aside(&mut self, name: &[u8], before: Option<SubjectInfo>) {
        if let (Some(snapshot), Some(before)) = (&mut self.snapshot, before)
            && snapshot.put_aside(name, before)
        {
            self.count();
        }
    }
}

impl Snapshot {
    /// Bytes of memory it takes, about.
    pub fn memory(&self) -> usize {
        self.aside.memory()
    }

    fn put_aside(&mut self, name: &[u8], before: SubjectInfo) -> bool {
        let due = before.first <= self.last && *name >= *self.next;
        let due = due && self.aside.find(name).is_none();
        if due {
            self.aside.add(name, before, SHADOW);
        }
        due
    }

    /// Fills a piece; whether that was all.
    fn fill(&mut self, subjects: &mut Subjects, piece: &mut Piece) -> Result<bool, StoreError> {
        let Snapshot { last, next, aside, .. } = self;
        let from = std::mem::take(next);
        let (sorted, entries) = aside.sorted();
        let mut images = &sorted[sorted.partition_point(|n| entries.name(*n) < &*from)..];
        // Those that are no more and sort before `name`; `false` if the piece is full before.
        let before = |piece: &mut Piece, images: &mut &[u32], name: Option<&[u8]>, next: &mut Vec<u8>| {
            while let [number, rest @ ..] = *images
                && name.is_none_or(|name| entries.name(*number) < name)
            {
                if piece.is_full() {
                    next.extend_from_slice(entries.name(*number));
                    return false;
                }
                if let Ok(gone) = std::str::from_utf8(entries.name(*number)) {
                    piece.push(gone, entries.info(*number));
                }
                *images = rest;
            }
            true
        };
        let full = subjects.each_from(from, ">", |subject, info| {
            let name = subject.as_bytes();
            if !before(piece, &mut images, Some(name), next) {
                return ControlFlow::Break(());
            }
            if piece.is_full() {
                next.extend_from_slice(name);
                return ControlFlow::Break(());
            }
            let info = match *images {
                [number, ref rest @ ..] if entries.name(number) == name => {
                    images = rest;
                    entries.info(number)
                }
                _ if info.first > *last => SubjectInfo { count: 0, ..info },
                _ => info,
            };
            piece.push(subject, info);
            ControlFlow::Continue(())
        })?;
        Ok(full.is_none() && before(piece, &mut images, None, next))
    }

    /// What is put aside may grow to `most` bytes by the time that all subjects were looked at.
    fn pace(&self, most: u64) -> Pace {
        let taken = self.memory() as u64;
        if taken > 2 * most {
            Pace::Lost
        } else if taken * self.all as u64 > most * self.seen as u64 {
            Pace::Hurry
        } else {
            Pace::Steady
        }
    }
}
