//! Removals and their own file: those of a segment go there before the next one begins, and so do too many for a segment. They
//! stay in hand until they are durable somewhere.

use super::Shared;
use crate::store::StoreError;
use crate::store::log::Log;
use crate::store::tombstones::Tomb;
use std::sync::atomic::Ordering;

/// Makes removals durable in their own file.
pub(super) fn write_aside(shared: &Shared, log: &Log, tombs: Vec<Tomb>) -> Result<(), StoreError> {
    write(shared, log, &tombs).inspect_err(|_| keep(log, tombs))
}

/// Makes the removals that stand in the last segment durable in their own file, as that segment is about to be sealed.
pub(super) fn write_journaled(shared: &Shared, log: &Log) -> Result<(), StoreError> {
    let tombs = std::mem::take(&mut log.0.state().journaled);
    write(shared, log, &tombs).inspect_err(|_| log.0.state().journaled = tombs)
}

fn write(shared: &Shared, log: &Log, tombs: &[Tomb]) -> Result<(), StoreError> {
    if tombs.is_empty() {
        return Ok(());
    }
    let place = &log.0.place;
    let mut tombstones = std::mem::take(&mut log.0.state().tombstones);
    let mut result = tombstones.write(place, tombs);
    if let Err(error) = &result
        && shared.reserve.give_up(error)
    {
        result = tombstones.write(place, tombs);
    }
    let result = result.and_then(|()| tombstones.sync(place).map_err(|(error, _)| error));
    log.0.state().tombstones = tombstones;
    result?;
    shared.syncs.fetch_add(1, Ordering::Relaxed);
    shared.bytes_written.fetch_add(tombs.len() as u64 * 16, Ordering::Relaxed);
    compact(log);
    Ok(())
}

/// Takes removals back in hand, for the next round.
pub(super) fn keep(log: &Log, tombs: Vec<Tomb>) {
    if tombs.is_empty() {
        return;
    }
    let later = std::mem::replace(&mut log.0.state().tombs, tombs);
    log.0.state().tombs.extend(later);
    log.0.shared.retry(log.0.clone());
}

/// Writes the file anew when most of it speaks of segments that are gone.
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
