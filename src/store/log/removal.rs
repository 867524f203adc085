//! Removing records: one by one, by a purge, and from the front.

use super::front::Rule;
use super::options::Purge;
use super::{Log, State};
use crate::store::StoreError;
use crate::store::compaction::Compactor;
use crate::store::tombstones::Tomb;
use crate::subject;
use std::ops::{ControlFlow, Range, RangeInclusive};

/// Records are taken out of the books in pieces, so that nobody waits for long.
const PIECE: usize = 1024;

/// Between which sequences records are, and which they are if that is known.
type Ends = (RangeInclusive<u64>, Option<Vec<u64>>);

impl Log {
    /// Removes committed records; returns how many there were. Durable with the next commit ([`super::Store::barrier`]).
    ///
    /// # Errors
    /// What is in a segment cannot be read; the records of others are removed. A damaged one is passed over.
    pub fn remove(&self, seqs: &[u64]) -> Result<u64, StoreError> {
        let mut seqs = {
            let state = self.0.state();
            seqs.iter().copied().filter(|seq| *seq <= state.committed && state.is_live(*seq)).collect::<Vec<_>>()
        };
        seqs.sort_unstable();
        seqs.dedup();
        self.remove_found(&seqs)
    }

    /// Removes those of `seqs` that are there still: ascending, and none of them staged.
    pub(in crate::store) fn remove_found(&self, seqs: &[u64]) -> Result<u64, StoreError> {
        let (mut mend, mut count, mut failure) = (Vec::new(), 0, None);
        let mut rest = seqs;
        while let [first, ..] = *rest {
            // Those of one segment at a time, by its table: no record is read.
            // Where that has gone meanwhile, the one before it ends before them.
            let end = self.0.state().segment_of(first).map_or(first, |s| s.last.max(first));
            let (here, later) = rest.split_at(rest.partition_point(|seq| *seq <= end));
            rest = later;
            let struck = self.each_table(first..end + 1, |table, mut rows| {
                let mut state = self.0.state();
                for &seq in here {
                    rows = &rows[rows.partition_point(|row| row.seq < seq)..];
                    let Some(row) = rows.first().filter(|row| row.seq == seq) else { continue };
                    match self.take_out(&mut state, seq, table.subject(row.subject), row.size, &mut mend) {
                        Ok(taken) => count += u64::from(taken),
                        Err(error) => failure = Some(error),
                    }
                }
                ControlFlow::Break(())
            });
            failure = struck.err().or(failure);
        }
        self.settle(mend, count > 0);
        failure.map_or(Ok(count), Err)
    }

    /// Takes a record out of the books if it is `still` to go, and has its removal written; whether it was taken out.
    pub(super) fn strike(
        &self,
        seq: u64,
        subject: &str,
        size: u32,
        still: impl FnOnce(&mut State) -> bool,
    ) -> Result<bool, StoreError> {
        let mut mend = Vec::new();
        let taken = {
            let mut state = self.0.state();
            match still(&mut state) {
                true => self.take_out(&mut state, seq, subject, size, &mut mend),
                false => Ok(false),
            }
        };
        self.settle(mend, matches!(taken, Ok(true)));
        taken
    }

    /// Takes a record out of the books and notes its removal; whether it was there.
    fn take_out(
        &self,
        state: &mut State,
        seq: u64,
        subject: &str,
        size: u32,
        mend: &mut Vec<Box<str>>,
    ) -> Result<bool, StoreError> {
        let taken = state.strike(seq, subject, size.into(), mend).inspect_err(|_| self.queue(state))?;
        if taken {
            Tomb::push(&mut state.tombs, seq);
            let committed = state.committed;
            state.subjects.relieve(committed);
        }
        Ok(taken)
    }

