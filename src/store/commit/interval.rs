//! Logs that are synced at an interval.

use super::Shared;
use crate::store::log::{Log, Sync};
use std::sync::Weak;
use std::time::Duration;

/// Syncs logs whose last sync is as old as their interval allows, or will be at the next `tick`.
pub(super) fn sync(shared: &Shared, tick: Duration) {
    let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
    for log in logs {
        let due = {
            let state = log.0.state();
            state.unsynced.is_any()
                && match state.sync {
                    Sync::Interval(every) => tick.is_zero() || state.synced_at.elapsed() + tick >= every,
                    // It was not so before.
                    Sync::Durable => true,
                }
        };
        if due {
            shared.report(&log.sync_rest());
        }
    }
}
