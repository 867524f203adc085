//! The index of a log by subject: first and last sequence and count of each. Those that were used lately are in memory, found by hash
//! and in order ([`hot`]); the others, if there are more than fit, in blocks in a file ([`cold`]), of which only the beginnings are
//! in memory. A subject in memory hides what a block says of it until it is put out again ([`evict`]).

mod block;
mod budget;
mod cold;
mod entries;
mod evict;
mod filter;
mod hot;
mod load;
mod mend;
mod order;
mod runs;
mod snapshot;
mod spill;

pub(super) use budget::Budget;
pub(super) use load::Loader;
pub(super) use runs::Runs;
pub(super) use snapshot::Pace;

use self::cold::{Ahead, Cold};
use self::filter::Verdict;
use self::hot::{Hot, SHADOW};
use self::snapshot::Snapshot;
use super::StoreError;
use super::io::Place;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How the names of the files begin that hold what does not fit into memory.
const SPILL: &str = "store.spill.";

/// Removes the files of a process that had no time to do so.
pub(super) fn remove_spilled(place: &Place) {
    for name in place.disk.list(&place.dir).unwrap_or_default() {
        if name.starts_with(SPILL)
            && let Err(error) = place.disk.remove(&place.dir.join(&name))
        {
            tracing::warn!("cannot remove {name}, which is of no use any more: {error}");
        }
    }
}

/// For the fuzz target: a block with anything in it is read or refused.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_block(place: &Place, bytes: &[u8]) {
    let content = spill::open(place, 1, bytes).unwrap_or_else(|| bytes.to_vec());
    let mut walk = block::Walk::new(&content);
    while let Some((name, info)) = walk.next() {
        assert!(name.len() <= content.len() * content.len(), "{info:?}");
    }
    let _ = block::find(&content, "a.b");
    assert_eq!(spill::open(place, 9, &spill::seal(place, 9, &content)), Some(content));
}

/// What is known of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectInfo {
    /// Its first sequence. Within the store it may lag behind removals; [`super::Log`] mends it before showing it.
    pub first: u64,
    /// Its last sequence.
    pub last: u64,
    /// How many records there are; at most 2^32 - 1.
    pub count: u64,
}

impl SubjectInfo {
    /// What is known of these and other records of the subject.
    fn and(self, other: SubjectInfo) -> SubjectInfo {
        SubjectInfo {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            count: self.count.saturating_add(other.count),
        }
    }
}

/// All subjects of a log.
pub(super) struct Subjects {
    hot: Hot,
    cold: Option<Box<Cold>>,
    /// What they were at a moment, while that is written down.
    snapshot: Option<Box<Snapshot>>,
    budget: Arc<Budget>,
    /// Bytes of memory as the budget knows them.
    counted: u64,
    /// Subjects that are there.
    live: usize,
    /// Up to where subjects were looked at when some were put out.
    hand: Vec<u8>,
}

impl Subjects {
    pub fn new(budget: Arc<Budget>) -> Subjects {
        Subjects { hot: Hot::default(), cold: None, snapshot: None, budget, counted: 0, live: 0, hand: Vec::new() }
    }

    /// A record was appended; gives what was known of the subject before, for [`Subjects::undo`].
    pub fn append(&mut self, subject: &str, seq: u64) -> Result<Option<SubjectInfo>, StoreError> {
        let new = |before: Option<SubjectInfo>| match before {
            Some(info) => SubjectInfo { last: seq, count: info.count + 1, ..info },
            None => SubjectInfo { first: seq, last: seq, count: 1 },
        };
        self.put(subject, new)
    }

    /// Takes an append back, whose subject had `before` as its last sequence; the latest must be taken back first.
    pub fn undo(&mut self, subject: &str, before: Option<u64>) {
        let undone = self.change(subject, |info| match before {
            Some(before) if info.count > 1 => Some(SubjectInfo { last: before, count: info.count - 1, ..info }),
            _ => None,
        });
        debug_assert!(undone.is_ok(), "what is not committed is in memory");
    }

