//! Framing shared by all files of the store: length (u32), CRC-32 of the body (u32), body; little-endian.
//!
//! In segments the checksum begins with a salt that nobody outside knows: a payload that is made to look like a record has no
//! right checksum, wherever a search behind damage may come upon it.

use std::ops::Range;

/// Bytes before the body.
pub(super) const PREFIX: usize = 8;
/// Longest body that is believed; anything above is damage.
pub(super) const MAX_BODY: usize = 256 << 20;

/// The salt of files in which nothing is what a client sent as it is.
pub(super) const UNSALTED: u32 = 0;

/// What stands at the beginning of some bytes.
pub(super) enum Parsed<'a> {
    /// A frame with a right checksum, and its length with prefix.
    Whole(&'a [u8], usize),
    /// A frame that goes on for at least this many bytes in all.
    Short(usize),
    /// No frame.
    Bad,
}

/// Appends a frame whose body `write` writes.
pub(super) fn push(out: &mut Vec<u8>, salt: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    write(out);
    let body = &out[start + PREFIX..];
    let (len, crc) = (body.len() as u32, checksum(body, salt));
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Looks at the frame that begins at `bytes`.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Parsed<'_> {
    let (Some(len), Some(crc)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else { return Parsed::Short(PREFIX) };
    let len = len as usize;
    if len == 0 || len > MAX_BODY {
        return Parsed::Bad;
    }
    match bytes.get(PREFIX..PREFIX + len) {
        None => Parsed::Short(PREFIX + len),
        Some(body) if checksum(body, salt) == crc => Parsed::Whole(body, PREFIX + len),
        Some(_) => Parsed::Bad,
    }
}

/// The body of the frame that seems to begin at `bytes` and end there too; its checksum is not looked at.
pub(super) fn peek(bytes: &[u8]) -> Option<&[u8]> {
    let len = u32_at(bytes, 0).filter(|len| *len > 0)? as usize;
    bytes.get(PREFIX..PREFIX + len)
}

fn checksum(body: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(body);
    hasher.finalize()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

/// What [`each`] came across.
#[derive(Default)]
pub(super) struct Walk {
    /// Where the last whole frame ends: what follows is an unfinished write.
    pub end: usize,
    /// What is damaged between frames.
    pub damaged: Vec<Range<usize>>,
}

/// Passes offset and body of each frame to `found`; damage between frames is logged and passed over.
pub(super) fn each(bytes: &[u8], path: &std::path::Path, mut found: impl FnMut(usize, &[u8])) -> Walk {
    let mut walk = Walk { end: 0, damaged: Vec::new() };
    loop {
        let at = walk.end;
        match parse(&bytes[at..], UNSALTED) {
            Parsed::Whole(body, used) => {
                found(at, body);
                walk.end += used;
            }
            Parsed::Short(_) | Parsed::Bad => {
                let next =
                    (at + 1..bytes.len()).find(|next| matches!(parse(&bytes[*next..], UNSALTED), Parsed::Whole(..)));
                let Some(next) = next else { return walk };
                tracing::error!("{}: bytes {at} to {next} are damaged and are left out", path.display());
                walk.damaged.push(at..next);
                walk.end = next;
            }
        }
    }
}
