//! nats-server's archive format (`server/archive/archive.go`): a magic number, then entries, each with the length of its name,
//! a time, a sequence, the lengths of headers and payload (all as LEB128, the time in zigzag), its name, headers and payload.

use std::io::{self, Read, Write};

const MAGIC: &[u8; 8] = b"NATSARC1";
/// Longest name: that of a subject.
const MAX_NAME: u64 = 1 << 16;
/// Largest entry: nats-server's largest message, and room for a consumer's state.
const MAX_SIZE: u64 = 64 << 20;

/// An entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// 0: it has none.
    pub seq: u64,
    pub headers: Vec<u8>,
    pub payload: Vec<u8>,
}

pub(super) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a backup of nats-server: {text}"))
}

/// Begins an archive.
pub(super) fn begin(out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)
}

/// Writes an entry.
pub(super) fn write(
    out: &mut impl Write,
    name: &str,
    (time, seq): (i64, u64),
    headers: &[u8],
    payload: &[u8],
) -> io::Result<()> {
    let mut head = Vec::with_capacity(40 + name.len());
    put(&mut head, name.len() as u64);
    put(&mut head, ((time << 1) ^ (time >> 63)) as u64);
    put(&mut head, seq);
    put(&mut head, headers.len() as u64);
    put(&mut head, payload.len() as u64);
    head.extend_from_slice(name.as_bytes());
    out.write_all(&head)?;
    out.write_all(headers)?;
    out.write_all(payload)
}

/// Whether an archive begins so.
pub(super) fn begins(magic: &[u8; 8]) -> bool {
    magic == MAGIC
}

/// Reads an entry.
pub(super) fn read(input: &mut impl Read) -> io::Result<Entry> {
    let name_len = take(input)?;
    let time = take(input)?;
    let seq = take(input)?;
    let (headers_len, payload_len) = (take(input)?, take(input)?);
    if name_len > MAX_NAME || headers_len > MAX_SIZE || payload_len > MAX_SIZE {
        return Err(invalid("an entry is too large"));
    }
    let name = String::from_utf8(bytes(input, name_len)?).map_err(|_| invalid("a name is no text"))?;
    let (headers, payload) = (bytes(input, headers_len)?, bytes(input, payload_len)?);
    Ok(Entry { name, time: (time >> 1) as i64 ^ -((time & 1) as i64), seq, headers, payload })
}

fn bytes(input: &mut impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match input.take(len).read_to_end(&mut bytes)? as u64 == len {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(input: &mut impl Read) -> io::Result<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte)?;
        if shift == 63 && byte[0] > 1 {
            break;
        }
        number |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(invalid("a number is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z.]{0,40}", time: i64, seq: u64, headers: Vec<u8>, payload: Vec<u8>) {
            let mut out = Vec::new();
            begin(&mut out).expect("written");
            write(&mut out, &name, (time, seq), &headers, &payload).expect("written");
            let mut input = out.as_slice();
            let mut magic = [0; 8];
            input.read_exact(&mut magic).expect("read");
            prop_assert!(begins(&magic));
            prop_assert_eq!(read(&mut input).expect("read"), Entry { name, time, seq, headers, payload });
            prop_assert!(input.is_empty());
        }

        #[test]
        fn anything_is_read_without_harm(bytes: Vec<u8>) {
            let mut input = bytes.as_slice();
            while read(&mut input).is_ok() {}
        }
    }
}
