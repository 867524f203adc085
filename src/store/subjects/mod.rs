//! The index of a log by subject: first and last sequence and count of each, found by hash, and in the order of the subjects
//! where a filter selects several. There may be a million of them, so nothing is allocated for each: entries stand behind each
//! other, and are called by a number.

mod entries;
mod filter;
mod order;

use self::entries::Entries;
use self::filter::Verdict;
use self::order::Order;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::ops::ControlFlow;

/// So many subjects that are no more may be kept, beside as many as there are.
const GONE: usize = 1024;

/// What is known of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectInfo {
    /// Its first sequence. Within the store it may lag behind removals; [`super::Log`] mends it before showing it.
    pub first: u64,
    /// Its last sequence.
    pub last: u64,
    /// How many records there are; at most 2^32 - 1.
    pub count: u64,
}

/// All subjects of a log.
#[derive(Default)]
pub(super) struct Subjects {
    /// Numbers of the entries, by the hash of their names.
    numbers: HashTable<u32>,
    hasher: RandomState,
    entries: Entries,
    order: Order,
    /// Entries of subjects that are no more.
    gone: usize,
}

impl Subjects {
    /// A record was appended; gives what was known of the subject before, for [`Subjects::undo`].
    pub fn append(&mut self, subject: &str, seq: u64) -> Option<SubjectInfo> {
        let new = |before: Option<SubjectInfo>| match before {
            Some(info) => SubjectInfo { last: seq, count: info.count + 1, ..info },
            None => SubjectInfo { first: seq, last: seq, count: 1 },
        };
        self.put(subject, new)
    }

    /// Takes an append back, whose subject had `before` as its last sequence; the latest must be taken back first.
    pub fn undo(&mut self, subject: &str, before: Option<u64>) {
        self.change(subject, |info| match before {
            Some(before) if info.count > 1 => Some(SubjectInfo { last: before, count: info.count - 1, ..info }),
            _ => None,
        });
    }

    /// A record was removed: says what is left to find out about the ends.
    pub fn remove(&mut self, subject: &str, seq: u64) -> Left {
        let left = self.change(subject, |mut info| {
            info.count = info.count.saturating_sub(1);
            if info.count == 1 && info.first == seq {
                info.first = info.last;
            }
            (info.count > 0).then_some(info)
        });
        if left.is_some_and(|info| info.last == seq) { Left::Last } else { Left::Fine }
    }

    /// Counts `info` (of another segment) in.
    pub fn merge(&mut self, subject: &str, other: SubjectInfo) {
        self.put(subject, |before| match before {
            Some(info) => SubjectInfo {
                first: info.first.min(other.first),
                last: info.last.max(other.last),
                count: info.count + other.count,
            },
            None => other,
        });
    }

    pub fn get(&self, subject: &str) -> Option<SubjectInfo> {
        let subject = subject.as_bytes();
        let hash = self.hasher.hash_one(subject);
        self.numbers.find(hash, |n| self.entries.name(*n) == subject).map(|n| self.entries.info(*n))
    }

    pub fn set_first(&mut self, subject: &str, first: u64) {
        self.change(subject, |info| Some(SubjectInfo { first, ..info }));
    }

    pub fn set_last(&mut self, subject: &str, last: u64) {
        self.change(subject, |info| Some(SubjectInfo { last, ..info }));
    }

