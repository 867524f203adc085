//! Sending a backup: chunks to the deliver subject, as many ahead of their acknowledgements as the window allows
//! (`server/jetstream_api.go`, `streamSnapshot`).

use super::archive;
use super::{CONSUMERS, STATE};
use crate::account::{Inbox, LocalClient, Message, new_inbox};
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::info::StreamInfo;
use crate::jetstream::manager::JetStream;
use crate::jetstream::stream::Stream;
use crate::protocol::headers::HeadersBuilder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long an acknowledgement may take, and how long a receiver that is not there yet is waited for.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const INTEREST_TIMEOUT: Duration = Duration::from_secs(2);

/// What a backup is asked for with.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::jetstream) struct Request {
    pub deliver_subject: String,
    no_consumers: bool,
    chunk_size: i64,
    window_size: i64,
    /// Every record is checked as it is read; here always.
    jsck: bool,
}

/// A backup that is about to be sent.
pub(in crate::jetstream) struct Backup {
    stream: Arc<Stream>,
    info: StreamInfo,
    request: Request,
}

/// Sends what is written in chunks.
struct Chunks<'a> {
    client: &'a LocalClient,
    runtime: &'a Handle,
    deliver: &'a str,
    ack_prefix: &'a str,
    acks: Inbox,
    /// How many more may be sent before an acknowledgement must come.
    room: usize,
    index: usize,
    buffer: Vec<u8>,
    size: usize,
}

impl Chunks<'_> {
    fn send(&mut self) -> io::Result<()> {
        if !self.client.account().has_interest(self.deliver, None) {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "No Interest"));
        }
        while self.acks.try_next().is_some() {
            self.room += 1;
        }
        while self.room == 0 {
            let acks = &mut self.acks;
            let ack = self.runtime.block_on(async { tokio::time::timeout(ACK_TIMEOUT, acks.next()).await });
            match ack {
                Ok(Some(_)) => self.room += 1,
                _ => return Err(io::Error::new(io::ErrorKind::TimedOut, "No Flow Response")),
            }
        }
        self.room -= 1;
        self.index += 1;
        let reply = format!("{}.{}.{}", self.ack_prefix, self.buffer.len(), self.index);
        self.publish(&reply, &[], &self.buffer);
        self.buffer.clear();
        Ok(())
    }

    fn publish(&self, reply: &str, headers: &[u8], payload: &[u8]) {
        self.client.publish(&Message { subject: self.deliver, reply, headers, payload });
    }

    /// The rest, without an acknowledgement, and how it ended.
    fn end(&mut self, outcome: &io::Result<()>) {
        let status = match outcome {
            Ok(()) => HeadersBuilder::with_status(204, ""),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotConnected | io::ErrorKind::TimedOut) => {
                HeadersBuilder::with_status(408, &error.to_string())
            }
            Err(error) => HeadersBuilder::with_status(500, &error.to_string()),
        };
        if outcome.is_ok() && !self.buffer.is_empty() {
            self.publish("", &[], &self.buffer);
        }
        self.publish("", &status.build(), &[]);
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.size - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == self.size {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Backup {
    /// Of the stream as it is now.
    pub fn new(stream: Arc<Stream>, info: StreamInfo, request: Request) -> Self {
        Backup { stream, info, request }
    }

    /// What is told before it is sent.
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    /// Sends it, as `who` asked. Blocks, on a thread of `runtime`.
    pub fn send(self, jetstream: &JetStream, who: &Value, runtime: &Handle) {
        let (stream, start) = (self.stream.name(), Timestamp::now());
        jetstream.tell(
            "SNAPSHOT_CREATE",
            "snapshot_create",
            stream,
            json!({ "state": self.info.state, "client": who }),
        );
        let within = |size: i64, normal: usize, most: usize| match usize::try_from(size) {
            Ok(0) => normal,
            size => size.unwrap_or(0).clamp(1024, most),
        };
        let size = within(self.request.chunk_size, 128 << 10, 1 << 20);
        let window = within(self.request.window_size, 8 << 20, 32 << 20).max(size);
        let client = LocalClient::new(self.stream.account().clone());
        let ack_prefix = new_inbox().replacen("_INBOX", &format!("$JS.SNAPSHOT.ACK.{}", self.stream.name()), 1);
        let mut chunks = Chunks {
            deliver: &self.request.deliver_subject,
            acks: client.subscribe(&format!("{ack_prefix}.>"), window / size + 1),
            ack_prefix: &ack_prefix,
            room: window / size,
            index: 0,
            buffer: Vec::with_capacity(size),
            size,
            runtime,
            client: &client,
        };
        self.wait_for_interest(runtime);
        let outcome = self.write(&mut chunks);
        chunks.end(&outcome);
        let mut told = json!({ "start": start, "end": Timestamp::now(), "client": who });
        if let Err(error) = &outcome {
            told["error"] = error.to_string().to_lowercase().into();
        }
        jetstream.tell("SNAPSHOT_COMPLETE", "snapshot_complete", stream, told);
        match outcome {
            Ok(()) => tracing::info!(stream, messages = self.info.state.messages, "backed up"),
            Err(error) => tracing::warn!(stream, %error, "the backup was not taken to its end"),
        }
    }

    /// Clients in Go subscribe after the answer, to a subject that the wildcard for their answers takes in: what came before
    /// would be lost there.
    fn wait_for_interest(&self, runtime: &Handle) {
        let account = self.stream.account();
        let there = async {
            while !account.has_literal_interest(&self.request.deliver_subject) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = runtime.block_on(async { tokio::time::timeout(INTEREST_TIMEOUT, there).await });
    }

    fn write(&self, chunks: &mut Chunks<'_>) -> io::Result<()> {
        let mut out = minlz::Writer::new(chunks);
        let now = self.info.ts.0;
        archive::begin(&mut out)?;
        let consumers = match self.request.no_consumers {
            true => Vec::new(),
            false => self.stream.consumers().states(self.info.state.last_seq),
        };
        let mut state = serde_json::to_value(&self.info.state)?;
        state["consumer_count"] = consumers.len().into();
        archive::write(&mut out, STATE, (now, 0), &[], state.to_string().as_bytes())?;
        for consumer in consumers {
            let name = format!("{CONSUMERS}{}", consumer.config.name);
            archive::write(&mut out, &name, (now, 0), &[], &serde_json::to_vec(&consumer)?)?;
        }
        let mut reader = self.stream.log().reader();
        reader.seek(self.info.state.first_seq);
        while let Some(stored) = reader.next(&|_| true).map_err(io::Error::other)? {
            if stored.seq > self.info.state.last_seq {
                break;
            }
            archive::write(&mut out, &stored.subject, (stored.time, stored.seq), &stored.headers, &stored.payload)?;
        }
        // Without this one it is not whole.
        archive::write(&mut out, "", (0, 0), &[], &[])?;
        out.flush()
    }
}
