//! Chunks of the S2 stream format (the Snappy framing format with larger blocks and another stream identifier).
//!
//! A chunk is its type, its length in three bytes, and its body; that of data begins with a checksum of what it holds. A
//! stream begins with an identifier, which may come again.

use crate::config::compression::CompressionLevel;
use crc::{CRC_32_ISCSI, Crc, Table};
use std::io;

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const IDENTIFIER: u8 = 0xff;
/// From here on a chunk that is not known is skipped; below it is an error.
const SKIPPABLE: u8 = 0x80;
const MAGIC: &[u8; 6] = b"S2sTwO";
/// Type and length.
const HEADER: usize = 4;
const CHECKSUM: usize = 4;
/// The widest table: checksums would else cost as much as the compression.
static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
/// Largest block of the format, bytes before compression.
const MAX_BLOCK: usize = 4 << 20;
/// Largest body: a block that has grown.
const MAX_BODY: usize = MAX_BLOCK + MAX_BLOCK / 6 + 64;
/// Most that one chunk of ours holds. Smaller than nats-server's (1 MB), so that what is urgent does not wait for long.
pub const BLOCK: usize = 64 * 1024;
/// Below this size the best level gains nothing over the next and costs the clearing of its tables.
const SMALL: usize = 4 * 1024;

/// Writes chunks.
#[derive(Default)]
pub struct Encoder {
    tables: minlz::Encoder,
    begun: bool,
}

impl Encoder {
    /// Appends `block`, of 1 to [`BLOCK`] bytes, as a chunk.
    pub fn push(&mut self, block: &[u8], level: CompressionLevel, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            out.push(IDENTIFIER);
            out.extend_from_slice(&[MAGIC.len() as u8, 0, 0]);
            out.extend_from_slice(MAGIC);
        }
        let level = match level {
            CompressionLevel::Best if block.len() < SMALL => CompressionLevel::Better,
            level => level,
        };
        let packed = match level {
            CompressionLevel::Uncompressed => None,
            CompressionLevel::Fast => Some(self.tables.encode(block)),
            CompressionLevel::Better => Some(self.tables.encode_better(block)),
            CompressionLevel::Best => Some(self.tables.encode_best(block)),
        };
        // As in the reference: what gains less than an eighth is sent as it is, to spare the other side.
        let packed = packed.filter(|packed| packed.len() < block.len() - block.len() / 8);
        let (kind, body) = match &packed {
            Some(packed) => (COMPRESSED, packed.as_slice()),
            None => (UNCOMPRESSED, block),
        };
        let length = (body.len() + CHECKSUM).to_le_bytes();
        out.reserve(HEADER + CHECKSUM + body.len());
        out.push(kind);
        out.extend_from_slice(&length[..3]);
        out.extend_from_slice(&checksum(block).to_le_bytes());
        out.extend_from_slice(body);
    }
}

/// Reads chunks.
#[derive(Default)]
pub struct Decoder {
    begun: bool,
}

/// What the front of a buffer holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A whole chunk of so many bytes; what it held was appended.
    Chunk(usize),
    /// Not whole yet: the buffer must hold so many bytes.
    Wanted(usize),
}

impl Decoder {
    /// Reads the chunk at the front of `raw` and appends what it holds to `plain`.
    ///
    /// # Errors
    /// Not the format, larger than it allows, or damaged.
    pub fn pull(&mut self, raw: &[u8], plain: &mut Vec<u8>) -> io::Result<Decoded> {
        let Some((&[kind, a, b, c], rest)) = raw.split_first_chunk::<HEADER>() else {
            return Ok(Decoded::Wanted(HEADER));
        };
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        if !self.begun && kind != IDENTIFIER {
            return Err(wrong("it does not begin as S2 does"));
        }
        if length > MAX_BODY {
            return Err(wrong("a chunk is larger than the format allows"));
        }
        let Some(body) = rest.get(..length) else { return Ok(Decoded::Wanted(HEADER + length)) };
        match kind {
            IDENTIFIER if body == MAGIC => self.begun = true,
            IDENTIFIER => return Err(wrong("its identifier is not that of S2")),
            COMPRESSED | UNCOMPRESSED => data(kind, body, plain)?,
            SKIPPABLE.. => {}
            _ => return Err(wrong("a chunk is of a kind that is not known")),
        }
        Ok(Decoded::Chunk(HEADER + length))
    }
}

