//! Opening a log: reads what the segments hold, cuts a torn end, and applies the removals.

use super::io::Place;
use super::log::{LogOptions, Staged, State};
use super::record::OVERHEAD;
use super::segment::{CHUNK, HEADER, Item, Scanner, Segment, file_name};
use super::subjects::Subjects;
use super::tombstones::{Tomb, Tombstones};
use super::{StoreError, SubjectInfo};
use std::collections::VecDeque;
use std::time::Instant;

/// Reads the log in `place`; an empty folder is an empty log.
pub(super) fn open(place: &Place, id: &str, options: &LogOptions) -> Result<State, StoreError> {
    let names = place.disk.list(&place.dir).map_err(|e| StoreError::io("list", &place.dir, e))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|n| n.strip_suffix(".seg")?.parse().ok()).collect();
    bases.sort_unstable();
    let (tombstones, tombs) = Tombstones::open(place)?;
    let mut state = State {
        limits: options.limits,
        sync: options.sync,
        segments: VecDeque::new(),
        subjects: Subjects::default(),
        first: options.first_seq.max(1),
        next: options.first_seq.max(1),
        committed: options.first_seq.max(1) - 1,
        last_time: i64::MIN,
        first_time: (0, 0),
        msgs: 0,
        bytes: 0,
        staged: Staged::default(),
        writing: None,
        spare: Staged::default(),
        tombs: Vec::new(),
        tombstones,
        rotate: false,
        queued: false,
        synced_at: Instant::now(),
        unsynced: false,
        deleted: false,
    };
    let gone = Removed::new(&tombs);
    let segments = open_segments(place, id, &bases)?;
    // A record that a failed write left behind was refused, and its sequence given again, to a record of a later segment.
    let nexts: Vec<Option<u64>> = segments.iter().skip(1).map(|s| Some(s.base)).chain([None]).collect();
    for (segment, next) in segments.into_iter().zip(nexts) {
        load(&mut state, segment, id, &gone, next)?;
    }
    state.committed = state.next - 1;
    state.first = match state.segments.front() {
        Some(front) => front.base.max(gone.below).min(state.next),
        None => state.next,
    };
    for segment in state.settle() {
        let _ = place.disk.remove(&segment.path);
    }
    Ok(state)
}

/// The segments that hold records; if none does, the last empty one, as it says which sequence is next. The others were
/// begun and never written to: they say nothing, and are removed.
fn open_segments(place: &Place, id: &str, bases: &[u64]) -> Result<Vec<Segment>, StoreError> {
    let (mut filled, mut empty) = (Vec::new(), Vec::new());
    for base in bases {
        match Segment::open(place, *base)? {
            Some(segment) if holds_records(&segment)? => filled.push(segment),
            Some(segment) => empty.push((segment.path.clone(), Some(segment))),
            None => empty.push((place.dir.join(file_name(*base)), None)),
        }
    }
    if filled.is_empty()
        && let Some(at) = empty.iter().rposition(|(_, segment)| segment.is_some())
    {
        filled.extend(empty.swap_remove(at).1);
    }
    for (path, _) in empty {
        tracing::debug!("{id}: {} holds nothing", path.display());
        place.disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    Ok(filled)
}

fn holds_records(segment: &Segment) -> Result<bool, StoreError> {
    let failed = |e| StoreError::io("read", &segment.path, e);
    let len = segment.file.size().map_err(failed)?;
    let mut scanner = Scanner::new(segment.file.clone(), HEADER, len, segment.base - 1, 4096);
    Ok(match scanner.next().map_err(failed)? {
        None | Some(Item::Damage { at_end: true, .. }) => false,
        Some(Item::Record(..) | Item::Damage { at_end: false, .. }) => true,
    })
}

fn load(
    state: &mut State,
    mut segment: Segment,
    id: &str,
    gone: &Removed,
    next: Option<u64>,
) -> Result<(), StoreError> {
    let path = segment.path.clone();
    let failed = |e| StoreError::io("read", &path, e);
    let len = segment.file.size().map_err(failed)?;
    let mut scanner = Scanner::new(segment.file.clone(), HEADER, len, segment.base - 1, CHUNK);
    let mut cut = None;
    let mut damage = None;
    while let Some(item) = scanner.next().map_err(failed)? {
        match item {
            Item::Damage { from, at_end: true } if next.is_none() => cut = Some(from),
            Item::Damage { from, .. } => damage = Some((segment.last + 1, from)),
            Item::Record(view, offset) if next.is_some_and(|next| view.seq >= next) => {
                cut = Some(offset);
                break;
            }
            Item::Record(view, offset) => {
                if let Some((first, from)) = damage.take() {
                    let last = view.seq - 1;
                    tracing::error!("{id}: sequences {first} to {last} are damaged (offset {from}) and are left out");
                }
                segment.note(view.seq, view.time, offset, view.used);
                if gone.contains(view.seq) {
                    segment.removed.insert(view.seq - segment.base);
                    continue;
                }
                let size = OVERHEAD + view.subject.len() + view.headers.len() + view.payload.len();
                state.msgs += 1;
                state.bytes += size as u64;
                state.subjects.merge(view.subject, SubjectInfo { first: view.seq, last: view.seq, count: 1 });
            }
        }
    }
    if let Some((first, from)) = damage {
        tracing::error!("{id}: sequences from {first} on are damaged (offset {from}) and are left out");
    }
    if let Some(from) = cut {
        tracing::info!("{id}: cut {} bytes of an unfinished write", len - from);
        segment.file.truncate(from).and_then(|()| segment.file.sync()).map_err(failed)?;
    }
    state.next = state.next.max(segment.last + 1);
    state.last_time = state.last_time.max(segment.last_time);
    state.segments.push_back(segment);
    Ok(())
}

/// The removals of a log, for look-up.
struct Removed {
    below: u64,
    /// Sorted, disjoint.
    ranges: Vec<Tomb>,
}

impl Removed {
    fn new(tombs: &[Tomb]) -> Removed {
        let below = tombs.iter().filter(|t| t.0 == 0).map(|t| t.1 + 1).max().unwrap_or(0);
        let mut ranges: Vec<Tomb> = tombs.iter().copied().filter(|t| t.1 >= below).collect();
        ranges.sort_unstable_by_key(|t| t.0);
        let mut merged: Vec<Tomb> = Vec::with_capacity(ranges.len());
        for tomb in ranges {
            match merged.last_mut() {
                Some(last) if tomb.0 <= last.1.saturating_add(1) => last.1 = last.1.max(tomb.1),
                _ => merged.push(tomb),
            }
        }
        Removed { below, ranges: merged }
    }

    fn contains(&self, seq: u64) -> bool {
        if seq < self.below {
            return true;
        }
        let after = self.ranges.partition_point(|t| t.0 <= seq);
        after > 0 && self.ranges[after - 1].1 >= seq
    }
}
