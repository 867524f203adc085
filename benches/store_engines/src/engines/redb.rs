//! redb: a table of sequences; a write transaction of durability `Immediate`, its default, for all that waits.

use crate::{Engine, Result};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::path::Path;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("bench");

/// redb 4.
pub struct Redb {
    db: Database,
    last: u64,
}

impl Engine for Redb {
    fn open(dir: &Path) -> Result<Self> {
        let db = Database::create(dir.join("data.redb"))?;
        let last = match db.begin_read()?.open_table(LOG) {
            Ok(log) => log.last()?.map_or(0, |(seq, _)| seq.value()),
            Err(TableError::TableDoesNotExist(_)) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(Redb { db, last })
    }

    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()> {
        let transaction = self.db.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            for (seq, payload) in (self.last + 1..).zip(append) {
                log.insert(seq, payload.as_slice())?;
            }
            for seq in remove {
                log.remove(seq)?;
            }
        }
        transaction.commit()?;
        self.last += append.len() as u64;
        Ok(())
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        let log = self.db.begin_read()?.open_table(LOG)?;
        Ok(log.get(seq)?.map(|value| value.value().to_vec()))
    }

    fn last(&self) -> u64 {
        self.last
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
