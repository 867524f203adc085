//! A narrow link in simulated time: a backlog of hours that keeps it busy, and alarms in between. As on a real one, what goes
//! at once arrives as a whole, answers come in lumps, and now and then nothing is done for a while.

use super::rules::Rules;
use super::{Limits, Moment, Spent};
use crate::config::traffic::Class;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

/// 50 kbit/s, in bytes a second.
const RATE: f64 = 6250.0;
/// From here to the hub, and back.
const WAY: Duration = Duration::from_millis(300);
/// The hub's time for a message, at most, milliseconds.
const JITTER: u64 = 100;
/// For how long the hub or a machine between stops now and then, at most, milliseconds.
const STALL: u64 = 500;
/// What an alarm takes on the wire.
const ALARM: u64 = 250;
/// The first seconds do not count, as the link is not known yet.
const KNOWN: Duration = Duration::from_secs(15);
/// Runs of each kind.
const SEEDS: u64 = 25;

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

/// The line to the hub and back, and the hub.
struct Line {
    rng: fastrand::Rng,
    /// What was handed over is through.
    free: Duration,
    /// The last answer is here.
    answered: Duration,
    /// Until when the hub, or the machine, does nothing, and when that happens again.
    stalled: (Duration, Duration),
}

impl Line {
    fn new(rng: fastrand::Rng) -> Line {
        Line { rng, free: Duration::ZERO, answered: Duration::ZERO, stalled: Default::default() }
    }

    /// What goes at `now` is one block of compression and encryption, which arrives as a whole. Returns when it is at the hub.
    fn carry(&mut self, now: Duration, bytes: u64) -> Duration {
        self.free = self.free.max(now) + Duration::from_secs_f64(bytes as f64 / RATE);
        self.free + WAY
    }

    /// When the answers to `count` messages are here that are at the hub at `there`: in one or a few lumps.
    fn answers(&mut self, there: Duration, count: usize) -> Vec<Duration> {
        while there > self.stalled.1 {
            self.stalled.0 = self.stalled.1 + self.millis(0..STALL);
            self.stalled.1 = self.stalled.0 + self.millis(1000..20_000);
        }
        let first = there.max(self.stalled.0) + self.millis(0..JITTER) + WAY;
        self.answered = self.answered.max(first);
        let next = |_| {
            self.answered += Duration::from_micros(if self.rng.u8(..8) == 0 { 50 } else { 0 });
            self.answered
        };
        (0..count).map(next).collect()
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }
}

/// A backlog in messages of `sizes` under `limits` for `time`, and an alarm each few seconds.
fn run(seed: u64, sizes: &[u64], limits: Limits, time: Duration) -> Outcome {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut line = Line::new(rng.fork());
    let mut rules = Rules::new(limits);
    let bulk = rules.join("hub", Class::Bulk, Limits::default(), Spent::default());
    let alarm = rules.join("hub", Class::Alarm, Limits::default(), Spent::default());
    let mut events = BinaryHeap::from([Reverse((Duration::ZERO, Event::Look)), Reverse((KNOWN, Event::Alarm))]);
    let (mut look, mut seqs, mut known, mut raised) = (Duration::ZERO, [0; 2], 0, None::<Duration>);
    let (mut slowest, mut alarms, mut counted) = (Duration::ZERO, 0, 0);
    while let Some(Reverse((now, _))) = events.peek().copied()
        && now < time
    {
        let moment = Moment { day: 1, month: 1, mono: now, ..Moment::default() };
        // What comes in one lump is dealt with before anything is sent.
        while let Some(Reverse((_, event))) = events.peek().filter(|next| next.0.0 == now).copied() {
            events.pop();
            match event {
                Event::Answer { party, seq } => {
                    rules.answered(&moment, party, seq);
                    known = known.max(if party == bulk { seq } else { 0 });
                }
                Event::Alarm => {
                    raised.get_or_insert(now);
                    events.push(Reverse((now + Duration::from_millis(rng.u64(3000..9000)), Event::Alarm)));
                }
                Event::Look => {}
            }
        }
        let (mut block, mut bytes) = (Vec::new(), 0);
        // The more urgent one is asked first or last, as it comes.
        for party in if rng.bool() { [bulk, alarm] } else { [alarm, bulk] } {
            // Each of the first two is answered before the next one goes: the chain begins with them.
            while if party == alarm { raised.is_some() } else { known >= seqs[bulk].min(2) } {
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
                block.push((party, seqs[party]));
                bytes += size;
                if party == alarm {
                    rules.idle(alarm);
                    break;
                }
            }
        }
        let there = line.carry(now, bytes);
        if block.iter().any(|(party, _)| *party == alarm) {
            let raised = raised.take().unwrap_or(now);
            (slowest, alarms) = (slowest.max(there - raised), alarms + 1);
        }
        let answers = line.answers(there, block.len());
        events.extend(
            block.into_iter().zip(answers).map(|((party, seq), at)| Reverse((at, Event::Answer { party, seq }))),
        );
        counted += if now > KNOWN { bytes } else { 0 };
    }
    Outcome { rate: counted as f64 / (line.free - KNOWN).as_secs_f64(), slowest, alarms }
}

#[test]
fn alarms_cross_a_narrow_link_within_two_seconds_and_the_backlog_uses_nine_tenths_of_it() {
    // A message of 4 kB alone takes two thirds of a second.
    for (sizes, bound) in
        [(&[100][..], 2), (&[300], 2), (&[1300], 2), (&[100, 300, 300, 1300], 2), (&[60, 100, 200, 4000], 3)]
    {
        let mut all = [f64::MAX, 0.0];
        for seed in 0..SEEDS {
            let outcome = run(seed, sizes, Limits::default(), Duration::from_secs(150));
            all = [all[0].min(outcome.rate / RATE), all[1].max(outcome.slowest.as_secs_f64())];
            assert!(outcome.rate >= RATE * 0.9, "{sizes:?}, seed {seed}: {outcome:?}");
            assert!(outcome.slowest < Duration::from_secs(bound), "{sizes:?}, seed {seed}: {outcome:?}");
            assert!(outcome.alarms > 10, "{sizes:?}, seed {seed}: {outcome:?}");
        }
        println!("{sizes:?}: {all:?}");
    }
}

#[test]
fn nine_tenths_of_a_cap_are_used_and_not_more_than_all_of_it() {
    for cap in [1000, 3000, 5000] {
        let limits = Limits { rate: Some(cap), ..Limits::default() };
        let outcome = run(11, &[100, 300, 300, 1300], limits, Duration::from_secs(1000));
        println!("{cap}: {outcome:?}");
        let part = outcome.rate / cap as f64;
        assert!((0.9..1.05).contains(&part), "{cap}: {outcome:?}");
        assert!(outcome.slowest < Duration::from_secs(2), "{cap}: {outcome:?}");
    }
}
