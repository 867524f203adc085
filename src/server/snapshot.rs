//! What monitoring is told of a client.

use super::client::Client;
use super::label::Names;
use super::outbound::CloseReason;
use super::tls::TlsSession;
use super::websocket::Visitor;
use crate::account::Subscription;
use crate::auth::Labels;
use crate::protocol::Connect;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What is noted of a client for monitoring, beside what serving it needs.
pub(super) struct About {
    pub address: SocketAddr,
    pub websocket: bool,
    /// For the log.
    pub names: Names,
    started: SystemTime,
    since: Instant,
    /// Milliseconds after `since` when it last sent CONNECT, a message, or a change of its subscriptions.
    last: AtomicU64,
    said: Mutex<Said>,
    /// When a PING went out whose PONG tells the round trip.
    pinged: Mutex<Option<Instant>>,
    /// The last round trip in nanoseconds; before the first, the time until CONNECT; 0 before that.
    rtt: AtomicU64,
    /// Whether a PONG has told the round trip.
    measured: AtomicBool,
    /// Whether its first PING has been answered.
    pub answered: AtomicBool,
    pub stalls: AtomicU64,
}

#[derive(Clone, Default)]
struct Said {
    user: String,
    protocol: i32,
    name: String,
    lang: String,
    version: String,
    jwt: Option<String>,
}

impl About {
    /// As it called itself.
    pub fn name(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).name.clone()
    }

    /// Of a client that has come from `address`, by a `visitor`'s request where it is a WebSocket.
    pub fn new(address: SocketAddr, visitor: Option<&Visitor>) -> About {
        About {
            address,
            websocket: visitor.is_some(),
            names: Names::new(visitor.and_then(|visitor| visitor.forwarded_for)),
            started: SystemTime::now(),
            since: Instant::now(),
            last: AtomicU64::new(0),
            said: Mutex::default(),
            pinged: Mutex::default(),
            rtt: AtomicU64::new(0),
            measured: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            stalls: AtomicU64::new(0),
        }
    }

    /// It has sent a message, or a change of its subscriptions: pings and their answers are no activity.
    pub fn touch(&self) {
        self.last.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long after it came it was last active, `delivered` being when it was last sent a message.
    fn last(&self, delivered: Option<Instant>) -> Duration {
        let sent = Duration::from_millis(self.last.load(Ordering::Relaxed));
        delivered.map_or(sent, |at| at.saturating_duration_since(self.since).max(sent))
    }

    /// It has said who it is, which is not believed yet.
    pub fn connected(&self, connect: &Connect) {
        self.touch();
        let first = (self.since.elapsed().as_nanos() as u64).max(1);
        let _ = self.rtt.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let token = given(&connect.auth_token).map(|_| "[REDACTED]".to_owned());
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Said {
            user: given(&connect.nkey).or(given(&connect.user)).or(token).unwrap_or_default(),
            protocol: connect.protocol,
            name: connect.name.clone(),
            lang: connect.lang.clone(),
            version: connect.version.clone(),
            jwt: connect.jwt.clone().filter(|jwt| !jwt.is_empty()),
        };
    }

    /// A PING goes out.
    pub fn pinged(&self) {
        *self.pinged.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// A PONG came.
    pub fn ponged(&self) {
        if let Some(at) = self.pinged.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.rtt.store((at.elapsed().as_nanos() as u64).max(1), Ordering::Relaxed);
            self.measured.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it understands an INFO that comes unasked for, and has been served so far that one may come.
    pub fn takes_info(&self) -> bool {
        let protocol = self.said.lock().unwrap_or_else(PoisonError::into_inner).protocol;
        protocol >= 1 && self.answered.load(Ordering::Relaxed)
    }

    /// Whether a PING has to go out to learn the round trip: not to those who say nothing of themselves.
    pub fn wants_ping(&self) -> bool {
        !self.measured.load(Ordering::Relaxed)
            && self.pinged.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && !self.said.lock().unwrap_or_else(PoisonError::into_inner).lang.is_empty()
    }
}

/// Messages and bytes (headers and payload) of clients, and what went wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Messages from clients.
    pub in_msgs: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Messages to clients.
    pub out_msgs: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Times a client had to wait for a slow one.
    pub stalls: u64,
    /// Clients given up because they did not answer.
    pub stale: u64,
    /// Clients cut off because they did not read.
    pub slow: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, more: Totals) {
        self.in_msgs += more.in_msgs;
        self.in_bytes += more.in_bytes;
        self.out_msgs += more.out_msgs;
        self.out_bytes += more.out_bytes;
        self.stalls += more.stalls;
        self.stale += more.stale;
        self.slow += more.slow;
    }
}