fn data(kind: u8, body: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
    let Some((checksum, block)) = body.split_first_chunk::<CHECKSUM>() else {
        return Err(wrong("a chunk has no checksum"));
    };
    let from = plain.len();
    if kind == UNCOMPRESSED {
        if block.len() > MAX_BLOCK {
            return Err(wrong("a block is larger than the format allows"));
        }
        plain.extend_from_slice(block);
    } else {
        let (size, _) = minlz::decode_len(block).map_err(damaged)?;
        if size > MAX_BLOCK {
            return Err(wrong("a block is larger than the format allows"));
        }
        plain.resize(from + size, 0);
        minlz::decode_into(&mut plain[from..], block).map_err(damaged)?;
    }
    if self::checksum(&plain[from..]) != u32::from_le_bytes(*checksum) {
        return Err(wrong("a checksum does not match"));
    }
    Ok(())
}

/// The checksum of a block, masked as the framing format says.
fn checksum(block: &[u8]) -> u32 {
    CRC32C.checksum(block).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn damaged(error: minlz::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("compressed data is damaged: {error}"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("compressed data is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(mut raw: &[u8]) -> io::Result<Vec<u8>> {
        let (mut decoder, mut plain) = (Decoder::default(), Vec::new());
        while !raw.is_empty() {
            match decoder.pull(raw, &mut plain)? {
                Decoded::Chunk(used) => raw = &raw[used..],
                Decoded::Wanted(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(plain)
    }

    #[test]
    fn what_is_not_the_format_is_refused() {
        let identified = |rest: &[u8]| [&b"\xff\x06\0\0S2sTwO"[..], rest].concat();
        for (bytes, why) in [
            (b"\xff\x06\0\0sNaPpY".to_vec(), "identifier"),
            (b"LMSG a 1\r\n".to_vec(), "begin"),
            (identified(b"\x02\0\0\0"), "kind"),
            (identified(b"\x00\xff\xff\xff"), "larger"),
            (identified(b"\x01\x03\0\0abc"), "checksum"),
            (identified(b"\x01\x05\0\0\0\0\0\0a"), "checksum"),
            (identified(b"\x00\x09\0\0\0\0\0\0\xff\xff\xff\xff\x0f"), "larger"),
        ] {
            let error = all(&bytes).expect_err(why);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(all(&identified(b"\x99\x02\0\0ab\xfe\x01\0\0x\xff\x06\0\0S2sTwO")).expect("skipped"), b"");
    }

    proptest! {
        #[test]
        fn blocks_come_back(
            blocks in prop::collection::vec((prop::collection::vec(0..5u8, 1..9000), 0..4usize), 1..6),
        ) {
            let (mut encoder, mut raw, mut want) = (Encoder::default(), Vec::new(), Vec::new());
            for (block, level) in &blocks {
                encoder.push(block, CompressionLevel::ALL[*level], &mut raw);
                want.extend_from_slice(block);
            }
            prop_assert_eq!(all(&raw).expect("valid"), want);
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes: Vec<u8>, kind in 0..2u8) {
            let mut raw = b"\xff\x06\0\0S2sTwO".to_vec();
            raw.push(kind);
            raw.extend_from_slice(&(bytes.len() as u32).to_le_bytes()[..3]);
            raw.extend_from_slice(&bytes);
            let _ = all(&raw);
            let _ = all(&bytes);
        }
    }
}
