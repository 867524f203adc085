//! The pinned client (ADR-42): the first request of a priority group that a message can go to gets an id, which each of
//! its messages tells. From then on only requests that name the id are served, until none has for the consumer's
//! `priority_timeout` or an operator unpins it. Kept in memory, as in nats-server (`server/consumer.go`,
//! `assignNewPinId`, `setPinnedTimer`).

use super::Member;
use crate::jetstream::consumer::advisory::Advisory;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::consumer::state::Ticks;
use std::sync::Arc;

/// Letters and digits of an id, as in nats-server's.
const ID_LENGTH: usize = 22;

/// Who is pinned.
#[derive(Debug)]
pub struct Pin {
    /// How long the pinned client may be silent, nanoseconds.
    ttl: Ticks,
    held: Option<Held>,
    /// What is to be told of it.
    news: Vec<Advisory>,
}

#[derive(Clone, Debug)]
struct Held {
    group: Box<str>,
    id: Arc<str>,
    since: Timestamp,
    until: Ticks,
}

/// What a request may have of the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It takes it.
    Yes,
    /// It takes it, and has been pinned for that.
    Pinned,
    /// Not while another client is pinned.
    Later,
    /// It names an id that is not, or no longer, valid.
    Never,
}

impl Pin {
    /// Nobody is pinned.
    pub(super) fn new(ttl: Ticks) -> Self {
        Pin { ttl, held: None, news: Vec::new() }
    }

    /// A silent client is unpinned after `ttl` from its next request on.
    pub(super) fn set_ttl(&mut self, ttl: Ticks) {
        self.ttl = ttl;
    }

    /// The id of the pinned client.
    pub fn id(&self) -> Option<&Arc<str>> {
        self.held.as_ref().map(|held| &held.id)
    }

    /// Since when it is pinned.
    pub fn since(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|held| held.since)
    }

    /// A request of `member` has come. Returns whether it may wait: one with another id than the pinned may not.
    pub(super) fn heard(&mut self, member: Option<&Member>, now: Ticks) -> bool {
        let (Some(held), Some(member)) = (&mut self.held, member) else { return true };
        if *member.id == *held.id {
            held.until = now.saturating_add(self.ttl);
        }
        member.id.is_empty() || *member.id == *held.id
    }

    /// What a waiting request of `member` may have of the next message.
    pub(super) fn admit(&mut self, member: Option<&mut Member>, now: Ticks) -> Admission {
        match (&self.held, member) {
            (None, None) => Admission::Yes,
            (None, Some(member)) if member.id.is_empty() => {
                member.id = self.assign(&member.group, now);
                Admission::Pinned
            }
            (Some(_), None) => Admission::Later,
            (Some(_), Some(member)) if member.id.is_empty() => Admission::Later,
            (Some(held), Some(member)) if member.id == held.id => Admission::Yes,
            (_, Some(_)) => Admission::Never,
        }
    }

    fn assign(&mut self, group: &str, now: Ticks) -> Arc<str> {
        let id: String = (0..ID_LENGTH).map(|_| fastrand::alphanumeric()).collect();
        let id: Arc<str> = id.into();
        let until = now.saturating_add(self.ttl);
        self.held = Some(Held { group: group.into(), id: id.clone(), since: Timestamp::now(), until });
        self.news.push(Advisory::Pinned { group: group.to_owned(), pinned_id: id.to_string() });
        id
    }

    /// The request that was just pinned takes no message after all.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// An operator wants another client of `group` to have its turn.
    pub(super) fn unpin(&mut self, group: &str) {
        self.held = None;
        self.news.push(Advisory::Unpinned { group: group.to_owned(), reason: "admin" });
    }

    /// Unpins a client that has been silent for too long.
    pub(super) fn expire(&mut self, now: Ticks) {
        if let Some(held) = self.held.take_if(|held| now >= held.until) {
            self.news.push(Advisory::Unpinned { group: held.group.into(), reason: "timeout" });
        }
    }

    /// When the pinned client is unpinned; [`Ticks::MAX`] if none is.
    pub(super) fn due(&self) -> Ticks {
        self.held.as_ref().map_or(Ticks::MAX, |held| held.until)
    }

    /// What is to be told since this was last asked.
    pub(super) fn news(&mut self) -> Vec<Advisory> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { group: "g".into(), id: id.into() }
    }

    #[test]
    fn one_client_is_pinned_until_it_is_silent() {
        let mut pin = Pin::new(100);
        let mut first = member("");
        assert_eq!(pin.admit(Some(&mut member("old")), 0), Admission::Never);
        assert_eq!(pin.admit(Some(&mut first), 0), Admission::Pinned);
        assert_eq!(pin.admit(Some(&mut first), 0), Admission::Yes);
        assert_eq!(pin.admit(Some(&mut member("")), 0), Admission::Later);
        assert_eq!(pin.admit(None, 0), Admission::Later);
        assert!(pin.heard(Some(&first), 50) && pin.heard(Some(&member("")), 99) && !pin.heard(Some(&member("x")), 99));
        pin.expire(149);
        assert_eq!(pin.id(), Some(&first.id));
        pin.expire(150);
        assert_eq!((pin.id(), pin.due()), (None, Ticks::MAX));
        assert!(matches!(
            pin.news().as_slice(),
            [Advisory::Pinned { .. }, Advisory::Unpinned { reason: "timeout", .. }]
        ));
    }
}
