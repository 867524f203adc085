//! What is known of each subject, in one piece of memory, behind each other; called by where it begins. The place of one that was
//! put out of memory is for another one with as long a name, so that nothing needs to be moved.
//!
//! An entry is: first sequence (u64), last (u64), count (u32), flags (u8), length of the name (u16), the name.

use super::SubjectInfo;
use crate::store::frame::{u16_at, u32_at, u64_at};
use std::collections::BTreeMap;

/// Bytes before the name.
const FIXED: usize = 23;
/// Flag: it was asked for or changed since the hand that looks for what was not has passed.
pub(in crate::store::subjects) const USED: u8 = 1;
/// Flag: another one of this name is not in memory, and does not count while this one is here.
pub(in crate::store::subjects) const SHADOW: u8 = 2;

/// The subjects.
#[derive(Default)]
pub(super) struct Entries {
    all: Vec<u8>,
    /// Places that nobody calls any more, by the length of the name.
    free: BTreeMap<u16, Vec<u32>>,
    /// Bytes of them.
    free_bytes: usize,
}

impl Entries {
    /// Bytes of memory they take, without what is free for others.
    pub fn memory(&self) -> usize {
        self.all.len() - self.free_bytes
    }

    /// Bytes that are free for others.
    pub fn free(&self) -> usize {
        self.free_bytes
    }

    /// Nobody calls this one any more, which is [cleared](Self::clear).
    pub fn release(&mut self, at: u32) {
        let len = self.name(at).len();
        self.free.entry(len as u16).or_default().push(at);
        self.free_bytes += FIXED + len;
    }

    pub fn add(&mut self, name: &[u8], info: SubjectInfo, flags: u8) -> u32 {
        // Records have no longer subjects.
        let len = name.len() as u16;
        let at = match self.free.get_mut(&len).and_then(Vec::pop) {
            Some(at) => {
                let from = at as usize + FIXED;
                self.all[from..from + name.len()].copy_from_slice(name);
                self.free_bytes -= FIXED + name.len();
                at
            }
            None => {
                let at = self.all.len() as u32;
                self.all.extend_from_slice(&[0; FIXED - 2]);
                self.all.extend_from_slice(&len.to_le_bytes());
                self.all.extend_from_slice(name);
                at
            }
        };
        self.set_flags(at, flags);
        self.set(at, info);
        at
    }

    pub fn name(&self, at: u32) -> &[u8] {
        let at = at as usize;
        let len = u16_at(&self.all, at + FIXED - 2).unwrap_or(0);
        &self.all[at + FIXED..at + FIXED + usize::from(len)]
    }

    /// Whether it says anything: of a subject that is there, or that one that is not in memory is no more.
    pub fn is_kept(&self, at: u32) -> bool {
        self.is_live(at) || self.flags(at) & SHADOW > 0
    }

    pub fn is_live(&self, at: u32) -> bool {
        u32_at(&self.all, at as usize + 16).is_some_and(|count| count > 0)
    }

    pub fn flags(&self, at: u32) -> u8 {
        self.all[at as usize + 20]
    }

    pub fn set_flags(&mut self, at: u32, flags: u8) {
        self.all[at as usize + 20] = flags;
    }

    /// It says nothing any more.
    pub fn clear(&mut self, at: u32) {
        self.all[at as usize + 16..at as usize + 21].fill(0);
    }

    pub fn info(&self, at: u32) -> SubjectInfo {
        let entry = &self.all[at as usize..at as usize + FIXED];
        let sequence = |at| u64_at(entry, at).unwrap_or(0);
        SubjectInfo { first: sequence(0), last: sequence(8), count: u32_at(entry, 16).unwrap_or(0).into() }
    }

    /// Sets what is known; without a count the subject is no more.
    pub fn set(&mut self, at: u32, info: SubjectInfo) {
        let entry = &mut self.all[at as usize..at as usize + FIXED];
        entry[..8].copy_from_slice(&info.first.to_le_bytes());
        entry[8..16].copy_from_slice(&info.last.to_le_bytes());
        entry[16..20].copy_from_slice(&u32::try_from(info.count).unwrap_or(u32::MAX).to_le_bytes());
    }

    /// Where each begins.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let at = next;
            let len = u16_at(&self.all, at + FIXED - 2)?;
            next += FIXED + usize::from(len);
            Some(at as u32)
        })
    }
}
