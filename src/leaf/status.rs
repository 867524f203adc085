//! What `leafd status` shows of a link.

use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether a link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected; dialling goes on.
    Down {
        /// Since when.
        since: SystemTime,
        /// Why.
        reason: String,
        /// When the next dial begins; `None` while one is under way.
        next_dial: Option<SystemTime>,
    },
    /// Connected, and interest is exchanged.
    Up {
        /// Since when.
        since: SystemTime,
        /// Name of the hub's node.
        hub_name: String,
        /// Where it was dialled.
        hub_url: String,
        /// Grows with each connection.
        session: u64,
    },
}

impl LinkState {
    /// Whether messages can cross.
    pub fn is_up(&self) -> bool {
        matches!(self, LinkState::Up { .. })
    }
}

/// A snapshot of one link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    /// The configured name.
    pub name: String,
    /// Whether messages can cross.
    pub up: bool,
    /// Seconds since 1970 when it came up or went down.
    pub since: u64,
    /// Why it is down; empty when up.
    pub reason: String,
    /// Seconds since 1970 of the next dial, when one is waited for.
    pub next_dial: Option<u64>,
    /// Name of the hub's node; empty before the first connection.
    pub hub_name: String,
    /// Its version.
    pub hub_version: String,
    /// Its JetStream domain.
    pub hub_domain: String,
    /// Where it was dialled.
    pub hub_url: String,
    /// How the connection is compressed, in nats-server's words.
    pub compression: &'static str,
    /// Last round trip, milliseconds.
    pub rtt_ms: Option<f64>,
    /// Messages sent, live and by uplinks.
    pub sent: u64,
    /// Their bytes of headers and payload.
    pub sent_bytes: u64,
    /// Messages received.
    pub received: u64,
    /// Their bytes of headers and payload.
    pub received_bytes: u64,
    /// Connections after the first.
    pub reconnects: u64,
    /// Live messages not sent: too much waiting, or larger than the hub takes.
    pub dropped: u64,
    /// Messages of the hub that the import list does not allow.
    pub refused: u64,
    /// Subjects of ours that the hub has been told of.
    pub interest: usize,
    /// Bytes waiting to be sent.
    pub waiting_bytes: usize,
    /// Subjects that may cross to the hub now.
    pub export: Vec<String>,
    /// Subjects that may come from the hub now.
    pub import: Vec<String>,
}

/// A leaf connection that is up, towards a hub or from a leaf, as monitoring shows it.
#[derive(Clone, Debug)]
pub struct LeafConnection {
    /// Number of the connection.
    pub id: u64,
    /// Name of the server at its other end.
    pub name: String,
    /// Whether the other end is a hub.
    pub is_spoke: bool,
    /// Our account.
    pub account: String,
    /// The other end.
    pub address: Option<SocketAddr>,
    /// How it is compressed, in nats-server's words.
    pub compression: &'static str,
    /// Last round trip, if it has been measured.
    pub rtt: Option<Duration>,
    /// When it came, and when a message last crossed or the other end last changed its interest.
    pub since: (SystemTime, SystemTime),
    /// Version of the server at its other end, where that has connected to us.
    pub version: String,
    /// The user that it has shown us.
    pub user: String,
    /// Bytes that wait to be sent.
    pub pending: usize,
    /// Messages sent. Of a link to a hub since the start, over all its connections.
    pub sent: u64,
    /// Their bytes of headers and payload.
    pub sent_bytes: u64,
    /// Messages received, likewise.
    pub received: u64,
    /// Their bytes of headers and payload.
    pub received_bytes: u64,
    /// What the other end subscribes to.
    pub subscriptions: Vec<String>,
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
