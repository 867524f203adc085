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

impl Worker {
    pub(super) fn bury(&mut self, seq: u64, reason: &str) {
        // The chunk holds the message that was refused, unless its read has been overtaken; then it is refused again.
        let Found::Here(LocalMessage { subject, time, headers, payload, .. }) = self.find(seq) else {
            return self.feed(Event::BuryFailed);
        };
        tracing::warn!("uplink {}: the hub refuses message {seq} on {subject} for good: {reason}", self.options.name);
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
