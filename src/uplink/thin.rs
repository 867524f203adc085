//! Thinning: when the local stream is nearly full, all but each n-th message of each subject are dropped, the oldest first,
//! so that a long outage leaves a coarser record instead of none.

use super::local::{Chunk, LocalStream};
use std::collections::HashMap;

/// Most subjects whose messages are counted; beyond that the counts begin anew.
const MOST_SUBJECTS: usize = 4096;

/// Where thinning stands.
#[derive(Debug)]
pub struct Thinning {
    /// Of so many messages of a subject one stays; at least 2.
    keep: u32,
    /// The stream's bound, bytes.
    max_bytes: u64,
    /// The first message that was not looked at in this round.
    next: u64,
    counts: HashMap<Box<str>, u32>,
}

impl Thinning {
    /// One message in `keep` stays when the stream comes near `max_bytes`.
    pub fn new(keep: u32, max_bytes: u64) -> Thinning {
        Thinning { keep: keep.max(2), max_bytes, next: 0, counts: HashMap::new() }
    }

    /// Whether the stream, which holds `bytes`, is to be thinned.
    pub fn is_due(&self, bytes: u64) -> bool {
        bytes >= self.max_bytes / 10 * 9
    }

    /// Thins `stream` down to seven tenths, or as far as it goes in one round; messages before `from` stay, as they are
    /// being sent. Returns how many were dropped. Blocks on the disk.
    ///
    /// # Errors
    /// The stream cannot be read, in the operator's words.
    pub fn run(&mut self, stream: &dyn LocalStream, from: u64, upto: u64) -> Result<u64, String> {
        let excess = |bytes: u64| bytes.saturating_sub(self.max_bytes / 10 * 7);
        let (mut excess, mut dropped) = (excess(stream.extent().bytes), 0);
        let mut at = self.next.max(from).max(stream.extent().first_seq);
        while excess > 0 {
            if at > upto {
                // The round is complete; the next one begins at the oldest again, among what is left.
                at = 0;
                self.counts.clear();
                break;
            }
            let chunk = stream.read(at, upto)?;
            let (gone, freed) = self.choose(&chunk, excess);
            dropped += gone.len() as u64;
            excess -= freed.min(excess);
            at = if excess > 0 { chunk.covered + 1 } else { gone.last().map_or(at, |last| last + 1) };
            stream.remove(&gone)?;
        }
        self.next = at;
        Ok(dropped)
    }

    /// The messages of `chunk` that go, until they make up `excess` bytes, and what they make up.
    fn choose(&mut self, chunk: &Chunk, excess: u64) -> (Vec<u64>, u64) {
        let (mut gone, mut freed) = (Vec::new(), 0);
        for message in chunk.messages.iter() {
            if freed >= excess {
                break;
            }
            if self.counts.len() >= MOST_SUBJECTS && !self.counts.contains_key(&message.subject) {
                self.counts.clear();
            }
            let count = self.counts.entry(message.subject.clone()).or_default();
            *count = (*count + 1) % self.keep;
            if *count != 0 {
                gone.push(message.seq);
                freed += (message.subject.len() + message.headers.len() + message.payload.len()) as u64;
            }
        }
        (gone, freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Log, LogOptions, Record, Store, StoreOptions};
    use crate::uplink::stored::StoredStream;
    use tokio::sync::watch;

    fn append(store: &Store, log: &Log, count: u64) {
        for n in 0..count {
            let subject = ["t.a", "t.b", "t.c"][n as usize % 3];
            log.append(&Record { subject, headers: b"", payload: &[b'x'; 200] }).expect("appended");
        }
        store.barrier().wait().expect("durable");
    }

    #[test]
    fn one_in_n_of_each_subject_stays_and_the_newest_are_untouched() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let log = store.create_log("1", LogOptions::default()).expect("a log");
        append(&store, &log, 3000);
        let committed = watch::channel(log.committed()).1;
        let stream = StoredStream::new("t", "UPLINK_t", "e1", store.clone(), log.clone(), committed);
        let full = stream.extent().bytes;
        let mut thinning = Thinning::new(3, full);
        assert!(thinning.is_due(full) && !thinning.is_due(full / 10 * 8));
        let dropped = thinning.run(&stream, 31, 3000).expect("readable");
        store.barrier().wait().expect("durable");
        assert!(stream.extent().bytes <= full / 4 * 3, "{} of {full}", stream.extent().bytes);
        let left = stream.read(1, 3000).expect("readable").messages;
        assert!(left.iter().take(30).map(|message| message.seq).eq(1..=30), "what is being sent stays");
        let stretch: Vec<_> = left.iter().filter(|message| (31..=120).contains(&message.seq)).collect();
        for subject in ["t.a", "t.b", "t.c"] {
            assert_eq!(stretch.iter().filter(|message| &*message.subject == subject).count(), 10, "{subject}");
        }
        assert!(log.read(2999).expect("readable").is_some());
        assert_eq!(3000 - dropped, log.state().msgs);
        store.close();
    }
}
