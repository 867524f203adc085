//! The subjects of all logs are kept within the memory that is allowed, by the commit thread, between its rounds: so those who publish
//! need not write them out themselves, and wait with their acknowledgements where they bring more than the disk takes.

use super::Shared;
use crate::store::log::Log;
use std::sync::Weak;

/// Puts subjects out of memory if that is nearly full, those of the log with the most first; and makes anew what could not be read of
/// those that are not there.
pub(in crate::store) fn run(shared: &Shared) {
    let (excess, unread) = (shared.budget.excess(), shared.budget.take_unread());
    if excess.is_none() && !unread {
        return;
    }
    let mut logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
    if unread {
        logs.iter().for_each(Log::mend_index);
    }
    let Some(mut excess) = excess else { return };
    logs.sort_by_cached_key(|log| std::cmp::Reverse(log.0.state().subjects.evictable()));
    for log in logs {
        excess = excess.saturating_sub(log.relieve(excess));
        if excess == 0 {
            return;
        }
    }
}
