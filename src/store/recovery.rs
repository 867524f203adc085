//! Opening a log: takes what the checkpoint and the index files say of the sealed segments, reads the last one, cuts its torn
//! end, and applies the removals.

use super::batch::Batches;
use super::checkpoint::{self, Checkpoint, Counted, Due};
use super::clock::Ages;
use super::commit::{BLOCK, PREPARED, Shared};
use super::compaction;
use super::index;
use super::io::Place;
use super::log::{LogOptions, State, Storage};
use super::removed::{Change, Removed};
use super::scanner::Item;
use super::segment::{self, CHUNK, Segment, file_name};
use super::subjects::{Budget, Left, Runs, Subjects};
use super::table::{Builder, Table};
use super::tombstones::{self, Removals, Tomb, Tombstones};
use super::{StoreError, SubjectInfo};
use std::io;
use std::sync::Arc;

/// What a device writes as a whole, bytes.
const SECTOR: u64 = 512;

/// A log as it was opened.
pub(super) struct Opened {
    pub state: State,
    /// Subjects whose last record went, after the checkpoint: the one before it has to be looked for.
    pub mend: Vec<Box<str>>,
    /// Sequences that turned out damaged.
    pub damaged: Vec<(u64, u64)>,
}

/// Reads the log in `place`; an empty folder is an empty log.
pub(super) fn open(place: &Place, id: &str, options: &LogOptions, shared: &Shared) -> Result<Opened, StoreError> {
    let names = place.disk.list(&place.dir).map_err(|e| StoreError::io("list", &place.dir, e))?;
    let bases = |base_of: fn(&str) -> Option<u64>| {
        let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).filter(|base| *base > 0).collect();
        bases.sort_unstable();
        bases
    };
    if names.iter().any(|name| name == compaction::NEW) {
        // Of no use; if it stays, the next one is written over it.
        let _ = place.disk.remove(&place.dir.join(compaction::NEW));
    }
    let (tombstones, removals) = Tombstones::open(place)?;
    let (state, mend, damaged) = (State::new(options, place.salt, &shared.budget), Vec::new(), Vec::new());
    let runs = Runs::new(&shared.budget);
    let mut opening = Opening { place, id, state, mend, damaged, tombs: Vec::new(), broken: Vec::new(), runs };
    let mut segments = opening.segments(&bases(segment::base_of))?;
    // First of all, as it says what was removed since the one before was sealed.
    let last = match segments.last_mut() {
        Some((segment, _)) => {
            // If nothing of the one behind it was ever written, more is appended to it than its index says.
            segment.indexed = false;
            Some(opening.scan(segment, u64::MAX)?)
        }
        None => None,
    };
    let mut journaled = std::mem::take(&mut opening.tombs);
    journaled.append(&mut opening.broken);
    let start = Start::find(place, &segments, &tombstones, &removals, &shared.budget);
    opening.state.tombstones = tombstones;
    let known = start.known.iter().flat_map(Checkpoint::removals);
    let gone = Removed::new(known.chain(removals.all.iter().map(|r| r.1)).chain(journaled.iter().copied()));
    opening.state.journaled = journaled;
    opening.load(start, segments, last, &gone)?;
    let Opening { mut state, mend, damaged, .. } = opening;
    // What was removed is not given again, also where a power cut took the records and left their removal.
    state.next = state.next.max(gone.end());
    // Nor what stood in a segment that has gone without a word, if its index is left.
    if let Some(sealed) = bases(index::base_of).last().and_then(|base| index::summary(place, *base)) {
        state.next = state.next.max(sealed.last + 1);
    }
    state.committed = state.next - 1;
    state.committed_time = state.last_time;
    state.ages = Ages::new(shared.now(), state.segments.iter().flat_map(Segment::times));
    state.first = match state.segments.front() {
        Some(front) => front.base.max(gone.below).min(state.next),
        None => state.next,
    };
    for segment in state.settle() {
        let _ = place.disk.remove(&segment.path);
        state.checkpoint.gone.push(segment.base);
    }
    let here = |base: &u64| state.segments.binary_search_by_key(base, |s| s.base).is_ok();
    let dropped = bases(index::base_of).into_iter().filter(|base| !here(base));
    state.checkpoint.gone = dropped.collect();
    Ok(Opened { state, mend, damaged })
}

/// Where counting starts: at the checkpoint if it fits to what is there, else from nothing.
#[derive(Default)]
struct Start {
    known: Option<Checkpoint>,
    /// What the checkpoint has counted out.
    before: Removed,
    subjects: Option<Subjects>,
    due: Due,
    /// Segments that the checkpoint counts in and that are gone since, of which there are the tables.
    dropped: Vec<Counted>,
}

