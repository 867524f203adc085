//! Questions about a log: its numbers, single records, subjects, counts and times.

use super::options::LogState;
use super::{Log, State};
use crate::store::scanner::{Item, Scanner};
use crate::store::{StoreError, Stored, SubjectInfo};
use crate::subject;
use std::ops::{ControlFlow, Range};

/// Subjects that lose their last record while the last of all is looked for, at most.
const MENDS: usize = 8;

/// A record that was looked for.
pub(super) enum Found {
    /// It is in memory, or nowhere.
    Known(Option<Stored>),
    /// It is among these.
    InFile(Scanner),
}

impl State {
    /// Where the record `seq` is, committed or staged.
    pub(super) fn find(&self, seq: u64) -> Found {
        if seq > self.committed {
            let writing = self.writing.as_ref().and_then(|writing| writing.find(seq));
            return Found::Known(writing.or_else(|| self.staged.find(seq)));
        }
        match self.segment_of(seq) {
            Some(segment) if self.is_live(seq) => Found::InFile(segment.scan_for(seq)),
            _ => Found::Known(None),
        }
    }
}

impl Log {
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
            damaged: self.0.quarantine.count(),
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

    /// Whether all that it took in is committed.
    pub fn is_settled(&self) -> bool {
        let state = self.0.state();
        state.committed + 1 == state.next
    }

    /// Last committed sequence, and how many sequences there were whose records are gone.
    pub fn committed_and_removed(&self) -> (u64, u64) {
        let state = self.0.state();
        (state.committed, (state.next - 1).saturating_sub(state.msgs))
    }

    /// Whether a committed record is there.
    pub fn contains(&self, seq: u64) -> bool {
        self.0.state().is_live(seq)
    }

    /// One record, committed or staged. `None` if it was removed or never there.
    ///
    /// # Errors
    /// The disk cannot be read, or the record is damaged.
    pub fn read(&self, seq: u64) -> Result<Option<Stored>, StoreError> {
        let found = self.0.state().find(seq);
        match found {
            Found::Known(stored) => Ok(stored),
            Found::InFile(mut scanner) => self.scan_to(&mut scanner, seq),
        }
    }

