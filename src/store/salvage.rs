//! Writing what can be read of a data directory into a new one.

use super::fsck::{self, Report};
use super::io::{Place, ReadOnlyDisk, RealDisk};
use super::scanner::Item;
use super::segment::{CHUNK, Segment};
use super::tombstones::{Tomb, Tombstones};
use super::vault::Encryption;
use super::writer::Writer;
use super::{Change, Store, StoreError, StoreOptions, dir};
use std::path::Path;
use std::sync::Arc;

/// Writes all that can be read in `from` to the new directory `to`: records with their sequences, times and removals, and the
/// state; the new one is encrypted with `new_key`, if there is one. Returns what was found in `from`, as [`super::examine`] does.
///
/// # Errors
/// `from` cannot be examined, or `to` is not empty or cannot be written.
pub fn salvage(
    from: &Path,
    key: Option<&Encryption>,
    to: &Path,
    new_key: Option<&Encryption>,
) -> Result<Report, StoreError> {
    if from.canonicalize().is_ok_and(|from| to.canonicalize().is_ok_and(|to| to == from)) {
        return Err(StoreError::Foreign { path: to.to_owned(), found: "what is to be salvaged".into() });
    }
    let report = fsck::examine(from, key)?;
    let _lock = dir::hold(from)?;
    let store = Store::open(to, StoreOptions { encryption: new_key.cloned(), ..StoreOptions::default() })?;
    if !store.log_ids()?.is_empty() || !store.state().scan("").is_empty() {
        return Err(StoreError::Foreign { path: to.to_owned(), found: "a store that is not empty".into() });
    }
    let old = fsck::place_of(Arc::new(ReadOnlyDisk), from, key)?;
    let new = fsck::place_of(Arc::new(RealDisk), to, new_key)?;
    let changes = report.state.clone().into_iter().map(|(key, value)| Change::Put(key, value)).collect();
    store.state().write(changes).wait()?;
    for log in &report.logs {
        let folder = Path::new("streams").join(&log.id);
        copy(&Place { dir: from.join(&folder), ..old.clone() }, &Place { dir: to.join(&folder), ..new.clone() })?;
    }
    store.close();
    Ok(report)
}

fn copy(from: &Place, to: &Place) -> Result<(), StoreError> {
    // What cannot be read is in the report.
    let Ok(bases) = fsck::readable(fsck::bases(from))? else { return Ok(()) };
    to.disk.create_dir(&to.dir).map_err(|e| StoreError::io("create", &to.dir, e))?;
    for (n, base) in bases.iter().enumerate() {
        copy_segment(from, to, *base, bases.get(n + 1).copied())?;
    }
    let removals = fsck::readable(fsck::removals(from, &bases))?.unwrap_or_default();
    let tombs: Vec<Tomb> = removals.all.into_iter().map(|(_, tomb)| tomb).collect();
    if !tombs.is_empty() {
        let mut new = Tombstones::default();
        new.write(to, &tombs)?;
        new.sync(to).map_err(|(error, _)| error)?;
    }
    to.disk.sync_dir(&to.dir).map_err(|e| StoreError::io("sync the folder", &to.dir, e))
}

fn copy_segment(from: &Place, to: &Place, base: u64, next: Option<u64>) -> Result<(), StoreError> {
    let Ok(Some(old)) = fsck::readable(Segment::open(from, base))? else { return Ok(()) };
    let mut new = Segment::create(to, base)?;
    let new_path = new.path.clone();
    let write = |e| StoreError::io("write", &new_path, e);
    let len = old.file.size().unwrap_or_default();
    let mut scanner = old.scan_file(len, CHUNK);
    let mut writer = Writer::new(false);
    while let Ok(Some(item)) = scanner.next() {
        let Item::Record(view, extent) = item else { continue };
        if next.is_some_and(|next| extent.last >= next) {
            break;
        }
        if writer.compress != extent.compressed {
            writer.flush(&mut new).map_err(write)?;
            writer.compress = extent.compressed;
        }
        writer.push(&view, &mut new).map_err(write)?;
    }
    writer.flush(&mut new).and_then(|()| new.file.sync()).map_err(write)
}
