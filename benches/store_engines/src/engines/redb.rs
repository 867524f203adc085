//! redb: a table of sequences; a write transaction of durability `Immediate`, its default, for all that waits.

use crate::{Engine, Result};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::path::Path;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("bench");

/// redb 4.
pub struct Redb {
    db: Database,
    last: u64,
}

/// The table, which the first write makes.
fn log(db: &Database) -> Result<Option<ReadOnlyTable<u64, &'static [u8]>>> {
    match db.begin_read()?.open_table(LOG) {
        Ok(log) => Ok(Some(log)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Engine for Redb {
    fn open(dir: &Path) -> Result<Self> {
        let db = Database::create(dir.join("data.redb"))?;
        let last = match log(&db)? {
            Some(log) => log.last()?.map_or(0, |(seq, _)| seq.value()),
            None => 0,
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
        let Some(log) = log(&self.db)? else { return Ok(None) };
        Ok(log.get(seq)?.map(|value| value.value().to_vec()))
    }

    fn last(&self) -> u64 {
        self.last
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
