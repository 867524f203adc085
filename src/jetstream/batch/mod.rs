//! Publishing in batches (ADR-50): `atomic` ones are kept in memory until their last message comes, and then stored as one
//! unit, all of it or nothing; the messages of a `fast` one are stored as they come, and answered in groups.

mod atomic;
mod check;
mod inflight;

use self::atomic::AtomicBatch;
pub(super) use self::inflight::Inflight;
use super::desk::{Due, Verdict};
use super::stream::Stream;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A batch that nothing was heard of for so long is given up (nats-server's `streamDefaultMaxBatchTimeout`).
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest name of a batch, bytes.
const MAX_ID: usize = 64;

/// The batches of a stream that have not ended.
#[derive(Default)]
pub(super) struct Batches {
    atomic: HashMap<Box<str>, AtomicBatch>,
    /// Somebody is going to look for those that are given up.
    watched: bool,
}

impl Batches {
    /// Whether somebody has to look after these from now on, who did not before.
    pub fn wants_watch(&mut self) -> bool {
        !self.atomic.is_empty() && !std::mem::replace(&mut self.watched, true)
    }

    /// Gives up those of which nothing was heard; says after how long to look again.
    fn give_up(&mut self, stream: &str, domain: Option<&str>, now: i64, out: &mut Due) -> Option<Duration> {
        let timeout = i64::try_from(TIMEOUT.as_nanos()).unwrap_or(i64::MAX);
        let mut next = i64::MAX;
        self.atomic.retain(|id, batch| {
            let left = batch.heard.saturating_add(timeout).saturating_sub(now);
            if left <= 0 {
                out.copies.push(atomic::abandoned(stream, domain, id, "timeout"));
            } else {
                next = next.min(left);
            }
            left > 0
        });
        self.watched = !self.atomic.is_empty();
        self.watched.then(|| Duration::from_nanos(u64::try_from(next).unwrap_or(0)))
    }
}

impl Stream {
    /// Gives up batches of which nothing was heard; says after how long to look again.
    pub(super) fn give_up_batches(self: &Arc<Self>) -> Option<Duration> {
        let mut again = None;
        self.take_in(|desk, around, out| {
            let stream = desk.config.clone();
            again = desk.batches.give_up(&stream.name, around.domain, around.now, out);
            Verdict::Waits
        });
        again
    }
}
