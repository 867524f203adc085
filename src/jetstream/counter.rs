//! Counters: each message of such a stream says by how much its subject's number changes, and is stored with the sum
//! (ADR-49; `server/stream.go`). Numbers go up to about 1.7e38 on either side of zero. What comes from a counter of another
//! stream is that one's sum: it counts by how much it differs from what came from there before, which a header keeps.

use super::error::ApiError;
use crate::protocol::headers::{self, HeadersBuilder};
use crate::store::Log;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The last sums of other streams, by stream and subject there, as JSON.
const SOURCES: &str = "Nats-Counter-Sources";
/// By how much the number changes.
const INCREMENT: &str = "Nats-Incr";

/// What is stored of an increment.
pub(super) struct Counted {
    /// The headers, where they are not those that came.
    pub headers: Option<Vec<u8>>,
    /// The body.
    pub payload: String,
    /// What the answer says beside the sequence.
    pub answer: Box<str>,
}

/// What a subject holds.
#[derive(Clone, Default)]
pub(super) struct Held {
    sum: i128,
    sources: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Value {
    val: String,
}

fn broken() -> ApiError {
    ApiError::new(400, 10172, "message counter is broken")
}

fn invalid() -> ApiError {
    ApiError::new(400, 10171, "message counter increment is invalid")
}

/// The number that `Nats-Incr` gives.
pub(super) fn parse(text: &str) -> Option<i128> {
    text.parse().ok()
}

fn sum(payload: &[u8]) -> Result<i128, ApiError> {
    let value: Value = serde_json::from_slice(payload).map_err(|_| broken())?;
    value.val.parse().map_err(|_| broken())
}

impl Held {
    /// By the subject's last message; nothing if there is none yet.
    pub fn of(subject: &str, log: &Log) -> Result<Held, ApiError> {
        let last = match log.last_for(subject).map_err(ApiError::store_failed)? {
            Some(seq) => log.read(seq).map_err(ApiError::store_failed)?,
            None => None,
        };
        let Some(stored) = last else { return Ok(Held::default()) };
        let sources = match headers::get(&stored.headers, SOURCES) {
            Some(json) => serde_json::from_str(json).map_err(|_| broken())?,
            None => BTreeMap::new(),
        };
        Ok(Held { sum: sum(&stored.payload)?, sources })
    }

    /// Adds what a message with the header block `headers` says.
    pub fn add(&mut self, increment: &str, headers: &[u8]) -> Result<Counted, ApiError> {
        let sum = parse(increment).and_then(|n| n.checked_add(self.sum)).ok_or_else(invalid)?;
        self.sum = sum;
        let headers = (!self.sources.is_empty()).then(|| {
            HeadersBuilder::new().copy(headers, |name| name != SOURCES).add(SOURCES, &self.sources_json()).build()
        });
        Ok(Counted { headers, payload: self.body(), answer: format!(",\"val\":\"{sum}\"").into() })
    }

    /// Takes in the sum of a counter of `origin`, which is what the header of sourced messages says.
    pub fn take_in(
        &mut self,
        subject: &str,
        origin: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Counted, ApiError> {
        let theirs = sum(payload)?;
        let mut fields = origin.split(' ');
        let stream = fields.next().unwrap_or_default();
        let from = fields.nth(3).unwrap_or(subject);
        let known = self.sources.entry(stream.to_owned()).or_default();
        let before = known.insert(from.to_owned(), theirs.to_string()).and_then(|text| parse(&text)).unwrap_or(0);
        let increment = theirs.checked_sub(before).ok_or_else(invalid)?;
        self.sum = self.sum.checked_add(increment).ok_or_else(invalid)?;
        let kept = HeadersBuilder::new().copy(headers, |name| name != SOURCES && name != INCREMENT);
        let headers = kept.add(INCREMENT, &increment.to_string()).add(SOURCES, &self.sources_json()).build();
        Ok(Counted { headers: Some(headers), payload: self.body(), answer: Box::default() })
    }

    fn sources_json(&self) -> String {
        serde_json::to_string(&self.sources).unwrap_or_default()
    }

    fn body(&self) -> String {
        format!("{{\"val\":\"{}\"}}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_others_count_by_what_they_differ() {
        let mut held = Held::default();
        assert_eq!(held.add("5", b"").expect("counts").headers, None);
        for (origin, theirs, increment, sum) in [
            ("A 1 > > a.x", "7", "7", "12"),
            ("B 1 > > b.x", "-3", "-3", "9"),
            ("A 4 > > a.x", "10", "3", "12"),
            ("A 5 > > a.y", "1", "1", "13"),
        ] {
            let block = b"NATS/1.0\r\nNats-Incr: 99\r\nX: y\r\n\r\n";
            let theirs = format!("{{\"val\":\"{theirs}\"}}");
            let counted = held.take_in("x", origin, block, theirs.as_bytes()).expect("counts");
            let headers = counted.headers.expect("headers");
            assert_eq!(headers::get(&headers, INCREMENT), Some(increment), "{origin}");
            assert_eq!(headers::get(&headers, "X"), Some("y"));
            assert_eq!(counted.payload, format!("{{\"val\":\"{sum}\"}}"), "{origin}");
        }
        let counted = held.add("1", b"NATS/1.0\r\nNats-Incr: 1\r\n\r\n").expect("counts");
        let headers = counted.headers.expect("headers");
        let known = r#"{"A":{"a.x":"10","a.y":"1"},"B":{"b.x":"-3"}}"#;
        assert_eq!((headers::get(&headers, SOURCES), &*counted.answer), (Some(known), ",\"val\":\"14\""));
        assert!(held.take_in("x", "A 1 > > a", b"", b"no sum").is_err_and(|error| error.err_code == 10172));
        assert!(held.add("x", b"").is_err_and(|error| error.err_code == 10171));
    }
}
