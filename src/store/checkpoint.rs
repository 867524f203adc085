//! The checkpoint of a log (`checkpoint`): its subjects and numbers as they were when a segment was sealed, so that opening
//! counts only what came and went since. Written anew each time the log has grown by a multiple of the file's size.
//!
//! It is a hint, as the index files are: without it everything is counted again from those.
//! Layout: magic, version (u32), a frame with the numbers, frames of subjects, and one that says that this is all.

use super::frame::{self, Parsed, UNSALTED, u32_at};
use super::index;
use super::io::Place;
use super::log::{State, Storage};
use super::record;
use super::segment::Segment;
use super::subjects::{Budget, Subjects};
use super::table::Table;
use super::tombstones::{Mark, Tomb};
use super::varint::{self, Cursor};
use super::vault::{self, Kind};
use super::{StoreError, SubjectInfo};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const MAGIC: &[u8; 8] = b"leafdcpt";
/// Of the format; before 3 a byte more was counted for a record.
pub(super) const VERSION: u32 = 3;
const HEADER: usize = 12;
/// The last frame. One of subjects begins with 0, as its first name shares nothing with another.
const END: &[u8] = b"end";
/// Subjects are framed in pieces of about so many bytes.
const PIECE: usize = 256 * 1024;
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

/// A checkpoint that was taken and is to be written.
pub(super) struct Taken {
    pub bytes: Vec<u8>,
    /// Bases of segments whose index files will be needed no more.
    pub gone: Vec<u64>,
}

impl Due {
    pub fn is_due(&self) -> bool {
        self.since >= GROWTH * self.size
    }

    /// The one on disk speaks of segments that are other ones now: a new one is due, and indexes are to be written.
    pub fn invalidate(&mut self) {
        self.gone.extend(self.taken.take().into_iter().flat_map(|taken| taken.gone));
        (self.size, self.sealed) = (0, true);
    }

    /// The one taken is on disk, with this size; or could not be written.
    pub fn written(&mut self, size: Option<u64>) {
        if let Some(size) = size {
            (self.size, self.since) = (size, 0);
        }
    }
}

/// Takes the checkpoint of all that is in the segments; to be called when a new one is about to begin.
pub(super) fn take(state: &mut State, place: &Place) {
    let Some(bytes) = encode(state, place) else { return };
    let mut gone = std::mem::take(&mut state.checkpoint.gone);
    gone.extend(state.checkpoint.taken.take().into_iter().flat_map(|taken| taken.gone));
    state.checkpoint.taken = Some(Taken { bytes, gone });
}

fn encode(state: &mut State, place: &Place) -> Option<Vec<u8>> {
    let last = state.segments.back()?.last;
    // What is staged is in the books already, and must be left out.
    let mut staged: HashMap<&str, (Option<u64>, u64)> = HashMap::new();
    let (mut msgs, mut bytes) = (state.msgs, state.bytes);
    for part in [state.writing.as_deref(), Some(&state.staged)].into_iter().flatten() {
        for entry in &part.entries {
            let record = record::staged(&part.buffer[entry.at..])?;
            staged.entry(record.subject).or_insert((entry.before, 0)).1 += 1;
            msgs -= 1;
            bytes = bytes.saturating_sub(record.counted(Storage::File) as u64);
        }
    }
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
    let mut out = Vec::with_capacity(state.subjects.len() * 16 + 1024);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    push(place, &mut out, |out| numbers.encode(out));
    let (mut piece, mut before) = (Vec::new(), String::new());
    let passed = state.subjects.each::<()>(">", |subject, mut info| {
        if let Some((last, n)) = staged.get(subject) {
            let Some(last) = last.filter(|_| info.count > *n) else { return ControlFlow::Continue(()) };
            (info.last, info.count) = (last, info.count - n);
        }
        varint::put_name(&mut piece, &before, subject);
        varint::put(&mut piece, info.first);
        varint::put(&mut piece, info.last.wrapping_sub(info.first));
        varint::put(&mut piece, info.count);
        before.clear();
        if piece.len() >= PIECE {
            push(place, &mut out, |out| out.append(&mut piece));
        } else {
            before.push_str(subject);
        }
        ControlFlow::Continue(())
    });
    passed.ok()?;
    if !piece.is_empty() {
        push(place, &mut out, |out| out.append(&mut piece));
    }
    push(place, &mut out, |out| out.extend_from_slice(END));
    Some(out)
}

fn push(place: &Place, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    vault::push(place.vault.as_ref(), Kind::Hint, out, write);
}

/// Puts the checkpoint in the place of the one before.
pub(super) fn write(place: &Place, bytes: &[u8]) -> Result<(), StoreError> {
    let path = path(place);
    let new = path.with_extension("new");
    let failed = |e| StoreError::io("write", &path, e);
    // Nothing of an earlier one must be left in it, should the power go.
    let _ = place.disk.remove(&new);
    let file = place.disk.open(&new, true).map_err(failed)?;
    file.truncate(0).and_then(|()| file.write_at(bytes, 0)).map_err(failed)?;
    place.disk.rename(&new, &path).map_err(failed)
}

/// The checkpoint on disk and its subjects; `None` if there is none to be believed.
pub(super) fn read(place: &Place, budget: &Arc<Budget>) -> Option<(Checkpoint, Subjects, Due)> {
    let bytes = place.disk.open(&path(place), false).ok()?.read_all().ok()?;
    if bytes.get(..8)? != MAGIC || u32_at(&bytes, 8)? != VERSION {
        return None;
    }
    let Parsed::Whole(body, used) = frame::parse(&bytes[HEADER..], UNSALTED) else { return None };
    let open = |body| vault::open_body(place.vault.as_ref(), Kind::Hint, body);
    let numbers = Checkpoint::decode(&open(body)?)?;
    let mut subjects = Subjects::new(budget.clone());
    let mut at = HEADER + used;
    loop {
        let Parsed::Whole(body, used) = frame::parse(&bytes[at..], UNSALTED) else { return None };
        at += used;
        let body = open(body)?;
        if *body == *END {
            return Some((numbers, subjects, Due { size: bytes.len() as u64, ..Due::default() }));
        }
        let mut cursor = Cursor(&body);
        let mut name = String::new();
        while !cursor.0.is_empty() {
            cursor.name(&mut name)?;
            // None is longer in a record.
            u16::try_from(name.len()).ok()?;
            let first = cursor.number()?;
            let last = first.wrapping_add(cursor.number()?);
            subjects.merge(&name, SubjectInfo { first, last, count: cursor.number()? }).ok()?;
            subjects.relieve(u64::MAX);
        }
    }
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
