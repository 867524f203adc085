//! Atomic batches (`server/stream.go`, `processJetStreamAtomicBatchMsg`): `Nats-Batch-Id` names the batch,
//! `Nats-Batch-Sequence` counts its messages, and `Nats-Batch-Commit` ends it, with a last message or (`eob`) without.

use super::check::{Checks, Fault};
use super::inflight::Share;
use super::{MAX_ID, without_level};
use crate::account::{Message, OwnedMessage};
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::desk::{Desk, Due, Kind, Surroundings, Verdict};
use crate::jetstream::error::ApiError;
use crate::jetstream::headers;
use crate::jetstream::level;
use crate::jetstream::publish::bad;
use crate::protocol;
use crate::protocol::headers::HeadersBuilder;
use crate::store::Record;

const COMMIT: &str = "Nats-Batch-Commit";

/// A batch that has not ended.
pub(super) struct AtomicBatch {
    messages: Vec<OwnedMessage>,
    /// When its last message came.
    pub heard: i64,
    share: Share,
}

/// What a message says of its batch.
struct Place {
    /// From 1.
    seq: u64,
    commits: bool,
    /// It ends the batch without being part of it.
    is_end: bool,
}

impl Place {
    /// How many messages the batch has with this one.
    fn size(&self) -> u64 {
        self.seq.saturating_sub(u64::from(self.is_end))
    }
}

fn incomplete() -> ApiError {
    bad(10176, "atomic publish batch is incomplete")
}

fn too_large(most: u64) -> ApiError {
    bad(10199, format!("atomic publish batch is too large: {most}"))
}

/// The advisory of a batch that was given up.
pub(super) fn abandoned(stream: &str, domain: Option<&str>, id: &str, reason: &str) -> OwnedMessage {
    let mut advisory = serde_json::json!({
        "type": "io.nats.jetstream.advisory.v1.stream_batch_abandoned",
        "id": format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
        "timestamp": Timestamp::now(),
        "stream": stream,
        "batch": id,
        "reason": reason,
    });
    if let Some(domain) = domain {
        advisory["domain"] = domain.into();
    }
    OwnedMessage {
        subject: format!("$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.{stream}").into(),
        payload: advisory.to_string().into(),
        ..OwnedMessage::default()
    }
}

impl Desk {
    /// Takes in a message of the batch `id`.
    pub(in crate::jetstream) fn publish_atomic(
        &mut self,
        id: &str,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        out: &mut Due,
    ) -> Result<Verdict, ApiError> {
        self.check_batches_allowed(message, around)?;
        if !self.config.allow_atomic {
            return Err(bad(10174, "atomic publish is disabled"));
        }
        if id.len() > MAX_ID {
            return Err(bad(10179, "atomic publish batch ID is invalid"));
        }
        let header = |name| protocol::headers::get(message.headers, name);
        let seq = header("Nats-Batch-Sequence").and_then(|seq| seq.parse().ok());
        let seq = seq.ok_or_else(|| bad(10175, "atomic publish sequence is missing"))?;
        let commit = header(COMMIT);
        let place = Place { seq, commits: commit.is_some(), is_end: commit == Some("eob") };
        self.begin(id, &place, around)?;
        if !matches!(commit, None | Some("1" | "eob")) {
            self.batches.atomic.remove(id);
            return Err(bad(10200, "atomic publish batch commit is invalid"));
        }
        let give_up = |desk: &mut Desk, reason: &str, error: ApiError, out: &mut Due| {
            desk.batches.atomic.remove(id);
            out.copies.push(abandoned(&desk.config.name, around.domain, id, reason));
            Err(error)
        };
        if level::requires_too_much(message.headers) {
            return give_up(self, "unsupported", level::required(), out);
        }
        let Some(batch) = self.batches.atomic.get_mut(id) else { return Err(incomplete()) };
        batch.heard = around.now;
        if batch.messages.len() as u64 + 1 != seq || seq == 1 && place.is_end {
            return give_up(self, "incomplete", incomplete(), out);
        }
        let max_messages = around.usage.inflight().max_messages;
        if place.size() > max_messages {
            return give_up(self, "large", too_large(max_messages), out);
        }
        if !place.is_end {
            let mut part = Message { reply: "", ..*message }.to_owned();
            if let Some(headers) = without_level(message.headers) {
                part.headers = headers.into();
            }
            if !batch.share.grow(message.size() + message.subject.len()) {
                return give_up(self, "large", ApiError::new(503, 10023, "insufficient resources"), out);
            }
            batch.messages.push(part);
        }
        if !place.commits {
            return Ok(Verdict::InHand);
        }
        let Some(mut batch) = self.batches.atomic.remove(id) else { return Err(incomplete()) };
        if place.is_end
            && let Some(last) = batch.messages.last_mut()
        {
            last.headers = HeadersBuilder::new().copy(&last.headers, |_| true).add(COMMIT, "1").build().into();
        }
        let reply = if self.config.no_ack { "" } else { message.reply };
        self.commit(id, reply, &mut batch.messages, around, out)
    }

