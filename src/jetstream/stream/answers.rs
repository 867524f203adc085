//! What publishers are told: when their message is on disk, or why it is not.

use super::Stream;
use crate::account::{Batch, Message, RouteCache};
use crate::jetstream::config::StorageType;
use crate::jetstream::desk::{Due, Kind, Pending, Verdict};
use crate::jetstream::error::ApiError;
use crate::jetstream::upkeep::{Job, Removes};
use crate::protocol::headers;
use crate::store::{Purge, StoreError};
use std::fmt::Write;
use std::sync::{Arc, PoisonError};

/// The commit thread's own buffers.
#[derive(Default)]
pub(super) struct Outgoing {
    due: Due,
    json: String,
    cache: RouteCache,
}

/// The answer to a publish that was not stored.
#[derive(serde::Serialize)]
struct Refused<'a> {
    error: &'a ApiError,
    stream: &'a str,
    seq: u64,
}

impl Stream {
    pub(super) fn on_committed(self: &Arc<Self>, upto: u64) {
        let mut outgoing = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        let Outgoing { due, json, cache } = &mut *outgoing;
        due.entries.clear();
        due.replies.clear();
        self.desk().take_committed(upto, due);
        let mut batch = Batch::default();
        for copy in due.copies.drain(..) {
            self.shared.account.route(self.origin(), &copy.borrow(), cache, &mut batch);
        }
        let mut at = 0;
        for Pending { seq, reply_len, answer, kind, fast, mute } in due.entries.drain(..) {
            let reply = std::str::from_utf8(&due.replies[at..at + reply_len]).unwrap_or_default();
            let elsewhere = fast.as_ref().and_then(|place| place.reply.as_deref());
            let reply = if mute { "" } else { elsewhere.unwrap_or(reply) };
            at += reply_len;
            let removes = match kind {
                Kind::Stored => {
                    self.ack(reply, seq, &answer, json, cache, &mut batch);
                    continue;
                }
                Kind::Duplicate(original) => {
                    self.ack(reply, original, &answer, json, cache, &mut batch);
                    continue;
                }
                Kind::Replaces { filters, itself } => {
                    let purge = |filter: Option<Box<str>>| Purge {
                        filter: filter.map(String::from),
                        below_seq: Some(seq),
                        keep: None,
                    };
                    Removes { purges: filters.into_iter().map(purge).collect(), itself }
                }
                Kind::Last => Removes::default(),
            };
            self.shared.upkeep.run(Job { stream: self.clone(), seq, reply: reply.into(), answer, removes });
        }
        batch.flush();
        self.note_deadlines(&due.deadlines);
        due.deadlines.clear();
        self.note_schedules(due.scheduled.drain(..));
        drop(outgoing);
        self.consumers.on_committed(upto);
        self.committed.send_replace(upto);
    }

    /// Removes what a committed message replaces, or itself if nobody wants it, and acknowledges it: who is told that
    /// something was replaced must not find it again after a power cut, so that the answer waits for the removal's commit.
    pub(in crate::jetstream) fn finish(
        self: &Arc<Self>,
        seq: u64,
        reply: Box<str>,
        answer: Box<str>,
        removes: &Removes,
    ) {
        let mut outcome = removes.purges.iter().try_for_each(|purge| self.purge(purge).map(|_| ()));
        if removes.itself {
            outcome = outcome.and(self.log.remove(&[seq]).map(|_| ()));
        }
        if let Err(error) = outcome {
            tracing::error!(%error, stream = %self.name, seq, "what a message replaces could not be removed");
        }
        let stream = self.clone();
        let answered = move |durable: Result<(), StoreError>| {
            let (mut json, mut cache, mut batch) = (String::new(), RouteCache::default(), Batch::default());
            match durable {
                Ok(()) => stream.ack(&reply, seq, &answer, &mut json, &mut cache, &mut batch),
                Err(error) => stream.refuse(&reply, &ApiError::store_failed(error), &mut cache, &mut batch),
            }
        };
        let replaces = !removes.purges.is_empty() || !removes.itself;
        match replaces && self.config().storage == StorageType::File {
            true => self.store().tell_then(Box::new(answered)),
            false => answered(Ok(())),
        }
    }

    pub(super) fn on_failed(&self, from: u64, error: &StoreError) {
        let mut due = Due::default();
        if self.desk().take_failed(from, &mut due) {
            let last = self.log.read(from.saturating_sub(1)).ok().flatten();
            let id = last.as_ref().and_then(|last| headers::get(&last.headers, "Nats-Msg-Id")).unwrap_or_default();
            let mut desk = self.desk();
            if desk.last_seq + 1 == from {
                id.clone_into(&mut desk.last_msg_id);
            }
        }
        tracing::error!(%error, stream = %self.name, from, refused = due.entries.len(), "messages could not be stored");
        self.answer_all(&due, &ApiError::store_failed(error));
    }

    /// What became of a publish at once.
    pub(super) fn tell(&self, verdict: Verdict, reply: &str, batch: &mut Batch) {
        match verdict {
            Verdict::Waits => {}
            Verdict::InHand => self.confirm(reply, batch),
            Verdict::Acked(seq, answer) => {
                self.ack(reply, seq, &answer, &mut String::new(), &mut RouteCache::default(), batch);
            }
            Verdict::Refused(error) | Verdict::Full(error) => {
                batch.refused(&error.description);
                self.refuse(reply, &error, &mut RouteCache::default(), batch);
            }
        }
    }

    pub(super) fn answer_all(&self, due: &Due, error: &ApiError) {
        let (mut cache, mut batch) = (RouteCache::default(), Batch::default());
        let mut at = 0;
        for entry in &due.entries {
            let reply = std::str::from_utf8(&due.replies[at..at + entry.reply_len]).unwrap_or_default();
            at += entry.reply_len;
            self.refuse(reply, error, &mut cache, &mut batch);
        }
    }

    pub(super) fn ack(
        &self,
        reply: &str,
        seq: u64,
        more: &str,
        json: &mut String,
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) {
        if reply.is_empty() {
            return;
        }
        json.clear();
        json.push_str(&self.ack_prefix);
        // Writing to a string cannot fail.
        let _ = write!(json, "{seq}{more}}}");
        let message = Message { subject: reply, reply: "", headers: &[], payload: json.as_bytes() };
        self.shared.account.route(self.origin(), &message, cache, batch);
    }

    pub(super) fn refuse(&self, reply: &str, error: &ApiError, cache: &mut RouteCache, batch: &mut Batch) {
        if reply.is_empty() {
            return;
        }
        let json = serde_json::to_string(&Refused { error, stream: &self.name, seq: 0 }).unwrap_or_default();
        let message = Message { subject: reply, reply: "", headers: &[], payload: json.as_bytes() };
        self.shared.account.route(self.origin(), &message, cache, batch);
    }

    /// Sends an empty message: what came is in hand, and nothing more is promised.
    pub(super) fn confirm(&self, reply: &str, batch: &mut Batch) {
        if !reply.is_empty() {
            let message = Message { subject: reply, reply: "", headers: &[], payload: &[] };
            self.shared.account.route(self.origin(), &message, &mut RouteCache::default(), batch);
        }
    }
}
