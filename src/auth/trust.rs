//! Operator mode: accounts and users by JWT (nats-server `auth.go`, `jwt.go`, `accounts.go`). An operator signs accounts,
//! an account signs users; the server knows the operators and the accounts' JWTs, a user brings its own.

use super::callout::{Asker, CalloutError, Service, without_requests};
use super::jwt::{Claims, JwtError, Names, UNLIMITED, UserClaims, UserLimits};
use super::jwt::{fill_in, mappings, shares, valid_for};
use super::operators::{OperatorKeys, system_account};
use super::resolver::Tokens;
use super::rules::{Attempt, Refusal};
use super::session::{ByJwt, Ending, Labels, Limits, Session};
use super::trusted_account::TrustedAccount;
use super::{Permissions, nkey};
use crate::account::{Account, Accounts, Mappings, Shares};
use crate::config::auth::AuthorizationConfig;
use crate::jetstream;
use crate::protocol::Connect;
use crate::subject::InvalidEntry;
use nkeys::KeyPairType;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Whose signatures count, and the accounts known.
pub struct Trust {
    operators: Arc<OperatorKeys>,
    accounts: BTreeMap<String, KnownAccount>,
    /// The only ones whose users may connect; empty: all.
    pinned: BTreeSet<String>,
    /// The user that those are who bring no JWT, and its token.
    sentinel: Option<(Claims<UserClaims>, String)>,
    asker: Asker,
}

/// What accounts by JWT may have in streams, by their keys; who may have none is not there.
pub type StreamsByJwt = BTreeMap<String, jetstream::Limits>;

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

