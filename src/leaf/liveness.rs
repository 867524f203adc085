//! Whether the other side of a leaf connection is alive: anything that comes from it says so, and so does a link that takes
//! our bytes while more of them wait, as it then takes only what the other side has acknowledged.
//!
//! A slow link delays the answer to a ping by what was written before it, so that time is granted on top of the limit. Without
//! it a gateway with a backlog would take its link down again and again, and never get through (nats-server issue 7615).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Intervals of silence after which the other side is given up at the next tick, and so within one more.
const INTERVALS: u32 = 2;
/// Most time granted for bytes on their way.
const MAX_GRACE: Duration = Duration::from_secs(60);
/// Bytes a second that a link is supposed to take as long as nothing is known of it.
const LEAST_RATE: f64 = 2000.0;

/// What is known; written by the reader and by the timer.
pub struct Liveness {
    state: Mutex<State>,
    interval: Duration,
}

struct State {
    /// Last sign of life.
    alive: Instant,
    /// The ping that is not answered, and how many bytes had been written before it.
    pinged: Option<(Instant, u64)>,
    /// Bytes that were written before the last ping that was answered, and when its answer came.
    confirmed: u64,
    confirmed_at: Instant,
    /// Bytes written at the last tick, and whether more of them waited then.
    written: u64,
    waited: bool,
    /// The last tick before which bytes went, or none waited.
    went_at: Instant,
    /// Bytes a second that have got through lately, at least.
    rate: f64,
}

/// What the timer has to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send a ping.
    Ping,
    /// A ping is on its way.
    Wait,
    /// Nothing has come for so long.
    Dead(Duration),
}

impl Liveness {
    /// With [`Liveness::tick`] to be called at every `interval`.
    pub fn new(interval: Duration, now: Instant) -> Liveness {
        let state = State {
            alive: now,
            pinged: None,
            confirmed: 0,
            confirmed_at: now,
            written: 0,
            waited: false,
            went_at: now,
            rate: LEAST_RATE,
        };
        Liveness { state: Mutex::new(state), interval }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came.
    pub fn heard(&self, now: Instant) {
        self.state().alive = now;
    }

    /// A PONG came; the round trip, if it answers a ping of ours.
    pub fn answered(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        let (sent, written) = state.pinged.take()?;
        let passed = (written - state.confirmed) as f64;
        let time = now.saturating_duration_since(state.confirmed_at).as_secs_f64();
        if time > 0.0 {
            state.rate = (passed / time).max(LEAST_RATE);
        }
        (state.confirmed, state.confirmed_at) = (written, now);
        Some(now.saturating_duration_since(sent))
    }

    /// An interval has passed. `written` bytes have gone to the socket since the beginning, and `waiting` have not.
    pub fn tick(&self, now: Instant, written: u64, waiting: usize) -> Verdict {
        let mut state = self.state();
        let (passed, limited) = (written - state.written, waiting > 0);
        if limited && state.waited && passed > 0 {
            // The kernel takes bytes in lumps, so the pause before one counts, and one alone does not make the link fast.
            let rate = passed as f64 / now.saturating_duration_since(state.went_at).max(self.interval).as_secs_f64();
            state.rate = rate.min((state.rate + rate) / 2.0);
        }
        if limited && passed > 0 {
            state.alive = now;
        }
        if !limited || passed > 0 {
            state.went_at = now;
        }
        (state.written, state.waited) = (written, limited);
        let silent = now.saturating_duration_since(state.alive);
        let grace = (written - state.confirmed) as f64 / state.rate;
        let grace = Duration::try_from_secs_f64(grace).unwrap_or(MAX_GRACE).min(MAX_GRACE);
        if silent >= self.interval * INTERVALS + grace {
            return Verdict::Dead(silent);
        }
        if state.pinged.is_some() {
            return Verdict::Wait;
        }
        state.pinged = Some((now, written));
        Verdict::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(5);

    #[test]
    fn silence_ends_an_idle_link_within_three_intervals() {
        let begin = Instant::now();
        let liveness = Liveness::new(TICK, begin);
        assert_eq!(liveness.tick(begin + TICK, 100, 0), Verdict::Ping);
        liveness.heard(begin + TICK + TICK / 5);
        assert_eq!(liveness.answered(begin + TICK + TICK / 5), Some(TICK / 5));
        assert_eq!(liveness.answered(begin + TICK * 2), None);
        assert_eq!(liveness.tick(begin + TICK * 2, 106, 0), Verdict::Ping);
        assert_eq!(liveness.tick(begin + TICK * 3, 112, 0), Verdict::Wait);
        assert_eq!(liveness.tick(begin + TICK * 4, 112, 0), Verdict::Dead(TICK * 14 / 5));
    }

    #[test]
    fn a_slow_link_with_a_backlog_lives_while_it_takes_bytes_and_dies_when_it_does_not() {
        let begin = Instant::now();
        let liveness = Liveness::new(TICK, begin);
        let at = |n: u32| begin + TICK * n;
        // 6 kB/s, with 60 kB in the kernel.
        for n in 1..20 {
            let verdict = liveness.tick(at(n), 60_000 + 30_000 * u64::from(n), 1 << 20);
            assert!(!matches!(verdict, Verdict::Dead(_)), "{n}");
        }
        let written = 60_000 + 30_000 * 19;
        // Nothing goes any more: the limit, and what is on its way at the rate there was.
        let dead = (20..60).find(|n| matches!(liveness.tick(at(*n), written, 1 << 20), Verdict::Dead(_)));
        assert_eq!(dead, Some(19 + 2 + 12));
        // What has been answered is not waited for again.
        let liveness = Liveness::new(TICK, begin);
        for n in 1..20 {
            let _ = liveness.tick(at(n), 30_000 * u64::from(n), 1 << 20);
            liveness.heard(at(n));
            let _ = liveness.answered(at(n));
        }
        let written = 30_000 * 19;
        let dead = (20..60).find(|n| matches!(liveness.tick(at(*n), written, 1 << 20), Verdict::Dead(_)));
        assert!(dead.is_some_and(|n| n <= 24), "{dead:?}");
    }

    #[test]
    fn a_slow_link_that_takes_bytes_in_lumps_lives() {
        let (begin, tick) = (Instant::now(), TICK / 10);
        let liveness = Liveness::new(tick, begin);
        // 6 kB/s in lumps of 21 kB, and an answer each ten ticks to what was written 30 kB before.
        for n in 1..100u32 {
            let written = 30_000 + 21_000 * u64::from(n / 7);
            let verdict = liveness.tick(begin + tick * n, written, 1 << 20);
            assert!(!matches!(verdict, Verdict::Dead(_)), "{n}");
            if n % 10 == 0 {
                let _ = liveness.answered(begin + tick * n);
            }
        }
    }
}
