//! sled: its default tree with big-endian sequences; a batch and a flush for all that waits.

use crate::{Engine, Result};
use std::fs::File;
use std::path::Path;

/// sled 0.34, made durable as its documentation says.
pub struct Sled {
    db: sled::Db,
    last: u64,
}

/// The same with an fdatasync of our own, as `flush` calls sync_file_range, which does not reach the device.
pub struct SledSynced {
    sled: Sled,
    file: File,
}

impl Engine for Sled {
    fn open(dir: &Path) -> Result<Self> {
        let db = sled::open(dir.join("data"))?;
        let last = match db.last()? {
            Some((seq, _)) => u64::from_be_bytes(seq.as_ref().try_into()?),
            None => 0,
        };
        Ok(Sled { db, last })
    }

    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (seq, payload) in (self.last + 1..).zip(append) {
            batch.insert(&seq.to_be_bytes(), payload.as_slice());
        }
        for seq in remove {
            batch.remove(&seq.to_be_bytes());
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        self.last += append.len() as u64;
        Ok(())
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.db.get(seq.to_be_bytes())?.map(|value| value.to_vec()))
    }

    fn last(&self) -> u64 {
        self.last
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}

impl Engine for SledSynced {
    fn open(dir: &Path) -> Result<Self> {
        let sled = Sled::open(dir)?;
        let file = File::open(dir.join("data/db"))?;
        Ok(SledSynced { sled, file })
    }

    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()> {
        self.sled.write(append, remove)?;
        Ok(self.file.sync_data()?)
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        self.sled.read(seq)
    }

    fn last(&self) -> u64 {
        self.sled.last()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Box::new(self.sled).close()
    }
}
