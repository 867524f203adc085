//! Taking a backup in: chunks come to a subject of their own, each is acknowledged when it is in hand, and the stream is
//! there when all of it is on disk (`server/jetstream_api.go`, `processStreamRestore`).

use super::archive::{self, Entry};
use super::{CONSUMERS, Numbers, STATE};
use crate::account::{Inbox, LocalClient, Message, OwnedMessage, new_inbox};
use crate::jetstream::config::StreamConfig;
use crate::jetstream::consumer::Snapshot;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::error::ApiError;
use crate::jetstream::manager::{JetStream, Made};
use crate::jetstream::stream::Stream;
use crate::store::Record;
use serde_json::json;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A restore of which nothing is heard for so long is given up.
const STALLED: Duration = Duration::from_secs(5);
/// Chunks that may wait at a time.
const CHUNKS: usize = 256;
/// Bytes that are handed to the store before they are waited for.
const AHEAD: usize = 8 << 20;

/// A restore that was asked for.
pub(in crate::jetstream) struct Restore {
    config: StreamConfig,
    client: LocalClient,
    chunks: Inbox,
    subject: String,
}

/// The chunks as one stream of bytes.
struct Bytes {
    chunks: mpsc::Receiver<bytes::Bytes>,
    current: bytes::Bytes,
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let taken = self.current.split_to(out.len().min(self.current.len()));
        out[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, 10062, format!("restore failed: {error}"))
}

impl Restore {
    /// Of a stream with this configuration, which was checked.
    pub fn new(jetstream: &JetStream, config: StreamConfig) -> Self {
        let client = LocalClient::new(jetstream.account().clone());
        let subject = new_inbox().replacen("_INBOX", &format!("$JS.SNAPSHOT.RESTORE.{}", config.name), 1);
        let chunks = client.subscribe(&subject, CHUNKS);
        Restore { config, client, chunks, subject }
    }

    /// Where the chunks are to be sent.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Takes the chunks in; `answer` makes the answer to the last one.
    pub async fn run(
        mut self,
        jetstream: Arc<JetStream>,
        answer: impl Fn(&JetStream, Result<Arc<Stream>, ApiError>) -> Vec<u8>,
    ) {
        let (name, start) = (self.config.name.clone(), Timestamp::now());
        jetstream.tell("RESTORE_CREATE", "restore_create", &name, json!({}));
        let (total, last) = self.take(&jetstream, answer).await;
        let told = json!({ "start": start, "end": Timestamp::now(), "bytes": total });
        jetstream.tell("RESTORE_COMPLETE", "restore_complete", &name, told);
        if let Some((reply, payload)) = last {
            self.tell(&reply, &payload);
        }
    }

    /// Takes the chunks in, and counts their bytes. Gives the answer to the last one, if there is one.
    async fn take(
        &mut self,
        jetstream: &Arc<JetStream>,
        answer: impl Fn(&JetStream, Result<Arc<Stream>, ApiError>) -> Vec<u8>,
    ) -> (usize, Option<(Box<str>, Vec<u8>)>) {
        let mut total = 0;
        let (sender, chunks) = mpsc::channel(4);
        let (owner, config) = (jetstream.clone(), self.config.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            take_in(&owner, config, Bytes { chunks, current: bytes::Bytes::new() })
        });
        let mut sender = Some(sender);
        loop {
            let Ok(Some(chunk)) = tokio::time::timeout(STALLED, self.chunks.next()).await else {
                tracing::warn!(stream = self.config.name, "a restore was given up: no more chunks came");
                // Without its end the backup is not taken in.
                return (total, None);
            };
            let OwnedMessage { reply, payload, .. } = chunk;
            if reply.is_empty() {
                tracing::warn!(
                    stream = self.config.name,
                    "a restore was given up: a chunk came without a reply subject"
                );
                return (total, None);
            }
            total += payload.len();
            let lost = self.chunks.dropped() > 0;
            let ended = payload.is_empty() || lost;
            let taken = match &sender {
                Some(sender) if !ended => sender.send(payload).await.is_ok(),
                _ => false,
            };
            if taken {
                self.tell(&reply, &[]);
                continue;
            }
            // It has ended, or went wrong.
            sender = None;
            let outcome = match (&mut work).await {
                Ok(outcome) if !lost => outcome,
                Ok(_) => Err(failed("more chunks came than were acknowledged")),
                Err(error) => Err(failed(error)),
            };
            drop(sender);
            return (total, Some((reply, answer(jetstream, outcome))));
        }
    }

    fn tell(&self, reply: &str, payload: &[u8]) {
        self.client.publish(&Message { subject: reply, reply: "", headers: &[], payload });
    }
}

