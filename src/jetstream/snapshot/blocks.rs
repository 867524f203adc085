//! The files of nats-server's streams, as backups made before 2.15 hold them (`server/filestore.go` of 2.14: message blocks and
//! consumer states).
//!
//! ```text
//! record: length (u32, with headers: bit 31), sequence (u64), time (i64), length of the subject (u16), subject,
//!         with headers: their length (u32) and the headers; payload, checksum (8 bytes)
//! ```

use super::archive::invalid;
use crate::jetstream::consumer::Snapshot;
use serde_json::{Map, Value, json};
use std::io::{self, Read};

/// Of a record, before its subject.
const HEAD: u64 = 22;
const CHECKSUM: u64 = 8;
/// Of a record's length: it has headers.
const HEADERS: u32 = 1 << 31;
/// Of a sequence: the message was removed; it stands where the message was, or behind it.
const ERASED: u64 = 1 << 63;
const TOMBSTONE: u64 = 1 << 62;
/// Largest record (`rlBadThresh`).
const MAX_RECORD: u64 = 32 << 20;
const SECOND: i64 = 1_000_000_000;

/// What a block holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A message.
    Message { seq: u64, time: i64, subject: String, headers: Vec<u8>, payload: Vec<u8> },
    /// This one was removed.
    Removed(u64),
}

