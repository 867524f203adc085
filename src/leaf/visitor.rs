//! What the system account is told of a leaf that connects to us (nats-server `events.go`, `accountConnectEvent`).

use super::auth::LeafConnect;
use super::peer::Peer;
use crate::events::{ClientInfo, Ended, MsgBytes};
use crate::server::outbound::CloseReason;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// A leaf that was let in.
pub(super) struct Visitor {
    pub peer: Arc<Peer>,
    pub connect: LeafConnect,
    /// Ours that it is joined to.
    pub account: String,
    /// The user it has shown.
    pub user: String,
    /// Where it connected from.
    pub address: SocketAddr,
}

impl Visitor {
    /// Who it is; it `came` then.
    pub fn info(&self, came: SystemTime) -> ClientInfo {
        let account = self.account.clone();
        ClientInfo {
            start: Some(came),
            host: self.address.ip().to_string(),
            id: self.peer.id.get(),
            acc: account.clone(),
            user: self.user.clone(),
            name: self.connect.name.clone(),
            version: self.connect.version.clone(),
            jwt: self.connect.jwt.clone(),
            name_tag: account,
            kind: "Leafnode",
            ..ClientInfo::default()
        }
    }

    /// What it has done, and `why` it has ended.
    pub fn ended(&self, came: SystemTime, why: &CloseReason) -> Ended {
        let crossed = self.peer.connection(String::new(), None, None, "");
        Ended {
            client: ClientInfo { stop: Some(SystemTime::now()), ..self.info(came) },
            sent: MsgBytes { msgs: crossed.received, bytes: crossed.received_bytes },
            received: MsgBytes { msgs: crossed.sent, bytes: crossed.sent_bytes },
            reason: why.to_string(),
        }
    }
}
