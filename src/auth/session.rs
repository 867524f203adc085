//! Who a client has been found to be.

use super::Permissions;
use super::users::User;
use crate::account::Account;
use std::sync::Arc;

/// What authentication has come to; it holds until the next CONNECT.
pub struct Session {
    /// Whose subjects it uses.
    pub account: Arc<Account>,
    /// What it may do there; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
    /// Name or public nkey; empty if nobody asked.
    pub user: Box<str>,
    pub(super) source: Source,
}

/// By what a client was let in, to see after a reload whether it still would be.
pub(super) enum Source {
    /// No credentials are needed.
    Anybody,
    /// `token`, or the only `user`.
    Single,
    /// One of the users listed.
    User(Arc<User>),
}

impl Session {
    /// Anybody, in `account`.
    pub fn anybody(account: &Arc<Account>) -> Session {
        Session { account: account.clone(), permissions: None, user: "".into(), source: Source::Anybody }
    }

    /// Whoever knows the only password or token.
    pub(super) fn single(account: &Arc<Account>, user: &str) -> Session {
        Session { account: account.clone(), permissions: None, user: user.into(), source: Source::Single }
    }

    pub(super) fn of(user: &Arc<User>) -> Session {
        Session {
            account: user.account.clone(),
            permissions: user.permissions.clone(),
            user: user.name.clone(),
            source: Source::User(user.clone()),
        }
    }
}
