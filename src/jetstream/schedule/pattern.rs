//! When a schedule gives its next message (`server/scheduler.go`, `parseMsgSchedule`).

use super::cron;
use crate::jetstream::consumer::ack::go_duration;
use crate::jetstream::error::ApiError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const SECOND: i64 = 1_000_000_000;
/// Where systems keep their time zones.
const ZONES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];

/// The next time of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jetstream) struct Next {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// There will be others.
    pub repeats: bool,
    /// It is a time span after the last one, whatever the clock shows.
    pub steady: bool,
}

fn round(at: i64) -> i64 {
    at.saturating_add(SECOND / 2).div_euclid(SECOND).saturating_mul(SECOND)
}

/// The first time after `since`, or, if that is over, after `now`. `None` if the pattern or the zone is none.
fn next(pattern: &str, zone: Option<&tz::TimeZone>, since: i64, now: i64) -> Option<Next> {
    if let Some(text) = pattern.strip_prefix("@at ") {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|_| zone.is_none())?.unix_timestamp_nanos();
        return Some(Next { at: at.clamp(0, i64::MAX.into()) as i64, repeats: false, steady: false });
    }
    if let Some(text) = pattern.strip_prefix("@every ") {
        let span = go_duration(text).filter(|span| *span >= SECOND && zone.is_none())?;
        let at = round(since).saturating_add(span);
        let at = if at < now { round(now).saturating_add(span) } else { at };
        return Some(Next { at, repeats: true, steady: true });
    }
    let pattern = match pattern {
        "@yearly" | "@annually" => "0 0 0 1 1 *",
        "@monthly" => "0 0 0 1 * *",
        "@weekly" => "0 0 0 * * 0",
        "@daily" | "@midnight" => "0 0 0 * * *",
        "@hourly" => "0 0 * * * *",
        other => other,
    };
    let mut at = cron::next(pattern, zone, since)?;
    if at < now {
        at = cron::next(pattern, zone, round(now))?;
    }
    Some(Next { at, repeats: true, steady: false })
}

/// The time zone of that name, from the system's files.
fn zone(name: &str) -> Result<Option<tz::TimeZone>, ApiError> {
    let invalid = || ApiError::new(400, 10223, "message schedules time zone is invalid");
    if name == "UTC" {
        return Ok(Some(tz::TimeZone::utc()));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
    if name.is_empty() || name.starts_with('/') || !name.bytes().all(fits) {
        return Err(invalid());
    }
    let data = ZONES.iter().find_map(|folder| std::fs::read(format!("{folder}/{name}")).ok()).ok_or_else(invalid)?;
    tz::TimeZone::from_tz_data(&data).map(Some).map_err(|_| invalid())
}

/// What the headers say: `None` if there is no schedule in them.
pub(in crate::jetstream) fn read(
    pattern: &str,
    zone_name: Option<&str>,
    since: i64,
    now: i64,
) -> Result<Option<Next>, ApiError> {
    let zone = zone_name.map_or(Ok(None), zone)?;
    if pattern.is_empty() {
        return Ok(None);
    }
    let next = next(pattern, zone.as_ref(), since, now);
    next.map(Some).ok_or_else(|| ApiError::new(400, 10189, "message schedules pattern is invalid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_was_missed_is_made_up_for_once() {
        let every =
            |since: i64, now: i64| next("@every 10s", None, since * SECOND, now * SECOND).map(|n| n.at / SECOND);
        assert_eq!(every(100, 100), Some(110));
        assert_eq!(every(100, 500), Some(510));
        assert_eq!(next("@hourly", None, 0, 7000 * SECOND).map(|n| n.at / SECOND), Some(7200));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["@at tomorrow", "@every 1", "@every 999ms", "@sometimes", "1 2 3", "@at", "@every"] {
            assert_eq!(next(pattern, None, 0, 0), None, "{pattern}");
        }
        assert!(next("@at 2099-01-01T00:00:00Z", None, 0, 0).is_some_and(|next| !next.repeats));
        for name in ["", "/etc/passwd", "../passwd", "No/Where", "EST5EDT,M3"] {
            assert_eq!(read("@daily", Some(name), 0, 0).map_err(|error| error.err_code), Err(10223), "{name}");
        }
        assert!(read("@at 2099-01-01T00:00:00Z", Some("UTC"), 0, 0).is_err(), "no zone for that");
    }
}
