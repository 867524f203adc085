//! Messages of a stream that turned out damaged on disk: a gap, declared by an advisory, which consumers and the uplink pass
//! over. nats-server has no such advisory; its form is that of its own (`server/jetstream_events.go`).

use super::consumer::config::Timestamp;
use super::stream::Stream;
use crate::account::{Batch, Message, RouteCache};

/// Sequences that cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub first: u64,
    pub last: u64,
}

impl Stream {
    /// Declares the gap to whoever listens.
    pub(super) fn declare(&self, gap: Gap) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.DAMAGED.{}", self.name());
        if !self.account().has_interest(&subject, None) {
            return;
        }
        let mut advisory = serde_json::json!({
            "type": "io.leafd.jetstream.advisory.v1.stream_damaged",
            "id": format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            "timestamp": Timestamp::now(),
            "stream": self.name(),
            "first_seq": gap.first,
            "last_seq": gap.last,
            "damaged": self.log().state().damaged,
        });
        if let Some(domain) = self.domain() {
            advisory["domain"] = domain.into();
        }
        let payload = advisory.to_string();
        let message = Message { subject: &subject, reply: "", headers: &[], payload: payload.as_bytes() };
        self.account().route(self.origin(), &message, &mut RouteCache::default(), &mut Batch::default());
    }
}
