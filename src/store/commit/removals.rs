//! Removals in a round: they are written and synced beside the records, and stay in hand until they are durable.

use super::Shared;
use crate::store::StoreError;
use crate::store::log::Log;
use crate::store::tombstones::Tomb;
use std::sync::atomic::Ordering;

/// Writes the removals that a log has in hand; whether there were any.
pub(super) fn write(log: &Log) -> Result<bool, StoreError> {
    let (tombs, mut tombstones) = {
        let mut state = log.0.state();
        // What is staged from now on needs a round of its own, should this one have passed it.
        state.queued = false;
        if state.tombs.is_empty() || state.deleted {
            return Ok(false);
        }
        (std::mem::take(&mut state.tombs), std::mem::take(&mut state.tombstones))
    };
    let mut result = tombstones.write(&log.0.place, &tombs);
    if let Err(error) = &result
        && log.0.shared.reserve.give_up(error)
    {
        result = tombstones.write(&log.0.place, &tombs);
    }
    log.0.state().tombstones = tombstones;
    if let Err(error) = result {
        keep(log, tombs);
        return Err(error);
    }
    Ok(true)
}

/// Makes the written removals durable.
pub(super) fn sync(shared: &Shared, log: &Log) -> Result<(), StoreError> {
    let mut tombstones = std::mem::take(&mut log.0.state().tombstones);
    let result = tombstones.sync(&log.0.place);
    log.0.state().tombstones = tombstones;
    match result {
        Ok(()) => {
            shared.syncs.fetch_add(1, Ordering::Relaxed);
            compact(log);
            Ok(())
        }
        Err((error, tombs)) => {
            keep(log, tombs);
            Err(error)
        }
    }
}

/// Takes removals back in hand, for the next round.
fn keep(log: &Log, tombs: Vec<Tomb>) {
    let later = std::mem::replace(&mut log.0.state().tombs, tombs);
    log.0.state().tombs.extend(later);
    log.0.shared.retry(log.0.clone());
}

/// Writes the tombstones anew when most of them speak of segments that are gone.
fn compact(log: &Log) {
    let (mut tombstones, tombs) = {
        let mut state = log.0.state();
        let live: u64 = state.segments.iter().map(|s| s.removed.count()).sum();
        if !state.tombstones.is_wasteful(live) {
            return;
        }
        let mut tombs = vec![Tomb::below(state.first)];
        for segment in &state.segments {
            for seq in segment.base.max(state.first)..=segment.last {
                if segment.is_removed(seq) {
                    Tomb::push(&mut tombs, seq);
                }
            }
        }
        (std::mem::take(&mut state.tombstones), tombs)
    };
    if let Err(error) = tombstones.rewrite(&log.0.place, &tombs) {
        tracing::warn!("{error}");
    }
    log.0.state().tombstones = tombstones;
}
