//! The first and last record of a subject, looked for in the tables where removals have left them unknown.

use super::Log;
use crate::store::StoreError;
use std::ops::ControlFlow;

impl Log {
    /// The first live record of `subject` at or after `from`, and its size.
    pub(super) fn first_of(&self, subject: &str, from: u64) -> Result<Option<(u64, u32)>, StoreError> {
        self.each_table(from..u64::MAX, |table, rows| {
            let Some(number) = table.number_of(subject) else { return ControlFlow::Continue(()) };
            let state = self.0.state();
            match rows.iter().find(|row| row.subject == number && state.is_live(row.seq)) {
                Some(row) => ControlFlow::Break((row.seq, row.size)),
                None => ControlFlow::Continue(()),
            }
        })
    }

    /// Corrects a subject's `first` if that record is gone.
    pub(super) fn mend_first(&self, subject: &str) {
        let stale = {
            let mut state = self.0.state();
            let known = state.subjects.get(subject).ok().flatten();
            let there = |seq: u64| seq > state.committed || state.is_live(seq);
            let stale = known.filter(|i| !there(i.first));
            if let Some(only) = stale.filter(|i| i.count == 1 && there(i.last)) {
                let _ = state.subjects.set_first(subject, only.last);
                return;
            }
            stale
        };
        if let Some(info) = stale
            && let Ok(Some((first, _))) = self.first_of(subject, info.first)
        {
            // If not, it is looked for again.
            let _ = self.0.state().subjects.set_first(subject, first);
        }
    }

    /// Looks for the record of `subject` that is the last one now, if the one that was is gone.
    pub(in crate::store) fn mend_last(&self, subject: &str) {
        let stale = {
            let mut state = self.0.state();
            let known = state.subjects.get(subject).ok().flatten();
            known.filter(|i| i.last <= state.committed && !state.is_live(i.last))
        };
        let Some(info) = stale else { return };
        let mut below = info.last;
        while below > info.first {
            let base = self.0.state().segment_of(below - 1).map(|s| s.base);
            let Some(base) = base else { return };
            let mut found = None;
            let visited = self.each_table(base..below, |table, rows| {
                let number = table.number_of(subject);
                let state = self.0.state();
                found =
                    rows.iter().rfind(|row| Some(row.subject) == number && state.is_live(row.seq)).map(|row| row.seq);
                ControlFlow::Break(())
            });
            if let Err(error) = visited {
                tracing::warn!("{}: cannot look for the last record of {subject}: {error}", self.0.id);
            }
            if let Some(seq) = found {
                let mut state = self.0.state();
                // Unless one was published meanwhile.
                if state.subjects.get(subject).is_ok_and(|now| now.is_some_and(|now| now.last == info.last))
                    && let Err(error) = state.subjects.set_last(subject, seq)
                {
                    tracing::warn!("{}: cannot note the last record of {subject}: {error}", self.0.id);
                }
                return;
            }
            below = base;
        }
    }
}
