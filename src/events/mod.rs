//! What the server tells of itself in its system account: who connects and leaves, how it does, that it ends (nats-server
//! `events.go`). An event that nobody there listens to is not made.

mod client;
mod encoding;
mod server_info;
mod snappy;

pub use client::{ClientInfo, DataStats, Ended, MsgBytes};
pub use encoding::encode;
pub use server_info::{FeatureFlags, Identity, ServerInfo};

use crate::account::{Account, LocalClient, Message};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

/// Accounts of which the numbers have changed that may wait to be told of; what comes above that is told by the next
/// heartbeat.
const MAX_CHANGES: usize = 256;

/// The way into the system account.
pub struct Events {
    client: LocalClient,
    identity: Identity,
    /// Of the last message that was told with a [`ServerInfo`].
    sequence: AtomicU64,
    changes: mpsc::Sender<Arc<Account>>,
}

/// What every event begins with.
#[derive(Debug, Serialize)]
pub struct Typed {
    r#type: &'static str,
    id: String,
    timestamp: String,
}

impl Typed {
    /// One of `kind`, which stands behind `io.nats.server.advisory.v1.`, that happens at `time`.
    pub fn new(kind: &'static str, time: SystemTime) -> Typed {
        Typed { r#type: kind, id: id(), timestamp: timestamp(time) }
    }
}

impl Events {
    /// Into `system`, of the server that `identity` names; and the accounts of which [`Events::changed`] tells.
    pub fn new(system: Arc<Account>, identity: Identity) -> (Arc<Events>, mpsc::Receiver<Arc<Account>>) {
        let (changes, changed) = mpsc::channel(MAX_CHANGES);
        let events = Events { client: LocalClient::new(system), identity, sequence: AtomicU64::new(0), changes };
        (Arc::new(events), changed)
    }

    /// The account that is told.
    pub fn account(&self) -> &Arc<Account> {
        self.client.account()
    }

    /// Who tells.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The server as the next message names it.
    pub fn server(&self) -> ServerInfo {
        ServerInfo::new(&self.identity, self.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether anybody listens to `subject` in the system account.
    pub fn is_wanted(&self, subject: &str) -> bool {
        self.account().has_interest(subject, None)
    }

    /// Tells `event` on `subject`.
    pub fn tell(&self, subject: &str, event: &impl Serialize) {
        self.send(&self.client, subject, &[], &json(event));
    }

    /// Tells `event` in another account, if anybody listens there; compressed as the headers `asked` take it.
    pub fn tell_in(&self, account: &Arc<Account>, subject: &str, asked: &[u8], event: impl FnOnce() -> Vec<u8>) {
        if account.has_interest(subject, None) {
            let (headers, payload) = encode(asked, event());
            self.send(&LocalClient::new(account.clone()), subject, headers, &payload);
        }
    }

    /// Answers on `reply`.
    pub fn answer(&self, reply: &str, headers: &[u8], payload: &[u8]) {
        self.send(&self.client, reply, headers, payload);
    }

    fn send(&self, client: &LocalClient, subject: &str, headers: &[u8], payload: &[u8]) {
        client.publish(&Message { subject, reply: "", headers, payload });
    }

    /// The connections of `account` have become more or fewer. It is told of if anybody listens; of `$G` it never is.
    pub fn changed(&self, account: &Arc<Account>) {
        let name = account.name();
        if name != crate::account::GLOBAL_ACCOUNT && connections(name).iter().any(|subject| self.is_wanted(subject)) {
            // One that is not told waits for the heartbeat.
            let _ = self.changes.try_send(account.clone());
        }
    }

    /// The server lets its clients go.
    pub fn lame_duck(&self) {
        self.farewell("LAMEDUCK");
    }

    /// The server ends.
    pub fn shutdown(&self) {
        self.farewell("SHUTDOWN");
    }

    fn farewell(&self, what: &str) {
        let subject = format!("$SYS.SERVER.{}.{what}", self.identity.id);
        if self.is_wanted(&subject) {
            self.tell(&subject, &self.server());
        }
    }
}

/// The subjects, old and new, on which the number of connections of `account` is told.
pub fn connections(account: &str) -> [String; 2] {
    [format!("$SYS.SERVER.ACCOUNT.{account}.CONNS"), format!("$SYS.ACCOUNT.{account}.SERVER.CONNS")]
}

/// A unique id in the form of nats-server's: 22 characters.
pub fn id() -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..22).map(|_| char::from(DIGITS[fastrand::usize(..DIGITS.len())])).collect()
}

/// A point in time as nats-server writes it: RFC 3339 in UTC.
pub fn timestamp(at: SystemTime) -> String {
    // Years beyond 9999 have no RFC 3339.
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listened_to_is_told() {
        let system = Account::new("$SYS");
        let (events, mut changed) = Events::new(system.clone(), Identity { id: "ID".into(), ..Identity::default() });
        let account = Account::new("A");
        events.changed(&account);
        events.shutdown();
        assert!(changed.try_recv().is_err() && events.sequence.load(Ordering::Relaxed) == 0);
        let listener = LocalClient::new(system);
        let (mut ends, _conns) =
            (listener.subscribe("$SYS.SERVER.*.SHUTDOWN", 4), listener.subscribe("$SYS.ACCOUNT.A.>", 4));
        events.shutdown();
        let told = ends.try_next().expect("told");
        assert_eq!(&*told.subject, "$SYS.SERVER.ID.SHUTDOWN");
        assert!(std::str::from_utf8(&told.payload).is_ok_and(|text| text.contains("\"seq\":1")));
        events.changed(&account);
        events.changed(&Account::new("$G"));
        assert!(changed.try_recv().is_ok_and(|told| told.name() == "A") && changed.try_recv().is_err());
        assert!(id().len() == 22 && id() != id());
    }
}
