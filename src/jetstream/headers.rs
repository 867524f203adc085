//! The headers of a publish that a stream obeys, taken out of the block in one pass.

use super::error::ApiError;
use crate::protocol::headers;

/// What a publisher asks for beside storing; empty: nothing. Of a header that comes twice the first counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes<'a> {
    pub msg_id: &'a str,
    pub expected_stream: &'a str,
    pub expected_last_msg_id: &'a str,
    pub expected_last_seq: &'a str,
    pub expected_subject_seq: &'a str,
    pub expected_subject: &'a str,
    pub rollup: &'a str,
    pub ttl: &'a str,
    pub incr: &'a str,
    pub schedule: &'a str,
    pub schedule_target: &'a str,
    pub schedule_source: &'a str,
    pub schedule_ttl: &'a str,
    pub schedule_rollup: &'a str,
    /// `None`: it is not there at all.
    pub schedule_zone: Option<&'a str>,
    pub schedule_next: &'a str,
    pub scheduler: &'a str,
    pub source: &'a str,
    pub batch_id: &'a str,
}

/// Reads the block.
pub(super) fn parse(block: &[u8]) -> Wishes<'_> {
    let mut wishes = Wishes::default();
    for (name, value) in headers::iter(block) {
        let Some(name) = name.strip_prefix("Nats-") else { continue };
        let slot = match name {
            "Msg-Id" => &mut wishes.msg_id,
            "Expected-Stream" => &mut wishes.expected_stream,
            "Expected-Last-Msg-Id" => &mut wishes.expected_last_msg_id,
            "Expected-Last-Sequence" => &mut wishes.expected_last_seq,
            "Expected-Last-Subject-Sequence" => &mut wishes.expected_subject_seq,
            "Expected-Last-Subject-Sequence-Subject" => &mut wishes.expected_subject,
            "Rollup" => &mut wishes.rollup,
            "TTL" => &mut wishes.ttl,
            "Incr" => &mut wishes.incr,
            "Schedule" => &mut wishes.schedule,
            "Schedule-Target" => &mut wishes.schedule_target,
            "Schedule-Source" => &mut wishes.schedule_source,
            "Schedule-TTL" => &mut wishes.schedule_ttl,
            "Schedule-Rollup" => &mut wishes.schedule_rollup,
            "Schedule-Time-Zone" => {
                wishes.schedule_zone.get_or_insert(value);
                continue;
            }
            "Schedule-Next" => &mut wishes.schedule_next,
            "Scheduler" => &mut wishes.scheduler,
            "Stream-Source" => &mut wishes.source,
            "Batch-Id" => &mut wishes.batch_id,
            _ => continue,
        };
        if slot.is_empty() {
            *slot = value;
        }
    }
    wishes
}

/// A sequence that is expected; what is no number is one that no message has (`parseInt64`).
pub(super) fn sequence(value: &str) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    Some(if digits { value.parse::<i64>().map_or(u64::MAX, |n| n as u64) } else { u64::MAX })
}

/// How long a message is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ttl {
    /// As long as the stream's limits say.
    Limits,
    /// For ever, the stream's `max_age` notwithstanding.
    Never,
    /// So many seconds.
    Seconds(i64),
}

/// Reads `Nats-TTL` (`parseMessageTTL`): `never`, whole seconds, or a duration of at least one.
pub(super) fn ttl(value: &str) -> Result<Ttl, ApiError> {
    let invalid = || ApiError::new(400, 10165, "invalid per-message TTL");
    if value.is_empty() {
        return Ok(Ttl::Limits);
    }
    if value.eq_ignore_ascii_case("never") {
        return Ok(Ttl::Never);
    }
    // `0` is a duration without a unit, and too short as such.
    let seconds = if value != "0" && value.bytes().all(|b| b.is_ascii_digit()) {
        value.parse().map_err(|_| invalid())?
    } else {
        let nanos = super::consumer::ack::go_duration(value).ok_or_else(invalid)?;
        if nanos < 1_000_000_000 {
            return Err(invalid());
        }
        nanos / 1_000_000_000
    };
    Ok(if seconds == 0 { Ttl::Limits } else { Ttl::Seconds(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_finds_what_matters() {
        let block = b"NATS/1.0\r\nNats-Msg-Id: a\r\nX: y\r\nNats-Expected-Last-Sequence: 7\r\nNats-Rollup: sub\r\nNats-Msg-Id: b\r\n\r\n";
        let wishes = parse(block);
        assert_eq!((wishes.msg_id, wishes.expected_last_seq, wishes.rollup), ("a", "7", "sub"));
        assert_eq!(parse(b"NATS/1.0\r\nNats-TTL: 1s\r\n\r\n").ttl, "1s");
    }

    #[test]
    fn numbers_are_read_as_nats_server_reads_them() {
        assert_eq!(
            [sequence(""), sequence("12"), sequence("-1"), sequence("x")],
            [None, Some(12), Some(u64::MAX), Some(u64::MAX)]
        );
        for (text, expected) in [
            ("", Some(Ttl::Limits)),
            ("00", Some(Ttl::Limits)),
            ("0", None),
            ("Never", Some(Ttl::Never)),
            ("90", Some(Ttl::Seconds(90))),
            ("1m30s", Some(Ttl::Seconds(90))),
            ("1.9s", Some(Ttl::Seconds(1))),
            ("999ms", None),
            ("-1", None),
            ("0s", None),
            ("soon", None),
        ] {
            assert_eq!(ttl(text).ok(), expected, "{text}");
        }
    }
}
