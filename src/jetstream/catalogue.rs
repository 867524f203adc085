//! The catalogue of streams in the state log, under `stream/<account>/<name>`.

use super::config::StreamConfig;
use super::consumer;
use super::consumer::config::Timestamp;
use crate::store::{Change, Commit, Store};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A stream as the catalogue keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub config: StreamConfig,
    pub created: Timestamp,
    /// Which log of the store is its own.
    pub log: String,
    /// Random, made once.
    pub epoch: String,
}

impl Entry {
    /// For a new stream. The log's name tells an operator whose it is, and is never used again.
    pub fn new(account: &str, config: StreamConfig) -> Self {
        let epoch = format!("{:016x}", fastrand::u64(..));
        let plain = |text: &str| -> String {
            text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' }).take(64).collect()
        };
        let log = format!("{}.{}.{epoch}", plain(account), plain(&config.name));
        Entry { config, created: Timestamp::now(), log, epoch }
    }
}

fn key(account: &str, stream: &str) -> String {
    format!("stream/{account}/{stream}")
}

fn restoring(account: &str, log: &str) -> String {
    format!("restoring/{account}/{log}")
}

/// Notes that the log is being filled by a restore.
pub(super) fn begin_restore(store: &Store, account: &str, entry: &Entry) -> Commit {
    store.state().write(vec![Change::Put(restoring(account, &entry.log), Bytes::new())])
}

/// Writes an entry whose log was filled by a restore; durable when the commit resolves.
pub(super) fn end_restore(store: &Store, account: &str, entry: &Entry) -> Result<Commit, serde_json::Error> {
    let json = serde_json::to_vec(entry)?;
    let put = Change::Put(key(account, &entry.config.name), Bytes::from(json));
    Ok(store.state().write(vec![put, Change::Delete(restoring(account, &entry.log))]))
}

/// Removes the log of a restore that came to nothing.
pub(super) fn abandon_restore(store: &Store, account: &str, log: &str) {
    match store.remove_log(log) {
        Ok(()) => drop(store.state().write(vec![Change::Delete(restoring(account, log))])),
        Err(error) => {
            tracing::warn!(%error, log, "the rest of a restore that failed cannot be removed; the next start tries again")
        }
    }
}

/// The logs of restores that were cut off.
pub(super) fn abandoned_restores(store: &Store, account: &str) -> Vec<String> {
    let prefix = restoring(account, "");
    store.state().scan(&prefix).into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect()
}

/// Writes an entry; durable when the commit resolves.
pub(super) fn put(store: &Store, account: &str, entry: &Entry) -> Result<Commit, serde_json::Error> {
    let json = serde_json::to_vec(entry)?;
    Ok(store.state().write(vec![Change::Put(key(account, &entry.config.name), Bytes::from(json))]))
}

/// Removes an entry, and with it what is kept of the stream's sources.
pub(super) fn remove(store: &Store, account: &str, entry: &Entry) -> Commit {
    let mut changes = super::follow::forget(store, &entry.log);
    changes.push(Change::Delete(key(account, &entry.config.name)));
    store.state().write(changes)
}

/// Removes an entry that nobody may be able to read, and what is kept of the stream's consumers.
pub(super) fn forget(store: &Store, account: &str, stream: &str) -> Commit {
    let mut changes = vec![Change::Delete(key(account, stream))];
    for prefix in consumer::prefixes(account, stream) {
        changes.extend(store.state().scan(&prefix).into_iter().map(|(key, _)| Change::Delete(key)));
    }
    store.state().write(changes)
}

/// All entries of an account by stream name; those that cannot be read with the reason.
pub(super) fn scan(store: &Store, account: &str) -> Vec<(String, Result<Entry, serde_json::Error>)> {
    let prefix = key(account, "");
    let entries = store.state().scan(&prefix);
    entries.into_iter().map(|(key, value)| (key[prefix.len()..].to_owned(), serde_json::from_slice(&value))).collect()
}
