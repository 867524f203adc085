//! The state log: small keys and values (catalogue, consumer state, cursors) that change together or not at all.
//!
//! What changed since the last commit is one frame, in which each key stands once; so after a power cut a batch of changes is
//! there as a whole or not at all. The file holds all frames ever written; when most of it is out of date, a new one with the present values takes its place.

use super::commit::{Commit, Shared};
use super::frame::{self, u32_at};
use super::io::{DiskFile, Place};
use super::vault::{self, Kind};
use super::{StoreError, commit};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Below this size the file is never rewritten.
const COMPACT_ABOVE: u64 = 1 << 20;
/// Most bytes of changes that wait for a disk that does not work.
const STAGED_MAX: usize = 8 << 20;
/// Stands for a value's length where the key is deleted.
const DELETED: u32 = u32::MAX;

/// One change of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Sets a key.
    Put(String, Bytes),
    /// Removes a key.
    Delete(String),
}

/// Keys and values in memory, and durable once committed.
pub struct StateLog {
    shared: Arc<Shared>,
    place: Place,
    inner: Mutex<Inner>,
}

struct Inner {
    values: BTreeMap<String, Bytes>,
    /// Changes since the last commit, the latest of each key; `None` removes it.
    staged: BTreeMap<String, Option<Bytes>>,
    /// Why the last commit failed.
    failed: Option<StoreError>,
    waiting: Vec<commit::Ticket>,
    file: Arc<dyn DiskFile>,
    len: u64,
    live: u64,
}

impl StateLog {
    pub(super) fn open(place: Place, shared: Arc<Shared>) -> Result<StateLog, StoreError> {
        let path = path(&place);
        let failed = |e| StoreError::io("open", &path, e);
        let file = place.disk.open(&path, true).map_err(failed)?;
        place.disk.sync_dir(&place.dir).map_err(failed)?;
        let (values, walk) = read_file(&file, &place)?;
        let at = walk.end;
        let live = values.iter().map(|(k, v)| size(k, v)).sum();
        let inner =
            Inner { values, staged: BTreeMap::new(), failed: None, waiting: Vec::new(), file, len: at as u64, live };
        Ok(StateLog { shared, place, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `key`, committed or not.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.inner().values.get(key).cloned()
    }

    /// All keys that begin with `prefix`, in order.
    pub fn scan(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let inner = self.inner();
        let from = (Bound::Included(prefix.to_owned()), Bound::Unbounded);
        let found = inner.values.range(from).take_while(|(key, _)| key.starts_with(prefix));
        found.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Changes all of these keys or none. They are seen at once; the [`Commit`] tells when they are durable. If it fails they
    /// are still seen, and become durable with the next commit that works; only once [`STAGED_MAX`] bytes wait for that are
    /// changes refused altogether.
    pub fn write(&self, changes: Vec<Change>) -> Commit {
        let (ticket, commit) = commit::ticket();
        self.stage(changes, ticket);
        commit
    }

    /// The same for one who is told of the outcome on the commit thread, as soon as it is known.
    pub fn write_then(&self, changes: Vec<Change>, told: commit::Told) {
        self.stage(changes, commit::Ticket::Call(told));
    }

    fn stage(&self, changes: Vec<Change>, ticket: commit::Ticket) {
        let first = {
            let mut guard = self.inner();
            let inner = &mut *guard;
            if let Some(error) = &inner.failed
                && inner
                    .staged
                    .iter()
                    .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len))
                    .sum::<usize>()
                    > STAGED_MAX
            {
                let refused = Err(error.clone());
                drop(guard);
                return ticket.resolve(refused);
            }
            changes.into_iter().for_each(|change| inner.apply(change));
            inner.waiting.push(ticket);
            inner.waiting.len() == 1
        };
        if first && !self.shared.enqueue_state() {
            let waiting = std::mem::take(&mut self.inner().waiting);
            waiting.into_iter().for_each(|ticket| ticket.resolve(Err(StoreError::Closed)));
        }
    }

    /// Writes and syncs what is staged, and says whether there was anything; called by the commit thread only. On failure it
    /// stays staged and is tried again.
    pub(super) fn commit(&self) -> Result<bool, StoreError> {
        let (taken, staged, waiting, file, len, snapshot) = {
            let mut inner = self.inner();
            if inner.staged.is_empty() {
                let waiting = std::mem::take(&mut inner.waiting);
                drop(inner);
                waiting.into_iter().for_each(|ticket| ticket.resolve(Ok(())));
                return Ok(false);
            }
            let taken = std::mem::take(&mut inner.staged);
            let mut staged = Vec::new();
            vault::push(self.place.vault.as_ref(), Kind::State, &mut staged, |out| {
                taken.iter().for_each(|(key, value)| encode(out, key, value.as_ref()))
            });
            let grown = inner.len + staged.len() as u64;
            let snapshot = (grown > COMPACT_ABOVE && grown > 4 * inner.live).then(|| inner.snapshot(&self.place));
            (taken, staged, std::mem::take(&mut inner.waiting), inner.file.clone(), inner.len, snapshot)
        };
        let append = || {
            let written = file.truncate(len).and_then(|()| file.write_at(&staged, len)).and_then(|()| file.sync());
            let failed = |e| StoreError::io("write", &path(&self.place), e);
            written.map(|()| (file.clone(), len + staged.len() as u64, Ok(()))).map_err(failed)
        };
        let mut result = match &snapshot {
            Some(all) => self.replace(all),
            None => append(),
        };
        if let Err(error) = &result
            && self.shared.reserve.give_up(error)
        {
            result = append();
        }
        let mut inner = self.inner();
        let outcome = match result {
            Ok((file, written, outcome)) => {
                inner.len = written;
                inner.file = file;
                outcome
            }
            Err(error) => Err(error),
        };
        inner.failed = outcome.as_ref().err().cloned();
        if outcome.is_err() {
            // The values are in memory already: they go with the next commit that works.
            let later = std::mem::replace(&mut inner.staged, taken);
            inner.staged.extend(later);
        }
        drop(inner);
        waiting.into_iter().for_each(|ticket| ticket.resolve(outcome.clone()));
        outcome.map(|()| true)
    }

    /// Puts a new file in the place of the old one. Once it has the name it is the one to be written to, even if that
    /// cannot be made durable, which is the last of what is returned.
    #[allow(clippy::type_complexity)]
    fn replace(&self, all: &[u8]) -> Result<(Arc<dyn DiskFile>, u64, Result<(), StoreError>), StoreError> {
        let place = &self.place;
        let new = path(place).with_extension("new");
        let failed = |e| StoreError::io("rewrite", &path(place), e);
        let file = place.disk.open(&new, true).map_err(failed)?;
        file.truncate(0).and_then(|()| file.write_at(all, 0)).and_then(|()| file.sync()).map_err(failed)?;
        place.disk.rename(&new, &path(place)).map_err(failed)?;
        Ok((file, all.len() as u64, place.disk.sync_dir(&place.dir).map_err(failed)))
    }
}

impl Inner {
    fn apply(&mut self, change: Change) {
        let (key, value) = match change {
            Change::Put(key, value) => (key, Some(value)),
            Change::Delete(key) => (key, None),
        };
        let old = match &value {
            Some(value) => {
                self.live += size(&key, value);
                self.values.insert(key.clone(), value.clone())
            }
            None => self.values.remove(&key),
        };
        self.live -= old.map_or(0, |old| size(&key, &old));
        self.staged.insert(key, value);
    }

