//! How much may be on its way to the hub at once: what the link drains within a round trip and a short queue.
//!
//! What an uplink hands to the link waits in buffers that nobody here can look into (the kernel's, the modem's). A slow link
//! would be filled up with minutes of bulk, and an alarm would wait behind it. So the window is measured, in the manner of
//! BBR: the rate at which the hub's answers say that bytes arrive, but never more than that at which they were sent, times the
//! shortest round trip (without the time that the link takes for the message itself), plus a short queue. In one round trip of
//! eight it is larger, to see whether the link takes more. A new link begins with a small window that doubles each round trip
//! until a queue is seen.
//!
//! An answer comes when a message has arrived as a whole, with those that went into the same block of compression. So no more
//! than a quarter of the window goes at once, and what follows waits for about as long as the link takes for that
//! ([`Pace::spread`]). While the oldest ones on their way are still being drained, none of them has left the account, so as much
//! as their size is allowed on top, up to a quarter of the window unless one alone is larger than all of it; not where they
//! alone keep the link busy for so long that the round trip is nothing beside it.

use std::time::Duration;

/// The window before anything was measured, bytes.
const FIRST: u64 = 4 * 1024;
/// The smallest window, bytes.
const LEAST: u64 = 2 * 1024;
/// Queue that is allowed beyond what is on its way, or this part of the round trip where that is longer.
const QUEUE: (Duration, u32) = (Duration::from_millis(100), 2);
/// A message that takes the link so many windows' time goes alone: no alarm is to wait for two of them.
const ALONE: u64 = 5;
/// What alarms may have on their way, in windows.
const ALARM: u64 = 2;
/// How long a rate counts; the highest one does.
const RATE_AGE: Duration = Duration::from_secs(10);
/// How old the shortest round trip may be before it is measured anew with half a window.
const TRIP_AGE: Duration = Duration::from_secs(60);
/// The least part of what a message took that is put down to the round trip and not to the link's rate.
const TRIP_PART: u32 = 16;
/// The part of the window that may go at once.
const PARTS: u64 = 4;
/// How much larger the window is in one round trip of [`CYCLE`].
const GAIN: f64 = 1.25;
/// See [`GAIN`].
const CYCLE: u32 = 8;

/// One message on its way, as the window sees it.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    bytes: u64,
    at: Duration,
    delivered: u64,
    /// When the last of `delivered` had arrived.
    delivered_at: Duration,
    /// When that one had gone.
    delivered_sent: Duration,
    /// There was too little to send to tell what the link takes.
    idle: bool,
}

impl Flight {
    /// When it went.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// Its bytes on the wire.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What a message took from here to the hub and back, and its bytes.
type Trip = (Duration, u64);

/// Measures the shortest round trip anew, of what goes while half a window is allowed. What went before that has waited in the
/// queue, and would be taken for a longer way.
#[derive(Debug)]
struct Probe {
    begun: Duration,
    /// The shortest one so far, and when it ends.
    found: Option<(Trip, Duration)>,
}

/// The window of one link.
#[derive(Debug)]
pub struct Pace {
    in_flight: u64,
    delivered: u64,
    delivered_at: Duration,
    delivered_sent: Duration,
    /// Bytes that went at once, and since when.
    burst: (u64, Duration),
    /// Highest rates, bytes a second: of the present period and of the one before.
    rates: [f64; 2],
    period: Duration,
    trip: Option<Trip>,
    trip_measured: Duration,
    /// The shortest round trip is being measured anew.
    probe: Option<Probe>,
    /// The window while no queue was seen yet.
    start: Option<u64>,
    /// When the present round trip of the cycle ends, and which one it is.
    turn: (Duration, u32),
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            in_flight: 0,
            delivered: 0,
            delivered_at: Duration::ZERO,
            delivered_sent: Duration::ZERO,
            burst: (0, Duration::ZERO),
            rates: [0.0; 2],
            period: Duration::ZERO,
            trip: None,
            trip_measured: Duration::ZERO,
            probe: None,
            start: Some(FIRST),
            turn: (Duration::ZERO, 0),
        }
    }
}

