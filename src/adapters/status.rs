//! How an adapter is doing.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A snapshot, for `leafd status`.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterStatus {
    /// Kind of adapter.
    pub kind: &'static str,
    /// Its name in the configuration.
    pub name: String,
    /// `ok`, or what it waits for.
    pub state: String,
    /// Readings that are on disk.
    pub stored: u64,
    /// Readings on subjects that no stream captures: delivered live only.
    pub uncaptured: u64,
    /// Times a reading had to be stored again because the store refused it.
    pub retries: u64,
    /// Readings that could not be used: too long, or without a possible subject.
    pub dropped: u64,
    /// Readings that the source sent again and that were there already.
    pub duplicates: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Times the device or broker was lost.
    pub reconnects: u64,
}

/// Counters of a running adapter, shared with its task.
pub(super) struct Health {
    kind: &'static str,
    name: String,
    state: Mutex<String>,
    pub stored: AtomicU64,
    pub uncaptured: AtomicU64,
    pub retries: AtomicU64,
    pub dropped: AtomicU64,
    pub duplicates: AtomicU64,
    pub commands: AtomicU64,
    pub reconnects: AtomicU64,
}

impl Health {
    pub fn new(kind: &'static str, name: &str) -> Arc<Health> {
        Arc::new(Health {
            kind,
            name: name.to_owned(),
            state: Mutex::new("starting".to_owned()),
            stored: AtomicU64::new(0),
            uncaptured: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
        })
    }

    /// Notes the state; a change is logged, a repetition is not.
    pub fn set(&self, state: &str) {
        let mut now = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != state {
            if state == "ok" {
                tracing::info!("{} {}: ok", self.kind, self.name);
            } else {
                tracing::warn!("{} {}: {state}", self.kind, self.name);
            }
            *now = state.to_owned();
        }
    }

    pub fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> AdapterStatus {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdapterStatus {
            kind: self.kind,
            name: self.name.clone(),
            state: self.state.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            stored: get(&self.stored),
            uncaptured: get(&self.uncaptured),
            retries: get(&self.retries),
            dropped: get(&self.dropped),
            duplicates: get(&self.duplicates),
            commands: get(&self.commands),
            reconnects: get(&self.reconnects),
        }
    }
}
