//! One segment file: a header, then records in sequence order, by themselves or in [units](super::unit), and removals among
//! them. While it is written to, zeros may follow: space prepared for what comes next.
//!
//! In memory a segment is a summary: where it begins and ends, every so often an offset to begin a search from, and which
//! of its sequences were removed.

use super::StoreError;
use super::bits::Bits;
use super::coding::Coding;
use super::frame::{UNSALTED, u32_at, u64_at};
use super::index::{self, Summary};
use super::io::{DiskFile, Place};
use super::log::Storage;
use super::record;
use super::scanner::{Extent, Item, Scanner};
use super::table::Table;
use super::tombstones::{self, Tomb};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes before the first record.
const HEADER: u64 = 36;
/// The same before version 3.
const HEADER_2: u64 = 24;
const MAGIC: &[u8; 8] = b"leafdseg";
/// Of the format; 1 had no removals among the records, and no zeros behind them; 2 no salt, and no units.
const VERSION: u32 = 3;
/// Flag: its records are sealed.
const SEALED: u32 = 1;
/// One search point for about so many bytes.
const STRIDE: u64 = 8 * 1024;
/// Of a segment that reaches over more sequences it is not noted which of them it does not have.
const SPAN_MAX: u64 = 1 << 20;
/// Read-ahead of a sequential scan.
pub(super) const CHUNK: usize = 256 * 1024;

/// How many segments there have been.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A segment.
pub(super) struct Segment {
    /// Sequence that its first record has or would have had.
    pub base: u64,
    /// Last sequence written; `base - 1` while there is none.
    pub last: u64,
    /// Time of the last record.
    pub last_time: i64,
    /// Where its records begin.
    pub start: u64,
    /// How its frames are made.
    pub coding: Arc<Coding>,
    /// Committed length of the file.
    pub len: u64,
    /// Records in the file, removed ones included.
    pub records: u64,
    /// How many of them are removed.
    lost: u64,
    /// What is no more, counted from `base`: removed records, and those that compaction has left out.
    pub removed: Bits,
    pub file: Arc<dyn DiskFile>,
    pub path: PathBuf,
    /// (sequence, offset) of a record every [`STRIDE`] bytes; sequences ascend.
    points: Vec<(u64, u64)>,
    /// Their times.
    times: Vec<i64>,
    /// Nothing of it is known to be damaged.
    pub sound: bool,
    /// An index file says what is in it; never before it is sealed.
    pub indexed: bool,
    /// Length of the file; what is beyond `len` is zeros.
    pub filled: u64,
    /// Nothing is in the file but what was committed, and zeros.
    pub clean: bool,
    /// The file is durably the one with this name. An index is written only then, as it is believed by the length of its segment.
    pub named: bool,
    /// Differs from that of all other segments, also of one whose place this one takes.
    pub serial: u64,
}

/// The file name of the segment that begins at `base`.
pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.seg")
}

/// The base in the name of a segment's file; `None` for files that are not ours.
pub(super) fn base_of(name: &str) -> Option<u64> {
    let base = name.strip_suffix(".seg")?.parse().ok()?;
    (base > 0 && file_name(base) == name).then_some(base)
}

/// What a segment that begins at `base` begins with: magic, version (u32), base (u64), CRC-32 of these, by which any version sees
/// that it is a newer one; then salt and flags (u32 each), and the CRC-32 of these.
pub(super) fn header(base: u64, coding: &Coding) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER as usize);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&base.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header.extend_from_slice(&coding.salt.to_le_bytes());
    header.extend_from_slice(&if coding.key.is_some() { SEALED } else { 0 }.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header[HEADER_2 as usize..]).to_le_bytes());
    header
}

/// What a header says.
struct Header {
    /// Where the records begin.
    start: u64,
    salt: u32,
    sealed: bool,
}

/// Reads a header; an error names a newer version, `None` means that it is damaged.
fn read_header(header: &[u8], base: u64) -> Option<Result<Header, u32>> {
    let (common, rest) = header.split_at_checked(HEADER_2 as usize)?;
    let sound = common[..8] == *MAGIC && u32_at(common, 20) == Some(crc32fast::hash(&common[..20]));
    match u32_at(common, 8).filter(|_| sound && u64_at(common, 12) == Some(base))? {
        1 | 2 => Some(Ok(Header { start: HEADER_2, salt: UNSALTED, sealed: false })),
        VERSION => {
            let salt = u32_at(rest, 0).filter(|_| u32_at(rest, 8) == rest.get(..8).map(crc32fast::hash))?;
            Some(Ok(Header { start: HEADER, salt, sealed: u32_at(rest, 4)? & SEALED > 0 }))
        }
        newer => Some(Err(newer)),
    }
}

impl Segment {
    /// Creates the file with its header; durable when the commit that writes the first records is.
    pub fn create(place: &Place, base: u64) -> Result<Segment, StoreError> {
        let segment = Segment::create_at(place, place.dir.join(file_name(base)), base)?;
        place.disk.sync_dir(&place.dir).map_err(|e| StoreError::io("sync the folder", &place.dir, e))?;
        Ok(segment)
    }

