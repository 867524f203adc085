//! The checkpoint of a log (`checkpoint`): its subjects and numbers as they were when a segment was sealed, so that opening
//! counts only what came and went since. Written anew each time the log has grown by a multiple of the file's size, and piece by
//! piece, so that neither memory nor anybody's time has to hold all subjects at once.
//!
//! It is a hint, as the index files are: without it everything is counted again from those.
//! Layout: magic, version (u32), a frame with the numbers, frames of subjects, and one that says that this is all.

use super::StoreError;
use super::frame::{self, Parsed, UNSALTED, u32_at};
use super::index;
use super::io::{DiskFile, Place};
use super::log::{Log, State, Storage};
use super::record;
use super::segment::Segment;
use super::subjects::{Budget, Loader, Pace, Subjects};
use super::table::Table;
use super::tombstones::{Mark, Tomb};
use super::varint::{self, Cursor};
use super::vault::{self, Kind};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const MAGIC: &[u8; 8] = b"leafdcpt";
/// Of the format; before 3 a byte more was counted for a record.
pub(super) const VERSION: u32 = 3;
const HEADER: usize = 12;
/// The last frame. One of subjects begins with 0, as its first name shares nothing with another.
const END: &[u8] = b"end";
/// Subjects that are looked at for a piece, under the log's lock, at most,
const VISITS: u64 = 2048;
/// and one for so many bytes of a segment, so that many small segments are not full before it is written,
const SHARE: u64 = 8192;
/// and at least.
const LEAST_VISITS: u64 = 8;
/// Bytes read ahead.
const CHUNK: usize = 128 * 1024;
/// A new checkpoint is due when the log has grown by so many times its size.
const GROWTH: u64 = 16;

/// The numbers of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// First live sequence.
    pub first: u64,
    pub msgs: u64,
    pub bytes: u64,
    /// The removals that are taken into account: those in the file up to here,
    pub mark: Mark,
    /// and these, which were not durable yet.
    pub pending: Vec<Tomb>,
    /// The segments that are counted in; those before them are gone.
    pub segments: Vec<Counted>,
    /// Where the last of these segments ends.
    pub last: u64,
}

/// A segment as it was counted in. One that took its place has fewer records, or reaches further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub base: u64,
    pub records: u64,
    pub last: u64,
}

impl Counted {
    fn of(segment: &Segment) -> Counted {
        Counted { base: segment.base, records: segment.records, last: segment.last }
    }

    /// The table of one that is gone, by its index.
    pub fn table(&self, place: &Place) -> Option<Table> {
        let is = |table: &Table| {
            table.rows.len() as u64 == self.records && table.rows.last().is_none_or(|row| row.seq == self.last)
        };
        index::table(place, self.base).filter(is)
    }

    pub fn is(&self, segment: &Segment) -> bool {
        *self == Counted::of(segment)
    }
}

/// When the next checkpoint is due, and what waits to be written.
#[derive(Default)]
pub(super) struct Due {
    /// Size of the one on disk; 0 if there is none.
    size: u64,
    /// Bytes of segments sealed and dropped since.
    pub since: u64,
    /// A segment was sealed, and there is something to write about it.
    pub sealed: bool,
    pub taken: Option<Taken>,
    /// Bases of segments that are gone, but counted in by the checkpoint on disk: their index files are still needed.
    pub gone: Vec<u64>,
}

/// A checkpoint that is being written.
pub(super) struct Taken {
    /// What comes before the next piece of subjects: at first header and numbers.
    head: Vec<u8>,
    /// Bytes in its file.
    len: u64,
    /// [`Due::since`] when it was taken.
    since: u64,
    /// Bases of segments whose index files will be needed no more.
    gone: Vec<u64>,
}

impl Due {
    pub fn is_due(&self) -> bool {
        self.taken.is_none() && self.since >= GROWTH * self.size
    }

    /// The one on disk, or on its way there, speaks of segments that are other ones now: a new one is due, and indexes are to be
    /// written.
    pub fn invalidate(&mut self) {
        self.give_up();
        (self.size, self.sealed) = (0, true);
    }

    /// The one on its way is not written.
    fn give_up(&mut self) {
        self.gone.extend(self.taken.take().into_iter().flat_map(|taken| taken.gone));
    }
}

