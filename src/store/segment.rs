//! One segment file: a header, then records in sequence order, and removals among them. While it is written to, zeros may
//! follow: space prepared for what comes next.
//!
//! In memory a segment is a summary: where it begins and ends, every so often an offset to begin a search from, and which
//! of its sequences were removed.

use super::StoreError;
use super::bits::Bits;
use super::frame::{self, Parsed, u32_at, u64_at};
use super::index::{self, Summary};
use super::io::{DiskFile, Place};
use super::record::{self, View};
use super::table::Table;
use super::tombstones::{self, Tomb};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes before the first record.
pub(super) const HEADER: u64 = 24;
const MAGIC: &[u8; 8] = b"leafdseg";
/// Of the format; 1 had no removals among the records, and no zeros behind them.
const VERSION: u32 = 2;
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

/// What a segment that begins at `base` begins with.
pub(super) fn header(base: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER as usize);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&base.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header
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
        file.write_at(&header(base), 0).map_err(failed)?;
        Ok(Segment::new(base, file, path))
    }

    /// Opens an existing file, and checks its header. `None` if the header was never whole: nothing was committed to it.
    pub fn open(place: &Place, base: u64) -> Result<Option<Segment>, StoreError> {
        let path = place.dir.join(file_name(base));
        let failed = |error| StoreError::io("read", &path, error);
        let file = place.disk.open(&path, false).map_err(failed)?;
        let mut header = [0; HEADER as usize];
        let read = file.read_full(&mut header, 0).map_err(failed)?;
        let crc = crc32fast::hash(&header[..20]);
        if read < header.len() || header[..8] != *MAGIC || u32_at(&header, 20) != Some(crc) {
            // Without records it is an unfinished creation; with them, only the header is damaged, and the name says enough.
            let bytes = file.read_all().map_err(failed)?;
            if record::find(&bytes, base - 1).is_none() {
                return Ok(None);
            }
            tracing::error!("{}: the header is damaged; the records are kept", path.display());
            return Ok(Some(Segment { sound: false, ..Segment::new(base, file, path) }));
        }
        match u32_at(&header, 8) {
            Some(1..=VERSION) if u64_at(&header, 12) == Some(base) => Ok(Some(Segment::new(base, file, path))),
            Some(found) => Err(StoreError::Newer { path, found, known: VERSION }),
            None => Ok(None),
        }
    }

    fn new(base: u64, file: Arc<dyn DiskFile>, path: PathBuf) -> Segment {
        Segment {
            base,
            last: base - 1,
            last_time: i64::MIN,
            len: HEADER,
            records: 0,
            lost: 0,
            removed: Bits::default(),
            file,
            path,
            points: Vec::new(),
            times: Vec::new(),
            sound: true,
            indexed: false,
            filled: HEADER,
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
        let Summary { last, records, len, last_time, points, .. } = summary;
        let times = points.iter().map(|point| point.2).collect();
        let points = points.into_iter().map(|point| (point.0, point.1)).collect();
        let known =
            Segment { last, last_time, len, records, points, times, indexed: true, ..Segment::new(base, file, path) };
        Some(known)
    }

    /// What its index is to say.
    pub fn summary(&self) -> Summary {
        let Segment { base, last, records, len, last_time, .. } = *self;
        let points = self.points.iter().zip(&self.times).map(|((seq, offset), time)| (*seq, *offset, *time)).collect();
        Summary { base, last, records, len, last_time, points }
    }

    /// Forgets what was said of its records; they are to be [noted](Segment::note) anew.
    pub fn forget(&mut self) {
        (self.last, self.last_time, self.len, self.records) = (self.base - 1, i64::MIN, HEADER, 0);
        self.points.clear();
        self.times.clear();
    }

    /// What it holds.
    pub fn table(&self, place: &Place) -> Result<Table, StoreError> {
        self.contents().table(place)
    }

    /// The way to what it holds, which can be gone without the segment.
    pub fn contents(&self) -> Contents {
        let scanner = self.scan_from(HEADER, CHUNK);
        Contents { base: self.base, indexed: self.indexed, scanner, path: self.path.clone() }
    }

    /// Counts a record in that was written at `offset`.
    pub fn note(&mut self, seq: u64, time: i64, offset: u64, used: usize) {
        if self.points.last().is_none_or(|(_, at)| offset - at >= STRIDE) {
            self.points.push((seq, offset));
            self.times.push(time);
        }
        self.last = seq;
        self.last_time = time;
        self.records += 1;
        self.len = offset + used as u64;
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
        match self.points.partition_point(|(s, _)| *s <= seq) {
            0 => HEADER,
            n => self.points[n - 1].1,
        }
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

    /// Whether writing what is left frees twice as much, and at least `least` bytes.
    pub fn is_sparse(&self, least: u64) -> bool {
        let freed = self.len - self.live_bytes();
        self.sound && freed >= least && freed >= 2 * self.live_bytes()
    }

    /// The removals among its records, as far as the file goes.
    pub fn removals(&self) -> io::Result<Vec<Tomb>> {
        let mut scanner = Scanner::new(self.file.clone(), HEADER, self.file.size()?, self.base - 1, CHUNK);
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
        Scanner::new(self.file.clone(), offset.max(HEADER), self.len, self.base - 1, chunk)
    }

    /// A scan of the committed records from about `seq` on.
    pub fn scan(&self, seq: u64, chunk: usize) -> Scanner {
        Scanner::new(self.file.clone(), self.offset_of(seq), self.len, self.base - 1, chunk)
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
    pub fn table(self, place: &Place) -> Result<Table, StoreError> {
        if self.indexed
            && let Some(table) = index::table(place, self.base)
        {
            return Ok(table);
        }
        Table::scan(self.scanner).map_err(|e| StoreError::io("read", &self.path, e))
    }
}

/// Walks over the records of a segment file.
pub(super) struct Scanner {
    file: Arc<dyn DiskFile>,
    /// Offset of `buffer[0]`.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    end: u64,
    after: u64,
    chunk: usize,
}

/// What a scan comes across.
pub(super) enum Item<'a> {
    /// A record and its offset.
    Record(View<'a>, u64),
    /// The body of a frame of [removals](tombstones::in_frame).
    Removals(&'a [u8]),
    /// Bytes that are no record, from this offset to where the next record begins, or to the end.
    Damage { from: u64, at_end: bool },
}

enum Step {
    /// Length and sequence of a record.
    Whole(usize, u64),
    /// Length of a frame of removals.
    Removals(usize),
    Bad,
}

impl Scanner {
    pub fn new(file: Arc<dyn DiskFile>, offset: u64, end: u64, after: u64, chunk: usize) -> Scanner {
        Scanner { file, offset, buffer: Vec::new(), at: 0, end, after, chunk }
    }

    /// Offset behind the last item.
    pub fn position(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The records may now be read up to `end`.
    pub fn extend(&mut self, end: u64) {
        self.end = end;
    }

    /// The next item; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        let (position, step) = loop {
            let position = self.offset + self.at as u64;
            if position >= self.end {
                return Ok(None);
            }
            let step = match frame::parse(&self.buffer[self.at..]) {
                Parsed::Whole(body, used) => match record::view(body, used) {
                    // Sequences ascend; what does not is left of an older write.
                    Some(view) if view.seq > self.after && view.seq < u64::MAX => Step::Whole(used, view.seq),
                    None if tombstones::in_frame(body).is_some() => Step::Removals(used),
                    _ => Step::Bad,
                },
                Parsed::Short(wanted) if position + wanted as u64 <= self.end => {
                    self.fill(wanted)?;
                    continue;
                }
                _ => Step::Bad,
            };
            break (position, step);
        };
        match step {
            Step::Whole(used, seq) => {
                let body = &self.buffer[self.at + frame::PREFIX..self.at + used];
                self.at += used;
                self.after = seq;
                return Ok(record::view(body, used).map(|view| Item::Record(view, position)));
            }
            Step::Removals(used) => {
                let body = &self.buffer[self.at + frame::PREFIX..self.at + used];
                self.at += used;
                return Ok(Some(Item::Removals(body)));
            }
            Step::Bad => {}
        }
        // Damage, or a length that cannot be true: look for the next record in all that follows.
        self.fill((self.end - position) as usize)?;
        let found = record::find(&self.buffer[self.at..], self.after);
        self.at = found.map_or(self.buffer.len(), |n| self.at + n);
        if found.is_none() {
            self.end = self.offset + self.at as u64;
        }
        Ok(Some(Item::Damage { from: position, at_end: found.is_none() }))
    }

    /// Has at least `wanted` bytes from the position on in the buffer, or all there are.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let left = ((self.end - self.offset) as usize).saturating_sub(have);
        let more = wanted.saturating_sub(have).max(self.chunk).min(left);
        self.buffer.resize(have + more, 0);
        let read = self.file.read_full(&mut self.buffer[have..], self.offset + have as u64)?;
        self.buffer.truncate(have + read);
        if read == 0 {
            // The file is shorter than it should be: what is missing counts as damage.
            self.end = self.offset + have as u64;
        }
        Ok(())
    }
}
