//! Message schedules (ADR-51): a message with `Nats-Schedule` waits in its stream, and gives a message to another subject of it,
//! once or again and again (`server/scheduler.go`). What is due when is kept in memory and found out again from the log:
//! a message that was given says which schedule it came from, and when the next one is due.
//!
//! ```text
//! commit ─> Note ─> Schedules ─> due ─> a message with Nats-Scheduler and Nats-Schedule-Next ─> commit ─> Note
//! ```

mod check;
mod cron;
mod keeper;
mod pattern;

pub(super) use self::check::check;
pub(super) use self::keeper::Schedules;
pub(super) use self::pattern::Next;

use super::consumer::config::Timestamp;
use super::headers::Wishes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What a message that was stored says of schedules.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The message with this sequence is one.
    Begins { subject: Box<str>, seq: u64, next: Next },
    /// There is none on the subject any more.
    Ends(Box<str>),
    /// The one on this subject gave a message, and gives the next one then.
    Gave(Box<str>, i64),
}

/// Reads it from the headers of a message stored at `time`.
pub(super) fn notes(wishes: &Wishes<'_>, subject: &str, seq: u64, time: i64) -> impl Iterator<Item = Note> {
    let now = Timestamp::now().0;
    let schedule = pattern::read(wishes.schedule, wishes.schedule_zone, time, now).ok().flatten();
    let first = match schedule {
        Some(next) => Some(Note::Begins { subject: subject.into(), seq, next }),
        None if wishes.scheduler.is_empty() => Some(Note::Ends(subject.into())),
        None => None,
    };
    let second = match wishes.schedule_next {
        "" => None,
        "purge" => Some(Note::Ends(wishes.scheduler.into())),
        next => OffsetDateTime::parse(next, &Rfc3339).ok().map(|next| {
            let at = next.unix_timestamp_nanos().clamp(0, i64::MAX.into()) as i64;
            Note::Gave(wishes.scheduler.into(), at)
        }),
    };
    first.into_iter().chain(second)
}
