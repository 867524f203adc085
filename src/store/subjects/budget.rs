//! The memory that the subjects of all logs of a store may take, and what is known of those beyond it.

use super::spill::SpillFile;
use crate::store::StoreError;
use crate::store::io::Place;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Most that may be allowed, whatever is set: entries are called by 32 bits.
const MOST: u64 = 2 << 30;
/// Bytes of a block of subjects on disk: about as many as a file system reads at a time,
const BLOCK: u64 = 4096;
/// but no more than this part of the memory that is allowed,
const PART: u64 = 64;
/// and no less than this.
const LEAST_BLOCK: u64 = 256;

/// What all logs share.
pub(in crate::store) struct Budget {
    place: Place,
    max: u64,
    used: AtomicU64,
    cold: AtomicU64,
    cold_bytes: AtomicU64,
    refused: AtomicU64,
    files: AtomicU64,
    unread: AtomicBool,
}

impl Budget {
    /// At most `max` bytes; what they do not hold goes to files in `place`, the data directory.
    pub fn new(max: u64, place: Place) -> Budget {
        let zero = || AtomicU64::new(0);
        Budget {
            place,
            max: max.min(MOST),
            used: zero(),
            cold: zero(),
            cold_bytes: zero(),
            refused: zero(),
            files: zero(),
            unread: AtomicBool::new(false),
        }
    }

    /// A file for subjects that are not to stay in memory.
    pub fn spill_file(&self) -> Result<SpillFile, StoreError> {
        let name = format!("{}{}", super::SPILL, self.files.fetch_add(1, Ordering::Relaxed));
        SpillFile::create(&self.place, &name)
    }

    /// So many bytes of memory more, or less: changes wrap around.
    pub fn count(&self, change: u64) {
        self.used.fetch_add(change, Ordering::Relaxed);
    }

    /// So many subjects and bytes on disk more, or less.
    pub fn count_cold(&self, subjects: u64, bytes: u64) {
        self.cold.fetch_add(subjects, Ordering::Relaxed);
        self.cold_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A block could not be read.
    pub fn note_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether some block could not be read since this was asked last.
    pub fn take_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) && self.unread.swap(false, Ordering::Relaxed)
    }

    /// A record was refused as there is no memory for its subject.
    pub fn refuse(&self) -> StoreError {
        self.refused.fetch_add(1, Ordering::Relaxed);
        StoreError::Subjects(self.max)
    }

    /// Whether all is used.
    pub fn is_full(&self) -> bool {
        self.used() >= self.max
    }

    /// How much is to be given back, if it is time to: enough for a while.
    pub fn excess(&self) -> Option<u64> {
        let used = self.used();
        (used > self.max / 8 * 7).then(|| used - self.max / 8 * 5)
    }

    /// Whether there is room for subjects that nobody has asked for yet, without that others have to go soon.
    pub fn has_room(&self) -> bool {
        self.used() < self.max / 4 * 3
    }

    /// A part of the whole that is worth to be given back at once.
    pub fn share(&self) -> u64 {
        self.max / 16
    }

    /// Bytes of a block on disk.
    pub fn block(&self) -> usize {
        (self.max / PART).clamp(LEAST_BLOCK, BLOCK) as usize
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// Subjects on disk, and the bytes of their blocks.
    pub fn cold(&self) -> (u64, u64) {
        (self.cold.load(Ordering::Relaxed), self.cold_bytes.load(Ordering::Relaxed))
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