    /// The same under another name.
    pub fn create_at(place: &Place, path: PathBuf, base: u64) -> Result<Segment, StoreError> {
        let failed = |error| StoreError::io("create", &path, error);
        let file = place.disk.open(&path, true).map_err(failed)?;
        file.truncate(0).map_err(failed)?;
        let coding = Coding::new(place, base, place.salt)?;
        file.write_at(&header(base, &coding), 0).map_err(failed)?;
        Ok(Segment::new(base, file, path, HEADER, coding))
    }

    /// Opens an existing file, and checks its header. `None` if the header was never whole: nothing was committed to it.
    pub fn open(place: &Place, base: u64) -> Result<Option<Segment>, StoreError> {
        let path = place.dir.join(file_name(base));
        let failed = |error| StoreError::io("read", &path, error);
        let file = place.disk.open(&path, false).map_err(failed)?;
        let mut header = [0; HEADER as usize];
        let read = file.read_full(&mut header, 0).map_err(failed)?;
        match read_header(&header[..read], base) {
            Some(Ok(Header { start, salt, sealed })) => {
                // A folder that was put here from elsewhere.
                let coding = match (sealed, &place.vault) {
                    (true, None) => return Err(StoreError::NoKey { path }),
                    (false, Some(_)) => return Err(StoreError::NotEncrypted { path }),
                    _ => Coding::new(place, base, salt)?,
                };
                return Ok(Some(Segment::new(base, file, path, start, coding)));
            }
            Some(Err(found)) => return Err(StoreError::Newer { path, found, known: VERSION }),
            None => {}
        }
        // Without records it is an unfinished creation; with them, only the header is damaged, and the rest says enough.
        let bytes = file.read_all().map_err(failed)?;
        let guesses = [(HEADER, Coding::new(place, base, place.salt)?), (HEADER_2, Coding::default())];
        let found = guesses.into_iter().find(|(_, coding)| record::find(&bytes, coding.salt, base - 1).is_some());
        let Some((start, coding)) = found else { return Ok(None) };
        tracing::error!("{}: the header is damaged; the records are kept", path.display());
        Ok(Some(Segment { sound: false, ..Segment::new(base, file, path, start, coding) }))
    }

