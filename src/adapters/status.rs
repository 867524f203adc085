//! How an adapter is doing.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A snapshot, for `leafd status`.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterStatus {
    /// Kind of adapter.
    pub kind: &'static str,
    /// Its name in the configuration.
    pub name: String,
    /// `ok`, or what it waits for.
    pub state: String,
    /// Readings that came from the device or broker.
    pub received: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Readings that are on their way to the disk.
    pub waiting: u64,
    /// Readings that are on disk.
    pub stored: u64,
    /// When the last one got there, RFC 3339; empty: none yet.
    pub last_stored: String,
    /// Readings on subjects that no stream captures: delivered live only.
    pub uncaptured: u64,
    /// Times a reading had to be stored again because the store refused it.
    pub retries: u64,
    /// Readings that could not be used: too long, without a possible subject, refused for good, or more than there is
    /// memory for while the store takes none.
    pub dropped: u64,
    /// Readings that the source sent again and that were there already.
    pub duplicates: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Commands that were not.
    pub commands_failed: u64,
    /// Times the device or broker was lost.
    pub reconnects: u64,
}

/// Counters of a running adapter, shared with its task.
pub(super) struct Health {
    kind: &'static str,
    name: String,
    /// What the device or broker is waited for, and what the store is; `None` where there is nothing to wait for.
    waits: Mutex<Waits>,
    pub received: AtomicU64,
    pub bytes: AtomicU64,
    pub waiting: AtomicU64,
    pub stored: AtomicU64,
    last_stored: AtomicU64,
    pub uncaptured: AtomicU64,
    pub retries: AtomicU64,
    pub dropped: AtomicU64,
    pub duplicates: AtomicU64,
    pub commands: AtomicU64,
    pub commands_failed: AtomicU64,
    pub reconnects: AtomicU64,
}

#[derive(Clone, PartialEq)]
struct Waits {
    source: Option<String>,
    store: Option<String>,
}

impl Waits {
    fn text(&self) -> String {
        match (&self.source, &self.store) {
            (None, None) => "ok".to_owned(),
            (Some(source), None) => source.clone(),
            (None, Some(store)) => format!("waiting for the store: {store}"),
            (Some(source), Some(store)) => format!("{source}; waiting for the store: {store}"),
        }
    }
}

impl Health {
    pub fn new(kind: &'static str, name: &str) -> Arc<Health> {
        Arc::new(Health {
            kind,
            name: name.to_owned(),
            waits: Mutex::new(Waits { source: Some("starting".to_owned()), store: None }),
            received: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            last_stored: AtomicU64::new(0),
            uncaptured: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            commands_failed: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
        })
    }

    /// Notes what the device or broker is waited for; `None`: it is there.
    pub fn source(&self, waits_for: Option<&str>) {
        self.change(|waits| waits.source = waits_for.map(str::to_owned));
    }

    /// Notes why the store does not take readings; `None`: it does.
    pub fn store(&self, waits_for: Option<&str>) {
        self.change(|waits| waits.store = waits_for.map(str::to_owned));
    }

    /// A change is logged, a repetition is not.
    fn change(&self, change: impl FnOnce(&mut Waits)) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waits.clone();
        change(&mut waits);
        match waits.text() {
            _ if *waits == before => {}
            text if text == "ok" => tracing::info!("{} {}: ok", self.kind, self.name),
            text => tracing::warn!("{} {}: {text}", self.kind, self.name),
        }
    }

    /// Notes a reading that is given up, for good.
    pub fn drop_reading(&self, reason: &str) {
        self.add(&self.dropped, 1);
        tracing::warn!("{} {}: a reading is dropped: {reason}", self.kind, self.name);
    }

    /// Notes readings that arrived.
    pub fn receive(&self, bytes: usize) {
        self.add(&self.received, 1);
        self.add(&self.bytes, bytes as u64);
    }

    /// Notes readings that are on disk.
    pub fn stored_now(&self, n: u64) {
        self.add(&self.stored, n);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.last_stored.store(now, Ordering::Relaxed);
    }

    pub fn add(&self, counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> AdapterStatus {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdapterStatus {
            kind: self.kind,
            name: self.name.clone(),
            state: self.waits.lock().unwrap_or_else(PoisonError::into_inner).text(),
            received: get(&self.received),
            bytes: get(&self.bytes),
            waiting: get(&self.waiting),
            stored: get(&self.stored),
            last_stored: rfc3339(get(&self.last_stored)),
            uncaptured: get(&self.uncaptured),
            retries: get(&self.retries),
            dropped: get(&self.dropped),
            duplicates: get(&self.duplicates),
            commands: get(&self.commands),
            commands_failed: get(&self.commands_failed),
            reconnects: get(&self.reconnects),
        }
    }
}

fn rfc3339(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().filter(|s| *s > 0).and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
