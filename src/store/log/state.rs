//! The books of a log: its segments, subjects, and numbers.

use super::options::{Limits, LogOptions, Sync};
use super::staging::Staged;
use super::sync::Unsynced;
use crate::store::checkpoint::Due;
use crate::store::clock::Ages;
use crate::store::record;
use crate::store::segment::Segment;
use crate::store::subjects::{Budget, Left, Subjects};
use crate::store::tombstones::{Tomb, Tombstones};
use crate::store::{StoreError, SubjectInfo};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(in crate::store) struct State {
    pub limits: Limits,
    pub sync: Sync,
    /// Records are compressed where they are many.
    pub compress: bool,
    /// With which the checksums of new segments begin.
    pub salt: u32,
    /// Ascending; records are appended to the last one. Empty until the first commit.
    pub segments: VecDeque<Segment>,
    pub subjects: Subjects,
    /// First live sequence; `next` if there is none.
    pub first: u64,
    /// Next sequence to be given.
    pub next: u64,
    /// How often staged records were dropped.
    pub rollbacks: u64,
    pub committed: u64,
    pub last_time: i64,
    /// The same of what is committed.
    pub committed_time: i64,
    /// A sequence and its time, as it was last read for [`Log::state`].
    pub first_time: (u64, i64),
    pub msgs: u64,
    pub bytes: u64,
    pub staged: Staged,
    /// What the commit thread is writing.
    pub writing: Option<Arc<Staged>>,
    pub spare: Staged,
    /// Removals to be made durable with the next commit.
    pub tombs: Vec<Tomb>,
    pub tombstones: Tombstones,
    /// Removals that are durable in the last segment, and not yet in the file of removals.
    pub journaled: Vec<Tomb>,
    /// Begin a new segment with the next commit.
    pub rotate: bool,
    /// The commit thread knows that there is something to do.
    pub queued: bool,
    pub synced_at: Instant,
    pub unsynced: Unsynced,
    pub deleted: bool,
    /// Some segment has lost its last record.
    emptied: bool,
    /// Some segment has become sparse.
    pub sparse: bool,
    pub checkpoint: Due,
    pub ages: Ages,
}

impl State {
    /// Of a log without records, whose segments begin their checksums with `salt`.
    pub fn new(options: &LogOptions, salt: u32, budget: &Arc<Budget>) -> State {
        let next = options.first_seq.max(1);
        State {
            limits: options.limits,
            sync: options.sync,
            compress: options.compress,
            salt,
            segments: VecDeque::new(),
            subjects: Subjects::new(budget.clone()),
            first: next,
            next,
            rollbacks: 0,
            committed: next - 1,
            last_time: i64::MIN,
            committed_time: i64::MIN,
            first_time: (0, 0),
            msgs: 0,
            bytes: 0,
            staged: Staged::default(),
            writing: None,
            spare: Staged::default(),
            tombs: Vec::new(),
            tombstones: Tombstones::default(),
            journaled: Vec::new(),
            rotate: false,
            queued: false,
            synced_at: Instant::now(),
            unsynced: Unsynced::default(),
            deleted: false,
            emptied: true,
            sparse: false,
            checkpoint: Due::default(),
            ages: Ages::default(),
        }
    }

    pub fn segment_of(&self, seq: u64) -> Option<&Segment> {
        segment_of(&self.segments, seq)
    }

    pub fn segment_of_mut(&mut self, seq: u64) -> Option<&mut Segment> {
        let after = self.segments.partition_point(|s| s.base <= seq);
        self.segments.get_mut(after.checked_sub(1)?)
    }

    /// The first segment that begins behind `seq`.
    pub fn segment_behind(&self, seq: u64) -> Option<&Segment> {
        self.segments.get(self.segments.partition_point(|s| s.base <= seq))
    }

    /// Whether a committed `seq` has neither been removed nor trimmed.
    pub fn is_live(&self, seq: u64) -> bool {
        is_live(&self.segments, self.first, seq)
    }

    /// What is known of a subject, with only its committed records counted.
    pub(super) fn committed_of(&mut self, subject: &str) -> Result<Option<SubjectInfo>, StoreError> {
        let Some(mut info) = self.subjects.get(subject)? else { return Ok(None) };
        if info.last > self.committed {
            let parts = [self.writing.as_deref(), Some(&self.staged)];
            let staged = parts.into_iter().flatten().flat_map(|part| part.entries.iter().map(|e| &part.buffer[e.at..]));
            let ours = staged.filter(|bytes| record::subject_of(bytes) == Some(subject)).count();
            info.count = info.count.saturating_sub(ours as u64);
        }
        Ok(Some(info))
    }

    /// How many records are committed, and their bytes.
    pub(super) fn committed_size(&self) -> (u64, u64) {
        let staged = self.next - 1 - self.committed;
        let writing = self.writing.as_ref().map_or(0, |w| w.bytes()) + self.staged.bytes();
        (self.msgs.saturating_sub(staged), self.bytes.saturating_sub(writing as u64))
    }

    /// Takes one committed, live record out of the books; whether it was in them.
    ///
    /// # Errors
    /// What is known of its subject cannot be read: the record stays.
    pub fn strike(&mut self, seq: u64, subject: &str, size: u64, mend: &mut Vec<Box<str>>) -> Result<bool, StoreError> {
        if !self.is_live(seq) || seq > self.committed {
            return Ok(false);
        }
        let State { subjects, segments, first, committed, .. } = self;
        let there = |seq| seq > *committed || is_live(segments, *first, seq);
        if subjects.remove(subject, seq, there)? == Left::Last {
            mend.push(subject.into());
        }
        if let Some(segment) = self.segment_of_mut(seq) {
            let (sparse, empty) = (segment.remove(seq), segment.live() == 0);
            self.sparse |= sparse;
            self.emptied |= empty;
        }
        self.msgs -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        Ok(true)
    }

    /// Takes the first record out of the books. It is never its subject's last, unless it is the only one: nothing to mend.
    pub fn drop_first(&mut self, seq: u64, subject: &str, size: u64) -> Result<bool, StoreError> {
        let struck = self.strike(seq, subject, size, &mut Vec::new())?;
        // At once, as a checkpoint knows a removal by this or by its tombstone.
        self.first = self.first.max(seq + 1);
        Ok(struck)
    }

    /// Moves `first` past what was removed; gives back segments with nothing left in them, to be deleted.
    pub fn settle(&mut self) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.live() == 0 || s.last < self.first) {
            gone.extend(self.segments.pop_front());
        }
        if std::mem::take(&mut self.emptied) {
            // Those between fuller ones too; the last one is written to.
            let last = self.segments.back().map(|s| s.base);
            let (keep, empty) = std::mem::take(&mut self.segments)
                .into_iter()
                .partition::<Vec<_>, _>(|s| s.live() > 0 || Some(s.base) == last);
            self.segments = keep.into();
            gone.extend(empty);
        }
        let Some(front) = self.segments.front() else {
            return gone;
        };
        self.first = self.first.max(front.base);
        while self.first <= front.last && front.is_removed(self.first) {
            self.first += 1;
        }
        if front.live() == 0 {
            self.first = self.first.max(front.last + 1);
        }
        gone
    }
}

fn segment_of(segments: &VecDeque<Segment>, seq: u64) -> Option<&Segment> {
    let after = segments.partition_point(|s| s.base <= seq);
    segments.get(after.checked_sub(1)?)
}

fn is_live(segments: &VecDeque<Segment>, first: u64, seq: u64) -> bool {
    seq >= first && segment_of(segments, seq).is_some_and(|s| seq <= s.last && !s.is_removed(seq))
}
