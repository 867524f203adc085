//! Compaction: sealed segments of which little is left are written anew, so that their room returns to the file system.
//!
//! A thread of its own does it, within a budget, and only where it pays: what is written must free at least twice as much. As
//! nothing is freed that was not appended, all that is ever written for it is about half of what was appended at most, whatever goes and
//! in which order. Only where the disk is nearly full room is worth more than wear: there a fifth of a segment is enough, and on a
//! full one the reserve is what there is to write to. Neighbours become one segment. The first segment stays as it is, as it is on its way out in a queue, and so does the last,
//! which is written to. Frames of removals are left out: the file of removals has them.
//!
//! The new file takes the name of the first segment it replaces; the others are deleted when that is durable. A power cut in
//! between leaves records twice, and opening believes the segment that begins with them.

use super::StoreError;
use super::commit::Shared;
use super::index;
use super::io::DiskFile;
use super::log::{Inner, Log, State, Storage};
use super::record::{Part, View};
use super::reserve;
use super::scanner::{Item, Scanner};
use super::segment::{self, Segment};
use super::writer::Writer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Most bytes that are written for it, per second.
const BUDGET: u64 = 4 << 20;
/// Logs that may wait; more come again when they seal a segment.
const QUEUE: usize = 256;
/// Most sequences of a segment that is made of several.
const SPAN: u64 = 1 << 20;
/// Bytes read ahead.
const PIECE: usize = 256 * 1024;
/// The disk is nearly full with less than this part of it free,
const SCARCE_PART: u64 = 20;
/// and room for fewer segments than this.
const SCARCE_SEGMENTS: u64 = 32;
/// Waits are interrupted this often to see whether the store ends.
const SLICE: Duration = Duration::from_millis(50);
/// Where the new file is made.
pub(super) const NEW: &str = "compact.new";

/// A handle on the thread.
pub(super) struct Compactor {
    logs: SyncSender<Option<Weak<Inner>>>,
    /// The disk was nearly full when it was last looked at.
    scarce: AtomicBool,
}

impl Compactor {
    pub fn start() -> std::io::Result<(Compactor, JoinHandle<()>)> {
        let (sender, logs) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("leafd-compact".into()).spawn(move || run(&logs))?;
        Ok((Compactor { logs: sender, scarce: AtomicBool::new(false) }, thread))
    }

    /// Has the log looked at.
    pub fn look_at(&self, log: &Log) {
        if log.0.storage == Storage::File
            && let Err(TrySendError::Full(_)) = self.logs.try_send(Some(Arc::downgrade(&log.0)))
        {
            tracing::debug!("{}: compacted later", log.0.id);
        }
    }

    /// Whether little room is worth to be given back.
    pub fn is_pressed(&self) -> bool {
        self.scarce.load(Ordering::Relaxed)
    }

    /// A write failed: if that is because the disk is full all logs are looked at, once until there is room again.
    pub fn note_failure(&self, shared: &Shared, error: &StoreError) {
        if error.is_full() && !self.scarce.swap(true, Ordering::Relaxed) {
            let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
            logs.iter().for_each(|log| self.look_at(log));
        }
    }

    /// Ends the thread once the store is closed.
    pub fn stop(&self) {
        let _ = self.logs.send(None);
    }
}

fn run(logs: &Receiver<Option<Weak<Inner>>>) {
    while let Ok(Some(log)) = logs.recv() {
        // Not held while the budget is waited for.
        while let Some(log) = log.upgrade().map(Log) {
            let shared = log.0.shared.clone();
            match compact_if_worth(&shared, &log) {
                Ok(0) => break,
                Ok(written) => {
                    drop(log);
                    let until = Instant::now() + Duration::from_micros(written * 1_000_000 / BUDGET);
                    while Instant::now() < until && !shared.is_closed() {
                        thread::sleep(SLICE.min(until.saturating_duration_since(Instant::now())));
                    }
                }
                Err(error) => {
                    tracing::warn!("{}: room of removed messages is given back later: {error}", log.0.id);
                    break;
                }
            }
        }
    }
}

