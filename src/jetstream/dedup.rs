//! The duplicate window of a stream: which message ids were stored lately, and where. Bounded by time, count and bytes; the
//! oldest go first. Times are nanoseconds on a clock of the caller's that never goes back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Message ids at most; beyond that the oldest are forgotten before their time.
pub const MAX_IDS: usize = 1 << 20;

/// Most memory for ids, bytes, each with what is kept beside it; beyond that, too, the oldest are forgotten.
const MAX_BYTES: usize = 64 << 20;
/// What an id costs beside itself: its places in the map and in the order, and its count.
const OVERHEAD: usize = 96;

/// The ids seen within the window.
#[derive(Debug)]
pub struct Dedup {
    window: i64,
    most: usize,
    /// Of all ids, with overhead.
    bytes: usize,
    ids: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
    order: VecDeque<(i64, u64, Arc<str>)>,
}

impl Dedup {
    /// An empty window of `window` nanoseconds.
    pub fn new(window: i64, most: usize) -> Self {
        Dedup { window, most, bytes: 0, ids: HashMap::default(), order: VecDeque::new() }
    }

    /// Changes the window's length.
    pub fn set_window(&mut self, window: i64) {
        self.window = window;
    }

    /// The sequence under which `id` was stored, if that is not longer ago than the window.
    pub fn find(&mut self, id: &str, now: i64) -> Option<u64> {
        while self.order.front().is_some_and(|(time, ..)| now.saturating_sub(*time) >= self.window) {
            self.forget_oldest();
        }
        self.ids.get(id).copied()
    }

    /// Remembers that `id` was stored as `seq`.
    pub fn insert(&mut self, id: &str, seq: u64, now: i64) {
        let cost = id.len() + OVERHEAD;
        while !self.order.is_empty() && (self.order.len() >= self.most || self.bytes + cost > MAX_BYTES) {
            self.forget_oldest();
        }
        self.bytes += cost;
        let id: Arc<str> = id.into();
        self.ids.insert(id.clone(), seq);
        self.order.push_back((now, seq, id));
    }

    /// Forgets what was staged from `seq` on and not committed.
    pub fn forget_from(&mut self, seq: u64) {
        while self.order.back().is_some_and(|(_, stored, _)| *stored >= seq) {
            if let Some((_, stored, id)) = self.order.pop_back() {
                self.remove(&id, stored);
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, seq, id)) = self.order.pop_front() {
            self.remove(&id, seq);
        }
    }

    fn remove(&mut self, id: &str, seq: u64) {
        self.bytes -= id.len() + OVERHEAD;
        if self.ids.get(id) == Some(&seq) {
            self.ids.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forgotten_after_the_window() {
        let mut dedup = Dedup::new(100, 10);
        dedup.insert("a", 1, 0);
        dedup.insert("b", 2, 50);
        assert_eq!((dedup.find("a", 99), dedup.find("a", 100), dedup.find("b", 100)), (Some(1), None, Some(2)));
    }

    #[test]
    fn long_ids_are_bounded_by_their_bytes() {
        let mut dedup = Dedup::new(100, 1 << 20);
        let id = |seq: u64| format!("{}{seq}", "x".repeat(1 << 20));
        for seq in 0..80 {
            dedup.insert(&id(seq), seq, 0);
        }
        assert!(dedup.bytes <= MAX_BYTES);
        assert_eq!((dedup.find(&id(10), 1), dedup.find(&id(79), 1)), (None, Some(79)));
        dedup.forget_from(0);
        assert_eq!(dedup.bytes, 0);
    }

    #[test]
    fn the_oldest_give_way_and_failures_are_undone() {
        let mut dedup = Dedup::new(100, 2);
        for (seq, id) in [(1, "a"), (2, "b"), (3, "c")] {
            dedup.insert(id, seq, 0);
        }
        assert_eq!((dedup.find("a", 1), dedup.find("c", 1)), (None, Some(3)));
        dedup.forget_from(3);
        assert_eq!((dedup.find("b", 1), dedup.find("c", 1)), (Some(2), None));
    }
}
