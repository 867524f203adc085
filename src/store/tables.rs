//! Tables of sealed segments that were looked at last, so that a limit that drops record by record does not read the same
//! index each time. Bounded for the whole store.

use super::table::Table;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most memory for tables that nobody looks at, bytes.
const MAX_BYTES: usize = 8 << 20;

/// The tables, the latest at the back, by log and base.
#[derive(Default)]
pub(super) struct Tables(VecDeque<(u64, u64, Arc<Table>)>);

impl Tables {
    pub fn get(&mut self, log: u64, base: u64) -> Option<Arc<Table>> {
        let at = self.0.iter().position(|(l, b, _)| (*l, *b) == (log, base))?;
        let found = self.0.remove(at)?;
        self.0.push_back(found);
        self.0.back().map(|(.., table)| table.clone())
    }

    pub fn put(&mut self, log: u64, base: u64, table: Arc<Table>) {
        self.0.push_back((log, base, table));
        while self.0.len() > 1 && self.0.iter().map(|(.., table)| table.memory()).sum::<usize>() > MAX_BYTES {
            self.0.pop_front();
        }
    }

    /// The segment is gone.
    pub fn forget(&mut self, log: u64, base: u64) {
        self.0.retain(|(l, b, _)| (*l, *b) != (log, base));
    }
}
