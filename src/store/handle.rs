//! The store of one data directory: opening it, its logs, its end.

use super::clock::Clock;
use super::commit::{self, Commit, Shared, StoreStats};
use super::compaction::Compactor;
use super::dir::{self, Lock};
use super::io::{Disk, MemoryDisk, Place, RealDisk};
use super::log::{Inner, Log, LogOptions, Storage};
use super::recovery::{self, Opened};
use super::salt;
use super::subjects;
use super::vault::{self, Encryption};
use super::{StateLog, StoreError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How the store behaves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// A segment is sealed when it would grow beyond this, bytes.
    pub segment_bytes: u64,
    /// Whether it is encrypted, and with what.
    pub encryption: Option<Encryption>,
    /// Most memory that the indexes of all logs by subject may take, bytes; 2 GB at most. Subjects beyond that are kept in files, and
    /// in memory where these have what; a record on a new subject is refused only where even that does not fit.
    pub index_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { segment_bytes: 16 << 20, encryption: None, index_bytes: 128 << 20 }
    }
}

/// The store of one data directory; a handle.
#[derive(Clone)]
pub struct Store(Arc<StoreInner>);

struct StoreInner {
    shared: Arc<Shared>,
    state: Arc<StateLog>,
    place: Place,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: Option<Lock>,
}