    /// A record was removed: says what is left to find out about the ends. `there` tells whether a record is; that of the last
    /// sequence may have gone before, and not be mended yet.
    pub fn remove(&mut self, subject: &str, seq: u64, there: impl Fn(u64) -> bool) -> Result<Left, StoreError> {
        let left = self.change(subject, |mut info| {
            info.count = info.count.saturating_sub(1);
            if info.count == 1 && info.first == seq && there(info.last) {
                info.first = info.last;
            }
            (info.count > 0).then_some(info)
        });
        Ok(if left?.is_some_and(|info| info.last == seq) { Left::Last } else { Left::Fine })
    }

    /// Counts `info` (of another segment) in.
    pub fn merge(&mut self, subject: &str, other: SubjectInfo) -> Result<(), StoreError> {
        let merged = self.put(subject, |before| match before {
            Some(info) => info.and(other),
            None => other,
        });
        merged.map(drop)
    }

    pub fn get(&mut self, subject: &str) -> Result<Option<SubjectInfo>, StoreError> {
        match (self.hot.find(subject.as_bytes()), &mut self.cold) {
            (Some(number), _) => Ok(Some(self.hot.touch(number)).filter(|info| info.count > 0)),
            (None, Some(cold)) => {
                let found = cold.find(subject);
                self.count();
                found
            }
            (None, None) => Ok(None),
        }
    }

    /// Has what is known of a subject in memory, so that the next change of it cannot fail.
    pub fn fetch(&mut self, subject: &str) -> Result<(), StoreError> {
        if self.is_hot(subject) {
            return Ok(());
        }
        if let Some(cold) = &mut self.cold {
            let found = cold.find(subject)?;
            self.hot.add(
                subject.as_bytes(),
                found.unwrap_or(SubjectInfo { first: 0, last: 0, count: 0 }),
                evict::fresh(true),
            );
            self.count();
        }
        Ok(())
    }

    pub fn set_first(&mut self, subject: &str, first: u64) -> Result<(), StoreError> {
        self.change(subject, |info| Some(SubjectInfo { first, ..info })).map(drop)
    }

    pub fn set_last(&mut self, subject: &str, last: u64) -> Result<(), StoreError> {
        self.change(subject, |info| Some(SubjectInfo { last, ..info })).map(drop)
    }

    /// Passes the subjects that `filter` selects to `visit`, in their order, until that has found what it looks for. Of the
    /// others only those are looked at that stand between.
    pub fn each<B>(
        &mut self,
        filter: &str,
        visit: impl FnMut(&str, SubjectInfo) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        self.each_from(filter::literal_part(filter).as_bytes().to_vec(), filter, visit)
    }

