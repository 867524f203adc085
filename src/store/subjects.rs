//! The index of a log by subject: first and last sequence and count of each.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// What is known of one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubjectInfo {
    /// Its first sequence. Within the store it may lag behind removals; [`super::Log`] mends it before showing it.
    pub first: u64,
    /// Its last sequence.
    pub last: u64,
    /// How many records there are.
    pub count: u64,
}

/// All subjects of a log.
#[derive(Default)]
pub(super) struct Subjects {
    map: HashMap<Box<str>, SubjectInfo, RandomState>,
}

impl Subjects {
    /// A record was appended; gives what was known of the subject before, for [`Subjects::undo`].
    pub fn append(&mut self, subject: &str, seq: u64) -> Option<SubjectInfo> {
        match self.map.get_mut(subject) {
            Some(info) => {
                let before = *info;
                info.last = seq;
                info.count += 1;
                Some(before)
            }
            None => {
                self.map.insert(subject.into(), SubjectInfo { first: seq, last: seq, count: 1 });
                None
            }
        }
    }

    /// Takes an append back, whose subject had `before` as its last sequence; the latest must be taken back first.
    pub fn undo(&mut self, subject: &str, before: Option<u64>) {
        let Some(info) = self.map.get_mut(subject) else { return };
        info.count -= 1;
        match before {
            Some(before) if info.count > 0 => info.last = before,
            _ => drop(self.map.remove(subject)),
        }
    }

    /// A record was removed: says what is left to find out about the ends.
    pub fn remove(&mut self, subject: &str, seq: u64) -> Left {
        let Some(info) = self.map.get_mut(subject) else { return Left::Fine };
        info.count = info.count.saturating_sub(1);
        if info.count == 0 {
            self.map.remove(subject);
            return Left::Fine;
        }
        if info.count == 1 && info.first == seq {
            info.first = info.last;
        }
        if info.last == seq { Left::Last } else { Left::Fine }
    }

    /// Counts `info` (of another segment) in.
    pub fn merge(&mut self, subject: &str, other: SubjectInfo) {
        match self.map.get_mut(subject) {
            Some(info) => {
                info.first = info.first.min(other.first);
                info.last = info.last.max(other.last);
                info.count += other.count;
            }
            None => drop(self.map.insert(subject.into(), other)),
        }
    }

    pub fn get(&self, subject: &str) -> Option<SubjectInfo> {
        self.map.get(subject).copied()
    }

    pub fn set_first(&mut self, subject: &str, first: u64) {
        if let Some(info) = self.map.get_mut(subject) {
            info.first = first;
        }
    }

    pub fn set_last(&mut self, subject: &str, last: u64) {
        if let Some(info) = self.map.get_mut(subject) {
            info.last = last;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, SubjectInfo)> {
        self.map.iter().map(|(subject, info)| (&**subject, *info))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }
}

/// What a removal leaves to be mended.
#[derive(PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Fine,
    /// The subject's last record went; the one before it has to be looked for.
    Last,
}
