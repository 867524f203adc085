//! Examining a data directory while no daemon runs on it: every checksum is read, and nothing is changed.

use super::StoreError;
use super::dir;
use super::frame;
use super::index;
use super::io::{Disk, Place, ReadOnlyDisk};
use super::log::Storage;
use super::removed::Removed;
use super::salt;
use super::scanner::Item;
use super::segment::{CHUNK, Segment, base_of, file_name};
use super::state_log;
use super::table::Builder;
use super::tombstones::{Removals, Tombstones};
use super::vault::{self, Encryption};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is to be found in a data directory.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each stream's log.
    pub logs: Vec<LogReport>,
    /// What the state log says.
    pub state: BTreeMap<String, Bytes>,
    /// Damage outside the records.
    pub damage: Vec<Damage>,
}

/// What is to be found in one log.
#[derive(Clone, Debug, Default)]
pub struct LogReport {
    /// Its name.
    pub id: String,
    /// Segment files.
    pub segments: usize,
    /// Records that can be read and have not been removed.
    pub records: u64,
    /// Bytes they take, uncompressed.
    pub bytes: u64,
    /// The first sequence that can be read, and the last.
    pub sequences: Option<RangeInclusive<u64>>,
    /// Sequences that cannot be read, and bytes of files that hold no record.
    pub damage: Vec<Damage>,
}

/// Damage in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in the operator's words.
    pub what: String,
    /// The sequences that are lost by it.
    pub lost: Option<RangeInclusive<u64>>,
}

impl Report {
    /// Whether everything is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.logs.iter().all(|log| log.damage.is_empty())
    }
}

/// Examines the data directory.
///
/// # Errors
/// It is in use, not ours, of a newer format, encrypted with another key than `key`, or cannot be read.
pub fn examine(dir: &Path, key: Option<&Encryption>) -> Result<Report, StoreError> {
    let _lock = dir::hold(dir)?;
    let mut report = Report::default();
    let state = place_of(Arc::new(ReadOnlyDisk), dir, key)?;
    let (values, walk) = readable(state_log::read(&state))?.unwrap_or_else(|what| {
        report.damage.push(Damage { path: state_log::path(&state), what, lost: None });
        Default::default()
    });
    report.damage.extend(damaged_bytes(state_log::path(&state), &walk));
    let what = "one of its two copies is damaged; the next start makes it anew".to_owned();
    report.damage.extend(vault::half_lost(&state).map(|path| Damage { path, what, lost: None }));
    report.state = values;
    for id in ids(&state)? {
        let place = Place { dir: dir.join("streams").join(&id), ..state.clone() };
        report.logs.push(log(&place, id)?);
    }
    Ok(report)
}

/// A data directory on a disk.
pub(super) fn place_of(disk: Arc<dyn Disk>, dir: &Path, key: Option<&Encryption>) -> Result<Place, StoreError> {
    let place = Place { disk, dir: dir.to_owned(), salt: 0, vault: None };
    let vault = vault::unlock(&place, key)?;
    Ok(Place { salt: salt::read(&place).unwrap_or_default(), vault, ..place })
}