    fn snapshot(&self, place: &Place) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.live as usize + 64);
        for (key, value) in &self.values {
            vault::push(place.vault.as_ref(), Kind::State, &mut out, |out| encode(out, key, Some(value)));
        }
        out
    }
}

/// What the state log of a data directory says, without changing it.
pub(super) fn read(place: &Place) -> Result<(BTreeMap<String, Bytes>, frame::Walk), StoreError> {
    let path = path(place);
    match place.disk.open(&path, false) {
        Ok(file) => read_file(&file, place),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Default::default()),
        Err(e) => Err(StoreError::io("open", &path, e)),
    }
}

fn read_file(file: &Arc<dyn DiskFile>, place: &Place) -> Result<(BTreeMap<String, Bytes>, frame::Walk), StoreError> {
    let path = &path(place);
    let bytes = file.read_all().map_err(|e| StoreError::io("read", path, e))?;
    let (mut values, mut foreign) = (BTreeMap::new(), Vec::new());
    let mut walk =
        frame::each(&bytes, path, |at, body| match vault::open_body(place.vault.as_ref(), Kind::State, body) {
            Some(body) => apply(&mut values, &body),
            None => foreign.push(at..at + frame::PREFIX + body.len()),
        });
    if !foreign.is_empty() {
        tracing::error!("{}: {} frames were not written with this key and are left out", path.display(), foreign.len());
        walk.damaged.append(&mut foreign);
    }
    if walk.end < bytes.len() {
        tracing::info!("{}: {} bytes of an unfinished write are left out", path.display(), bytes.len() - walk.end);
    }
    Ok((values, walk))
}

pub(super) fn path(place: &Place) -> PathBuf {
    place.dir.join("state.log")
}

fn size(key: &str, value: &Bytes) -> u64 {
    (key.len() + value.len() + 16) as u64
}

/// A change: key length, value length (or [`DELETED`]), key, value. A batch is any number of them.
fn encode(out: &mut Vec<u8>, key: &str, value: Option<&Bytes>) {
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&value.map_or(DELETED, |value| value.len() as u32).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value.map_or(&[], |value| &value[..]));
}

fn apply(values: &mut BTreeMap<String, Bytes>, mut body: &[u8]) {
    while let (Some(key_len), Some(value_len)) = (u32_at(body, 0), u32_at(body, 4)) {
        let Some((key, rest)) = body[8..].split_at_checked(key_len as usize) else { return };
        let Ok(key) = std::str::from_utf8(key) else { return };
        if value_len == DELETED {
            values.remove(key);
            body = rest;
            continue;
        }
        let Some((value, rest)) = rest.split_at_checked(value_len as usize) else { return };
        values.insert(key.to_owned(), Bytes::copy_from_slice(value));
        body = rest;
    }
}
