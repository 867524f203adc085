//! The time as limits need it.

use crate::config::traffic::TimeZone;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic, since some start.
    pub mono: Duration,
    /// Days since 1970, in the configured time zone.
    pub day: i64,
    /// Months since January 1970.
    pub month: i64,
    /// Monday is 0.
    pub weekday: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

impl Moment {
    /// From seconds since 1970 as the clock on the wall shows them.
    pub fn at(mono: Duration, wall: i64) -> Moment {
        let date = OffsetDateTime::from_unix_timestamp(wall).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Moment {
            mono,
            day: wall.div_euclid(86_400),
            month: i64::from(date.year() - 1970) * 12 + i64::from(u8::from(date.month())) - 1,
            weekday: date.weekday().number_days_from_monday(),
            minute: u16::from(date.hour()) * 60 + u16::from(date.minute()),
        }
    }
}

/// Tells moments; the calendar is looked at once a second.
pub(super) struct Clock {
    start: Instant,
    /// `None` is UTC.
    zone: Option<tz::TimeZone>,
    second: i64,
    moment: Moment,
}

impl Clock {
    pub fn new(zone: TimeZone) -> Clock {
        let zone = match zone {
            TimeZone::Utc => None,
            TimeZone::Local => match tz::TimeZone::local() {
                Ok(zone) => Some(zone),
                Err(error) => {
                    tracing::warn!("the local time zone is not known, UTC is used: {error}");
                    None
                }
            },
        };
        Clock { start: Instant::now(), zone, second: i64::MIN, moment: Moment::default() }
    }

    pub fn now(&mut self) -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let mono = self.start.elapsed();
        if second != self.second {
            let offset = self.zone.as_ref().and_then(|zone| zone.find_local_time_type(second).ok());
            self.second = second;
            self.moment = Moment::at(mono, second + offset.map_or(0, |kind| i64::from(kind.ut_offset())));
        }
        self.moment.mono = mono;
        self.moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar() {
        // Saturday, 21 November 2026, 23:59:59
        let moment = Moment::at(Duration::ZERO, 1_795_305_599);
        assert_eq!((moment.weekday, moment.minute, moment.month), (5, 23 * 60 + 59, 56 * 12 + 10));
        assert_eq!(Moment::at(Duration::ZERO, 1_795_305_600).day, moment.day + 1);
    }
}
