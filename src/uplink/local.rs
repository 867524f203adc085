//! What the uplink needs of the local stream and the store.

use bytes::Bytes;
use tokio::sync::watch;

/// Most messages and bytes read at once; the bytes are a soft bound, one message is always read.
pub const CHUNK_MESSAGES: usize = 512;
/// See [`CHUNK_MESSAGES`].
pub const CHUNK_BYTES: usize = 1 << 20;

/// A message of the local stream.
#[derive(Clone, Debug)]
pub struct LocalMessage {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored, UNIX nanoseconds.
    pub time: i64,
    /// Its subject.
    pub subject: Box<str>,
    /// Its header block.
    pub headers: Bytes,
    /// Its body.
    pub payload: Bytes,
}

/// Messages read at once. A sequence between `from` and `covered` that is not among them does not exist.
#[derive(Debug, Default)]
pub struct Chunk {
    /// First sequence that was looked for.
    pub from: u64,
    /// Last sequence of which the chunk knows.
    pub covered: u64,
    /// In order.
    pub messages: Vec<LocalMessage>,
}

/// What a chunk knows of a sequence.
pub enum Lookup<'a> {
    /// The message.
    Here(&'a LocalMessage),
    /// There is none up to and including this sequence.
    Missing(u64),
    /// It lies outside the chunk.
    Unknown,
}

impl Chunk {
    /// What is known of `seq`.
    pub fn lookup(&self, seq: u64) -> Lookup<'_> {
        if seq < self.from || seq > self.covered {
            return Lookup::Unknown;
        }
        let at = self.messages.partition_point(|message| message.seq < seq);
        match self.messages.get(at) {
            Some(message) if message.seq == seq => Lookup::Here(message),
            Some(message) => Lookup::Missing(message.seq - 1),
            None => Lookup::Missing(self.covered),
        }
    }

    /// The first of the missing ones that lie behind each other and end with `seq`, which is missing.
    pub fn missing_from(&self, seq: u64) -> u64 {
        let at = self.messages.partition_point(|message| message.seq < seq);
        self.messages[..at].last().map_or(self.from, |message| message.seq + 1)
    }
}

/// How much the local stream holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    /// Messages.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
    /// First sequence that can be read.
    pub first_seq: u64,
    /// When the first one was stored, UNIX nanoseconds.
    pub first_time: i64,
}

/// The stream that captures the uplink's subjects, with the uplink's place in the state log. Implemented on the store,
/// and by tests. Errors are in the operator's words.
pub trait LocalStream: Send + Sync + 'static {
    /// The stream's name.
    fn name(&self) -> &str;
    /// Changes when the stream is made anew.
    fn epoch(&self) -> &str;
    /// The last sequence that is on disk.
    fn committed(&self) -> watch::Receiver<u64>;
    /// Reads from `from` up to `upto`, as much as a chunk may hold. Blocks on the disk.
    fn read(&self, from: u64, upto: u64) -> Result<Chunk, String>;
    /// Drops these messages. Blocks on the disk.
    fn remove(&self, seqs: &[u64]) -> Result<(), String>;
    /// Whether one of these sequences was found damaged.
    fn is_damaged(&self, from: u64, to: u64) -> bool;
    /// Drops messages up to `upto`.
    fn trim(&self, upto: u64);
    /// How much there is.
    fn extent(&self) -> Extent;
    /// When message `seq` was stored, UNIX nanoseconds; `None` if it is not there.
    fn time_of(&self, seq: u64) -> Option<i64>;
    /// The cursor as last saved.
    fn load_cursor(&self) -> Option<Bytes>;
    /// Saves the cursor; on return it is on disk. Blocks on the disk.
    fn save_cursor(&self, cursor: Bytes) -> Result<(), String>;
    /// The plan of the order as last saved.
    fn load_plan(&self) -> Option<Bytes>;
    /// Saves the plan; on return it is on disk. Blocks on the disk.
    fn save_plan(&self, plan: Bytes) -> Result<(), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_knows_what_is_missing_and_what_lies_outside() {
        let message =
            |seq| LocalMessage { seq, time: 0, subject: "a".into(), headers: Bytes::new(), payload: Bytes::new() };
        let chunk = Chunk { from: 3, covered: 9, messages: vec![message(4), message(7)] };
        assert!(matches!(chunk.lookup(2), Lookup::Unknown));
        assert!(matches!(chunk.lookup(3), Lookup::Missing(3)));
        assert!(matches!(chunk.lookup(4), Lookup::Here(found) if found.seq == 4));
        assert!(matches!(chunk.lookup(5), Lookup::Missing(6)));
        assert!(matches!(chunk.lookup(8), Lookup::Missing(9)));
        assert!(matches!(chunk.lookup(10), Lookup::Unknown));
        assert_eq!((chunk.missing_from(3), chunk.missing_from(6), chunk.missing_from(9)), (3, 5, 8));
    }
}
