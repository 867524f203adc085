//! One round: what is staged is written, synced, taken into the books, or dropped.

use super::{Shared, removals, seal};
use crate::store::io::DiskFile;
use crate::store::log::{Inner, Log, Staged, Storage, Sync};
use crate::store::record;
use crate::store::segment::Segment;
use crate::store::{StateLog, StoreError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

/// Syncs at a time: with 20 streams four gave about three times the acknowledgements of one.
const SYNCS: usize = 4;

/// Staging buffers up to this size are kept for the next round.
const KEEP_CAPACITY: usize = 4 << 20;

/// What one log has on its way to disk in this round.
struct Round {
    log: Log,
    staged: Arc<Staged>,
    file: Arc<dyn DiskFile>,
}

/// Commits everything that `logs` and the state log have staged.
pub(super) fn commit(shared: &Shared, state: &StateLog, logs: Vec<Arc<Inner>>) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    let mut rounds = Vec::with_capacity(logs.len());
    let mut removals = Vec::new();
    for inner in logs {
        let log = Log(inner);
        match removals::write(&log) {
            Ok(true) => removals.push(log.clone()),
            Ok(false) => {}
            Err(error) => outcome = Err(error),
        }
        match write(shared, &log) {
            Ok(round) => rounds.extend(round),
            Err(error) => {
                fail(&log, &error);
                outcome = Err(error);
            }
        }
    }
    let mut wrote = !rounds.is_empty() || !removals.is_empty();
    let results = sync_all(shared, &rounds);
    for (round, result) in rounds.into_iter().zip(results) {
        match result {
            Ok(()) => finish(shared, round),
            Err(error) => {
                fail(&round.log, &error);
                outcome = Err(error);
            }
        }
    }
    for log in removals {
        if let Err(error) = removals::sync(shared, &log) {
            outcome = Err(error);
        }
    }
    match state.commit() {
        Ok(written) => wrote |= written,
        Err(error) => {
            shared.retry_state();
            outcome = Err(error);
        }
    }
    // A round that had nothing to write says nothing about the disk.
    if wrote || outcome.is_err() {
        shared.report(&outcome);
    }
    outcome
}

/// Writes what a log has staged; nothing of it is durable yet.
fn write(shared: &Shared, log: &Log) -> Result<Option<Round>, StoreError> {
    let (staged, active, base) = {
        let mut state = log.0.state();
        let Some(base) = state.staged.entries.first().map(|e| e.seq).filter(|_| !state.deleted) else {
            return Ok(None);
        };
        let spare = std::mem::take(&mut state.spare);
        let staged = Arc::new(std::mem::replace(&mut state.staged, spare));
        let rotate = state.rotate;
        let room = shared.segment_bytes.saturating_sub(staged.buffer.len() as u64);
        let active = state.segments.back().filter(|s| !rotate && (s.len <= room || s.records == 0));
        let active = active.map(|s| (s.file.clone(), s.len, s.path.clone()));
        state.writing = Some(staged.clone());
        (staged, active, base)
    };
    if log.0.storage == Storage::File {
        shared.reserve.take()?;
    }
    let (file, offset, path) = match active {
        Some(active) => active,
        None => begin_segment(log, base)?,
    };
    let tail = file.size().map_err(|e| StoreError::io("measure", &path, e))?;
    if tail > offset {
        // What a failed write left behind would be read as records after the next power cut.
        file.truncate(offset).map_err(|e| StoreError::io("cut", &path, e))?;
    }
    if let Err(error) = file.write_at(&staged.buffer, offset) {
        // What there was room for is of no use, and in the way of others.
        let _ = file.truncate(offset);
        return Err(StoreError::io("write", &path, error));
    }
    Ok(Some(Round { log: log.clone(), staged, file }))
}

/// A new segment whose first record is to be `base`. It is in the books before anything is written to it: should the write
/// fail, the next one goes into the same file, which is then cut first.
fn begin_segment(log: &Log, base: u64) -> Result<(Arc<dyn DiskFile>, u64, PathBuf), StoreError> {
    let place = &log.0.place;
    let unsynced = {
        let state = log.0.state();
        state.segments.back().filter(|_| state.unsynced).map(|s| s.file.clone())
    };
    if let Some(file) = unsynced {
        // An interval-synced log: nobody would sync the sealed segment later.
        file.sync().map_err(|e| StoreError::io("sync", &place.dir, e))?;
    }
    let segment = Segment::create(place, base)?;
    let begun = (segment.file.clone(), segment.len, segment.path.clone());
    let mut state = log.0.state();
    seal::note(log, &mut state);
    state.segments.push_back(segment);
    state.rotate = false;
    Ok(begun)
}

