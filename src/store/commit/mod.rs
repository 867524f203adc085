//! The commit thread: writes what all logs have staged, syncs, and releases whoever waits.
//!
//! One round takes everything that is there: a write per log, a sync per log, one for the state log. While it syncs, the
//! next round's records gather, so batches grow with the load. Those who were acknowledged together are given a moment to come
//! together again (`gather`); who is alone waits for nothing but the disk.

mod gather;
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

use self::gather::Gathering;
use super::StateLog;

use super::log::Log;
use super::unit::Packer;
use std::sync::Weak;
use std::time::{Duration, Instant};

/// How often ages are checked and interval-synced logs are synced, while there are any.
const TICK: Duration = Duration::from_secs(1);

pub(super) fn run(shared: &Shared, state: &StateLog) {
    let (mut ticked, mut packer, mut gathering) = (Instant::now(), Packer::default(), Gathering::new());
    // Whether a tick would find something to do; it looks itself, and whatever was committed since may be such a thing.
    let mut ticking = true;
    loop {
        if let Some(mut work) = shared.next(ticking, &mut gathering) {
            let began = Instant::now();
            let result = round::commit(shared, state, std::mem::take(&mut work.logs), &mut packer);
            gathering.ended(began);
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
            ticking = true;
        }
        if ticking && ticked.elapsed() >= TICK {
            ticked = Instant::now();
            interval::sync(shared, TICK);
            let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
            logs.iter().for_each(Log::expire);
            ticking = logs.iter().any(|log| {
                let state = log.0.state();
                state.unsynced.is_any() || state.limits.max_age.is_some() && state.msgs > 0
            });
        }
    }
}
