//! Taking subjects in that come in order, as a checkpoint has them: as many as fit stay in memory, and the others go to blocks
//! behind each other, each of which is written once.

use super::block::{Builder, Walk};
use super::budget::Budget;
use super::cold::Cold;
use super::{SubjectInfo, Subjects, evict};
use std::sync::Arc;

/// Bytes that are collected for several blocks.
const PIECE: usize = 64 * 1024;

/// Subjects that are being taken in.
pub(in crate::store) struct Loader {
    subjects: Subjects,
    /// The last one.
    last: String,
    /// Those that are to go to disk, and the one before them.
    behind: Builder,
    before: String,
}

impl Loader {
    pub fn new(budget: &Arc<Budget>) -> Loader {
        let subjects = Subjects::new(budget.clone());
        Loader { subjects, last: String::new(), behind: Builder::default(), before: String::new() }
    }

    /// Adds those of a piece, as [`super::block`] has them; `None` if they do not follow each other, or it is anything else.
    pub fn add_piece(&mut self, piece: &[u8]) -> Option<()> {
        let mut walk = Walk::new(piece);
        while let Some((name, info)) = walk.next() {
            self.add(name, info)?;
        }
        (walk.position() == piece.len()).then_some(())
    }

    /// Adds one that sorts behind all others; `None` if it does not, or cannot be.
    pub fn add(&mut self, name: &str, info: SubjectInfo) -> Option<()> {
        // No record has a longer subject.
        u16::try_from(name.len()).ok()?;
        if name <= self.last.as_str() || info.count == 0 {
            return None;
        }
        let subjects = &mut self.subjects;
        if self.behind.subjects == 0 && subjects.cold.is_none() && subjects.budget.has_room() {
            subjects.hot.add(name.as_bytes(), info, evict::fresh(false));
            subjects.count();
        } else {
            if self.behind.subjects == 0 {
                self.before.clone_from(&self.last);
            }
            self.behind.push(name, info);
        }
        subjects.live += 1;
        self.last.clear();
        self.last.push_str(name);
        if self.behind.bytes.len() >= PIECE {
            self.put_behind();
        }
        Some(())
    }

    /// All of them.
    pub fn finish(mut self) -> Subjects {
        self.put_behind();
        self.subjects
    }

    /// Puts those that wait behind the others on disk; into memory if that does not work.
    fn put_behind(&mut self) {
        let (subjects, behind) = (&mut self.subjects, std::mem::take(&mut self.behind));
        if behind.subjects == 0 {
            return;
        }
        if subjects.cold.is_none() {
            subjects.cold = Cold::new(&subjects.budget).map(Box::new).ok();
        }
        let written = subjects.cold.as_mut().is_some_and(|cold| cold.push(&behind, &self.before).is_ok());
        let mut walk = Walk::new(&behind.bytes);
        while let Some((name, info)) = walk.next().filter(|_| !written) {
            subjects.hot.add(name.as_bytes(), info, evict::fresh(false));
        }
        subjects.count();
    }
}
