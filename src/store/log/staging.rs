//! Records on their way to disk: staging them, finding them, and taking them back.

use super::options::Sync;
use super::state::State;
use super::{Inner, Log};
use crate::store::record::{self, Part, View};
use crate::store::tombstones::{self, Tomb};
use crate::store::{Record, Storage, StoreError, Stored};
use std::sync::MutexGuard;

/// Records on their way to disk.
#[derive(Default)]
pub(in crate::store) struct Staged {
    /// The records; and once they are being written, what is written behind them.
    pub buffer: Vec<u8>,
    pub entries: Vec<Entry>,
    /// Removals that are written beside them.
    pub tombs: Vec<Tomb>,
    /// Bytes of records and removals; zeros may follow in the buffer.
    pub used: usize,
}

pub(in crate::store) struct Entry {
    pub seq: u64,
    pub time: i64,
    /// Where its frame begins in the buffer.
    pub at: usize,
    pub used: usize,
    /// The subject's last sequence before: what this record supersedes, and where the way back leads.
    pub before: Option<u64>,
}

impl Staged {
    /// Appends a record.
    pub fn push(&mut self, record: &Record<'_>, seq: u64, time: i64, part: Part, before: Option<u64>, salt: u32) {
        let at = self.buffer.len();
        record.push(&mut self.buffer, salt, seq, time, part);
        self.entries.push(Entry { seq, time, at, used: record.size(), before });
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> usize {
        self.entries.last().map_or(0, |entry| entry.at + entry.used)
    }

    /// Puts removals behind the records; there is nothing to be added afterwards.
    pub fn finish(&mut self, tombs: Vec<Tomb>, salt: u32) {
        if !tombs.is_empty() {
            tombstones::push_frame(&mut self.buffer, salt, &tombs);
        }
        self.tombs = tombs;
        self.used = self.buffer.len();
    }

    /// Empties it, for reuse.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
        self.tombs.clear();
    }

    pub(super) fn find(&self, seq: u64) -> Option<Stored> {
        let at = self.entries.binary_search_by_key(&seq, |e| e.seq).ok()?;
        record::staged(&self.buffer[self.entries[at].at..]).map(View::to_stored)
    }
}

impl Inner {
    /// Takes back everything staged: the disk did not take it.
    pub fn roll_back(&self) -> u64 {
        let mut state = self.state();
        let writing = state.writing.take();
        let staged = std::mem::take(&mut state.staged);
        for part in [Some(&staged), writing.as_deref()].into_iter().flatten() {
            for entry in part.entries.iter().rev() {
                let Some(view) = record::staged(&part.buffer[entry.at..]) else { continue };
                state.subjects.undo(view.subject, entry.before);
                state.msgs -= 1;
                state.bytes = state.bytes.saturating_sub(view.counted(self.storage) as u64);
            }
        }
        state.next = state.committed + 1;
        state.last_time = state.committed_time;
        state.rollbacks += 1;
        state.first = state.first.min(state.next);
        state.next
    }
}

impl Log {
    /// Stages a record and returns its sequence. It is committed when the observer hears so.
    ///
    /// # Errors
    /// The record is too large, or the log was removed or closed.
    pub fn append(&self, record: &Record<'_>) -> Result<u64, StoreError> {
        self.append_where(None, None, record)
    }

    /// Stages a record under a given sequence and time, as a mirror does; sequences left out are gaps.
    ///
    /// # Errors
    /// As [`Log::append`]; also if `seq` is not above the last one.
    pub fn append_at(&self, seq: u64, time: i64, record: &Record<'_>) -> Result<u64, StoreError> {
        self.append_where(None, Some((seq, time)), record)
    }

    /// Stages a record of somebody who must not go on behind one that was dropped: only if [`Log::rollbacks`] is still `known`.
    /// With a sequence and time of its own in `place` as [`Log::append_at`], else as [`Log::append`].
    ///
    /// # Errors
    /// As theirs; [`StoreError::RolledBack`].
    pub fn append_in_turn(
        &self,
        known: u64,
        place: Option<(u64, i64)>,
        record: &Record<'_>,
    ) -> Result<u64, StoreError> {
        self.append_where(Some(known), place, record)
    }

