//! Writing what a log has staged: records and removals by one write into the segment at its end.

use super::{Shared, removals, round, seal};
use crate::store::StoreError;
use crate::store::coding::Coding;
use crate::store::io::DiskFile;
use crate::store::log::{Log, Staged, State, Storage, Sync, Unsynced};
use crate::store::scanner::Extent;
use crate::store::segment::{self, Segment};
use crate::store::tombstones::Tomb;
use crate::store::unit::{ADDED, Packed, Packer};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A file system's block. What is no longer is written into prepared space.
pub(in crate::store) const BLOCK: u64 = 4096;
/// Most space that is prepared at a time. It costs some percent more bytes, and spares the file system's journal a
/// commit with nearly each sync, as neither size nor blocks of the file change.
pub(in crate::store) const PREPARED: u64 = 64 * 1024;
/// More removals than this go to their own file at once.
const MANY: usize = 4096;

/// What one log has on its way to disk in this round.
pub(super) struct Round {
    pub log: Log,
    pub staged: Arc<Staged>,
    pub file: Arc<dyn DiskFile>,
    /// What was written, if that is not what is staged.
    packed: Option<Packed>,
}

impl Round {
    /// Bytes of records and removals on disk.
    pub fn used(&self) -> u64 {
        self.packed.as_ref().map_or(self.staged.used, |packed| packed.used) as u64
    }

    /// Bytes written, with the zeros behind them.
    pub fn written(&self) -> u64 {
        self.packed.as_ref().map_or(self.staged.buffer.len(), |packed| packed.buffer.len()) as u64
    }

    /// Where the entry with this number lies, if what was written begins at `offset`.
    pub fn extent(&self, number: usize, offset: u64) -> Extent {
        let entry = &self.staged.entries[number];
        let (from, length) = self.packed.as_ref().map_or((entry.at, entry.used), |packed| packed.spans[number]);
        Extent::at(offset + from as u64, length, entry.seq)
    }
}

/// What a round has to write of a log.
struct Taken {
    staged: Arc<Staged>,
    /// Where to write it; `None` if a new segment has to begin.
    spot: Option<Spot>,
    /// Removals that go to their own file.
    aside: Vec<Tomb>,
}

/// Where to write.
struct Spot {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    coding: Arc<Coding>,
    offset: u64,
    /// Length of the file once it is cut, if it is.
    filled: u64,
    /// What follows is to be cut off first.
    cut: bool,
    /// Nothing was ever committed to the segment that begins here, and its header may have gone with a sync that failed.
    anew: Option<u64>,
}

/// Writes what a log has staged, none of it durable yet, and what is to be synced; `None` if nothing was staged. Should the
/// disk not take it the records are refused, and removals tried once more by themselves.
pub(super) fn write(
    shared: &Shared,
    log: &Log,
    packer: &mut Packer,
) -> Option<(Option<Round>, Result<(), StoreError>)> {
    let Taken { staged, spot, aside } = take(shared, log)?;
    let mut outcome = removals::write_aside(shared, log, aside);
    if staged.used == 0 {
        return Some((None, outcome));
    }
    let error = match put(shared, log, &staged, spot, packer) {
        Ok(round) => return Some((Some(round), outcome)),
        Err(error) => error,
    };
    shared.compactor.get().into_iter().for_each(|compactor| compactor.note_failure(shared, &error));
    let mut alone = Staged::default();
    alone.finish(staged.tombs.clone(), salt_alone(&log.0.state()));
    if !staged.entries.is_empty() {
        drop(staged);
        round::fail(log, &error);
        outcome = Err(error.clone());
    }
    if alone.tombs.is_empty() {
        return Some((None, outcome));
    }
    shared.reserve.give_up(&error);
    let alone = Arc::new(alone);
    let spot = {
        let mut state = log.0.state();
        state.writing = Some(alone.clone());
        find_spot(&mut state, &alone, u64::MAX)
    };
    match put(shared, log, &alone, spot, packer) {
        Ok(round) => Some((Some(round), outcome)),
        Err(error) => {
            log.0.state().writing = None;
            removals::keep(log, alone.tombs.clone());
            Some((None, Err(error)))
        }
    }
}

