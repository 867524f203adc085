//! What logs and the commit thread share: the queue of what is to be committed, and the counters.

use super::TICK;
use super::gather::{Gathering, Missing};
use super::ticket::{Commit, Ticket, Told, ticket};
use crate::store::clock::{Clock, Reading};
use crate::store::compaction::Compactor;
use crate::store::io::Place;
use crate::store::log::{Inner, Log};
use crate::store::reserve::Reserve;
use crate::store::subjects::Budget;
use crate::store::tables::Tables;
use crate::store::{StoreError, StoreOptions};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// Counters of the store.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StoreStats {
    /// Commit rounds that wrote something.
    pub commits: u64,
    /// Calls of fdatasync.
    pub syncs: u64,
    /// Bytes of records written.
    pub bytes_written: u64,
    /// Of those, by compaction,
    pub bytes_compacted: u64,
    /// which gave so many back to the file system.
    pub bytes_freed: u64,
    /// Records committed.
    pub records: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Bytes of memory that the indexes of all logs by subject take,
    pub index_bytes: u64,
    /// and may take.
    pub index_max_bytes: u64,
    /// Subjects that do not fit into it and are on disk,
    pub index_cold_subjects: u64,
    /// and the bytes of disk that they take.
    pub index_cold_bytes: u64,
    /// Records that were refused because of that.
    pub subjects_refused: u64,
    /// The last failure, until a commit works again.
    pub error: Option<String>,
}

/// What logs and the commit thread share.
pub(in crate::store) struct Shared {
    pub reserve: Reserve,
    clock: Clock,
    queue: Mutex<Queue>,
    pub(super) wake: Condvar,
    pub(super) missing: Missing,
    closed: AtomicBool,
    logs: Mutex<HashMap<String, Weak<Inner>>>,
    tables: Mutex<Tables>,
    pub(in crate::store) segment_bytes: u64,
    /// The memory for the subjects of all logs.
    pub budget: Arc<Budget>,
    /// Gives room of removed records back; there from the time the store is open.
    pub compactor: OnceLock<Compactor>,
    pub(super) commits: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) bytes_written: AtomicU64,
    compacted: AtomicU64,
    freed: AtomicU64,
    pub(super) records: AtomicU64,
    failures: AtomicU64,
    error: Mutex<Option<String>>,
}

#[derive(Default)]
pub(super) struct Queue {
    pub logs: Vec<Arc<Inner>>,
    pub state: bool,
    /// Barriers, each with what is known of its outcome so far.
    pub tickets: Vec<(Ticket, Result<(), StoreError>)>,
    /// What could not be written: it goes along with the next round, which comes with the next tick at the latest.
    pub retry: Vec<Arc<Inner>>,
    pub retry_state: bool,
    pub stop: bool,
    /// The commit thread has ended.
    pub finished: bool,
}

impl Shared {
    /// For the store in `place`, its data directory.
    pub fn new(options: &StoreOptions, clock: Clock, place: &Place) -> Shared {
        Shared {
            reserve: Reserve::new(place.clone()),
            clock,
            queue: Mutex::default(),
            wake: Condvar::new(),
            missing: Missing::default(),
            closed: AtomicBool::new(false),
            logs: Mutex::default(),
            tables: Mutex::default(),
            segment_bytes: options.segment_bytes,
            budget: Arc::new(Budget::new(options.index_bytes, place.clone())),
            compactor: OnceLock::new(),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            compacted: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            records: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            error: Mutex::default(),
        }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn logs(&self) -> MutexGuard<'_, HashMap<String, Weak<Inner>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enqueue(&self, log: Arc<Inner>) {
        self.queue().logs.push(log);
        self.wake.notify_one();
    }

    /// Has the state log committed; `false` if the commit thread has ended.
    pub fn enqueue_state(&self) -> bool {
        let mut queue = self.queue();
        queue.state = true;
        self.wake.notify_one();
        !queue.finished
    }

    /// Logs that have something to commit, without waiting.
    pub(super) fn rest(&self) -> Option<Vec<Arc<Inner>>> {
        let logs = std::mem::take(&mut self.queue().logs);
        (!logs.is_empty()).then_some(logs)
    }

    /// Resolves when everything staged until now is committed; with an error if the round under way, or the next one, fails.
    pub fn barrier(&self) -> Commit {
        let (ticket, commit) = ticket();
        self.resolve_then(ticket);
        commit
    }

    /// As [`Shared::barrier`], for who must not wait.
    pub fn tell_then(&self, told: Told) {
        self.resolve_then(Ticket::Call(told));
    }

    fn resolve_then(&self, ticket: Ticket) {
        let mut queue = self.queue();
        if queue.finished {
            drop(queue);
            return ticket.resolve(Err(StoreError::Closed));
        }
        queue.tickets.push((ticket, Ok(())));
        self.wake.notify_one();
    }

    /// Has the commit thread commit what there is and end; nothing can be staged from now on.
    pub fn stop(&self) {
        self.closed.store(true, Ordering::Release);
        self.queue().stop = true;
        self.wake.notify_one();
    }

