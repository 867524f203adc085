//! What an uplink, or all of them together, may send: bytes a second, a day, a month, and when.

use super::Moment;
use crate::config::schedule::Schedule;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits as configured; what is absent is not limited.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Bytes that may go at once after a pause; a second's worth unless set.
    pub burst: Option<u64>,
    /// Bytes a day.
    pub daily: Option<u64>,
    /// Bytes a calendar month.
    pub monthly: Option<u64>,
    /// When anything may go; absent: always.
    pub schedule: Option<Schedule>,
}

/// A token bucket. It may go into debt for a message that is larger than what is in it.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full bucket of `burst` bytes that gains `rate` bytes a second.
    pub fn new(rate: u64, burst: Option<u64>) -> Bucket {
        let (rate, burst) = (rate.max(1) as f64, burst.unwrap_or(rate).max(1) as f64);
        Bucket { rate, burst, tokens: burst, at: Duration::ZERO }
    }

    /// How long nothing may go yet.
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.tokens = (self.tokens + self.rate * now.saturating_sub(self.at).as_secs_f64()).min(self.burst);
        self.at = self.at.max(now);
        (self.tokens <= 0.0).then(|| Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }

    /// `bytes` go.
    pub fn take(&mut self, bytes: u64) {
        self.tokens -= bytes as f64;
    }
}

/// What went in the present day and month; kept on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Day, counted from 1970.
    pub day: i64,
    /// Bytes on that day.
    pub day_bytes: u64,
    /// Month, counted from 1970.
    pub month: i64,
    /// Bytes in that month.
    pub month_bytes: u64,
}

impl Spent {
    /// Begins a new day or month when there is one. Never an earlier one: a gateway without a clock boots in 1970, and
    /// must not get its budget back by that.
    pub fn turn(&mut self, now: &Moment) {
        if now.day > self.day {
            (self.day, self.day_bytes) = (now.day, 0);
        }
        if now.month > self.month {
            (self.month, self.month_bytes) = (now.month, 0);
        }
    }

    /// `bytes` have crossed.
    pub fn add(&mut self, bytes: u64) {
        self.day_bytes += bytes;
        self.month_bytes += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(1000, Some(500));
        let mut now = Duration::from_secs(100);
        let mut sent = 0;
        while now < Duration::from_secs(110) {
            match bucket.wait(now) {
                Some(wait) => now += wait,
                None => {
                    bucket.take(100);
                    sent += 100;
                }
            }
        }
        assert!((10_400..=10_700).contains(&sent), "{sent}");
        bucket.take(5000);
        let wait = bucket.wait(now).expect("in debt");
        assert!(wait > Duration::from_secs(4), "{wait:?}");
    }

    #[test]
    fn a_budget_begins_anew_with_the_day_and_not_with_a_clock_that_is_lost() {
        let day = |day, month| Moment { day, month, ..Moment::default() };
        let mut spent = Spent::default();
        spent.turn(&day(20_000, 660));
        spent.add(70);
        spent.turn(&day(0, 0));
        assert_eq!((spent.day_bytes, spent.month_bytes), (70, 70));
        spent.turn(&day(20_001, 660));
        assert_eq!((spent.day_bytes, spent.month_bytes), (0, 70));
    }
}