    fn new(base: u64, file: Arc<dyn DiskFile>, path: PathBuf, start: u64, coding: Coding) -> Segment {
        Segment {
            base,
            last: base - 1,
            last_time: i64::MIN,
            start,
            coding: Arc::new(coding),
            len: start,
            records: 0,
            lost: 0,
            removed: Bits::default(),
            file,
            path,
            points: Vec::new(),
            times: Vec::new(),
            sound: true,
            indexed: false,
            filled: start,
            clean: true,
            named: true,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Opens a sealed segment by what its index says; `None` if that is not of this file.
    pub fn open_indexed(place: &Place, base: u64) -> Option<Segment> {
        let summary = index::summary(place, base)?;
        let path = place.dir.join(file_name(base));
        let file =
            place.disk.open(&path, false).ok().filter(|file| file.size().is_ok_and(|size| size == summary.len))?;
        let mut header = [0; HEADER as usize];
        let read = file.read_full(&mut header, 0).ok()?;
        let Header { start, salt, .. } =
            read_header(&header[..read], base)?.ok().filter(|header| header.sealed == place.vault.is_some())?;
        let coding = Coding::new(place, base, salt).ok()?;
        let Summary { last, records, len, last_time, points, .. } = summary;
        let times = points.iter().map(|point| point.2).collect();
        let points = points.into_iter().map(|point| (point.0, point.1)).collect();
        let new = Segment::new(base, file, path, start, coding);
        Some(Segment { last, last_time, len, records, points, times, indexed: true, ..new })
    }

    /// What its index is to say.
    pub fn summary(&self) -> Summary {
        let Segment { base, last, records, len, last_time, .. } = *self;
        let points = self.points.iter().zip(&self.times).map(|((seq, offset), time)| (*seq, *offset, *time)).collect();
        Summary { base, last, records, len, last_time, points }
    }

    /// Forgets what was said of its records; they are to be [noted](Segment::note) anew.
    pub fn forget(&mut self) {
        (self.last, self.last_time, self.len, self.records) = (self.base - 1, i64::MIN, self.start, 0);
        self.points.clear();
        self.times.clear();
    }

    /// What it holds, in a file.
    pub fn table(&self, place: &Place) -> Result<Table, StoreError> {
        self.contents().table(place, Storage::File)
    }

    /// The way to what it holds, which can be gone without the segment.
    pub fn contents(&self) -> Contents {
        let scanner = self.scan_from(self.start, CHUNK);
        Contents { base: self.base, indexed: self.indexed, scanner, path: self.path.clone() }
    }

    /// Counts a record in that was written there.
    pub fn note(&mut self, seq: u64, time: i64, extent: Extent) {
        if self.points.last().is_none_or(|(_, at)| extent.from - at >= STRIDE) {
            self.points.push((seq, extent.from));
            self.times.push(time);
        }
        self.last = seq;
        self.last_time = time;
        self.records += 1;
        self.len = extent.to;
    }

    /// Takes note that `seq`, which is in the file, was removed; whether that is the one by which two thirds are.
    pub fn remove(&mut self, seq: u64) -> bool {
        let new = self.removed.insert(seq - self.base);
        self.lost += u64::from(new);
        new && self.lost == (self.records * 2).div_ceil(3)
    }

    /// Takes note of what is not in the file, unless it reaches far: the sequences between those that are, `present`, which ascend.
    pub fn note_absent(&mut self, present: impl Iterator<Item = u64>) {
        if self.last.saturating_sub(self.base) > SPAN_MAX {
            return;
        }
        let mut next = self.base;
        for seq in present {
            for absent in next..seq {
                self.removed.insert(absent - self.base);
            }
            next = seq + 1;
        }
    }

    /// Whether `seq` was removed.
    pub fn is_removed(&self, seq: u64) -> bool {
        !self.removed.is_empty() && self.removed.contains(seq - self.base)
    }

    /// Offset from which a search for `seq` begins.
    pub fn offset_of(&self, seq: u64) -> u64 {
        self.span_of(seq).start
    }

    /// Where the frame with `seq` is, if it is there: between two search points.
    fn span_of(&self, seq: u64) -> Range<u64> {
        let behind = self.points.partition_point(|(s, _)| *s <= seq);
        let start = behind.checked_sub(1).map_or(self.start, |n| self.points[n].1);
        start..self.points.get(behind).map_or(self.len, |point| point.1)
    }

    /// A sequence from which a search for the first record at or after `time` may begin.
    pub fn seq_before(&self, time: i64) -> u64 {
        match self.times.partition_point(|t| *t < time) {
            0 => self.base,
            n => self.points[n - 1].0,
        }
    }

    /// Times of some of its records, the first and last included.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        self.times.iter().copied().chain((self.records > 0).then_some(self.last_time))
    }

    /// Records that are not removed.
    pub fn live(&self) -> u64 {
        self.records - self.lost
    }

    /// Bytes of those, about.
    pub fn live_bytes(&self) -> u64 {
        self.len * self.live() / self.records.max(1)
    }

    /// Bytes that writing what is left frees, if it can be read.
    pub fn freed_bytes(&self) -> u64 {
        if self.sound { self.len - self.live_bytes() } else { 0 }
    }

    /// The removals among its records, as far as the file goes.
    pub fn removals(&self) -> io::Result<Vec<Tomb>> {
        let mut scanner = self.scan_file(self.file.size()?, CHUNK);
        let mut tombs = Vec::new();
        while let Some(item) = scanner.next()? {
            if let Item::Removals(body) = item {
                tombs.extend(tombstones::in_frame(body).into_iter().flatten());
            }
        }
        Ok(tombs)
    }

    /// Whether the file holds only zeros from `from` on: prepared space, and no damage.
    pub fn is_blank(&self, from: u64) -> io::Result<bool> {
        let mut rest = vec![0; usize::try_from(self.file.size()?.saturating_sub(from)).map_err(io::Error::other)?];
        let read = self.file.read_full(&mut rest, from)?;
        Ok(rest[..read].iter().all(|byte| *byte == 0))
    }

    /// A scan of the committed records from the one at `offset` on.
    pub fn scan_from(&self, offset: u64, chunk: usize) -> Scanner {
        Scanner::new(self.file.clone(), self.coding.clone(), offset.max(self.start)..self.len, self.base - 1, chunk)
    }

    /// A scan of what there is up to `end`, committed or not.
    pub fn scan_file(&self, end: u64, chunk: usize) -> Scanner {
        Scanner::new(self.file.clone(), self.coding.clone(), self.start..end, self.base - 1, chunk)
    }

    /// A scan of the committed records from `seq` on, and some before it.
    pub fn scan(&self, seq: u64, chunk: usize) -> Scanner {
        self.scan_from(self.offset_of(seq), chunk).seek(seq)
    }

    /// A scan for the committed record `seq` and no other, which is read in one piece.
    pub fn scan_for(&self, seq: u64) -> Scanner {
        let span = self.span_of(seq);
        let chunk = (span.end - span.start) as usize;
        Scanner::new(self.file.clone(), self.coding.clone(), span, self.base - 1, chunk).seek(seq)
    }
}

/// What reads the table of a segment.
pub(super) struct Contents {
    base: u64,
    indexed: bool,
    scanner: Scanner,
    path: PathBuf,
}

impl Contents {
    /// The table: from the index if there is one to be believed, else from the records.
    pub fn table(self, place: &Place, storage: Storage) -> Result<Table, StoreError> {
        if self.indexed
            && let Some(table) = index::table(place, self.base)
        {
            return Ok(table);
        }
        Table::scan(self.scanner, storage).map_err(|e| StoreError::io("read", &self.path, e))
    }
}
