//! A file that takes room on the disk, so that there is some left when the disk is full: for removals, consumer state and
//! cursors, which are what makes room again. While the room is given up no records are written, so that they do not take it.

use super::StoreError;
use super::io::Place;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much room, bytes.
pub(super) const ROOM: u64 = 1 << 20;

/// The room.
pub(super) struct Reserve {
    place: Place,
    held: AtomicBool,
}

impl Reserve {
    /// Takes the room, if it is there; else nothing is written until it is.
    pub fn new(place: Place) -> Reserve {
        let reserve = Reserve { place, held: AtomicBool::new(false) };
        if let Err(error) = reserve.take() {
            tracing::warn!("{error}; nothing is stored until there is room");
        }
        reserve
    }

    /// Takes the room if it was given up.
    ///
    /// # Errors
    /// The disk is full. Whatever else is wrong with it is left to the writes to find.
    pub fn take(&self) -> Result<(), StoreError> {
        if self.held.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = self.path();
        match self.place.disk.allocate(&path, ROOM).map_err(|e| StoreError::io("keep room in", &path, e)) {
            Ok(()) => self.held.store(true, Ordering::Relaxed),
            Err(error) if error.is_full() => return Err(error),
            Err(error) => tracing::debug!("no reserve: {error}"),
        }
        Ok(())
    }

    /// Gives the room up because of `error`; whether that may help.
    pub fn give_up(&self, error: &StoreError) -> bool {
        let held = error.is_full() && self.held.swap(false, Ordering::Relaxed);
        held && self.place.disk.remove(&self.path()).is_ok()
    }

    fn path(&self) -> PathBuf {
        self.place.dir.join("store.reserve")
    }
}
