//! The headers of a publish that a stream obeys, taken out of the block in one pass.

use super::error::ApiError;
use crate::protocol::headers;

/// What a publisher asks for beside storing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes<'a> {
    pub msg_id: &'a str,
    pub expected_stream: &'a str,
    pub expected_last_msg_id: &'a str,
    pub expected_last_seq: Option<u64>,
    pub expected_subject_seq: Option<u64>,
    pub expected_subject: &'a str,
    pub rollup: &'a str,
    pub refusal: Option<Feature>,
}

/// Something that a header asks for and that no stream of leafd has switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    AtomicBatch,
    Counter,
    Ttl,
    Schedule,
    Source,
}

impl Feature {
    pub fn error(self) -> ApiError {
        let (code, text) = match self {
            Feature::AtomicBatch => (10174, "atomic publish is disabled"),
            Feature::Counter => (10168, "message counters is disabled"),
            // Clients switch it on with every bucket (`allow_msg_ttl`); only what uses it has to be refused.
            Feature::Ttl => (10166, "per-message TTL is disabled: leafd does not support it yet"),
            Feature::Schedule => (10188, "message schedules is disabled"),
            Feature::Source => (10227, "message stream source header is not allowed"),
        };
        ApiError::new(400, code, text)
    }
}

/// Reads the block; of a header that comes twice the first counts.
pub(super) fn parse(block: &[u8]) -> Wishes<'_> {
    let mut wishes = Wishes::default();
    fn first<'a>(slot: &mut &'a str, value: &'a str) {
        if slot.is_empty() {
            *slot = value;
        }
    }
    for (name, value) in headers::iter(block) {
        let Some(name) = name.strip_prefix("Nats-") else { continue };
        let feature = match name {
            "Msg-Id" => {
                first(&mut wishes.msg_id, value);
                continue;
            }
            "Expected-Stream" => {
                first(&mut wishes.expected_stream, value);
                continue;
            }
            "Expected-Last-Msg-Id" => {
                first(&mut wishes.expected_last_msg_id, value);
                continue;
            }
            "Expected-Last-Subject-Sequence-Subject" => {
                first(&mut wishes.expected_subject, value);
                continue;
            }
            "Rollup" => {
                first(&mut wishes.rollup, value);
                continue;
            }
            "Expected-Last-Sequence" => {
                wishes.expected_last_seq = wishes.expected_last_seq.or_else(|| value.parse().ok());
                continue;
            }
            "Expected-Last-Subject-Sequence" => {
                wishes.expected_subject_seq = wishes.expected_subject_seq.or_else(|| value.parse().ok());
                continue;
            }
            "Batch-Id" => Feature::AtomicBatch,
            "Incr" => Feature::Counter,
            "TTL" => Feature::Ttl,
            "Schedule" => Feature::Schedule,
            "Stream-Source" => Feature::Source,
            _ => continue,
        };
        wishes.refusal.get_or_insert(feature);
    }
    wishes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_finds_what_matters() {
        let block = b"NATS/1.0\r\nNats-Msg-Id: a\r\nX: y\r\nNats-Expected-Last-Sequence: 7\r\nNats-Rollup: sub\r\nNats-Msg-Id: b\r\n\r\n";
        let wishes = parse(block);
        assert_eq!((wishes.msg_id, wishes.expected_last_seq, wishes.rollup), ("a", Some(7), "sub"));
        assert_eq!(wishes.refusal, None);
        assert_eq!(parse(b"NATS/1.0\r\nNats-TTL: 1s\r\n\r\n").refusal, Some(Feature::Ttl));
    }
}
