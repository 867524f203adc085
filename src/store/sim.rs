//! A disk whose power can be cut, for tests: what was not synced may be lost, torn, or there; reads and writes may fail.

use super::io::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, Content>,
    /// What the folders hold durably.
    durable_names: BTreeMap<PathBuf, Content>,
    dirs: Vec<PathBuf>,
    /// Creations, writes and syncs fail with this while it is set, after so many more that work.
    failure: Option<(io::ErrorKind, u32)>,
    /// Bytes that fit on it, if that is limited.
    capacity: Option<usize>,
    /// Whatever is read has to be waited for.
    slow: bool,
}

type Content = Arc<Mutex<FileState>>;

#[derive(Default)]
struct FileState {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync: offset and bytes; a truncation is an empty write at its length.
    unsynced: Vec<(usize, Vec<u8>)>,
}

/// What a disk writes whole or not at all, bytes.
const SECTOR: usize = 512;

struct SimFile(Content, SimDisk);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    if new.is_empty() {
        return bytes.resize(offset, 0);
    }
    if bytes.len() < offset + new.len() {
        bytes.resize(offset + new.len(), 0);
    }
    bytes[offset..offset + new.len()].copy_from_slice(new);
}

/// The beginning of a write arrives: whole sectors of what is written over earlier bytes, any number of bytes where a file grows.
fn put_start(bytes: &mut Vec<u8>, offset: usize, new: &[u8], random: &mut fastrand::Rng) {
    let durable = bytes.len().saturating_sub(offset).min(new.len());
    let mut len = random.usize(1..=new.len());
    if len < durable {
        len = len.saturating_sub((offset + len) % SECTOR);
    }
    if len > 0 {
        put(bytes, offset, &new[..len]);
    }
}

/// Of what is written over earlier bytes some sectors arrive, in any order; a file grows in order.
fn put_some(bytes: &mut Vec<u8>, offset: usize, new: &[u8], random: &mut fastrand::Rng) {
    let durable = bytes.len().saturating_sub(offset).min(new.len());
    let mut at = 0;
    while at < durable {
        let end = (SECTOR - (offset + at) % SECTOR + at).min(durable);
        if random.bool() {
            put(bytes, offset + at, &new[at..end]);
        }
        at = end;
    }
}

impl SimDisk {
    /// Cuts the power: every unsynced write is, by chance, there, torn, or lost; so are names that were not synced.
    pub fn cut(&self, random: &mut fastrand::Rng) -> SimDisk {
        let state = lock(&self.0);
        let mut names = BTreeMap::new();
        for (path, content) in &state.durable_names {
            names.insert(path.clone(), content.clone());
        }
        for (path, content) in &state.names {
            if random.bool() {
                names.insert(path.clone(), content.clone());
            }
        }
        let names: BTreeMap<PathBuf, Content> = names
            .into_iter()
            .map(|(path, content)| {
                let file = lock(&content);
                let mut bytes = file.durable.clone();
                for (offset, new) in &file.unsynced {
                    match random.u8(..4) {
                        0 => put(&mut bytes, *offset, new),
                        1 if !new.is_empty() => put_start(&mut bytes, *offset, new, random),
                        2 if !new.is_empty() => put_some(&mut bytes, *offset, new, random),
                        _ => {}
                    }
                }
                let kept = FileState { now: bytes.clone(), durable: bytes, unsynced: Vec::new() };
                (path, Arc::new(Mutex::new(kept)))
            })
            .collect();
        let next = State {
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            failure: None,
            capacity: state.capacity,
            slow: state.slow,
        };
        SimDisk(Arc::new(Mutex::new(next)))
    }

    /// From now on creations, writes and syncs fail, after so many more that work; or all work again.
    pub fn fail(&self, failure: Option<(io::ErrorKind, u32)>) {
        lock(&self.0).failure = failure;
    }

    /// From now on so many bytes fit on it.
    pub fn resize(&self, capacity: Option<usize>) {
        lock(&self.0).capacity = capacity;
    }

    /// From now on whatever is read has to be waited for, or not.
    pub fn slow(&self, slow: bool) {
        lock(&self.0).slow = slow;
    }