/// Does for the log what the thread would do if it looked at it now.
#[cfg(any(test, fuzzing))]
pub(super) fn compact_here(log: &Log) {
    while compact_if_worth(&log.0.shared, log).is_ok_and(|written| written > 0) {}
}

/// A segment that is written anew.
struct Source {
    base: u64,
    /// Bytes of its file.
    len: u64,
    file: Arc<dyn DiskFile>,
    scanner: Scanner,
}

/// What is worth the writing.
#[derive(Clone, Copy)]
struct Aim {
    /// So many bytes freed
    freed: u64,
    /// for so many written, at least,
    written: u64,
    /// and at most so many written at once.
    most: u64,
}

/// Writes some segments anew if they are worth it; how many bytes that took, 0 if there is nothing to gain.
fn compact_if_worth(shared: &Shared, log: &Log) -> Result<u64, StoreError> {
    let place = &log.0.place;
    let (free, all) = place.disk.space(&place.dir).unwrap_or((u64::MAX, u64::MAX));
    let scarce = free < (all / SCARCE_PART).min(shared.segment_bytes * SCARCE_SEGMENTS);
    shared.compactor.get().into_iter().for_each(|compactor| compactor.scarce.store(scarce, Ordering::Relaxed));
    let aim = match scarce {
        true => Aim { freed: 1, written: 4, most: shared.segment_bytes },
        false => Aim { freed: 2, written: 1, most: shared.segment_bytes },
    };
    let result = compact(shared, log, aim);
    let Err(error) = result else { return result };
    // What was written of it is in the way of others.
    let _ = place.disk.remove(&place.dir.join(NEW));
    if !shared.reserve.give_up(&error) {
        return Err(error);
    }
    let result = compact(shared, log, Aim { most: aim.most.min(reserve::ROOM / 2), ..aim });
    if result.is_err() {
        let _ = place.disk.remove(&place.dir.join(NEW));
    }
    let _ = shared.reserve.take();
    result
}

fn compact(shared: &Shared, log: &Log, aim: Aim) -> Result<u64, StoreError> {
    if shared.is_closed() {
        return Ok(0);
    }
    let _compacting = log.0.compacting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut sources = choose(&log.0.state(), shared.segment_bytes, aim);
    let Some(base) = sources.first().map(|s| s.base) else { return Ok(0) };
    let place = &log.0.place;
    let mut new = Segment::create_at(place, place.dir.join(NEW), base)?;
    let Some(kept) = copy(log, &mut sources, &mut new)? else { return Ok(0) };
    let (written, before) = (new.len, sources.iter().map(|source| source.len).sum::<u64>());
    shared.count_compacted(written, before.saturating_sub(written));
    let failed = |e| StoreError::io("compact in", &place.dir, e);
    // An index is believed by the length of its segment: that of the old one must be gone for good.
    index::remove(place, base).and_then(|()| place.disk.sync_dir(&place.dir)).map_err(failed)?;
    let serial = new.serial;
    let Some(replaced) = replace(log, new, &sources, &kept)? else { return Ok(0) };
    place.disk.sync_dir(&place.dir).map_err(failed)?;
    {
        let mut state = log.0.state();
        state.segment_of_mut(base).filter(|s| s.serial == serial).into_iter().for_each(|s| s.named = true);
        state.checkpoint.sealed = true;
    }
    log.delete(replaced);
    Ok(written)
}

