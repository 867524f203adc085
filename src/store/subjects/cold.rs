//! The subjects that are not in memory: blocks of them in order, in a file; in memory is where each block begins.

use super::SubjectInfo;
use super::block::{self, Builder, Walk};
use super::budget::Budget;
use super::spill::{Slot, SpillFile};
use crate::store::StoreError;
use std::sync::Arc;

/// So many blocks that were asked for last are kept as they are.
const RECENT: usize = 4;
/// What a block has in the file beside its subjects, about.
const AROUND: usize = 40;

/// A block.
pub(super) struct Block {
    /// No subject in it sorts before this, and none of the blocks before it otherwise.
    pub fence: Box<[u8]>,
    slot: Slot,
    subjects: u32,
    /// It could not be read.
    pub bad: bool,
}

/// The blocks.
pub(super) struct Cold {
    file: SpillFile,
    blocks: Vec<Block>,
    budget: Arc<Budget>,
    subjects: u64,
    bytes: u64,
    /// Bytes of the fences.
    fences: usize,
    /// Serial number and content of blocks, the latest at the back.
    recent: Vec<(usize, Vec<u8>)>,
}

impl Cold {
    pub fn new(budget: &Arc<Budget>) -> Result<Cold, StoreError> {
        let (file, budget) = (budget.spill_file()?, budget.clone());
        Ok(Cold { file, blocks: Vec::new(), budget, subjects: 0, bytes: 0, fences: 0, recent: Vec::new() })
    }

    /// Bytes of memory that are taken.
    pub fn memory(&self) -> usize {
        let recent: usize = self.recent.iter().map(|(_, block)| block.capacity()).sum();
        self.blocks.len() * size_of::<Block>() + self.fences + self.file.memory() + recent
    }

    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Number of the block where `name` is, if it is anywhere.
    pub fn block_of(&self, name: &[u8]) -> usize {
        self.blocks.partition_point(|block| *block.fence <= *name).saturating_sub(1)
    }

    /// What is known of `name`.
    pub fn find(&mut self, name: &str) -> Result<Option<SubjectInfo>, StoreError> {
        let number = self.block_of(name.as_bytes());
        if self.blocks.is_empty() {
            return Ok(None);
        }
        if let Some(at) = self.recent.iter().position(|(known, _)| *known == number) {
            self.recent[at..].rotate_left(1);
        } else {
            let block = self.read(number)?;
            if self.recent.len() == RECENT {
                self.recent.remove(0);
            }
            self.recent.push((number, block));
        }
        Ok(self.recent.last().and_then(|(_, block)| block::find(block, name)))
    }

    /// The content of a block.
    pub fn read(&mut self, number: usize) -> Result<Vec<u8>, StoreError> {
        let Some(block) = self.blocks.get_mut(number) else { return Ok(Vec::new()) };
        let read = self.file.read(block.slot);
        if read.is_err() {
            block.bad = true;
            self.budget.note_unread();
        }
        read
    }

    /// Puts others in the place of the subjects of a block; `all` has them as one block, however long. Should that fail everything
    /// stays as it is.
    pub fn replace(&mut self, number: usize, all: &Builder) -> Result<(), StoreError> {
        self.put(number, all, "")
    }

    /// Puts subjects behind all others, of which `before` is not before the last one. Should that fail everything stays as it is.
    pub fn push(&mut self, all: &Builder, before: &str) -> Result<(), StoreError> {
        self.put(self.blocks.len(), all, before)
    }

