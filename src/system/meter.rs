//! How fast something is counted, over the last half minute.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back it looks.
const SPAN: Duration = Duration::from_secs(30);
/// Least time between two samples.
const STEP: Duration = Duration::from_secs(1);

/// Samples of a count that grows.
#[derive(Debug, Default)]
pub struct Meter {
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// The count is this at `now`.
    pub fn note(&mut self, now: Duration, count: u64) {
        if self.samples.back().is_none_or(|(at, _)| now >= *at + STEP) {
            self.samples.push_back((now, count));
        }
        // One that is older stays, as the one to compare with.
        while self.samples.get(1).is_some_and(|(at, _)| *at + SPAN < now) {
            self.samples.pop_front();
        }
    }

    /// How much it grew a second, up to `count` at `now`; `None` before there is anything to compare with.
    pub fn rate(&self, now: Duration, count: u64) -> Option<f64> {
        let (at, before) = self.samples.iter().find(|(at, _)| *at + SPAN >= now).or(self.samples.back())?;
        let time = now.checked_sub(*at).filter(|time| *time >= STEP)?;
        Some(count.saturating_sub(*before) as f64 / time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_the_last_half_minute() {
        let mut meter = Meter::default();
        let at = Duration::from_secs;
        assert_eq!(meter.rate(at(0), 0), None);
        for second in 0..100 {
            meter.note(at(second), second * 10);
        }
        assert_eq!(meter.rate(at(99), 990), Some(10.0));
        assert!(meter.samples.len() <= 33);
        assert!(meter.rate(at(120), 990).is_some_and(|rate| rate < 5.0), "it falls when nothing comes");
        assert_eq!(meter.rate(at(500), 990), Some(0.0));
    }
}