impl Pace {
    /// What the link drains, bytes a second; `None` while nothing was measured.
    pub fn rate(&self) -> Option<f64> {
        Some(self.rates[0].max(self.rates[1])).filter(|rate| *rate > 0.0)
    }

    /// The shortest round trip, without what the link takes for the message; `None` while nothing was measured.
    pub fn trip(&self) -> Option<Duration> {
        self.way(self.trip?)
    }

    /// The same of one message.
    fn way(&self, (took, bytes): Trip) -> Option<Duration> {
        let drained = Duration::from_secs_f64(bytes as f64 / self.rate()?);
        Some(took.saturating_sub(drained).max(took / TRIP_PART))
    }

    /// Bytes that may be on their way.
    pub fn window(&self) -> u64 {
        if let Some(window) = self.start {
            return window;
        }
        let (Some(rate), Some(trip)) = (self.rate(), self.trip()) else { return FIRST };
        let queue = QUEUE.0.max(trip / QUEUE.1);
        let window = match self.probe {
            Some(_) => rate * trip.as_secs_f64() / 2.0,
            None if self.turn.1 == 0 => rate * (trip.mul_f64(GAIN) + queue).as_secs_f64(),
            None => rate * (trip + queue).as_secs_f64(),
        };
        (window as u64).max(LEAST)
    }

    /// Whether a message may go: there is room, or nothing is on its way. The first two are the bytes of
    /// the oldest message that is, and of all that went together with it. Alarms wait for the link itself, not for room behind what they overtake.
    pub fn has_room(&self, (oldest, together): (u64, u64), alarm: bool) -> bool {
        let window = self.window();
        let oldest = match oldest {
            alone if alone > window * ALONE && !alarm => 0,
            large if large > window => large,
            // What is answered together goes together again: without a bound the block would grow for ever.
            _ => oldest.max(together).min(window / PARTS),
        };
        self.in_flight < (window + oldest) * if alarm { ALARM } else { 1 }
    }

    /// How long the next message has to wait behind those that went at once. The room that a lump of answers makes would be filled by
    /// one block, which comes back as one lump: the link would have nothing to do from when it has drained that to when the answers are here.
    pub fn spread(&self, now: Duration) -> Duration {
        let part = self.window() / PARTS;
        // A link that is faster than it was has hardly anything on its way, and shows it by the answers.
        if self.burst.0 < part || self.in_flight < part { Duration::ZERO } else { self.drained().saturating_sub(now) }
    }

    /// When the link has drained what went at once, and a little sooner, as it may be faster than it is known to be.
    fn drained(&self) -> Duration {
        let (bytes, begun) = self.burst;
        match self.rate() {
            Some(rate) if self.start.is_none() => begun + Duration::from_secs_f64(bytes as f64 / rate / GAIN),
            _ => begun,
        }
    }

    /// A message of `bytes` goes now.
    pub fn sent(&mut self, now: Duration, bytes: u64) -> Flight {
        if self.in_flight == 0 {
            (self.delivered_at, self.delivered_sent) = (now, now);
            if self.trip.is_none() {
                self.trip_measured = now;
            }
        }
        if self.in_flight == 0 || self.drained() <= now {
            self.burst = (0, now);
        }
        self.burst.0 += bytes;
        self.in_flight += bytes;
        let idle = self.in_flight * 4 < self.window() * 3;
        Flight {
            bytes,
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            delivered_sent: self.delivered_sent,
            idle,
        }
    }

