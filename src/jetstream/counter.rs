//! Counters: each message of such a stream says by how much its subject's number changes, and is stored with the sum
//! (ADR-49; `server/stream.go`). Numbers go up to about 1.7e38 on either side of zero.

use super::error::ApiError;
use crate::store::Log;
use serde::Deserialize;

/// What is stored of an increment.
pub(super) struct Counted {
    /// The body.
    pub payload: String,
    /// What the answer says beside the sequence.
    pub answer: Box<str>,
}

#[derive(Deserialize)]
struct Value {
    val: String,
}

/// The number that `Nats-Incr` gives.
pub(super) fn parse(text: &str) -> Option<i128> {
    text.parse().ok()
}

/// Adds `increment` to what the subject holds.
pub(super) fn count(subject: &str, increment: &str, log: &Log) -> Result<Counted, ApiError> {
    let sum = add(value(subject, log)?, increment)?;
    Ok(Counted { payload: body(sum), answer: format!(",\"val\":\"{sum}\"").into() })
}

/// What the subject holds; 0 if there is nothing yet.
pub(super) fn value(subject: &str, log: &Log) -> Result<i128, ApiError> {
    let broken = || ApiError::new(400, 10172, "message counter is broken");
    let last = match log.last_for(subject).map_err(ApiError::store_failed)? {
        Some(seq) => log.read(seq).map_err(ApiError::store_failed)?,
        None => None,
    };
    let Some(stored) = last else { return Ok(0) };
    let value: Value = serde_json::from_slice(&stored.payload).map_err(|_| broken())?;
    value.val.parse().map_err(|_| broken())
}

/// The sum of both.
pub(super) fn add(before: i128, increment: &str) -> Result<i128, ApiError> {
    let invalid = || ApiError::new(400, 10171, "message counter increment is invalid");
    parse(increment).and_then(|n| n.checked_add(before)).ok_or_else(invalid)
}

/// The body of a message that holds `sum`.
pub(super) fn body(sum: i128) -> String {
    format!("{{\"val\":\"{sum}\"}}")
}
