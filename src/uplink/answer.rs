//! What the hub answers: acks of messages, and the JetStream API's answers to where it stands. Pure parsing.

use super::machine::{AckResult, LastId};
use super::message::Ids;
use crate::account::OwnedMessage;
use crate::protocol::headers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u16,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct PubAck {
    error: Option<ApiError>,
    stream: Option<String>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    domain: Option<String>,
    /// Messages in the atomic batch that this ack is for.
    #[serde(default)]
    count: u64,
}

/// A parsed ack.
pub struct Ack {
    /// What it means for the message.
    pub result: AckResult,
    /// The stream that answered, and its domain.
    pub stream: Option<(String, Option<String>)>,
    /// The hub's words if it did not store the message.
    pub refusal: Option<String>,
    /// The message is the last of this many that lie behind each other at the hub; 1 outside of atomic batches.
    pub count: u64,
}

/// Reads the answer to a message. Whatever is not understood counts as a temporary refusal.
pub fn ack(message: &OwnedMessage, ids: &Ids) -> Ack {
    let refused = |result, words: String| Ack { result, stream: None, refusal: Some(words), count: 1 };
    if message.payload.is_empty() && message.headers.is_empty() {
        return Ack { result: AckResult::Staged, stream: None, refusal: None, count: 1 };
    }
    if let Some(status) = headers::status(&message.headers) {
        let words = match status {
            503 => "the hub has no stream on this subject, or it has no leader (503)".to_owned(),
            status => format!("the hub answered with status {status}"),
        };
        return refused(AckResult::Temporary, words);
    }
    let Ok(ack) = serde_json::from_slice::<PubAck>(&message.payload) else {
        return refused(AckResult::Temporary, "the hub's answer is no publish acknowledgement".to_owned());
    };
    let Some(error) = ack.error else {
        return match ack.stream {
            Some(stream) if ack.seq > 0 => Ack {
                result: AckResult::Stored { position: ack.seq, duplicate: ack.duplicate },
                stream: Some((stream, ack.domain)),
                refusal: None,
                count: ack.count.max(1),
            },
            _ => refused(AckResult::Temporary, "the hub's answer names no stream".to_owned()),
        };
    };
    let words = format!("{} (err_code {})", error.description, error.err_code);
    refused(refusal(&error, ids, &words), words)
}

/// By nats-server's errors.json: 400 blames the message, all else the state of the hub.
fn refusal(error: &ApiError, ids: &Ids, words: &str) -> AckResult {
    match (error.err_code, error.code) {
        // JSStreamWrongLastMsgIDErrF "wrong last msg ID: {id}"
        (10070, _) => AckResult::Moved(match error.description.rsplit_once(": ") {
            Some((_, "")) | None => LastId::Unknown,
            Some((_, id)) => ids.place(id).map_or(LastId::Foreign, LastId::Ours),
        }),
        // JSStreamWrongLastSequenceErrF, JSStreamWrongLastSequenceConstantErr
        (10071 | 10164, _) => AckResult::Moved(LastId::Unknown),
        // JSAtomicPublishDisabledErr; MissingSeq to InvalidBatchID, TooLargeBatch, InvalidBatchCommit and TooManyInflight
        (10174, _) => AckResult::Unbatched { never: true },
        (10175..=10179 | 10199 | 10200 | 10210, _) => AckResult::Unbatched { never: false },
        // JSAtomicPublishContainsDuplicateMessageErr
        (10201, _) => AckResult::Moved(LastId::Unknown),
        // JSStreamSealedErr: the operator's doing, not the message's.
        (10109, _) => AckResult::Temporary,
        // JSStreamRollupFailedF: the stream does not allow the message's rollup header.
        (10111, _) | (_, 400) => AckResult::Permanent(words.to_owned()),
        _ => AckResult::Temporary,
    }
}

/// An API answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Api<T> {
    /// It has this.
    Found(T),
    /// There is none.
    Nothing,
    /// The API or the stream is not there now.
    Unavailable(String),
}

/// A message at the hub: its position and its id.
#[derive(Debug, PartialEq, Eq)]
pub struct AtHub {
    /// The hub stream's sequence.
    pub position: u64,
    /// Its local sequence if it is ours.
    pub seq: Option<u64>,
    /// Its subject.
    pub subject: Box<str>,
}

#[derive(Deserialize)]
struct MsgGet {
    error: Option<ApiError>,
    message: Option<StoredMessage>,
}

#[derive(Deserialize)]
struct StoredMessage {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    subject: Box<str>,
}

