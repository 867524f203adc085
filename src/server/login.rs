//! Authentication of one connection: at CONNECT, when the rules change, and when its time is over.

use super::connection::Connection;
use super::label::User;
use super::listener::Shared;
use super::outbound::CloseReason;
use super::websocket::Visitor;
use crate::account::{RouteCache, Seat};
use crate::auth::{self, Attempt, Handshake, PublishGate, Refusal, Rules, Session, nonce};
use crate::config::auth::ConnectionType;
use crate::protocol::{Connect, Info};
use std::net::IpAddr;
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
    /// What it is told when its time is over.
    ending: Option<auth::Ending>,
    peer: IpAddr,
    seat: Option<Seat>,
}

impl Login {
    /// A connection that has just come in.
    pub fn new(shared: &Shared, kind: ConnectionType, peer: IpAddr) -> Login {
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
            ending: None,
            peer,
            seat: None,
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
            Some(session) => self.become_user(session),
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
        self.client.about.connected(&connect);
        let rules = self.login.rules.borrow_and_update().clone();
        let attempt = self.attempt(&connect);
        match rules.authenticate(&attempt).await {
            Ok(session) => {
                self.become_user(session)?;
                self.client.about.names.let_in(&connect, &self.session);
                self.shared.tell_connected(&self.client);
            }
            Err(refusal) => return Err(self.violation(&format!("{}: {refusal}", User::of(&connect)))),
        }
        if connect.new_account || connect.account.as_ref().is_some_and(|account| !account.is_empty()) {
            return Err(self.violation("CONNECT asks for an account by name"));
        }
        self.connected(connect)
    }

    fn attempt<'a>(&'a self, connect: &'a Connect) -> Attempt<'a> {
        let tls = self.client.tls.as_ref().map(|tls| Handshake {
            version: tls.version,
            cipher_suite: &tls.cipher_suite,
            certificates: &tls.certificates,
        });
        let login = &self.login;
        let (nonce, kind, from) = (&*login.nonce, login.kind, login.peer);
        Attempt { connect, nonce, kind, from, client: self.client.id.get(), tls }
    }

    /// The rules have changed: the client stays if it would be let in again, and with what it may do by now.
    pub(super) async fn renew(&mut self) -> Result<(), CloseReason> {
        if self.login.waiting {
            return Ok(());
        }
        let rules = self.login.rules.borrow_and_update().clone();
        let attempt = self.attempt(&self.connect);
        let session = match rules.renew(&self.session, &attempt).await {
            Ok(session) => session,
            // nats-server lets those go without a word.
            Err(Refusal::Gone) => return Err(CloseReason::AccountChanged),
            Err(Refusal::Issuer) => return Err(CloseReason::AuthenticationFailure),
            Err(Refusal::Revoked) => {
                self.refuse("User Authentication Revoked");
                return Err(CloseReason::Revocation);
            }
            Err(Refusal::Account) => {
                self.refuse(auth::Ending::Account.text());
                return Err(CloseReason::AuthenticationExpired);
            }
            Err(refusal) => return Err(self.violation(&refusal.to_string())),
        };
        if !Arc::ptr_eq(&session.account, &self.session.account) {
            return Err(CloseReason::AccountChanged);
        }
        self.become_user(session)?;
        for sub in self.client.prune() {
            let (subject, sid) = (sub.subject(), sub.sid());
            self.refuse(&match sub.queue() {
                None => format!("Permissions Violation for Subscription to {subject:?} (sid {sid:?})"),
                Some(queue) => {
                    format!("Permissions Violation for Subscription to {subject:?} using queue {queue:?} (sid {sid:?})")
                }
            });
        }
        Ok(())
    }