/// Takes over what is staged; what is staged from now on needs a round of its own.
fn take(shared: &Shared, log: &Log) -> Option<Taken> {
    let mut guard = log.0.state();
    let state = &mut *guard;
    state.queued = false;
    let mut tombs = std::mem::take(&mut state.tombs);
    if log.0.storage == Storage::Memory {
        tombs.clear();
    }
    if state.deleted || state.staged.entries.is_empty() && tombs.is_empty() {
        return None;
    }
    let spare = std::mem::take(&mut state.spare);
    let mut staged = std::mem::replace(&mut state.staged, spare);
    let mut aside = Vec::new();
    // Removals alone do not begin a segment.
    let alone = staged.entries.is_empty();
    if tombs.len() > MANY || alone && room(state, shared.segment_bytes) < tombs.len() as u64 * 16 {
        std::mem::swap(&mut tombs, &mut aside);
    }
    staged.finish(tombs, if alone { salt_alone(state) } else { state.salt });
    let limit = if alone { u64::MAX } else { shared.segment_bytes };
    let spot = find_spot(state, &staged, limit);
    let packs = packs(log, state, &staged);
    if let Some(spot) = spot.as_ref().filter(|_| !packs && prepares(log, state)) {
        prepare(spot, staged.used, &mut staged.buffer);
    }
    let staged = Arc::new(staged);
    state.writing = (staged.used > 0).then(|| staged.clone());
    Some(Taken { staged, spot, aside })
}

/// With what the checksum of removals begins that are written without a record: they begin no segment if there is one.
fn salt_alone(state: &State) -> u32 {
    state.segments.back().map_or(state.salt, |segment| segment.coding.salt)
}

/// Whether it is not written as it is staged.
fn packs(log: &Log, state: &State, staged: &Staged) -> bool {
    (state.compress || log.0.place.vault.is_some()) && !staged.entries.is_empty()
}

/// Whether space is prepared for what comes next.
fn prepares(log: &Log, state: &State) -> bool {
    log.0.storage == Storage::File && state.sync == Sync::Durable
}

/// Room in the last segment, bytes.
fn room(state: &State, segment_bytes: u64) -> u64 {
    state.segments.back().map_or(0, |s| segment_bytes.saturating_sub(s.len))
}

/// The end of the last segment, if `staged` may go there. From here on the file has to be cut before it is written to,
/// until the round has worked.
fn find_spot(state: &mut State, staged: &Staged, segment_bytes: u64) -> Option<Spot> {
    let room = segment_bytes.saturating_sub(staged.used as u64);
    // Records begin a new segment where the last one is of an older format, or not of this data directory.
    let foreign = state.segments.back().is_some_and(|segment| segment.coding.salt != state.salt);
    let rotate = (state.rotate || foreign) && !staged.entries.is_empty();
    let segment = state.segments.back_mut().filter(|s| !rotate && (s.len <= room || s.records == 0))?;
    // What is longer than a block may reach the disk in any order: it is appended, as a file system lets no file grow before
    // its content is there.
    let most = staged.used + if segment.coding.key.is_some() { ADDED } else { 0 };
    let cut = !segment.clean || most as u64 > BLOCK && segment.filled > segment.len;
    segment.clean = false;
    if cut {
        segment.filled = segment.len;
    }
    let anew = Some(segment.base).filter(|_| cut && segment.len == segment.start);
    let Segment { len: offset, filled, .. } = *segment;
    let (file, path, coding) = (segment.file.clone(), segment.path.clone(), segment.coding.clone());
    Some(Spot { file, path, coding, offset, filled, cut, anew })
}