/// One client at one moment, or at its end.
#[derive(Clone, Debug)]
pub struct ClientSnapshot {
    /// Number of the connection.
    pub cid: u64,
    /// Whether it is a leaf node's.
    pub leaf: bool,
    /// Whether it came by WebSocket.
    pub websocket: bool,
    /// The other end.
    pub address: SocketAddr,
    /// When it came.
    pub started: SystemTime,
    /// When it last sent CONNECT, a message or a change of its subscriptions, or was sent a message (nats-server `client.go`,
    /// `readLoop` and `flushClients`).
    pub last: SystemTime,
    /// When and why it ended.
    pub stopped: Option<(SystemTime, CloseReason)>,
    /// Last round trip.
    pub rtt: Option<Duration>,
    /// Bytes that wait to be sent.
    pub pending: usize,
    /// What crossed.
    pub totals: Totals,
    /// Name that the application gave itself.
    pub name: String,
    /// Client library's language.
    pub lang: String,
    /// Client library's version.
    pub version: String,
    /// What its TLS handshake came to.
    pub tls: Option<TlsSession>,
    /// Its user; empty if nobody asked.
    pub user: String,
    /// Its account.
    pub account: String,
    /// Its JWT.
    pub jwt: Option<String>,
    /// What its user's nkey or JWT tells of it.
    pub labels: Option<Arc<Labels>>,
    /// Number of its subscriptions.
    pub subscriptions: usize,
    /// Which; empty unless asked for.
    pub list: Vec<SubscriptionSnapshot>,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionSnapshot {
    /// Its subject.
    pub subject: String,
    /// Its queue group.
    pub queue: Option<String>,
    /// The subscriber's id of it.
    pub sid: String,
    /// Messages delivered.
    pub delivered: u64,
    /// After how many it ends; 0: never.
    pub limit: u64,
    /// Number of the subscriber's connection.
    pub cid: u64,
}

impl SubscriptionSnapshot {
    /// Of `sub` now.
    pub fn of(sub: &Subscription) -> SubscriptionSnapshot {
        SubscriptionSnapshot {
            subject: sub.subject().to_string(),
            queue: sub.queue().map(str::to_owned),
            sid: sub.sid().to_string(),
            delivered: sub.delivered(),
            limit: sub.limit(),
            cid: sub.target.id().get(),
        }
    }
}

impl Client {
    /// What crossed so far.
    pub fn totals(&self) -> Totals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (out_msgs, out_bytes) = self.out.messages();
        Totals {
            in_msgs: count(&self.in_msgs),
            in_bytes: count(&self.in_bytes),
            out_msgs,
            out_bytes,
            stalls: count(&self.about.stalls),
            ..Totals::default()
        }
    }

    /// What it is now, with at most `list` of its subscriptions.
    pub fn snapshot(&self, list: usize) -> ClientSnapshot {
        let about = &self.about;
        let said = about.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (session, subs): (_, Vec<Arc<Subscription>>) = (self.session(), self.list_subscriptions());
        ClientSnapshot {
            cid: self.id.get(),
            leaf: false,
            websocket: about.websocket,
            address: about.address,
            started: about.started,
            last: about.started + about.last(self.out.last_message()),
            stopped: None,
            rtt: Some(about.rtt.load(Ordering::Relaxed)).filter(|rtt| *rtt > 0).map(Duration::from_nanos),
            pending: self.out.waiting(),
            totals: self.totals(),
            name: said.name,
            lang: said.lang,
            version: said.version,
            tls: self.tls.clone(),
            user: if session.user.is_empty() { said.user } else { session.user.to_string() },
            account: session.account.name().to_owned(),
            jwt: said.jwt,
            labels: session.labels.clone(),
            subscriptions: subs.len(),
            list: subs.iter().take(list).map(|sub| SubscriptionSnapshot::of(sub)).collect(),
        }
    }
}
