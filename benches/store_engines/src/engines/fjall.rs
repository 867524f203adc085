//! fjall: a keyspace of big-endian sequences; batches that are persisted with fdatasync.

use crate::{Engine, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;

/// fjall 3.
pub struct Fjall {
    db: Database,
    log: Keyspace,
    last: u64,
}

impl Engine for Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let db = Database::builder(dir.join("data")).open()?;
        let log = db.keyspace("bench", KeyspaceCreateOptions::default)?;
        let last = match log.last_key_value() {
            Some(guard) => u64::from_be_bytes(guard.key()?.as_ref().try_into()?),
            None => 0,
        };
        Ok(Fjall { db, log, last })
    }

    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (seq, payload) in (self.last + 1..).zip(append) {
            batch.insert(&self.log, seq.to_be_bytes(), payload.as_slice());
        }
        for seq in remove {
            batch.remove(&self.log, seq.to_be_bytes());
        }
        batch.commit()?;
        self.last += append.len() as u64;
        Ok(())
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.log.get(seq.to_be_bytes())?.map(|value| value.to_vec()))
    }

    fn last(&self) -> u64 {
        self.last
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
