//! The catalogue of streams in the state log, under `stream/<account>/<name>`. Logs that are to go when the daemon ends before
//! they are whole, or before they are gone, stand under `restoring/<account>/<log>` and `removing/<account>/<log>`.

use super::config::{StorageType, StreamConfig};
use super::consumer;
use super::consumer::config::Timestamp;
use crate::store::{Change, Commit, Store, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

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

fn removing(account: &str, log: &str) -> String {
    format!("removing/{account}/{log}")
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
    ends_of(store, &restoring(account, ""))
}

/// Removes the log of a stream that [is not in the catalogue any more](remove).
///
/// # Errors
/// Its files cannot be removed; the next start tries again.
pub(super) fn remove_log(store: &Store, account: &str, log: &str) -> Result<(), StoreError> {
    store.remove_log(log)?;
    drop(store.state().write(vec![Change::Delete(removing(account, log))]));
    Ok(())
}

/// The logs of streams whose removal was cut off.
pub(super) fn abandoned_removals(store: &Store, account: &str) -> Vec<String> {
    ends_of(store, &removing(account, ""))
}

/// What follows `prefix` in the keys that begin with it.
fn ends_of(store: &Store, prefix: &str) -> Vec<String> {
    store.state().scan(prefix).into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect()
}

/// Those of `logs` that no account's catalogue knows; `state` gives the keys with a prefix, and their values.
pub fn strays(logs: impl IntoIterator<Item = String>, state: impl Fn(&str) -> Vec<(String, Bytes)>) -> Vec<String> {
    let mut known: BTreeSet<String> = entries(&state).map(|entry| entry.log).collect();
    let leaving = ["restoring/", "removing/"].into_iter().flat_map(state);
    known.extend(leaving.filter_map(|(key, _)| key.rsplit('/').next().map(str::to_owned)));
    // Another program's are not ours to look after.
    let ours = |log: &str| log.rsplit_once('.').is_some_and(|(_, epoch)| u64::from_str_radix(epoch, 16).is_ok());
    logs.into_iter().filter(|log| ours(log) && !known.contains(log)).collect()
}

/// The streams of all accounts, each with its log, whose messages ought to be on disk and are in none of `logs`.
pub fn bereft(logs: &BTreeSet<String>, state: impl Fn(&str) -> Vec<(String, Bytes)>) -> Vec<(String, String)> {
    let kept = entries(&state).filter(|entry| entry.config.storage == StorageType::File && !logs.contains(&entry.log));
    kept.map(|entry| (entry.config.name, entry.log)).collect()
}

/// The entries of all accounts that can be read.
fn entries(state: &impl Fn(&str) -> Vec<(String, Bytes)>) -> impl Iterator<Item = Entry> {
    state("stream/").into_iter().filter_map(|(_, value)| serde_json::from_slice(&value).ok())
}

/// Looks for logs that no account's catalogue knows. If the making of a stream was cut off there is nothing in them, and they
/// are removed; else the catalogue has lost a stream, which somebody should know.
pub fn look_for_strays(store: &Store) {
    for log in strays(store.log_ids().unwrap_or_default(), |prefix| store.state().scan(prefix)) {
        let result = match store.is_blank_log(&log) {
            Ok(true) => store.remove_log(&log),
            Ok(false) => {
                tracing::error!(
                    log,
                    "no stream is known whose messages these are; they are left in the data directory"
                );
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(%error, log, "what may be left of a stream that was never made cannot be removed");
        }
    }
}

/// Writes an entry; durable when the commit resolves.
pub(super) fn put(store: &Store, account: &str, entry: &Entry) -> Result<Commit, serde_json::Error> {
    let json = serde_json::to_vec(entry)?;
    Ok(store.state().write(vec![Change::Put(key(account, &entry.config.name), Bytes::from(json))]))
}

/// Removes an entry, and with it what is kept of the stream's sources. Its log is to be removed [when that is
/// durable](remove_log), and is at the next start at the latest.
pub(super) fn remove(store: &Store, account: &str, entry: &Entry) -> Commit {
    let mut changes = super::follow::forget(store, &entry.log);
    changes.push(Change::Delete(key(account, &entry.config.name)));
    changes.push(Change::Put(removing(account, &entry.log), Bytes::new()));
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
