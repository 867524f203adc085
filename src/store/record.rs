//! One stored message as bytes: kind (u8), subject length (u16), headers length (u32), sequence (u64), time (i64), then
//! subject, headers and payload; in a frame. The kind also says which records are a batch: all of it is there, or none.

use super::StoreError;
use super::frame::{self, Parsed, u16_at, u32_at, u64_at};
use super::log::Storage;
use super::unit;
use bytes::Bytes;

const KIND: u8 = 1;
/// Beside the kind: the record before is of the same batch.
const JOINS: u8 = 2;
/// Beside the kind: so is the one behind.
const GOES_ON: u8 = 4;
/// Body bytes before the subject.
const FIXED: usize = 23;
/// What a record costs beyond subject, headers and payload.
pub(super) const OVERHEAD: usize = frame::PREFIX + FIXED;
/// What is counted for a record in a file at least.
pub(super) const COUNTED: usize = 30;

/// A record as it is given to the store.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// By which it is indexed.
    pub subject: &'a str,
    /// Verbatim header block; may be empty.
    pub headers: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
}

/// Where a record stands in a batch; by itself unless something else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The record before it belongs to the same batch.
    pub joins: bool,
    /// So does the one behind it.
    pub goes_on: bool,
}

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub seq: u64,
    /// When it was stored, nanoseconds since 1970; never less than its predecessor's.
    pub time: i64,
    /// By which it is indexed.
    pub subject: Box<str>,
    /// Verbatim header block; may be empty.
    pub headers: Bytes,
    /// The body.
    pub payload: Bytes,
}

impl Stored {
    /// The same as a record to be stored.
    pub fn record(&self) -> Record<'_> {
        Record { subject: &self.subject, headers: &self.headers, payload: &self.payload }
    }
}

/// A record within a read buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub seq: u64,
    pub time: i64,
    pub subject: &'a str,
    pub headers: &'a [u8],
    pub payload: &'a [u8],
    pub part: Part,
}

impl Record<'_> {
    /// Length as a frame by itself.
    pub(super) fn size(&self) -> usize {
        OVERHEAD + self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// Bytes by which it is counted in a log that keeps its records there, as in [`LogState::bytes`](super::LogState::bytes).
    pub fn counted(&self, storage: Storage) -> usize {
        counted(storage, self.subject, self.headers, self.payload)
    }

    /// Whether it fits in a frame.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.size() > frame::MAX_BODY || self.subject.len() > usize::from(u16::MAX) {
            return Err(StoreError::TooLarge(self.size()));
        }
        Ok(())
    }

    /// Appends the frame.
    pub(super) fn push(&self, out: &mut Vec<u8>, salt: u32, seq: u64, time: i64, part: Part) {
        frame::push(out, salt, |out| {
            let mut fixed = [0; FIXED];
            fixed[0] = KIND | if part.joins { JOINS } else { 0 } | if part.goes_on { GOES_ON } else { 0 };
            fixed[1..3].copy_from_slice(&(self.subject.len() as u16).to_le_bytes());
            fixed[3..7].copy_from_slice(&(self.headers.len() as u32).to_le_bytes());
            fixed[7..15].copy_from_slice(&seq.to_le_bytes());
            fixed[15..23].copy_from_slice(&time.to_le_bytes());
            out.extend_from_slice(&fixed);
            out.extend_from_slice(self.subject.as_bytes());
            out.extend_from_slice(self.headers);
            out.extend_from_slice(self.payload);
        });
    }
}

impl View<'_> {
    /// As [`Record::counted`].
    pub fn counted(&self, storage: Storage) -> usize {
        counted(storage, self.subject, self.headers, self.payload)
    }

    pub fn to_stored(self) -> Stored {
        let mut both = Vec::with_capacity(self.headers.len() + self.payload.len());
        both.extend_from_slice(self.headers);
        both.extend_from_slice(self.payload);
        let mut payload = Bytes::from(both);
        let headers = payload.split_to(self.headers.len());
        Stored { seq: self.seq, time: self.time, subject: self.subject.into(), headers, payload }
    }
}

/// What nats-server counts for a message in a file (filestore.go, fileStoreMsgSizeRaw), which is about what it takes here too, or
/// in memory (memstore.go, memStoreMsgSizeRaw): the size of a stream and its limits mean the same on both sides.
fn counted(storage: Storage, subject: &str, headers: &[u8], payload: &[u8]) -> usize {
    let around = match storage {
        Storage::File if headers.is_empty() => COUNTED,
        Storage::File => COUNTED + 4,
        Storage::Memory => 16,
    };
    around + subject.len() + headers.len() + payload.len()
}

/// The record whose frame begins at `bytes`, in memory: its checksum is of no interest.
pub(super) fn staged(bytes: &[u8]) -> Option<View<'_>> {
    let len = u32_at(bytes, 0)? as usize;
    view(bytes.get(frame::PREFIX..frame::PREFIX + len)?)
}

/// The sequence of the record that the body of a frame seems to be: [`view`] looks at the rest.
pub(super) fn seq_of(body: &[u8]) -> Option<u64> {
    if is_kind(*body.first()?) { u64_at(body, 7) } else { None }
}

/// The record in the body of a frame.
pub(super) fn view(body: &[u8]) -> Option<View<'_>> {
    let kind = *body.first()?;
    if !is_kind(kind) {
        return None;
    }
    let part = Part { joins: kind & JOINS > 0, goes_on: kind & GOES_ON > 0 };
    let subject_len = usize::from(u16_at(body, 1)?);
    let headers_len = u32_at(body, 3)? as usize;
    let seq = u64_at(body, 7)?;
    let time = u64_at(body, 15)? as i64;
    let subject = std::str::from_utf8(body.get(FIXED..FIXED + subject_len)?).ok()?;
    let rest = &body[FIXED + subject_len..];
    let (headers, payload) = rest.split_at_checked(headers_len)?;
    Some(View { seq, time, subject, headers, payload, part })
}

fn is_kind(byte: u8) -> bool {
    byte & !(JOINS | GOES_ON) == KIND
}

/// Searches behind damage: the offset of the first whole record, or [unit](unit) of records, in `bytes` whose sequence is above
/// `after`.
///
/// One that is 2^32 or more ahead is not believed, and lost with what was damaged before it: only a mirror of a stream with such a
/// gap has one, while what lies behind a torn header may, in a segment of before there was a salt, be a payload that is made to
/// look like a record, and must not be able to use up the sequences.
pub(super) fn find(bytes: &[u8], salt: u32, after: u64) -> Option<usize> {
    (0..bytes.len().saturating_sub(OVERHEAD)).find(|&at| {
        // The cheap tests first, as nearly every offset fails them.
        (is_kind(bytes[at + frame::PREFIX]) || bytes[at + frame::PREFIX] == unit::KIND)
            && u64_at(bytes, at + frame::PREFIX + 7).is_some_and(|seq| seq > after && seq - after < 1 << 32)
            && matches!(frame::parse(&bytes[at..], salt), Parsed::Whole(body, _) if view(body).is_some() || unit::head(body).is_some())
    })
}

/// The subject of a record that is known to be whole.
pub(super) fn subject_of(bytes: &[u8]) -> Option<&str> {
    let len = usize::from(u16_at(bytes, frame::PREFIX + 1)?);
    std::str::from_utf8(bytes.get(OVERHEAD..OVERHEAD + len)?).ok()
}
