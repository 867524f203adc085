//! The first and last record of a subject, looked for where removals have left them unknown.

use super::Log;
use crate::store::{StoreError, Stored};

impl Log {
    /// The first record of `subject` at or after `from`.
    pub(super) fn first_of(&self, subject: &str, from: u64) -> Result<Option<Stored>, StoreError> {
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
    pub(super) fn mend_first(&self, subject: &str) {
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
    pub(super) fn mend_last(&self, subject: &str) {
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
}
