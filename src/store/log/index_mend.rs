//! What the index says of subjects that are not in memory: kept within its bounds, and made anew where it cannot be read.

use super::Log;
use crate::store::{StoreError, SubjectInfo};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

/// For so long the log is left to others between two steps.
const PAUSE: Duration = Duration::from_micros(50);

impl Log {
    /// Puts subjects that were not used lately out of memory until `excess` bytes are given back, or as many as there are; how many
    /// were. The log is free for others after each step.
    pub(in crate::store) fn relieve(&self, excess: u64) -> u64 {
        let (mut freed, mut rounds, mut failure) = (0, 0, None);
        while freed < excess && rounds < 2 && failure.is_none() {
            let mut state = self.0.state();
            if state.subjects.evictable() == 0 {
                break;
            }
            let committed = state.committed;
            let step = state.subjects.evict(committed);
            freed += step.freed;
            rounds += usize::from(step.round);
            failure = step.error;
            drop(state);
            // Or this thread would have the log again before those who wait for it.
            thread::sleep(PAUSE);
        }
        self.0.state().subjects.make_room();
        if let Some(error) = failure {
            tracing::warn!("{}: subjects stay in memory: {error}", self.0.id);
        }
        freed
    }

    /// Makes parts of the index anew that could not be read, from what the segments say.
    pub fn mend_index(&self) {
        loop {
            let Some(range) = self.0.state().subjects.unread() else { return };
            let mut all: BTreeMap<Box<str>, SubjectInfo> = BTreeMap::new();
            let walked = self.each_table::<()>(0..u64::MAX, |table, rows| {
                let chosen = table.select(|subject| range.contains(subject));
                let state = self.0.state();
                for row in rows.iter().filter(|row| chosen[row.subject as usize] && state.is_live(row.seq)) {
                    let none = SubjectInfo { first: row.seq, last: 0, count: 0 };
                    let info = all.entry(table.subject(row.subject).into()).or_insert(none);
                    (info.last, info.count) = (row.seq, info.count + 1);
                }
                ControlFlow::Continue(())
            });
            let mended = walked.and_then(|_| self.0.state().subjects.mend(&range, &all));
            match mended {
                Ok(()) => tracing::info!("{}: {} subjects of the index were made anew", self.0.id, all.len()),
                Err(error) => return self.report_index(&error),
            }
        }
    }

    fn report_index(&self, error: &StoreError) {
        tracing::warn!("{}: a part of the index cannot be made anew: {error}", self.0.id);
    }
}