    fn become_user(&mut self, session: Session) -> Result<(), CloseReason> {
        let session = Arc::new(session);
        let seated = self.login.seat.as_ref().is_some_and(|seat| Arc::ptr_eq(seat.account(), &session.account));
        if !seated {
            self.leave();
            self.login.seat = session.account.enter(self.client.id.get(), session.limits.connections);
        }
        if self.login.seat.as_ref().is_none_or(|seat| seat.is_beyond(session.limits.connections)) {
            self.refuse("maximum account active connections exceeded");
            return Err(CloseReason::MaxAccountConnections);
        }
        self.login.waiting = false;
        self.login.deadline = session.ends.map(|(left, _)| Instant::now() + left);
        self.login.ending = session.ends.map(|(_, ending)| ending);
        self.gate = session.permissions.clone().map(PublishGate::new);
        if !Arc::ptr_eq(&session.account, &self.session.account) {
            // What it remembers is of another account's subscriptions.
            self.cache = RouteCache::default();
        }
        self.take_limits(&session);
        self.client.become_user(session.clone());
        if !seated {
            self.shared.events.changed(&session.account);
        }
        self.session = session;
        match self.has_room() {
            true => Ok(()),
            false => Err(CloseReason::MaxSubscriptions),
        }
    }

    /// The server's limits of now, as far as `session` may use them.
    fn take_limits(&mut self, session: &Session) {
        let limits = self.server_limits.borrow_and_update();
        (self.limits, self.max_subscriptions) = (limits.protocol, limits.max_subscriptions);
        self.limits.payload = self.limits.payload.min(session.limits.payload.unwrap_or(usize::MAX));
    }

    /// What has come in is judged by what is in force by now: who never pauses would not hear of it otherwise.
    pub(super) async fn keep_up(&mut self) -> Result<(), CloseReason> {
        if self.server_limits.has_changed().unwrap_or(false) {
            self.take_limits(&self.session.clone());
        }
        if self.login.rules.has_changed().unwrap_or(false) {
            self.renew().await?;
        }
        match self.login.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(self.overdue()),
            _ => Ok(()),
        }
    }

    /// Whether it may have one more subscription; says so if not.
    pub(super) fn has_room(&self) -> bool {
        let server = Some(self.max_subscriptions).filter(|limit| *limit != 0);
        let limits = [self.session.limits.subscriptions, server];
        let room = limits.into_iter().flatten().min().is_none_or(|limit| self.client.subscriptions() < limit);
        if !room {
            self.refuse("maximum subscriptions exceeded");
        }
        room
    }

    /// Its time is over: that for saying who it is, or that which its JWT gave it.
    pub(super) fn overdue(&self) -> CloseReason {
        match self.login.ending {
            None => {
                self.refuse("Authentication Timeout");
                CloseReason::AuthenticationTimeout
            }
            Some(ending) => {
                self.refuse(ending.text());
                CloseReason::AuthenticationExpired
            }
        }
    }

    /// Gives its place in its account back.
    pub(super) fn leave(&mut self) {
        if let Some(seat) = self.login.seat.take() {
            let account = seat.account().clone();
            drop(seat);
            self.shared.events.changed(&account);
        }
    }

    fn violation(&self, why: &str) -> CloseReason {
        tracing::error!("{} - authentication error - {why}", self.client.label());
        self.refuse("Authorization Violation");
        self.shared.tell_refused(&self.client, &CloseReason::AuthenticationFailure);
        CloseReason::AuthenticationFailure
    }

    /// With the first PONG, a client that understands it is told where it is (nats-server `client.go`, `processPing`). nats.js
    /// takes what comes later than that PONG as news of the server.
    pub(super) fn connect_info(&mut self) -> Option<Info> {
        if self.connect.protocol < 1 {
            return None;
        }
        let mut info = self.info.take()?;
        let account = &self.session.account;
        info.remote_account = account.name().to_owned();
        info.acc_is_sys = Arc::ptr_eq(account, self.shared.accounts.system());
        info.max_payload = self.limits.payload;
        info.connect_info = true;
        Some(*info)
    }
}