/// Reads the backup and makes the stream. Blocks.
fn take_in(jetstream: &Arc<JetStream>, config: StreamConfig, bytes: Bytes) -> Result<Arc<Stream>, ApiError> {
    let mut input = minlz::Reader::new(bytes);
    archive::expect(&mut input).map_err(failed)?;
    let first = archive::read(&mut input).map_err(failed)?;
    if first.name != STATE {
        return Err(failed("the numbers of the stream do not come first"));
    }
    let numbers: Numbers = serde_json::from_slice(&first.payload).map_err(failed)?;
    let mut consumers = Vec::new();
    for _ in 0..numbers.consumer_count {
        let entry = archive::read(&mut input).map_err(failed)?;
        let name = entry.name.strip_prefix(CONSUMERS).ok_or_else(|| failed("a consumer is missing"))?.to_owned();
        let snapshot: Snapshot = serde_json::from_slice(&entry.payload).map_err(failed)?;
        consumers.push((name, snapshot));
    }
    let made = jetstream.begin_restore(config)?;
    if let Err(error) = fill(jetstream, &made, &numbers, &mut input) {
        jetstream.abandon_restore(made.log_id());
        return Err(error);
    }
    let stream = jetstream.end_restore(made)?;
    for (name, snapshot) in consumers {
        if let Err(refusal) = stream.consumers().restore(&name, snapshot) {
            jetstream.delete_stream(stream.name())?;
            return Err(failed(format!("failed to add consumer {name:?}: {}", refusal.text)));
        }
    }
    jetstream.store().barrier().wait().map_err(failed)?;
    Ok(stream)
}

/// Stores the messages.
fn fill(jetstream: &JetStream, made: &Made, numbers: &Numbers, input: &mut impl Read) -> Result<(), ApiError> {
    let log = &made.log;
    let (mut last, mut ahead, mut total) = (numbers.first_seq.saturating_sub(1), 0, 0u64);
    loop {
        let Entry { name, time, seq, headers, payload } = archive::read(input).map_err(failed)?;
        if seq == 0 {
            match (time, headers.len() + payload.len()) {
                (0, 0) => break,
                _ => return Err(failed("a message has no sequence")),
            }
        }
        if seq <= last {
            return Err(failed(format!("message sequence {seq} out of order")));
        }
        if !crate::subject::is_valid_literal(&name) {
            return Err(failed(format!("message sequence {seq} has no subject")));
        }
        let record = Record { subject: &name, headers: &headers, payload: &payload };
        let size = name.len() + headers.len() + payload.len() + 32;
        total += size as u64;
        jetstream.check_restore(made.storage(), total)?;
        log.append_at(seq, time, &record).map_err(failed)?;
        last = seq;
        ahead += size;
        if ahead >= AHEAD {
            jetstream.store().barrier().wait().map_err(failed)?;
            ahead = 0;
        }
    }
    if last < numbers.last_seq {
        // The last messages were removed: their sequences are not given again.
        log.append_at(numbers.last_seq, 0, &Record { subject: "removed", headers: &[], payload: &[] })
            .map_err(failed)?;
        jetstream.store().barrier().wait().map_err(failed)?;
        log.remove(&[numbers.last_seq]).map_err(failed)?;
    }
    jetstream.store().barrier().wait().map_err(failed)
}
