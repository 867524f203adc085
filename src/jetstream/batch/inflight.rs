//! How much is in hand in batches that have not ended, of all streams together.

use crate::jetstream::ServerLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Atomic batches at a time (nats-server's `streamDefaultMaxAtomicBatchInflightTotal`).
const MAX_ATOMIC: usize = 1000;
/// The same of a stream (`streamDefaultMaxAtomicBatchInflightPerStream`).
const MAX_ATOMIC_OF_STREAM: usize = 50;
/// Fast batches at a time (nats-server's `streamDefaultMaxFastBatchInflightTotal`).
const MAX_FAST: usize = 50_000;
/// The same of a stream (`streamDefaultMaxFastBatchInflightPerStream`).
const MAX_FAST_OF_STREAM: usize = 1000;
/// Messages of an atomic batch (`streamDefaultMaxAtomicBatchSize`).
const MAX_MESSAGES: u64 = 1000;
/// A batch that nothing was heard of for so long is given up (`streamDefaultMaxBatchTimeout`).
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes in atomic batches at a time, which are kept in memory.
const MAX_BYTES: usize = 64 << 20;

/// Batches at a time, of a stream and of all.
#[derive(Clone, Copy)]
struct Most {
    of_stream: usize,
    total: usize,
}

/// What is in hand, and may be.
pub(in crate::jetstream) struct Inflight {
    most_atomic: Most,
    most_fast: Most,
    /// Messages of an atomic batch.
    pub max_messages: u64,
    /// A batch that nothing was heard of for so long is given up.
    pub timeout: Duration,
    atomic: AtomicUsize,
    fast: AtomicUsize,
    bytes: AtomicUsize,
}

/// The share of a batch; given back when dropped.
pub(super) struct Share {
    of: Arc<Inflight>,
    count: fn(&Inflight) -> &AtomicUsize,
    bytes: usize,
}

impl Default for Inflight {
    fn default() -> Self {
        Inflight::new(&ServerLimits::default())
    }
}

impl Inflight {
    /// Nothing in hand, within the server's limits.
    pub fn new(server: &ServerLimits) -> Self {
        let or = |limit: usize, default| if limit > 0 { limit } else { default };
        let most = |of_stream, total| Most {
            of_stream: or(server.max_batch_inflight_per_stream, of_stream),
            total: or(server.max_batch_inflight_total, total),
        };
        let (size, timeout) = (server.max_batch_size, server.max_batch_timeout);
        Inflight {
            most_atomic: most(MAX_ATOMIC_OF_STREAM, MAX_ATOMIC),
            most_fast: most(MAX_FAST_OF_STREAM, MAX_FAST),
            max_messages: if size > 0 { size } else { MAX_MESSAGES },
            timeout: if timeout.is_zero() { TIMEOUT } else { timeout },
            atomic: AtomicUsize::new(0),
            fast: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Room for another atomic batch of a stream that has `open` ones, if there is.
    pub(super) fn atomic(self: &Arc<Self>, open: usize) -> Option<Share> {
        self.share(open, self.most_atomic, |inflight| &inflight.atomic)
    }

    /// Room for another fast batch of a stream that has `open` ones, if there is.
    pub(super) fn fast(self: &Arc<Self>, open: usize) -> Option<Share> {
        self.share(open, self.most_fast, |inflight| &inflight.fast)
    }

    fn share(self: &Arc<Self>, open: usize, most: Most, count: fn(&Inflight) -> &AtomicUsize) -> Option<Share> {
        if open >= most.of_stream {
            return None;
        }
        let share = Share { of: self.clone(), count, bytes: 0 };
        (count(self).fetch_add(1, Ordering::Relaxed) < most.total).then_some(share)
    }
}

impl Share {
    /// Takes room for a message; `false` if there is none.
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.of.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MAX_BYTES
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        (self.count)(&self.of).fetch_sub(1, Ordering::Relaxed);
        self.of.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back() {
        let inflight = Arc::new(Inflight::default());
        let mut shares: Vec<_> = (0..MAX_ATOMIC).filter_map(|_| inflight.atomic(0)).collect();
        assert!(shares.len() == MAX_ATOMIC && inflight.atomic(0).is_none());
        assert!(shares[0].grow(MAX_BYTES) && !shares[1].grow(1));
        drop(shares);
        assert!(inflight.atomic(0).is_some_and(|mut share| share.grow(MAX_BYTES)));
    }
}
