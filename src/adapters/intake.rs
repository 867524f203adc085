//! From readings to the store: publishes them and waits until they are on disk.
//!
//! Readings go in batches, in their order; one sync serves a batch. If the store refuses some (a full disk, a full
//! stream), the whole batch is left to settle, and then those that were refused are published again, in their order, after
//! a pause. The source waits meanwhile, so memory is bounded by one batch. A commit that fails takes everything staged
//! behind it along, so order is kept; only a reading refused by itself while a later one of the same batch was taken
//! would come after that one.

use super::status::Health;
use crate::account::{Account, Inbox, LocalClient, Message, RequestError, new_inbox};
use crate::protocol::headers::HeadersBuilder;
use bytes::Bytes;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Most readings in a batch.
pub const MAX_BATCH: usize = 256;
/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long it is believed that a subject is captured, or is not.
const BELIEF: Duration = Duration::from_secs(10);
/// Most subjects remembered.
const MAX_SUBJECTS: usize = 4096;

/// A reading.
#[derive(Clone, Debug)]
pub struct Reading {
    /// A valid literal subject.
    pub subject: String,
    /// What was read.
    pub payload: Bytes,
    /// By which a repetition is recognised.
    pub id: Option<String>,
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
    captured: HashMap<String, (bool, Instant)>,
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
    description: String,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
    error: Option<PubError>,
}

impl Intake {
    pub(super) fn new(account: Arc<Account>, health: Arc<Health>, ends: watch::Receiver<bool>) -> Intake {
        let client = LocalClient::new(account);
        let prefix = new_inbox();
        let inbox = client.subscribe(&format!("{prefix}.*.*"), 2 * MAX_BATCH);
        Intake { client, inbox, prefix, round: 0, captured: HashMap::new(), health, ends }
    }

    /// Stores a batch of at most [`MAX_BATCH`] readings; returns when every one is on disk (or has no stream to go to).
    ///
    /// # Errors
    /// The adapter is told to end before that.
    pub async fn store(&mut self, batch: &[Reading]) -> Result<Vec<Outcome>, Ending> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut pause = FIRST_PAUSE;
        let mut tried = vec![false; batch.len()];
        loop {
            let open: Vec<usize> = (0..batch.len()).filter(|at| outcomes[*at].is_none()).collect();
            if open.is_empty() {
                self.health.set("ok");
                return Ok(outcomes.into_iter().flatten().collect());
            }
            if let Err(reason) = self.round(batch, &open, &mut tried, &mut outcomes).await {
                self.health.set(&format!("waiting for the store: {reason}"));
                let left = outcomes.iter().filter(|o| o.is_none()).count();
                self.health.add(&self.health.retries, left as u64);
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    _ = self.ends.wait_for(|end| *end) => return Err(Ending),
                }
            }
        }
    }

    /// Publishes those at `open` and takes in the answers; an error if one was refused or not answered.
    async fn round(
        &mut self,
        batch: &[Reading],
        open: &[usize],
        tried: &mut [bool],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(), String> {
        self.round += 1;
        let mut waiting = 0;
        // Known for all before any is published: an answer that fails to come must not leave half a batch on its way.
        let mut capturing = Vec::with_capacity(open.len());
        for &at in open {
            capturing.push(self.is_captured(&batch[at].subject).await?);
        }
        let again = tried.to_vec();
        for (&at, captured) in open.iter().zip(capturing) {
            let reading = &batch[at];
            tried[at] |= captured;
            let reply = if captured { format!("{}.{}.{at}", self.prefix, self.round) } else { String::new() };
            let headers = reading.id.as_ref().map(|id| HeadersBuilder::new().add("Nats-Msg-Id", id).build());
            self.client.publish(&Message {
                subject: &reading.subject,
                reply: &reply,
                headers: headers.as_deref().unwrap_or_default(),
                payload: &reading.payload,
            });
            if captured {
                waiting += 1;
            } else {
                outcomes[at] = Some(Outcome::Uncaptured);
                self.health.add(&self.health.uncaptured, 1);
            }
        }
        let until = Instant::now() + PATIENCE;
        let mut refused = None;
        while waiting > 0 {
            let Ok(Some(answer)) = timeout_at(until, self.inbox.next()).await else {
                // The stream may be gone; look again before the next try.
                self.captured.clear();
                return Err("it does not answer".to_owned());
            };
            let mut tokens = answer.subject.rsplit('.');
            let at = tokens.next().and_then(|t| t.parse::<usize>().ok());
            let round = tokens.next().and_then(|t| t.parse::<u64>().ok());
            let Some(slot) = at.filter(|_| round == Some(self.round)).and_then(|at| outcomes.get_mut(at)) else {
                continue;
            };
            waiting -= 1;
            match serde_json::from_slice::<PubAck>(&answer.payload) {
                Ok(PubAck { error: None, seq: 1.., duplicate }) => {
                    // Of our own earlier try, whose acknowledgement came too late, or of somebody else's.
                    let duplicate = duplicate && !at.is_some_and(|at| again[at]);
                    *slot = Some(if duplicate { Outcome::Duplicate } else { Outcome::Stored });
                    let counter = if duplicate { &self.health.duplicates } else { &self.health.stored };
                    self.health.add(counter, 1);
                }
                Ok(PubAck { error: Some(error), .. }) => refused = Some(error.description),
                _ => refused = Some("its answer is no acknowledgement".to_owned()),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Whether some stream captures `subject`; an error if that cannot be told now.
    async fn is_captured(&mut self, subject: &str) -> Result<bool, String> {
        if let Some((captured, since)) = self.captured.get(subject)
            && since.elapsed() < BELIEF
            && *captured
        {
            return Ok(true);
        }
        let ask = serde_json::json!({ "subject": subject }).to_string();
        let answer = self.client.request("$JS.API.STREAM.NAMES", b"", ask.as_bytes(), PATIENCE).await;
        let captured = match answer {
            Ok(answer) => match serde_json::from_slice::<Names>(&answer.payload) {
                Ok(Names { error: None, streams }) => streams.is_some_and(|streams| !streams.is_empty()),
                _ => return Err("it does not say which streams there are".to_owned()),
            },
            // Without JetStream there is no stream.
            Err(RequestError::NoResponders(_)) => false,
            Err(RequestError::TimedOut(_)) => return Err("it does not answer".to_owned()),
        };
        if !captured && self.captured.get(subject).is_none_or(|(before, _)| *before) {
            tracing::warn!("no stream captures {subject}: readings on it are delivered live only, and not stored");
        }
        if self.captured.len() >= MAX_SUBJECTS {
            self.captured.clear();
        }
        self.captured.insert(subject.to_owned(), (captured, Instant::now()));
        Ok(captured)
    }
}
