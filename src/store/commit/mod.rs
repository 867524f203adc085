//! The commit thread: writes what all logs have staged, syncs, and releases whoever waits.
//!
//! One round takes everything that is there: a write per log, a sync per log, one for the state log. While it syncs, the
//! next round's records gather, so batches grow with the load, and with no load nothing waits for anything but the disk.

mod interval;
mod queue;
mod relief;
mod removals;
mod round;
mod seal;
mod ticket;
mod write;

pub(super) use queue::Shared;
pub use queue::StoreStats;
pub(super) use relief::run as relieve;
pub use ticket::{Commit, Told};
pub(super) use ticket::{Ticket, ticket};
pub(super) use write::{BLOCK, PREPARED};

use super::StateLog;
use super::log::Log;
use super::unit::Packer;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How often ages are checked and interval-synced logs are synced, while there are any.
const TICK: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Shared, state: &StateLog) {
    let (mut ticked, mut packer) = (Instant::now(), Packer::default());
    loop {
        let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
        let ticking = logs.iter().any(|log| {
            let state = log.0.state();
            state.unsynced || state.limits.max_age.is_some() && state.msgs > 0
        });
        drop(logs);
        let work = shared.next(ticking);
        if let Some(mut work) = work {
            let result = round::commit(shared, state, std::mem::take(&mut work.logs), &mut packer);
            if let Err(error) = &result {
                shared.failed(error);
            }
            relief::run(shared);
            work.tickets.into_iter().for_each(|(ticket, known)| ticket.resolve(known.and(result.clone())));
            if work.stop {
                // What the last round gave rise to, such as removals by limits, goes along.
                while let Some(rest) = shared.rest() {
                    let _ = round::commit(shared, state, rest, &mut packer);
                }
                interval::sync(shared, Duration::ZERO);
                shared.finish();
                return;
            }
        }
        if ticking && ticked.elapsed() >= TICK {
            ticked = Instant::now();
            interval::sync(shared, TICK);
            let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
            for log in logs {
                log.expire();
            }
        }
    }
}
