//! Tables of sealed segments that were looked at last, so that a limit that drops record by record does not read the same
//! index each time. Bounded for the whole store.

use super::table::Table;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most memory for tables that nobody looks at, bytes.
const MAX_BYTES: usize = 8 << 20;

/// The tables, the latest at the back, by the serial of the segment.
#[derive(Default)]
pub(super) struct Tables(VecDeque<(u64, Arc<Table>)>);

impl Tables {
    pub fn get(&mut self, serial: u64) -> Option<Arc<Table>> {
        let at = self.0.iter().position(|(known, _)| *known == serial)?;
        let found = self.0.remove(at)?;
        self.0.push_back(found);
        self.0.back().map(|(_, table)| table.clone())
    }

    pub fn put(&mut self, serial: u64, table: Arc<Table>) {
        self.0.push_back((serial, table));
        while self.0.len() > 1 && self.0.iter().map(|(_, table)| table.memory()).sum::<usize>() > MAX_BYTES {
            self.0.pop_front();
        }
    }

    /// The segment is gone.
    pub fn forget(&mut self, serial: u64) {
        self.0.retain(|(known, _)| *known != serial);
    }
}
