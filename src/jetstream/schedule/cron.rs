//! Cron patterns of six fields (`server/cron.go`): second, minute, hour, day of the month, month, day of the week; each a list
//! of numbers, names, ranges and steps. Where a time zone is given its clock counts: times that a summer time leaves out
//! do not come, those that come twice do so.

use time::OffsetDateTime;

/// Within how many years a pattern must match.
const YEARS: i32 = 5;
const DAY: i64 = 86_400;
/// Beside the bits of a field: it was a star.
const STAR: u64 = 1 << 63;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Which values of each field match.
struct Cron {
    second: u64,
    minute: u64,
    hour: u64,
    day: u64,
    month: u64,
    weekday: u64,
}

/// The first time after `after` (nanoseconds since 1970) that the pattern gives; `None` if it is no pattern or gives none
/// within five years.
pub(super) fn next(pattern: &str, zone: Option<&tz::TimeZone>, after: i64) -> Option<i64> {
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let [second, minute, hour, day, month, weekday] = fields.as_slice() else { return None };
    let cron = Cron {
        second: field(second, 0, 59, &[])?,
        minute: field(minute, 0, 59, &[])?,
        hour: field(hour, 0, 23, &[])?,
        day: field(day, 1, 31, &[])?,
        month: field(month, 1, 12, &MONTHS)?,
        weekday: field(weekday, 0, 6, &DAYS)?,
    };
    cron.next(zone, after.div_euclid(1_000_000_000) + 1)?.checked_mul(1_000_000_000)
}

/// How far the clocks of the zone are ahead, seconds.
fn offset(zone: Option<&tz::TimeZone>, at: i64) -> i64 {
    zone.and_then(|zone| zone.find_local_time_type(at).ok()).map_or(0, |kind| i64::from(kind.ut_offset()))
}

fn has(bits: u64, value: i64) -> bool {
    bits >> value & 1 == 1
}

