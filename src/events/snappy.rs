//! The Snappy framing format, in which answers are compressed for those who ask for it (`framing_format.txt` of Snappy).

use crc::{CRC_32_ISCSI, Crc};

/// The stream identifier.
const BEGIN: &[u8] = b"\xff\x06\x00\x00sNaPpY";
const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
/// Most that one chunk holds, bytes before compression.
const BLOCK: usize = 64 * 1024;
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// `bytes` as a stream.
pub(super) fn stream(bytes: &[u8]) -> Vec<u8> {
    let mut out = BEGIN.to_vec();
    for block in bytes.chunks(BLOCK) {
        let packed = minlz::encode_snappy(block);
        let (kind, body) = if packed.len() < block.len() { (COMPRESSED, &*packed) } else { (UNCOMPRESSED, block) };
        // A checksum comes first; it is masked, as the format says.
        let checksum = CRC32C.checksum(block).rotate_right(15).wrapping_add(0xa282_ead8);
        out.push(kind);
        out.extend_from_slice(&(body.len() + 4).to_le_bytes()[..3]);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.extend_from_slice(body);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_packed_is_read_again() {
        let long: Vec<u8> = (0..200_000u32).map(|n| (n / 7 % 251) as u8).collect();
        for plain in [b"".as_slice(), b"short", &long] {
            let packed = stream(plain);
            let mut read = Vec::new();
            minlz::Reader::new(&packed[..]).read_to_end(&mut read).expect("the format");
            assert_eq!(read, plain);
            assert!(packed.len() < plain.len() / 4 + 64);
        }
    }
}
