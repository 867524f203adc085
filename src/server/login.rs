//! Authentication of one connection: at CONNECT, when the rules change, and when its time is over.

use super::connection::Connection;
use super::listener::Shared;
use super::outbound::CloseReason;
use super::websocket::Visitor;
use crate::account::RouteCache;
use crate::auth::{Attempt, PublishGate, Rules, Session, nonce};
use crate::config::auth::ConnectionType;
use crate::protocol::Connect;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// Where a connection stands.
pub(super) struct Login {
    kind: ConnectionType,
    visitor: Option<Visitor>,
    /// The nonce in its INFO; empty where nobody has to sign one.
    pub nonce: String,
    /// Whether INFO says that credentials are needed.
    pub required: bool,
    /// Whether it has yet to say who it is, before anything else.
    pub waiting: bool,
    /// By when that must have happened; later, when it must be over.
    pub deadline: Option<Instant>,
    /// A CONNECT has been accepted.
    pub accepted: bool,
    /// A CONNECT to be looked at.
    pub asked: Option<Connect>,
    /// Who it is before CONNECT.
    pub session: Arc<Session>,
    pub rules: watch::Receiver<Arc<Rules>>,
}

impl Login {
    /// A connection that has just come in.
    pub fn new(shared: &Shared, kind: ConnectionType) -> Login {
        let rules = shared.authenticator.watch();
        let now = rules.borrow().clone();
        let required = now.required();
        Login {
            kind,
            visitor: None,
            nonce: if now.wants_nonce() { nonce().unwrap_or_default() } else { String::new() },
            required,
            waiting: required,
            deadline: None,
            accepted: false,
            asked: None,
            session: Arc::new(Session::anybody(shared.accounts.global())),
            rules,
        }
    }

    /// The connection is open, by the request of a `visitor` where it is a WebSocket; the client's time to say who
    /// it is begins.
    pub fn begin(&mut self, visitor: Option<Visitor>) {
        self.visitor = visitor;
        let timeout = self.rules.borrow().timeout();
        self.deadline = self.waiting.then(|| Instant::now() + timeout);
    }
}

impl Connection {
    /// The first byte of the first operation, when that has to be CONNECT. Where there is a `no_auth_user`, anything
    /// else makes the client that user.
    pub(super) fn first_operation(&mut self, byte: u8) -> Result<(), CloseReason> {
        if matches!(byte, b'C' | b'c') {
            return Ok(());
        }
        let rules = self.login.rules.borrow().clone();
        match rules.without_connect(self.login.kind) {
            Some(session) => {
                self.become_user(session);
                Ok(())
            }
            None => Err(self.violation("CONNECT must come first")),
        }
    }

    /// Checks the credentials of a CONNECT and takes over what it says.
    pub(super) async fn log_in(&mut self, mut connect: Connect) -> Result<(), CloseReason> {
        // A second CONNECT may lead into another account; nothing of the first one's stays behind.
        self.client.close();
        if let Some(visitor) = &self.login.visitor {
            visitor.complete(&mut connect);
        }
        let rules = self.login.rules.borrow_and_update().clone();
        let attempt = Attempt { connect: &connect, nonce: &self.login.nonce, kind: self.login.kind };
        match rules.authenticate(&attempt).await {
            Ok(session) => self.become_user(session),
            Err(refusal) => return Err(self.violation(&refusal.to_string())),
        }
        if connect.new_account || connect.account.as_ref().is_some_and(|account| !account.is_empty()) {
            return Err(self.violation("CONNECT asks for an account by name"));
        }
        self.connected(connect)
    }

    /// The rules have changed: the client stays if it would be let in again, and with what it may do by now.
    pub(super) async fn renew(&mut self) -> Result<(), CloseReason> {
        if self.login.waiting {
            return Ok(());
        }
        let rules = self.login.rules.borrow_and_update().clone();
        let attempt = Attempt { connect: &self.connect, nonce: &self.login.nonce, kind: self.login.kind };
        let session = match rules.renew(&self.session, &attempt).await {
            Ok(session) => session,
            Err(refusal) => return Err(self.violation(&refusal.to_string())),
        };
        if !Arc::ptr_eq(&session.account, &self.session.account) {
            return Err(CloseReason::AccountChanged);
        }
        self.become_user(session);
        for sub in self.client.prune() {
            let (subject, sid) = (&sub.subject, &sub.sid);
            self.refuse(&match &sub.queue {
                None => format!("Permissions Violation for Subscription to {subject:?} (sid {sid:?})"),
                Some(queue) => {
                    format!("Permissions Violation for Subscription to {subject:?} using queue {queue:?} (sid {sid:?})")
                }
            });
        }
        Ok(())
    }

    fn become_user(&mut self, session: Session) {
        let session = Arc::new(session);
        self.login.waiting = false;
        self.login.deadline = None;
        self.gate = session.permissions.clone().map(PublishGate::new);
        if !Arc::ptr_eq(&session.account, &self.session.account) {
            // What it remembers is of another account's subscriptions.
            self.cache = RouteCache::default();
        }
        self.client.become_user(session.clone());
        self.session = session;
    }

    fn violation(&self, why: &str) -> CloseReason {
        let user = self.connect.user.as_deref().unwrap_or_default();
        tracing::warn!("client {} {user:?} is not let in: {why}", self.client.id.get());
        self.refuse("Authorization Violation");
        CloseReason::AuthenticationFailure
    }

    /// After the first PONG, a client that understands it is told where it is (nats-server `client.go`, `processPing`).
    pub(super) fn connect_info(&mut self) {
        if self.connect.protocol < 1 {
            return;
        }
        let Some(mut info) = self.info.take() else { return };
        let account = &self.session.account;
        info.remote_account = account.name().to_owned();
        info.acc_is_sys = Arc::ptr_eq(account, self.shared.accounts.system());
        info.connect_info = true;
        self.client.tell(&info.line());
    }
}
