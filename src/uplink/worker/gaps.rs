//! What does not reach the hub: dead letters, gaps, and thinning.

use super::super::answer;
use super::super::local::LocalMessage;
use super::super::machine::{AckResult, Event};
use super::super::message::{self, Ids};
use super::{Done, Found, Missing, Worker};
use crate::account::LocalClient;
use std::time::Duration;

/// How long a dead letter or a gap may take to be stored.
const STORE_LIMIT: Duration = Duration::from_secs(10);

/// How often at most the log is told of dead letters.
const TELL: Duration = Duration::from_secs(10);

/// Dead letters, as the log has them: the first, then how many more there were. A long backlog that the hub refuses must not
/// fill the log.
#[derive(Default)]
pub(super) struct Burials {
    /// The last one; asked for again if it could not be stored.
    seq: u64,
    untold: u64,
    last: String,
    next: Duration,
}

impl Burials {
    fn add(&mut self, seq: u64, what: String) {
        if seq != self.seq {
            (self.seq, self.last) = (seq, what);
            self.untold += 1;
        }
    }

    /// When there is something to tell.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (self.untold > 0).then_some(self.next)
    }

    /// What is to be told now; `all`: even if it was told of others just before.
    fn due(&mut self, now: Duration, all: bool) -> Option<String> {
        self.deadline().filter(|deadline| all || now >= *deadline)?;
        self.next = now + TELL;
        let Burials { last, .. } = self;
        Some(match std::mem::take(&mut self.untold) {
            1 => format!("the hub refuses {last}"),
            more => format!("the hub refuses {more} more messages for good; the last: {last}"),
        })
    }
}

impl Worker {
    /// Has the log tell of dead letters, if it is time to.
    pub(super) fn tell_burials(&mut self, all: bool) {
        if let Some(what) = self.burials.due(self.now(), all) {
            tracing::warn!("uplink {}: {what}", self.options.name);
        }
    }

    pub(super) fn bury(&mut self, seq: u64, reason: &str) {
        // The chunk holds the message that was refused, unless its read has been overtaken; then it is refused again.
        let Found::Here(LocalMessage { subject, time, headers, payload, .. }) = self.find(seq) else {
            return self.feed(Event::BuryFailed);
        };
        self.burials.add(seq, format!("message {seq} on {subject} for good: {reason}"));
        self.tell_burials(false);
        let headers = message::dead_letter(&headers, &self.ids, seq, time, &subject, reason);
        let (client, name) = (self.client.clone(), self.options.name.clone());
        let (subject, ids) = (self.options.dead_subject.clone(), self.ids.clone());
        self.jobs.spawn(async move {
            Done::Event(match store(&client, &subject, &headers, &payload, &ids).await {
                Ok(()) => Event::Buried(seq),
                Err(error) => {
                    tracing::warn!("uplink {name}: cannot store a dead letter: {error}");
                    Event::BuryFailed
                }
            })
        });
    }

    pub(super) fn gap(&mut self, from: u64, Missing { to, seqs, backwards }: Missing) {
        if self.options.settings.sparse {
            return self.feed(Event::Gap { from, to });
        }
        let count = to - from + 1;
        tracing::warn!(
            "uplink {}: {count} local messages from {} on cannot be read and are skipped",
            self.options.name,
            seqs.0
        );
        if self.options.gap_subject.is_some() {
            self.gaps.add(self.now(), to, seqs, backwards, self.local.is_damaged(seqs.0, seqs.1));
        }
        self.feed(Event::Gap { from, to });
    }

    /// Declares the gap that is due, if any: the local stream captures it as a message for the hub.
    pub(super) fn declare(&mut self) {
        let Some(subject) = self.options.gap_subject.clone().filter(|_| !self.declaring) else { return };
        let Some(gap) = self.gaps.due(self.now()).cloned() else { return };
        self.declaring = true;
        let (client, ids) = (self.client.clone(), self.ids.clone());
        self.jobs.spawn(async move {
            let result = store(&client, &subject, &gap.headers(&ids.gap(gap.first, gap.last)), b"", &ids).await;
            Done::Declared { gap, result }
        });
    }

    /// Thins the local stream where that is asked for and due.
    pub(super) fn thin(&mut self) {
        if !self.planner.plan().is_plain() {
            // What was left of another order has to go first.
            return;
        }
        let bytes = self.local.extent().bytes;
        let Some(mut thinning) = self.thinning.take_if(|thinning| thinning.is_due(bytes)) else { return };
        let (local, upto) = (self.local.clone(), self.machine.committed());
        // What was sent may have to be sent again.
        let from = self.machine.sent_high() + 1;
        self.jobs.spawn_blocking(move || {
            let result = thinning.run(&*local, from, upto);
            Done::Thinned { thinning, result }
        });
    }
}

/// Publishes to a local stream, and waits until it is on disk there.
async fn store(client: &LocalClient, subject: &str, headers: &[u8], payload: &[u8], ids: &Ids) -> Result<(), String> {
    match client.request(subject, headers, payload, STORE_LIMIT).await {
        Ok(answer) => match answer::ack(&answer, ids).result {
            AckResult::Stored { .. } => Ok(()),
            other => Err(format!("{other:?}")),
        },
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_the_first_dead_letter_and_then_how_many_more() {
        let at = Duration::from_secs;
        let mut burials = Burials::default();
        assert_eq!((burials.deadline(), burials.due(at(0), true)), (None, None));
        burials.add(7, "message 7".into());
        assert_eq!(burials.due(at(0), false).as_deref(), Some("the hub refuses message 7"));
        // What could not be stored is tried again.
        burials.add(7, "message 7".into());
        assert_eq!(burials.deadline(), None);
        for seq in 8..1008 {
            burials.add(seq, format!("message {seq}"));
            assert_eq!(burials.due(at(9), false), None);
        }
        let more = "the hub refuses 1000 more messages for good; the last: message 1007";
        assert_eq!((burials.deadline(), burials.due(at(10), false).as_deref()), (Some(at(10)), Some(more)));
        burials.add(1008, "message 1008".into());
        assert_eq!(burials.due(at(19), false), None);
        assert_eq!(burials.due(at(19), true).as_deref(), Some("the hub refuses message 1008"));
    }
}
