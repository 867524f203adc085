//! What the segments hold, walked over by their tables: no record is read.

use super::{Inner, Log, State};
use crate::store::StoreError;
use crate::store::segment::CHUNK;
use crate::store::table::{Builder, Row, Table};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, PoisonError};

/// The table of the segment that is written to, as far as it was asked for.
#[derive(Default)]
pub(in crate::store) struct Tail {
    base: u64,
    /// Length of what it covers.
    len: u64,
    builder: Builder,
}

impl Log {
    /// Passes the committed rows of each segment within `range` to `visit`, removed ones included, in order. `visit` must not
    /// ask for tables itself.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub(in crate::store) fn each_table<B>(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(&Table, &[Row]) -> ControlFlow<B>,
    ) -> Result<Option<B>, StoreError> {
        let mut from = range.start;
        loop {
            let found = {
                let state = self.0.state();
                from = from.max(state.first);
                let here = state.segment_of(from).filter(|s| from <= s.last);
                here.or_else(|| state.segment_behind(from)).map(|s| (s.base, s.last))
            };
            let Some((base, end)) = found.filter(|(base, _)| from.max(*base) < range.end) else { return Ok(None) };
            let seen = self.with_table(base, |table| {
                let rows = table.from(from);
                let rows = &rows[..rows.partition_point(|row| row.seq < range.end)];
                (visit(table, rows), rows.last().map(|row| row.seq))
            })?;
            // What comes next is asked for by sequence, behind what the segment was when it was found: compaction may have made one
            // of it and the next by now.
            from = match seen {
                Some((ControlFlow::Break(found), _)) => return Ok(Some(found)),
                Some((ControlFlow::Continue(()), last)) => last.map_or(end, |last| end.max(last)).saturating_add(1),
                // Gone, or part of another one by now: looked for again.
                None => from,
            };
        }
    }

    /// Looks at the table of the segment that begins at `base`; `None` if it is gone.
    fn with_table<T>(&self, base: u64, look: impl FnOnce(&Table) -> T) -> Result<Option<T>, StoreError> {
        let last = self.0.state().segments.back().map(|s| s.base);
        match last == Some(base) {
            true => self.0.tail(base, look),
            false => Ok(self.sealed_table(base)?.map(|table| look(&table))),
        }
    }

    /// The table of a sealed segment; `None` if it is gone.
    pub(super) fn sealed_table(&self, base: u64) -> Result<Option<Arc<Table>>, StoreError> {
        let inner = &self.0;
        let look = |state: &State| {
            let segment = state.segment_of(base).filter(|s| s.base == base);
            segment.map(|s| (s.serial, s.contents()))
        };
        let Some((serial, contents)) = look(&inner.state()) else { return Ok(None) };
        if let Some(table) = inner.shared.tables().get(serial) {
            return Ok(Some(table));
        }
        let table = Arc::new(contents.table(&inner.place, inner.storage)?);
        inner.shared.tables().put(serial, table.clone());
        Ok(Some(table))
    }
}

impl Inner {
    /// Looks at the table of the last segment, which is extended by what was committed since the last look.
    fn tail<T>(&self, base: u64, look: impl FnOnce(&Table) -> T) -> Result<Option<T>, StoreError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.base != base {
            *tail = Tail { base, ..Tail::default() };
        }
        let found = {
            let state = self.state();
            state.segment_of(base).filter(|s| s.base == base).map(|s| (s.scan_from(tail.len, CHUNK), s.len))
        };
        let Some((scanner, len)) = found else { return Ok(None) };
        tail.builder.scan(scanner, self.storage).map_err(|e| StoreError::io("read", &self.place.dir, e))?;
        tail.len = len;
        Ok(Some(look(tail.builder.table())))
    }
}
