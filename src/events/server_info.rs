//! How messages of the system account name the server that they come from.

use crate::protocol::NATS_VERSION;
use serde::Serialize;
use std::time::SystemTime;

/// Capability that the server has JetStream; of the others, which are about clusters, leafd has none.
const JETSTREAM: u64 = 1;

/// Which server this is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The configured name.
    pub name: String,
    /// Host that clients connect to, as configured.
    pub host: String,
    /// Unique id of this process.
    pub id: String,
    /// JetStream domain.
    pub domain: Option<String>,
    /// Whether JetStream is on.
    pub jetstream: bool,
}

/// The server that a message comes from (nats-server `ServerInfo`).
#[derive(Clone, Debug, Serialize)]
pub struct ServerInfo {
    name: String,
    host: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    ver: &'static str,
    feature_flags: FeatureFlags,
    jetstream: bool,
    flags: u64,
    seq: u64,
    time: String,
}

/// Behaviour of JetStream that nats-server 2.15 has switches for; what leafd does is what all of them off means.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FeatureFlags {
    js_ack_fc_v2: bool,
    js_api_reply_v2: bool,
    js_raft_delete_range: bool,
    js_snapshot_sources: bool,
}

impl ServerInfo {
    /// Of a message with the number `seq` that is sent now.
    pub(super) fn new(identity: &Identity, seq: u64) -> ServerInfo {
        ServerInfo {
            name: identity.name.clone(),
            host: identity.host.clone(),
            id: identity.id.clone(),
            domain: identity.domain.clone(),
            ver: NATS_VERSION,
            feature_flags: FeatureFlags::default(),
            jetstream: identity.jetstream,
            flags: if identity.jetstream { JETSTREAM } else { 0 },
            seq,
            time: super::timestamp(SystemTime::now()),
        }
    }
}
