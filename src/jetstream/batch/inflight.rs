//! How much is in hand in batches that have not ended, of all streams together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Atomic batches at a time (nats-server's `streamDefaultMaxAtomicBatchInflightTotal`).
const MAX_ATOMIC: usize = 1000;
/// Fast batches at a time (nats-server's `streamDefaultMaxFastBatchInflightTotal`).
const MAX_FAST: usize = 50_000;
/// Bytes in atomic batches at a time, which are kept in memory.
const MAX_BYTES: usize = 64 << 20;

/// What is in hand.
#[derive(Default)]
pub(in crate::jetstream) struct Inflight {
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

impl Inflight {
    /// Room for another atomic batch, if there is.
    pub(super) fn atomic(self: &Arc<Self>) -> Option<Share> {
        self.share(|inflight| &inflight.atomic, MAX_ATOMIC)
    }

    /// Room for another fast batch, if there is.
    pub(super) fn fast(self: &Arc<Self>) -> Option<Share> {
        self.share(|inflight| &inflight.fast, MAX_FAST)
    }

    fn share(self: &Arc<Self>, count: fn(&Inflight) -> &AtomicUsize, most: usize) -> Option<Share> {
        let share = Share { of: self.clone(), count, bytes: 0 };
        (count(self).fetch_add(1, Ordering::Relaxed) < most).then_some(share)
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
        let mut shares: Vec<_> = (0..MAX_ATOMIC).filter_map(|_| inflight.atomic()).collect();
        assert!(shares.len() == MAX_ATOMIC && inflight.atomic().is_none());
        assert!(shares[0].grow(MAX_BYTES) && !shares[1].grow(1));
        drop(shares);
        assert!(inflight.atomic().is_some_and(|mut share| share.grow(MAX_BYTES)));
    }
}