    /// These have arrived, in their order.
    pub fn arrived(&mut self, now: Duration, flights: impl Iterator<Item = Flight>) {
        let (mut last, before) = (None, self.delivered);
        for flight in flights {
            self.in_flight = self.in_flight.saturating_sub(flight.bytes);
            self.delivered += flight.bytes;
            last = Some(flight);
        }
        let Some(Flight { bytes, at, delivered, delivered_at, delivered_sent, idle }) = last else { return };
        (self.delivered_at, self.delivered_sent) = (now, at);
        let took = now.saturating_sub(at).max(Duration::from_micros(10));
        if now >= self.turn.0 {
            self.turn = (now + took, (self.turn.1 + 1) % CYCLE);
        }
        // Answers come in lumps: what the last lump brought may have arrived long before, but it was not sent faster than it was sent.
        let over = now.saturating_sub(delivered_at).max(at.saturating_sub(delivered_sent)).max(took);
        let rate = (self.delivered - delivered) as f64 / over.as_secs_f64();
        // A rate below what the link could do says nothing; one above does.
        if !idle && self.probe.is_none() && now.saturating_sub(self.period) > RATE_AGE.max(took * 4) {
            self.rates = [0.0, self.rates[0]];
            self.period = now;
        }
        if !idle || rate > self.rates[0].max(self.rates[1]) {
            self.rates[0] = self.rates[0].max(rate);
        }
        self.round_trip(now, at, (took, bytes));
        if let Some((shortest, _)) = self.trip
            && let Some(window) = &mut self.start
        {
            let queue = took > shortest + QUEUE.0.max(shortest / QUEUE.1);
            *window += if idle { 0 } else { self.delivered - before };
            self.start.take_if(|_| queue);
        }
    }

    /// What went at `at` has taken `trip`.
    fn round_trip(&mut self, now: Duration, at: Duration, trip: Trip) {
        // A small message that has waited in the queue may have taken less than a large one that has not.
        if self.trip.is_none_or(|known| trip <= known && self.way(trip) <= self.way(known)) {
            (self.trip, self.trip_measured, self.probe) = (Some(trip), now, None);
            return;
        }
        match &self.probe {
            None if now.saturating_sub(self.trip_measured) > TRIP_AGE => {
                self.probe = Some(Probe { begun: now, found: None });
            }
            Some(Probe { begun, found }) if at >= *begun => {
                let (known, until) = found.unwrap_or((trip, now + QUEUE.0 * 2));
                let best = if self.way(trip) < self.way(known) { trip } else { known };
                if now >= until {
                    (self.trip, self.trip_measured, self.probe) = (Some(best), now, None);
                } else {
                    self.probe = Some(Probe { begun: *begun, found: Some((best, until)) });
                }
            }
            _ => {}
        }
    }

