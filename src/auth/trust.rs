//! Operator mode: accounts and users by JWT (nats-server `auth.go`, `jwt.go`, `accounts.go`). An operator signs accounts,
//! an account signs users; the server knows the operators and the accounts' JWTs, a user brings its own.

use super::callout::{Asker, CalloutError, Service, without_requests};
use super::jwt::{
    AccountClaims, Claims, JetStreamClaims, JwtError, Names, OperatorClaims, UNLIMITED, UserClaims, UserLimits,
};
use super::jwt::{fill_in, mappings, shares, valid_for};
use super::rules::{Attempt, Refusal};
use super::session::{Ending, Limits, Session};
use super::{Permissions, nkey};
use crate::account::{Account, Accounts, Mappings, Shares};
use crate::config::auth::AuthorizationConfig;
use crate::jetstream::AccountLimits;
use crate::subject::InvalidEntry;
use nkeys::{KeyPairType, XKey};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Name of the limits of streams with one replica.
const TIER: &str = "R1";

/// Whose signatures count, and the accounts known.
pub struct Trust {
    keys: BTreeSet<String>,
    strict: bool,
    accounts: BTreeMap<String, TrustedAccount>,
    asker: Asker,
}

/// What accounts by JWT may have in streams, by their keys; who may have none is not there.
pub type StreamsByJwt = BTreeMap<String, AccountLimits>;

/// What accounts by JWT share and map, by their keys.
#[derive(Default)]
pub struct SharedByJwt {
    /// What they share.
    pub shares: BTreeMap<String, Shares>,
    /// What they map.
    pub mappings: BTreeMap<String, Mappings>,
    /// When it changes by itself: an activation ends.
    pub change: Option<Duration>,
}

struct TrustedAccount {
    claims: Claims<AccountClaims>,
    account: Arc<Account>,
    default_permissions: Option<Arc<Permissions>>,
    /// Of the service that says who its users are.
    xkey: Option<XKey>,
}

/// What is wrong with operators, keys or account JWTs.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// An operator's JWT.
    #[error("[authorization] operator: {0}")]
    Operator(JwtError),
    /// An operator's file.
    #[error("[authorization] operator: cannot read {path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// An operator that wants a newer server.
    #[error("[authorization] operator {0} expects nats-server {1}; leafd does as {version}", version = crate::protocol::NATS_VERSION)]
    Version(String, String),
    /// Not an operator's key.
    #[error("[authorization] trusted_keys: {0:?} is not a public operator nkey (they begin with O)")]
    Key(String),
    /// An account's JWT.
    #[error("[authorization] resolver_preload {0:?}: {1}")]
    Account(String, JwtError),
    /// A JWT under another account's key.
    #[error("[authorization] resolver_preload {0:?}: the JWT is that of account {1:?}")]
    Subject(String, String),
    /// Its default permissions.
    #[error("[authorization] resolver_preload {0:?}: default_permissions: {1}")]
    Permissions(String, InvalidEntry),
    /// The key of its auth callout.
    #[error("[authorization] resolver_preload {0:?}: authorization.xkey: {1:?} is not a public curve key")]
    Xkey(String, String),
    /// Things of another mode.
    #[error("[authorization]: with operator or trusted_keys, {0} cannot be used: accounts and users come by JWT")]
    Both(&'static str),
    /// Two system accounts.
    #[error("[authorization] system_account: {0:?} is not that of the operator's JWT, {1:?}")]
    SystemAccount(String, String),
}

/// The system account that configuration or operator name.
pub fn system_account(config: &AuthorizationConfig) -> Option<String> {
    let named = || {
        let operators = operators(config).ok()?;
        operators.into_iter().map(|operator| operator.nats.system_account).find(|account| !account.is_empty())
    };
    config.system_account.clone().or_else(named)
}

