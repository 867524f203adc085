//! When the next message may go: a push consumer's rate limit, and the pauses in which messages came where they are
//! replayed as they did (`server/consumer.go`, `setRateLimit`, `loopAndGatherMsgs`).

use super::config::{ConsumerConfig, ReplayPolicy};
use super::state::Ticks;

/// Bytes that a limited consumer may send at once after a rest: nats-server's default `max_payload`.
const BURST: u64 = 1 << 20;
/// Shorter pauses are not kept.
const SHORTEST: Ticks = 1_000_000;

/// The pace of one consumer.
#[derive(Debug, Default)]
pub struct Pace {
    limit: Option<Limit>,
    replay: Option<Replay>,
}

/// A bucket of `BURST` bytes that fills at the consumer's rate.
#[derive(Debug)]
struct Limit {
    /// Bits a second, at least 8.
    bps: u64,
    /// When the bucket is full again.
    full_at: Ticks,
}

#[derive(Debug)]
struct Replay {
    /// The last message of the stream when the consumer began; what is newer is not delayed.
    upto: u64,
    /// When the last message was stored, and when it was sent.
    last: Option<(i64, Ticks)>,
}

impl Pace {
    /// The pace that `config` asks for, of a stream that ends at `last_seq`.
    pub fn new(config: &ConsumerConfig, last_seq: u64) -> Self {
        let mut pace = Pace::default();
        pace.set_limit(config);
        pace.replay = (config.replay_policy == ReplayPolicy::Original).then_some(Replay { upto: last_seq, last: None });
        pace
    }

    /// Obeys the rate limit of `config` from now on.
    pub fn set_limit(&mut self, config: &ConsumerConfig) {
        let full_at = self.limit.as_ref().map_or(0, |limit| limit.full_at);
        self.limit = (config.rate_limit_bps > 0).then_some(Limit { bps: config.rate_limit_bps.max(8), full_at });
    }

    /// When a message of `size` bytes that was stored at `time` (nanoseconds) may be sent; not after `now` if at once.
    pub fn allows_at(&self, now: Ticks, time: i64, size: usize) -> Ticks {
        let limited = self.limit.as_ref().map_or(0, |limit| limit.after(now, size).saturating_sub(limit.cost(BURST)));
        let replayed = self.replay.as_ref().and_then(|replay| replay.last).map_or(0, |(last, sent)| {
            let pause = Ticks::try_from(time.saturating_sub(last)).unwrap_or(0);
            if pause > SHORTEST { sent.saturating_add(pause) } else { 0 }
        });
        limited.max(replayed)
    }

    /// The message was sent.
    pub fn sent(&mut self, now: Ticks, time: i64, size: usize) {
        if let Some(limit) = &mut self.limit {
            limit.full_at = limit.after(now, size);
        }
        if let Some(replay) = &mut self.replay {
            replay.last = Some((time, now));
        }
    }

    /// The consumer has come to the end of the stream, and `next` is next.
    pub fn caught_up(&mut self, next: u64) {
        self.replay.take_if(|replay| next > replay.upto);
    }
}

impl Limit {
    /// Nanoseconds that `bytes` take.
    fn cost(&self, bytes: u64) -> Ticks {
        let nanos = u128::from(bytes) * 8_000_000_000 / u128::from(self.bps);
        Ticks::try_from(nanos).unwrap_or(Ticks::MAX)
    }

    /// When the bucket is full again once a message of `size` bytes has been sent. One that is larger than the bucket
    /// counts as large as that.
    fn after(&self, now: Ticks, size: usize) -> Ticks {
        self.full_at.max(now).saturating_add(self.cost((size as u64).min(BURST)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Ticks = 1_000_000_000;

    #[test]
    fn a_rate_limit_holds_after_the_first_burst() {
        let mut pace = Pace::new(&ConsumerConfig { rate_limit_bps: 8 * BURST, ..ConsumerConfig::default() }, 0);
        assert!(pace.allows_at(0, 0, BURST as usize) == 0);
        pace.sent(0, 0, BURST as usize);
        assert_eq!(pace.allows_at(0, 0, (BURST / 2) as usize), SECOND / 2);
        assert!(pace.allows_at(SECOND, 0, 4 * BURST as usize) <= SECOND, "larger than the bucket, but not stuck");
        pace.set_limit(&ConsumerConfig::default());
        assert_eq!(pace.allows_at(0, 0, 1000), 0);
    }

    #[test]
    fn pauses_are_kept_until_the_end_of_what_was_there() {
        let original = ConsumerConfig { replay_policy: ReplayPolicy::Original, ..ConsumerConfig::default() };
        let mut pace = Pace::new(&original, 7);
        assert_eq!(pace.allows_at(5, 100, 1), 0);
        pace.sent(5, 100, 1);
        assert_eq!(pace.allows_at(6, 100 + 3 * SECOND as i64, 1), 5 + 3 * SECOND);
        assert_eq!(pace.allows_at(6, 200, 1), 0);
        pace.caught_up(7);
        assert!(pace.allows_at(6, 100 + 3 * SECOND as i64, 1) > 6);
        pace.caught_up(8);
        assert_eq!(pace.allows_at(6, 100 + 3 * SECOND as i64, 1), 0);
    }
}