    /// Has the log looked at, whether room of removed records is worth to be given back.
    pub fn look_at(&self, log: &Log) {
        if let Some(compactor) = self.compactor.get() {
            compactor.look_at(log);
        }
    }

    /// A file was synced.
    pub fn count_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes were written by compaction, which frees so many.
    pub fn count_compacted(&self, bytes: u64, freed: u64) {
        self.compacted.fetch_add(bytes, Ordering::Relaxed);
        self.freed.fetch_add(freed, Ordering::Relaxed);
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counters of now.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            commits: self.commits.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            bytes_compacted: self.compacted.load(Ordering::Relaxed),
            bytes_freed: self.freed.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            index_bytes: self.budget.used(),
            index_max_bytes: self.budget.max(),
            index_cold_subjects: self.budget.cold().0,
            index_cold_bytes: self.budget.cold().1,
            subjects_refused: self.budget.refused(),
            error: self.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Nothing more is committed: whoever waits is told, and so is whoever comes later.
    pub(super) fn finish(&self) {
        let tickets = {
            let mut queue = self.queue();
            queue.finished = true;
            std::mem::take(&mut queue.tickets)
        };
        tickets.into_iter().for_each(|(ticket, _)| ticket.resolve(Err(StoreError::Closed)));
    }

    /// A round failed: who asked for a barrier while it was under way may have staged what it dropped.
    pub(super) fn failed(&self, error: &StoreError) {
        self.queue().tickets.iter_mut().for_each(|(_, outcome)| *outcome = Err(error.clone()));
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What the clocks show.
    pub fn now(&self) -> Reading {
        self.clock.read()
    }

    /// Has the log looked at again, as something of it could not be made durable.
    pub(super) fn retry(&self, log: Arc<Inner>) {
        self.queue().retry.push(log);
    }

    /// As [`Shared::retry`] for the state log.
    pub(super) fn retry_state(&self) {
        self.queue().retry_state = true;
    }

    /// Waits for work; `None` when a tick is due without any.
    pub(super) fn next(&self, ticking: bool, gathering: &mut Gathering) -> Option<Queue> {
        let mut queue = self.queue();
        let mut due = false;
        loop {
            let again = !queue.retry.is_empty() || queue.retry_state;
            if !queue.logs.is_empty() || queue.state || !queue.tickets.is_empty() || queue.stop || due && again {
                queue = gathering.wait(self, queue);
                let stop = queue.stop;
                let mut taken = std::mem::take(&mut *queue);
                queue.stop = stop;
                // Once each: what is staged while a round writes a log must wait for the next round, or it would be written
                // over what this one has just written.
                for log in std::mem::take(&mut taken.retry) {
                    if !taken.logs.iter().any(|other| Arc::ptr_eq(other, &log)) {
                        taken.logs.push(log);
                    }
                }
                return Some(Queue { stop, ..taken });
            }
            if due {
                return None;
            }
            if !ticking && !again {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (guard, timeout) = self.wake.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            due = timeout.timed_out();
        }
    }

    pub(super) fn report(&self, result: &Result<(), StoreError>) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if error.take().is_some() {
                    tracing::info!("the store works again");
                }
            }
            Err(e) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if error.is_none() {
                    tracing::error!("the store cannot write: {e}; nothing is acknowledged until it works again");
                }
                *error = Some(e.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::io::{MemoryDisk, Place};
    use crate::store::log::{LogOptions, State, Storage};

    #[test]
    fn a_log_that_is_staged_and_retried_is_in_a_round_once() {
        let place = Place { disk: Arc::new(MemoryDisk), dir: "/data".into(), salt: 7, vault: None };
        let clock = Clock::of_the_machine();
        let shared = Arc::new(Shared::new(&StoreOptions::default(), clock, &place));
        let log = |id| {
            Inner::new(
                id,
                place.clone(),
                Storage::File,
                shared.clone(),
                State::new(&LogOptions::default(), 7, &shared.budget),
            )
        };
        let (both, failed) = (log("both"), log("failed"));
        for log in [&both, &failed, &both] {
            shared.retry(log.clone());
        }
        shared.enqueue(both.clone());
        let logs = shared.next(false, &mut Gathering::new()).expect("there is work").logs;
        assert_eq!(logs.iter().filter(|log| Arc::ptr_eq(log, &both)).count(), 1);
        assert_eq!(logs.iter().filter(|log| Arc::ptr_eq(log, &failed)).count(), 1);
    }

    #[test]
    fn a_barrier_asked_for_during_a_round_that_fails_says_so() {
        let place = Place { disk: Arc::new(MemoryDisk), dir: "/data".into(), salt: 7, vault: None };
        let shared = Shared::new(&StoreOptions::default(), Clock::of_the_machine(), &place);
        let during = shared.barrier();
        shared.failed(&StoreError::Missing("space".into()));
        let after = shared.barrier();
        for (ticket, outcome) in shared.next(false, &mut Gathering::new()).expect("there is work").tickets {
            ticket.resolve(outcome);
        }
        assert!(matches!(during.wait(), Err(StoreError::Missing(_))));
        after.wait().expect("nothing failed since");
    }
}