    /// Whether a file of length `from` may grow to `to`.
    fn fits(&self, from: usize, to: usize) -> io::Result<()> {
        let capacity = lock(&self.0).capacity;
        match capacity {
            Some(capacity) if to > from && self.used() + to - from > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Bytes in its files.
    fn used(&self) -> usize {
        lock(&self.0).names.values().map(|content| lock(content).now.len()).sum()
    }

    /// Flips one bit of a file.
    pub fn flip(&self, path: &Path, at: usize) {
        let state = lock(&self.0);
        if let Some(content) = state.names.get(path) {
            let mut file = lock(content);
            file.now[at] ^= 1;
            file.durable = file.now.clone();
        }
    }

    /// Loses a file.
    pub fn forget(&self, path: &Path) {
        let mut state = lock(&self.0);
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// Files and their lengths.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        lock(&self.0).names.iter().map(|(path, content)| (path.clone(), lock(content).now.len())).collect()
    }

    fn check(&self) -> io::Result<()> {
        match &mut lock(&self.0).failure {
            None => Ok(()),
            Some((kind, 0)) => Err((*kind).into()),
            Some((_, left)) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let there = lock(&self.0).names.contains_key(path);
        if !there && !create {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !there {
            self.check()?;
        }
        let mut state = lock(&self.0);
        let content = state.names.entry(path.to_owned()).or_default().clone();
        Ok(Arc::new(SimFile(content, self.clone())))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        lock(&self.0).dirs.push(path.to_owned());
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = lock(&self.0);
        let all = state.names.keys().chain(&state.dirs).filter_map(|p| p.strip_prefix(path).ok());
        let mut names: Vec<String> =
            all.filter_map(|p| Some(p.components().next()?.as_os_str().to_string_lossy().into_owned())).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        let mut state = lock(&self.0);
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn allocate(&self, path: &Path, len: u64) -> io::Result<()> {
        let now = lock(&self.0).names.get(path).map_or(0, |content| lock(content).now.len());
        self.fits(now, len as usize)?;
        let content = Content::default();
        lock(&content).now = vec![0; len as usize];
        lock(&self.0).names.insert(path.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.0).names.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = lock(&self.0);
        state.names.retain(|p, _| !p.starts_with(path));
        state.dirs.retain(|p| !p.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        let mut state = lock(&self.0);
        let there: Vec<_> =
            state.names.iter().filter(|(p, _)| p.parent() == Some(path)).map(|(p, c)| (p.clone(), c.clone())).collect();
        state.durable_names.retain(|p, _| p.parent() != Some(path));
        state.durable_names.extend(there);
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<(u64, u64)> {
        let (used, capacity) = (self.used(), lock(&self.0).capacity);
        Ok(capacity.map_or((u64::MAX, u64::MAX), |all| (all.saturating_sub(used) as u64, all as u64)))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = lock(&self.0);
        let rest = file.now.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn read_at_hand(&self, buffer: &mut [u8], offset: u64) -> bool {
        let slow = lock(&self.1.0).slow;
        !slow && self.read_at(buffer, offset).is_ok_and(|read| read == buffer.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = lock(&self.0).now.len();
        let failed = self.1.check().and_then(|()| self.1.fits(len, offset as usize + bytes.len()));
        // A write that fails may have gone some of the way.
        let bytes = if failed.is_err() { &bytes[..bytes.len() / 2] } else { bytes };
        if !bytes.is_empty() {
            let mut file = lock(&self.0);
            put(&mut file.now, offset as usize, bytes);
            file.unsynced.push((offset as usize, bytes.to_vec()));
        }
        failed
    }

    fn sync(&self) -> io::Result<()> {
        let failed = self.1.check();
        let mut file = lock(&self.0);
        let unsynced = std::mem::take(&mut file.unsynced);
        // As with Linux: after a sync that failed, the next one leaves out what this one could not write.
        if failed.is_ok() {
            unsynced.iter().for_each(|(offset, new)| put(&mut file.durable, *offset, new));
        }
        failed
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut file = lock(&self.0);
        if file.now.len() != len as usize {
            file.now.resize(len as usize, 0);
            file.unsynced.push((len as usize, Vec::new()));
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.0).now.len() as u64)
    }
}
