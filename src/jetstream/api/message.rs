//! `$JS.API.STREAM.MSG.{GET,DELETE}`, and the look-up of one message that direct gets share.

use super::json;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::error::ApiError;
use crate::jetstream::manager::JetStream;
use crate::jetstream::stream::Stream;
use crate::store::{Later, Log, StoreError, Stored};
use crate::subject;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Which messages are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GetRequest {
    pub seq: u64,
    pub last_by_subj: String,
    pub next_by_subj: String,
    pub start_time: Option<Timestamp>,
    pub no_hdr: bool,
    pub batch: i64,
    pub max_bytes: i64,
    pub multi_last: Vec<String>,
    pub up_to_seq: u64,
    pub up_to_time: Option<Timestamp>,
}

/// The fields of [`GetRequest`]; direct gets pass over others, the API does not.
const FIELDS: [&str; 10] = [
    "seq",
    "last_by_subj",
    "next_by_subj",
    "start_time",
    "no_hdr",
    "batch",
    "max_bytes",
    "multi_last",
    "up_to_seq",
    "up_to_time",
];

impl GetRequest {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.seq == 0 && self.last_by_subj.is_empty() && self.next_by_subj.is_empty() && self.start_time.is_none()
    }

    /// Whether it contradicts itself.
    pub fn is_contradictory(&self) -> bool {
        let last = !self.last_by_subj.is_empty();
        last && (self.seq > 0 || !self.next_by_subj.is_empty() || self.start_time.is_some())
            || self.seq > 0 && self.start_time.is_some()
    }

    /// Where to begin.
    pub fn start(&self, log: &Log) -> u64 {
        self.start_time.map_or(self.seq, |time| log.seq_at(time.0))
    }

    /// Waits for what the asker has published and acknowledged, where the answer would leave it out: what is on its way to
    /// disk is found by its sequence and as the last one, but not by what reads on.
    pub fn catch_up(&self, stream: &Stream) {
        if self.next_by_subj.is_empty() && self.batch == 0 || stream.log().is_settled() {
            return stream.consumers().catch_up();
        }
        // Where the disk takes nothing more, what it has is found.
        let _ = stream.catch_up();
    }

    /// The message, if there is one, where neither the disk nor acks need to be waited for.
    pub fn find_at_hand(&self, stream: &Stream) -> Result<Option<Stored>, Later> {
        let one = self.batch == 0 && self.multi_last.is_empty() && self.next_by_subj.is_empty();
        if !one || self.start_time.is_some() || stream.consumers().may_let_go() {
            return Err(Later);
        }
        match &*self.last_by_subj {
            "" => stream.log().read_at_hand(self.seq),
            subject if subject::is_literal(subject) => stream.log().last_at_hand(subject),
            _ => Err(Later),
        }
    }

    /// The message, if there is one.
    pub fn find(&self, log: &Log) -> Result<Option<Stored>, StoreError> {
        if !self.last_by_subj.is_empty() {
            return last(log, &self.last_by_subj);
        }
        let from = self.start(log);
        if self.next_by_subj.is_empty() {
            return log.read(from);
        }
        next(log, from, &self.next_by_subj)
    }
}

/// The first message at or after `from` on a subject, wildcards allowed.
pub(super) fn next(log: &Log, from: u64, filter: &str) -> Result<Option<Stored>, StoreError> {
    let Some(from) = log.not_before(filter, from.max(1)) else { return Ok(None) };
    let mut reader = log.reader();
    reader.seek(from);
    reader.next(&|subject| subject::matches(filter, subject))
}

/// The last message on a subject, wildcards allowed.
pub(super) fn last(log: &Log, filter: &str) -> Result<Option<Stored>, StoreError> {
    log.last_for(filter)?.map_or(Ok(None), |seq| log.read(seq))
}

#[derive(Serialize)]
struct Found {
    message: Shown,
}

#[derive(Serialize)]
struct Shown {
    subject: Box<str>,
    seq: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    hdrs: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    time: Timestamp,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeleteRequest {
    seq: u64,
    /// Accepted; leafd does not overwrite removed messages in either case.
    #[serde(rename = "no_erase")]
    _no_erase: bool,
}

/// Answers the verb; blocks while the disk is waited for. `None`: there is no such verb.
pub(super) fn answer(jetstream: &JetStream, verb: &str, name: &str, payload: &[u8]) -> Option<Vec<u8>> {
    Some(match verb {
        "GET" => json::envelope("stream_msg_get_response", get(jetstream, name, payload)),
        "DELETE" => json::envelope("stream_msg_delete_response", delete(jetstream, name, payload)),
        _ => return None,
    })
}

fn get(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<Found, ApiError> {
    if json::is_empty(payload) {
        return Err(ApiError::bad_request());
    }
    let request: GetRequest = json::typed(json::only(json::object(payload)?, &FIELDS)?)?;
    if request.is_empty() || request.is_contradictory() || request.batch > 0 || request.max_bytes > 0 {
        return Err(ApiError::bad_request());
    }
    let stream = jetstream.find(name)?;
    request.catch_up(&stream);
    let stored = request.find(stream.log()).map_err(ApiError::general)?.ok_or_else(ApiError::no_message)?;
    let hdrs = if request.no_hdr { String::new() } else { STANDARD.encode(&stored.headers) };
    let data = STANDARD.encode(&stored.payload);
    let message = Shown { subject: stored.subject, seq: stored.seq, hdrs, data, time: Timestamp(stored.time) };
    Ok(Found { message })
}

fn delete(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<serde_json::Value, ApiError> {
    if json::is_empty(payload) {
        return Err(ApiError::bad_request());
    }
    let request: DeleteRequest = json::optional(payload)?;
    let stream = jetstream.find(name)?;
    let config = stream.config();
    if config.sealed {
        return Err(ApiError::new(400, 10109, "invalid operation on sealed stream"));
    }
    if config.deny_delete {
        return Err(ApiError::new(500, 10057, "message delete not permitted"));
    }
    let failed = |error: StoreError| ApiError::new(500, 10057, error.to_string());
    stream.catch_up().map_err(failed)?;
    if !stream.delete_message(request.seq).map_err(failed)? {
        return Err(ApiError::new(400, 10043, format!("sequence {} not found", request.seq)));
    }
    jetstream.store().barrier().wait().map_err(failed)?;
    Ok(serde_json::json!({ "success": true }))
}
