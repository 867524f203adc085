//! One round: what is staged is written, synced, taken into the books, or dropped.

use super::write::{Round, write};
use super::{Shared, removals, seal};
use crate::store::log::{Inner, Log, Storage, Sync};
use crate::store::record;
use crate::store::unit::Packer;
use crate::store::{StateLog, StoreError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

/// Syncs at a time: with 20 streams four gave about three times the acknowledgements of one.
const SYNCS: usize = 4;

/// Staging buffers up to this size are kept for the next round.
const KEEP_CAPACITY: usize = 4 << 20;

/// Commits everything that `logs` and the state log have staged.
pub(super) fn commit(
    shared: &Shared,
    state: &StateLog,
    logs: Vec<Arc<Inner>>,
    packer: &mut Packer,
) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    let mut rounds = Vec::with_capacity(logs.len());
    let mut wrote = false;
    for inner in logs {
        let log = Log(inner);
        let Some((round, result)) = write(shared, &log, packer) else {
            // A checkpoint may be on its way.
            seal::write(shared, &log);
            continue;
        };
        wrote = true;
        rounds.extend(round);
        outcome = result.and(outcome);
    }
    let results = sync_all(&rounds);
    shared.expect(rounds.iter().map(|round| round.staged.entries.len()).sum());
    for (round, result) in rounds.into_iter().zip(results) {
        match result {
            Ok(()) => finish(shared, round),
            Err(error) => {
                refuse(round, &error);
                outcome = Err(error);
            }
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

/// Syncs the files of all logs of a round. Several at a time, as the file system and the device make one of what waits
/// together.
fn sync_all(rounds: &[Round]) -> Vec<Result<(), StoreError>> {
    let sync_each = |rounds: &[Round]| -> Vec<_> { rounds.iter().map(sync).collect() };
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

fn sync(round: &Round) -> Result<(), StoreError> {
    let place = &round.log.0.place;
    let due = {
        let state = round.log.0.state();
        match state.sync {
            _ if round.log.0.storage == Storage::Memory => false,
            Sync::Durable => true,
            // Removals are durable at once everywhere.
            Sync::Interval(every) => !round.staged.tombs.is_empty() || state.synced_at.elapsed() >= every,
        }
    };
    if due {
        return round.log.sync_file(&round.file).map_err(|e| StoreError::io("sync", &place.dir, e));
    }
    let mut state = round.log.0.state();
    if let Some(offset) =
        state.segments.back().map(|segment| segment.len).filter(|_| round.log.0.storage == Storage::File)
    {
        state.unsynced.begins(offset);
    }
    Ok(())
}

/// Takes what was written over into the books and tells the observer.
fn finish(shared: &Shared, round: Round) {
    let last = round.staged.entries.last().map(|e| e.seq);
    let (log, staged) = (round.log.clone(), &round.staged);
    let (gone, superseded, mut over, max) = {
        let mut guard = log.0.state();
        let state = &mut *guard;
        let (mut superseded, mut over) = (Vec::new(), Vec::new());
        let max = state.limits.max_msgs_per_subject;
        if let Some(segment) = state.segments.back_mut() {
            let offset = segment.len;
            for (n, entry) in staged.entries.iter().enumerate() {
                segment.note(entry.seq, entry.time, round.extent(n, offset));
                match max {
                    Some(1) => superseded.extend(entry.before),
                    Some(max) => {
                        if let Some(subject) = record::subject_of(&staged.buffer[entry.at..])
                            && state.subjects.get(subject).is_ok_and(|info| info.is_some_and(|i| i.count > max))
                        {
                            over.push(Box::from(subject));
                        }
                    }
                    None => {}
                }
            }
            segment.len = offset + round.used();
            segment.filled = segment.filled.max(offset + round.written());
            segment.clean = true;
        }
        if let Some(last) = staged.entries.last() {
            (state.committed, state.committed_time) = (last.seq, last.time);
        }
        state.journaled.extend_from_slice(&staged.tombs);
        state.writing = None;
        (state.settle(), superseded, over, max)
    };
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared.bytes_written.fetch_add(round.written(), Ordering::Relaxed);
    shared.records.fetch_add(staged.entries.len() as u64, Ordering::Relaxed);
    if let Ok(mut spare) = Arc::try_unwrap(round.staged) {
        spare.clear();
        if spare.buffer.capacity() <= KEEP_CAPACITY {
            log.0.state().spare = spare;
        }
    }
    log.delete(gone);
    let Some(last) = last else { return seal::write(shared, &log) };
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

/// The disk did not take what was written: records are refused, removals are kept.
fn refuse(round: Round, error: &StoreError) {
    let Round { log, staged, .. } = round;
    removals::keep(&log, staged.tombs.clone());
    match staged.entries.is_empty() {
        true => log.0.state().writing = None,
        false => {
            drop(staged);
            fail(&log, error);
        }
    }
}

/// Everything staged is dropped, and whoever waits is told.
pub(super) fn fail(log: &Log, error: &StoreError) {
    let from = log.0.roll_back();
    if let Some(observer) = log.0.observer.get() {
        observer.failed(from, error);
    }
}
