//! The subjects that are in memory: found by hash, and in order where a filter selects several. Nothing is allocated for each:
//! entries stand behind each other, and are called by a number.

use super::SubjectInfo;
use super::entries::Entries;
pub(super) use super::entries::{SHADOW, USED};
use super::order::Order;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::ops::Range;

/// So many subjects that are no more may be kept, beside as many as there are.
const GONE: usize = 1024;
/// So many bytes may be free, beside half as many as are taken.
const FREE: usize = 32 * 1024;

/// Subjects in memory.
#[derive(Default)]
pub(super) struct Hot {
    /// Numbers of the entries, by the hash of their names.
    numbers: HashTable<u32>,
    hasher: RandomState,
    entries: Entries,
    order: Order,
    /// Entries of subjects that are no more.
    gone: usize,
}

impl Hot {
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.numbers.find(hash, |n| self.entries.name(*n) == name).copied()
    }

    pub fn name(&self, number: u32) -> &[u8] {
        self.entries.name(number)
    }

    /// What is known of it; without a count it is no more, and hides one that is not in memory.
    pub fn info(&self, number: u32) -> SubjectInfo {
        self.entries.info(number)
    }

    /// As [`Hot::info`], and it is used now.
    pub fn touch(&mut self, number: u32) -> SubjectInfo {
        self.entries.set_flags(number, self.entries.flags(number) | USED);
        self.entries.info(number)
    }

    pub fn set(&mut self, number: u32, info: SubjectInfo) {
        self.entries.set(number, info);
    }

    pub fn flags(&self, number: u32) -> u8 {
        self.entries.flags(number)
    }

    pub fn set_flags(&mut self, number: u32, flags: u8) {
        self.entries.set_flags(number, flags);
    }

    /// Adds one that is not there.
    pub fn add(&mut self, name: &[u8], info: SubjectInfo, flags: u8) {
        let hash = self.hasher.hash_one(name);
        let number = self.entries.add(name, info, flags);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.numbers.insert_unique(hash, number, |n| hasher.hash_one(entries.name(*n)));
        self.order.add(number, entries);
    }

    /// Takes one out.
    pub fn forget(&mut self, number: u32) {
        let hash = self.hasher.hash_one(self.entries.name(number));
        if let Ok(found) = self.numbers.find_entry(hash, |n| *n == number) {
            found.remove();
        }
        self.entries.clear(number);
        self.gone += 1;
    }

    /// The places of those that are gone are free for others, as far as they stand at `range` in order.
    pub fn reuse(&mut self, range: Range<usize>) {
        let (mut gone, entries) = (Vec::new(), &self.entries);
        self.order.drop(range, |number| entries.is_kept(number), |number| gone.push(number));
        self.gone -= gone.len();
        gone.into_iter().for_each(|number| self.entries.release(number));
    }

    /// All in order, some of which may be gone, and what can be asked about them.
    pub fn sorted(&mut self) -> (&[u32], &Entries) {
        (self.order.sorted(&self.entries), &self.entries)
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of memory they take, about.
    pub fn memory(&self) -> usize {
        self.numbers.allocation_size() + self.entries.memory() + self.order.memory()
    }

    /// Gives back what those take that are gone, if they are more than the others, and what is free, if that is much.
    pub fn tidy_at_last(&mut self) -> bool {
        let (free, taken) = (self.entries.free(), self.entries.memory());
        let due = self.gone > self.numbers.len() + GONE || free > taken / 2 + FREE;
        if due {
            self.tidy();
        }
        due
    }

    /// Gives back what those take that are gone, where that is worth it.
    pub fn make_room(&mut self) {
        if self.gone > self.numbers.len() / 16 {
            self.tidy();
        }
    }

    /// Forgets all about those that are gone.
    fn tidy(&mut self) {
        let mut old = std::mem::take(&mut self.entries);
        let mut numbers = HashTable::with_capacity(self.numbers.len());
        let kept: Vec<u32> = old.all().filter(|number| old.is_kept(*number)).collect();
        for number in kept {
            let new = self.entries.add(old.name(number), old.info(number), old.flags(number));
            let (entries, hasher) = (&self.entries, &self.hasher);
            numbers.insert_unique(hasher.hash_one(old.name(number)), new, |n| hasher.hash_one(entries.name(*n)));
            // Left behind for the order to find.
            let info = old.info(number);
            old.set(number, SubjectInfo { first: new.into(), ..info });
        }
        (self.numbers, self.gone) = (numbers, 0);
        self.order.renumber(|number| old.is_kept(number).then(|| old.info(number).first as u32));
    }
}

/// What is left behind those that are `before`; cheap where these are few.
pub(super) fn skip(numbers: &[u32], before: impl Fn(u32) -> bool) -> &[u32] {
    let mut step = 1;
    while numbers.get(step - 1).is_some_and(|n| before(*n)) {
        step *= 2;
    }
    let (known, near) = (step / 2, step.min(numbers.len()));
    &numbers[known + numbers[known..near].partition_point(|n| before(*n))..]
}
