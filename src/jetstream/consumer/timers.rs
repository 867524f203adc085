//! A heap of wake-up times. One entry per armed time; an entry whose owner has been re-armed for earlier is dropped when
//! it comes up, so that arming never searches the heap.

use super::deliver::Work;
use super::state::Ticks;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

/// Wake-up times of everything that runs on the delivery threads. An owner arms a new time only when it is earlier than
/// the one it has, so there are few entries per owner.
#[derive(Default)]
pub struct Timers {
    heap: BinaryHeap<Entry>,
}

struct Entry {
    at: Ticks,
    owner: Weak<dyn Work>,
}

impl Timers {
    /// Wakes `owner` at `at`.
    pub fn arm(&mut self, at: Ticks, owner: &Arc<dyn Work>) {
        self.heap.push(Entry { at, owner: Arc::downgrade(owner) });
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Ticks> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// Takes the owner of an entry that is due at `now`, with the time it was armed for. Owners that are gone are
    /// skipped.
    pub fn pop_due(&mut self, now: Ticks) -> Option<(Ticks, Arc<dyn Work>)> {
        while self.heap.peek().is_some_and(|entry| entry.at <= now) {
            let entry = self.heap.pop()?;
            if let Some(owner) = entry.owner.upgrade() {
                return Some((entry.at, owner));
            }
        }
        None
    }
}

impl Ord for Entry {
    /// Earliest first in a heap that gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}