    /// Passes the subjects that `filter` selects to `visit`, in their order, until that has found what it looks for. Of the
    /// others only those are looked at that stand between.
    pub fn each<B>(&mut self, filter: &str, mut visit: impl FnMut(&str, SubjectInfo) -> ControlFlow<B>) -> Option<B> {
        let mut next = filter::literal_part(filter).as_bytes().to_vec();
        let entries = &self.entries;
        let mut rest = self.order.sorted(entries);
        rest = &rest[rest.partition_point(|n| entries.name(*n) < &*next)..];
        while let [number, behind @ ..] = rest {
            rest = behind;
            if !entries.is_live(*number) {
                continue;
            }
            let subject = entries.name(*number);
            match filter::judge(filter, subject, &mut next) {
                Verdict::Selected => {
                    if let Ok(subject) = std::str::from_utf8(subject)
                        && let ControlFlow::Break(found) = visit(subject, entries.info(*number))
                    {
                        return Some(found);
                    }
                }
                Verdict::Not => rest = skip(rest, |n| entries.name(n) < &*next),
                Verdict::End => return None,
            }
        }
        None
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of memory it takes, about.
    pub fn memory(&self) -> usize {
        self.numbers.allocation_size() + self.entries.memory() + self.order.memory()
    }

    /// Sets a subject to what `new` makes of what it was, and gives that back.
    fn put(&mut self, subject: &str, new: impl FnOnce(Option<SubjectInfo>) -> SubjectInfo) -> Option<SubjectInfo> {
        let subject = subject.as_bytes();
        let hash = self.hasher.hash_one(subject);
        if let Some(&number) = self.numbers.find(hash, |n| self.entries.name(*n) == subject) {
            let before = self.entries.info(number);
            self.entries.set(number, new(Some(before)));
            return Some(before);
        }
        let number = self.entries.add(subject, new(None));
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.numbers.insert_unique(hash, number, |n| hasher.hash_one(entries.name(*n)));
        self.order.add(number, entries);
        None
    }

    /// Sets a subject that is there to what `new` makes of it, which is given back; without anything it is removed.
    fn change(&mut self, subject: &str, new: impl FnOnce(SubjectInfo) -> Option<SubjectInfo>) -> Option<SubjectInfo> {
        let subject = subject.as_bytes();
        let hash = self.hasher.hash_one(subject);
        let found = self.numbers.find_entry(hash, |n| self.entries.name(*n) == subject).ok()?;
        let number = *found.get();
        let before = self.entries.info(number);
        let changed = new(before);
        self.entries.set(number, changed.unwrap_or(SubjectInfo { count: 0, ..before }));
        if changed.is_none() {
            found.remove();
            self.gone += 1;
            if self.gone > self.numbers.len() + GONE {
                self.tidy();
            }
        }
        changed
    }

    /// Gives back what subjects take that are no more, where that is worth it.
    pub fn make_room(&mut self) {
        if self.gone > self.numbers.len() / 16 {
            self.tidy();
        }
    }

    /// Forgets all about the subjects that are no more.
    fn tidy(&mut self) {
        let mut old = std::mem::take(&mut self.entries);
        let mut numbers = HashTable::with_capacity(self.numbers.len());
        let live: Vec<u32> = old.all().filter(|number| old.is_live(*number)).collect();
        for number in live {
            let new = self.entries.add(old.name(number), old.info(number));
            let (entries, hasher) = (&self.entries, &self.hasher);
            numbers.insert_unique(hasher.hash_one(old.name(number)), new, |n| hasher.hash_one(entries.name(*n)));
            // Left behind for the order to find.
            let info = old.info(number);
            old.set(number, SubjectInfo { first: new.into(), ..info });
        }
        (self.numbers, self.gone) = (numbers, 0);
        self.order.renumber(|number| old.is_live(number).then(|| old.info(number).first as u32));
    }
}

/// What is left behind those that are `before`; cheap where these are few.
fn skip(numbers: &[u32], before: impl Fn(u32) -> bool) -> &[u32] {
    let mut step = 1;
    while numbers.get(step - 1).is_some_and(|n| before(*n)) {
        step *= 2;
    }
    let (known, near) = (step / 2, step.min(numbers.len()));
    &numbers[known + numbers[known..near].partition_point(|n| before(*n))..]
}

/// What a removal leaves to be mended.
#[derive(PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Fine,
    /// The subject's last record went; the one before it has to be looked for.
    Last,
}

#[cfg(test)]
mod tests;