impl Store {
    /// Opens or creates the store in `dir`, takes its lock, reads the state log and starts the commit thread.
    ///
    /// # Errors
    /// The directory cannot be used: in use, foreign, newer, unreadable, encrypted with another key.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let encryption = options.encryption.as_ref();
        encryption.map_or(Ok(()), Encryption::check)?;
        let lock = dir::take(dir, encryption.is_some())?;
        Self::on_disk(Arc::new(RealDisk), dir, options, Some(lock), Clock::of_the_machine())
    }

    /// As [`Store::open`] on another disk and by another clock than the machine's.
    pub(super) fn on_disk(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
        lock: Option<Lock>,
        clock: Clock,
    ) -> Result<Store, StoreError> {
        let store = Self::unattended(disk, dir, options, lock, clock)?;
        let failed = |e| StoreError::io("start the threads for", dir, e);
        let thread = thread::Builder::new().name("leafd-commit".into()).spawn({
            let (shared, state) = (store.0.shared.clone(), store.0.state.clone());
            move || commit::run(&shared, &state)
        });
        store.0.threads().push(thread.map_err(failed)?);
        let (compactor, thread) = Compactor::start().map_err(failed)?;
        let _ = store.0.shared.compactor.set(compactor);
        store.0.threads().push(thread);
        Ok(store)
    }

    /// The same without the threads: nothing is committed or compacted.
    pub(super) fn unattended(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
        lock: Option<Lock>,
        clock: Clock,
    ) -> Result<Store, StoreError> {
        let place = Place { disk, dir: dir.to_owned(), salt: 0, vault: None };
        let vault = vault::unlock(&place, options.encryption.as_ref())?;
        let place = Place { salt: salt::take(&place), vault, ..place };
        let streams = dir.join("streams");
        place.disk.create_dir(&streams).map_err(|e| StoreError::io("create", &streams, e))?;
        subjects::remove_spilled(&place);
        let shared = Arc::new(Shared::new(&options, clock, &place));
        let state = Arc::new(StateLog::open(place.clone(), shared.clone())?);
        Ok(Store(Arc::new(StoreInner { shared, state, place, threads: Mutex::default(), _lock: lock })))
    }

    /// Does what is left to the commit thread until the store is closed, and closes it; for one that is unattended.
    #[cfg(any(test, fuzzing))]
    pub(super) fn finish_here(&self) {
        self.0.shared.stop();
        commit::run(&self.0.shared, &self.0.state);
    }

    /// A new, empty log.
    ///
    /// # Errors
    /// It exists already, or its folder cannot be made.
    pub fn create_log(&self, id: &str, options: LogOptions) -> Result<Log, StoreError> {
        if options.storage == Storage::File && self.log_ids()?.iter().any(|known| known == id) {
            return Err(StoreError::Exists(id.to_owned()));
        }
        let place = self.place_of(id, options.storage);
        let failed = |e| StoreError::io("create", &place.dir, e);
        place.disk.create_dir(&place.dir).map_err(failed)?;
        place.disk.sync_dir(&self.0.place.dir.join("streams")).map_err(failed)?;
        self.load(id, place, options)
    }

    /// An existing log. Memory-backed logs are always empty at first.
    ///
    /// # Errors
    /// It does not exist, or cannot be read.
    pub fn open_log(&self, id: &str, options: LogOptions) -> Result<Log, StoreError> {
        if options.storage == Storage::File && !self.log_ids()?.iter().any(|known| known == id) {
            return Err(StoreError::Missing(id.to_owned()));
        }
        self.load(id, self.place_of(id, options.storage), options)
    }

    fn load(&self, id: &str, place: Place, options: LogOptions) -> Result<Log, StoreError> {
        let shared = self.0.shared.clone();
        let Opened { state, mend, damaged } = recovery::open(&place, id, &options, &shared)?;
        let inner = Inner::new(id, place, options.storage, shared.clone(), state);
        shared.logs().insert(id.to_owned(), Arc::downgrade(&inner));
        damaged.into_iter().for_each(|(first, last)| inner.declare_damage(first, last));
        let log = Log(inner);
        mend.iter().for_each(|subject| log.mend_last(subject));
        // The limits may have changed, or a power cut may have come before a removal was written.
        if let Some(max) = options.limits.max_msgs_per_subject {
            log.limit_subjects(&log.subjects_above(max), max);
        }
        log.set_limits(options.limits);
        self.0.shared.look_at(&log);
        commit::relieve(&self.0.shared);
        Ok(log)
    }

    fn place_of(&self, id: &str, storage: Storage) -> Place {
        let dir = self.0.place.dir.join("streams").join(id);
        match storage {
            Storage::File => Place { dir, ..self.0.place.clone() },
            Storage::Memory => Place { disk: Arc::new(MemoryDisk), dir, vault: None, ..self.0.place.clone() },
        }
    }

    /// Deletes a log with all its records; handles of it that are still about take no more.
    ///
    /// # Errors
    /// Its folder cannot be deleted.
    pub fn remove_log(&self, id: &str) -> Result<(), StoreError> {
        let inner = self.0.shared.logs().remove(id).and_then(|weak| weak.upgrade());
        if let Some(inner) = &inner {
            inner.state().deleted = true;
        }
        if inner.is_none_or(|inner| inner.storage == Storage::File) {
            let dir = self.place_of(id, Storage::File).dir;
            match self.0.place.disk.remove_dir(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::io("delete", &dir, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Ends logs so that they can be opened again: what is staged is committed first, and handles of them that are still
    /// about take no more and find nothing. Blocks.
    ///
    /// # Errors
    /// Something could not be committed; the logs are closed nevertheless.
    pub fn close_logs(&self, ids: &[String]) -> Result<(), StoreError> {
        let committed = self.barrier().wait();
        let closed: Vec<_> = {
            let mut logs = self.0.shared.logs();
            ids.iter().filter_map(|id| logs.remove(id)).filter_map(|weak| weak.upgrade()).map(Log).collect()
        };
        let synced = closed.iter().map(Log::close).fold(Ok(()), Result::and);
        // The round that was under way may still have had them in hand.
        let ended = self.barrier().wait();
        committed.and(synced).and(ended)
    }

    /// The file-backed logs there are.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn log_ids(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.0.place.dir.join("streams");
        self.0.place.disk.list(&dir).map_err(|e| StoreError::io("list", &dir, e))
    }

    /// Whether there is no file of this log.
    ///
    /// # Errors
    /// Its folder cannot be read.
    pub fn is_blank_log(&self, id: &str) -> Result<bool, StoreError> {
        let dir = self.place_of(id, Storage::File).dir;
        Ok(self.0.place.disk.list(&dir).map_err(|e| StoreError::io("list", &dir, e))?.is_empty())
    }

    /// The state log.
    pub fn state(&self) -> &StateLog {
        &self.0.state
    }

    /// Resolves when everything staged until now is committed, or with the error of the commit that could not do so. A commit
    /// that had failed before this was asked has told the observers of its logs, and does not count here.
    pub fn barrier(&self) -> Commit {
        self.0.shared.barrier()
    }

    /// As [`Store::barrier`], for who must not wait: `told` is called on the commit thread, or here if that has ended.
    pub fn tell_then(&self, told: commit::Told) {
        self.0.shared.tell_then(told);
    }

    /// Counters of now.
    pub fn stats(&self) -> StoreStats {
        self.0.shared.stats()
    }

    /// Commits everything and ends the commit thread. Nothing can be staged afterwards.
    pub fn close(&self) {
        self.0.close();
    }
}

impl StoreInner {
    fn close(&self) {
        self.shared.stop();
        if let Some(compactor) = self.shared.compactor.get() {
            compactor.stop();
        }
        for thread in std::mem::take(&mut *self.threads()) {
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
        // What is open stays readable.
        subjects::remove_spilled(&self.place);
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        self.close();
    }
}
