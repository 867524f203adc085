//! A narrow link in simulated time: a backlog of hours that keeps it busy, and alarms in between.

use super::rules::Rules;
use super::{Limits, Moment, Spent};
use crate::config::traffic::Class;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// 50 kbit/s, in bytes a second.
const RATE: f64 = 6250.0;
/// From here to the hub, and back.
const WAY: Duration = Duration::from_millis(300);
/// The hub's time for a message, at most, milliseconds.
const JITTER: u64 = 100;
/// What an alarm takes on the wire.
const ALARM: u64 = 250;
/// The first minute does not count, as the link is not known yet.
const KNOWN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Answer { party: usize, seq: u64 },
    Alarm,
    Look,
}

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    /// Bytes a second that crossed.
    rate: f64,
    /// The longest that an alarm took from here to the hub.
    slowest: Duration,
    alarms: u32,
}

/// A backlog of `bytes` in messages of `sizes` under `limits`, and an alarm each few seconds.
fn run(bytes: u64, sizes: &[u64], limits: Limits) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(11);
    let mut rules = Rules::new(limits);
    let bulk = rules.join("hub", Class::Bulk, Limits::default(), Spent::default());
    let alarm = rules.join("hub", Class::Alarm, Limits::default(), Spent::default());
    let mut events = BinaryHeap::from([Reverse((Duration::ZERO, Event::Look)), Reverse((KNOWN, Event::Alarm))]);
    let (mut free, mut answered, mut look) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (mut left, mut seqs, mut raised) = (bytes, [0; 2], None::<Duration>);
    let (mut slowest, mut alarms, mut counted) = (Duration::ZERO, 0, 0);
    while let Some(Reverse((now, event))) = events.pop() {
        let moment = Moment { day: 1, month: 1, mono: now, ..Moment::default() };
        match event {
            Event::Answer { party, seq } => drop(rules.answered(&moment, party, seq)),
            Event::Alarm => {
                raised = Some(now);
                events.push(Reverse((now + Duration::from_millis(rng.u64(3000..9000)), Event::Alarm)));
            }
            Event::Look => {}
        }
        // The more urgent one is asked first or last, as it comes.
        for party in if rng.bool() { [bulk, alarm] } else { [alarm, bulk] } {
            while if party == alarm { raised.is_some() } else { left > 0 } {
                if let Err(held) = rules.admit(&moment, party) {
                    let again = now + held.again();
                    if again < look || look <= now {
                        look = again;
                        events.push(Reverse((look, Event::Look)));
                    }
                    break;
                }
                let size = if party == alarm { ALARM } else { sizes[rng.usize(..sizes.len())] };
                seqs[party] += 1;
                rules.sent(&moment, party, seqs[party], size);
                free = free.max(now) + Duration::from_secs_f64(size as f64 / RATE);
                if let Some(raised) = raised.filter(|_| party == alarm) {
                    (slowest, alarms) = (slowest.max(free + WAY - raised), alarms + 1);
                } else {
                    left = left.saturating_sub(size);
                }
                if party == alarm {
                    raised = None;
                }
                counted += if now > KNOWN { size } else { 0 };
                answered = answered.max(free + WAY * 2 + Duration::from_millis(rng.u64(0..=JITTER)));
                events.push(Reverse((answered, Event::Answer { party, seq: seqs[party] })));
            }
            if party == alarm && raised.is_none() {
                rules.idle(alarm);
            }
        }
        if left == 0 {
            return Outcome { rate: counted as f64 / (free - KNOWN).as_secs_f64(), slowest, alarms };
        }
    }
    unreachable!("an alarm is always to come")
}

#[test]
fn alarms_cross_a_narrow_link_within_two_seconds_and_the_backlog_uses_nine_tenths_of_it() {
    for sizes in [&[100][..], &[300], &[1300], &[100, 300, 300, 1300], &[60, 100, 200, 4000]] {
        let outcome = run(20_000_000, sizes, Limits::default());
        println!("{sizes:?}: {outcome:?}");
        assert!(outcome.rate >= RATE * 0.9, "{sizes:?}: {outcome:?}");
        assert!(outcome.slowest < Duration::from_secs(2), "{sizes:?}: {outcome:?}");
        assert!(outcome.alarms > 100, "{sizes:?}: {outcome:?}");
    }
}

#[test]
fn nine_tenths_of_a_cap_are_used_and_not_more_than_all_of_it() {
    for cap in [1000, 3000, 5000] {
        let outcome = run(5_000_000, &[100, 300, 300, 1300], Limits { rate: Some(cap), ..Limits::default() });
        println!("{cap}: {outcome:?}");
        let part = outcome.rate / cap as f64;
        assert!((0.9..1.05).contains(&part), "{cap}: {outcome:?}");
        assert!(outcome.slowest < Duration::from_secs(2), "{cap}: {outcome:?}");
    }
}
