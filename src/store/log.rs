//! A log: what is staged, what is committed, and the answers to questions about both.

use super::commit::Shared;
use super::io::Place;
use super::reader::Reader;
use super::record::{self, OVERHEAD, View};
use super::segment::{Item, Scanner, Segment};
use super::subjects::{Left, Subjects};
use super::tombstones::{Tomb, Tombstones};
use super::{Record, StoreError, Stored, SubjectInfo};
use crate::subject;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Where a log keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In segment files.
    File,
    /// In memory; gone with the process.
    Memory,
}

/// When a record counts as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When it is on disk.
    Durable,
    /// When it is written; the disk is synced at this interval, so a power cut loses at most that much.
    Interval(Duration),
}

/// What makes the oldest records go. They go after a commit, so limits may be exceeded by what is staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most records.
    pub max_msgs: Option<u64>,
    /// Most bytes, as counted in [`LogState::bytes`].
    pub max_bytes: Option<u64>,
    /// Greatest age.
    pub max_age: Option<Duration>,
    /// Most records of one subject.
    pub max_msgs_per_subject: Option<u64>,
}

/// How a log is to be kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where.
    pub storage: Storage,
    /// How durably.
    pub sync: Sync,
    /// How much.
    pub limits: Limits,
    /// First sequence of a new log.
    pub first_seq: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions { storage: Storage::File, sync: Sync::Durable, limits: Limits::default(), first_seq: 1 }
    }
}

/// Told what became of staged records, on the commit thread, in order. Must not wait for a commit.
pub trait CommitObserver: Send + std::marker::Sync {
    /// Every sequence up to `upto` is committed.
    fn committed(&self, upto: u64);
    /// The staged sequences from `from` on were dropped; the log goes on from `from`.
    fn failed(&self, from: u64, error: &StoreError);
}

/// Numbers of a log, staged records included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Records.
    pub msgs: u64,
    /// Bytes they take on disk.
    pub bytes: u64,
    /// First sequence; one more than the last if there is no record.
    pub first_seq: u64,
    /// Last sequence ever given.
    pub last_seq: u64,
    /// Time of the first record, nanoseconds since 1970; 0 if there is none or it cannot be read.
    pub first_time: i64,
    /// Time of the last record; 0 if there never was one.
    pub last_time: i64,
    /// Different subjects.
    pub num_subjects: u64,
    /// Sequences between first and last that are no more.
    pub num_deleted: u64,
    /// Last committed sequence.
    pub committed: u64,
    /// Places where damage was found while reading.
    pub damaged: u64,
}

/// What to purge; all that is said must hold.
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Only subjects that this filter selects.
    pub filter: Option<String>,
    /// Only sequences below this one.
    pub below_seq: Option<u64>,
    /// All but the last so many.
    pub keep: Option<u64>,
}

/// A handle on a log.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub id: String,
    pub place: Place,
    pub storage: Storage,
    pub shared: Arc<Shared>,
    pub observer: OnceLock<Arc<dyn CommitObserver>>,
    pub damaged: AtomicU64,
    state: Mutex<State>,
}

/// Records on their way to disk.
#[derive(Default)]
pub(super) struct Staged {
    pub buffer: Vec<u8>,
    pub entries: Vec<Entry>,
}

pub(super) struct Entry {
    pub seq: u64,
    pub time: i64,
    /// Where its frame begins in the buffer.
    pub at: usize,
    pub used: usize,
    /// The subject's last sequence before: what this record supersedes, and where the way back leads.
    pub before: Option<u64>,
}

impl Staged {
    fn find(&self, seq: u64) -> Option<Stored> {
        let at = self.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        record::parse(&self.buffer[self.entries[at].at..]).map(View::to_stored)
    }
}

pub(super) struct State {
    pub limits: Limits,
    pub sync: Sync,
    /// Ascending; records are appended to the last one. Empty until the first commit.
    pub segments: VecDeque<Segment>,
    pub subjects: Subjects,
    /// First live sequence; `next` if there is none.
    pub first: u64,
    /// Next sequence to be given.
    pub next: u64,
    pub committed: u64,
    pub last_time: i64,
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
    /// Begin a new segment with the next commit.
    pub rotate: bool,
    /// The commit thread knows that there is something to do.
    pub queued: bool,
    pub synced_at: Instant,
    pub unsynced: bool,
    pub deleted: bool,
}

