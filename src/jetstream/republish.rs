//! Republishing: what a stream has stored is published again on a subject made from the original one, with headers that
//! tell where it stands (`server/stream.go`, `RePublish`). Clients follow a stream that way without a consumer.

use super::config::StreamConfig;
use super::consumer::config::Timestamp;
use crate::account::{Message, OwnedMessage};
use crate::protocol::headers::HeadersBuilder;
use crate::store::Record;
use crate::subject::{self, Transform};

/// Makes the copies.
pub(super) struct Republisher {
    stream: String,
    transform: Transform,
    headers_only: bool,
}

impl Republisher {
    /// For a stream that republishes.
    pub fn of(config: &StreamConfig) -> Option<Self> {
        let republish = config.republish.as_ref()?;
        let transform = Transform::new(&republish.source, &republish.destination).ok()?;
        Some(Republisher { stream: config.name.clone(), transform, headers_only: republish.headers_only })
    }

    /// The copy of a message that got `seq`; `last` is its subject's sequence before. `None` if it is not for elsewhere,
    /// or what becomes of its subject is none.
    pub fn copy(&self, record: &Record<'_>, seq: u64, last: u64) -> Option<OwnedMessage> {
        let target = self.transform.apply(record.subject).filter(|target| subject::is_valid_literal(target))?;
        let time = serde_json::to_value(Timestamp::now()).unwrap_or_default();
        let mut headers = HeadersBuilder::new()
            .copy(record.headers, |_| true)
            .add("Nats-Stream", &self.stream)
            .add("Nats-Subject", record.subject)
            .add("Nats-Sequence", &seq.to_string())
            .add("Nats-Time-Stamp", time.as_str().unwrap_or_default())
            .add("Nats-Last-Sequence", &last.to_string());
        let mut payload = record.payload;
        if self.headers_only {
            headers = headers.add("Nats-Msg-Size", &payload.len().to_string());
            payload = &[];
        }
        Some(Message { subject: &target, reply: "", headers: &headers.build(), payload }.to_owned())
    }
}