    fn put(&mut self, number: usize, all: &Builder, before: &str) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for part in split(&all.bytes, before, self.budget.block() - AROUND) {
            match self.file.write(&part.builder.bytes) {
                Ok(slot) => new.push(Block { fence: part.fence, slot, subjects: part.builder.subjects, bad: false }),
                Err(error) => {
                    new.into_iter().for_each(|block| self.file.release(block.slot));
                    return Err(error);
                }
            }
        }
        let old = number..(number + 1).min(self.blocks.len());
        if let (Some(old), Some(first)) = (self.blocks.get(number), new.first_mut()) {
            first.fence.clone_from(&old.fence);
        }
        new.iter().for_each(|block| self.count(block, 1));
        let gone: Vec<Block> = self.blocks.splice(old, new).collect();
        for block in gone {
            self.count(&block, -1);
            self.file.release(block.slot);
        }
        self.recent.clear();
        Ok(())
    }

    #[cfg(test)]
    pub fn damage_first(&mut self) {
        self.recent.clear();
        self.file.damage(self.blocks[0].slot);
    }

    fn count(&mut self, block: &Block, sign: i64) {
        let (subjects, bytes) = (i64::from(block.subjects) * sign, block.slot.bytes() as i64 * sign);
        self.subjects = self.subjects.wrapping_add_signed(subjects);
        self.bytes = self.bytes.wrapping_add_signed(bytes);
        self.fences = self.fences.wrapping_add_signed(block.fence.len() as isize * sign as isize);
        self.budget.count_cold(subjects as u64, bytes as u64);
    }
}

impl Drop for Cold {
    fn drop(&mut self) {
        self.budget.count_cold(self.subjects.wrapping_neg(), self.bytes.wrapping_neg());
    }
}

/// What becomes a block.
struct Part {
    fence: Box<[u8]>,
    builder: Builder,
}

/// Divides the subjects of one block, which sort behind `before`, into blocks of about the same length, each at most about `most`
/// bytes.
fn split(all: &[u8], before: &str, most: usize) -> Vec<Part> {
    let length = all.len() / all.len().div_ceil(most).max(1) + 1;
    let mut parts: Vec<Part> = Vec::new();
    let (mut walk, mut at) = (Walk::new(all), 0);
    while let Some((name, info)) = walk.next() {
        if at >= parts.len() * length {
            let before = parts.last().map_or(before, |part| part.builder.last.as_str());
            let shared = before.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
            let fence = name.as_bytes()[..(shared + 1).min(name.len())].into();
            parts.push(Part { fence, builder: Builder::default() });
        }
        if let Some(part) = parts.last_mut() {
            part.builder.push(name, info);
        }
        at = walk.position();
    }
    parts
}

/// The subjects in order, from one on.
pub(super) struct Ahead<'a> {
    cold: Option<&'a mut Cold>,
    /// Number of the block.
    number: usize,
    /// Its subjects; `None` at the end of all.
    walk: Option<Walk<Vec<u8>>>,
}

impl<'a> Ahead<'a> {
    /// At the first one that does not sort before `name`.
    pub fn new(cold: Option<&'a mut Cold>, name: &[u8]) -> Result<Ahead<'a>, StoreError> {
        let mut ahead = Ahead { cold, number: 0, walk: None };
        if let Some(cold) = &ahead.cold {
            ahead.number = cold.block_of(name);
            ahead.open()?;
            ahead.pass(name)?;
        }
        Ok(ahead)
    }

    /// The next one.
    pub fn get(&self) -> Option<(&str, SubjectInfo)> {
        self.walk.as_ref().map(Walk::current)
    }

    pub fn advance(&mut self) -> Result<(), StoreError> {
        if let Some(walk) = &mut self.walk
            && walk.next().is_none()
        {
            self.number += 1;
            self.open()?;
        }
        Ok(())
    }

    /// Goes to the first one that does not sort before `name`, which must not lie behind the present one.
    pub fn seek(&mut self, name: &[u8]) -> Result<(), StoreError> {
        if let (Some(cold), Some(_)) = (&self.cold, &self.walk) {
            let number = cold.block_of(name);
            if number > self.number {
                self.number = number;
                self.open()?;
            }
        }
        self.pass(name)
    }

    fn pass(&mut self, name: &[u8]) -> Result<(), StoreError> {
        while self.get().is_some_and(|(here, _)| here.as_bytes() < name) {
            self.advance()?;
        }
        Ok(())
    }

    /// At the first subject of the block with the number, or of the next one that has any.
    fn open(&mut self) -> Result<(), StoreError> {
        self.walk = None;
        let Some(cold) = &mut self.cold else { return Ok(()) };
        while self.number < cold.blocks.len() {
            let mut walk = Walk::new(cold.read(self.number)?);
            if walk.next().is_some() {
                self.walk = Some(walk);
                return Ok(());
            }
            self.number += 1;
        }
        Ok(())
    }
}
