//! Logs that are synced at an interval.

use super::Shared;
use crate::store::StoreError;
use crate::store::log::{Log, Sync};
use std::sync::Weak;
use std::time::{Duration, Instant};

/// Syncs logs whose last sync is at least `age` older than their interval allows.
pub(super) fn sync(shared: &Shared, tick: Duration) {
    let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
    for log in logs {
        let file = {
            let state = log.0.state();
            let due = match state.sync {
                Sync::Interval(every) => tick.is_zero() || state.synced_at.elapsed() + tick >= every,
                Sync::Durable => false,
            };
            state.segments.back().filter(|_| state.unsynced && due).map(|s| s.file.clone())
        };
        let Some(file) = file else { continue };
        let result = file.sync().map_err(|e| StoreError::io("sync", &log.0.place.dir, e));
        if result.is_ok() {
            let mut state = log.0.state();
            state.unsynced = false;
            state.synced_at = Instant::now();
        }
        shared.report(&result);
    }
}
