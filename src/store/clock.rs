//! Time for the store: passed in, so that tests can turn it. Records are stamped by the wall clock; ages run on a clock that
//! nobody sets, so that a gateway that boots in 1970 and learns the date later loses nothing to expiry.

use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::SystemTime;

/// Wall-clock times before this one (2020-01-01) are those of a machine that does not know the date.
const KNOWN: i64 = 1_577_836_800_000_000_000;
/// The wall clock was set if it is further ahead than this, nanoseconds.
const STEP: i64 = 60_000_000_000;
/// Most steps that are remembered.
const MAX_STEPS: usize = 16;

/// What the clocks show, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Since 1970.
    pub wall: i64,
    /// Since the machine started, sleep included.
    pub running: i64,
}

/// The clocks.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Reading + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn of_the_machine() -> Clock {
        Clock(Arc::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let running = clock_gettime(ClockId::Boottime);
            Reading {
                wall: since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)),
                running: running.tv_sec.saturating_mul(1_000_000_000).saturating_add(running.tv_nsec),
            }
        }))
    }

    /// One that a test turns.
    #[cfg(test)]
    pub fn turned_by(read: impl Fn() -> Reading + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(read))
    }

    pub fn read(&self) -> Reading {
        (self.0)()
    }
}

/// How old the records of a log are.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    /// The present in the time of the records, as it was when the machine had run for so long.
    anchor: i64,
    running: i64,
    /// Times at which the wall clock was set forward, and by how much: records stamped before are so much younger than they
    /// seem.
    steps: Vec<(i64, i64)>,
}

impl Ages {
    /// Of a log whose records have these times (some of them, in order, the last included).
    pub fn new(now: Reading, times: impl Iterator<Item = i64>) -> Ages {
        let (mut before, mut steps) = (i64::MAX, Vec::new());
        for time in times {
            if before < KNOWN && time >= KNOWN {
                steps.push((time, time.saturating_sub(before)));
            }
            before = time;
        }
        let last = if before == i64::MAX { i64::MIN } else { before };
        // The time that the machine was off counts, if it knows the date.
        Ages { anchor: now.wall.max(last), running: now.running, steps }
    }

    /// The present, in the time of the records.
    pub fn now(&self, now: Reading) -> i64 {
        self.anchor.saturating_add(now.running.saturating_sub(self.running))
    }

    /// A record is being stamped: notices if the wall clock was set forward meanwhile.
    pub fn stamp(&mut self, now: Reading) {
        let expected = self.now(now);
        if now.wall <= expected.saturating_add(STEP) {
            return;
        }
        if self.steps.len() == MAX_STEPS {
            self.steps.remove(0);
        }
        self.steps.push((now.wall, now.wall.saturating_sub(expected)));
        (self.anchor, self.running) = (now.wall, now.running);
    }

    /// Age of a record with this time.
    pub fn age(&self, time: i64, now: Reading) -> i64 {
        let steps = self.steps.iter().filter(|(at, _)| *at > time);
        let ahead = steps.fold(0i64, |ahead, (_, by)| ahead.saturating_add(*by));
        self.now(now).saturating_sub(time).saturating_sub(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const TODAY: i64 = 1_790_000_000 * SECOND;

    #[test]
    fn a_record_of_1970_is_as_old_as_it_is() {
        let read = |wall: i64, running: i64| Reading { wall: wall * SECOND, running: running * SECOND };
        let mut ages = Ages::new(read(5, 5), std::iter::empty());
        ages.stamp(read(10, 10));
        let today = Reading { wall: TODAY, running: 70 * SECOND };
        assert_eq!(ages.age(10 * SECOND, today), 60 * SECOND, "the date is known, and nothing was stored since");
        ages.stamp(today);
        assert_eq!(ages.age(10 * SECOND, today), 60 * SECOND);
        assert_eq!(ages.age(TODAY, today), 0);
        // The next start finds it out from the times of the records.
        let later = Reading { wall: TODAY + 100 * SECOND, running: 3 * SECOND };
        let ages = Ages::new(later, [10 * SECOND, 20 * SECOND, TODAY].into_iter());
        assert_eq!(ages.age(20 * SECOND, later), 100 * SECOND);
        assert_eq!(ages.age(TODAY, later), 100 * SECOND);
    }

    #[test]
    fn a_clock_that_lost_the_date_makes_nothing_older() {
        let boot = Reading { wall: 0, running: 0 };
        let ages = Ages::new(boot, [TODAY].into_iter());
        assert_eq!(ages.age(TODAY, Reading { wall: 9 * SECOND, running: 9 * SECOND }), 9 * SECOND);
    }
}