fn operators(config: &AuthorizationConfig) -> Result<Vec<Claims<OperatorClaims>>, TrustError> {
    let read = |text: &String| {
        let text = match text.trim_start().starts_with("eyJ") {
            true => text.clone(),
            false => {
                let path = PathBuf::from(text);
                std::fs::read_to_string(&path).map_err(|error| TrustError::File { path, error })?
            }
        };
        // The token alone, or between BEGIN and END lines.
        let token = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('-'));
        Claims::decode(token.unwrap_or_default()).map_err(TrustError::Operator)
    };
    config.operator.iter().map(read).collect()
}

impl Trust {
    /// Reads operators and account JWTs; `None` if the configuration has no operator and no trusted key.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub fn new(config: &AuthorizationConfig, accounts: &Accounts, asker: &Asker) -> Result<Option<Trust>, TrustError> {
        let operators = operators(config)?;
        let mut keys = BTreeSet::new();
        for operator in &operators {
            let wanted = &operator.nats.assert_server_version;
            if version(wanted) > version(crate::protocol::NATS_VERSION) {
                return Err(TrustError::Version(operator.subject.clone(), wanted.clone()));
            }
            if let Some(own) = &config.system_account
                && !operator.nats.system_account.is_empty()
                && *own != operator.nats.system_account
            {
                return Err(TrustError::SystemAccount(own.clone(), operator.nats.system_account.clone()));
            }
            if !operator.nats.strict_signing_key_usage {
                keys.insert(operator.subject.clone());
            }
            keys.extend(operator.nats.signing_keys.iter().cloned());
        }
        keys.extend(config.trusted_keys.iter().cloned());
        if let Some(key) = keys.iter().find(|key| !nkey::is_public(key, KeyPairType::Operator)) {
            return Err(TrustError::Key(key.clone()));
        }
        if keys.is_empty() {
            return Ok(None);
        }
        for (used, what) in [
            (!config.users.is_empty() || config.user.is_some(), "users"),
            (config.token.is_some(), "token"),
            (config.no_auth_user.is_some(), "no_auth_user"),
            (config.auth_callout.is_some(), "auth_callout"),
        ] {
            if used {
                return Err(TrustError::Both(what));
            }
        }
        let strict = operators.iter().any(|operator| operator.nats.strict_signing_key_usage);
        let mut trust = Trust { keys, strict, accounts: BTreeMap::new(), asker: asker.clone() };
        for (key, token) in &config.resolver_preload {
            trust.add(key, token, accounts)?;
        }
        Ok(Some(trust))
    }

    fn add(&mut self, key: &str, token: &str, accounts: &Accounts) -> Result<(), TrustError> {
        let claims = Claims::<AccountClaims>::decode(token.trim());
        let claims = claims.map_err(|error| TrustError::Account(key.to_owned(), error))?;
        if claims.subject != key {
            return Err(TrustError::Subject(key.to_owned(), claims.subject));
        }
        let lists = claims.nats.default_permissions.lists();
        let default_permissions = lists
            .map(|lists| Permissions::new(&lists))
            .transpose()
            .map_err(|entry| TrustError::Permissions(key.to_owned(), entry))?;
        if let Err(error) = claims.validate() {
            tracing::error!("account {key} ({}) is not known: {error}", claims.name);
            return Ok(());
        }
        if !self.keys.contains(&claims.issuer) {
            tracing::warn!("account {key} ({}) is signed by no operator that is trusted", claims.name);
        }
        let xkey = Some(&*claims.nats.authorization.xkey).filter(|xkey| !xkey.is_empty());
        let xkey = xkey.map(XKey::from_public_key).transpose();
        let xkey = xkey.map_err(|_| TrustError::Xkey(key.to_owned(), claims.nats.authorization.xkey.clone()))?;
        let account = accounts.get_or_create(key);
        self.accounts.insert(key.to_owned(), TrustedAccount { claims, account, default_permissions, xkey });
        Ok(())
    }

    /// Finds out who a client is that brings a JWT.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn authenticate(&self, attempt: &Attempt<'_>, now: SystemTime) -> Result<Session, Refusal> {
        let token = attempt.connect.jwt.as_deref().unwrap_or_default();
        let user = Claims::<UserClaims>::decode(token).map_err(Refusal::Jwt)?;
        if !user.is_current(now) {
            return Err(Refusal::Expired);
        }
        let known = self.account(issuer(&user), now).ok_or(Refusal::Account)?;
        // What holds for it: its own, or what its scoped signing key gives to all.
        let limits = self.limits(known, &user)?;
        let account = &known.claims.nats;
        if limits.bearer_token && account.limits.disallow_bearer {
            return Err(Refusal::Bearer);
        }
        if !attempt.may_come_by(&limits.allowed_connection_types) {
            return Err(Refusal::ConnectionType);
        }
        let signature = attempt.connect.sig.as_deref().unwrap_or_default();
        if !limits.bearer_token && !nkey::verifies(&user.subject, attempt.nonce, signature) {
            return Err(Refusal::Signature);
        }
        let revoked = |who: &str| account.revocations.get(who).is_some_and(|until| *until >= user.issued_at);
        if revoked(&user.subject) || revoked("*") {
            return Err(Refusal::Revoked);
        }
        let own = (limits.subs, limits.payload);
        let session = admit(known, &user, &limits, own, attempt, now)?;
        let service = &account.authorization;
        if service.auth_users.is_empty() {
            return Ok(session);
        }
        let session = match service.auth_users.contains(&user.subject) {
            true => session,
            false => self.ask(known, &user, attempt, now).await?,
        };
        match Arc::ptr_eq(&session.account, &known.account) {
            true => without_requests(session),
            false => Ok(session),
        }
    }

    /// What the accounts share and map at `now`. One that is not trusted is nobody.
    pub fn shared(&self, now: SystemTime) -> SharedByJwt {
        let mut shared = SharedByJwt::default();
        for (key, known) in self.accounts.iter().filter(|(key, _)| self.account(key, now).is_some()) {
            let other = |key: &str| self.account(key, now).map(|known| &known.claims);
            let (shares, change) = shares(&known.claims, other, now);
            shared.shares.insert(key.clone(), shares);
            shared.mappings.insert(key.clone(), mappings(&known.claims));
            shared.change = [shared.change, change, known.claims.remaining(now)].into_iter().flatten().min();
        }
        shared
    }

    /// What the accounts may have in streams. Of limits by tiers those for one replica count, as there are no more.
    pub fn streams(&self) -> StreamsByJwt {
        let limits = |nats: &AccountClaims| match nats.limits.tiered_limits.is_empty() {
            true => Some(nats.limits.jetstream.clone()),
            false => nats.limits.tiered_limits.get(TIER).cloned(),
        };
        let has_streams = |limits: &JetStreamClaims| limits.mem_storage != 0 || limits.disk_storage != 0;
        let known = self.accounts.iter().map(|(key, known)| (key, limits(&known.claims.nats).filter(has_streams)));
        known.filter_map(|(key, limits)| Some((key.clone(), limits?.limits()))).collect()
    }

    /// The account of that key, if it is one to be trusted now.
    fn account(&self, key: &str, now: SystemTime) -> Option<&TrustedAccount> {
        let known = self.accounts.get(key)?;
        (self.keys.contains(&known.claims.issuer) && known.claims.is_current(now)).then_some(known)
    }

    /// Has the service of `asked` say who `bearer` is.
    async fn ask(
        &self,
        asked: &TrustedAccount,
        bearer: &Claims<UserClaims>,
        attempt: &Attempt<'_>,
        now: SystemTime,
    ) -> Result<Session, Refusal> {
        let (own, nats) = (&asked.claims.subject, &asked.claims.nats);
        let service = Service { account: &asked.account, subject: own, xkey: asked.xkey.as_ref() };
        let answer = self.asker.ask(&service, attempt, attempt.connect, &bearer.subject).await?;
        let known = answer.signer == *own || nats.signing_keys.iter().any(|key| key.key == answer.signer);
        if !answer.sealed && !(known && (answer.signed_for.is_empty() || answer.signed_for == *own)) {
            return Err(CalloutError::UnknownKey.into());
        }
        let user = answer.user;
        let into = issuer(&user);
        let allowed = &nats.authorization.allowed_accounts;
        if into != own && !allowed.iter().any(|account| account == into || account == "*") {
            return Err(CalloutError::NotAllowed(into.to_owned(), own.clone()).into());
        }
        let missing = || CalloutError::NoAccount(into.to_owned(), own.clone());
        let known = self.account(into, now).ok_or_else(missing)?;
        let limits = self.limits(known, &user)?;
        if !attempt.may_come_by(&limits.allowed_connection_types) {
            return Err(Refusal::ConnectionType);
        }
        // As in nats-server, subscriptions and payload are bound by the account alone.
        let mut session = admit(known, &user, &limits, (UNLIMITED, UNLIMITED), attempt, now)?;
        if !user.name.is_empty() {
            session.user = user.name.into();
        }
        Ok(session)
    }

    fn limits(&self, known: &TrustedAccount, user: &Claims<UserClaims>) -> Result<UserLimits, Refusal> {
        if user.issuer == known.claims.subject && !self.strict {
            return Ok(user.nats.limits.clone());
        }
        let signing = known.claims.nats.signing_keys.iter().find(|signing| signing.key == user.issuer);
        let Some(scope) = &signing.ok_or(Refusal::Issuer)?.scope else { return Ok(user.nats.limits.clone()) };
        if user.nats.limits != UserLimits::default() {
            return Err(Refusal::Permissions);
        }
        let names = Names {
            user: &user.name,
            user_key: &user.subject,
            user_tags: &user.nats.tags,
            account: &known.claims.name,
            account_key: &known.claims.subject,
            account_tags: &known.claims.nats.tags,
        };
        let permissions = fill_in(&scope.template.permissions, &names).map_err(|_| Refusal::Permissions)?;
        Ok(UserLimits { permissions, ..scope.template.clone() })
    }
}

