//! The delivery state as bytes under `acks/<account>/<stream>/<consumer>` in the state log: a version byte, then LEB128
//! numbers. Pending messages are sorted, so that differences are small: about six bytes a message.
//!
//! ```text
//! 1, next, resume, delivered.consumer, delivered.stream, floor.consumer, floor.stream,
//! n, n * (stream seq - previous, first delivery, milliseconds until due),
//! m, m * (stream seq - previous, redeliveries)
//! ```

use super::state::{Delivery, Pair, Pending, Rules, Ticks};
use std::collections::BTreeMap;

const VERSION: u8 = 1;
const MILLISECOND: Ticks = 1_000_000;

/// Why a stored delivery state cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StateError {
    /// A later leafd wrote it.
    #[error("the stored delivery state has version {0}, which this version of leafd does not know; start a newer one")]
    Version(u8),
    /// It ends early or contradicts itself.
    #[error("the stored delivery state is damaged")]
    Damaged,
}

/// The state as it is stored at `now`.
pub fn encode(state: &Delivery, now: Ticks) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + 8 * state.pending.len() + 4 * state.redelivered.len());
    out.push(VERSION);
    let (delivered, floor) = (state.delivered, state.floor);
    for number in [state.next, state.resume, delivered.consumer, delivered.stream, floor.consumer, floor.stream] {
        put(&mut out, number);
    }
    put(&mut out, state.pending.len() as u64);
    let mut last = 0;
    for (seq, pending) in &state.pending {
        put(&mut out, seq - last);
        put(&mut out, pending.delivery);
        let remaining = if pending.queued.is_some() { 0 } else { pending.deadline.saturating_sub(now) / MILLISECOND };
        put(&mut out, remaining);
        last = *seq;
    }
    put(&mut out, state.redelivered.len() as u64);
    last = 0;
    for (seq, redeliveries) in &state.redelivered {
        put(&mut out, seq - last);
        put(&mut out, *redeliveries);
        last = *seq;
    }
    out
}

/// Reads a stored state; what was pending is due as long after `now` as it was when it was stored.
pub fn decode(bytes: &[u8], rules: Rules, now: Ticks) -> Result<Delivery, StateError> {
    let (version, mut rest) = bytes.split_first().ok_or(StateError::Damaged)?;
    if *version != VERSION {
        return Err(StateError::Version(*version));
    }
    let input = &mut rest;
    let (next, resume) = (take(input)?, take(input)?);
    let delivered = Pair { consumer: take(input)?, stream: take(input)? };
    let floor = Pair { consumer: take(input)?, stream: take(input)? };
    let mut pending = BTreeMap::new();
    let mut seq = 0u64;
    for _ in 0..take(input)? {
        seq = seq.checked_add(take(input)?).ok_or(StateError::Damaged)?;
        let delivery = take(input)?;
        let deadline = now.saturating_add(take(input)?.saturating_mul(MILLISECOND));
        if delivery == 0 || seq == 0 {
            return Err(StateError::Damaged);
        }
        pending.insert(seq, Pending { delivery, deadline, queued: None, unseen: false });
    }
    let mut redelivered = BTreeMap::new();
    seq = 0;
    for _ in 0..take(input)? {
        seq = seq.checked_add(take(input)?).ok_or(StateError::Damaged)?;
        redelivered.insert(seq, take(input)?);
    }
    if !input.is_empty() {
        return Err(StateError::Damaged);
    }
    Ok(Delivery::restored(rules, next, resume, delivered, floor, pending, redelivered))
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(input: &mut &[u8]) -> Result<u64, StateError> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first().ok_or(StateError::Damaged)?;
        *input = rest;
        if shift == 63 && *byte > 1 {
            return Err(StateError::Damaged);
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(StateError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::super::config::AckPolicy;
    use super::*;

    fn rules() -> Rules {
        Rules { ack: AckPolicy::Explicit, waits: vec![1_000_000_000], max_deliver: None, max_ack_pending: None }
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        let mut state = Delivery::new(rules(), 5);
        for seq in [5, 9, 1 << 40] {
            state.deliver(seq, 0);
        }
        let (mut none, mut acked) = (Vec::new(), Vec::new());
        state.nak(9, None, 0, &mut none);
        state.redeliver(9, 0);
        state.ack(5, 1, &mut acked);
        let back = decode(&encode(&state, 0), rules(), 0).expect("just written");
        assert_eq!(back.pending, state.pending);
        assert_eq!(back.redelivered, state.redelivered);
        assert_eq!((back.delivered(), back.floor(), back.next()), (state.delivered(), state.floor(), state.next()));
    }

    #[test]
    fn damage_is_told_from_a_later_version() {
        let good = encode(&Delivery::new(rules(), 1), 0);
        assert_eq!(decode(&[9], rules(), 0).err(), Some(StateError::Version(9)));
        for end in 0..good.len() {
            assert!(decode(&good[..end], rules(), 0).is_err(), "cut at {end}");
        }
        assert!(decode(&[good, vec![0]].concat(), rules(), 0).is_err());
    }
}
