//! Places in streams with what has been read ahead. Read-ahead is memory, so only the consumers that ran last on a delivery
//! thread keep theirs; the others find their place again by the store's index.

use super::live::Consumer;
use crate::store::{Log, Reader, StoreError, Stored};
use std::sync::{Arc, Weak};

/// Consumers of a delivery thread that keep their place.
const KEPT: usize = 8;

/// A place in a stream.
pub struct Position {
    reader: Reader,
    at: Option<u64>,
}

impl Position {
    fn new(log: &Log) -> Self {
        Position { reader: log.reader(), at: None }
    }

    /// The first message at or after `seq` whose subject matches; `None` at the end of what is committed.
    pub fn read(&mut self, seq: u64, matches: &dyn Fn(&str) -> bool) -> Result<Option<Stored>, StoreError> {
        if self.at != Some(seq) {
            self.reader.seek(seq);
        }
        let stored = self.reader.next(matches);
        self.at = stored.as_ref().ok().and_then(|stored| stored.as_ref()).map(|stored| stored.seq + 1);
        stored
    }
}

/// The places kept, the one used last at the end.
#[derive(Default)]
pub struct Positions {
    kept: Vec<(Weak<Consumer>, Position)>,
}

impl Positions {
    /// Takes the place of `consumer` out, or makes one in its stream.
    pub fn take(&mut self, consumer: &Arc<Consumer>, log: &Log) -> Position {
        match self.kept.iter().position(|(owner, _)| std::ptr::eq(owner.as_ptr(), Arc::as_ptr(consumer))) {
            Some(index) => self.kept.remove(index).1,
            None => Position::new(log),
        }
    }

    /// Keeps the place of `consumer` for its next run, if it is not among the least recently used.
    pub fn keep(&mut self, consumer: &Arc<Consumer>, position: Position) {
        self.kept.retain(|(owner, _)| owner.strong_count() > 0);
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((Arc::downgrade(consumer), position));
    }
}