/// Syncs the files of all logs of a round. Several at a time, as the file system and the device make one of what waits
/// together.
fn sync_all(shared: &Shared, rounds: &[Round]) -> Vec<Result<(), StoreError>> {
    let sync_each = |rounds: &[Round]| -> Vec<_> { rounds.iter().map(|round| sync(shared, round)).collect() };
    let share = rounds.len().div_ceil(SYNCS);
    if rounds.len() < 2 {
        return sync_each(rounds);
    }
    thread::scope(|scope| {
        let (mine, others) = rounds.split_at(share);
        let others: Vec<_> = others.chunks(share).map(|part| (part, scope.spawn(|| sync_each(part)))).collect();
        let mut results = sync_each(mine);
        for (part, other) in others {
            // A sync that panicked has not synced.
            results.extend(other.join().unwrap_or_else(|_| part.iter().map(|_| Err(StoreError::Closed)).collect()));
        }
        results
    })
}

fn sync(shared: &Shared, round: &Round) -> Result<(), StoreError> {
    let place = &round.log.0.place;
    let due = {
        let state = round.log.0.state();
        match state.sync {
            _ if round.log.0.storage == Storage::Memory => false,
            Sync::Durable => true,
            Sync::Interval(every) => state.synced_at.elapsed() >= every,
        }
    };
    if due {
        round.file.sync().map_err(|e| StoreError::io("sync", &place.dir, e))?;
        shared.syncs.fetch_add(1, Ordering::Relaxed);
    }
    let mut state = round.log.0.state();
    if due {
        state.synced_at = Instant::now();
    }
    state.unsynced = !due && round.log.0.storage == Storage::File;
    Ok(())
}

/// Takes the written records over into the books and tells the observer.
fn finish(shared: &Shared, round: Round) {
    let Round { log, staged, .. } = round;
    let Some(last) = staged.entries.last().map(|e| e.seq) else { return };
    let (gone, superseded, mut over, max) = {
        let mut guard = log.0.state();
        let state = &mut *guard;
        let (mut superseded, mut over) = (Vec::new(), Vec::new());
        let max = state.limits.max_msgs_per_subject;
        if let Some(segment) = state.segments.back_mut() {
            let offset = segment.len;
            for entry in &staged.entries {
                segment.note(entry.seq, entry.time, offset + entry.at as u64, entry.used);
                match max {
                    Some(1) => superseded.extend(entry.before),
                    Some(max) => {
                        if let Some(subject) = record::subject_of(&staged.buffer[entry.at..])
                            && state.subjects.get(subject).is_some_and(|i| i.count > max)
                        {
                            over.push(Box::from(subject));
                        }
                    }
                    None => {}
                }
            }
        }
        state.committed = last;
        state.writing = None;
        (state.settle(), superseded, over, max)
    };
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared.bytes_written.fetch_add(staged.buffer.len() as u64, Ordering::Relaxed);
    shared.records.fetch_add(staged.entries.len() as u64, Ordering::Relaxed);
    if let Ok(mut spare) = Arc::try_unwrap(staged) {
        spare.buffer.clear();
        spare.entries.clear();
        if spare.buffer.capacity() <= KEEP_CAPACITY {
            log.0.state().spare = spare;
        }
    }
    log.delete(gone);
    if let Some(observer) = log.0.observer.get() {
        observer.committed(last);
    }
    // A subject's record goes only when a later one is on disk, never for one that is merely staged.
    if let Err(error) = log.remove(&superseded) {
        tracing::warn!("{error}");
    }
    if let Some(max) = max {
        over.sort_unstable();
        over.dedup();
        log.limit_subjects(&over, max);
    }
    log.expire();
    seal::write(shared, &log);
}

/// Everything staged is dropped, and whoever waits is told.
fn fail(log: &Log, error: &StoreError) {
    let from = log.0.roll_back();
    if let Some(observer) = log.0.observer.get() {
        observer.failed(from, error);
    }
}
