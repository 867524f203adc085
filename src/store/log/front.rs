//! Dropping records from the front: what a trim and the limits do.

use super::Log;
use crate::store::StoreError;
use crate::store::scanner::Item;

/// Records are taken out of the books in pieces, so that nobody waits for long.
const PIECE: usize = 4096;
/// Read-ahead where records are read.
const CHUNK: usize = 16 * 1024;

/// A record that may be dropped.
pub(super) struct Candidate {
    pub seq: u64,
    /// Committed records, this one included, and their bytes.
    pub left: (u64, u64),
    /// When it was stored, or one after it in its segment if [`Rule::by_table`] took that.
    pub time: i64,
}

/// Up to where records go.
pub(super) struct Rule<'a> {
    /// Records go until one is not accepted.
    pub accept: &'a mut dyn FnMut(&Candidate) -> bool,
    /// Whether a sealed segment whose last record has this time may go by its table, which has no times; else it is read.
    pub by_table: &'a dyn Fn(i64) -> bool,
}

/// How many went, and whether that was all of the segment.
type Dropped = (u64, bool);

impl Log {
    /// Drops committed records from the front; returns how many. Not told to the tombstones: it is found out again.
    ///
    /// # Errors
    /// The records, or their table, cannot be read.
    pub(super) fn drop_front(&self, mut rule: Rule<'_>) -> Result<u64, StoreError> {
        let mut count = 0;
        loop {
            let (front, sealed) = {
                let state = self.0.state();
                let Some(front) = state.segments.iter().find(|s| s.last >= state.first) else { return Ok(count) };
                ((front.base, front.last, front.last_time), state.segment_behind(front.base).is_some())
            };
            let (base, last, time) = front;
            let (dropped, all) = match sealed && (rule.by_table)(time) {
                true => self.drop_by_table(base, time, &mut rule)?,
                false => self.drop_by_reading(base, &mut rule)?,
            };
            let gone = {
                let mut state = self.0.state();
                if all && sealed {
                    // Damaged records are in no table, and so go here.
                    state.first = state.first.max(last + 1);
                }
                state.settle()
            };
            self.delete(gone);
            count += dropped;
            if !(all && sealed) {
                return Ok(count);
            }
        }
    }

    fn drop_by_table(&self, base: u64, time: i64, rule: &mut Rule<'_>) -> Result<Dropped, StoreError> {
        let Some(table) = self.sealed_table(base)? else { return Ok((0, true)) };
        let first = self.0.state().first;
        let mut count = 0;
        for piece in table.from(first).chunks(PIECE) {
            let mut state = self.0.state();
            for row in piece {
                if !state.is_live(row.seq) {
                    continue;
                }
                if !(rule.accept)(&Candidate { seq: row.seq, left: state.committed_size(), time }) {
                    return Ok((count, false));
                }
                let committed = state.committed;
                state.subjects.relieve(committed);
                count += u64::from(state.drop_first(row.seq, table.subject(row.subject), row.size.into())?);
            }
        }
        Ok((count, true))
    }

    fn drop_by_reading(&self, base: u64, rule: &mut Rule<'_>) -> Result<Dropped, StoreError> {
        let scanner = {
            let state = self.0.state();
            state.segment_of(base).filter(|s| s.base == base).map(|s| s.scan(state.first, CHUNK))
        };
        let Some(mut scanner) = scanner else { return Ok((0, true)) };
        let mut count = 0;
        while let Some(item) = scanner.next().map_err(|e| StoreError::io("read", &self.0.place.dir, e))? {
            let Item::Record(view, _) = item else { continue };
            let mut state = self.0.state();
            if !state.is_live(view.seq) {
                continue;
            }
            let size = view.counted(self.0.storage) as u64;
            if !(rule.accept)(&Candidate { seq: view.seq, left: state.committed_size(), time: view.time }) {
                return Ok((count, false));
            }
            count += u64::from(state.drop_first(view.seq, view.subject, size)?);
        }
        Ok((count, true))
    }
}
