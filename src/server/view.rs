//! The client side as monitoring sees it.

use super::listener::{ServerStatus, Shared};
use super::outbound::CloseReason;
use super::registry::AccountTotals;
use super::snapshot::{ClientSnapshot, Totals};
use super::websocket::WebSocket;
use crate::auth::Session;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A handle to look at the client side with.
#[derive(Clone)]
pub struct View {
    shared: Arc<Shared>,
    websocket: Option<Arc<WebSocket>>,
}

impl View {
    pub(super) fn new(shared: Arc<Shared>, websocket: Option<Arc<WebSocket>>) -> View {
        View { shared, websocket }
    }

    /// Counters of now.
    pub fn status(&self) -> ServerStatus {
        self.shared.status()
    }

    /// Where WebSocket clients connect.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.websocket.as_ref().map(|websocket| websocket.address())
    }

    /// When the certificate that clients are shown is over.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.shared.tls.current()?.expires
    }

    /// The same of WebSocket clients.
    pub fn websocket_certificate_expires(&self) -> Option<SystemTime> {
        self.websocket.as_ref()?.certificate_expires()
    }

    /// The clients connected now, with at most `list` subscriptions each. Those whose round trip is not known are pinged,
    /// so that it is the next time (nats-server `getRTT`).
    pub fn open(&self, list: usize) -> Vec<ClientSnapshot> {
        let clients = self.shared.registry.clients();
        for client in clients.iter().filter(|client| client.about.wants_ping()) {
            client.about.pinged();
            client.tell(b"PING\r\n");
        }
        clients.iter().map(|client| client.snapshot(list)).collect()
    }

    /// Who the client with the number `cid` is, and how long it may still stay, if that is bounded.
    pub fn session(&self, cid: u64) -> Option<(Arc<Session>, Option<Duration>)> {
        let client = self.shared.registry.client(cid)?;
        Some((client.session(), client.time_left()))
    }

    /// Ends the connection `cid`; whether there is one.
    pub fn kick(&self, cid: u64) -> bool {
        let client = self.shared.registry.client(cid);
        client.iter().for_each(|client| client.out.close(CloseReason::Kicked));
        client.is_some()
    }

    /// Asks the connection `cid` to go elsewhere. `None` if there is none, else whether it understands that.
    pub fn lame_duck(&self, cid: u64) -> Option<bool> {
        let client = self.shared.registry.client(cid)?;
        let understands = client.about.takes_info();
        if understands {
            client.tell(&self.shared.farewell(&client).line());
        }
        Some(understands)
    }

    /// The last clients that ended.
    pub fn closed(&self) -> Vec<ClientSnapshot> {
        self.shared.registry.closed()
    }

    /// What crossed, by account, of all clients since the start.
    pub fn accounts(&self) -> BTreeMap<String, AccountTotals> {
        self.shared.registry.accounts()
    }

    /// What crossed, of all clients since the start.
    pub fn totals(&self) -> Totals {
        let mut all = Totals::default();
        self.accounts().values().for_each(|account| all += account.totals);
        all
    }
}
