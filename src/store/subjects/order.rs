//! The subjects in order. New ones wait, and are put in many at a time, or when the order is asked for: what comes and goes
//! soon, as in a queue with a subject for each message, never gets that far.

use super::entries::Entries;
use std::ops::Range;

/// So many new ones may wait,
const WAITING: usize = 4096;
/// or one for so many in order.
const RATIO: usize = 64;

/// Numbers of entries; some may be of subjects that are no more.
#[derive(Default)]
pub(super) struct Order {
    sorted: Vec<u32>,
    waiting: Vec<u32>,
}

impl Order {
    /// Notes a new subject.
    pub fn add(&mut self, number: u32, entries: &Entries) {
        self.waiting.push(number);
        if self.waiting.len() >= WAITING.max(self.sorted.len() / RATIO) {
            self.settle(entries);
        }
    }

    /// All, in order.
    pub fn sorted(&mut self, entries: &Entries) -> &[u32] {
        if !self.waiting.is_empty() {
            self.settle(entries);
        }
        &self.sorted
    }

    /// Puts what waits to the others, each of which is moved once at most.
    fn settle(&mut self, entries: &Entries) {
        let name = |number: &u32| entries.name(*number);
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.retain(|number| entries.is_kept(*number));
        if !waiting.is_sorted_by_key(name) {
            waiting.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        }
        let mut old = self.sorted.len();
        self.sorted.reserve_exact(waiting.len());
        self.sorted.resize(old + waiting.len(), 0);
        for (left, number) in waiting.iter().enumerate().rev() {
            let new = name(number);
            // Most often all that is there sorts before.
            let at = match old.checked_sub(1).map(|last| name(&self.sorted[last])) {
                Some(last) if last > new => self.sorted[..old].partition_point(|other| name(other) < new),
                _ => old,
            };
            self.sorted.copy_within(at..old, at + left + 1);
            self.sorted[at + left] = *number;
            old = at;
        }
    }

    /// Leaves out some of those at `range` in order, and passes them to `gone`.
    pub fn drop(&mut self, range: Range<usize>, keep: impl Fn(u32) -> bool, mut gone: impl FnMut(u32)) {
        let mut to = range.start;
        for at in range.clone() {
            let number = self.sorted[at];
            if keep(number) {
                self.sorted[to] = number;
                to += 1;
            } else {
                gone(number);
            }
        }
        self.sorted.drain(to..range.end);
    }

    /// Leaves out those of which `number` says nothing, and calls the others as it says.
    pub fn renumber(&mut self, number: impl Fn(u32) -> Option<u32>) {
        for part in [&mut self.sorted, &mut self.waiting] {
            *part = part.iter().filter_map(|old| number(*old)).collect();
        }
    }

    /// Bytes of memory it takes.
    pub fn memory(&self) -> usize {
        (self.sorted.len() + self.waiting.len()) * size_of::<u32>()
    }
}
