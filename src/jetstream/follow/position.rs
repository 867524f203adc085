//! How far a source has been read. The messages tell it by their headers, but they may be purged or grow too old: so it is
//! also kept beside them, every few seconds while it moves and before each purge (nats-server's `SourcesState`).

use super::message::{index_name, source_header};
use super::{Follower, Origin};
use crate::jetstream::origin::StreamSource;
use crate::jetstream::stream::Stream;
use crate::store::{Change, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How far a source has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The last message of the origin that is here, or was; 0: none.
    pub seq: u64,
    /// What tells the origin from another stream that has its name later; empty: not known.
    pub identity: String,
    /// What is here up to this sequence is counted in.
    upto: u64,
    #[serde(skip)]
    moved: bool,
}

impl Position {
    /// At this sequence.
    pub fn at(seq: u64) -> Self {
        Position { seq, ..Position::default() }
    }

    /// A message of the origin is here.
    pub fn reached(&mut self, seq: u64) {
        (self.seq, self.moved) = (seq, true);
    }

    /// The origin is the stream that `identity` stands for.
    pub fn is_of(&mut self, identity: String) {
        self.moved |= self.identity != identity;
        self.identity = identity;
    }

    /// The origin is another stream than before, of which nothing has been read.
    pub fn begin_again(&mut self) {
        *self = Position { moved: true, ..Position::default() };
    }
}

fn key(log: &str, source: &StreamSource) -> String {
    let (name, filters, transforms) = index_name(source);
    format!("source/{log}/{name} {filters} {transforms}")
}

impl Stream {
    /// How far `source` has been read: what is kept, and what came from there since then.
    pub(super) fn position_of(&self, source: &StreamSource) -> Result<Position, StoreError> {
        let kept = self.store().state().get(&key(&self.entry().log, source));
        let mut position: Position = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
        let state = self.log().state();
        for seq in (state.first_seq.max(position.upto + 1)..=state.last_seq).rev() {
            let Some(stored) = self.log().read_sound(seq)? else { continue };
            if let Some(seq) = source_header(&stored.headers, source) {
                position.seq = seq;
                break;
            }
        }
        Ok(position)
    }

    /// What keeps the position of a source, if it has moved since this was last asked for. To be written when all that the
    /// stream has taken in so far is on disk, as it may not be ahead of that.
    pub(super) fn keep_position(&self, origin: &Origin) -> Option<Change> {
        let mut position = origin.position();
        if !std::mem::take(&mut position.moved) {
            return None;
        }
        position.upto = self.log().state().last_seq;
        let json = serde_json::to_vec(&*position).ok()?;
        Some(Change::Put(key(&self.entry().log, &origin.source), Bytes::from(json)))
    }

    /// Keeps the positions of all sources, on disk when this returns. Blocks.
    pub(in crate::jetstream) fn keep_positions(&self) -> Result<(), StoreError> {
        let followers = self.followers();
        let changes: Vec<Change> =
            followers.sources().filter_map(|source: &Follower| self.keep_position(&source.origin)).collect();
        drop(followers);
        if changes.is_empty() {
            return Ok(());
        }
        self.store().barrier().wait()?;
        self.store().state().write(changes).wait()
    }
}

/// What forgets the positions of the sources of a stream that is removed.
pub(in crate::jetstream) fn forget(store: &crate::store::Store, log: &str) -> Vec<Change> {
    let kept = store.state().scan(&format!("source/{log}/"));
    kept.into_iter().map(|(key, _)| Change::Delete(key)).collect()
}