    /// Goes on behind `seq`, which somebody has seen committed. Where it is not there any more the disk has lost the end of the log:
    /// what is missing is damage, and no sequence is given again. To be called before anything is staged. Only what is durable
    /// when it is committed is promised to be there, so that a log of another kind stays as it is.
    pub fn go_on_behind(&self, seq: u64) {
        let lost = {
            let mut state = self.0.state();
            if seq < state.next || state.sync != Sync::Durable || self.0.storage == Storage::Memory {
                return;
            }
            let lost = state.next;
            (state.next, state.committed) = (seq + 1, seq);
            if state.msgs == 0 {
                state.first = state.next;
            }
            state.rotate = true;
            lost
        };
        self.0.declare_damage(lost, seq);
    }

    /// How often staged records were dropped as the disk refused them.
    pub fn rollbacks(&self) -> u64 {
        self.0.state().rollbacks
    }

    fn append_where(
        &self,
        known: Option<u64>,
        place: Option<(u64, i64)>,
        record: &Record<'_>,
    ) -> Result<u64, StoreError> {
        let now = self.0.shared.now();
        let mut state = self.0.state();
        if known.is_some_and(|known| known != state.rollbacks) {
            return Err(StoreError::RolledBack);
        }
        let (seq, time) = place.unwrap_or((state.next, now.wall));
        if seq < state.next {
            return Err(StoreError::Exists(format!("{} sequence {seq}", self.0.id)));
        }
        if place.is_none() {
            state.ages.stamp(now);
        }
        let time = time.max(state.last_time);
        self.stage(state, seq, time, record)
    }

    /// Stages records that are all committed or none, also through a power cut, under sequences that follow each other.
    /// Returns the first of them.
    ///
    /// # Errors
    /// As [`Log::append`]; then none is staged.
    pub fn append_batch(&self, records: &[Record<'_>]) -> Result<u64, StoreError> {
        records.iter().try_for_each(Record::check)?;
        let now = self.0.shared.now();
        let mut guard = self.0.state();
        let state = &mut *guard;
        self.check_open(state)?;
        // Afterwards they are all in memory, so that nothing can go wrong half-way.
        records.iter().try_for_each(|record| self.admit(state, record.subject))?;
        records.iter().try_for_each(|record| self.noted(state, |subjects| subjects.fetch(record.subject)))?;
        state.ages.stamp(now);
        let (first, time) = (state.next, now.wall.max(state.last_time));
        for (n, record) in records.iter().enumerate() {
            let part = Part { joins: n > 0, goes_on: n + 1 < records.len() };
            state.stage(self.0.storage, state.next, time, record, part)?;
        }
        self.queue(state);
        self.0.shared.staged(records.len());
        Ok(first)
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
        self.check_open(state)?;
        self.admit(state, record.subject)?;
        let staged = state.stage(self.0.storage, seq, time, record, Part::default());
        // Also if it was not: the commit thread makes the index anew where that could not be read.
        self.queue(state);
        staged?;
        self.0.shared.staged(1);
        Ok(seq)
    }

    /// Refuses a new subject where there is no memory for one. Most often the commit thread has put others out before it comes so far.
    fn admit(&self, state: &mut State, subject: &str) -> Result<(), StoreError> {
        let budget = &self.0.shared.budget;
        if !budget.is_full() || state.subjects.is_hot(subject) {
            return Ok(());
        }
        let committed = state.committed;
        state.subjects.relieve(committed);
        if !budget.is_full() || self.noted(state, |subjects| subjects.get(subject))?.is_some() {
            return Ok(());
        }
        Err(budget.refuse())
    }

    fn check_open(&self, state: &State) -> Result<(), StoreError> {
        if state.deleted || self.0.shared.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
    }
}

impl State {
    /// Takes a record into the books, and has it written.
    ///
    /// # Errors
    /// What is known of its subject cannot be read: nothing is changed.
    fn stage(
        &mut self,
        storage: Storage,
        seq: u64,
        time: i64,
        record: &Record<'_>,
        part: Part,
    ) -> Result<(), StoreError> {
        let before = self.subjects.append(record.subject, seq)?.map(|info| info.last);
        if self.msgs == 0 {
            self.first = seq;
        }
        self.next = seq + 1;
        self.last_time = time;
        self.msgs += 1;
        self.bytes += record.counted(storage) as u64;
        self.staged.push(record, seq, time, part, before, self.salt);
        Ok(())
    }
}