struct KnownAccount {
    jwt: Arc<TrustedAccount>,
    account: Arc<Account>,
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
    #[error("[authorization] account JWT of {0:?}: {1}")]
    Account(String, JwtError),
    /// A JWT under another account's key.
    #[error("[authorization] account JWT of {0:?}: the JWT is that of account {1:?}")]
    Subject(String, String),
    /// Its default permissions.
    #[error("[authorization] account JWT of {0:?}: default_permissions: {1}")]
    Permissions(String, InvalidEntry),
    /// The key of its auth callout.
    #[error("[authorization] account JWT of {0:?}: authorization.xkey: {1:?} is not a public curve key")]
    Xkey(String, String),
    /// Things of another mode.
    #[error("[authorization]: with operator or trusted_keys, {0} cannot be used: accounts and users come by JWT")]
    Both(&'static str),
    /// Two system accounts.
    #[error("[authorization] system_account: {0:?} is not that of the operator's JWT, {1:?}")]
    SystemAccount(String, String),
    /// Not an account's key.
    #[error("[authorization] resolver_pinned_accounts: pinned account key {0:?} is not a valid public account nkey")]
    Pinned(String),
    /// The JWT of those who bring none.
    #[error("[authorization] default_sentinel: {0}")]
    Sentinel(&'static str),
}

impl Trust {
    /// Reads operators and account JWTs; `None` if the configuration has no operator and no trusted key.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub fn new(
        config: &AuthorizationConfig,
        known: &Tokens,
        accounts: &Accounts,
        asker: &Asker,
    ) -> Result<Option<Trust>, TrustError> {
        let operators = Arc::new(OperatorKeys::read(config)?);
        if operators.keys.is_empty() {
            if config.default_sentinel.is_some() {
                return Err(TrustError::Sentinel("default sentinel requires operators and accounts"));
            }
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
        let (pinned, sentinel, asker) = (pinned(config)?, sentinel(config)?, asker.clone());
        let mut trust = Trust { operators, accounts: BTreeMap::new(), pinned, sentinel, asker };
        for (key, token) in known {
            // What lies in a directory has come from elsewhere, and one bad account there is no reason to turn all away.
            let preloaded = config.resolver_preload.get(key) == Some(token);
            match TrustedAccount::read(key, token) {
                Ok(jwt) => trust.add(key, jwt, accounts),
                Err(error) if preloaded => return Err(error),
                Err(error) => tracing::error!("account {key} is not known: {error}"),
            }
        }
        if let (Some(key), Some(operator), true) =
            (system_account(config), &trust.operators.first, config.resolver.is_some())
            && !trust.accounts.contains_key(&key)
        {
            let jwt = Arc::new(TrustedAccount::awaited(&key, operator));
            trust.accounts.insert(key.clone(), KnownAccount { jwt, account: accounts.get_or_create(&key) });
        }
        Ok(Some(trust))
    }

    fn add(&mut self, key: &str, jwt: TrustedAccount, accounts: &Accounts) {
        let claims = &jwt.claims;
        if let Err(error) = claims.validate() {
            tracing::error!("account {key} ({}) is not known: {error}", claims.name);
            return;
        }
        if !self.operators.keys.contains(&claims.issuer) {
            tracing::warn!("account {key} ({}) is signed by no operator that is trusted", claims.name);
        }
        for export in claims.nats.exports.iter().filter(|export| export.service_latency.is_some()) {
            tracing::warn!("account {key} ({}): the latency of {:?} is not sampled", claims.name, export.subject);
        }
        let known = KnownAccount { jwt: Arc::new(jwt), account: accounts.get_or_create(key) };
        self.accounts.insert(key.to_owned(), known);
    }

    /// Finds out who a client is that brings a JWT.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn authenticate(&self, attempt: &Attempt<'_>, now: SystemTime) -> Result<Session, Refusal> {
        let own = attempt.connect.jwt.as_deref().unwrap_or_default();
        let own = Claims::<UserClaims>::decode(own).map_err(Refusal::Jwt);
        let Some((sentinel, token)) = self.sentinel.as_ref().filter(|_| own.is_err()) else {
            return self.authenticate_as(own?, attempt, now).await;
        };
        let connect = &Connect { jwt: Some(token.clone()), ..attempt.connect.clone() };
        self.authenticate_as(sentinel.clone(), &Attempt { connect, ..*attempt }, now).await
    }

    async fn authenticate_as(
        &self,
        user: Claims<UserClaims>,
        attempt: &Attempt<'_>,
        now: SystemTime,
    ) -> Result<Session, Refusal> {
        if !user.is_current(now) {
            return Err(Refusal::Expired);
        }
        if !self.pinned.is_empty() && !self.pinned.contains(issuer(&user)) {
            return Err(Refusal::Pinned(issuer(&user).clone()));
        }
        let known = self.account(issuer(&user), now).ok_or(Refusal::Account)?;
        // What holds for it: its own, or what its scoped signing key gives to all.
        let limits = self.limits(known, &user)?;
        let account = &known.jwt.claims.nats;
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
        let session = admit(&self.operators, known, &user, &limits, own, attempt, now)?;
        let service = &account.authorization;
        if service.auth_users.is_empty() {
            return Ok(session);
        }
        let session = match service.auth_users.contains(&user.subject) {
            true => session,
            false => self.ask(known, &user, attempt, now).await?.also_by(&known.jwt),
        };
        match Arc::ptr_eq(&session.account, &known.account) {
            true => without_requests(session),
            false => Ok(session),
        }
    }

    /// What becomes of a client that was let in `by` these accounts: it stays as it is where they have not changed, and is
    /// asked for its JWT again where they have. A key that signs no longer, or something else by now, ends its users'
    /// connections (nats-server `updateAccountClaimsWithRefresh`).
    ///
    /// # Errors
    /// Why it may not stay.
    pub async fn renew(&self, session: &Session, by: &ByJwt, attempt: &Attempt<'_>) -> Result<Session, Refusal> {
        let now = SystemTime::now();
        let of = |jwt: &TrustedAccount| self.account(&jwt.claims.subject, now);
        let is_same = |jwt: &Arc<TrustedAccount>| of(jwt).is_some_and(|known| known.jwt.token == jwt.token);
        let is_pinned = |jwt: &Arc<TrustedAccount>| self.pinned.is_empty() || self.pinned.contains(&jwt.claims.subject);
        if by.operators == self.operators && by.accounts.iter().all(|jwt| is_same(jwt) && is_pinned(jwt)) {
            return Ok(session.with_end(by.until));
        }
        let signs =
            |jwt: &TrustedAccount| jwt.claims.nats.signing_keys.iter().find(|key| key.key == by.signer).cloned();
        if let Some(before) = by.accounts.first()
            && let Some(known) = of(before)
            && signs(before) != signs(&known.jwt)
        {
            return Err(Refusal::Issuer);
        }
        self.authenticate(attempt, now).await
    }

    /// What the accounts share and map at `now`. One that is not trusted is nobody.
    pub fn shared(&self, now: SystemTime) -> SharedByJwt {
        let mut shared = SharedByJwt::default();
        for (key, known) in self.accounts.iter().filter(|(key, _)| self.account(key, now).is_some()) {
            let other = |key: &str| self.account(key, now).map(|known| &known.jwt.claims);
            let (shares, change) = shares(&known.jwt.claims, other, now);
            shared.shares.insert(key.clone(), shares);
            shared.mappings.insert(key.clone(), mappings(&known.jwt.claims));
            shared.change = [shared.change, change, known.jwt.claims.remaining(now)].into_iter().flatten().min();
        }
        shared
    }

    /// What the accounts may have in streams.
    pub fn streams(&self) -> StreamsByJwt {
        let known = self.accounts.iter().map(|(key, known)| (key, &known.jwt.claims.nats.limits));
        known.filter_map(|(key, limits)| Some((key.clone(), limits.streams()?))).collect()
    }

    /// Leafs that may be connected to the account of that key; `None`: any number, or no such account.
    pub fn max_leafs(&self, key: &str) -> Option<usize> {
        least(self.accounts.get(key)?.jwt.claims.nats.limits.leaf, UNLIMITED)
    }

    /// The account of that key, if it is one to be trusted now.
    fn account(&self, key: &str, now: SystemTime) -> Option<&KnownAccount> {
        let known = self.accounts.get(key)?;
        (self.operators.keys.contains(&known.jwt.claims.issuer) && known.jwt.claims.is_current(now)).then_some(known)
    }

    /// Has the service of `asked` say who `bearer` is.
    async fn ask(
        &self,
        asked: &KnownAccount,
        bearer: &Claims<UserClaims>,
        attempt: &Attempt<'_>,
        now: SystemTime,
    ) -> Result<Session, Refusal> {
        let (own, nats) = (&asked.jwt.claims.subject, &asked.jwt.claims.nats);
        let service = Service { account: &asked.account, subject: own, xkey: asked.jwt.xkey.as_ref() };
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
        let mut session = admit(&self.operators, known, &user, &limits, (UNLIMITED, UNLIMITED), attempt, now)?;
        if !user.name.is_empty() {
            session.user = user.name.into();
        }
        Ok(session)
    }

    fn limits(&self, known: &KnownAccount, user: &Claims<UserClaims>) -> Result<UserLimits, Refusal> {
        if user.issuer == known.jwt.claims.subject && !self.operators.strict {
            return Ok(user.nats.limits.clone());
        }
        let signing = known.jwt.claims.nats.signing_keys.iter().find(|signing| signing.key == user.issuer);
        let Some(scope) = &signing.ok_or(Refusal::Issuer)?.scope else { return Ok(user.nats.limits.clone()) };
        if user.nats.limits != UserLimits::default() {
            return Err(Refusal::Permissions);
        }
        let names = Names {
            user: &user.name,
            user_key: &user.subject,
            user_tags: &user.nats.tags,
            account: &known.jwt.claims.name,
            account_key: &known.jwt.claims.subject,
            account_tags: &known.jwt.claims.nats.tags,
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
    operators: &Arc<OperatorKeys>,
    known: &KnownAccount,
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
        None => known.jwt.default_permissions.clone(),
        Some(lists) => Some(Permissions::new(&lists).map_err(|_| Refusal::Permissions)?),
    };
    let account = &known.jwt.claims.nats.limits;
    let mut ends = vec![(user.remaining(now), Ending::User), (hours, Ending::User)];
    ends.push((known.jwt.claims.remaining(now), Ending::Account));
    let ends = ends.into_iter().filter_map(|(left, ending)| Some((left?, ending))).min_by_key(|(left, _)| *left);
    let until = ends.map(|(left, ending)| (Instant::now() + left, ending));
    let limits = Limits {
        subscriptions: least(own.0, account.subs),
        payload: least(own.1, account.payload),
        connections: least(account.conn, UNLIMITED),
    };
    let by =
        ByJwt { operators: operators.clone(), accounts: vec![known.jwt.clone()], signer: user.issuer.clone(), until };
    let by_signing_key = !user.nats.issuer_account.is_empty();
    let (key, name) = (&known.jwt.claims.subject, &known.jwt.claims.name);
    let labels = Labels {
        issuer_key: if by_signing_key { user.issuer.clone() } else { key.clone() },
        tags: user.nats.tags.clone(),
        user_name: user.name.clone(),
        account_name: if name.is_empty() { key.clone() } else { name.clone() },
        bearer: user.nats.limits.bearer_token,
    };
    Ok(Session::jwt(&known.account, permissions, &user.subject, limits, ends, by, labels))
}

/// The accounts that are pinned, with the system account, which is always let in.
fn pinned(config: &AuthorizationConfig) -> Result<BTreeSet<String>, TrustError> {
    let pinned = &config.resolver_pinned_accounts;
    if let Some(key) = pinned.iter().find(|key| !nkey::is_public(key, KeyPairType::Account)) {
        return Err(TrustError::Pinned(key.clone()));
    }
    let system = system_account(config).filter(|_| !pinned.is_empty());
    Ok(pinned.iter().cloned().chain(system).collect())
}

/// The user of those who bring no JWT. One that a scoped key has signed may get to be a bearer by the key's template.
fn sentinel(config: &AuthorizationConfig) -> Result<Option<(Claims<UserClaims>, String)>, TrustError> {
    let Some(token) = &config.default_sentinel else { return Ok(None) };
    let user = Claims::<UserClaims>::decode(token.trim());
    let user = user.map_err(|_| TrustError::Sentinel("default sentinel JWT not valid"))?;
    let limits = &user.nats.limits;
    let scoped = !user.nats.issuer_account.is_empty() && *limits == UserLimits::default();
    match limits.bearer_token || scoped {
        true => Ok(Some((user, token.clone()))),
        false => Err(TrustError::Sentinel("default sentinel must be a bearer token")),
    }
}