impl Cron {
    /// The first match at or after `start`, seconds since 1970.
    fn next(&self, zone: Option<&tz::TimeZone>, start: i64) -> Option<i64> {
        let first = (start + offset(zone, start)).div_euclid(DAY);
        let last_year = OffsetDateTime::from_unix_timestamp(first * DAY).ok()?.year() + YEARS;
        for day in first.. {
            let date = OffsetDateTime::from_unix_timestamp(day * DAY).ok()?;
            if date.year() > last_year {
                return None;
            }
            if !self.matches_day(date) {
                continue;
            }
            // The clocks may be set within the day.
            let (before, behind) = (offset(zone, day * DAY - DAY), offset(zone, day * DAY + 2 * DAY));
            let found = [before, behind].into_iter().filter_map(|ahead| self.within(zone, day, ahead, start)).min();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn matches_day(&self, date: OffsetDateTime) -> bool {
        let day = has(self.day, date.day().into());
        let weekday = has(self.weekday, date.weekday().number_days_from_sunday().into());
        let both = (self.day | self.weekday) & STAR > 0;
        has(self.month, u8::from(date.month()).into()) && if both { day && weekday } else { day || weekday }
    }

    /// The first match on a day, by clocks that are `ahead`, at or after `start`.
    fn within(&self, zone: Option<&tz::TimeZone>, day: i64, ahead: i64, start: i64) -> Option<i64> {
        let (midnight, from) = (day * DAY, start + ahead);
        for hour in (0..24).filter(|hour| has(self.hour, *hour)) {
            for minute in (0..60).filter(|minute| has(self.minute, *minute)) {
                let at = midnight + hour * 3600 + minute * 60;
                if at + 59 < from {
                    continue;
                }
                let second = (0..60).find(|second| has(self.second, *second) && at + second >= from);
                let found = second.map(|second| at + second - ahead);
                if found.is_some_and(|found| offset(zone, found) == ahead) {
                    return found;
                }
            }
        }
        None
    }
}

fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let ranges = text.split(',').filter(|range| !range.is_empty());
    ranges.map(|range| bits(range, min, max, names)).try_fold(0, |all, bits| Some(all | bits?))
}

fn bits(range: &str, min: u32, max: u32, names: &[&str]) -> Option<u64> {
    let mut parts = range.split('/');
    let mut ends = parts.next()?.split('-');
    let low = ends.next()?;
    let (mut start, mut end, mut star, mut single) = (min, max, STAR, true);
    if low != "*" && low != "?" {
        star = 0;
        start = number(low, min, names)?;
        end = match ends.next() {
            Some(high) => {
                single = false;
                number(high, min, names)?
            }
            None => start,
        };
        if ends.next().is_some() {
            return None;
        }
    } else {
        single = ends.next().is_none();
    }
    let step = match parts.next() {
        Some(step) => {
            if single {
                end = max;
            }
            number(step, min, &[])?
        }
        None => 1,
    };
    if parts.next().is_some() || step == 0 || start < min || end > max || start > end {
        return None;
    }
    let star = if step > 1 { 0 } else { star };
    Some((start..=end).step_by(step as usize).fold(star, |bits, value| bits | 1 << value))
}

fn number(text: &str, min: u32, names: &[&str]) -> Option<u32> {
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
    match named {
        Some(at) => u32::try_from(at).ok().map(|at| at + min),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::format_description::well_known::Rfc3339;

    fn after(pattern: &str, text: &str) -> Option<String> {
        let at = OffsetDateTime::parse(text, &Rfc3339).expect("a time").unix_timestamp() * 1_000_000_000;
        let next = next(pattern, None, at)?;
        OffsetDateTime::from_unix_timestamp(next / 1_000_000_000).ok()?.format(&Rfc3339).ok()
    }

    #[test]
    fn patterns_give_times() {
        for (pattern, from, expected) in [
            ("* * * * * *", "2026-11-21T12:00:00Z", Some("2026-11-21T12:00:01Z")),
            ("0 * * * * *", "2026-11-21T12:00:00Z", Some("2026-11-21T12:01:00Z")),
            ("0 30 8 * * mon-fri", "2026-11-21T12:00:00Z", Some("2026-11-23T08:30:00Z")),
            ("0 0 0 29 feb *", "2026-11-21T12:00:00Z", Some("2028-02-29T00:00:00Z")),
            ("0 0 0 31 11 *", "2026-11-21T12:00:00Z", None),
            ("*/20 5/10 23 1,15 * ?", "2026-11-21T12:00:00Z", Some("2026-12-01T23:05:00Z")),
            ("0 0 0 1 * sun", "2026-11-21T12:00:00Z", Some("2026-11-22T00:00:00Z")),
            ("0 0 0 1 1 *", "2026-11-21T12:00:00Z", Some("2027-01-01T00:00:00Z")),
            ("0 0 * * *", "2026-11-21T12:00:00Z", None),
            ("60 0 * * * *", "2026-11-21T12:00:00Z", None),
            ("a 0 * * * *", "2026-11-21T12:00:00Z", None),
            ("5-2 0 * * * *", "2026-11-21T12:00:00Z", None),
            ("1-2-3 0 * * * *", "2026-11-21T12:00:00Z", None),
            ("*/0 0 * * * *", "2026-11-21T12:00:00Z", None),
        ] {
            assert_eq!(after(pattern, from).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn clocks_that_are_set_leave_hours_out_and_repeat_others() {
        let rule = tz::TimeZone::from_posix_tz("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule");
        let at = |text: &str| OffsetDateTime::parse(text, &Rfc3339).expect("a time").unix_timestamp() * 1_000_000_000;
        let daily = "0 30 2 * * *";
        // On 29 March 2026 there is no half past two, on 25 October two of them.
        assert_eq!(next(daily, Some(&rule), at("2026-03-28T12:00:00Z")), Some(at("2026-03-30T00:30:00Z")));
        assert_eq!(next(daily, Some(&rule), at("2026-10-24T12:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
        assert_eq!(next(daily, Some(&rule), at("2026-10-25T00:30:00Z")), Some(at("2026-10-25T01:30:00Z")));
    }
}