/// Takes the checkpoint of all that is in the segments; to be called when a new one is about to begin. It is written by
/// [`proceed`].
pub(super) fn take(state: &mut State, place: &Place) {
    let Some(last) = state.segments.back().map(|segment| segment.last) else { return };
    // What is staged is in the books already, and must be left out.
    let mut staged: HashMap<&str, (Option<u64>, u64)> = HashMap::new();
    let (mut msgs, mut bytes) = (state.msgs, state.bytes);
    for part in [state.writing.as_deref(), Some(&state.staged)].into_iter().flatten() {
        for entry in &part.entries {
            let Some(record) = record::staged(&part.buffer[entry.at..]) else { return };
            staged.entry(record.subject).or_insert((entry.before, 0)).1 += 1;
            msgs -= 1;
            bytes = bytes.saturating_sub(record.counted(Storage::File) as u64);
        }
    }
    state.subjects.begin_snapshot(last, &staged);
    let (mark, unsynced) = state.tombstones.mark();
    let writing = state.writing.iter().flat_map(|staged| &staged.tombs);
    let numbers = Checkpoint {
        first: state.first.min(last + 1),
        msgs,
        bytes,
        mark,
        pending: unsynced.iter().chain(&state.journaled).chain(writing).chain(&state.tombs).copied().collect(),
        segments: state.segments.iter().map(Counted::of).collect(),
        last,
    };
    let mut head = Vec::with_capacity(1024);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    push(place, &mut head, |out| numbers.encode(out));
    let gone = std::mem::take(&mut state.checkpoint.gone);
    state.checkpoint.taken = Some(Taken { head, len: 0, since: state.checkpoint.since, gone });
}

fn push(place: &Place, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    vault::push(place.vault.as_ref(), Kind::Hint, out, write);
}

/// Writes some of the checkpoint that was taken, if one was, and the last piece puts it in the place of the one before; how many
/// bytes. If there is more to write the log is queued again.
///
/// # Errors
/// It cannot be written, or the subjects cannot be read: it is given up.
pub(super) fn proceed(log: &Log) -> Result<u64, StoreError> {
    let mut written = 0;
    loop {
        let pace = match next_piece(log) {
            Ok(None) => return Ok(written),
            Ok(Some((bytes, at, pace))) => write(&log.0.place, &bytes, at).map(|()| {
                written += bytes.len() as u64;
                pace
            }),
            Err(error) => Err(error),
        };
        match pace {
            Ok(Pace::Hurry) => {}
            Ok(Pace::Steady) => {
                log.queue(&mut log.0.state());
                return Ok(written);
            }
            Ok(Pace::Done) => return finish(log).map(|()| written).inspect_err(|_| abandon(log)),
            Ok(Pace::Lost) => {
                tracing::debug!("{}: subjects change faster than a checkpoint is written: it comes later", log.0.id);
                abandon(log);
                return Ok(written);
            }
            Err(error) => {
                abandon(log);
                return Err(error);
            }
        }
    }
}

/// The next bytes of the checkpoint that was taken, where in its file they belong, and when those behind them are due; `None` if none
/// was taken.
fn next_piece(log: &Log) -> Result<Option<(Vec<u8>, u64, Pace)>, StoreError> {
    let place = &log.0.place;
    let mut guard = log.0.state();
    let State { checkpoint, subjects, deleted, .. } = &mut *guard;
    let Some(taken) = checkpoint.taken.as_mut().filter(|_| !*deleted) else {
        let invalidated = subjects.end_snapshot();
        drop(guard);
        if invalidated {
            let _ = place.disk.remove(&new_path(place));
        }
        return Ok(None);
    };
    let visits = (log.0.shared.segment_bytes / SHARE).clamp(LEAST_VISITS, VISITS);
    let (mut piece, pace) = subjects.snapshot_piece(visits as usize)?;
    let mut bytes = std::mem::take(&mut taken.head);
    if !piece.is_empty() {
        push(place, &mut bytes, |out| out.append(&mut piece));
    }
    if pace == Pace::Done {
        push(place, &mut bytes, |out| out.extend_from_slice(END));
    }
    let at = taken.len;
    taken.len += bytes.len() as u64;
    Ok(Some((bytes, at, pace)))
}

fn write(place: &Place, bytes: &[u8], at: u64) -> Result<(), StoreError> {
    let path = new_path(place);
    if at == 0 {
        // Nothing of an earlier one must be left in it, should the power go.
        let _ = place.disk.remove(&path);
    }
    let written = place.disk.open(&path, true).and_then(|file| file.write_at(bytes, at));
    written.map_err(|e| StoreError::io("write", &path, e))
}

/// Puts the checkpoint, all of which is written, in the place of the one before.
fn finish(log: &Log) -> Result<(), StoreError> {
    let place = &log.0.place;
    let failed = |e| StoreError::io("write", &path(place), e);
    place.disk.rename(&new_path(place), &path(place)).map_err(failed)?;
    let taken = {
        let due = &mut log.0.state().checkpoint;
        let taken = due.taken.take();
        if let Some(taken) = &taken {
            (due.size, due.since) = (taken.len, due.since.saturating_sub(taken.since));
        }
        taken
    };
    let mut gone = taken.into_iter().flat_map(|taken| taken.gone);
    gone.try_for_each(|base| index::remove(place, base).map_err(|e| StoreError::io("remove", &place.dir, e)))
}

/// The checkpoint that was taken is not written; what there is of it is in the way of others where the disk is full.
fn abandon(log: &Log) {
    {
        let mut state = log.0.state();
        state.checkpoint.give_up();
        state.subjects.end_snapshot();
    }
    let _ = log.0.place.disk.remove(&new_path(&log.0.place));
}

