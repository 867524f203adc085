//! What clients may use, which a reload can change.

use super::listener::Listening;
use super::outbound::CloseReason;
use crate::protocol::Limits;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Bounds of all clients.
#[derive(Clone, Debug)]
pub struct ClientLimits {
    /// Of the parser.
    pub protocol: Limits,
    /// Clients at a time.
    pub max_connections: usize,
    /// Bytes that may wait for one client before it is cut off as a slow consumer.
    pub max_pending: usize,
    /// How long a write may make no progress.
    pub write_deadline: Duration,
    /// Idle time after which a client is pinged.
    pub ping_interval: Duration,
    /// Unanswered pings after which it is given up.
    pub ping_max: u32,
    /// Subscriptions of one client; 0: no bound.
    pub max_subscriptions: usize,
}

/// Those in force, which connections watch.
pub(super) struct InForce(watch::Sender<Arc<ClientLimits>>);

impl InForce {
    pub fn new(limits: ClientLimits) -> InForce {
        InForce(watch::Sender::new(Arc::new(limits)))
    }

    pub fn now(&self) -> Arc<ClientLimits> {
        self.0.borrow().clone()
    }

    /// Those of now, and what tells of others.
    pub fn watch(&self) -> watch::Receiver<Arc<ClientLimits>> {
        self.0.subscribe()
    }
}

impl Listening {
    /// Other limits from now on: `max_pending` and `write_deadline` for clients to come, the others for what comes from those
    /// who are here too. Those above `max_connections` are closed, the last to come first;
    /// nats-server chooses at random (`reload.go`, `maxConnOption`).
    pub fn set_limits(&self, limits: ClientLimits) {
        let most = limits.max_connections;
        if let Some(websocket) = self.websocket() {
            websocket.set_max_payload(limits.protocol.payload);
        }
        self.shared.limits.0.send_replace(Arc::new(limits));
        let clients = self.shared.registry.clients();
        for client in clients.iter().skip(most) {
            client.tell(b"-ERR 'maximum connections exceeded'\r\n");
            client.out.close(CloseReason::MaxConnections);
        }
        if clients.len() > most {
            tracing::info!("Closed {} connections to fall within max_connections", clients.len() - most);
        }
    }
}