    /// The same for whom a damaged record is one that is no more: it is declared, and must not be in the way of those behind it.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub fn read_sound(&self, seq: u64) -> Result<Option<Stored>, StoreError> {
        match self.read(seq) {
            Err(StoreError::Damaged { .. }) => Ok(None),
            read => read,
        }
    }

    fn scan_to(&self, scanner: &mut Scanner, seq: u64) -> Result<Option<Stored>, StoreError> {
        let mut damaged = false;
        loop {
            match scanner.next().map_err(|e| StoreError::io("read", &self.0.place.dir, e))? {
                Some(Item::Record(view, _)) if view.seq == seq => return Ok(Some(view.to_stored())),
                Some(Item::Record(view, _)) if view.seq < seq => damaged = false,
                Some(Item::Passed) => damaged = false,
                Some(Item::Damage { .. }) => damaged = true,
                Some(Item::Removals(_)) => {}
                // A gap left by `append_at` is no damage.
                Some(Item::Record(..)) | None if !damaged => return Ok(None),
                Some(Item::Record(..)) | None => {
                    self.0.declare_damage(seq, seq);
                    return Err(StoreError::Damaged { log: self.0.id.clone(), seq });
                }
            }
        }
    }

    /// Last sequence of the subjects that `filter` selects; staged ones included.
    ///
    /// # Errors
    /// The index cannot be read; it is made anew.
    pub fn last_for(&self, filter: &str) -> Result<Option<u64>, StoreError> {
        if subject::is_literal(filter) {
            return Ok(self.subject_info(filter)?.map(|info| info.last));
        }
        let (mut last, mut name) = (None, String::new());
        for _ in 0..MENDS {
            last = None;
            self.each_subject::<()>(filter, |subject, info| {
                if last < Some(info.last) {
                    last = Some(info.last);
                    name.clear();
                    name.push_str(subject);
                }
                ControlFlow::Continue(())
            })?;
            let is_gone = |seq: u64| seq <= self.committed() && !self.contains(seq);
            if !last.is_some_and(is_gone) {
                break;
            }
            // Removed just now, and the one before it is not known yet.
            self.mend_last(&name);
        }
        Ok(last)
    }

    /// First and last sequence and count of one subject.
    ///
    /// # Errors
    /// The index cannot be read; it is made anew.
    pub fn subject_info(&self, subject: &str) -> Result<Option<SubjectInfo>, StoreError> {
        let known = {
            let mut state = self.0.state();
            let Some(info) = self.noted(&mut state, |subjects| subjects.get(subject))? else { return Ok(None) };
            let there = |seq: u64| seq > state.committed || state.is_live(seq);
            (there(info.first) && there(info.last)).then_some(info)
        };
        if known.is_some() {
            return Ok(known);
        }
        self.mend_first(subject);
        // A commit that failed leads back to a record that may have been removed meanwhile.
        self.mend_last(subject);
        self.noted(&mut self.0.state(), |subjects| subjects.get(subject))
    }

    /// Passes all subjects that `filter` selects to `visit`, in their order, until it breaks off. Their `first` may lag behind
    /// removals. Under the log's lock: `visit` must neither ask the log nor take long.
    ///
    /// # Errors
    /// The index cannot be read; it is made anew. What was passed before is right.
    pub fn each_subject<B>(
        &self,
        filter: &str,
        visit: impl FnMut(&str, SubjectInfo) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        self.noted(&mut self.0.state(), |subjects| subjects.each(filter, visit))
    }

    /// A sequence before which no record at or after `from` is on a subject that `filter` selects; `None` if there is no such
    /// record at all.
    pub fn not_before(&self, filter: &str, from: u64) -> Option<u64> {
        let mut least = None;
        let passed = self.each_subject(filter, |_, info| {
            if info.last >= from {
                let first = info.first.max(from);
                least = Some(least.map_or(first, |least: u64| least.min(first)));
            }
            if least == Some(from) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What is not known may be anywhere.
        if passed.is_err() { Some(from) } else { least }
    }

    /// Committed records from `from_seq` on whose subject `filter` selects; staged ones too, for `>` and where `from_seq` is not
    /// above the first.
    pub fn count_from(&self, from_seq: u64, filter: &str) -> u64 {
        let mut guard = self.0.state();
        let state = &mut *guard;
        if from_seq <= state.first && filter == ">" {
            return state.msgs;
        }
        if from_seq <= state.first {
            let mut count = 0;
            let passed = self.noted(state, |subjects| {
                subjects.each::<()>(filter, |_, info| {
                    count += info.count;
                    ControlFlow::Continue(())
                })
            });
            if passed.is_ok() {
                return count;
            }
        }
        if filter == ">" {
            // All but what lies before; whole segments by their counts.
            let mut count = state.next.saturating_sub(from_seq.max(state.committed + 1));
            let mut rest = None;
            for segment in state.segments.iter().rev() {
                if segment.base >= from_seq {
                    count += segment.live();
                } else {
                    let from = from_seq.max(segment.base);
                    match segment.records == segment.last + 1 - segment.base {
                        true => count += (from..=segment.last).filter(|s| !segment.is_removed(*s)).count() as u64,
                        // Some sequences never had a record.
                        false => rest = Some(from..segment.last + 1),
                    }
                    break;
                }
            }
            drop(guard);
            return count + rest.map_or(0, |range| self.count_live(range, ">").unwrap_or(0));
        }
        if from_seq > state.committed {
            return 0;
        }
        // Of subjects that are all before `from_seq`, or all behind it, nothing has to be looked up.
        let (mut count, committed) = (0, state.committed);
        let parted = self.noted(state, |subjects| {
            subjects.each(filter, |_, info| {
                if info.last > committed || info.first < from_seq && from_seq <= info.last {
                    return ControlFlow::Break(());
                }
                count += if info.first >= from_seq { info.count } else { 0 };
                ControlFlow::Continue(())
            })
        });
        drop(guard);
        match parted {
            Ok(None) => count,
            Ok(Some(())) | Err(_) => self.count_live(from_seq..u64::MAX, filter).unwrap_or(0),
        }
    }

    /// Live committed records within `range` whose subject `filter` selects, counted by the tables.
    pub(super) fn count_live(&self, range: Range<u64>, filter: &str) -> Result<u64, StoreError> {
        let mut count = 0;
        self.each_table::<()>(range, |table, rows| {
            let chosen = table.select(|subject| subject::matches(filter, subject));
            let state = self.0.state();
            count += rows.iter().filter(|row| chosen[row.subject as usize] && state.is_live(row.seq)).count() as u64;
            ControlFlow::Continue(())
        })?;
        Ok(count)
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
}
