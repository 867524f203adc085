//! What becomes of one message that its publisher wants traced (`server/msgtrace.go`, ADR-41).

use super::router::Account;
use super::subscription::Subscription;
use crate::protocol::headers::HeadersBuilder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

/// Messages that come with the header `traceparent` of other tracing systems: where their traces are told, and of how many
/// (`msg_trace` of an account).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// The subject.
    pub dest: String,
    /// Percent.
    pub percent: u8,
}

/// That of an account.
#[derive(Default)]
pub(super) struct Sampling {
    on: AtomicBool,
    in_force: RwLock<Option<Arc<Sampled>>>,
}

impl Account {
    /// Where traces of messages with a `traceparent` are told from now on.
    pub(super) fn set_sampled(&self, sampled: Option<Sampled>) {
        let sampling = &self.sampling;
        let on = sampled.is_some();
        *sampling.in_force.write().unwrap_or_else(PoisonError::into_inner) = sampled.map(Arc::new);
        sampling.on.store(on, Ordering::Release);
    }

    /// Whether such traces are told at all: one load, for the path of messages.
    pub fn is_sampled(&self) -> bool {
        self.sampling.on.load(Ordering::Acquire)
    }

    /// Where such traces are told.
    pub fn sampled(&self) -> Option<Arc<Sampled>> {
        self.sampling.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Header that names where the trace is told.
pub const DEST: &str = "Nats-Trace-Dest";
/// In its place where a trace is switched off.
pub const DISABLED: &str = "trace disabled";
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
    /// Its account, where that is not the publisher's.
    pub account: Option<Box<str>>,
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

/// One thing that happened to a traced message.
pub enum Step {
    /// It came to somebody.
    Arrival(Arrival),
    /// It went into another account, as a request there.
    Import {
        /// That account.
        account: String,
        /// Its subject in the account that asks.
        from: String,
        /// Its subject there.
        to: String,
        /// When.
        time: SystemTime,
    },
    /// It went to a subscription of another account.
    Export {
        /// That account.
        account: String,
        /// Its subject there.
        to: String,
        /// When.
        time: SystemTime,
    },
}

/// How a subscription of another account gets a message.
pub struct Exported {
    /// That account.
    pub account: String,
    /// The message's subject there.
    pub to: String,
    /// Whether the trace goes on there (`allow_trace` of the import).
    pub traced: bool,
}

/// The way of one message.
#[derive(Default)]
pub struct Trace {
    /// The publisher's account.
    account: Box<str>,
    /// Whether it is only traced, and reaches nobody.
    pub only: bool,
    /// What happened to it, in that order.
    pub steps: Vec<Step>,
    /// How many servers it was sent on to.
    pub hops: usize,
}

impl Trace {
    /// Of a message in `account` that is delivered, or `only` traced.
    pub fn new(account: &str, only: bool) -> Self {
        Trace { account: account.into(), only, ..Trace::default() }
    }

    /// Headers of the message on its way to another server, with its number there.
    pub(super) fn next_hop(&mut self, headers: &[u8]) -> Vec<u8> {
        self.hops += 1;
        HeadersBuilder::new().copy(headers, |name| name != HOP).add(HOP, &self.hops.to_string()).build()
    }

    /// The message is a request in `account` now.
    pub(super) fn imported(&mut self, account: &str, from: &str, to: &str) {
        let (account, from, to) = (account.to_owned(), from.to_owned(), to.to_owned());
        self.steps.push(Step::Import { account, from, to, time: SystemTime::now() });
    }

    /// The message goes to a subscription of `account`.
    pub(super) fn exported(&mut self, account: &str, to: &str) {
        self.steps.push(Step::Export { account: account.to_owned(), to: to.to_owned(), time: SystemTime::now() });
    }

    /// The message has come to `party` in `account` by `sub`.
    pub(super) fn arrived(
        &mut self,
        party: Party,
        account: &str,
        sub: &Subscription,
        subject: &str,
        error: Option<Box<str>>,
    ) {
        let hop = matches!(party, Party::Leaf { traces: true, .. }).then(|| self.hops.to_string());
        self.steps.push(Step::Arrival(Arrival {
            party,
            account: (*account != *self.account).then(|| account.into()),
            id: sub.target.id().get(),
            subscribed: sub.subject().into(),
            queue: sub.queue().map(Into::into),
            subject: subject.into(),
            hop,
            error,
            time: SystemTime::now(),
        }));
    }
}

/// Headers of a message whose trace ends here.
pub fn untraced(headers: &[u8]) -> Vec<u8> {
    HeadersBuilder::new().copy(headers, |name| name != DEST).add(DEST, DISABLED).build()
}