impl State {
    pub fn segment_of(&self, seq: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.base <= seq);
        self.segments.get(after.checked_sub(1)?)
    }

    fn segment_of_mut(&mut self, seq: u64) -> Option<&mut Segment> {
        let after = self.segments.partition_point(|s| s.base <= seq);
        self.segments.get_mut(after.checked_sub(1)?)
    }

    /// Base of the segment that follows the one with `base`.
    pub fn segment_after(&self, base: u64) -> Option<u64> {
        self.segments.get(self.segments.partition_point(|s| s.base <= base)).map(|s| s.base)
    }

    /// Whether a committed `seq` has neither been removed nor trimmed.
    pub fn is_live(&self, seq: u64) -> bool {
        seq >= self.first && self.segment_of(seq).is_some_and(|s| !s.is_removed(seq))
    }

    /// What is known of a subject, with only its committed records counted.
    fn committed_of(&self, subject: &str) -> Option<SubjectInfo> {
        let mut info = self.subjects.get(subject)?;
        if info.last > self.committed {
            let parts = [self.writing.as_deref(), Some(&self.staged)];
            let staged = parts.into_iter().flatten().flat_map(|part| part.entries.iter().map(|e| &part.buffer[e.at..]));
            let ours = staged.filter(|bytes| record::subject_of(bytes) == Some(subject)).count();
            info.count = info.count.saturating_sub(ours as u64);
        }
        Some(info)
    }

    /// Takes one committed, live record out of the books.
    pub fn strike(&mut self, seq: u64, subject: &str, size: u64, mend: &mut Vec<Box<str>>) -> bool {
        if !self.is_live(seq) || seq > self.committed {
            return false;
        }
        if let Some(segment) = self.segment_of_mut(seq) {
            segment.removed.insert(seq - segment.base);
        }
        self.msgs -= 1;
        self.bytes = self.bytes.saturating_sub(size);
        if self.subjects.remove(subject, seq) == Left::Last {
            mend.push(subject.into());
        }
        true
    }

    /// Moves `first` past what was removed; gives back segments with nothing left in them, to be deleted.
    pub fn settle(&mut self) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self.segments.len() > 1 && self.segments.front().is_some_and(|s| s.live() == 0 || s.last < self.first) {
            gone.extend(self.segments.pop_front());
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

impl Inner {
    pub fn new(id: &str, place: Place, storage: Storage, shared: Arc<Shared>, state: State) -> Arc<Inner> {
        Arc::new(Inner {
            id: id.to_owned(),
            place,
            storage,
            shared,
            observer: OnceLock::new(),
            damaged: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the commit thread look at this log; call without the state's lock.
    pub fn queue(self: &Arc<Self>) {
        self.shared.enqueue(self.clone());
    }

    /// Takes back everything staged: the disk did not take it.
    pub fn roll_back(&self) -> u64 {
        let mut state = self.state();
        let writing = state.writing.take();
        let staged = std::mem::take(&mut state.staged);
        for part in [Some(&staged), writing.as_deref()].into_iter().flatten() {
            for entry in part.entries.iter().rev() {
                let Some(view) = record::parse(&part.buffer[entry.at..]) else { continue };
                state.subjects.undo(view.subject, entry.before);
                state.msgs -= 1;
                state.bytes = state.bytes.saturating_sub(entry.used as u64);
            }
        }
        state.next = state.committed + 1;
        state.first = state.first.min(state.next);
        state.next
    }
}

impl Log {
    /// Sets who is told of commits; the first one stays.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        let _ = self.0.observer.set(observer);
    }

    /// Stages a record and returns its sequence. It is committed when the observer hears so.
    ///
    /// # Errors
    /// The record is too large, or the log was removed or closed.
    pub fn append(&self, record: &Record<'_>) -> Result<u64, StoreError> {
        let now = self.0.shared.now();
        let state = self.0.state();
        let (seq, time) = (state.next, now.max(state.last_time));
        self.stage(state, seq, time, record)
    }

    /// Stages a record under a given sequence and time, as a mirror does; sequences left out are gaps.
    ///
    /// # Errors
    /// As [`Log::append`]; also if `seq` is not above the last one.
    pub fn append_at(&self, seq: u64, time: i64, record: &Record<'_>) -> Result<u64, StoreError> {
        let state = self.0.state();
        if seq < state.next {
            return Err(StoreError::Exists(format!("{} sequence {seq}", self.0.id)));
        }
        let time = time.max(state.last_time);
        self.stage(state, seq, time, record)
    }

    fn stage(
        &self,
        mut guard: MutexGuard<'_, State>,
        seq: u64,
        time: i64,
        record: &Record<'_>,
    ) -> Result<u64, StoreError> {
        record.check()?;
        let state = &mut *guard;
        if state.deleted || self.0.shared.is_closed() {
            return Err(StoreError::Closed);
        }
        if state.msgs == 0 {
            state.first = seq;
        }
        state.next = seq + 1;
        state.last_time = time;
        state.msgs += 1;
        state.bytes += record.size() as u64;
        let before = state.subjects.append(record.subject, seq).map(|info| info.last);
        let at = state.staged.buffer.len();
        record.push(&mut state.staged.buffer, seq, time);
        state.staged.entries.push(Entry { seq, time, at, used: record.size(), before });
        self.queue(state);
        Ok(seq)
    }

    /// Has the commit thread look at the log. Under its lock, so that a barrier asked for later comes behind it.
    fn queue(&self, state: &mut State) {
        if !std::mem::replace(&mut state.queued, true) {
            self.0.queue();
        }
    }

    /// Numbers of now.
    pub fn state(&self) -> LogState {
        let state = self.0.state();
        let (first, next) = (state.first.min(state.next), state.next);
        let summary = LogState {
            msgs: state.msgs,
            bytes: state.bytes,
            first_seq: first,
            last_seq: next - 1,
            first_time: 0,
            last_time: if next > 1 && state.last_time != i64::MIN { state.last_time } else { 0 },
            num_subjects: state.subjects.len() as u64,
            num_deleted: (next - first).saturating_sub(state.msgs),
            committed: state.committed,
            damaged: self.0.damaged.load(std::sync::atomic::Ordering::Relaxed),
        };
        let known = state.first_time;
        drop(state);
        let first_time = match summary.msgs {
            0 => 0,
            _ if known.0 == first => known.1,
            _ => {
                let time = self.read(first).ok().flatten().map_or(0, |s| s.time);
                self.0.state().first_time = (first, time);
                time
            }
        };
        LogState { first_time, ..summary }
    }

    /// Last committed sequence.
    pub fn committed(&self) -> u64 {
        self.0.state().committed
    }

    /// One record, committed or staged. `None` if it was removed or never there.
    ///
    /// # Errors
    /// The disk cannot be read, or the record is damaged.
    pub fn read(&self, seq: u64) -> Result<Option<Stored>, StoreError> {
        let mut scanner = {
            let state = self.0.state();
            if seq > state.committed {
                let staged = state.writing.as_ref().and_then(|w| w.find(seq)).or_else(|| state.staged.find(seq));
                return Ok(staged);
            }
            match state.segment_of(seq) {
                Some(segment) if state.is_live(seq) && seq <= segment.last => segment.scan(seq, 16 * 1024),
                _ => return Ok(None),
            }
        };
        self.scan_to(&mut scanner, seq)
    }

    fn scan_to(&self, scanner: &mut Scanner, seq: u64) -> Result<Option<Stored>, StoreError> {
        let mut damaged = false;
        loop {
            match scanner.next().map_err(|e| StoreError::io("read", &self.0.place.dir, e))? {
                Some(Item::Record(view, _)) if view.seq == seq => return Ok(Some(view.to_stored())),
                Some(Item::Record(view, _)) if view.seq < seq => damaged = false,
                Some(Item::Damage { .. }) => damaged = true,
                // A gap left by `append_at` is no damage.
                Some(Item::Record(..)) | None if !damaged => return Ok(None),
                Some(Item::Record(..)) | None => {
                    return Err(StoreError::Damaged { log: self.0.id.clone(), seq });
                }
            }
        }
    }

    /// A reader of what is committed, from the first record on.
    pub fn reader(&self) -> Reader {
        Reader::new(self.0.clone())
    }

    /// Last sequence of the subjects that `filter` selects; staged ones included.
    pub fn last_for(&self, filter: &str) -> Option<u64> {
        let state = self.0.state();
        if subject::is_literal(filter) {
            return state.subjects.get(filter).map(|info| info.last);
        }
        state.subjects.iter().filter(|(s, _)| subject::matches(filter, s)).map(|(_, info)| info.last).max()
    }

    /// First and last sequence and count of one subject.
    pub fn subject_info(&self, subject: &str) -> Option<SubjectInfo> {
        self.mend_first(subject);
        self.0.state().subjects.get(subject)
    }

    /// All subjects that `filter` selects. Their `first` may lag behind removals.
    pub fn subjects(&self, filter: &str) -> Vec<(Box<str>, SubjectInfo)> {
        let state = self.0.state();
        let chosen = state.subjects.iter().filter(|(s, _)| subject::matches(filter, s));
        chosen.map(|(s, info)| (s.into(), info)).collect()
    }

    /// Records from `from_seq` on whose subject `filter` selects. Exact for `>` and for a filter all of whose records lie
    /// on one side of `from_seq`; else they are counted by reading.
    pub fn count_from(&self, from_seq: u64, filter: &str) -> u64 {
        let state = self.0.state();
        if from_seq <= state.first {
            if filter == ">" {
                return state.msgs;
            }
            let chosen = state.subjects.iter().filter(|(s, _)| subject::matches(filter, s));
            return chosen.map(|(_, info)| info.count).sum();
        }
        if filter == ">" {
            // All but what lies before; whole segments by their counts.
            let mut count = state.next.saturating_sub(from_seq.max(state.committed + 1));
            for segment in state.segments.iter().rev() {
                if segment.base >= from_seq {
                    count += segment.live();
                } else {
                    let from = from_seq.max(segment.base);
                    count += (from..=segment.last).filter(|s| !segment.is_removed(*s)).count() as u64;
                    break;
                }
            }
            return count;
        }
        let chosen: Vec<SubjectInfo> =
            state.subjects.iter().filter(|(s, _)| subject::matches(filter, s)).map(|(_, info)| info).collect();
        drop(state);
        let whole: u64 = chosen.iter().filter(|i| i.first >= from_seq).map(|i| i.count).sum();
        if chosen.iter().all(|i| i.first >= from_seq || i.last < from_seq) {
            return whole;
        }
        let mut reader = self.reader();
        reader.seek(from_seq);
        let mut count = 0;
        while let Ok(Some(_)) = reader.next(&|s| subject::matches(filter, s)) {
            count += 1;
        }
        count
    }

    /// First sequence stored at or after `time` (nanoseconds since 1970); one more than the last if there is none.
    pub fn seq_at(&self, time: i64) -> u64 {
        let start = {
            let state = self.0.state();
            let segment = state.segments.iter().find(|s| s.last_time >= time && s.records > 0);
            match segment {
                Some(segment) => segment.seq_before(time).max(state.first),
                None => return state.committed + 1,
            }
        };
        let mut reader = self.reader();
        reader.seek(start);
        while let Ok(Some(stored)) = reader.next(&|_| true) {
            if stored.time >= time {
                return stored.seq;
            }
        }
        self.committed() + 1
    }

    /// Removes committed records; returns how many there were. Durable with the next commit ([`super::Store::barrier`]).
    ///
    /// # Errors
    /// A record that is to be removed cannot be read; those before it are removed.
    pub fn remove(&self, seqs: &[u64]) -> Result<u64, StoreError> {
        let mut found = Vec::with_capacity(seqs.len());
        let mut failure = None;
        for &seq in seqs {
            match self.read(seq) {
                Ok(Some(s)) => found.push((seq, s.subject.clone(), size_of(&s))),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        let count = self.strike(found, true);
        failure.map_or(Ok(count), Err)
    }

    /// Takes records out of the books, deletes what segments that empties, and has the removals written if `note`.
    pub(super) fn strike(&self, records: Vec<(u64, Box<str>, u64)>, note: bool) -> u64 {
        let mut mend = Vec::new();
        let mut count = 0;
        let gone = {
            let mut state = self.0.state();
            for (seq, subject, size) in records {
                if state.strike(seq, &subject, size, &mut mend) {
                    count += 1;
                    if note {
                        Tomb::push(&mut state.tombs, seq);
                    }
                }
            }
            if note && count > 0 {
                self.queue(&mut state);
            }
            state.settle()
        };
        self.delete(gone);
        for subject in mend {
            self.mend_last(&subject);
        }
        count
    }

    /// Purges; returns how many records went.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn purge(&self, purge: &Purge) -> Result<u64, StoreError> {
        let state = self.state();
        let filter = purge.filter.as_deref().filter(|f| *f != ">");
        let below = purge.below_seq.unwrap_or(u64::MAX).min(state.committed + 1);
        if filter.is_none() {
            let below = match purge.keep {
                Some(keep) => below.min(self.nth_from_end(keep)?),
                None => below,
            };
            return Ok(self.trim(below));
        }
        let filter = filter.unwrap_or(">");
        let mut reader = self.reader();
        let mut chosen = Vec::new();
        while let Some(stored) = reader.next(&|s| subject::matches(filter, s))? {
            if stored.seq >= below {
                break;
            }
            chosen.push((stored.seq, stored.subject.clone(), size_of(&stored)));
        }
        let keep = purge.keep.unwrap_or(0) as usize;
        chosen.truncate(chosen.len().saturating_sub(keep));
        Ok(self.strike(chosen, true))
    }

    /// The sequence of the record with `keep - 1` records after it.
    fn nth_from_end(&self, keep: u64) -> Result<u64, StoreError> {
        let state = self.0.state();
        let mut seq = state.committed + 1;
        let mut left = keep;
        while left > 0 && seq > state.first {
            seq -= 1;
            left -= u64::from(state.is_live(seq));
        }
        Ok(seq)
    }

    /// Drops everything below `first_seq` (at most what is committed); returns how many records went.
    pub fn trim(&self, first_seq: u64) -> u64 {
        let mut reader = self.reader();
        let mut chosen = Vec::new();
        let (below, first) = {
            let state = self.0.state();
            (first_seq.min(state.committed + 1), state.first)
        };
        if below <= first {
            return 0;
        }
        let mut count = 0;
        // In pieces, so that a large backlog is not held in memory at once.
        loop {
            while chosen.len() < 4096 {
                match reader.next(&|_| true) {
                    Ok(Some(s)) if s.seq < below => chosen.push((s.seq, s.subject.clone(), size_of(&s))),
                    _ => break,
                }
            }
            if chosen.is_empty() {
                break;
            }
            count += self.strike(std::mem::take(&mut chosen), false);
        }
        let mut state = self.0.state();
        // Damaged records are never read, and so go here.
        state.first = state.first.max(below);
        if state.first == state.next {
            (state.msgs, state.bytes) = (0, 0);
        }
        state.tombs.push(Tomb::below(below));
        state.rotate |= state.msgs == 0;
        self.queue(&mut state);
        count
    }

    /// Changes the limits; they are applied with the next commit.
    pub fn set_limits(&self, limits: Limits) {
        let mut state = self.0.state();
        state.limits = limits;
        self.queue(&mut state);
    }

    /// Applies the limits now; the commit thread does so after each commit, and for `max_age` every second.
    pub fn expire(&self) {
        let (limits, mut msgs, mut bytes) = {
            let state = self.0.state();
            let staged = state.next - 1 - state.committed;
            let writing = state.writing.as_ref().map_or(0, |w| w.buffer.len()) + state.staged.buffer.len();
            (state.limits, state.msgs.saturating_sub(staged), state.bytes.saturating_sub(writing as u64))
        };
        let oldest = limits.max_age.map(|age| self.0.shared.now().saturating_sub(age.as_nanos() as i64));
        let over = |msgs: u64, bytes: u64| {
            limits.max_msgs.is_some_and(|max| msgs > max) || limits.max_bytes.is_some_and(|max| bytes > max)
        };
        if !over(msgs, bytes) && oldest.is_none() {
            return;
        }
        let mut reader = self.reader();
        let mut chosen = Vec::new();
        while let Ok(Some(stored)) = reader.next(&|_| true) {
            if !over(msgs, bytes) && oldest.is_none_or(|oldest| stored.time >= oldest) {
                break;
            }
            msgs = msgs.saturating_sub(1);
            bytes = bytes.saturating_sub(size_of(&stored));
            chosen.push((stored.seq, stored.subject.clone(), size_of(&stored)));
            if chosen.len() == 4096 {
                self.strike(std::mem::take(&mut chosen), false);
            }
        }
        self.strike(chosen, false);
    }

    /// Subjects with more than `max` records.
    pub(super) fn subjects_above(&self, max: u64) -> Vec<Box<str>> {
        let state = self.0.state();
        state.subjects.iter().filter(|(_, info)| info.count > max).map(|(subject, _)| subject.into()).collect()
    }

    /// Removes the oldest of each just committed subject that has more than `max_msgs_per_subject`.
    pub(super) fn limit_subjects(&self, subjects: &[Box<str>], max: u64) {
        for subject in subjects {
            loop {
                let Some(info) = self.0.state().committed_of(subject).filter(|i| i.count > max) else { break };
                let Ok(Some(first)) = self.first_of(subject, info.first) else { break };
                let size = size_of(&first);
                if self.strike(vec![(first.seq, subject.clone(), size)], true) == 0 {
                    break;
                }
                if max > 1
                    && let Ok(Some(next)) = self.first_of(subject, first.seq + 1)
                {
                    self.0.state().subjects.set_first(subject, next.seq);
                }
            }
        }
    }

    /// The first record of `subject` at or after `from`.
    fn first_of(&self, subject: &str, from: u64) -> Result<Option<Stored>, StoreError> {
        if let Some(stored) = self.read(from)?
            && *stored.subject == *subject
        {
            return Ok(Some(stored));
        }
        let mut reader = self.reader();
        reader.seek(from);
        reader.next(&|s| s == subject)
    }

    /// Corrects a subject's `first` if that record is gone.
    fn mend_first(&self, subject: &str) {
        let stale = {
            let state = self.0.state();
            state.subjects.get(subject).filter(|i| i.first <= state.committed && !state.is_live(i.first))
        };
        if let Some(info) = stale
            && let Ok(Some(first)) = self.first_of(subject, info.first)
        {
            self.0.state().subjects.set_first(subject, first.seq);
        }
    }

    /// Looks for the record of `subject` that is the last one now.
    fn mend_last(&self, subject: &str) {
        let Some(info) = self.0.state().subjects.get(subject) else { return };
        let mut seq = info.last;
        while seq > info.first {
            seq -= 1;
            if let Ok(Some(stored)) = self.read(seq)
                && *stored.subject == *subject
            {
                let mut state = self.0.state();
                // Unless one was published meanwhile.
                if state.subjects.get(subject).is_some_and(|now| now.last == info.last) {
                    state.subjects.set_last(subject, seq);
                }
                return;
            }
        }
    }

    pub(super) fn delete(&self, segments: Vec<Segment>) {
        for segment in segments {
            if let Err(error) = self.0.place.disk.remove(&segment.path) {
                tracing::warn!("cannot delete {}: {error}", segment.path.display());
            }
        }
    }
}

/// What a record takes on disk.
fn size_of(stored: &Stored) -> u64 {
    (OVERHEAD + stored.subject.len() + stored.headers.len() + stored.payload.len()) as u64
}