    /// After records were taken out of the books: deletes what segments that empties, has the removals written if `note`, and
    /// looks for the last records of subjects that lost theirs.
    fn settle(&self, mut mend: Vec<Box<str>>, note: bool) {
        let (gone, sparse) = {
            let mut state = self.0.state();
            if note {
                // What the limits dropped is found out again from what is left, which is less now: it would come back.
                if state.limits.max_msgs.is_some() || state.limits.max_bytes.is_some() {
                    let first = state.first;
                    state.tombs.push(Tomb::below(first));
                }
                self.queue(&mut state);
            }
            (state.settle(), std::mem::take(&mut state.sparse))
        };
        self.delete(gone);
        let pressed = || self.0.shared.compactor.get().is_some_and(Compactor::is_pressed);
        if sparse || note && pressed() {
            self.0.shared.look_at(self);
        }
        mend.sort_unstable();
        mend.dedup();
        for subject in mend {
            self.mend_last(&subject);
        }
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
        let keep = purge.keep.unwrap_or(0);
        let range = match self.ends_of(filter)? {
            None => return Ok(0),
            Some((_, Some(seqs))) if keep == 0 => {
                return self.remove(&seqs.into_iter().filter(|seq| *seq < below).collect::<Vec<_>>());
            }
            Some((range, _)) => *range.start()..below.min(range.end().saturating_add(1)),
        };
        let range = match keep {
            0 => range,
            keep => range.start..self.first_kept(range, filter, keep)?,
        };
        let mut mend = Vec::new();
        let mut count = 0;
        let stopped = self.each_table(range, |table, rows| {
            let chosen = table.select(|subject| subject::matches(filter, subject));
            for piece in rows.chunks(PIECE) {
                let mut state = self.0.state();
                for row in piece.iter().filter(|row| chosen[row.subject as usize]) {
                    match self.take_out(&mut state, row.seq, table.subject(row.subject), row.size, &mut mend) {
                        Ok(taken) => count += u64::from(taken),
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
            }
            ControlFlow::Continue(())
        });
        self.settle(mend, count > 0);
        match stopped? {
            Some(error) => Err(error),
            None => Ok(count),
        }
    }

    /// Between which sequences all records are on subjects that `filter` selects; and these records, if the index knows them all,
    /// as it does where there are one or two of each subject. `None`: there are none.
    fn ends_of(&self, filter: &str) -> Result<Option<Ends>, StoreError> {
        let mut guard = self.0.state();
        let state = &mut *guard;
        let (mut range, mut seqs) = (None::<(u64, u64)>, Some(Vec::new()));
        self.noted(state, |subjects| {
            subjects.each::<()>(filter, |_, info| {
                let (first, last) = range.unwrap_or((u64::MAX, 0));
                range = Some((first.min(info.first), last.max(info.last)));
                match &mut seqs {
                    Some(seqs) if info.count <= 2 => seqs.extend([info.first, info.last]),
                    _ => seqs = None,
                }
                ControlFlow::Continue(())
            })
        })?;
        let there = |seqs: &Vec<u64>| seqs.iter().all(|seq| *seq <= state.committed && state.is_live(*seq));
        Ok(range.map(|(first, last)| (first..=last, seqs.filter(there))))
    }

    /// The sequence from which on `keep` records of `range` lie that `filter` selects; its beginning if there are no more. Others may
    /// remove records meanwhile, of which none is to be made up for: rather one too many stays.
    fn first_kept(&self, range: Range<u64>, filter: &str, keep: u64) -> Result<u64, StoreError> {
        let live = |range: Range<u64>, visit: &mut dyn FnMut(&[u64])| {
            self.each_table::<()>(range, |table, rows| {
                let chosen = table.select(|subject| subject::matches(filter, subject));
                let state = self.0.state();
                let rows = rows.iter().filter(|row| chosen[row.subject as usize] && state.is_live(row.seq));
                visit(&rows.map(|row| row.seq).collect::<Vec<_>>());
                ControlFlow::Continue(())
            })
        };
        let mut parts = Vec::new();
        live(range.clone(), &mut |seqs| parts.extend(seqs.first().map(|first| (*first, seqs.len() as u64))))?;
        let (mut left, mut end) = (keep, range.end);
        for (from, count) in parts.into_iter().rev() {
            if count >= left {
                let mut here = Vec::new();
                live(from..end, &mut |seqs| here.extend_from_slice(seqs))?;
                let first = here.len().checked_sub(left as usize).and_then(|at| here.get(at));
                return Ok(first.copied().unwrap_or(from));
            }
            (left, end) = (left - count, from);
        }
        Ok(range.start)
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
        let (below, first) = {
            let state = self.0.state();
            (first_seq.min(state.committed + 1), state.first)
        };
        if below <= first {
            return 0;
        }
        let drop = || self.drop_front(Rule { accept: &mut |c| c.seq < below, by_table: &|_| true });
        let dropped = drop().or_else(|_| {
            // Most likely a part of the index.
            self.mend_index();
            drop()
        });
        let count = dropped.unwrap_or_else(|error| {
            tracing::warn!("{}: not all that goes could be counted: {error}", self.0.id);
            0
        });
        let gone = {
            let mut state = self.0.state();
            state.first = state.first.max(below);
            if state.first == state.next {
                (state.msgs, state.bytes) = (0, 0);
            }
            state.tombs.push(Tomb::below(below));
            state.rotate |= state.msgs == 0;
            self.queue(&mut state);
            state.settle()
        };
        self.delete(gone);
        count
    }
}
