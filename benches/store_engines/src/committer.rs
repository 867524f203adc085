//! Records that wait behind one committer: it takes all that wait, makes them durable together, and acknowledges them, while
//! the next ones gather. leafd's store is that by itself; the other engines get one.

use crate::engines::Leafd;
use crate::{Engine, Kind, Result};
use leafd::store::{CommitObserver, StoreError};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many records are acknowledged, or why no more will be.
#[derive(Debug)]
struct Acks {
    count: Mutex<std::result::Result<u64, String>>,
    changed: Condvar,
}

impl Acks {
    fn set(&self, count: std::result::Result<u64, String>) {
        *lock(&self.count) = count;
        self.changed.notify_all();
    }
}

impl CommitObserver for Acks {
    fn committed(&self, upto: u64) {
        self.set(Ok(upto));
    }

    fn failed(&self, _: u64, error: &StoreError) {
        self.set(Err(error.to_string()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What waits for the committer; `None` when nothing more will come.
struct Waiting {
    records: Mutex<Option<Vec<Vec<u8>>>>,
    more: Condvar,
}

enum By {
    Itself(Box<Leafd>),
    Thread(Arc<Waiting>, thread::JoinHandle<Result<()>>),
}

/// An engine behind a committer.
pub struct Committer {
    by: By,
    acks: Arc<Acks>,
}

impl Committer {
    /// Opens an engine in an empty folder.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn open(kind: Kind, dir: &Path) -> Result<Committer> {
        let acks = Arc::new(Acks { count: Mutex::new(Ok(0)), changed: Condvar::new() });
        let by = if kind == Kind::Leafd {
            let leafd = Leafd::open(dir)?;
            leafd.log().observe(acks.clone());
            By::Itself(Box::new(leafd))
        } else {
            let engine = kind.open(dir)?;
            let waiting = Arc::new(Waiting { records: Mutex::new(Some(Vec::new())), more: Condvar::new() });
            let (theirs, told) = (waiting.clone(), acks.clone());
            By::Thread(waiting, thread::spawn(move || commit(engine, &theirs, &told)))
        };
        Ok(Committer { by, acks })
    }

    /// Hands in a record.
    ///
    /// # Errors
    /// leafd takes no more.
    pub fn submit(&self, payload: Vec<u8>) -> Result<()> {
        match &self.by {
            By::Itself(leafd) => leafd.stage(&payload)?,
            By::Thread(waiting, _) => {
                if let Some(records) = &mut *lock(&waiting.records) {
                    records.push(payload);
                }
                waiting.more.notify_one();
            }
        }
        Ok(())
    }

    /// Waits until more than `seen` records are acknowledged, and says how many are.
    ///
    /// # Errors
    /// The engine failed.
    pub fn acked(&self, seen: u64) -> Result<u64> {
        let same = |count: &mut std::result::Result<u64, String>| *count == Ok(seen);
        let count = self.acks.changed.wait_while(lock(&self.acks.count), same);
        Ok(count.unwrap_or_else(PoisonError::into_inner).clone()?)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// The engine failed.
    pub fn close(self) -> Result<()> {
        match self.by {
            By::Itself(leafd) => leafd.close(),
            By::Thread(waiting, thread) => {
                *lock(&waiting.records) = None;
                waiting.more.notify_one();
                thread.join().map_err(|_| "the committer failed")?
            }
        }
    }
}

fn commit(mut engine: Box<dyn Engine>, waiting: &Waiting, acks: &Acks) -> Result<()> {
    let mut count = 0;
    loop {
        let nothing = |records: &mut Option<Vec<_>>| records.as_ref().is_some_and(Vec::is_empty);
        let records = waiting.more.wait_while(lock(&waiting.records), nothing);
        let taken = records.unwrap_or_else(PoisonError::into_inner).as_mut().map(std::mem::take);
        let Some(records) = taken else { return engine.close() };
        count += records.len() as u64;
        match engine.write(&records, &[]) {
            Ok(()) => acks.set(Ok(count)),
            Err(error) => {
                acks.set(Err(error.to_string()));
                return Err(error);
            }
        }
    }
}
