//! Publishing in batches (ADR-50): `atomic` ones are kept in memory until their last message comes, and then stored as one
//! unit, all of it or nothing; the messages of a `fast` one are stored as they come, and answered in groups.

mod atomic;
mod check;
mod fast;
mod inflight;

use self::atomic::AtomicBatch;
use self::fast::FastBatch;
pub(super) use self::fast::is_fast;
pub(super) use self::inflight::Inflight;
use super::desk::{Due, Surroundings, Verdict};
use super::level::LEVEL;
use super::stream::Stream;
use crate::protocol::headers::{self, HeadersBuilder};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a batch, bytes.
const MAX_ID: usize = 64;

/// The headers without the level, if one was required.
fn without_level(block: &[u8]) -> Option<Vec<u8>> {
    let level = headers::get(block, LEVEL).unwrap_or_default();
    (!level.is_empty()).then(|| HeadersBuilder::new().copy(block, |name| name != LEVEL).build())
}

/// The batches of a stream that have not ended.
#[derive(Default)]
pub(super) struct Batches {
    atomic: HashMap<Box<str>, AtomicBatch>,
    fast: HashMap<Arc<str>, FastBatch>,
    /// Somebody is going to look for those that are given up.
    watched: bool,
}

impl Batches {
    /// Whether somebody has to look after these from now on, who did not before.
    pub fn wants_watch(&mut self) -> bool {
        self.is_open() && !std::mem::replace(&mut self.watched, true)
    }

    fn is_open(&self) -> bool {
        !self.atomic.is_empty() || !self.fast.is_empty()
    }

    /// Gives up those of which nothing was heard; says after how long to look again.
    fn give_up(&mut self, stream: &str, around: &Surroundings<'_>, out: &mut Due) -> Option<Duration> {
        let timeout = i64::try_from(around.usage.inflight().timeout.as_nanos()).unwrap_or(i64::MAX);
        let mut next = i64::MAX;
        let mut stays = |heard: i64| {
            let left = heard.saturating_add(timeout).saturating_sub(around.now);
            next = if left > 0 { next.min(left) } else { next };
            left > 0
        };
        self.fast.retain(|_, batch| stays(batch.heard));
        self.atomic.retain(|id, batch| {
            let stays = stays(batch.heard);
            if !stays {
                out.copies.push(atomic::abandoned(stream, around.domain, id, "timeout"));
            }
            stays
        });
        self.watched = self.is_open();
        self.watched.then(|| Duration::from_nanos(u64::try_from(next).unwrap_or(0)))
    }
}

impl Stream {
    /// Gives up batches of which nothing was heard; says after how long to look again.
    pub(super) fn give_up_batches(self: &Arc<Self>) -> Option<Duration> {
        let mut again = None;
        self.take_in(|desk, around, out| {
            let stream = desk.config.clone();
            again = desk.batches.give_up(&stream.name, around, out);
            Verdict::Waits
        });
        again
    }
}
