//! The state of a push consumer beside its deliveries: whether anybody listens, the flow control window, and when the
//! next sign of life is due (`server/consumer.go`, `needFlowControl`, `processFlowControl`, `sendIdleHeartbeat`).

use super::config::ConsumerConfig;
use super::state::Ticks;

/// Bytes that may be on their way to a receiver with flow control, at most.
const MAX_WINDOW: usize = 32 << 20;
/// The window that it begins with; each answer doubles it.
const FIRST_WINDOW: usize = MAX_WINDOW / 16;

/// Push delivery of one consumer.
#[derive(Debug)]
pub struct Push {
    /// Whether somebody subscribes to the deliver subject.
    active: bool,
    /// Since when nobody does.
    idle_since: Ticks,
    window: Option<Window>,
    heartbeat: Option<Ticks>,
    beat_at: Ticks,
}

#[derive(Debug)]
struct Window {
    size: usize,
    /// Bytes delivered and not confirmed by an answer.
    outstanding: usize,
    /// The subject on which the answer is awaited.
    waiting: Option<Box<str>>,
    /// Bytes that the answer confirms.
    confirms: usize,
}

impl Push {
    /// As `config` asks for; nobody listens yet.
    pub fn new(config: &ConsumerConfig, now: Ticks) -> Self {
        let heartbeat = u64::try_from(config.heartbeat).ok().filter(|wait| *wait > 0);
        let window =
            config.flow_control.then_some(Window { size: FIRST_WINDOW, outstanding: 0, waiting: None, confirms: 0 });
        let beat_at = heartbeat.map_or(Ticks::MAX, |wait| now.saturating_add(wait));
        Push { active: false, idle_since: now, window, heartbeat, beat_at }
    }

    /// Whether somebody listens.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Since when nobody listens; `None` while somebody does.
    pub fn idle_since(&self) -> Option<Ticks> {
        (!self.active).then_some(self.idle_since)
    }

    /// Notes whether somebody listens; returns whether that changed.
    pub fn set_active(&mut self, active: bool, now: Ticks) -> bool {
        if self.active == active {
            return false;
        }
        self.active = active;
        if active {
            self.beat_at = self.heartbeat.map_or(Ticks::MAX, |wait| now.saturating_add(wait));
        } else {
            self.idle_since = now;
        }
        true
    }

    /// Whether messages may be delivered now.
    pub fn is_open(&self) -> bool {
        self.active && self.window.as_ref().is_none_or(|window| window.outstanding <= window.size)
    }

    /// Counts a delivery of `size` bytes, after which as many messages are pending as may be if it is `last`. Returns
    /// whether a flow control message is due behind it.
    pub fn delivered(&mut self, size: usize, last: bool, now: Ticks) -> bool {
        if let Some(wait) = self.heartbeat {
            self.beat_at = now.saturating_add(wait);
        }
        let Some(window) = &mut self.window else { return false };
        window.outstanding += size;
        if window.waiting.is_some() && window.outstanding - window.confirms >= window.size {
            window.confirms += size;
        }
        window.waiting.is_none() && (last || window.outstanding > window.size / 2)
    }

    /// A flow control message with the reply subject `reply` is sent.
    pub fn ask(&mut self, reply: &str) {
        if let Some(window) = &mut self.window {
            window.confirms = window.outstanding;
            window.waiting = Some(reply.into());
        }
    }

    /// An answer to a flow control message came on `subject`. Returns whether it is the awaited one.
    pub fn answered(&mut self, subject: &str) -> bool {
        let Some(window) = self.window.as_mut().filter(|window| window.waiting.as_deref() == Some(subject)) else {
            return false;
        };
        window.size = (window.size * 2).min(MAX_WINDOW);
        window.outstanding = window.outstanding.saturating_sub(window.confirms);
        window.confirms = 0;
        window.waiting = None;
        true
    }

    /// The reply subject of the flow control message that is not answered yet.
    pub fn stalled(&self) -> Option<&str> {
        self.window.as_ref()?.waiting.as_deref()
    }

    /// Whether a sign of life is due; the next one is then due one interval later.
    pub fn beat(&mut self, now: Ticks) -> bool {
        if now < self.beat_at {
            return false;
        }
        self.beat_at = self.heartbeat.map_or(Ticks::MAX, |wait| now.saturating_add(wait));
        self.active
    }

    /// When the next sign of life is due; [`Ticks::MAX`] if none ever is.
    pub fn due(&self) -> Ticks {
        if self.active { self.beat_at } else { Ticks::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> Push {
        let config = ConsumerConfig { flow_control: true, heartbeat: 100, ..ConsumerConfig::default() };
        let mut push = Push::new(&config, 0);
        push.set_active(true, 0);
        push
    }

    #[test]
    fn flow_control_closes_the_window_until_the_answer_comes() {
        let mut push = push();
        assert!(!push.delivered(FIRST_WINDOW / 2, false, 0));
        assert!(push.delivered(1, false, 0));
        push.ask("fc.1");
        assert!(!push.delivered(FIRST_WINDOW, false, 0));
        assert!(!push.is_open());
        assert!(!push.answered("fc.0"));
        assert!(push.answered("fc.1"));
        assert!(push.is_open());
        assert_eq!(push.stalled(), None);
    }

    #[test]
    fn signs_of_life_come_after_silence_only() {
        let mut push = push();
        assert_eq!(push.due(), 100);
        push.delivered(1, false, 50);
        assert!(!push.beat(100));
        assert!(push.beat(150));
        assert_eq!(push.due(), 250);
        push.set_active(false, 160);
        assert_eq!((push.due(), push.idle_since()), (Ticks::MAX, Some(160)));
    }
}