/// The checkpoint on disk and its subjects; `None` if there is none to be believed.
pub(super) fn read(place: &Place, budget: &Arc<Budget>) -> Option<(Checkpoint, Subjects, Due)> {
    let file = place.disk.open(&path(place), false).ok()?;
    let mut header = [0; HEADER];
    let read = file.read_full(&mut header, 0).ok()?;
    if read < HEADER || header[..8] != *MAGIC || u32_at(&header, 8)? != VERSION {
        return None;
    }
    let mut frames = Frames { file, buffer: Vec::new(), used: 0, end: HEADER as u64 };
    let vault = place.vault.as_ref();
    let open = |frames: &mut Frames| {
        frames.next().and_then(|body| Some(vault::open_body(vault, Kind::Hint, body)?.into_owned()))
    };
    let numbers = Checkpoint::decode(&open(&mut frames)?)?;
    let mut subjects = Loader::new(budget);
    loop {
        let body = open(&mut frames)?;
        if *body == *END {
            return Some((numbers, subjects.finish(), Due { size: frames.position(), ..Due::default() }));
        }
        subjects.add_piece(&body)?;
    }
}

/// The frames of a file, one at a time.
struct Frames {
    file: Arc<dyn DiskFile>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given.
    used: usize,
    /// Where in the file the buffer ends.
    end: u64,
}

impl Frames {
    /// The body of the next one; `None` if there is none, or one that is damaged.
    fn next(&mut self) -> Option<&[u8]> {
        loop {
            let wanted = match frame::parse(&self.buffer[self.used..], UNSALTED) {
                Parsed::Whole(_, length) => {
                    let from = self.used + frame::PREFIX;
                    self.used += length;
                    return Some(&self.buffer[from..self.used]);
                }
                Parsed::Short(wanted) => wanted,
                Parsed::Bad => return None,
            };
            self.buffer.drain(..std::mem::take(&mut self.used));
            let (there, left) = (self.buffer.len(), self.file.size().ok()?.saturating_sub(self.end));
            let wanted = wanted.max(CHUNK) - there;
            self.buffer.resize(there + usize::try_from(left.min(wanted as u64)).ok()?, 0);
            let read = self.file.read_full(&mut self.buffer[there..], self.end).ok()?;
            self.buffer.truncate(there + read);
            self.end += read as u64;
            if read == 0 {
                return None;
            }
        }
    }

    /// Where the next one begins.
    fn position(&self) -> u64 {
        self.end - (self.buffer.len() - self.used) as u64
    }
}

fn new_path(place: &Place) -> PathBuf {
    path(place).with_extension("new")
}

fn path(place: &Place) -> PathBuf {
    place.dir.join("checkpoint")
}

impl Checkpoint {
    /// What it says of removals, beyond what is in their file.
    pub fn removals(&self) -> impl Iterator<Item = Tomb> {
        self.pending.iter().copied().chain([Tomb::below(self.first)])
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Checkpoint { first, msgs, bytes, mark, pending, segments, last } = self;
        [*first, *msgs, *bytes, mark.generation, mark.len, *last].into_iter().for_each(|n| varint::put(out, n));
        varint::put(out, pending.len() as u64);
        for Tomb(from, to) in pending {
            varint::put(out, *from);
            varint::put(out, *to);
        }
        varint::put(out, segments.len() as u64);
        for Counted { base, records, last } in segments {
            [*base, *records, *last].into_iter().for_each(|n| varint::put(out, n));
        }
    }

    fn decode(body: &[u8]) -> Option<Checkpoint> {
        let mut cursor = Cursor(body);
        let (first, msgs, bytes) = (cursor.number()?, cursor.number()?, cursor.number()?);
        let mark = Mark { generation: cursor.number()?, len: cursor.number()? };
        let last = cursor.number()?;
        let mut pending = Vec::new();
        for _ in 0..cursor.number()? {
            pending.push(Tomb(cursor.number()?, cursor.number()?));
        }
        let mut segments = Vec::new();
        for _ in 0..cursor.number()? {
            segments.push(Counted { base: cursor.number()?, records: cursor.number()?, last: cursor.number()? });
        }
        Some(Checkpoint { first, msgs, bytes, mark, pending, segments, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let _ = Checkpoint::decode(&bytes);
        }
    }

    #[test]
    fn numbers_are_read_as_written() {
        let numbers = Checkpoint {
            first: 5,
            msgs: 300,
            bytes: 1 << 40,
            mark: Mark { generation: u64::MAX, len: 9 },
            pending: vec![Tomb(0, 4), Tomb(9, 9)],
            segments: vec![
                Counted { base: 1, records: 100, last: 100 },
                Counted { base: 101, records: 200, last: 300 },
            ],
            last: 300,
        };
        let mut out = Vec::new();
        numbers.encode(&mut out);
        assert_eq!(Checkpoint::decode(&out), Some(numbers));
    }
}
