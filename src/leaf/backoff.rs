//! How long to wait before the next dial: exponential with full jitter, so that a thousand gateways that lost the same
//! hub do not come back in step.

use std::time::Duration;

/// The pauses of one link.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Pauses drawn below a bound that doubles from `min` to `max`.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        let min = min.max(Duration::from_millis(1));
        Backoff { min, max: max.max(min), bound: min, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.bound.mul_f64(self.random.f64());
        self.bound = (self.bound * 2).min(self.max);
        pause
    }

    /// The link was up for long enough: begin anew.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_and_begins_anew() {
        let (min, max) = (Duration::from_millis(250), Duration::from_secs(30));
        let mut backoff = Backoff::new(min, max, 7);
        assert!(backoff.pause() <= min);
        let late: Vec<_> = (0..200).map(|_| backoff.pause()).collect();
        assert!(late.iter().all(|p| *p <= max));
        assert!(late.iter().any(|p| *p > max / 2) && late.iter().any(|p| *p < max / 4));
        backoff.reset();
        assert!(backoff.pause() <= min);
    }
}
