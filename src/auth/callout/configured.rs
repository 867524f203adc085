//! `auth_callout` of the configuration: one service for all who are not among its own users.

use super::{Answer, Asker, CalloutError, SUBJECT, Service};
use crate::account::{Account, Accounts, GLOBAL_ACCOUNT};
use crate::auth::jwt::valid_for;
use crate::auth::rules::{Attempt, Refusal};
use crate::auth::session::{Ending, Session};
use crate::auth::users::{Place, Users};
use crate::auth::{Permissions, nkey};
use crate::config::auth::{AuthCalloutConfig, ConnectionType};
use crate::protocol::Connect;
use nkeys::{KeyPairType, XKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// What is wrong with `auth_callout`.
#[derive(Debug, thiserror::Error)]
pub enum ConfiguredError {
    /// Not an account's key.
    #[error("[authorization] auth_callout.issuer: {0:?} is not a public account nkey (they begin with A)")]
    Issuer(String),
    /// Not a curve key.
    #[error("[authorization] auth_callout.xkey: {0:?} is not a public curve key (they begin with X)")]
    Xkey(String),
    /// There is no such account.
    #[error("[authorization] auth_callout.account: there is no account {0:?}")]
    Account(String),
    /// Nobody who could be the service.
    #[error("[authorization] auth_callout.auth_users is empty: the service itself could not connect")]
    Users,
}

/// The service, and what it may do.
pub struct Configured {
    config: Arc<AuthCalloutConfig>,
    account: Arc<Account>,
    xkey: Option<XKey>,
    places: BTreeMap<String, Place>,
    asker: Asker,
}

impl Configured {
    /// Reads what `config` says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(
        config: &AuthCalloutConfig,
        accounts: &Accounts,
        users: &Users,
        asker: Asker,
    ) -> Result<Configured, ConfiguredError> {
        if !nkey::is_public(&config.issuer, KeyPairType::Account) {
            return Err(ConfiguredError::Issuer(config.issuer.clone()));
        }
        let xkey = config.xkey.as_ref().map(|key| {
            XKey::from_public_key(key).map_err(|_| ConfiguredError::Xkey(key.clone())) //
        });
        let name = config.account.as_deref().unwrap_or(GLOBAL_ACCOUNT);
        let account = accounts.get(name).ok_or_else(|| ConfiguredError::Account(name.to_owned()))?;
        if config.auth_users.is_empty() {
            return Err(ConfiguredError::Users);
        }
        for user in config.auth_users.iter().filter(|user| users.get(user).is_none()) {
            tracing::error!("[authorization] auth_callout.auth_users: there is no user {user:?}");
        }
        let config = Arc::new(config.clone());
        Ok(Configured { config, account, xkey: xkey.transpose()?, places: users.places.clone(), asker })
    }

    /// What becomes of a client that the users of the configuration made `own` of.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn decide(
        &self,
        own: Result<Session, Refusal>,
        attempt: &Attempt<'_>,
        connect: &Connect,
        known_as: &str,
    ) -> Result<Session, Refusal> {
        if let Ok(session) = &own
            && !matches!(attempt.kind, ConnectionType::Leafnode | ConnectionType::LeafnodeWs)
            && !self.delegates(session.account.name())
        {
            return own;
        }
        let session = match self.is_auth_user(known_as) {
            true => own?,
            false => {
                let subject = &*self.config.issuer;
                let service = Service { account: &self.account, subject, xkey: self.xkey.as_ref() };
                let answer = self.asker.ask(&service, attempt, connect, known_as).await;
                self.admit(answer.map_err(Refusal::Callout)?, attempt, known_as)?
            }
        };
        match Arc::ptr_eq(&session.account, &self.account) {
            true => without_requests(session),
            false => Ok(session),
        }
    }

    /// Whether the service has nothing to say about `user`.
    pub fn is_auth_user(&self, user: &str) -> bool {
        self.config.auth_users.iter().any(|name| name == user)
    }

    /// Whether users of this account are asked about.
    fn delegates(&self, account: &str) -> bool {
        let allowed = &self.config.allowed_accounts;
        account == GLOBAL_ACCOUNT || allowed.is_empty() || allowed.iter().any(|name| name == account)
    }

    fn admit(&self, answer: Answer, attempt: &Attempt<'_>, known_as: &str) -> Result<Session, Refusal> {
        let (user, own) = (answer.user, self.account.name());
        if !answer.sealed && (answer.signer != self.config.issuer || !answer.signed_for.is_empty()) {
            return Err(CalloutError::UnknownKey.into());
        }
        if !user.nats.issuer_account.is_empty() {
            return Err(CalloutError::IssuerAccount(own.to_owned()).into());
        }
        if user.issuer != self.config.issuer {
            let (account, want) = (own.to_owned(), self.config.issuer.clone());
            return Err(CalloutError::Issuer { account, want, got: user.issuer }.into());
        }
        let limits = &user.nats.limits;
        if limits.proxy_required || !attempt.may_come_by(&limits.allowed_connection_types) {
            return Err(Refusal::ConnectionType);
        }
        let now = SystemTime::now();
        let hours = valid_for(limits, attempt.from, now).ok_or(Refusal::Place)?;
        let Some(place) = self.places.get(&user.audience) else {
            return Err(CalloutError::NoAccount(user.audience, own.to_owned()).into());
        };
        // The account's default permissions are those of users that it lists.
        let permissions = limits.permissions.lists().map(|lists| Permissions::new(&lists)).transpose();
        let permissions = permissions.map_err(|_| Refusal::Permissions)?;
        let name = if user.name.is_empty() { known_as } else { &*user.name };
        let left = [user.remaining(now), hours].into_iter().flatten().min();
        let ends = left.map(|left| (left, Ending::User));
        Ok(Session::by_callout(&place.account, permissions, name, place.limits, ends, self.config.clone()))
    }

    /// Whether one that the service of `config` has let in may stay without being asked about again: a reload of something
    /// else does not depend on the service.
    pub fn is_still(&self, config: &AuthCalloutConfig) -> bool {
        *self.config == *config
    }
}

/// Nobody in the service's account may ask it.
pub fn without_requests(mut session: Session) -> Result<Session, Refusal> {
    let permissions = Permissions::without_publish(session.permissions.as_deref(), SUBJECT);
    session.permissions = Some(permissions.map_err(|_| Refusal::Permissions)?);
    Ok(session)
}
