//! How far a source has been read. The messages tell it by their headers, but they may be acknowledged away, purged, or grow too
//! old: so it is also kept beside them, together with the acknowledgements that remove messages, before each deletion and purge,
//! and every few seconds while it moves (nats-server's `SourcesState`).

use super::message::{index_name, source_header};
use super::{Follower, Origin};
use crate::jetstream::origin::StreamSource;
use crate::jetstream::stream::Stream;
use crate::store::{Change, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Messages on their way to disk of which it is noted where they stand, before those that are there are looked for.
const ON_THE_WAY: usize = 256;

/// How far a source has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The last message of the origin that is here, or was; 0: none.
    pub seq: u64,
    /// What tells the origin from another stream that has its name later; empty: not known.
    pub identity: String,
    /// What is here up to this sequence is counted in.
    upto: u64,
    /// How often the stream had dropped what the disk refused when this was found out.
    #[serde(skip)]
    pub rollbacks: u64,
    #[serde(skip)]
    moved: bool,
    /// Messages that may not be on disk yet: their sequence here, and at the origin.
    #[serde(skip)]
    on_the_way: VecDeque<(u64, u64)>,
    /// The last one of the origin before these.
    #[serde(skip)]
    stored: u64,
}

impl Position {
    /// At this sequence.
    pub fn at(seq: u64) -> Self {
        Position { seq, stored: seq, ..Position::default() }
    }

    /// A message of the origin is here, as `here`.
    pub fn reached(&mut self, seq: u64, here: u64) {
        (self.seq, self.moved) = (seq, true);
        self.on_the_way.push_back((here, seq));
    }

    /// Whether it should be found out what is on disk by now.
    pub fn is_long(&self) -> bool {
        self.on_the_way.len() >= ON_THE_WAY
    }

    /// What this stream holds up to `committed` is on disk.
    pub fn is_stored(&mut self, committed: u64) {
        while let Some((_, seq)) = self.on_the_way.front().copied().filter(|(here, _)| *here <= committed) {
            self.stored = seq;
            self.on_the_way.pop_front();
        }
    }

    /// What is to be kept where all up to `committed` is on disk, if that is more than was asked for before.
    fn changed(&mut self, committed: u64) -> Option<Position> {
        if !self.moved {
            return None;
        }
        self.is_stored(committed);
        self.moved = !self.on_the_way.is_empty();
        Some(Position { identity: self.identity.clone(), upto: committed, ..Position::at(self.stored) })
    }

    /// The origin is the stream that `identity` stands for.
    pub fn is_of(&mut self, identity: String) {
        self.moved |= self.identity != identity;
        self.identity = identity;
    }

    /// The origin is another stream than before, of which nothing has been read.
    pub fn begin_again(&mut self) {
        *self = Position { moved: true, rollbacks: self.rollbacks, ..Position::default() };
    }
}

fn key(log: &str, source: &StreamSource) -> String {
    let (name, filters, transforms) = index_name(source);
    format!("source/{log}/{name} {filters} {transforms}")
}

impl Stream {
    /// How far the mirror's origin has been read, and which stream it was.
    pub(super) fn mirrored(&self, source: &StreamSource) -> Position {
        let kept = self.store().state().get(&key(&self.entry().log, source));
        let kept: Option<Position> = kept.and_then(|kept| serde_json::from_slice(&kept).ok());
        Position { identity: kept.unwrap_or_default().identity, ..Position::at(self.log().state().last_seq) }
    }

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
        position.stored = position.seq;
        Ok(position)
    }

    /// What is on disk by now; `None` if messages were dropped, as sequences that `position` knows may stand for others.
    pub(super) fn committed_in_turn(&self, position: &Position) -> Option<u64> {
        let committed = self.log().committed();
        (self.log().rollbacks() == position.rollbacks).then_some(committed)
    }

    /// What keeps the position of a source, if it has moved since this was last asked for. What is not on disk yet does not
    /// count: it would be missing if it never got there.
    pub(super) fn keep_position(&self, origin: &Origin) -> Option<Change> {
        let position = {
            let mut position = origin.position();
            self.committed_in_turn(&position).and_then(|committed| position.changed(committed))?
        };
        let json = serde_json::to_vec(&position).ok()?;
        Some(Change::Put(key(&self.entry().log, &origin.source), Bytes::from(json)))
    }

    /// What keeps the positions of all sources that have moved.
    pub(in crate::jetstream) fn moved_positions(&self) -> Vec<Change> {
        self.followers().sources().filter_map(|source: &Follower| self.keep_position(&source.origin)).collect()
    }

    /// Keeps the positions of all sources, on disk when this returns. Blocks.
    pub(in crate::jetstream) fn keep_positions(&self) -> Result<(), StoreError> {
        if self.followers().sources().next().is_none() {
            return Ok(());
        }
        self.store().barrier().wait()?;
        match self.moved_positions() {
            changes if changes.is_empty() => Ok(()),
            changes => self.store().state().write(changes).wait(),
        }
    }
}

/// What forgets the positions of the sources of a stream that is removed.
pub(in crate::jetstream) fn forget(store: &crate::store::Store, log: &str) -> Vec<Change> {
    let kept = store.state().scan(&format!("source/{log}/"));
    kept.into_iter().map(|(key, _)| Change::Delete(key)).collect()
}
