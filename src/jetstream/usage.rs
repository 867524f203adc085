//! How much an account's streams store, against what they may. Counted up at each publish and set right from the logs
//! when a limit seems to be reached, so that the publish path adds one number.

use super::batch::Inflight;
use super::config::StorageType;
use super::error::ApiError;
use super::server_limits::ServerLimits;
use super::tiers;
use crate::store::Log;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const RECOUNT: Duration = Duration::from_millis(100);

/// Bytes used and allowed, for disk and memory.
pub struct Usage {
    file: Meter,
    memory: Meter,
    /// What all accounts share.
    within: Option<Arc<Usage>>,
    logs: Mutex<BTreeMap<String, Watched>>,
    counted: Mutex<Option<Instant>>,
    inflight: Arc<Inflight>,
    /// The account's limits are of other streams.
    untiered: AtomicBool,
}

/// Where there is no room for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// On the server.
    Server,
    /// In what the account may take.
    Account,
    /// Anywhere: the account's limits are of other streams.
    Tier,
}

impl From<Short> for ApiError {
    fn from(short: Short) -> Self {
        match short {
            Short::Server => ApiError::new(503, 10023, "insufficient resources"),
            Short::Account => ApiError::new(400, 10002, "resource limits exceeded for account"),
            Short::Tier => tiers::no_limits(),
        }
    }
}

/// A stream's messages.
struct Watched {
    storage: StorageType,
    log: Log,
    /// Bytes that are kept free for it: its `max_bytes`.
    reserved: u64,
}

struct Meter {
    most: AtomicU64,
    used: AtomicU64,
}

impl Usage {
    /// Limits in bytes; those of `within` hold too, for all who are within it together.
    pub fn new(max_file: u64, max_memory: u64, within: Option<Arc<Usage>>) -> Self {
        let meter = |most| Meter { most: AtomicU64::new(most), used: AtomicU64::new(0) };
        let (file, memory) = (meter(max_file), meter(max_memory));
        let inflight = within.as_ref().map(|within| within.inflight.clone()).unwrap_or_default();
        let (logs, counted, untiered) = Default::default();
        Usage { file, memory, within, logs, counted, inflight, untiered }
    }

    /// Of the server, with its limits.
    pub fn of_server(max_file: u64, max_memory: u64, server: &ServerLimits) -> Self {
        Usage { inflight: Arc::new(Inflight::new(server)), ..Usage::new(max_file, max_memory, None) }
    }

    /// What is in hand in batches.
    pub(super) fn inflight(&self) -> &Arc<Inflight> {
        &self.inflight
    }

    fn meter(&self, storage: StorageType) -> &Meter {
        match storage {
            StorageType::File => &self.file,
            StorageType::Memory => &self.memory,
        }
    }

    fn most(&self, storage: StorageType) -> u64 {
        self.meter(storage).most.load(Ordering::Relaxed)
    }

    /// Other limits from now on, in bytes; `None`: there is nothing that streams may take.
    pub fn set_most(&self, most: Option<(u64, u64)>) {
        self.untiered.store(most.is_none(), Ordering::Relaxed);
        let (max_file, max_memory) = most.unwrap_or_default();
        self.file.most.store(max_file, Ordering::Relaxed);
        self.memory.most.store(max_memory, Ordering::Relaxed);
    }

    /// Whether `size` more bytes may be stored.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn admit(&self, storage: StorageType, size: u64) -> Result<(), Short> {
        match &self.within {
            Some(within) if !within.has_room(storage, size) => Err(Short::Server),
            Some(_) if !self.has_room(storage, size) => {
                Err(if self.untiered.load(Ordering::Relaxed) { Short::Tier } else { Short::Account })
            }
            None if !self.has_room(storage, size) => Err(Short::Server),
            _ => Ok(()),
        }
    }

    fn has_room(&self, storage: StorageType, size: u64) -> bool {
        let meter = self.meter(storage);
        let fits = || meter.used.load(Ordering::Relaxed).saturating_add(size) <= meter.most.load(Ordering::Relaxed);
        if fits() {
            return true;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_none_or(|at| at.elapsed() >= RECOUNT) {
            self.recount();
            *counted = Some(Instant::now());
        }
        fits()
    }

    /// Messages were removed on request: whoever knows of it finds their room.
    pub fn freed(&self) {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(within) = &self.within {
            within.freed();
        }
    }

    /// Counts what was stored.
    pub fn add(&self, storage: StorageType, size: u64) {
        self.meter(storage).used.fetch_add(size, Ordering::Relaxed);
        if let Some(within) = &self.within {
            within.add(storage, size);
        }
    }

    /// Counts a log from now on, for which `reserved` bytes are kept free.
    pub fn watch(&self, id: &str, storage: StorageType, log: &Log, reserved: u64) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.insert(id.to_owned(), Watched { storage, log: log.clone(), reserved });
        drop(logs);
        self.recount();
        if let Some(within) = &self.within {
            within.watch(id, storage, log, reserved);
        }
    }

    /// Keeps another number of bytes free for a log.
    pub fn reserve(&self, id: &str, bytes: u64) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = logs.get_mut(id) {
            watched.reserved = bytes;
        }
        drop(logs);
        if let Some(within) = &self.within {
            within.reserve(id, bytes);
        }
    }

    /// Bytes kept free for logs of `storage`.
    pub fn reserved(&self, storage: StorageType) -> u64 {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.values().filter(|watched| watched.storage == storage).map(|watched| watched.reserved).sum()
    }

    /// What those of all who share it leave of the limit.
    pub fn unreserved(&self, storage: StorageType) -> u64 {
        let outermost = self.within.as_deref().unwrap_or(self);
        outermost.most(storage).saturating_sub(outermost.reserved(storage))
    }

    /// The log is gone.
    pub fn forget(&self, id: &str) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.recount();
        if let Some(within) = &self.within {
            within.forget(id);
        }
    }

    /// Bytes stored on disk and in memory, as the logs say.
    pub fn recount(&self) -> (u64, u64) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let logs: Vec<_> = logs.values().map(|watched| (watched.storage, watched.log.clone())).collect();
        let (mut file, mut memory) = (0, 0);
        for (storage, log) in logs {
            match storage {
                StorageType::File => file += log.state().bytes,
                StorageType::Memory => memory += log.state().bytes,
            }
        }
        self.file.used.store(file, Ordering::Relaxed);
        self.memory.used.store(memory, Ordering::Relaxed);
        (file, memory)
    }
}
