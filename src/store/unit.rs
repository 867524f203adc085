//! Records that lie in a segment as one piece, because together they compress well: a small message by itself gains nothing,
//! some dozens that resemble each other take a quarter of the room.
//!
//! A unit is a frame among those of records: kind (u8), flags (u16), length of the records (u32), first and last sequence
//! (u64 each), then the records: each its length (u32) and its body, all of them compressed with S2. Kind and sequence stand
//! where a record has them, so that a search behind damage finds both. In an encrypted directory all records lie in units, and
//! what follows the head is sealed together with it: nonce, ciphertext, tag. A unit holds records of one commit, and at most
//! [`SIZE`] bytes unless it is a single record: reading one record unpacks the few that lie behind the search point before it.

use super::coding::Coding;
use super::frame::{self, u16_at, u32_at, u64_at};
use super::log::{Entry, Staged};
use super::record::{self, View};
use super::vault::{self, FileKey};
use std::borrow::Cow;

/// First byte of the body.
pub(super) const KIND: u8 = 8;
/// The records are compressed.
const COMPRESSED: u16 = 1;
/// The records are sealed.
const SEALED: u16 = 2;
/// Most bytes that a unit adds to its records.
pub(super) const ADDED: usize = frame::PREFIX + HEAD + vault::OVERHEAD + LENGTH;
/// Bytes before the records.
const HEAD: usize = 23;
/// A unit is closed when its records have this length. With sensor readings of 150 bytes 8 KB give a ratio of 3.5, 64 KB one of
/// 4.1, at ten times the work for reading one.
const SIZE: usize = 8 * 1024;
/// Less than this is not worth the trying.
const LEAST: usize = 128;
/// Length of a record's length.
const LENGTH: usize = 4;

/// What a unit says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub first: u64,
    pub last: u64,
    flags: u16,
    /// Length of the records once unpacked.
    length: usize,
}

impl Head {
    pub fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED > 0
    }

    /// Length of its records once unpacked.
    pub fn unpacked(&self) -> usize {
        self.length
    }
}

/// The head of the unit in the body of a frame; `None` if that is something else.
pub(super) fn head(body: &[u8]) -> Option<Head> {
    if *body.first()? != KIND {
        return None;
    }
    let (flags, length) = (u16_at(body, 1)?, u32_at(body, 3)? as usize);
    let (first, last) = (u64_at(body, 7)?, u64_at(body, 15)?);
    let fits = flags & !(COMPRESSED | SEALED) == 0 && length <= frame::MAX_BODY + LENGTH && first <= last;
    fits.then_some(Head { first, last, flags, length })
}

/// Puts the records of the unit in `body` in the place of what is in `out`; `None` if it is not one that [`Packer`] wrote.
///
/// No more than the greatest record is allocated, whatever lengths are claimed.
pub(super) fn unpack(body: &[u8], coding: &Coding, out: &mut Vec<u8>) -> Option<Head> {
    let head = head(body)?;
    let (bare, data) = body.split_at_checked(HEAD)?;
    let data = match (&coding.key, head.flags & SEALED > 0) {
        (Some(key), true) => Cow::Owned(key.open(data, bare)?),
        (None, false) => Cow::Borrowed(data),
        _ => return None,
    };
    out.clear();
    if head.is_compressed() {
        let (length, _) = minlz::decode_len(&data).ok()?;
        if length != head.length {
            return None;
        }
        out.resize(length, 0);
        minlz::decode_into(out, &data).ok().filter(|n| *n == length)?;
    } else {
        out.extend_from_slice(&data);
    }
    let (mut at, mut before) = (0, None);
    while at < out.len() {
        let (view, used) = next(&out[at..])?;
        if before.is_none_or(|seq| view.seq > seq) && (before.is_some() || view.seq == head.first) {
            (before, at) = (Some(view.seq), at + used);
        } else {
            return None;
        }
    }
    (out.len() == head.length && before == Some(head.last)).then_some(head)
}

/// The record that stands at the beginning of some unpacked ones, and its length among them.
pub(super) fn next(records: &[u8]) -> Option<(View<'_>, usize)> {
    let used = LENGTH + u32_at(records, 0)? as usize;
    Some((record::view(records.get(LENGTH..used)?)?, used))
}

/// What was staged as it goes to disk, where that is not as it was staged.
#[derive(Default)]
pub(super) struct Packed {
    /// What is to be written; zeros may follow.
    pub buffer: Vec<u8>,
    /// Bytes of records and removals.
    pub used: usize,
    /// Of each entry: where the frame that holds it begins, and its length.
    pub spans: Vec<(usize, usize)>,
}

/// Makes units.
#[derive(Default)]
pub(super) struct Packer {
    tables: minlz::Encoder,
    records: Vec<u8>,
}

impl Packer {
    /// Makes units of what is staged, compressed if `compress`; what would gain nothing is left as it is, unless it is to be
    /// sealed.
    pub fn pack(&mut self, staged: &Staged, coding: &Coding, compress: bool) -> Packed {
        let mut packed = Packed::default();
        packed.spans.reserve(staged.entries.len());
        let mut from = 0;
        while from < staged.entries.len() {
            self.records.clear();
            let mut to = from;
            while to < staged.entries.len() && (to == from || self.records.len() + staged.entries[to].used <= SIZE) {
                let entry = &staged.entries[to];
                let body = &staged.buffer[entry.at + frame::PREFIX..entry.at + entry.used];
                self.records.extend_from_slice(&(body.len() as u32).to_le_bytes());
                self.records.extend_from_slice(body);
                to += 1;
            }
            self.push(&staged.entries[from..to], &staged.buffer, coding, compress, &mut packed);
            from = to;
        }
        // The removals behind them.
        packed.buffer.extend_from_slice(&staged.buffer[staged.bytes()..staged.used]);
        packed.used = packed.buffer.len();
        packed
    }

    /// Appends `entries`, whose records are gathered.
    fn push(&mut self, entries: &[Entry], staged: &[u8], coding: &Coding, compress: bool, out: &mut Packed) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let plain = &staged[first.at..last.at + last.used];
        let compressed = (compress && self.records.len() >= LEAST)
            .then(|| self.tables.encode(&self.records))
            .filter(|data| frame::PREFIX + HEAD + data.len() < plain.len());
        let at = out.buffer.len();
        if compressed.is_none() && coding.key.is_none() {
            out.spans.extend(entries.iter().map(|entry| (at + entry.at - first.at, entry.used)));
            out.buffer.extend_from_slice(plain);
            return;
        }
        let flags = if compressed.is_some() { COMPRESSED } else { 0 } | if coding.key.is_some() { SEALED } else { 0 };
        let data = compressed.as_ref().unwrap_or(&self.records);
        frame::push(&mut out.buffer, coding.salt, |out| {
            let mut head = [0; HEAD];
            head[0] = KIND;
            head[1..3].copy_from_slice(&flags.to_le_bytes());
            head[3..7].copy_from_slice(&(self.records.len() as u32).to_le_bytes());
            head[7..15].copy_from_slice(&first.seq.to_le_bytes());
            head[15..23].copy_from_slice(&last.seq.to_le_bytes());
            out.extend_from_slice(&head);
            match &coding.key {
                Some(key) => {
                    let begin = FileKey::begin(out);
                    out.extend_from_slice(data);
                    key.seal(out, begin, &head);
                }
                None => out.extend_from_slice(data),
            }
        });
        let length = out.buffer.len() - at;
        out.spans.extend(entries.iter().map(|_| (at, length)));
    }
}
