//! The local stream on the store: its log, and the uplink's cursor in the state log.

use super::local::{CHUNK_BYTES, CHUNK_MESSAGES, Chunk, Extent, LocalMessage, LocalStream};
use crate::store::{Change, Log, Store};
use bytes::Bytes;
use tokio::sync::watch;

/// A stream of the store, as the uplink reads it.
pub struct StoredStream {
    name: String,
    epoch: String,
    /// The cursor's key in the state log, and the plan's.
    keys: [String; 2],
    store: Store,
    log: Log,
    committed: watch::Receiver<u64>,
    /// Messages stay when the hub has them: the stream is somebody's bucket.
    keep: bool,
}

impl StoredStream {
    /// The stream `name` of `epoch`, whose messages lie in `log`, for the uplink called `uplink`. `committed` tells the
    /// last sequence on disk as it grows.
    pub fn new(
        uplink: &str,
        name: &str,
        epoch: &str,
        store: Store,
        log: Log,
        committed: watch::Receiver<u64>,
    ) -> StoredStream {
        let keys = ["cursor", "order"].map(|kind| format!("{kind}/{uplink}"));
        StoredStream { name: name.to_owned(), epoch: epoch.to_owned(), keys, store, log, committed, keep: false }
    }

    /// The same, whose messages are not dropped when the hub has them.
    pub fn keeping(self) -> StoredStream {
        StoredStream { keep: true, ..self }
    }

    fn save(&self, key: &str, value: Bytes) -> Result<(), String> {
        let changes = vec![Change::Put(key.to_owned(), value)];
        self.store.state().write(changes).wait().map_err(|error| error.to_string())
    }
}

impl LocalStream for StoredStream {
    fn name(&self) -> &str {
        &self.name
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    fn read(&self, from: u64, upto: u64) -> Result<Chunk, String> {
        let mut reader = self.log.reader();
        reader.seek(from);
        let mut chunk = Chunk { from, covered: upto, messages: Vec::new() };
        let mut bytes = 0;
        while let Some(stored) = reader.next(&|_| true).map_err(|error| error.to_string())? {
            if stored.seq > upto {
                break;
            }
            bytes += stored.headers.len() + stored.payload.len();
            chunk.messages.push(LocalMessage {
                seq: stored.seq,
                time: stored.time,
                subject: stored.subject,
                headers: stored.headers,
                payload: stored.payload,
            });
            if chunk.messages.len() >= CHUNK_MESSAGES || bytes >= CHUNK_BYTES {
                chunk.covered = stored.seq;
                break;
            }
        }
        Ok(chunk)
    }

    fn remove(&self, seqs: &[u64]) -> Result<(), String> {
        self.log.remove(seqs).map(drop).map_err(|error| error.to_string())
    }

    fn is_damaged(&self, from: u64, to: u64) -> bool {
        self.log.damaged().iter().any(|range| *range.start() <= to && *range.end() >= from)
    }

    fn trim(&self, upto: u64) {
        if !self.keep {
            self.log.trim(upto + 1);
        }
    }

    fn extent(&self) -> Extent {
        let state = self.log.state();
        Extent { messages: state.msgs, bytes: state.bytes, first_seq: state.first_seq, first_time: state.first_time }
    }

    fn time_of(&self, seq: u64) -> Option<i64> {
        self.log.read(seq).ok().flatten().map(|stored| stored.time)
    }

    fn load_cursor(&self) -> Option<Bytes> {
        self.store.state().get(&self.keys[0])
    }

    fn save_cursor(&self, cursor: Bytes) -> Result<(), String> {
        self.save(&self.keys[0], cursor)
    }

    fn load_plan(&self) -> Option<Bytes> {
        self.store.state().get(&self.keys[1])
    }

    fn save_plan(&self, plan: Bytes) -> Result<(), String> {
        self.save(&self.keys[1], plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LogOptions, Record, StoreOptions};

    #[test]
    fn reads_trims_and_remembers_on_a_real_store() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("a store");
        let log = store.create_log("1", LogOptions::default()).expect("a log");
        let body = vec![b'x'; 2000];
        for _ in 0..2000 {
            log.append(&Record { subject: "t.a", headers: b"", payload: &body }).expect("appended");
        }
        store.barrier().wait().expect("durable");
        log.remove(&[3]).expect("removed");
        let committed = watch::channel(log.committed()).1;
        let stream = StoredStream::new("t", "UPLINK_t", "e1", store.clone(), log, committed);

        let chunk = stream.read(2, 2000).expect("a chunk");
        assert!(chunk.covered < 2000, "bounded by messages and bytes");
        assert_eq!(chunk.messages.iter().take(2).map(|m| m.seq).collect::<Vec<_>>(), [2, 4]);
        let chunk = stream.read(1999, 2000).expect("a chunk");
        assert_eq!((chunk.covered, chunk.messages.len()), (2000, 2));
        assert_eq!(stream.read(5, 7).expect("a chunk").messages.len(), 3);

        stream.trim(1500);
        let extent = stream.extent();
        assert_eq!((extent.first_seq, extent.messages), (1501, 500));
        assert!(stream.time_of(1501).is_some_and(|time| time > 0));
        assert_eq!(stream.time_of(1500), None);

        assert_eq!(stream.load_cursor(), None);
        stream.save_cursor(Bytes::from_static(b"{}")).expect("saved");
        assert_eq!(stream.load_cursor(), Some(Bytes::from_static(b"{}")));
        store.close();
    }
}
