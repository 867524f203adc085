//! From readings to the store: publishes them and waits until they are on disk.
//!
//! Readings go in batches, in their order; one sync serves a batch. If the store refuses some (a full disk, a full
//! stream), the whole batch is left to settle, and then those that were refused are published again, in their order, after
//! a pause. The source waits meanwhile, so memory is bounded by one batch. Order is kept: a refusal comes while the
//! reading is published, and nothing of the batch is published behind it; a commit that fails takes everything staged
//! behind it along. What can never be stored, such as a reading above the stream's `max_msg_size`, is dropped, counted
//! and logged.

use super::capture::Captures;
use super::status::Health;
use crate::account::{Account, Inbox, LocalClient, Message, OwnedMessage, new_inbox};
use crate::protocol::headers::HeadersBuilder;
use bytes::Bytes;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Most readings in a batch.
pub const MAX_BATCH: usize = 256;
/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// JetStream's errors that no waiting heals: the message is too large, its headers are.
const FOR_GOOD: [u16; 2] = [10054, 10097];

/// A reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// A valid literal subject.
    pub subject: String,
    /// What was read.
    pub payload: Bytes,
    /// By which a repetition is recognised, ours after an answer that was late or the source's.
    pub id: String,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Stored,
    /// One with its id was on disk already.
    Duplicate,
    /// No stream captures its subject; subscribers have got it.
    Uncaptured,
    /// No stream will ever take it.
    Refused,
}

/// The adapter is to end; readings that are not stored yet are not.
#[derive(Debug)]
pub struct Ending;

/// One adapter's way into the store.
pub struct Intake {
    client: LocalClient,
    inbox: Inbox,
    prefix: String,
    round: u64,
    captures: Captures,
    health: Arc<Health>,
    ends: watch::Receiver<bool>,
}

#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<PubError>,
}

#[derive(Deserialize)]
struct PubError {
    #[serde(default)]
    err_code: u16,
    description: String,
}

/// What is known of each reading of a batch.
#[derive(Clone, Copy, Default)]
struct Slot {
    outcome: Option<Outcome>,
    /// It has been published before, and may be on disk.
    tried: bool,
}

/// The answers of one round.
struct Tally {
    /// What was known before it.
    before: Vec<Slot>,
    /// Published, and not answered yet.
    waiting: usize,
    refused: Option<String>,
}

impl Intake {
    pub(super) fn new(account: Arc<Account>, health: Arc<Health>, ends: watch::Receiver<bool>) -> Intake {
        let captures = Captures::new(account.clone());
        let client = LocalClient::new(account);
        let prefix = new_inbox();
        let inbox = client.subscribe(&format!("{prefix}.*.*"), 2 * MAX_BATCH);
        Intake { client, inbox, prefix, round: 0, captures, health, ends }
    }

    /// Stores a batch of at most [`MAX_BATCH`] readings; returns when every one is on disk (or has no stream to go to).
    ///
    /// # Errors
    /// The adapter is told to end before that.
    pub async fn store(&mut self, batch: &[Reading]) -> Result<Vec<Outcome>, Ending> {
        let mut slots = vec![Slot::default(); batch.len()];
        let mut pause = FIRST_PAUSE;
        loop {
            let refused = self.round(batch, &mut slots).await;
            let left = slots.iter().filter(|slot| slot.outcome.is_none()).count();
            self.health.waiting.store(left as u64, Ordering::Relaxed);
            let Err(reason) = refused else {
                self.health.store(None);
                return Ok(slots.into_iter().filter_map(|slot| slot.outcome).collect());
            };
            self.health.store(Some(&reason));
            self.health.add(&self.health.retries, left as u64);
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                _ = self.ends.wait_for(|end| *end) => return Err(Ending),
            }
        }
    }

    /// Publishes what has no outcome yet and takes in the answers; an error if one was refused or not answered.
    async fn round(&mut self, batch: &[Reading], slots: &mut [Slot]) -> Result<(), String> {
        self.round += 1;
        // Known for all before any is published: an answer that fails to come must not leave half a batch on its way.
        let mut captured = Vec::with_capacity(batch.len());
        for (reading, slot) in batch.iter().zip(&*slots) {
            captured.push(slot.outcome.is_none() && self.captures.ask(&reading.subject).await?);
        }
        let mut tally = Tally { before: slots.to_vec(), waiting: 0, refused: None };
        for (at, (reading, captured)) in batch.iter().zip(captured).enumerate() {
            if slots[at].outcome.is_some() {
                continue;
            }
            let reply = if captured { format!("{}.{}.{at}", self.prefix, self.round) } else { String::new() };
            self.client.publish(&Message {
                subject: &reading.subject,
                reply: &reply,
                headers: &HeadersBuilder::new().add("Nats-Msg-Id", &reading.id).build(),
                payload: &reading.payload,
            });
            if captured {
                slots[at].tried = true;
                tally.waiting += 1;
            } else {
                slots[at].outcome = Some(Outcome::Uncaptured);
                self.health.add(&self.health.uncaptured, 1);
            }
            while let Some(answer) = self.inbox.try_next() {
                self.take_answer(&answer, batch, slots, &mut tally);
            }
            if tally.refused.is_some() {
                break;
            }
        }
        let until = Instant::now() + PATIENCE;
        while tally.waiting > 0 {
            let Ok(Some(answer)) = timeout_at(until, self.inbox.next()).await else {
                // The stream may be gone; look again before the next try.
                self.captures.forget();
                return Err("it does not answer".to_owned());
            };
            self.take_answer(&answer, batch, slots, &mut tally);
        }
        tally.refused.map_or(Ok(()), Err)
    }

    fn take_answer(&self, answer: &OwnedMessage, batch: &[Reading], slots: &mut [Slot], tally: &mut Tally) {
        let mut tokens = answer.subject.rsplit('.');
        let at = tokens.next().and_then(|t| t.parse::<usize>().ok());
        let round = tokens.next().and_then(|t| t.parse::<u64>().ok());
        let Some(at) = at.filter(|at| round == Some(self.round) && *at < batch.len()) else { return };
        // A subscriber may answer too; only the stream's word counts, and only once.
        let Ok(ack) = serde_json::from_slice::<PubAck>(&answer.payload) else { return };
        if slots[at].outcome.is_some() || ack.error.is_none() && ack.seq == 0 {
            return;
        }
        tally.waiting = tally.waiting.saturating_sub(1);
        let outcome = match ack.error {
            Some(error) if FOR_GOOD.contains(&error.err_code) => {
                let Reading { subject, payload, .. } = &batch[at];
                self.health.drop_reading(&format!("{} bytes on {subject}: {}", payload.len(), error.description));
                Outcome::Refused
            }
            Some(error) => return tally.refused = Some(error.description),
            // Of our own earlier try, whose acknowledgement came too late, or of somebody else's.
            None if ack.duplicate && !tally.before[at].tried => {
                self.health.add(&self.health.duplicates, 1);
                Outcome::Duplicate
            }
            None => {
                self.health.stored_now(1);
                Outcome::Stored
            }
        };
        slots[at].outcome = Some(outcome);
    }
}
