//! Messages with a time of their own to live (`Nats-TTL`): which are due when. What is due is removed by the stream, or
//! replaced by a marker where its subject would be left without any message.

use super::consumer::config::Timestamp;
use super::headers::{self, Ttl};
use crate::protocol;
use crate::store::{Log, StoreError};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const SECOND: i64 = 1_000_000_000;

/// When a message is due, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub at: i64,
    pub seq: u64,
}

impl Deadline {
    /// So many seconds from now.
    pub fn after(seq: u64, seconds: i64) -> Self {
        Deadline { at: Timestamp::now().0.saturating_add(seconds.saturating_mul(SECOND)), seq }
    }
}

/// The deadlines of a stream; sixteen bytes for each message that has one.
#[derive(Default)]
pub(super) struct Deadlines(BinaryHeap<Reverse<Deadline>>);

impl Deadlines {
    /// Those of the messages that the log holds. Reads all of it.
    pub fn recover(log: &Log) -> Result<Self, StoreError> {
        let mut deadlines = Deadlines::default();
        let mut reader = log.reader();
        while let Some(stored) = reader.next(&|_| true)? {
            let ttl = protocol::headers::get(&stored.headers, "Nats-TTL").map_or(Ok(Ttl::Limits), headers::ttl);
            if let Ok(Ttl::Seconds(seconds)) = ttl {
                let at = stored.time.saturating_add(seconds.saturating_mul(SECOND));
                deadlines.add(Deadline { at, seq: stored.seq });
            }
        }
        Ok(deadlines)
    }

    /// Adds one.
    pub fn add(&mut self, deadline: Deadline) {
        self.0.push(Reverse(deadline));
    }

    /// The earliest.
    pub fn next(&self) -> Option<i64> {
        self.0.peek().map(|Reverse(deadline)| deadline.at)
    }

    /// Takes a message that is due at `now`.
    pub fn pop_due(&mut self, now: i64) -> Option<u64> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse(deadline)| deadline.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_due_first() {
        let mut deadlines = Deadlines::default();
        for (at, seq) in [(30, 1), (10, 2), (20, 3)] {
            deadlines.add(Deadline { at, seq });
        }
        assert_eq!(deadlines.next(), Some(10));
        assert_eq!([deadlines.pop_due(20), deadlines.pop_due(20), deadlines.pop_due(20)], [Some(2), Some(3), None]);
    }
}
