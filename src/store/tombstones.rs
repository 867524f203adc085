//! Removals: ranges of sequences that are no more. They are made durable by a frame in the segment that is written to, beside
//! the records of the same commit; when it is sealed they go to the side log, the file `tombstones`. Thus the side log
//! and the last segment say all, and a removal costs no flush of its own.

use super::StoreError;
use super::frame::{self, UNSALTED, u64_at};
use super::io::{DiskFile, Place};
use std::path::PathBuf;
use std::sync::Arc;

/// Sequences from the first to the second, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tomb(pub u64, pub u64);

/// A place in the file of removals. The file is another one, and the place means nothing, when it has been rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Drawn when the file was made; 0 while there is none.
    pub generation: u64,
    /// Bytes before the place.
    pub len: u64,
}

/// Length of the body of the frame with the generation; the others hold pairs of sequences.
const GENERATION: usize = 8;
/// Above this size the file is rewritten when most of it says nothing any more.
const COMPACT_ABOVE: u64 = 256 * 1024;

impl Tomb {
    /// Everything below `seq`.
    pub fn below(seq: u64) -> Tomb {
        Tomb(0, seq.saturating_sub(1))
    }

    /// Adds one sequence, to the last range where it follows it.
    pub fn push(tombs: &mut Vec<Tomb>, seq: u64) {
        match tombs.last_mut() {
            Some(last) if last.1 + 1 == seq && last.0 > 0 => last.1 = seq,
            _ => tombs.push(Tomb(seq, seq)),
        }
    }
}

/// First byte of the body of a frame of removals within a segment.
pub(super) const KIND: u8 = 2;

/// Appends a frame of removals, as it stands in a segment.
pub(super) fn push_frame(out: &mut Vec<u8>, salt: u32, tombs: &[Tomb]) {
    frame::push(out, salt, |out| {
        out.push(KIND);
        encode(out, tombs);
    });
}

/// The removals in the body of a frame of a segment; `None` if it is something else.
pub(super) fn in_frame(body: &[u8]) -> Option<impl Iterator<Item = Tomb>> {
    let (kind, pairs) = body.split_first()?;
    (*kind == KIND && pairs.len() % 16 == 0).then(|| decode(pairs))
}

fn encode(out: &mut Vec<u8>, tombs: &[Tomb]) {
    for Tomb(from, to) in tombs {
        out.extend_from_slice(&from.to_le_bytes());
        out.extend_from_slice(&to.to_le_bytes());
    }
}

fn decode(pairs: &[u8]) -> impl Iterator<Item = Tomb> {
    let tombs = pairs.chunks_exact(16).filter_map(|r| Some(Tomb(u64_at(r, 0)?, u64_at(r, 8)?)));
    tombs.filter(|tomb| tomb.0 <= tomb.1 && tomb.1 < u64::MAX)
}

/// The file.
#[derive(Default)]
pub(super) struct Tombstones {
    file: Option<Arc<dyn DiskFile>>,
    generation: u64,
    len: u64,
    /// As far as it is known to be durable.
    synced: u64,
    /// What was written beyond that.
    unsynced: Vec<Tomb>,
}

/// What the file of removals says.
#[derive(Default)]
pub(super) struct Removals {
    /// Each with the place of its frame.
    pub all: Vec<(u64, Tomb)>,
    /// How the file was read.
    pub walk: frame::Walk,
}

impl Tombstones {
    /// Opens the file and reads what it says; a torn end is cut off by the next write.
    pub fn open(place: &Place) -> Result<(Tombstones, Removals), StoreError> {
        let path = path(place);
        let failed = |error| StoreError::io("read", &path, error);
        let file = match place.disk.open(&path, false) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(e) => return Err(failed(e)),
        };
        let bytes = file.read_all().map_err(failed)?;
        let mut generation = 0;
        let mut removals = Removals::default();
        let walk = frame::each(&bytes, &path, |at, body| match body.len() {
            GENERATION => generation = u64_at(body, 0).unwrap_or_default(),
            _ => removals.all.extend(decode(body).map(|tomb| (at as u64, tomb))),
        });
        // What a killed process wrote may be read, and yet not be durable.
        file.sync().map_err(failed)?;
        let (len, unsynced) = (walk.end as u64, Vec::new());
        removals.walk = walk;
        Ok((Tombstones { file: Some(file), generation, len, synced: len, unsynced }, removals))
    }

    /// As far as the file is known to be durable, and what was written beyond.
    pub fn mark(&self) -> (Mark, &[Tomb]) {
        (Mark { generation: self.generation, len: self.synced }, &self.unsynced)
    }

    /// Writes removals; they are durable when [`Tombstones::sync`] has returned.
    pub fn write(&mut self, place: &Place, tombs: &[Tomb]) -> Result<(), StoreError> {
        let path = path(place);
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = place.disk.open(&path, true).map_err(|e| StoreError::io("create", &path, e))?;
                place.disk.sync_dir(&place.dir).map_err(|e| StoreError::io("sync the folder", &place.dir, e))?;
                self.file.insert(file)
            }
        };
        let mut out = Vec::new();
        let generation = if self.len == 0 { fastrand::u64(1..) } else { self.generation };
        if self.len == 0 {
            frame::push(&mut out, UNSALTED, |out| out.extend_from_slice(&generation.to_le_bytes()));
        }
        frame::push(&mut out, UNSALTED, |out| encode(out, tombs));
        // What a failed write may have left behind must not be taken for removals.
        let written = file.truncate(self.len).and_then(|()| file.write_at(&out, self.len));
        written.map_err(|e| StoreError::io("write", &path, e))?;
        self.generation = generation;
        self.len += out.len() as u64;
        self.unsynced.extend_from_slice(tombs);
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// All that was not durable before must be written again, and is given back: a system that once could not write some pages
    /// takes them for written afterwards.
    pub fn sync(&mut self, place: &Place) -> Result<(), (StoreError, Vec<Tomb>)> {
        let Some(file) = &self.file else { return Ok(()) };
        let unsynced = std::mem::take(&mut self.unsynced);
        match file.sync() {
            Ok(()) => {
                self.synced = self.len;
                Ok(())
            }
            Err(error) => {
                self.len = self.synced;
                Err((StoreError::io("sync", &path(place), error), unsynced))
            }
        }
    }

    /// Whether it is worth writing anew, if `live` ranges still say something.
    pub fn is_wasteful(&self, live: u64) -> bool {
        self.len > COMPACT_ABOVE && self.len > 64 * live
    }

    /// Puts a new file with just `tombs` in the place of the old one.
    pub fn rewrite(&mut self, place: &Place, tombs: &[Tomb]) -> Result<(), StoreError> {
        let new_path = path(place).with_extension("new");
        let failed = |e| StoreError::io("rewrite", &path(place), e);
        let file = place.disk.open(&new_path, true).map_err(failed)?;
        file.truncate(0).map_err(failed)?;
        let mut new = Tombstones { file: Some(file), ..Tombstones::default() };
        new.write(place, tombs)?;
        new.sync(place).map_err(|(error, _)| error)?;
        place.disk.rename(&new_path, &path(place)).map_err(failed)?;
        *self = new;
        place.disk.sync_dir(&place.dir).map_err(failed)
    }
}

fn path(place: &Place) -> PathBuf {
    place.dir.join("tombstones")
}
