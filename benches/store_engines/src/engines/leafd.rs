//! leafd's segment log, with the options of an ordinary stream.

use crate::{Engine, Result};
use leafd::store::{Log, LogOptions, Record, Store, StoreOptions};
use std::path::Path;

const LOG: &str = "bench";
/// A subject as a gateway has them; it is stored with each record.
const SUBJECT: &str = "line.4.temp";

/// leafd's segment log.
pub struct Leafd {
    store: Store,
    log: Log,
}

impl Leafd {
    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Hands a record to the store's own committer, which tells the log's observer when it is durable.
    ///
    /// # Errors
    /// The log takes no more.
    pub fn stage(&self, payload: &[u8]) -> Result<()> {
        self.log.append(&Record { subject: SUBJECT, headers: b"", payload })?;
        Ok(())
    }
}

impl Engine for Leafd {
    fn open(dir: &Path) -> Result<Self> {
        let store = Store::open(&dir.join("data"), StoreOptions::default())?;
        let options = LogOptions::default();
        let log = match store.log_ids()?.is_empty() {
            true => store.create_log(LOG, options)?,
            false => store.open_log(LOG, options)?,
        };
        Ok(Leafd { store, log })
    }

    fn write(&mut self, append: &[Vec<u8>], remove: &[u64]) -> Result<()> {
        let last = self.log.state().last_seq + append.len() as u64;
        for payload in append {
            self.stage(payload)?;
        }
        self.log.remove(remove)?;
        self.store.barrier().wait()?;
        // The barrier does not speak of records that a round before it failed to write; the log dropped those.
        match self.log.committed() == last {
            true => Ok(()),
            false => Err("the store failed to write".into()),
        }
    }

    fn read(&self, seq: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.log.read(seq)?.map(|stored| stored.payload.to_vec()))
    }

    fn last(&self) -> u64 {
        self.log.state().last_seq
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.store.close();
        Ok(())
    }
}
