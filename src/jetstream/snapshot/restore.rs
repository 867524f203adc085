//! Taking a backup in: chunks come to a subject of their own, each is acknowledged when it is in hand, and the stream is
//! there when all of it is on disk (`server/jetstream_api.go`, `processStreamRestore`).

use super::archive::{self, Entry};
use super::{CONSUMERS, Numbers, STATE, files};
use crate::account::{Inbox, LocalClient, Message, OwnedMessage, new_inbox};
use crate::jetstream::config::StreamConfig;
use crate::jetstream::consumer::Snapshot;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::error::ApiError;
use crate::jetstream::manager::{JetStream, Made};
use crate::jetstream::stream::Stream;
use crate::store::Record;
use serde_json::{Value, json};
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
    wanted: Wanted,
    client: LocalClient,
    chunks: Inbox,
    subject: String,
}

/// What is to be made of a backup.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Checked.
    pub config: StreamConfig,
    /// What is before this sequence is no more.
    pub first_seq: u64,
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

pub(super) fn failed(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(500, 10062, format!("restore failed: {error}"))
}

impl Restore {
    /// Of a stream with this configuration, which was checked, and that begins at `first_seq` at the earliest.
    pub fn new(jetstream: &JetStream, config: StreamConfig, first_seq: u64) -> Self {
        let client = LocalClient::new(jetstream.account().clone());
        let subject = new_inbox().replacen("_INBOX", &format!("$JS.SNAPSHOT.RESTORE.{}", config.name), 1);
        let chunks = client.subscribe(&subject, CHUNKS);
        Restore { wanted: Wanted { config, first_seq }, client, chunks, subject }
    }

    /// Where the chunks are to be sent.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Takes the chunks in, as `who` asked; `answer` makes the answer to the last one.
    pub async fn run(
        mut self,
        jetstream: Arc<JetStream>,
        who: Value,
        answer: impl Fn(&JetStream, Result<Arc<Stream>, ApiError>) -> Vec<u8>,
    ) {
        let (name, start) = (self.wanted.config.name.clone(), Timestamp::now());
        jetstream.tell("RESTORE_CREATE", "restore_create", &name, json!({ "client": who }));
        let (total, last) = self.take(&jetstream, answer).await;
        let told = json!({ "start": start, "end": Timestamp::now(), "bytes": total, "client": who });
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
        let (owner, wanted) = (jetstream.clone(), self.wanted.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            take_in(&owner, wanted, Bytes { chunks, current: bytes::Bytes::new() })
        });
        let mut sender = Some(sender);
        loop {
            let Ok(Some(chunk)) = tokio::time::timeout(STALLED, self.chunks.next()).await else {
                tracing::warn!(stream = self.wanted.config.name, "a restore was given up: no more chunks came");
                // Without its end the backup is not taken in.
                return (total, None);
            };
            let OwnedMessage { reply, payload, .. } = chunk;
            if reply.is_empty() {
                tracing::warn!(
                    stream = self.wanted.config.name,
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
fn take_in(jetstream: &Arc<JetStream>, wanted: Wanted, bytes: Bytes) -> Result<Arc<Stream>, ApiError> {
    let mut input = minlz::Reader::new(bytes);
    let mut magic = [0; 8];
    input.read_exact(&mut magic).map_err(failed)?;
    match archive::begins(&magic) {
        true => take_archive(jetstream, wanted.config, input),
        false => files::take(jetstream, wanted, magic.chain(input)),
    }
}

fn take_archive(
    jetstream: &Arc<JetStream>,
    config: StreamConfig,
    mut input: impl Read,
) -> Result<Arc<Stream>, ApiError> {
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
    let mut made = Filling::begin(jetstream, config, numbers.first_seq)?;
    loop {
        let Entry { name, time, seq, headers, payload } = archive::read(&mut input).map_err(failed)?;
        if seq == 0 {
            match (time, headers.len() + payload.len()) {
                (0, 0) => break,
                _ => return Err(failed("a message has no sequence")),
            }
        }
        if seq <= made.last {
            return Err(failed(format!("message sequence {seq} out of order")));
        }
        made.store(seq, time, &Record { subject: &name, headers: &headers, payload: &payload })?;
    }
    let stream = made.end(numbers.last_seq)?;
    for (name, snapshot) in consumers {
        add_consumer(jetstream, &stream, &name, snapshot)?;
    }
    jetstream.store().barrier().wait().map_err(failed)?;
    Ok(stream)
}

/// Makes a consumer, or takes the stream back.
pub(super) fn add_consumer(
    jetstream: &JetStream,
    stream: &Stream,
    name: &str,
    snapshot: Snapshot,
) -> Result<(), ApiError> {
    let Err(refusal) = stream.consumers().restore(name, snapshot) else { return Ok(()) };
    jetstream.delete_stream(stream.name())?;
    Err(failed(format!("failed to add consumer {name:?}: {}", refusal.text)))
}

/// A stream whose messages come; taken back if they do not come to their end.
pub(super) struct Filling<'a> {
    jetstream: &'a Arc<JetStream>,
    /// Until it has ended.
    made: Option<Made>,
    /// The last sequence stored.
    pub last: u64,
    ahead: usize,
    total: u64,
}

impl<'a> Filling<'a> {
    pub fn begin(jetstream: &'a Arc<JetStream>, config: StreamConfig, first_seq: u64) -> Result<Self, ApiError> {
        let made = Some(jetstream.begin_restore(config)?);
        Ok(Filling { jetstream, made, last: first_seq.saturating_sub(1), ahead: 0, total: 0 })
    }

    fn made(&self) -> Result<&Made, ApiError> {
        self.made.as_ref().ok_or_else(ApiError::stream_not_found)
    }

    /// Stores a message, whose sequence is above the last one.
    pub fn store(&mut self, seq: u64, time: i64, record: &Record<'_>) -> Result<(), ApiError> {
        if !crate::subject::is_valid_literal(record.subject) {
            return Err(failed(format!("message sequence {seq} has no subject")));
        }
        let size = record.subject.len() + record.headers.len() + record.payload.len() + 32;
        self.total += size as u64;
        let made = self.made()?;
        self.jetstream.check_restore(made.storage(), self.total)?;
        made.log.append_at(seq, time, record).map_err(failed)?;
        self.last = seq;
        self.ahead += size;
        if self.ahead >= AHEAD {
            self.wait()?;
            self.ahead = 0;
        }
        Ok(())
    }

    /// Removes messages that were stored.
    pub fn remove(&self, seqs: &[u64]) -> Result<(), ApiError> {
        self.wait()?;
        self.made()?.log.remove(seqs).map(|_| ()).map_err(failed)
    }

    fn wait(&self) -> Result<(), ApiError> {
        self.jetstream.store().barrier().wait().map_err(failed)
    }

    /// Opens the stream, whose last sequence is this one.
    pub fn end(mut self, last_seq: u64) -> Result<Arc<Stream>, ApiError> {
        if self.last < last_seq {
            // The last messages were removed: their sequences are not given again.
            let removed = Record { subject: "removed", headers: &[], payload: &[] };
            self.made()?.log.append_at(last_seq, 0, &removed).map_err(failed)?;
            self.remove(&[last_seq])?;
        }
        self.wait()?;
        match self.made.take() {
            Some(made) => self.jetstream.end_restore(made),
            None => Err(ApiError::stream_not_found()),
        }
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if let Some(made) = &self.made {
            self.jetstream.abandon_restore(made.log_id());
        }
    }
}
