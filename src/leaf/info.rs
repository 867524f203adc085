//! INFO between servers on a leaf connection (nats-server `server.go`, `Info`, the fields that matter here).

use crate::auth::SubjectPermission;
use serde::{Deserialize, Serialize};

/// What the accepting side says of itself, first and again whenever it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeafInfo {
    /// Unique id of the process.
    pub server_id: String,
    /// The configured name.
    pub server_name: String,
    /// Its version.
    pub version: String,
    /// The name of its cluster; absent where it is alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Protocol level.
    pub proto: i32,
    /// Host of the listener.
    pub host: String,
    /// Port of the listener.
    pub port: u16,
    /// Whether HMSG is understood.
    pub headers: bool,
    /// Whether CONNECT must carry credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// TLS begins right after this line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    /// Largest message it takes, bytes.
    pub max_payload: i64,
    /// Whether JetStream is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jetstream: bool,
    /// Number of the connection; a leafnode port always gives one.
    pub client_id: u64,
    /// To be signed by who shows an nkey or a JWT.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// JetStream domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Further addresses; only the leafnode port sends it, even when empty.
    pub leafnode_urls: Option<Vec<String>>,
    /// The same of its websocket ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ws_connect_urls: Option<Vec<String>>,
    /// About to shut down.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    /// A second INFO answers CONNECT.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub info_on_connect: bool,
    /// This is that second one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub connect_info: bool,
    /// Mode of compression: what the sender would do, and in its next INFO what it does.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    /// Account that the connection is bound to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// What the receiver of this INFO may take in from the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import: Option<SubjectPermission>,
    /// What the receiver of this INFO may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<SubjectPermission>,
}

impl LeafInfo {
    /// Whether a message that is refused for its `Nats-Expected-Last-Msg-Id` does no harm there. A replicated stream of
    /// nats-server 2.14 and 2.15 takes the refusal for a failed write and stops on all its nodes (jetstream_cluster.go,
    /// `applyStreamMsgOp`); a node without a cluster has none. A version that is not understood counts as such a one.
    pub fn takes_chains(&self) -> bool {
        let mut numbers = self.version.split('.').map(str::parse::<u32>);
        let known = numbers.next().and_then(Result::ok).zip(numbers.next().and_then(Result::ok));
        self.cluster.is_empty() || known.is_some_and(|version| version < (2, 14))
    }

    /// The line as sent, CRLF included.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"INFO ".to_vec();
        // A struct of strings, numbers and lists always serialises.
        let _ = serde_json::to_writer(&mut line, self);
        line.extend_from_slice(b"\r\n");
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_for_hubs_that_survive_a_refusal() {
        for (cluster, version, takes) in [
            ("", "2.15.1", true),
            ("c", "2.12.8", true),
            ("c", "2.10.26", true),
            ("c", "2.14.0-RC.1", false),
            ("c", "2.15.1", false),
            ("c", "3.0.0", false),
            ("c", "", false),
        ] {
            let info = LeafInfo { cluster: cluster.into(), version: version.into(), ..LeafInfo::default() };
            assert_eq!(info.takes_chains(), takes, "{cluster:?} {version:?}");
        }
    }
}