    /// These will not be answered any more: the connection has gone, or they are to be sent again.
    pub fn forgotten(&mut self, flights: impl Iterator<Item = Flight>) {
        let bytes: u64 = flights.map(|flight| flight.bytes).sum();
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A link of `rate` bytes a second and `trip` there and back, always with something to send in messages of `sizes`,
    /// for `time`; the hub takes up to `jitter` for each. Returns the share of the rate that was used and the longest queue in the second half.
    fn run(rate: f64, trip: Duration, time: Duration, sizes: &[u64], jitter: u64) -> (f64, Duration) {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut answered = Duration::ZERO;
        let mut pace = Pace::default();
        let mut on_way: VecDeque<(Duration, Flight)> = VecDeque::new();
        let (mut now, mut busy_until) = (Duration::ZERO, Duration::ZERO);
        let (mut sent, mut longest) = (0, Duration::ZERO);
        while now < time {
            let room = pace.has_room(on_way.front().map_or((0, 0), |(_, flight)| (flight.bytes, 0)), false);
            let next = if room { now + pace.spread(now) } else { time };
            if let Some((at, flight)) = on_way.pop_front_if(|(at, _)| *at <= next) {
                now = at;
                pace.arrived(now, std::iter::once(flight));
                continue;
            }
            now = next;
            let size = sizes[rng.usize(..sizes.len())];
            busy_until = busy_until.max(now) + Duration::from_secs_f64(size as f64 / rate);
            answered = answered.max(busy_until + trip + Duration::from_millis(rng.u64(0..=jitter)));
            on_way.push_back((answered, pace.sent(now, size)));
            if now > time / 2 {
                longest = longest.max(busy_until - now);
                sent += size;
            }
        }
        (sent as f64 / rate / (time / 2).as_secs_f64(), longest)
    }

    #[test]
    fn a_slow_link_is_used_and_its_queue_stays_short() {
        let mixed = [100, 100, 100, 300, 300, 1300, 4200];
        for (sizes, jitter, longest) in [
            (&[100][..], 0, 650),
            (&[300], 0, 800),
            (&[300], 250, 1200),
            (&[1300], 250, 1700),
            (&[4200], 50, 1900),
            (&mixed, 0, 2100),
            (&mixed, 100, 2600),
            (&[60_000], 0, 9700),
            (&[60_000, 300], 0, 9900),
        ] {
            let (used, queue) = run(6250.0, Duration::from_millis(600), Duration::from_secs(600), sizes, jitter);
            assert!(used > 0.9, "{sizes:?}: {used}");
            assert!(queue < Duration::from_millis(longest), "{sizes:?}: {queue:?}");
        }
    }

    #[test]
    fn a_fast_link_is_filled() {
        for (rate, trip) in [(1e6, 20), (10e6, 2), (5e6, 300)] {
            let (used, _) = run(rate, Duration::from_millis(trip), Duration::from_secs(40), &[300], 0);
            assert!(used > 0.85, "{rate} {trip}: {used}");
        }
    }

    #[test]
    fn a_message_that_takes_long_goes_alone_and_an_alarm_goes_behind_it() {
        // What 50 kbit/s with 600 ms are taken for by a machine that is busy.
        let mut pace = Pace { start: Some(10_000), ..Pace::default() };
        pace.sent(Duration::ZERO, 60_000);
        assert!(!pace.has_room((60_000, 60_000), false));
        assert!(pace.has_room((60_000, 60_000), true));
    }

    #[test]
    fn a_quarter_of_the_window_goes_at_once_and_the_next_when_the_link_has_drained_it_or_answered() {
        let trip = Some((Duration::from_secs(1), 0));
        let mut pace = Pace { start: None, rates: [1000.0, 0.0], trip, ..Pace::default() };
        let (now, mut flights) = (Duration::from_secs(9), Vec::new());
        while pace.spread(now).is_zero() {
            flights.push(pace.sent(now, 10));
        }
        assert!(pace.in_flight.abs_diff(pace.window() / 4) <= 10, "{pace:?}");
        let wait = pace.spread(now);
        assert!(wait > Duration::from_millis(200) && wait < Duration::from_millis(500), "{wait:?}");
        assert!(pace.spread(now + wait).is_zero());
        // A link that has become much faster than it was is not waited for.
        pace.arrived(now, flights.into_iter());
        assert!(pace.spread(now).is_zero());
    }

    #[test]
    fn what_is_forgotten_leaves_room() {
        let mut pace = Pace::default();
        let flight = pace.sent(Duration::ZERO, 1 << 20);
        assert!(!pace.has_room((flight.bytes, 0), false));
        pace.forgotten(std::iter::once(flight));
        assert!(pace.has_room((0, 0), false));
    }

    #[test]
    fn an_alarm_does_not_wait_for_room_but_neither_do_alarms_fill_the_link() {
        let mut pace = Pace::default();
        while pace.has_room((1000, 0), false) {
            pace.sent(Duration::ZERO, 1000);
        }
        let others = pace.in_flight;
        while pace.has_room((1000, 0), true) {
            pace.sent(Duration::ZERO, 100);
        }
        assert!(pace.in_flight > others && pace.in_flight <= others * 2 + 2000, "{} {others}", pace.in_flight);
    }
}