/// Appends zeros to the `used` bytes that are to be written: as many as there are bytes in the file, up to a limit.
fn prepare(spot: &Spot, used: usize, buffer: &mut Vec<u8>) {
    let end = spot.offset + used as u64;
    if used as u64 <= BLOCK && end > spot.filled {
        let ahead = (end + spot.offset.min(PREPARED)).next_multiple_of(BLOCK) - end;
        buffer.resize(used + ahead as usize, 0);
    }
}

fn put(
    shared: &Shared,
    log: &Log,
    staged: &Arc<Staged>,
    spot: Option<Spot>,
    packer: &mut Packer,
) -> Result<Round, StoreError> {
    if log.0.storage == Storage::File && !staged.entries.is_empty() {
        shared.reserve.take()?;
    }
    let begun = spot.is_none();
    let spot = match (spot, staged.entries.first()) {
        (Some(spot), _) => spot,
        (None, first) => begin_segment(shared, log, first.map(|e| e.seq))?,
    };
    let packed = {
        let state = log.0.state();
        packs(log, &state, staged).then(|| (state.compress, prepares(log, &state)))
    };
    let packed = packed.map(|(compress, prepares)| {
        let mut packed = packer.pack(staged, &spot.coding, compress);
        if prepares && !begun {
            prepare(&spot, packed.used, &mut packed.buffer);
        }
        packed
    });
    let (bytes, used) = packed.as_ref().map_or((&staged.buffer, staged.used), |packed| (&packed.buffer, packed.used));
    let Spot { file, path, coding, offset, cut, anew, .. } = spot;
    let failed = |e| StoreError::io("write", &path, e);
    if cut {
        // What a failed write left behind would be read as records after the next power cut; and as it could not be told from damage
        // where the next write is torn, it is gone for good before that begins.
        file.truncate(offset).and_then(|()| log.sync_file(&file)).map_err(|e| StoreError::io("cut", &path, e))?;
    }
    if let Some(base) = anew {
        file.write_at(&segment::header(base, &coding), 0).map_err(failed)?;
    }
    let mut written = write_blocks(&*file, bytes, used, offset).map_err(failed);
    if let Err(error) = &written {
        // What there was room for is of no use, and in the way of others.
        let _ = file.truncate(offset);
        if error.is_full() && bytes.len() > used {
            written = file.write_at(&bytes[..used], offset).map_err(failed);
            if written.is_err() {
                let _ = file.truncate(offset);
            }
        }
    }
    written?;
    Ok(Round { log: log.clone(), staged: staged.clone(), file, packed })
}

/// Writes records and removals at once, and the zeros behind them block by block: as one write they would share pages so large that
/// the system counts all of it as written with each later commit.
fn write_blocks(file: &dyn DiskFile, bytes: &[u8], used: usize, offset: u64) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    let mut at = offset;
    while at < end {
        let used = offset + used as u64;
        let next = used.max(at + 1).next_multiple_of(BLOCK).min(end);
        file.write_at(&bytes[(at - offset) as usize..(next - offset) as usize], at)?;
        at = next;
    }
    Ok(())
}

/// A new segment whose first record is to be `base`, or the next one. It is in the books before anything is written to it: should
/// the write fail, the next one goes into the same file, which is then cut first.
fn begin_segment(shared: &Shared, log: &Log, base: Option<u64>) -> Result<Spot, StoreError> {
    let place = &log.0.place;
    let base = base.unwrap_or(log.0.state().committed + 1);
    // Nobody would sync the sealed segment later.
    log.sync_rest()?;
    removals::write_journaled(shared, log)?;
    let mut segment = Segment::create(place, base)?;
    segment.clean = false;
    let (offset, file, path) = (segment.start, segment.file.clone(), segment.path.clone());
    let spot = Spot { file, path, coding: segment.coding.clone(), offset, filled: offset, cut: false, anew: None };
    let mut state = log.0.state();
    seal::note(log, &mut state);
    // An empty one of an older format has given its name to the new one.
    if state.segments.back().is_some_and(|last| last.base == base) {
        state.segments.pop_back();
    }
    state.segments.push_back(segment);
    state.unsynced = Unsynced::default();
    state.rotate = false;
    Ok(spot)
}
