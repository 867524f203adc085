//! Syncing the last segment, also where nobody has waited for what is in it.

use super::Log;
use super::options::{Storage, Sync};
use super::state::State;
use crate::store::StoreError;
use crate::store::io::DiskFile;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that are written again at a time.
const PIECE: u64 = 256 << 10;

/// What is in the last segment and not synced.
#[derive(Default)]
pub(in crate::store) struct Unsynced {
    /// Where it begins; `None` if all is synced.
    from: Option<u64>,
    /// A sync of it has failed.
    failed: bool,
}

impl Unsynced {
    /// Whether there is something.
    pub fn is_any(&self) -> bool {
        self.from.is_some()
    }

    /// What is written from `offset` on waits for no sync.
    pub fn begins(&mut self, offset: u64) {
        self.from.get_or_insert(offset);
    }

    /// What has to be written again before it is synced, of a segment of that length: after a failed sync Linux takes for written
    /// what it could not write, and the next sync leaves it out.
    fn again(&self, len: u64) -> Option<Range<u64>> {
        self.from.filter(|from| self.failed && *from < len).map(|from| from..len)
    }
}

impl State {
    /// What [`sync`] has to be told of the last segment.
    pub(super) fn written_again(&self) -> Option<Range<u64>> {
        self.segments.back().and_then(|segment| self.unsynced.again(segment.len))
    }
}

/// Syncs `file` after `again` of it was written once more.
pub(super) fn sync(file: &Arc<dyn DiskFile>, again: Option<Range<u64>>) -> io::Result<()> {
    let Range { start: mut at, end } = again.unwrap_or(0..0);
    let mut piece = Vec::new();
    while at < end {
        piece.resize((end - at).min(PIECE) as usize, 0);
        let read = file.read_full(&mut piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(&piece[..read], at)?;
        at += read as u64;
    }
    file.sync()
}

impl Log {
    /// From now on records count as committed by `sync`; what is there and is to be durable then is so within a second.
    pub fn set_sync(&self, sync: Sync) {
        self.0.state().sync = sync;
    }

    /// How records become durable; `None` where none does, as they are in memory.
    pub fn sync(&self) -> Option<Sync> {
        (self.0.storage == Storage::File).then(|| self.0.state().sync)
    }

    /// Syncs `file`, that of the last segment. On the commit thread alone, as what is written meanwhile would be taken for synced.
    pub(in crate::store) fn sync_file(&self, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        let again = self.0.state().written_again();
        let result = sync(file, again);
        let mut state = self.0.state();
        match &result {
            Ok(()) => {
                state.unsynced = Unsynced::default();
                state.synced_at = Instant::now();
                self.0.shared.count_sync();
            }
            Err(_) => state.unsynced.failed = true,
        }
        result
    }

    /// Syncs what nobody has waited for, if anything; as [`Log::sync_file`].
    ///
    /// # Errors
    /// Some of it may not be on disk.
    pub(in crate::store) fn sync_rest(&self) -> Result<(), StoreError> {
        let file = {
            let state = self.0.state();
            state.segments.back().filter(|_| state.unsynced.is_any()).map(|segment| segment.file.clone())
        };
        let result = file.map_or(Ok(()), |file| self.sync_file(&file));
        result.map_err(|error| StoreError::io("sync", &self.0.place.dir, error))
    }
}