    /// What is checked of every message of a batch, of either kind, before anything else.
    pub(super) fn check_batches_allowed(
        &self,
        message: &Message<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), ApiError> {
        let config = &self.config;
        if config.sealed {
            return Err(bad(10109, "invalid operation on sealed stream"));
        }
        around.usage.admit(config.storage, message.size() as u64)?;
        let most = crate::jetstream::config::limit(config.max_msg_size);
        if most.is_some_and(|most| message.size() as u64 > most) {
            return Err(bad(10054, "message size exceeds maximum allowed"));
        }
        Ok(())
    }

    /// Begins a batch, unless it is there already.
    fn begin(&mut self, id: &str, place: &Place, around: &Surroundings<'_>) -> Result<(), ApiError> {
        if self.batches.atomic.contains_key(id) {
            return Ok(());
        }
        if place.seq != 1 {
            let most = around.usage.inflight().max_messages;
            return Err(if place.size() > most { too_large(most) } else { incomplete() });
        }
        let too_many = || ApiError::new(429, 10210, "atomic publish too many inflight");
        let share = around.usage.inflight().atomic(self.batches.atomic.len()).ok_or_else(too_many)?;
        self.batches.atomic.insert(id.into(), AtomicBatch { messages: Vec::new(), heard: around.now, share });
        Ok(())
    }

    /// Checks all messages of a batch, and hands them to the log as one.
    fn commit(
        &mut self,
        id: &str,
        reply: &str,
        messages: &mut [OwnedMessage],
        around: &Surroundings<'_>,
        out: &mut Due,
    ) -> Result<Verdict, ApiError> {
        let mut checks = Checks::default();
        for message in messages.iter_mut() {
            let wishes = headers::parse(&message.headers);
            if !wishes.expected_last_msg_id.is_empty() {
                return Err(bad(10177, "atomic publish unsupported header used: Nats-Expected-Last-Msg-Id"));
            }
            let rewritten = checks.check(self, &message.borrow(), &wishes, around).map_err(|fault| match fault {
                Fault::Refused(error) => error,
                Fault::Duplicate(_) => bad(10201, "atomic publish batch contains duplicate message id"),
            })?;
            if let Some(payload) = rewritten.payload {
                message.payload = payload.into();
            }
            if let Some(headers) = rewritten.headers {
                message.headers = headers.into();
            }
        }
        let wishes: Vec<_> = messages.iter().map(|message| headers::parse(&message.headers)).collect();
        let ready =
            messages.iter().zip(&wishes).map(|(message, wishes)| self.make_ready(&message.borrow(), wishes, around));
        let mut ready = ready.collect::<Result<Vec<_>, _>>()?;
        around.usage.admit(self.config.storage, ready.iter().map(|ready| ready.size).sum())?;
        let own: Vec<_> = ready.iter_mut().map(|ready| ready.headers.take()).collect();
        let records: Vec<_> = (messages.iter().zip(&own))
            .map(|(message, own)| Record {
                subject: &message.subject,
                headers: own.as_deref().unwrap_or(&message.headers),
                payload: &message.payload,
            })
            .collect();
        let first = around.log.append_batch(&records).map_err(ApiError::of_store)?;
        self.notice_failure(first, out);
        let name = serde_json::Value::from(id);
        let mut plain = true;
        for (n, ((record, wishes), ready)) in records.iter().zip(&wishes).zip(&mut ready).enumerate() {
            if let Some(before) = records[..n].iter().rposition(|earlier| earlier.subject == record.subject)
                && self.republisher.is_some()
            {
                ready.before = first + before as u64;
            }
            let seq = first + n as u64;
            let kind = self.note(seq, record, wishes, ready, around);
            if n + 1 < records.len() {
                plain &= kind == Kind::Stored;
                self.wait(seq, "", Box::default(), kind);
            } else {
                let answer = format!(",\"batch\":{name},\"count\":{}", records.len());
                let kind = if plain || kind != Kind::Stored { kind } else { Kind::Last };
                self.wait(seq, reply, answer.into(), kind);
            }
        }
        Ok(Verdict::Waits)
    }
}
