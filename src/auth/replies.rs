//! Which requests a connection may answer (`allow_responses`; nats-server `client.go`, `responseAllowed`).

use super::ResponseLimit;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::time::{Duration, Instant};

/// Requests that may wait for an answer at a time; beyond that the expired and the oldest are forgotten.
const MAX_WAITING: usize = 4096;
/// How often expired requests are looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// The reply subjects that were delivered to a connection, and how much each has been answered.
pub struct Replies {
    limit: ResponseLimit,
    waiting: HashMap<Box<str>, Waiting, RandomState>,
    pruned: Instant,
}

struct Waiting {
    since: Instant,
    answered: u64,
}

impl Replies {
    /// Nothing to answer yet.
    pub fn new(limit: ResponseLimit, now: Instant) -> Self {
        Replies { limit, waiting: HashMap::default(), pruned: now }
    }

    /// The limit it was made with.
    pub fn limit(&self) -> ResponseLimit {
        self.limit
    }

    /// A message that asks for answers on `reply` is being delivered.
    pub fn asked(&mut self, reply: &str, now: Instant) {
        if self.waiting.len() >= MAX_WAITING || now - self.pruned > PRUNE_INTERVAL {
            self.prune(now);
        }
        self.waiting.insert(reply.into(), Waiting { since: now, answered: 0 });
    }

    /// Whether an answer on `subject` is still allowed; counts it.
    pub fn answer(&mut self, subject: &str, now: Instant) -> bool {
        let limit = self.limit;
        let Some(waiting) = self.waiting.get_mut(subject) else { return false };
        waiting.answered += 1;
        let allowed = limit.max.is_none_or(|max| waiting.answered <= max)
            && limit.expires.is_none_or(|expires| now - waiting.since <= expires);
        if !allowed {
            self.waiting.remove(subject);
        }
        allowed
    }

    fn prune(&mut self, now: Instant) {
        let limit = self.limit;
        self.waiting.retain(|_, waiting| {
            limit.max.is_none_or(|max| waiting.answered < max)
                && limit.expires.is_none_or(|expires| now - waiting.since <= expires)
        });
        self.pruned = now;
        if self.waiting.len() < MAX_WAITING {
            return;
        }
        let mut ages: Vec<Instant> = self.waiting.values().map(|w| w.since).collect();
        let (_, middle, _) = ages.select_nth_unstable(MAX_WAITING / 2);
        let middle = *middle;
        self.waiting.retain(|_, waiting| waiting.since > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_expire() {
        let start = Instant::now();
        let limit = ResponseLimit { max: Some(2), expires: Some(Duration::from_secs(10)) };
        let mut replies = Replies::new(limit, start);
        replies.asked("r1", start);
        replies.asked("r2", start);
        assert!(replies.answer("r1", start) && replies.answer("r1", start) && !replies.answer("r1", start));
        assert!(replies.answer("r2", start + Duration::from_secs(10)));
        assert!(!replies.answer("r2", start + Duration::from_secs(11)));
        assert!(!replies.answer("r3", start));
    }

    #[test]
    fn the_requests_remembered_are_bounded() {
        let start = Instant::now();
        let mut replies = Replies::new(ResponseLimit { max: None, expires: None }, start);
        for n in 0..3 * MAX_WAITING as u64 {
            replies.asked(&format!("r{n}"), start + Duration::from_micros(n));
        }
        assert!(replies.waiting.len() <= MAX_WAITING);
        assert!(replies.answer(&format!("r{}", 3 * MAX_WAITING - 1), start) && !replies.answer("r0", start));
    }
}