impl Start {
    fn find(
        place: &Place,
        segments: &[(Segment, bool)],
        tombstones: &Tombstones,
        removals: &Removals,
        budget: &Arc<Budget>,
    ) -> Start {
        Self::from_checkpoint(place, segments, tombstones, removals, budget).unwrap_or_default()
    }

    fn from_checkpoint(
        place: &Place,
        segments: &[(Segment, bool)],
        tombstones: &Tombstones,
        removals: &Removals,
        budget: &Arc<Budget>,
    ) -> Option<Start> {
        let (known, subjects, due) = checkpoint::read(place, budget)?;
        let (now, then) = (tombstones.mark().0, known.mark);
        if !removals.walk.damaged.is_empty()
            || then.len > 0 && (then.generation != now.generation || then.len > now.len)
        {
            return None;
        }
        let counted = |base: u64| known.segments.iter().any(|known| known.base == base);
        let mut dropped = Vec::new();
        for counted in &known.segments {
            match segments.iter().find(|(segment, _)| segment.base == counted.base) {
                // The last one is not sealed any more if what followed it was never written.
                Some((segment, last)) if *last || !segment.indexed || !counted.is(segment) => return None,
                Some(_) => {}
                None => {
                    counted.table(place)?;
                    dropped.push(*counted);
                }
            }
        }
        if segments.iter().any(|(segment, _)| segment.base <= known.last && !counted(segment.base)) {
            return None;
        }
        let written = removals.all.iter().filter(|(at, _)| *at < then.len).map(|(_, tomb)| *tomb);
        let before = Removed::new(known.removals().chain(written));
        Some(Start { before, known: Some(known), subjects: Some(subjects), due, dropped })
    }
}

struct Opening<'a> {
    place: &'a Place,
    id: &'a str,
    state: State,
    mend: Vec<Box<str>>,
    damaged: Vec<(u64, u64)>,
    /// Removals that were come across.
    tombs: Vec<Tomb>,
    /// Records of batches that are not whole.
    broken: Vec<Tomb>,
    /// What does not fit into memory of what is counted in and out.
    runs: Runs,
}

