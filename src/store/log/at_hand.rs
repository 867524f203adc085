//! What can be answered at once, by those who must not wait for the disk: single records, if memory or the page cache has them.
//!
//! Whatever is not as it should be is left to those who may wait, damage above all.

use super::Log;
use super::look_up::Found;
use crate::store::Stored;
use crate::store::scanner::Item;

/// Most bytes that are read at once.
const MOST: usize = 32 * 1024;

/// Only who may wait for the disk gets an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Later;

impl Log {
    /// As [`Log::read`], where that takes no waiting.
    ///
    /// # Errors
    /// It might take some.
    pub fn read_at_hand(&self, seq: u64) -> Result<Option<Stored>, Later> {
        let found = self.0.state().find(seq);
        read(found, seq)
    }

    /// The last record on a subject without wildcards, staged ones included, where that takes no waiting.
    ///
    /// # Errors
    /// It might take some.
    pub fn last_at_hand(&self, subject: &str) -> Result<Option<Stored>, Later> {
        let (found, seq) = {
            let mut state = self.0.state();
            if !state.subjects.is_at_hand(subject) {
                return Err(Later);
            }
            let Some(info) = state.subjects.get(subject).map_err(|_| Later)? else { return Ok(None) };
            (state.find(info.last), info.last)
        };
        // One that is gone has another one before it, which has to be looked for.
        read(found, seq)?.map(Some).ok_or(Later)
    }
}

fn read(found: Found, seq: u64) -> Result<Option<Stored>, Later> {
    let mut scanner = match found {
        Found::Known(stored) => return Ok(stored),
        Found::InFile(scanner) => scanner,
    };
    if !scanner.load_at_hand(MOST) {
        return Err(Later);
    }
    loop {
        match scanner.next() {
            Ok(Some(Item::Record(view, _))) if view.seq == seq => return Ok(Some(view.to_stored())),
            // Others of the same unit.
            Ok(Some(Item::Record(view, _))) if view.seq < seq => {}
            _ => return Err(Later),
        }
    }
}
