//! What the command sides of all adapters share: which commands are too late, the answer to a command, and the count of
//! those that failed.

use super::AdapterContext;
use super::status::Health;
use crate::account::{Inbox, LocalClient, Message, OwnedMessage};
use crate::config::units;
use crate::protocol::headers::{self, HeadersBuilder};
use crate::subject;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time, RFC 3339, from which on the command is not to be carried out any more.
const EXPIRES: &str = "Leafd-Expires";
/// How long after it was stored in a stream it is; known where a consumer of that stream delivers it.
const TTL: &str = "Nats-TTL";
/// A subject of an uplink, to which the result goes as well, so that it is stored until the hub has it.
const RESULT: &str = "Leafd-Result";
/// 2025: a clock that is behind it was not set since the start.
const CLOCK_IS_SET: i64 = 1_735_689_600;

/// Judges and answers the commands of one adapter.
pub(super) struct Desk {
    client: LocalClient,
    /// What uplinks capture.
    uplinks: Arc<[String]>,
    health: Arc<Health>,
}

impl Desk {
    pub fn new(context: &AdapterContext, health: Arc<Health>) -> Desk {
        Desk { client: LocalClient::new(context.account.clone()), uplinks: context.uplinks.clone(), health }
    }

    /// The client of its inbox.
    pub fn client(&self) -> &LocalClient {
        &self.client
    }

    /// Whether `command` may be carried out; otherwise it is answered here.
    pub fn admits(&self, command: &OwnedMessage) -> bool {
        let result = headers::get(&command.headers, RESULT);
        let refused = match result.filter(|subject| !self.is_stored(subject)) {
            Some(subject) => Some(format!("{RESULT}: no uplink stores messages on {subject}")),
            None => too_late(command, OffsetDateTime::from(SystemTime::now())),
        };
        if let Some(reason) = &refused {
            self.answer(command, Err(reason));
        }
        refused.is_none()
    }

    /// Answers `command`, where somebody waits for that: `+OK` when the device has it, `-ERR` and the reason when not.
    pub fn answer(&self, command: &OwnedMessage, result: Result<(), &str>) {
        let health = &self.health;
        health.add(if result.is_ok() { &health.commands } else { &health.commands_failed }, 1);
        let text = result.map_or_else(|reason| format!("-ERR {reason}"), |()| "+OK".to_owned());
        if !command.reply.is_empty() {
            self.client.publish(&Message {
                subject: &command.reply,
                reply: "",
                headers: b"",
                payload: text.as_bytes(),
            });
        }
        if let Some(subject) = headers::get(&command.headers, RESULT).filter(|subject| self.is_stored(subject)) {
            let mut block = HeadersBuilder::new().add("Leafd-Command", &command.subject);
            if let Some(id) = headers::get(&command.headers, "Nats-Msg-Id") {
                block = block.add("Leafd-Command-Id", id);
            }
            let message = Message { subject, reply: "", headers: &block.build(), payload: text.as_bytes() };
            self.client.publish(&message);
        }
    }

    fn is_stored(&self, subject: &str) -> bool {
        subject::is_valid_literal(subject) && self.uplinks.iter().any(|filter| subject::matches(filter, subject))
    }

    /// Counts commands that found the inbox full; `seen` is what was counted before.
    pub fn note_dropped(&self, inbox: &Inbox, seen: &mut u64) {
        let dropped = inbox.dropped();
        self.health.add(&self.health.commands_failed, dropped - std::mem::replace(seen, dropped));
    }
}

/// Why `command` may not be carried out at `now` any more.
fn too_late(command: &OwnedMessage, now: OffsetDateTime) -> Option<String> {
    let until = match deadline(command) {
        Ok(until) => until?,
        Err(reason) => return Some(reason),
    };
    if now.unix_timestamp() < CLOCK_IS_SET {
        return Some("this gateway's clock is not set, so it cannot tell whether the command has expired".to_owned());
    }
    (now >= until).then(|| format!("the command has expired {:.1} s ago", (now - until).as_seconds_f64()))
}

/// Until when `command` may be carried out; the earlier one of both headers.
fn deadline(command: &OwnedMessage) -> Result<Option<OffsetDateTime>, String> {
    let expires = headers::get(&command.headers, EXPIRES).map(|text| {
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| format!("{EXPIRES}: {text:?} is no RFC 3339 time"))
    });
    let ttl = match headers::get(&command.headers, TTL).filter(|text| *text != "never") {
        Some(text) => match (time_to_live(text), stored_at(&command.reply)) {
            (None, _) => return Err(format!("{TTL}: {text:?} is no duration")),
            (Some(ttl), Some(stored)) => {
                stored.checked_add(time::Duration::try_from(ttl).unwrap_or(time::Duration::MAX))
            }
            // Not from a stream, so it has not waited in one.
            (Some(_), None) => None,
        },
        None => None,
    };
    Ok(expires.transpose()?.into_iter().chain(ttl).min())
}

/// Whole seconds, or a duration.
fn time_to_live(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| units::Duration::parse(text).map(|ttl| ttl.0))
}

/// When a message was stored whose consumer wants its acknowledgement at `reply`:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or with domain and
/// account behind `ACK`.
fn stored_at(reply: &str) -> Option<OffsetDateTime> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let nanos = match tokens.len() {
        7 => tokens[5],
        9.. => tokens[7],
        _ => return None,
    };
    OffsetDateTime::from_unix_timestamp_nanos(nanos.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_305_600;

    fn judged(headers: &[(&str, &str)], reply: &str, now: i64) -> Option<String> {
        let block = headers.iter().fold(HeadersBuilder::new(), |block, (name, value)| block.add(name, value));
        let command = OwnedMessage { headers: block.build().into(), reply: reply.into(), ..OwnedMessage::default() };
        too_late(&command, OffsetDateTime::from_unix_timestamp(now).expect("a time"))
    }

    #[test]
    fn a_command_that_comes_too_late_is_told_so() {
        assert_eq!(judged(&[], "_INBOX.x", NOW), None);
        assert_eq!(judged(&[(EXPIRES, "2026-11-22T00:00:01Z")], "", NOW), None);
        let late = judged(&[(EXPIRES, "2026-11-22T00:59:30+01:00")], "", NOW).expect("late");
        assert_eq!(late, "the command has expired 30.0 s ago");
        assert!(judged(&[(EXPIRES, "tomorrow")], "", NOW).is_some_and(|text| text.contains("RFC 3339")));
        assert!(judged(&[(EXPIRES, "2026-11-22T00:00:01Z")], "", 100).is_some_and(|text| text.contains("clock")));
    }

    #[test]
    fn its_time_to_live_runs_from_when_the_stream_had_it() {
        let stored = (NOW - 60) * 1_000_000_000;
        let short = format!("$JS.ACK.CMD.c.1.7.7.{stored}.0");
        let long = format!("$JS.ACK.hub.HASH.CMD.c.1.7.7.{stored}.0.x");
        for reply in [&short, &long] {
            assert_eq!(judged(&[(TTL, "2m")], reply, NOW), None);
            assert!(judged(&[(TTL, "30")], reply, NOW).is_some_and(|text| text.contains("30.0 s ago")));
        }
        assert_eq!(judged(&[(TTL, "30")], "_INBOX.x", NOW), None, "it was published just now");
        assert_eq!(judged(&[(TTL, "never")], &short, NOW), None);
        assert!(judged(&[(TTL, "soon")], &short, NOW).is_some());
        assert_eq!(stored_at("$JS.ACK.x"), None);
    }
}
