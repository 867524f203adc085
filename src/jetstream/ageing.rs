//! Removing what is due: messages whose own time to live is over, and, where messages may have one, those older than
//! the stream's `max_age` (elsewhere the log drops them by itself). Where markers are wanted, one takes the place of a
//! subject's last message (ADR-43, ADR-48).

use super::config::{StreamConfig, limit};
use super::consumer::config::Timestamp;
use super::desk::Verdict;
use super::expiry::{Deadline, Deadlines};
use super::headers::{self, Ttl};
use super::stream::Stream;
use crate::account::Message;
use crate::protocol;
use crate::protocol::headers::HeadersBuilder;
use crate::store::{StoreError, Stored};
use std::sync::Arc;
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;

/// The clock is looked at this often while something is to become due, in case it is set.
const LOOK: Duration = Duration::from_secs(10);

/// How long to wait for a time, at most.
fn until(at: i64) -> Duration {
    Duration::from_nanos(u64::try_from(at.saturating_sub(Timestamp::now().0)).unwrap_or(0)).min(LOOK)
}

/// What a stream knows of the times of its messages.
#[derive(Default)]
pub(super) struct Ageing {
    /// Not known until the log has been read, which is done where it holds up nobody.
    deadlines: Option<Deadlines>,
    /// Committed meanwhile.
    fresh: Vec<Deadline>,
    /// Everything below was looked at for its age.
    looked_at: u64,
    /// When the next look is arranged for.
    armed: Option<i64>,
}

/// Whether the stream looks after the age of its messages, rather than its log.
pub(super) fn is_own(config: &StreamConfig) -> bool {
    config.allow_msg_ttl && limit(config.max_age).is_some()
}

impl Stream {
    /// Messages with a time to live were committed.
    pub(super) fn note_deadlines(self: &Arc<Self>, deadlines: &[Deadline]) {
        let Some(first) = deadlines.iter().map(|deadline| deadline.at).min() else { return };
        let mut ageing = self.ageing();
        match &mut ageing.deadlines {
            Some(known) => deadlines.iter().for_each(|deadline| known.add(*deadline)),
            None => ageing.fresh.extend(deadlines),
        }
        self.arm(&mut ageing, first);
    }

    /// Has the stream looked at now, if it may hold something that becomes due.
    pub(super) fn look_after_age(self: &Arc<Self>) {
        if self.config().allow_msg_ttl {
            self.arm(&mut self.ageing(), 0);
        }
    }

    fn arm(self: &Arc<Self>, ageing: &mut Ageing, at: i64) {
        if ageing.armed.is_none_or(|armed| at < armed) {
            // If the queue is full the next commit tries again.
            let called = self.upkeep().call(until(at), Arc::downgrade(self), Stream::expire);
            ageing.armed = called.then_some(at);
        }
    }

    /// Removes what is due; says after how long to look again. Reads from disk.
    fn expire(self: &Arc<Self>) -> Option<Duration> {
        let now = Timestamp::now().0;
        {
            let mut ageing = self.ageing();
            match ageing.armed {
                Some(at) if at > now => return Some(until(at)),
                _ => ageing.armed = None,
            }
        }
        let next = match self.try_expire(now) {
            Ok(next) => next?,
            Err(error) => {
                tracing::error!(%error, stream = self.name(), "what is too old could not be removed; in ten seconds again");
                now.saturating_add(10 * SECOND)
            }
        };
        let mut ageing = self.ageing();
        if ageing.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        ageing.armed = Some(next);
        Some(until(next))
    }

    fn try_expire(self: &Arc<Self>, now: i64) -> Result<Option<i64>, StoreError> {
        let config = self.config();
        if self.ageing().deadlines.is_none() {
            let known = Deadlines::recover(self.log())?;
            let mut ageing = self.ageing();
            let fresh = std::mem::take(&mut ageing.fresh);
            let known = ageing.deadlines.insert(known);
            fresh.into_iter().for_each(|deadline| known.add(deadline));
        }
        let mut due = Vec::new();
        let next = {
            let mut ageing = self.ageing();
            let known = ageing.deadlines.get_or_insert_default();
            due.extend(std::iter::from_fn(|| known.pop_due(now)));
            known.next()
        };
        due.sort_unstable();
        for seq in due {
            if let Some(stored) = self.log().read_sound(seq)? {
                self.let_go(&config, &stored)?;
            }
        }
        let oldest = if is_own(&config) { self.expire_oldest(&config, now)? } else { None };
        let first = self.log().state().first_seq;
        self.consumers().on_removed(first);
        Ok(match (next, oldest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// Removes what is older than `max_age`; says when the next message will be.
    fn expire_oldest(self: &Arc<Self>, config: &StreamConfig, now: i64) -> Result<Option<i64>, StoreError> {
        let mut reader = self.log().reader();
        reader.seek(self.ageing().looked_at);
        while let Some(stored) = reader.next(&|_| true)? {
            let at = stored.time.saturating_add(config.max_age);
            if at > now {
                return Ok(Some(at));
            }
            let ttl = protocol::headers::get(&stored.headers, "Nats-TTL").unwrap_or_default();
            if headers::ttl(ttl) != Ok(Ttl::Never) {
                self.let_go(config, &stored)?;
            }
            self.ageing().looked_at = stored.seq + 1;
        }
        // Something may be stored at any time from now on.
        Ok(Some(now.saturating_add(config.max_age)))
    }

    /// Removes a message, or has a marker replace it.
    pub(in crate::jetstream) fn let_go(
        self: &Arc<Self>,
        config: &StreamConfig,
        stored: &Stored,
    ) -> Result<(), StoreError> {
        let header = |name| protocol::headers::get(&stored.headers, name);
        let is_marker = header("Nats-Marker-Reason").is_some() || header("KV-Operation") == Some("PURGE");
        let marked = config.subject_delete_marker_ttl > 0 && !is_marker;
        if marked && self.publish_marker(config, stored)? {
            return Ok(());
        }
        self.log().remove(&[stored.seq]).map(|_| ())
    }

    /// A marker rolls up its subject, whose last message this is: one that came meanwhile would go with it. Returns whether the
    /// stream took it.
    fn publish_marker(self: &Arc<Self>, config: &StreamConfig, stored: &Stored) -> Result<bool, StoreError> {
        let subject = &stored.subject;
        let seconds = config.subject_delete_marker_ttl / SECOND;
        let ttl = super::consumer::status::GoDuration(seconds * SECOND).to_string();
        let headers = HeadersBuilder::new()
            .add("Nats-Marker-Reason", "MaxAge")
            .add("Nats-TTL", &ttl)
            .add("Nats-Rollup", "sub")
            .build();
        let message = Message { subject, reply: "", headers: &headers, payload: &[] };
        // Its subject is one of the stream's own already: no transform.
        let mut last = Ok(None);
        let verdict = self.take_in(|desk, around, failed| {
            last = around.log.subject_info(subject);
            match &last {
                Ok(Some(info)) if info.last == stored.seq => desk.publish_as_it_is(&message, around, failed),
                // Nobody asks.
                _ => Verdict::InHand,
            }
        });
        last.map(|_| matches!(verdict, Some(Verdict::Waits)))
    }
}
