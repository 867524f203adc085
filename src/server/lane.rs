//! Where what publishers have for one connection gathers until the end of their batch: each in a lane of its own, so that
//! they do not wait for each other with every message.

use crate::account::TargetId;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Publishers whose ids differ by a multiple of it share a lane.
const LANES: usize = 8;
/// Larger messages do not gather, bytes of headers and payload: to copy them twice would cost more than to wait.
pub(super) const LARGEST: usize = 1024;
/// A lane that has this much is not left to fill until the end of the batch, bytes: what a whole read buffer of small
/// messages comes to.
const FULL: usize = 128 * 1024;

/// The lanes of one connection.
#[derive(Default)]
pub(super) struct Lanes([Lane; LANES]);

impl Lanes {
    /// The lane of a publisher: always the same, so its messages stay in their order.
    pub fn of(&self, publisher: TargetId) -> &Lane {
        &self.0[publisher.get() as usize % LANES]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.0.iter()
    }
}

/// One lane; on cache lines of its own, as another core is at work on the next one.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Lane(Mutex<Gathered>);

/// Messages one behind the other, as they go out.
#[derive(Default)]
pub(super) struct Gathered {
    pub bytes: Vec<u8>,
    /// How many, and their bytes of headers and payload.
    pub messages: (u64, u64),
    /// Whose the last one is.
    last: Option<TargetId>,
    /// The connection is closed.
    closed: bool,
}

impl Lane {
    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a message whose headers and payload have `size` bytes, in a `buffer` if it is the first. Returns whether
    /// `publisher` has to see to it that the lane is emptied, and whether it is full.
    pub fn append(
        &self,
        publisher: TargetId,
        size: usize,
        buffer: impl FnOnce() -> Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> (bool, bool) {
        let mut gathered = self.gathered();
        if gathered.closed {
            return (false, false);
        }
        let new = gathered.last.replace(publisher) != Some(publisher);
        if gathered.messages.0 == 0 {
            gathered.bytes = buffer();
        }
        write(&mut gathered.bytes);
        gathered.messages.0 += 1;
        gathered.messages.1 += size as u64;
        (new, gathered.bytes.len() >= FULL)
    }

    /// Whether nothing has gathered.
    pub fn is_empty(&self) -> bool {
        self.gathered().messages.0 == 0
    }

    /// What has gathered; from now on nothing does if the connection is `closed`.
    pub fn take(&self, closed: bool) -> Gathered {
        std::mem::replace(&mut *self.gathered(), Gathered { closed, ..Gathered::default() })
    }
}
