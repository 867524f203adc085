//! What becomes of one message that its publisher wants traced (`server/msgtrace.go`, ADR-41).

use super::subscription::Subscription;
use crate::protocol::headers::HeadersBuilder;
use std::time::SystemTime;

/// Header that tells the servers of a message's way apart.
const HOP: &str = "Nats-Trace-Hop";

/// Why a traced message was not delivered somewhere, in nats-server's words.
pub(super) const NO_ECHO: &str = "Not delivered because of no echo";
pub(super) const DENIED: &str = "Not delivered because subscription denies this subject";
pub(super) const CLOSED: &str = "Not delivered because subscription is closed";
pub(super) const NO_TRACE_ONLY: &str = "Not delivered because remote does not support message tracing";
pub(super) const NO_TRACE: &str =
    "Message delivered but remote does not support message tracing so no trace event generated from there";

/// Who a traced message comes to, as its trace names it.
pub enum Party {
    /// A client.
    Client {
        /// As it called itself.
        name: String,
    },
    /// Another server, by a leaf connection.
    Leaf {
        /// The server's name.
        name: String,
        /// Whether it traces the message further, so that one that is only traced may be sent to it.
        traces: bool,
    },
    /// A stream.
    Stream {
        /// The stream's name.
        name: String,
    },
}

/// One party that a traced message came to, or would have.
pub struct Arrival {
    /// Who.
    pub party: Party,
    /// The connection's number.
    pub id: u64,
    /// What was subscribed to.
    pub subscribed: Box<str>,
    /// The queue group for which it was chosen.
    pub queue: Option<Box<str>>,
    /// The subject it came on.
    pub subject: Box<str>,
    /// The number that the message was given on its way to another server.
    pub hop: Option<String>,
    /// Why it was not taken.
    pub error: Option<Box<str>>,
    /// When.
    pub time: SystemTime,
}

/// The way of one message.
#[derive(Default)]
pub struct Trace {
    /// Whether it is only traced, and reaches nobody.
    pub only: bool,
    /// Where it came to, in that order.
    pub arrivals: Vec<Arrival>,
    /// How many servers it was sent on to.
    pub hops: usize,
}

impl Trace {
    /// Of a message that is delivered, or `only` traced.
    pub fn new(only: bool) -> Self {
        Trace { only, ..Trace::default() }
    }

    /// Headers of the message on its way to another server, with its number there.
    pub(super) fn next_hop(&mut self, headers: &[u8]) -> Vec<u8> {
        self.hops += 1;
        HeadersBuilder::new().copy(headers, |name| name != HOP).add(HOP, &self.hops.to_string()).build()
    }

    /// The message has come to `party` by `sub`.
    pub(super) fn arrived(&mut self, party: Party, sub: &Subscription, subject: &str, error: Option<Box<str>>) {
        let hop = matches!(party, Party::Leaf { traces: true, .. }).then(|| self.hops.to_string());
        self.arrivals.push(Arrival {
            party,
            id: sub.target.id().get(),
            subscribed: sub.subject().into(),
            queue: sub.queue().map(Into::into),
            subject: subject.into(),
            hop,
            error,
            time: SystemTime::now(),
        });
    }
}
