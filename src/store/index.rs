//! The index file of a sealed segment (`<first sequence>.idx`): its summary, so that opening need not read the segment, and
//! its [`Table`], so that questions about what it holds need not either.
//!
//! It is a hint. One that is missing, damaged, of another version, or not of this segment is made anew from the segment.
//! Layout: magic, version (u32), then two frames: the summary and the table, in the numbers of [`super::varint`].

use super::StoreError;
use super::frame::{self, Parsed, UNSALTED, u32_at};
use super::io::Place;
use super::segment::CHUNK;
use super::table::Table;
use super::varint::{self, Cursor};
use super::vault::{self, Kind};
use std::io;
use std::path::PathBuf;

pub(super) const MAGIC: &[u8; 8] = b"leafdidx";
/// Of the format; 1 counted a byte more for a record.
pub(super) const VERSION: u32 = 2;
const HEADER: usize = 12;

/// What opening needs to know of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// The sequence it begins at.
    pub base: u64,
    /// Last sequence in it.
    pub last: u64,
    /// Records in it.
    pub records: u64,
    /// Length of the file.
    pub len: u64,
    /// Time of the last record.
    pub last_time: i64,
    /// (sequence, offset, time) of a record every so often.
    pub points: Vec<(u64, u64, i64)>,
}

/// Path of the index of the segment that begins at `base`.
pub(super) fn path(place: &Place, base: u64) -> PathBuf {
    place.dir.join(format!("{base:020}.idx"))
}

/// The base of the index file with this name.
pub(super) fn base_of(name: &str) -> Option<u64> {
    name.strip_suffix(".idx")?.parse().ok()
}

/// Writes the index of a sealed segment; returns its size. It need not be durable, as it can be made again.
pub(super) fn write(place: &Place, summary: &Summary, table: &Table) -> Result<u64, StoreError> {
    let mut out = Vec::with_capacity(table.rows.len() * 4 + 1024);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sealer = place.vault.as_ref();
    vault::push(sealer, Kind::Hint, &mut out, |out| summary.encode(out));
    vault::push(sealer, Kind::Hint, &mut out, |out| table.encode(summary.base, out));
    let path = path(place, summary.base);
    let failed = |e| StoreError::io("write", &path, e);
    // Nothing of an earlier one must be left in it, should the power go.
    let _ = place.disk.remove(&path);
    let file = place.disk.open(&path, true).map_err(failed)?;
    file.truncate(0).and_then(|()| file.write_at(&out, 0)).map_err(failed)?;
    Ok(out.len() as u64)
}

/// The summary of the segment that begins at `base`; `None` if there is none to be believed.
pub(super) fn summary(place: &Place, base: u64) -> Option<Summary> {
    let file = place.disk.open(&path(place, base), false).ok()?;
    let mut bytes = vec![0; CHUNK / 4];
    let read = file.read_full(&mut bytes, 0).ok()?;
    bytes.truncate(read);
    if let Parsed::Short(wanted) = frame::parse(body(&bytes)?, UNSALTED) {
        bytes.resize((HEADER + wanted).min(usize::try_from(file.size().ok()?).ok()?), 0);
        file.read_full(&mut bytes, 0).ok()?;
    }
    match frame::parse(body(&bytes)?, UNSALTED) {
        Parsed::Whole(body, _) => {
            let body = vault::open_body(place.vault.as_ref(), Kind::Hint, body)?;
            Summary::decode(&body).filter(|summary| summary.base == base)
        }
        Parsed::Short(_) | Parsed::Bad => None,
    }
}

/// The first and the last sequence that were in a sealed segment in which no record is left.
pub(super) fn of_nothing(place: &Place, base: u64) -> Option<(u64, u64)> {
    summary(place, base).filter(|known| known.records > 0).map(|known| (base, known.last))
}

/// The table of the segment that begins at `base`; `None` if there is none to be believed.
pub(super) fn table(place: &Place, base: u64) -> Option<Table> {
    let bytes = place.disk.open(&path(place, base), false).ok()?.read_all().ok()?;
    let Parsed::Whole(_, used) = frame::parse(body(&bytes)?, UNSALTED) else { return None };
    match frame::parse(&body(&bytes)?[used..], UNSALTED) {
        Parsed::Whole(body, _) => Table::decode(base, &vault::open_body(place.vault.as_ref(), Kind::Hint, body)?),
        Parsed::Short(_) | Parsed::Bad => None,
    }
}

/// Removes the index of a segment that is gone.
pub(super) fn remove(place: &Place, base: u64) -> io::Result<()> {
    match place.disk.remove(&path(place, base)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// What follows the header, if that is of our making.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    (bytes.get(..8)? == MAGIC && u32_at(bytes, 8)? == VERSION).then(|| &bytes[HEADER..])
}

impl Summary {
    fn encode(&self, out: &mut Vec<u8>) {
        let Summary { base, last, records, len, last_time, points } = self;
        [*base, last - base, *records, *len].into_iter().for_each(|n| varint::put(out, n));
        varint::put_signed(out, *last_time);
        varint::put(out, points.len() as u64);
        let mut before = (*base, 0, 0);
        for point in points {
            varint::put(out, point.0 - before.0);
            varint::put(out, point.1 - before.1);
            varint::put_signed(out, point.2.wrapping_sub(before.2));
            before = *point;
        }
    }

    fn decode(body: &[u8]) -> Option<Summary> {
        let mut cursor = Cursor(body);
        let base = cursor.number()?;
        let last = base.checked_add(cursor.number()?)?;
        let (records, len, last_time) = (cursor.number()?, cursor.number()?, cursor.signed()?);
        let mut points = Vec::new();
        let mut before = (base, 0u64, 0i64);
        for _ in 0..cursor.number()? {
            let seq = before.0.checked_add(cursor.number()?)?;
            let offset = before.1.checked_add(cursor.number()?)?;
            before = (seq, offset, before.2.wrapping_add(cursor.signed()?));
            points.push(before);
        }
        let fits = before.0 <= last && before.1 < len && records > 0 && records - 1 <= last - base;
        (fits && cursor.0.is_empty()).then_some(Summary { base, last, records, len, last_time, points })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::table::Builder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_is_read_as_written(gaps in proptest::collection::vec((0u64..5, 0usize..9, 40usize..9000), 1..200)) {
            let mut builder = Builder::default();
            let mut seq = 100;
            for (gap, subject, size) in gaps {
                seq += gap;
                builder.push(seq, &format!("s.{subject}.x"), size);
                seq += 1;
            }
            let table = builder.finish();
            let mut out = Vec::new();
            table.encode(100, &mut out);
            let read = Table::decode(100, &out).expect("reads");
            prop_assert_eq!(&read.rows, &table.rows);
            prop_assert!(read.subjects().eq(table.subjects()));
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes: Vec<u8>) {
            let _ = Table::decode(1, &bytes);
            let _ = Summary::decode(&bytes);
        }
    }

    #[test]
    fn a_summary_is_read_as_written() {
        let points = vec![(7, 24, -5), (9, 9000, i64::MAX), (12, 20000, 0)];
        let summary = Summary { base: 7, last: 30, records: 20, len: 30000, last_time: -1, points };
        let mut out = Vec::new();
        summary.encode(&mut out);
        assert_eq!(Summary::decode(&out), Some(summary));
        assert!((0..out.len()).all(|n| Summary::decode(&out[..n]).is_none()));
        let all = Summary { base: 0, last: u64::MAX, records: 1, len: 1, ..Summary::default() };
        out.clear();
        all.encode(&mut out);
        assert_eq!(Summary::decode(&out), Some(all), "as many sequences as there are");
    }
}
