//! What is written about sealed segments once the commit that sealed them is out of the way: their indexes, and from time to
//! time the checkpoint. All of it is hints: a failure is told, and costs a longer opening.

use super::Shared;
use crate::store::log::{Log, Storage};
use crate::store::segment::CHUNK;
use crate::store::table::Table;
use crate::store::{StoreError, checkpoint, index};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Takes note that a new segment is about to begin; the state's lock is held.
pub(super) fn note(log: &Log, state: &mut crate::store::log::State) {
    let Some(sealed) = state.segments.back().filter(|_| log.0.storage == Storage::File) else { return };
    state.checkpoint.since += sealed.len;
    state.checkpoint.sealed = true;
    if state.checkpoint.is_due() {
        checkpoint::take(state, &log.0.place);
    }
}

/// Writes the indexes of sealed segments that have none yet, and some of the checkpoint if one was taken.
pub(super) fn write(shared: &Shared, log: &Log) {
    let unindexed: Vec<u64> = {
        let mut state = log.0.state();
        if !std::mem::take(&mut state.checkpoint.sealed) {
            drop(state);
            return write_checkpoint(shared, log);
        }
        let sealed = state.segments.len().saturating_sub(1);
        state.segments.iter().take(sealed).filter(|s| !s.indexed && s.named && s.records > 0).map(|s| s.base).collect()
    };
    if let Err(error) = unindexed.into_iter().try_for_each(|base| write_index(shared, log, base)) {
        warn(log, &error);
    }
    write_checkpoint(shared, log);
    shared.look_at(log);
}

fn write_index(shared: &Shared, log: &Log, base: u64) -> Result<(), StoreError> {
    let place = &log.0.place;
    let found = {
        let state = log.0.state();
        state.segment_of(base).filter(|s| s.base == base).map(|s| (s.scan(base, CHUNK), s.summary(), s.file.clone()))
    };
    let Some((scanner, summary, file)) = found else { return Ok(()) };
    let failed = |e| StoreError::io("read", &place.dir, e);
    let table = Table::scan(scanner, Storage::File).map_err(failed)?;
    if file.size().map_err(failed)? > summary.len {
        // What a failed write left behind.
        file.truncate(summary.len).and_then(|()| file.sync()).map_err(failed)?;
    }
    let written = index::write(place, &summary, &table)?;
    shared.bytes_written.fetch_add(written, Ordering::Relaxed);
    // Unless it was written anew meanwhile.
    if let Some(segment) = log.0.state().segment_of_mut(base).filter(|s| Arc::ptr_eq(&s.file, &file)) {
        segment.indexed = true;
    }
    Ok(())
}

fn write_checkpoint(shared: &Shared, log: &Log) {
    match checkpoint::proceed(log) {
        Ok(written) => drop(shared.bytes_written.fetch_add(written, Ordering::Relaxed)),
        Err(error) => warn(log, &error),
    }
}

fn warn(log: &Log, error: &StoreError) {
    tracing::warn!("{}: opening will take longer: {error}", log.0.id);
}
