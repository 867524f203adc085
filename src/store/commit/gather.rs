//! Waiting for those who were acknowledged together, so that what they send next goes together too.
//!
//! Clients that publish again when they have their acks would otherwise fall into two groups which wait for each other's
//! sync: twice the syncs, and blocks of the disk that are half empty.

use super::Shared;
use super::queue::Queue;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The next round waits for so long as the last one took, divided by this, and for twice as long while records keep coming.
const PART: u32 = 2;

/// Shorter waits are not worth to be woken from: the kernel makes them longer.
const SHORTEST: Duration = Duration::from_micros(10);

/// A disk that hangs is no reason to hang as well.
const LONGEST: Duration = Duration::from_millis(10);

/// After waits in vain so many powers of two of rounds do not wait, at most.
const MOST: u32 = 6;

/// How many records are still waited for; none where it is not above zero.
#[derive(Default)]
pub(in crate::store) struct Missing(AtomicI64);

/// What the commit thread knows of the round before.
pub(super) struct Gathering {
    ended: Instant,
    /// How long from then on the next one waits for what is missing.
    patience: Duration,
    /// So many rounds waited in vain, one after the other,
    vain: u32,
    /// and so many do not wait because of that.
    rest: u32,
}

impl Shared {
    /// As many were just acknowledged, and may come again.
    pub(super) fn expect(&self, acknowledged: usize) {
        // One alone has nobody to wait for.
        let missing = if acknowledged > 1 { acknowledged as i64 } else { 0 };
        self.missing.0.store(missing, Ordering::Relaxed);
    }

    /// So many records were staged.
    pub(in crate::store) fn staged(&self, records: usize) {
        let missing = &self.missing.0;
        if missing.load(Ordering::Relaxed) > 0 {
            let before = missing.fetch_sub(records as i64, Ordering::Relaxed);
            if (1..=records as i64).contains(&before) {
                let _queue = self.queue();
                self.wake.notify_one();
            }
        }
    }
}

impl Gathering {
    pub fn new() -> Gathering {
        Gathering { ended: Instant::now(), patience: Duration::ZERO, vain: 0, rest: 0 }
    }

    /// A round has ended that began at `began`.
    pub fn ended(&mut self, began: Instant) {
        self.ended = Instant::now();
        self.patience = ((self.ended - began) / PART).min(LONGEST);
    }

    /// Waits for those who were just acknowledged; there is work already.
    pub fn wait<'a>(&mut self, shared: &'a Shared, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        let left = || shared.missing.0.load(Ordering::Relaxed);
        let remains = |patience: Duration| patience.saturating_sub(self.ended.elapsed());
        if left() <= 0 || self.patience < SHORTEST || remains(self.patience).is_zero() {
            return queue;
        }
        if self.rest > 0 {
            self.rest -= 1;
        } else {
            let mut vain = false;
            for patience in [self.patience, self.patience * 2] {
                let before = left();
                let hurried = |queue: &Queue| !queue.tickets.is_empty() || queue.stop;
                while left() > 0 && !hurried(&queue) && !remains(patience).is_zero() {
                    queue =
                        shared.wake.wait_timeout(queue, remains(patience)).unwrap_or_else(PoisonError::into_inner).0;
                }
                let ends = left() <= 0 || hurried(&queue);
                vain = !ends && left() == before;
                if ends || vain {
                    break;
                }
            }
            self.vain = if vain { (self.vain + 1).min(MOST) } else { 0 };
            self.rest = (1 << self.vain) - 1;
        }
        shared.missing.0.store(0, Ordering::Relaxed);
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use crate::store::clock::Clock;
    use crate::store::io::{MemoryDisk, Place};
    use std::sync::{Arc, mpsc};
    use std::thread;

    const HOUR: Duration = Duration::from_secs(3600);
    const LIMIT: Duration = Duration::from_secs(30);

    fn shared() -> Arc<Shared> {
        let place = Place { disk: Arc::new(MemoryDisk), dir: "/data".into(), salt: 7, vault: None };
        Arc::new(Shared::new(&StoreOptions::default(), Clock::of_the_machine(), &place))
    }

    fn after_a_round(patience: Duration) -> Gathering {
        Gathering { patience, ..Gathering::new() }
    }

    /// Takes the next round's work, of which there is some, elsewhere.
    fn next(shared: &Arc<Shared>, mut gathering: Gathering) -> mpsc::Receiver<Gathering> {
        let (taken, heard) = mpsc::channel();
        let shared = shared.clone();
        shared.enqueue_state();
        thread::spawn(move || {
            shared.next(false, &mut gathering).expect("there is work");
            let _ = taken.send(gathering);
        });
        heard
    }

    #[test]
    fn a_round_begins_when_all_who_were_acknowledged_are_there_again() {
        let shared = shared();
        shared.expect(4);
        let taken = next(&shared, after_a_round(HOUR));
        shared.staged(1);
        shared.staged(2);
        assert!(taken.recv_timeout(Duration::from_millis(20)).is_err(), "it waits for the fourth");
        shared.staged(1);
        taken.recv_timeout(LIMIT).expect("all four are there");
    }

    #[test]
    fn a_barrier_is_not_kept_waiting() {
        let shared = shared();
        shared.expect(4);
        let taken = next(&shared, after_a_round(HOUR));
        let _commit = shared.barrier();
        taken.recv_timeout(LIMIT).expect("who asked for it waits");
    }

    #[test]
    fn who_was_alone_waits_for_nobody() {
        let shared = shared();
        shared.expect(1);
        next(&shared, after_a_round(HOUR)).recv_timeout(LIMIT).expect("at once");
    }

    #[test]
    fn after_a_wait_in_vain_the_next_rounds_begin_at_once() {
        let shared = shared();
        shared.expect(4);
        // Long enough for the thread to begin meanwhile.
        let first = next(&shared, after_a_round(Duration::from_secs(1)));
        let mut gathering = first.recv_timeout(LIMIT).expect("nobody comes");
        assert_eq!(gathering.rest, 1);
        shared.expect(4);
        gathering.patience = HOUR;
        next(&shared, gathering).recv_timeout(LIMIT).expect("at once");
    }
}
