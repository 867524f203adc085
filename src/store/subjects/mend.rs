//! A block of subjects that could not be read is made anew from what the segments say.

use super::block::Builder;
use super::hot::Hot;
use super::{SubjectInfo, Subjects};
use crate::store::StoreError;
use std::collections::BTreeMap;

/// The subjects of a block: from the first name on, up to the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    from: Box<[u8]>,
    to: Option<Box<[u8]>>,
}

impl Range {
    pub fn contains(&self, subject: &str) -> bool {
        let name = subject.as_bytes();
        *self.from <= *name && self.to.as_ref().is_none_or(|to| *name < **to)
    }
}

impl Subjects {
    /// The subjects of a block that could not be read, if there is one. Until it is [mended](Self::mend) nothing is changed about
    /// those that are not in memory.
    pub fn unread(&self) -> Option<Range> {
        let (number, range) = self.find_unread()?;
        tracing::debug!("block {number} of subjects could not be read");
        Some(range)
    }

    /// Puts `all` that the segments hold of the subjects in this range in the place of the block.
    pub fn mend(&mut self, range: &Range, all: &BTreeMap<Box<str>, SubjectInfo>) -> Result<(), StoreError> {
        let Some((number, _)) = self.find_unread().filter(|(_, unread)| unread == range) else { return Ok(()) };
        let hot: &Hot = &self.hot;
        let mut block = Builder::default();
        // What is in memory is right, and may not be committed yet.
        for (subject, info) in all.iter().filter(|(subject, _)| hot.find(subject.as_bytes()).is_none()) {
            block.push(subject, *info);
        }
        if let Some(cold) = &mut self.cold {
            cold.replace(number, &block)?;
        }
        self.count();
        Ok(())
    }

    /// Damages the first block in its file.
    #[cfg(test)]
    pub(super) fn damage_first(&mut self) {
        self.cold.iter_mut().for_each(|cold| cold.damage_first());
    }

    fn find_unread(&self) -> Option<(usize, Range)> {
        let blocks = self.cold.as_ref()?.blocks();
        let number = blocks.iter().position(|block| block.bad)?;
        // What sorts before the first block belongs to it.
        let from = if number == 0 { Box::default() } else { blocks[number].fence.clone() };
        Some((number, Range { from, to: blocks.get(number + 1).map(|next| next.fence.clone()) }))
    }
}
