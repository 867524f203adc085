//! Clients and leafs that connect, leave and are turned away.

use super::{Events, ServerInfo, Typed, timestamp};
use crate::account::{Account, GLOBAL_ACCOUNT};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const CONNECTED: &str = "io.nats.server.advisory.v1.client_connect";
const DISCONNECTED: &str = "io.nats.server.advisory.v1.client_disconnect";
/// Where an account is told of those who were not let into it.
const REFUSED: &str = "$SYS.ACCOUNT.CLIENT.AUTH.ERR";

/// A connection (nats-server `ClientInfo`).
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClientInfo {
    /// When it came.
    #[serde(serialize_with = "as_timestamp")]
    pub start: Option<SystemTime>,
    /// Its address.
    pub host: String,
    /// Its number.
    pub id: u64,
    /// Its account.
    pub acc: String,
    /// Its user; empty if nobody asked.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Name that the application gave itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Client library's language.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    /// Client library's version.
    #[serde(rename = "ver", skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Last round trip; told in nanoseconds.
    #[serde(serialize_with = "as_nanoseconds", skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Duration>,
    /// When it ended.
    #[serde(serialize_with = "as_timestamp", skip_serializing_if = "Option::is_none")]
    pub stop: Option<SystemTime>,
    /// Its JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    /// Public nkey of who signed it, or its account's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer_key: String,
    /// The account's name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    /// Words about its user.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `Client` or `Leafnode`.
    pub kind: &'static str,
    /// `nats` or `websocket`; nothing for a leaf.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub client_type: &'static str,
}

fn as_timestamp<S: serde::Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(timestamp).serialize(serializer)
}

fn as_nanoseconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).serialize(serializer)
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MsgBytes {
    /// Messages.
    pub msgs: u64,
    /// Bytes of headers and payload.
    pub bytes: u64,
}

/// What has crossed (nats-server `DataStats`).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DataStats {
    /// Altogether.
    #[serde(flatten)]
    pub all: MsgBytes,
    /// By gateways, of which there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateways: Option<MsgBytes>,
    /// By routes, of which there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<MsgBytes>,
    /// By leaf connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leafs: Option<MsgBytes>,
}

impl From<MsgBytes> for DataStats {
    fn from(all: MsgBytes) -> DataStats {
        DataStats { all, ..DataStats::default() }
    }
}

#[derive(Serialize)]
struct Connected {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    client: ClientInfo,
}

#[derive(Serialize)]
struct Disconnected {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    client: ClientInfo,
    sent: DataStats,
    received: DataStats,
    reason: String,
}

/// A connection at its end.
pub struct Ended {
    /// Which; `stop` is set.
    pub client: ClientInfo,
    /// What it sent.
    pub sent: MsgBytes,
    /// What it was sent.
    pub received: MsgBytes,
    /// Why.
    pub reason: String,
}

impl Events {
    /// A connection was let into `account`; `client` says which, if anybody wants to know.
    pub fn connected(&self, account: &str, client: impl FnOnce() -> ClientInfo) {
        let subject = format!("$SYS.ACCOUNT.{account}.CONNECT");
        if self.is_wanted(&subject) {
            let typed = Typed::new(CONNECTED, SystemTime::now());
            self.tell(&subject, &Connected { typed, server: self.server(), client: client() });
        }
    }

    /// A connection of `account` has ended.
    pub fn disconnected(&self, account: &str, ended: impl FnOnce() -> Ended) {
        let subject = format!("$SYS.ACCOUNT.{account}.DISCONNECT");
        if self.is_wanted(&subject) {
            self.tell(&subject, &self.end(ended()));
        }
    }

    /// A connection was not let in. Without an account of its own it is one of `$G`, as nats-server has it.
    pub fn refused(&self, global: &Arc<Account>, ended: impl Fn() -> Ended) {
        debug_assert_eq!(global.name(), GLOBAL_ACCOUNT);
        let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", self.identity().id);
        if self.is_wanted(&subject) {
            self.tell(&subject, &self.end(ended()));
        }
        self.tell_in(global, REFUSED, &[], || super::json(&self.end(ended())));
    }

    fn end(&self, ended: Ended) -> Disconnected {
        Disconnected {
            typed: Typed::new(DISCONNECTED, ended.client.stop.unwrap_or_else(SystemTime::now)),
            server: self.server(),
            client: ended.client,
            sent: ended.sent.into(),
            received: ended.received.into(),
            reason: ended.reason,
        }
    }
}