/// The smaller of two limits, of which negative ones are none.
fn least(a: i64, b: i64) -> Option<usize> {
    [a, b].into_iter().filter_map(|limit| usize::try_from(limit).ok()).min()
}

/// The account that answers for `user`.
fn issuer(user: &Claims<UserClaims>) -> &String {
    if user.nats.issuer_account.is_empty() { &user.issuer } else { &user.nats.issuer_account }
}

/// The session of a user of `known` who is who it says; `own` are its limits of subscriptions and payload.
fn admit(
    known: &TrustedAccount,
    user: &Claims<UserClaims>,
    limits: &UserLimits,
    own: (i64, i64),
    attempt: &Attempt<'_>,
    now: SystemTime,
) -> Result<Session, Refusal> {
    // leafd has no trusted proxies to come by.
    if limits.proxy_required {
        return Err(Refusal::ConnectionType);
    }
    let hours = valid_for(limits, attempt.from, now).ok_or(Refusal::Place)?;
    let permissions = match limits.permissions.lists() {
        None => known.default_permissions.clone(),
        Some(lists) => Some(Permissions::new(&lists).map_err(|_| Refusal::Permissions)?),
    };
    let account = &known.claims.nats.limits;
    let mut ends = vec![(user.remaining(now), Ending::User), (hours, Ending::User)];
    ends.push((known.claims.remaining(now), Ending::Account));
    Ok(Session::jwt(
        &known.account,
        permissions,
        &user.subject,
        Limits {
            subscriptions: least(own.0, account.subs),
            payload: least(own.1, account.payload),
            connections: least(account.conn, UNLIMITED),
        },
        ends.into_iter().filter_map(|(left, ending)| Some((left?, ending))).min_by_key(|(left, _)| *left),
    ))
}

/// `2.10.1` as numbers.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}
