//! Who a client is and what it may do: authentication at CONNECT, permissions at each publish and subscription.
//!
//! [`Rules`] are read from a configuration and kept by the [`Authenticator`], which a reload gives new ones. A connection
//! asks them once, at CONNECT, and gets a [`Session`]: its account and its [`Permissions`]. The rules are those of
//! nats-server's `auth.go` and `client.go`. A client without permissions costs nothing here.

mod callout;
mod certificate;
mod distinguished_name;
mod jwt;
mod keys;
mod nkey;
mod operators;
mod password;
mod permissions;
mod replies;
mod resolver;
mod rules;
mod session;
mod trust;
mod trusted_account;
mod users;

pub use callout::{CalloutError, ConfiguredError};
#[cfg(fuzzing)]
pub use jwt::fuzz;
pub use keys::ServerKeys;
pub use nkey::{nonce, verifies as signature_verifies};
pub use operators::system_account;
pub use password::{Hashing, matches as password_matches};
pub use permissions::{PermissionLists, Permissions, PublishGate, ResponseLimit, SubjectPermission, bare};
pub use replies::Replies;
pub use resolver::{Outcome, Resolver, ResolverError, Tokens, is_account};
pub use rules::{Attempt, Handshake, Refusal, Rules, RulesError};
pub use session::{Ending, Labels, Limits, Session};
pub use trust::{SharedByJwt, StreamsByJwt, TrustError};
pub use users::UsersError;

use std::sync::Arc;
use tokio::sync::watch;

/// The rules in force, which connections watch.
pub struct Authenticator {
    rules: watch::Sender<Arc<Rules>>,
}

impl Authenticator {
    /// With what to begin.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Authenticator { rules: watch::Sender::new(Arc::new(rules)) })
    }

    /// The rules of now, and how they change.
    pub fn watch(&self) -> watch::Receiver<Arc<Rules>> {
        self.rules.subscribe()
    }

    /// Other rules from now on; connections that they would not let in end.
    pub fn replace(&self, rules: Rules) {
        self.rules.send_replace(Arc::new(rules));
    }
}