impl Opening<'_> {
    /// The segments that hold records, each with whether it is the last; if none does, the last empty one, as it says which
    /// sequence is next. The others were begun and never written to, or are damaged throughout: they say nothing, and are removed.
    fn segments(&mut self, bases: &[u64]) -> Result<Vec<(Segment, bool)>, StoreError> {
        let (mut filled, mut empty) = (Vec::new(), Vec::new());
        for (n, base) in bases.iter().enumerate() {
            if n + 1 < bases.len()
                && let Some(segment) = Segment::open_indexed(self.place, *base)
            {
                filled.push(segment);
                continue;
            }
            match Segment::open(self.place, *base)? {
                Some(segment) if holds_records(&segment)? => {
                    filled.push(segment);
                    continue;
                }
                Some(segment) => empty.push((segment.path.clone(), Some(segment))),
                None => empty.push((self.place.dir.join(file_name(*base)), None)),
            }
            if n + 1 < bases.len()
                && let Some(lost) = index::of_nothing(self.place, *base)
            {
                self.damaged.push(lost);
            }
        }
        if filled.is_empty()
            && let Some(at) = empty.iter().rposition(|(_, segment)| segment.is_some())
        {
            filled.extend(empty.swap_remove(at).1);
        }
        for (path, _) in empty {
            tracing::debug!("{}: {} holds nothing", self.id, path.display());
            self.place.disk.remove(&path).map_err(|e| StoreError::io("remove", &path, e))?;
        }
        let count = filled.len();
        Ok(filled.into_iter().enumerate().map(|(n, segment)| (segment, n + 1 == count)).collect())
    }

    /// Counts the segments in; `table_of_last` is that of the last one, which has been read.
    fn load(
        &mut self,
        start: Start,
        segments: Vec<(Segment, bool)>,
        mut table_of_last: Option<Table>,
        gone: &Removed,
    ) -> Result<(), StoreError> {
        let Start { known, before, subjects, due, dropped } = start;
        if let Some(subjects) = subjects {
            self.state.subjects = subjects;
        }
        self.state.checkpoint = due;
        let counted = known.map_or(0, |known| {
            (self.state.msgs, self.state.bytes) = (known.msgs, known.bytes);
            self.state.next = self.state.next.max(known.last + 1);
            known.last
        });
        let lies_in = |counted: &Counted, seq| (counted.base..=counted.last).contains(&seq);
        let there = |seq| !gone.contains(seq) && !dropped.iter().any(|counted| lies_in(counted, seq));
        for counted in &dropped {
            // It was there a moment ago.
            let gone = || StoreError::io("read", &self.place.dir, io::ErrorKind::NotFound.into());
            let table = counted.table(self.place).ok_or_else(gone)?;
            self.count_out(&table, |seq| !before.contains(seq), &there)?;
        }
        // A record that a failed write left behind was refused, and its sequence given again, to a record of a later segment.
        let nexts: Vec<u64> = segments.iter().skip(1).map(|(s, _)| s.base).chain([u64::MAX]).collect();
        for ((mut segment, last), next) in segments.into_iter().zip(nexts) {
            // A segment whose index was not written, or cut back by the loss of what followed, is read.
            let (mut table, mut broken) = (table_of_last.take_if(|_| last), Removed::default());
            if !last && (!segment.indexed || segment.last >= next) {
                segment.indexed = false;
                let found = self.scan(&mut segment, next)?;
                let parts = std::mem::take(&mut self.broken);
                self.remove(&parts)?;
                broken = Removed::new(parts.into_iter());
                // One of which nothing was kept has no index to speak of.
                if segment.records > 0 {
                    segment.indexed = index::write(self.place, &segment.summary(), &found).is_ok();
                }
                table = Some(found);
            }
            let change = Change::of(&segment, &before, gone);
            if table.is_none() && (segment.base > counted || change.is_partial(&segment)) {
                table = Some(segment.table(self.place)?);
            }
            match &table {
                Some(table) => {
                    let is_gone = |seq| gone.contains(seq) || broken.contains(seq);
                    for row in table.rows.iter().filter(|row| is_gone(row.seq)) {
                        segment.remove(row.seq);
                    }
                    segment.note_absent(table.rows.iter().map(|row| row.seq));
                    match segment.base > counted {
                        true => self.count_in(table, is_gone, &there)?,
                        false => self.count_out(table, |seq| gone.contains(seq) && !before.contains(seq), &there)?,
                    }
                }
                None => {
                    for seq in gone.within(segment.base, segment.last) {
                        segment.remove(seq);
                    }
                }
            }
            if segment.base > counted && !last {
                self.state.checkpoint.since += segment.len;
            }
            self.state.next = self.state.next.max(segment.last + 1);
            self.state.last_time = self.state.last_time.max(segment.last_time);
            self.state.segments.push_back(segment);
        }
        self.merge_runs(&there)
    }

    /// Notes that records are no more, before an index says that they are there.
    fn remove(&mut self, tombs: &[Tomb]) -> Result<(), StoreError> {
        if tombs.is_empty() {
            return Ok(());
        }
        self.state.tombstones.write(self.place, tombs)?;
        self.state.tombstones.sync(self.place).map_err(|(error, _)| error)
    }

    fn count_in(
        &mut self,
        table: &Table,
        is_gone: impl Fn(u64) -> bool,
        there: &dyn Fn(u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut infos = Vec::new();
        for (subject, info, bytes) in table.summarize(|seq| !is_gone(seq)) {
            self.state.msgs += info.count;
            self.state.bytes += bytes;
            infos.push((subject, info));
        }
        if !self.put_aside(&infos, false, there)? {
            for (subject, info) in infos {
                self.state.subjects.merge(subject, info)?;
                self.state.subjects.relieve(u64::MAX);
            }
        }
        Ok(())
    }

    fn count_out(
        &mut self,
        table: &Table,
        chosen: impl Fn(u64) -> bool,
        there: &dyn Fn(u64) -> bool,
    ) -> Result<(), StoreError> {
        let mut infos = Vec::new();
        for (subject, info, bytes) in table.summarize(&chosen) {
            self.state.msgs = self.state.msgs.saturating_sub(info.count);
            self.state.bytes = self.state.bytes.saturating_sub(bytes);
            infos.push((subject, info));
        }
        if !self.put_aside(&infos, true, there)? {
            for row in table.rows.iter().filter(|row| chosen(row.seq)) {
                let subject = table.subject(row.subject);
                if self.state.subjects.remove(subject, row.seq, there)? == Left::Last {
                    self.mend.push(subject.into());
                }
                self.state.subjects.relieve(u64::MAX);
            }
        }
        Ok(())
    }

    /// Puts aside what is to be counted in, or `out`, if that needs more memory than there is; whether it did.
    fn put_aside(
        &mut self,
        infos: &[(&str, SubjectInfo)],
        out: bool,
        there: &dyn Fn(u64) -> bool,
    ) -> Result<bool, StoreError> {
        if infos.is_empty() || self.runs.is_empty() && self.state.subjects.has_room() {
            return Ok(false);
        }
        if self.runs.is_full() {
            self.merge_runs(there)?;
        }
        if let Err(error) = self.runs.add(infos.to_vec(), out) {
            tracing::debug!("{}: subjects are counted one by one: {error}", self.id);
            self.merge_runs(there)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Counts what was put aside.
    fn merge_runs(&mut self, there: &dyn Fn(u64) -> bool) -> Result<(), StoreError> {
        self.runs.merge(&mut self.state.subjects, there, &mut self.mend)
    }

    /// Reads a segment up to the record that `next` begins with, and cuts what follows its last whole record or batch.
    fn scan(&mut self, segment: &mut Segment, next: u64) -> Result<Table, StoreError> {
        let path = segment.path.clone();
        let failed = |e| StoreError::io("read", &path, e);
        let len = segment.file.size().map_err(failed)?;
        let mut scanner = segment.scan_file(len, CHUNK);
        let mut table = Builder::default();
        let mut batches = Batches::default();
        let (mut cut, mut damage) = (None, false);
        let id = self.id;
        segment.forget();
        while let Some(item) = scanner.next().map_err(failed)? {
            match item {
                // Nothing is passed over.
                Item::Passed => {}
                Item::Damage { from, at_end: true }
                    if next == u64::MAX || segment.is_blank(from).map_err(failed)? =>
                {
                    cut = Some(from);
                }
                Item::Removals(body) => {
                    // Nothing in front of removals is cut off.
                    batches.give_up();
                    self.tombs.extend(tombstones::in_frame(body).into_iter().flatten());
                    segment.len = scanner.position();
                }
                Item::Damage { from, .. } => {
                    if next == u64::MAX && is_torn(segment, from, scanner.position(), len)? {
                        cut = Some(from);
                        break;
                    }
                    damage = true;
                    batches.damage();
                }
                // All of a unit was refused, or none of it.
                Item::Record(_, extent) if extent.last >= next => {
                    cut = Some(extent.from);
                    break;
                }
                Item::Record(view, extent) => {
                    if std::mem::take(&mut damage) {
                        self.damaged.push((segment.last + 1, view.seq - 1));
                    }
                    segment.note(view.seq, view.time, extent);
                    batches.record(view.seq, view.part, extent.from);
                    table.push(view.seq, view.subject, view.counted(Storage::File));
                }
            }
        }
        if damage {
            self.damaged.push((segment.last + 1, next - 1));
        }
        segment.filled = segment.len;
        let unfinished = batches.unfinished().filter(|_| next == u64::MAX);
        if let Some(from) = unfinished.or(cut) {
            if !segment.is_blank(from).map_err(failed)? {
                tracing::info!("{id}: cut {} bytes of an unfinished write", len - from);
            }
            segment.file.truncate(from).and_then(|()| segment.file.sync()).map_err(failed)?;
        }
        match unfinished {
            // Once more, without it.
            Some(_) => self.scan(segment, next),
            None => {
                batches.give_up();
                if !batches.broken.is_empty() {
                    tracing::warn!("{id}: a batch is not whole: what is left of it is removed");
                }
                self.broken.append(&mut batches.broken);
                Ok(table.finish())
            }
        }
    }
}

/// Whether the damage from `from` to `to` is a hole in the last commit of a file of length `len`. A commit of no more than a block
/// is written over zeros, and its sectors may reach the disk in any order: where one did not, there are zeros still.
fn is_torn(segment: &Segment, from: u64, to: u64, len: u64) -> Result<bool, StoreError> {
    if len - from > BLOCK + PREPARED {
        return Ok(false);
    }
    let mut bytes = vec![0; (len - from) as usize];
    let read = segment.file.read_full(&mut bytes, from).map_err(|e| StoreError::io("read", &segment.path, e))?;
    bytes.truncate(read);
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if used as u64 > BLOCK {
        return Ok(false);
    }
    let mut at = from;
    while at < to {
        let end = (at + 1).next_multiple_of(SECTOR);
        let sector = bytes.get((at - from) as usize..(end - from) as usize).unwrap_or_default();
        if !sector.is_empty() && sector.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

fn holds_records(segment: &Segment) -> Result<bool, StoreError> {
    let failed = |e| StoreError::io("read", &segment.path, e);
    let len = segment.file.size().map_err(failed)?;
    let mut scanner = segment.scan_file(len, 4096);
    Ok(match scanner.next().map_err(failed)? {
        None | Some(Item::Damage { at_end: true, .. }) => false,
        Some(Item::Record(..) | Item::Removals(_) | Item::Passed | Item::Damage { at_end: false, .. }) => true,
    })
}