/// Copies what is live, durably; its sequences, or `None` if not all can be read.
fn copy(log: &Log, sources: &mut [Source], new: &mut Segment) -> Result<Option<Vec<u64>>, StoreError> {
    let failed = |e| StoreError::io("compact in", &log.0.place.dir, e);
    let mut writer = Writer::new(log.0.state().compress);
    for source in sources {
        while let Some(item) = source.scanner.next().map_err(failed)? {
            let view = match item {
                Item::Record(view, _) => view,
                Item::Removals(_) | Item::Passed => continue,
                Item::Damage { .. } => {
                    // It stays as it is, for fsck and salvage to see.
                    let mut state = log.0.state();
                    state.segment_of_mut(source.base).into_iter().for_each(|segment| segment.sound = false);
                    return Ok(None);
                }
            };
            if !log.0.state().is_live(view.seq) {
                continue;
            }
            // Parts of a batch may be gone: it is no batch any more.
            writer.push(&View { part: Part::default(), ..view }, new).map_err(failed)?;
        }
        // What two segments hold is in no unit together: opening may have to leave out what came of the second.
        writer.flush(new).map_err(failed)?;
    }
    new.file.sync().map_err(failed)?;
    Ok(Some(writer.kept))
}

/// Puts the new segment in the place of the others, if these are still there; gives back those whose files are to be deleted.
fn replace(log: &Log, mut new: Segment, sources: &[Source], kept: &[u64]) -> Result<Option<Vec<Segment>>, StoreError> {
    let mut state = log.0.state();
    let first = state.segments.partition_point(|s| s.base < new.base);
    let old = state.segments.iter().skip(first).zip(sources);
    let same = old.take_while(|(s, source)| s.base == source.base && Arc::ptr_eq(&s.file, &source.file)).count();
    if same < sources.len() || state.deleted || first == 0 || kept.is_empty() {
        return Ok(None);
    }
    // It stands for all that the others did, so that no removal in them is forgotten before their files are gone.
    new.last = state.segments[first + sources.len() - 1].last;
    new.note_absent(kept.iter().copied().chain([new.last + 1]));
    // What was removed since it was copied.
    for seq in kept.iter().filter(|seq| !state.is_live(**seq)) {
        new.remove(*seq);
    }
    let path = log.0.place.dir.join(segment::file_name(new.base));
    log.0.place.disk.rename(&new.path, &path).map_err(|e| StoreError::io("compact", &path, e))?;
    new.path = path;
    (new.filled, new.named) = (new.len, false);
    let mut old: Vec<Segment> = state.segments.drain(first..first + sources.len()).collect();
    state.segments.insert(first, new);
    state.checkpoint.invalidate();
    // Its file has the new one's name now.
    let first = old.remove(0);
    log.0.shared.tables().forget(first.serial);
    Ok(Some(old))
}

/// The first segments worth the writing.
fn choose(state: &State, segment_bytes: u64, aim: Aim) -> Vec<Source> {
    let least = segment_bytes / 16;
    let inner = state.segments.len().saturating_sub(1);
    let (mut chosen, mut bytes, mut freed, mut base) = (Vec::new(), 0, 0, 0);
    if state.deleted {
        return chosen;
    }
    let pays = |freed: u64, written: u64| freed * aim.written >= written * aim.freed;
    // One without an index may be about to get it.
    let is_sparse = |s: &Segment| {
        let (freed, written) = (s.freed_bytes(), s.live_bytes());
        s.indexed && freed >= least && written <= aim.most && pays(freed, written)
    };
    for segment in state.segments.iter().take(inner).skip(1).skip_while(|s| !is_sparse(s)) {
        bytes += segment.live_bytes();
        freed += segment.freed_bytes();
        // One that was written anew before, and is small, joins where the others pay for it.
        let small = segment.indexed && segment.sound && segment.len < segment_bytes / 4;
        let joins = is_sparse(segment) || small && pays(freed, bytes);
        if !chosen.is_empty() && (!joins || bytes > aim.most || segment.last - base > SPAN) {
            break;
        }
        base = if chosen.is_empty() { segment.base } else { base };
        let (file, scanner) = (segment.file.clone(), segment.scan_from(segment.start, PIECE));
        chosen.push(Source { base: segment.base, len: segment.len, file, scanner });
    }
    chosen
}