#[derive(Deserialize)]
struct Names {
    error: Option<ApiError>,
    streams: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Info {
    error: Option<ApiError>,
    state: Option<State>,
}

#[derive(Deserialize)]
struct State {
    last_seq: u64,
}

/// Reads an answer of `STREAM.MSG.GET`.
pub fn message(answer: &OwnedMessage, ids: &Ids) -> Api<AtHub> {
    parse::<MsgGet, _>(answer, |get| match (get.error, get.message) {
        // JSNoMessageFoundErr
        (Some(error), _) if error.err_code == 10037 => Api::Nothing,
        (Some(error), _) => Api::Unavailable(error.description),
        (None, Some(message)) => {
            let block = STANDARD.decode(&message.hdrs).unwrap_or_default();
            let seq = headers::get(&block, "Nats-Msg-Id").and_then(|id| ids.place(id));
            Api::Found(AtHub { position: message.seq, seq, subject: message.subject })
        }
        (None, None) => Api::Unavailable("the hub's answer holds no message".to_owned()),
    })
}

/// Reads an answer of `STREAM.INFO`: the stream's last sequence.
pub fn last_position(answer: &OwnedMessage) -> Api<u64> {
    parse::<Info, _>(answer, |info| match (info.error, info.state) {
        (Some(error), _) => Api::Unavailable(error.description),
        (None, Some(state)) => Api::Found(state.last_seq),
        (None, None) => Api::Unavailable("the hub's answer holds no state".to_owned()),
    })
}

/// Reads an answer of `STREAM.NAMES` with a subject: the one stream that takes it.
pub fn stream_name(answer: &OwnedMessage) -> Api<String> {
    parse::<Names, _>(answer, |names| match (names.error, names.streams.unwrap_or_default()) {
        (Some(error), _) => Api::Unavailable(error.description),
        (None, mut streams) if streams.len() == 1 => Api::Found(streams.remove(0)),
        (None, _) => Api::Nothing,
    })
}

fn parse<'a, A: Deserialize<'a>, T>(answer: &'a OwnedMessage, read: impl FnOnce(A) -> Api<T>) -> Api<T> {
    if let Some(status) = headers::status(&answer.headers) {
        return Api::Unavailable(format!("the hub's JetStream API answered with status {status}"));
    }
    match serde_json::from_slice(&answer.payload) {
        Ok(answer) => read(answer),
        Err(_) => Api::Unavailable("the hub's answer is not understood".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[u8], payload: &str) -> OwnedMessage {
        OwnedMessage {
            headers: bytes::Bytes::copy_from_slice(headers),
            payload: bytes::Bytes::copy_from_slice(payload.as_bytes()),
            ..OwnedMessage::default()
        }
    }

    #[test]
    fn acks_are_sorted_into_stored_temporary_moved_and_permanent() {
        let ids = Ids::new("gw1", "UPLINK_t", "e1", 0);
        let read = |payload: &str| ack(&answer(b"", payload), &ids).result;
        let error = |code: u16, err_code: u16, text: &str| {
            format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{text}"}},"stream":"T","seq":0}}"#
            )
        };
        let stored = ack(&answer(b"", r#"{"stream":"T","seq":5,"domain":"hub","duplicate":true}"#), &ids);
        assert_eq!(stored.result, AckResult::Stored { position: 5, duplicate: true });
        assert_eq!(stored.stream, Some(("T".to_owned(), Some("hub".to_owned()))));
        assert_eq!(ack(&answer(b"NATS/1.0 503\r\n\r\n", ""), &ids).result, AckResult::Temporary);
        assert_eq!(read("+OK"), AckResult::Temporary);
        assert_eq!(read(r#"{"stream":"T"}"#), AckResult::Temporary);
        let wrong = |id: &str| read(&error(400, 10070, &format!("wrong last msg ID: {id}")));
        assert_eq!(wrong("gw1:UPLINK_t:e1:41"), AckResult::Moved(LastId::Ours(41)));
        assert_eq!(wrong("gw2:UPLINK_t:e1:41"), AckResult::Moved(LastId::Foreign));
        assert_eq!(wrong(""), AckResult::Moved(LastId::Unknown));
        assert_eq!(read(&error(400, 10071, "wrong last sequence: 4")), AckResult::Moved(LastId::Unknown));
        assert_eq!(read(""), AckResult::Staged);
        assert_eq!(read(&error(400, 10174, "atomic publish is disabled")), AckResult::Unbatched { never: true });
        assert_eq!(
            read(&error(400, 10176, "atomic publish batch is incomplete")),
            AckResult::Unbatched { never: false }
        );
        let batch = ack(&answer(b"", r#"{"stream":"T","seq":9,"batch":"b","count":4}"#), &ids);
        assert_eq!((batch.result, batch.count), (AckResult::Stored { position: 9, duplicate: false }, 4));
        assert_eq!(read(&error(503, 10077, "maximum bytes exceeded")), AckResult::Temporary);
        assert_eq!(read(&error(400, 10109, "invalid operation on sealed stream")), AckResult::Temporary);
        assert_eq!(
            read(&error(400, 10054, "message size exceeds maximum allowed")),
            AckResult::Permanent("message size exceeds maximum allowed (err_code 10054)".to_owned())
        );
    }

    #[test]
    fn api_answers() {
        let ids = Ids::new("gw1", "UPLINK_t", "e1", 0);
        let hdrs = STANDARD.encode("NATS/1.0\r\nNats-Msg-Id: gw1:UPLINK_t:e1:7\r\n\r\n");
        let get = |payload: &str| message(&answer(b"", payload), &ids);
        let found = format!(r#"{{"type":"x","message":{{"subject":"a","seq":12,"hdrs":"{hdrs}","time":"t"}}}}"#);
        assert_eq!(get(&found), Api::Found(AtHub { position: 12, seq: Some(7), subject: "a".into() }));
        assert_eq!(get(r#"{"message":{"seq":3}}"#), Api::Found(AtHub { position: 3, seq: None, subject: "".into() }));
        assert_eq!(get(r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#), Api::Nothing);
        let gone = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        assert_eq!(get(gone), Api::Unavailable("stream not found".to_owned()));
        assert!(matches!(last_position(&answer(b"NATS/1.0 503\r\n\r\n", "")), Api::Unavailable(_)));
        assert_eq!(last_position(&answer(b"", r#"{"state":{"messages":1,"last_seq":9}}"#)), Api::Found(9));
        assert_eq!(stream_name(&answer(b"", r#"{"streams":["T"]}"#)), Api::Found("T".to_owned()));
        assert_eq!(stream_name(&answer(b"", r#"{"streams":null}"#)), Api::Nothing);
    }
}
