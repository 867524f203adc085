//! A block of subjects that are not in memory: their names in order, each without what it shares with the one before, and what is
//! known of them.

use super::SubjectInfo;
use crate::store::varint::{self, Cursor};

/// Appends a subject behind `before`, the one in front of it; empty for the first.
pub(super) fn put(out: &mut Vec<u8>, before: &str, name: &str, info: SubjectInfo) {
    varint::put_name(out, before, name);
    varint::put(out, info.first);
    varint::put(out, info.last.wrapping_sub(info.first));
    varint::put(out, info.count);
}

/// The subjects of a block, one at a time.
pub(super) struct Walk<B> {
    block: B,
    at: usize,
    name: String,
    info: SubjectInfo,
}

impl<B: AsRef<[u8]>> Walk<B> {
    /// Before the first one.
    pub fn new(block: B) -> Walk<B> {
        Walk { block, at: 0, name: String::new(), info: SubjectInfo { first: 0, last: 0, count: 0 } }
    }

    /// The next one; `None` at the end, or where it is no block.
    pub fn next(&mut self) -> Option<(&str, SubjectInfo)> {
        let rest = self.block.as_ref().get(self.at..).filter(|rest| !rest.is_empty())?;
        let mut cursor = Cursor(rest);
        cursor.name(&mut self.name)?;
        let first = cursor.number()?;
        let last = first.wrapping_add(cursor.number()?);
        self.info = SubjectInfo { first, last, count: cursor.number()? };
        self.at += rest.len() - cursor.0.len();
        Some((&self.name, self.info))
    }

    /// Where the next one begins.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The one that was given last.
    pub fn current(&self) -> (&str, SubjectInfo) {
        (&self.name, self.info)
    }
}

/// What is known of `name` in a block.
pub(super) fn find(block: &[u8], name: &str) -> Option<SubjectInfo> {
    let mut walk = Walk::new(block);
    while let Some((found, info)) = walk.next() {
        if found >= name {
            return (found == name).then_some(info);
        }
    }
    None
}

/// A block into which subjects are put in order.
#[derive(Default)]
pub(super) struct Builder {
    pub bytes: Vec<u8>,
    pub first: String,
    pub last: String,
    pub subjects: u32,
}

impl Builder {
    pub fn push(&mut self, name: &str, info: SubjectInfo) {
        put(&mut self.bytes, &self.last, name, info);
        if self.subjects == 0 {
            self.first.push_str(name);
        }
        self.last.clear();
        self.last.push_str(name);
        self.subjects += 1;
    }
}
