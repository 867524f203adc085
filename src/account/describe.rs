//! What a service is told of who asks, where the import shares it.

use super::{Account, TargetId};
use serde_json::{Map, Value};
use std::sync::Weak;

/// Knows the connections behind targets. Asked while a request is routed: takes no lock that is held while messages are
/// delivered.
pub trait Describe: Send + Sync {
    /// What is told of a connection and its server (nats-server `client.go`, `getClientInfo`); `None` if it is no client.
    fn describe(&self, id: TargetId) -> Option<Map<String, Value>>;
}

impl Account {
    /// Has `who` describe those who ask from here; the first one stays.
    pub(super) fn described_by(&self, who: Weak<dyn Describe>) {
        let _ = self.who.set(who);
    }

    /// What services are told of the connection `id`; nothing of what is no client.
    pub fn describe(&self, id: TargetId) -> Map<String, Value> {
        let who = self.who.get().and_then(Weak::upgrade);
        who.and_then(|who| who.describe(id)).unwrap_or_default()
    }
}