/// The names of the logs.
pub(super) fn ids(place: &Place) -> Result<Vec<String>, StoreError> {
    let streams = place.dir.join("streams");
    match place.disk.list(&streams) {
        Ok(mut ids) => {
            ids.sort();
            Ok(ids)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(StoreError::io("list", &streams, e)),
    }
}

/// First sequences of the segments of a log, in order.
pub(super) fn bases(place: &Place) -> Result<Vec<u64>, StoreError> {
    let names = place.disk.list(&place.dir).map_err(|e| StoreError::io("list", &place.dir, e))?;
    let mut bases: Vec<u64> = names.iter().filter_map(|name| base_of(name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

fn log(place: &Place, id: String) -> Result<LogReport, StoreError> {
    let mut report = LogReport { id, ..LogReport::default() };
    let unreadable = |path: PathBuf, what, lost| Damage { path, what, lost };
    let bases = match readable(bases(place))? {
        Ok(bases) => bases,
        Err(what) => {
            report.damage.push(unreadable(place.dir.clone(), what, None));
            return Ok(report);
        }
    };
    let tombstones = place.dir.join("tombstones");
    let removals = readable(removals(place, &bases))?.unwrap_or_else(|what| {
        report.damage.push(unreadable(tombstones.clone(), what, None));
        Removals::default()
    });
    let gone = Removed::new(removals.all.iter().map(|(_, tomb)| *tomb));
    report.damage.extend(damaged_bytes(tombstones, &removals.walk));
    report.segments = bases.len();
    for (n, base) in bases.iter().enumerate() {
        let next = bases.get(n + 1).copied();
        if let Err(what) = readable(segment(place, *base, next, &gone, &mut report))? {
            let from = report.sequences.as_ref().map_or(*base, |seen| (*base).max(seen.end() + 1));
            let lost = next.map(|next| from..=next - 1).filter(|lost| !lost.is_empty());
            report.damage.push(unreadable(place.dir.join(file_name(*base)), what, lost));
        }
    }
    Ok(report)
}

/// What the system does not read is damage like any other, and the rest goes on; here it is the inner error.
pub(super) fn readable<T>(result: Result<T, StoreError>) -> Result<Result<T, String>, StoreError> {
    match result {
        Ok(read) => Ok(Ok(read)),
        Err(StoreError::Io { error, .. }) => Ok(Err(format!("it cannot be read: {error}"))),
        Err(error) => Err(error),
    }
}

/// What was removed: what the file of removals says, and the last segment as far as it can be read.
pub(super) fn removals(place: &Place, bases: &[u64]) -> Result<Removals, StoreError> {
    let (_, mut removals) = Tombstones::open(place)?;
    if let Some(base) = bases.last()
        && let Ok(Some(segment)) = readable(Segment::open(place, *base))?
    {
        let journaled = segment.removals().unwrap_or_default();
        removals.all.extend(journaled.into_iter().map(|tomb| (u64::MAX, tomb)));
    }
    Ok(removals)
}

/// Walks over a segment, which ends before the sequence `next` if another one follows.
fn segment(
    place: &Place,
    base: u64,
    next: Option<u64>,
    gone: &Removed,
    report: &mut LogReport,
) -> Result<(), StoreError> {
    let emptied = || {
        let (first, last) = index::of_nothing(place, base).filter(|_| next.is_some())?;
        let what = "none of its records is left".into();
        Some(Damage { path: place.dir.join(file_name(base)), what, lost: Some(first..=last) })
    };
    let Some(segment) = Segment::open(place, base)? else {
        report.damage.extend(emptied());
        return Ok(());
    };
    let path = segment.path.clone();
    let failed = |e| StoreError::io("read", &path, e);
    if !segment.sound {
        report.damage.push(Damage { path: path.clone(), what: "its header is damaged".into(), lost: None });
    }
    let len = segment.file.size().map_err(failed)?;
    let mut scanner = segment.scan_file(len, CHUNK);
    let (mut last, mut open) = (base - 1, None);
    let (mut table, before) = (Builder::default(), report.damage.len());
    let mut found = |from: u64, to: u64, lost: RangeInclusive<u64>| {
        let what = format!("bytes {from} to {to} hold no record");
        report.damage.push(Damage { path: path.clone(), what, lost: (!lost.is_empty()).then_some(lost) });
    };
    while let Some(item) = scanner.next().map_err(failed)? {
        match item {
            // What a failed write left, and was given again.
            Item::Record(_, extent) if next.is_some_and(|next| extent.last >= next) => break,
            Item::Record(view, extent) => {
                if let Some(from) = open.take() {
                    found(from, extent.from, last + 1..=view.seq - 1);
                }
                last = view.seq;
                table.push(view.seq, view.subject, view.counted(Storage::File));
                if !gone.contains(view.seq) {
                    report.records += 1;
                    report.bytes += view.counted(Storage::File) as u64;
                    let first = report.sequences.as_ref().map_or(view.seq, |known| *known.start());
                    report.sequences = Some(first..=view.seq);
                }
            }
            Item::Removals(_) | Item::Passed => {}
            // The end of the last segment may be an unfinished write, which opening cuts off.
            Item::Damage { at_end: true, .. } if next.is_none() => {}
            Item::Damage { from, at_end: true } if segment.is_blank(from).map_err(failed)? => {}
            Item::Damage { from, .. } => drop(open.get_or_insert(from)),
        }
    }
    match (open, next) {
        (Some(from), Some(next)) => found(from, len, last + 1..=next - 1),
        _ if last < base => report.damage.extend(emptied()),
        _ => {}
    }
    // Of a damaged segment the index knows more.
    if let Some(known) = index::table(place, base)
        && next.is_some()
        && report.damage.len() == before
        && *table.table() != known
    {
        let what = "it does not say what the segment holds; remove it, it will be made anew".into();
        report.damage.push(Damage { path: index::path(place, base), what, lost: None });
    }
    Ok(())
}

fn damaged_bytes(path: PathBuf, walk: &frame::Walk) -> impl Iterator<Item = Damage> {
    walk.damaged.clone().into_iter().map(move |bytes| {
        let what = format!("bytes {} to {} are damaged", bytes.start, bytes.end);
        Damage { path: path.clone(), what, lost: None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, LogOptions, Record, Store, StoreOptions, salvage};
    use std::fs;

    fn fill(dir: &Path) {
        let store = Store::open(dir, StoreOptions { segment_bytes: 4000, ..StoreOptions::default() }).expect("opens");
        let log = store.create_log("s", LogOptions::default()).expect("creates");
        for n in 0..200 {
            let payload = format!("payload {n}");
            log.append(&Record { subject: "a.b", headers: b"", payload: payload.as_bytes() }).expect("staged");
            store.barrier().wait().expect("commits");
            if n == 100 {
                log.remove(&[50, 60]).expect("removes");
            }
        }
        store.state().write(vec![Change::Put("key".into(), "value".into())]).wait().expect("commits");
        store.close();
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = fs::read(path).expect("readable");
        bytes[at] ^= 4;
        fs::write(path, bytes).expect("written");
    }

    #[test]
    fn damage_is_found_with_its_range_and_the_rest_is_salvaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, new) = (folder.path().join("data"), folder.path().join("new"));
        fill(&dir);
        let report = examine(&dir, None).expect("examined");
        assert!(report.is_sound(), "{report:?}");
        let log = &report.logs[0];
        assert_eq!((log.records, log.sequences.clone(), report.state.len()), (198, Some(1..=200), 1));
        let place = Place { disk: Arc::new(ReadOnlyDisk), dir: dir.join("streams/s"), salt: 0, vault: None };
        let bases = bases(&place).expect("listed");
        assert!(bases.len() > 2);
        // A record in the middle, the last one of a segment, and a header.
        flip(&place.dir.join(crate::store::segment::file_name(bases[0])), 36 + 45 * 10 + 20);
        let second = place.dir.join(crate::store::segment::file_name(bases[1]));
        let len = fs::metadata(&second).expect("there").len() as usize;
        flip(&second, len - 3);
        flip(&second, 3);
        let report = examine(&dir, None).expect("examined");
        let lost: Vec<_> = report.logs[0].damage.iter().filter_map(|damage| damage.lost.clone()).collect();
        assert_eq!(lost.len(), 2, "{report:?}");
        assert!(lost[0].clone().count() == 1 && lost[1] == (bases[2] - 1..=bases[2] - 1), "{report:?}");
        assert_eq!((report.logs[0].damage.len(), report.logs[0].records), (3, 196), "{report:?}");

        let found = salvage(&dir, None, &new, None).expect("salvaged");
        assert_eq!(found.logs[0].damage, report.logs[0].damage);
        assert!(salvage(&dir, None, &new, None).is_err(), "it is not empty any more");
        assert!(examine(&new, None).expect("examined").is_sound());
        let store = Store::open(&new, StoreOptions::default()).expect("opens");
        let log = store.open_log("s", LogOptions::default()).expect("opens");
        let state = log.state();
        assert_eq!((state.msgs, state.first_seq, state.last_seq), (196, 1, 200));
        assert_eq!(log.read(*lost[0].start()).expect("readable"), None);
        assert_eq!(store.state().get("key").as_deref(), Some(&b"value"[..]));
        assert!(matches!(examine(&new, None), Err(StoreError::Locked { .. })), "it is in use");
    }

    #[test]
    fn a_segment_of_which_nothing_is_left_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("data");
        fill(&dir);
        let place = Place { disk: Arc::new(ReadOnlyDisk), dir: dir.join("streams/s"), salt: 0, vault: None };
        let bases = bases(&place).expect("listed");
        for (base, text) in [(bases[0], ""), (bases[1], "something else")] {
            fs::write(place.dir.join(file_name(base)), text).expect("written");
        }
        let report = examine(&dir, None).expect("examined");
        let lost: Vec<_> = report.logs[0].damage.iter().filter_map(|damage| damage.lost.clone()).collect();
        assert_eq!(lost, [bases[0]..=bases[1] - 1, bases[1]..=bases[2] - 1], "{report:?}");
    }

    #[test]
    fn what_cannot_be_read_costs_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let (dir, new) = (folder.path().join("data"), folder.path().join("new"));
        fill(&dir);
        let place = Place { disk: Arc::new(ReadOnlyDisk), dir: dir.join("streams/s"), salt: 0, vault: None };
        let bases = bases(&place).expect("listed");
        let unreadable = place.dir.join(file_name(bases[1]));
        fs::remove_file(&unreadable).and_then(|()| fs::create_dir(&unreadable)).expect("a folder in its place");
        fs::write(dir.join("streams/foreign"), "").expect("written");
        fs::write(place.dir.join("1.seg"), "").expect("written");
        let state = dir.join("state.log");
        fs::remove_file(&state).and_then(|()| fs::create_dir(&state)).expect("a folder in its place");
        let report = salvage(&dir, None, &new, None).expect("salvaged");
        assert_eq!(report.damage.iter().map(|damage| &damage.path).collect::<Vec<_>>(), [&state]);
        let (foreign, log) = (&report.logs[0], &report.logs[1]);
        assert_eq!((foreign.damage.len(), log.damage.len()), (1, 1), "{report:?}");
        assert_eq!(log.damage[0].lost, Some(bases[1]..=bases[2] - 1));
        let found = examine(&new, None).expect("examined");
        let log = found.logs.iter().find(|log| log.id == "s").expect("it is there");
        let lost = (bases[1]..bases[2]).filter(|seq| ![50, 60].contains(seq)).count() as u64;
        assert_eq!((log.records, log.sequences.clone()), (198 - lost, Some(1..=200)), "{found:?}");
    }

    #[test]
    fn every_flipped_byte_is_found_or_harmless() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("data");
        fill(&dir);
        let files = ["streams/s/00000000000000000001.seg", "streams/s/tombstones", "state.log"];
        for (seed, file) in (0..60).flat_map(|seed| files.map(|file| (seed, dir.join(file)))) {
            let whole = fs::read(&file).expect("readable");
            flip(&file, fastrand::Rng::with_seed(seed).usize(..whole.len()));
            // The end of a log that grows may always be an unfinished write.
            let report = examine(&dir, None).expect("examined");
            let shorter = report.state.is_empty() || report.logs[0].records == 200;
            assert!(!report.is_sound() || shorter, "seed {seed} in {}", file.display());
            fs::write(&file, &whole).expect("written");
        }
    }
}