/// Reads a record of `block`; `None` at its end. Checksums are those of the archive.
pub(super) fn next(block: &mut impl Read) -> io::Result<Option<Item>> {
    let mut head = [0; HEAD as usize];
    if block.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    block.read_exact(&mut head[1..])?;
    let [length, seq, time, subject] = [(0, 4), (4, 12), (12, 20), (20, 22)].map(|(from, to)| little(&head[from..to]));
    let has_headers = length as u32 & HEADERS != 0;
    let length = length & u64::from(!HEADERS);
    let least = HEAD + CHECKSUM + subject + if has_headers { 4 } else { 0 };
    if length < least || length > MAX_RECORD {
        return Err(invalid("a message block is damaged"));
    }
    let mut body = vec![0; (length - HEAD) as usize];
    block.read_exact(&mut body)?;
    if seq & (ERASED | TOMBSTONE) != 0 || seq == 0 {
        return Ok(Some(Item::Removed(seq & !(ERASED | TOMBSTONE))));
    }
    body.truncate(body.len() - CHECKSUM as usize);
    let rest = body.split_off(subject as usize);
    let subject = String::from_utf8(body).map_err(|_| invalid("a subject is no text"))?;
    let (headers, payload) = match has_headers {
        true => {
            let (length, rest) = rest.split_at(4);
            let at = little(length) as usize;
            let parts = rest.split_at_checked(at).ok_or_else(|| invalid("a message block is damaged"))?;
            (parts.0.to_vec(), parts.1.to_vec())
        }
        false => (Vec::new(), rest),
    };
    Ok(Some(Item::Message { seq, time: time as i64, subject, headers, payload }))
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A consumer of these files: `meta.inf`, its configuration, and `o.dat`, how far it has come.
pub(super) fn consumer(meta: &[u8], state: &[u8]) -> io::Result<Snapshot> {
    let mut config: Map<String, Value> = serde_json::from_slice(meta)?;
    // Its own name and time stand beside the configuration.
    config.retain(|key, _| !["Name", "Created"].contains(&key.as_str()));
    let state = consumer_state(state).ok_or_else(|| invalid("the state of a consumer is damaged"))?;
    Ok(serde_json::from_value(json!({ "config": config, "state": state }))?)
}

/// The state in the JSON of 2.15.
fn consumer_state(bytes: &[u8]) -> Option<Value> {
    let [22, version @ 1..=2, rest @ ..] = bytes else {
        // It has not delivered anything yet.
        return bytes.is_empty().then(|| json!({}));
    };
    let (second, input) = (*version == 2, &mut &*rest);
    let (floor, floor_stream) = (number(input)?, number(input)?);
    let (mut delivered, mut delivered_stream) = (number(input)?, number(input)?);
    if !second {
        // It told what comes next, from the floor on.
        delivered = delivered.checked_add(floor.saturating_sub(1))?;
        delivered_stream = delivered_stream.checked_add(floor_stream.saturating_sub(1))?;
    }
    let (mut pending, mut redelivered) = (Map::new(), Map::new());
    let count = number(input)?;
    let base = if count > 0 { signed(input)? } else { 0 };
    for _ in 0..count {
        let seq = number(input)?.checked_add(floor_stream)?;
        let delivery = if second { number(input)?.checked_add(floor)? } else { 0 };
        let time = signed(input)?;
        let time = if second { base.checked_sub(time)? } else { base.checked_add(time)? };
        pending.insert(seq.to_string(), json!({ "Sequence": delivery, "Timestamp": time.checked_mul(SECOND)? }));
    }
    for _ in 0..number(input)? {
        let seq = number(input)?.checked_add(floor_stream)?;
        redelivered.insert(seq.to_string(), json!(number(input)?));
    }
    Some(json!({
        "delivered": { "consumer_seq": delivered, "stream_seq": delivered_stream },
        "ack_floor": { "consumer_seq": floor, "stream_seq": floor_stream },
        "pending": pending,
        "redelivered": redelivered,
    }))
}

/// A LEB128 number.
fn number(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// One in zigzag.
fn signed(input: &mut &[u8]) -> Option<i64> {
    number(input).map(|number| (number >> 1) as i64 ^ -((number & 1) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(seq: u64, subject: &str, headers: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
        let mut body = subject.as_bytes().to_vec();
        if let Some(headers) = headers {
            body.extend((headers.len() as u32).to_le_bytes());
            body.extend(headers);
        }
        body.extend(payload);
        body.extend([0; CHECKSUM as usize]);
        let length = (HEAD as usize + body.len()) as u32 | if headers.is_some() { HEADERS } else { 0 };
        let mut all = length.to_le_bytes().to_vec();
        all.extend(seq.to_le_bytes());
        all.extend(99i64.to_le_bytes());
        all.extend((subject.len() as u16).to_le_bytes());
        all.extend(body);
        all
    }

    #[test]
    fn messages_and_removals_are_told_apart() {
        let block = [record(1, "a", None, b"x"), record(2, "b", Some(b"h"), b""), record(1 | TOMBSTONE, "", None, b"")]
            .concat();
        let mut block = block.as_slice();
        let message = |seq, subject: &str, headers: &[u8], payload: &[u8]| {
            let (headers, payload) = (headers.to_vec(), payload.to_vec());
            Some(Item::Message { seq, time: 99, subject: subject.into(), headers, payload })
        };
        assert_eq!(next(&mut block).expect("read"), message(1, "a", b"", b"x"));
        assert_eq!(next(&mut block).expect("read"), message(2, "b", b"h", b""));
        assert_eq!(next(&mut block).expect("read"), Some(Item::Removed(1)));
        assert_eq!(next(&mut block).expect("read"), None);
    }

    #[test]
    fn a_consumer_has_come_as_far_as_its_state_tells() {
        let state = consumer_state(&[22, 2, 3, 4, 5, 6, 1, 20, 2, 2, 4, 1, 2, 9]).expect("sound");
        assert_eq!(state["delivered"], json!({ "consumer_seq": 5, "stream_seq": 6 }));
        assert_eq!(state["pending"]["6"], json!({ "Sequence": 5, "Timestamp": 8 * SECOND }));
        assert_eq!(state["redelivered"], json!({ "6": 9 }));
        assert_eq!(consumer_state(&[22, 3, 0]), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_harm(bytes: Vec<u8>) {
            let mut block = bytes.as_slice();
            while let Ok(Some(_)) = next(&mut block) {}
            let _ = consumer_state(&[&[22, 2], &*bytes].concat());
        }
    }
}
