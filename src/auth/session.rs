//! Who a client has been found to be.

use super::Permissions;
use super::operators::OperatorKeys;
use super::trusted_account::TrustedAccount;
use super::users::User;
use crate::account::Account;
use crate::config::auth::AuthCalloutConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What authentication has come to; it holds until the next CONNECT.
#[derive(Clone)]
pub struct Session {
    /// Whose subjects it uses.
    pub account: Arc<Account>,
    /// What it may do there; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
    /// Name or public nkey; empty if nobody asked.
    pub user: Box<str>,
    /// What else it is bound to.
    pub limits: Limits,
    /// How long it may stay from now on, and what it is told then.
    pub ends: Option<(Duration, Ending)>,
    /// What monitoring tells of it; `None` for who has neither nkey nor JWT.
    pub labels: Option<Arc<Labels>>,
    pub(super) source: Source,
}

/// What monitoring and events tell of a user with an nkey (nats-server `events.go`, `ClientInfo`).
#[derive(Debug, Default)]
pub struct Labels {
    /// Public nkey of the signing key, else the account's name.
    pub issuer_key: String,
    /// Words about it.
    pub tags: Vec<String>,
    /// What its JWT calls it.
    pub user_name: String,
    /// Name of the account, for people.
    pub account_name: String,
    /// Whether its JWT alone lets its bearer in, so that it is shown to nobody.
    pub bearer: bool,
}

impl Labels {
    /// Of a user of the configuration.
    pub(super) fn of_account(name: &str) -> Labels {
        Labels { issuer_key: name.to_owned(), account_name: name.to_owned(), ..Labels::default() }
    }
}

/// Bounds of a client; `None` is none but the server's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Its subscriptions.
    pub subscriptions: Option<usize>,
    /// Bytes of its messages, headers included.
    pub payload: Option<usize>,
    /// Connections of its account.
    pub connections: Option<usize>,
}

/// What has come to its end when a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The user's JWT, or its hours.
    User,
    /// The account's JWT.
    Account,
}

impl Ending {
    /// What the client is told.
    pub fn text(self) -> &'static str {
        match self {
            Ending::User => "User Authentication Expired",
            Ending::Account => "Account Authentication Expired",
        }
    }
}

/// By what a client was let in, to see after a reload whether it still would be.
#[derive(Clone)]
pub(super) enum Source {
    /// No credentials are needed.
    Anybody,
    /// `token`, or the only `user`.
    Single,
    /// One of the users listed.
    User(Arc<User>),
    /// A JWT.
    Jwt(ByJwt),
    /// The service that this configuration names; what it said holds until then.
    Callout { config: Arc<AuthCalloutConfig>, until: Option<(Instant, Ending)> },
}

/// Whose JWTs let a user in.
#[derive(Clone)]
pub struct ByJwt {
    /// The operators of then.
    pub(super) operators: Arc<OperatorKeys>,
    /// Its account, and the one whose service was asked about it.
    pub(super) accounts: Vec<Arc<TrustedAccount>>,
    /// Public nkey of who signed the user's JWT.
    pub(super) signer: String,
    /// When it ends.
    pub(super) until: Option<(Instant, Ending)>,
}

impl Session {
    /// Anybody, in `account`.
    pub fn anybody(account: &Arc<Account>) -> Session {
        Session::new(account, "", Source::Anybody)
    }

    /// Whoever knows the only password or token.
    pub(super) fn single(account: &Arc<Account>, user: &str) -> Session {
        Session::new(account, user, Source::Single)
    }

    /// A user of the configuration.
    pub(super) fn of(user: &Arc<User>) -> Session {
        let (permissions, limits, labels) = (user.permissions.clone(), user.limits, user.labels.clone());
        Session { permissions, limits, labels, ..Session::new(&user.account, &user.name, Source::User(user.clone())) }
    }

    /// A user by its JWT.
    pub(super) fn jwt(
        account: &Arc<Account>,
        permissions: Option<Arc<Permissions>>,
        user: &str,
        limits: Limits,
        ends: Option<(Duration, Ending)>,
        by: ByJwt,
        labels: Labels,
    ) -> Session {
        let labels = Some(Arc::new(labels));
        Session { permissions, limits, ends, labels, ..Session::new(account, user, Source::Jwt(by)) }
    }

    /// The same, which also holds only as long as `jwt` does.
    pub(super) fn also_by(mut self, jwt: &Arc<TrustedAccount>) -> Session {
        if let Source::Jwt(by) = &mut self.source {
            by.accounts.push(jwt.clone());
        }
        self
    }

    /// A user that the service of `config` has named.
    pub(super) fn by_callout(
        account: &Arc<Account>,
        permissions: Option<Arc<Permissions>>,
        user: &str,
        limits: Limits,
        ends: Option<(Duration, Ending)>,
        config: Arc<AuthCalloutConfig>,
    ) -> Session {
        let until = ends.map(|(left, ending)| (Instant::now() + left, ending));
        let source = Source::Callout { config, until };
        Session { permissions, limits, ends, ..Session::new(account, user, source) }
    }

    /// The same, as it is now with that end.
    pub(super) fn with_end(&self, until: Option<(Instant, Ending)>) -> Session {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        Session { ends: until.map(|(end, ending)| (left(end), ending)), ..self.clone() }
    }

    fn new(account: &Arc<Account>, user: &str, source: Source) -> Session {
        let (account, limits) = (account.clone(), Limits::default());
        Session { account, permissions: None, user: user.into(), limits, ends: None, labels: None, source }
    }
}
