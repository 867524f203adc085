//! Writing what can be read of a data directory into a new one.

use super::fsck::{self, Report};
use super::io::{Disk, Place, ReadOnlyDisk, RealDisk};
use super::segment::{CHUNK, HEADER, Item, Scanner, Segment};
use super::tombstones::{Tomb, Tombstones};
use super::{Change, Record, Store, StoreError, StoreOptions, dir, state_log};
use std::path::Path;
use std::sync::Arc;

/// Written to the new file in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// Writes all that can be read in `from` to the new directory `to`: records with their sequences, times and removals, and the
/// state. Returns what was found in `from`, as [`super::examine`] does.
///
/// # Errors
/// `from` cannot be examined, or `to` is not empty or cannot be written.
pub fn salvage(from: &Path, to: &Path) -> Result<Report, StoreError> {
    let report = fsck::examine(from)?;
    let _lock = dir::hold(from)?;
    let store = Store::open(to, StoreOptions::default())?;
    if !store.log_ids()?.is_empty() || !store.state().scan("").is_empty() {
        return Err(StoreError::Foreign { path: to.to_owned(), found: "a store that is not empty".into() });
    }
    let place = |disk: &Arc<dyn Disk>, dir: &Path| Place { disk: disk.clone(), dir: dir.to_owned() };
    let (old, new): (Arc<dyn Disk>, Arc<dyn Disk>) = (Arc::new(ReadOnlyDisk), Arc::new(RealDisk));
    let (values, _) = state_log::read(&place(&old, from))?;
    let changes = values.into_iter().map(|(key, value)| Change::Put(key, value)).collect();
    store.state().write(changes).wait()?;
    for log in &report.logs {
        let folder = Path::new("streams").join(&log.id);
        copy(&place(&old, &from.join(&folder)), &place(&new, &to.join(&folder)))?;
    }
    store.close();
    Ok(report)
}

fn copy(from: &Place, to: &Place) -> Result<(), StoreError> {
    to.disk.create_dir(&to.dir).map_err(|e| StoreError::io("create", &to.dir, e))?;
    let bases = fsck::bases(from)?;
    for (n, base) in bases.iter().enumerate() {
        copy_segment(from, to, *base, bases.get(n + 1).copied())?;
    }
    let removals = fsck::removals(from)?;
    let tombs: Vec<Tomb> = removals.all.into_iter().map(|(_, tomb)| tomb).collect();
    if !tombs.is_empty() {
        let mut new = Tombstones::default();
        new.write(to, &tombs)?;
        new.sync(to).map_err(|(error, _)| error)?;
    }
    to.disk.sync_dir(&to.dir).map_err(|e| StoreError::io("sync the folder", &to.dir, e))
}

fn copy_segment(from: &Place, to: &Place, base: u64, next: Option<u64>) -> Result<(), StoreError> {
    let Some(old) = Segment::open(from, base)? else { return Ok(()) };
    let new = Segment::create(to, base)?;
    let read = |e| StoreError::io("read", &old.path, e);
    let write = |e| StoreError::io("write", &new.path, e);
    let len = old.file.size().map_err(read)?;
    let mut scanner = Scanner::new(old.file.clone(), HEADER, len, base - 1, CHUNK);
    let (mut bytes, mut at) = (Vec::new(), HEADER);
    while let Some(item) = scanner.next().map_err(read)? {
        let Item::Record(view, _) = item else { continue };
        if next.is_some_and(|next| view.seq >= next) {
            break;
        }
        let record = Record { subject: view.subject, headers: view.headers, payload: view.payload };
        record.push(&mut bytes, view.seq, view.time, view.part);
        if bytes.len() >= PIECE {
            new.file.write_at(&bytes, at).map_err(write)?;
            at += bytes.len() as u64;
            bytes.clear();
        }
    }
    new.file.write_at(&bytes, at).and_then(|()| new.file.sync()).map_err(write)
}