    /// As [`Subjects::each`], of those that do not sort before `next`.
    fn each_from<B>(
        &mut self,
        mut next: Vec<u8>,
        filter: &str,
        mut visit: impl FnMut(&str, SubjectInfo) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        let (mut rest, entries) = self.hot.sorted();
        rest = &rest[rest.partition_point(|n| entries.name(*n) < &*next)..];
        let mut cold = Ahead::new(self.cold.as_deref_mut(), &next)?;
        let mut name = String::new();
        loop {
            let there = cold.get();
            let (subject, info) = match (rest, there) {
                ([], None) => return Ok(None),
                ([number, behind @ ..], there)
                    if there.is_none_or(|(there, _)| entries.name(*number) <= there.as_bytes()) =>
                {
                    rest = behind;
                    if !entries.is_kept(*number) {
                        continue;
                    }
                    if there.is_some_and(|(there, _)| entries.name(*number) == there.as_bytes()) {
                        cold.advance()?;
                    }
                    if !entries.is_live(*number) {
                        continue;
                    }
                    (entries.name(*number), entries.info(*number))
                }
                (_, there) => {
                    let Some((subject, info)) = there else { return Ok(None) };
                    name.clear();
                    name.push_str(subject);
                    cold.advance()?;
                    (name.as_bytes(), info)
                }
            };
            match filter::judge(filter, subject, &mut next) {
                Verdict::Selected => {
                    if let Ok(subject) = std::str::from_utf8(subject)
                        && let ControlFlow::Break(found) = visit(subject, info)
                    {
                        return Ok(Some(found));
                    }
                }
                Verdict::Not => {
                    rest = hot::skip(rest, |n| entries.name(n) < &*next);
                    cold.seek(&next)?;
                }
                Verdict::End => return Ok(None),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether more may come in any order without that some have to go to disk for them.
    pub fn has_room(&self) -> bool {
        self.cold.is_none() && self.budget.has_room()
    }

    /// Whether what is known of the subject is in memory.
    pub fn is_hot(&self, subject: &str) -> bool {
        self.hot.find(subject.as_bytes()).is_some()
    }

    /// Whether [`Subjects::get`] says what is known of the subject without a look at the disk.
    pub fn is_at_hand(&self, subject: &str) -> bool {
        self.cold.is_none() || self.is_hot(subject)
    }

    /// Bytes of memory it takes, about.
    pub fn memory(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, |cold| cold.memory());
        self.hot.memory() + cold + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.memory())
    }

    /// Of these, what may be given back.
    pub fn evictable(&self) -> u64 {
        if self.hot.len() == 0 { 0 } else { self.hot.memory() as u64 }
    }

    /// Gives back what subjects take that are no more, where that is worth it.
    pub fn make_room(&mut self) {
        self.hot.make_room();
        self.count();
    }

    /// Sets a subject to what `new` makes of what it was, and gives that back.
    fn put(
        &mut self,
        subject: &str,
        new: impl FnOnce(Option<SubjectInfo>) -> SubjectInfo,
    ) -> Result<Option<SubjectInfo>, StoreError> {
        let name = subject.as_bytes();
        let before = match (self.hot.find(name), &mut self.cold) {
            (Some(number), _) => {
                let before = Some(self.hot.touch(number)).filter(|info| info.count > 0);
                self.put_aside(name, before);
                self.hot.set(number, new(before));
                self.live += usize::from(before.is_none());
                return Ok(before);
            }
            (None, Some(cold)) => cold.find(subject)?,
            (None, None) => None,
        };
        self.put_aside(name, before);
        self.hot.add(name, new(before), evict::fresh(before.is_some()));
        self.live += usize::from(before.is_none());
        self.count();
        Ok(before)
    }

    /// Sets a subject that is there to what `new` makes of it, which is given back; without anything it is removed.
    fn change(
        &mut self,
        subject: &str,
        new: impl FnOnce(SubjectInfo) -> Option<SubjectInfo>,
    ) -> Result<Option<SubjectInfo>, StoreError> {
        let name = subject.as_bytes();
        let gone = |before: SubjectInfo| SubjectInfo { count: 0, ..before };
        if let Some(number) = self.hot.find(name) {
            let before = self.hot.touch(number);
            if before.count == 0 {
                return Ok(None);
            }
            self.put_aside(name, Some(before));
            let changed = new(before);
            self.hot.set(number, changed.unwrap_or(gone(before)));
            if changed.is_none() {
                self.live -= 1;
                if self.hot.flags(number) & SHADOW == 0 {
                    self.hot.forget(number);
                    self.hot.tidy_at_last();
                    self.count();
                }
            }
            return Ok(changed);
        }
        let Some(cold) = &mut self.cold else { return Ok(None) };
        let Some(before) = cold.find(subject)? else { return Ok(None) };
        self.put_aside(name, Some(before));
        let changed = new(before);
        self.live -= usize::from(changed.is_none());
        self.hot.add(name, changed.unwrap_or(gone(before)), evict::fresh(true));
        self.count();
        Ok(changed)
    }

    /// Tells the budget what is taken now.
    fn count(&mut self) {
        let now = self.memory() as u64;
        let before = std::mem::replace(&mut self.counted, now);
        if now != before {
            self.budget.count(now.wrapping_sub(before));
        }
    }
}

impl Drop for Subjects {
    fn drop(&mut self) {
        self.budget.count(self.counted.wrapping_neg());
    }
}

/// What a removal leaves to be mended.
#[derive(PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Fine,
    /// The subject's last record went; the one before it has to be looked for.
    Last,
}

#[cfg(test)]
mod tests;
