//! Who is let in (nats-server `auth.go`, `processClientOrLeafAuthentication`).

use super::callout::{Asker, CalloutError, Configured, ConfiguredError};
use super::certificate::Names;
use super::jwt::JwtError;
use super::keys::ServerKeys;
use super::nkey;
use super::password::{self, Hashing};
use super::resolver::Tokens;
use super::session::{Session, Source};
use super::trust::{SharedByJwt, StreamsByJwt, Trust, TrustError};
use super::users::{User, Users, UsersError, read};
use crate::account::{Account, Accounts};
use crate::config::auth::{AuthorizationConfig, ConnectionType};
use crate::config::tls::TlsConfig;
use crate::config::{AUTH_TIMEOUT, Config};
use crate::protocol::Connect;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a client brings to prove who it is.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Its CONNECT.
    pub connect: &'a Connect,
    /// The nonce in the INFO that it got; empty if there was none.
    pub nonce: &'a str,
    /// How it is connected.
    pub kind: ConnectionType,
    /// From where.
    pub from: IpAddr,
    /// The server's number of the connection; 0 where it has none.
    pub client: u64,
    /// TLS, if there is any.
    pub tls: Option<Handshake<'a>>,
}

/// What a TLS handshake came to.
#[derive(Clone, Copy)]
pub struct Handshake<'a> {
    /// `1.2` or `1.3`.
    pub version: &'a str,
    /// In IANA's spelling.
    pub cipher_suite: &'a str,
    /// What the client showed, verified, its own certificate first.
    pub certificates: &'a [CertificateDer<'static>],
}

impl Attempt<'_> {
    /// Whether one of the ways `allowed` is the client's; none stand for all. Ways that nobody knows do not count, but
    /// are no reason to allow all.
    pub(super) fn may_come_by(&self, allowed: &[String]) -> bool {
        let own = match self.kind {
            ConnectionType::Standard => "STANDARD",
            ConnectionType::Websocket => "WEBSOCKET",
            ConnectionType::Leafnode => "LEAFNODE",
            ConnectionType::LeafnodeWs => "LEAFNODE_WS",
            ConnectionType::Mqtt => "MQTT",
            ConnectionType::MqttWs => "MQTT_WS",
            ConnectionType::InProcess => "IN_PROCESS",
        };
        allowed.is_empty() || allowed.iter().any(|way| way.eq_ignore_ascii_case(own))
    }
}

/// Why a client is not let in; for the log, as it is told no more than `Authorization Violation`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such user, or a wrong password or token.
    #[error("unknown user or wrong password")]
    Credentials,
    /// A user that may not connect in this way.
    #[error("the user may not connect in this way")]
    ConnectionType,
    /// A signature that is missing, or not that of the nonce.
    #[error("the nonce is not signed with the user's nkey")]
    Signature,
    /// A user that a reload has taken away.
    #[error("there is no such user any more")]
    Gone,
    /// No certificate, or one that names no user.
    #[error("the certificate names no user")]
    Certificate,
    /// No JWT, or one that cannot be read.
    #[error("user JWT: {0}")]
    Jwt(JwtError),
    /// A JWT before or after its time.
    #[error("the user JWT has expired or does not hold yet")]
    Expired,
    /// A JWT that the account has declared void.
    #[error("the user JWT is revoked")]
    Revoked,
    /// The account of a JWT.
    #[error("the account of the user JWT is not known, has expired, or is signed by no trusted operator")]
    Account,
    /// An account that is not pinned.
    #[error("account {0} is not listed in resolver_pinned_accounts")]
    Pinned(String),
    /// The issuer of a JWT.
    #[error("the user JWT is signed by a key that its account does not name")]
    Issuer,
    /// A JWT that needs no nonce, where the account forbids those.
    #[error("the account does not allow bearer tokens")]
    Bearer,
    /// Permissions of a JWT.
    #[error("the permissions of the user JWT are not valid")]
    Permissions,
    /// Networks and hours of a JWT.
    #[error("the user may not connect from this address or at this time")]
    Place,
    /// The service that is asked who somebody is.
    #[error(transparent)]
    Callout(#[from] CalloutError),
}

/// Rules that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A user.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// `no_auth_user` names nobody.
    #[error("{0} no_auth_user: {1:?} is no user of [authorization] or of an account")]
    NoAuthUser(&'static str, String),
    /// A cookie that nothing reads.
    #[error(
        "[websocket] jwt_cookie: trusted operators or trusted keys configuration is required for JWT authentication via cookie {0:?}"
    )]
    JwtCookie(String),
    /// Operators and accounts by JWT.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The service that says who somebody is.
    #[error(transparent)]
    Callout(#[from] ConfiguredError),
    /// Two ways at once, of which one would be ignored.
    #[error("[authorization]: {0} and {1} cannot be used together; list the user in users instead")]
    Both(&'static str, &'static str),
}

/// The rules of one configuration.
pub struct Rules {
    global: Arc<Account>,
    users: Users,
    single: Option<Single>,
    no_auth_user: Option<Arc<User>>,
    /// In its place for those who come by WebSocket.
    no_auth_browser: Option<Arc<User>>,
    trust: Option<Trust>,
    callout: Option<Configured>,
    /// Whether certificates name the users, on the ordinary port and on that for WebSocket.
    maps_clients: bool,
    maps_browsers: bool,
    timeout: Duration,
    hashing: Hashing,
    /// Of the accounts that are limited.
    max_leafs: BTreeMap<String, usize>,
}

enum Single {
    User { name: String, password: String },
    Token(String),
}

impl Rules {
    /// Reads the rules, with the JWTs of the accounts that are `known`; accounts with users that are not there yet are made. Who is asked about clients gets to see `keys`.
    ///
    /// # Errors
    /// What does not fit together, by name.
    pub fn new(
        config: &Config,
        known: &Tokens,
        accounts: &Accounts,
        keys: &Arc<ServerKeys>,
    ) -> Result<Rules, RulesError> {
        let (authorization, configured) = (config.authorization.as_ref(), &config.accounts);
        let maps = |tls: Option<&TlsConfig>| tls.is_some_and(|tls| tls.verify_and_map);
        let users = Users::new(authorization, configured, accounts)?;
        let single = authorization.map(single).transpose()?.flatten();
        match single {
            Some(Single::User { .. }) if !users.is_empty() => return Err(RulesError::Both("user", "users")),
            Some(Single::Token(_)) if !users.is_empty() => return Err(RulesError::Both("token", "users")),
            _ => {}
        }
        let no_auth = |table, name: Option<&String>| {
            let Some(name) = name else { return Ok(None) };
            let user = users.nkeys.get(&**name).or_else(|| users.named.get(&**name)).cloned();
            user.map(Some).ok_or_else(|| RulesError::NoAuthUser(table, name.clone()))
        };
        let no_auth_user = no_auth("[authorization]", authorization.and_then(|a| a.no_auth_user.as_ref()))?;
        let websocket = config.websocket.as_ref();
        let no_auth_browser = no_auth("[websocket]", websocket.and_then(|w| w.no_auth_user.as_ref()))?;
        let timeout = config.auth_timeout();
        let (name, host) = (config.server_name.clone(), config.listen.host.clone());
        let asker = Asker { keys: keys.clone(), name, host, timeout };
        let trust = authorization.map(|a| Trust::new(a, known, accounts, &asker)).transpose()?.flatten();
        if let Some(cookie) = websocket.and_then(|w| w.jwt_cookie.as_ref()).filter(|_| trust.is_none()) {
            return Err(RulesError::JwtCookie(cookie.clone()));
        }
        if trust.is_some() && !users.is_empty() {
            return Err(TrustError::Both("users of [accounts]").into());
        }
        let callout = authorization.and_then(|a| a.auth_callout.as_ref());
        let callout = callout.map(|callout| Configured::new(callout, accounts, &users, asker)).transpose()?;
        let max_leafs = configured.iter().filter_map(|(name, account)| {
            let most = usize::try_from(account.limits.max_leafnodes?).unwrap_or(usize::MAX);
            Some((name.clone(), most))
        });
        Ok(Rules {
            global: accounts.global().clone(),
            users,
            single,
            no_auth_user,
            no_auth_browser,
            trust,
            callout,
            maps_clients: maps(config.tls.as_ref()),
            maps_browsers: maps(config.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref())),
            timeout,
            hashing: Hashing::default(),
            max_leafs: max_leafs.collect(),
        })
    }

    /// Lets everybody in.
    pub fn open(accounts: &Accounts) -> Rules {
        Rules {
            global: accounts.global().clone(),
            users: Users::default(),
            single: None,
            no_auth_user: None,
            no_auth_browser: None,
            trust: None,
            callout: None,
            maps_clients: false,
            maps_browsers: false,
            timeout: AUTH_TIMEOUT,
            hashing: Hashing::default(),
            max_leafs: BTreeMap::new(),
        }
    }

    /// Whether clients must say who they are; `auth_required` in INFO.
    pub fn required(&self) -> bool {
        self.trust.is_some() || self.callout.is_some() || self.single.is_some() || !self.users.is_empty()
    }

    /// Whether INFO carries a nonce to be signed.
    pub fn wants_nonce(&self) -> bool {
        self.trust.is_some() || !self.users.nkeys.is_empty()
    }

    /// What accounts by JWT may have in streams.
    pub fn streams_by_jwt(&self) -> StreamsByJwt {
        self.trust.as_ref().map(Trust::streams).unwrap_or_default()
    }

    /// What accounts by JWT share and map.
    pub fn shared_by_jwt(&self) -> SharedByJwt {
        self.trust.as_ref().map(|trust| trust.shared(SystemTime::now())).unwrap_or_default()
    }

    /// Leafs that may be connected to `account` at a time; `None`: any number.
    pub fn max_leafs(&self, account: &str) -> Option<usize> {
        let by_jwt = self.trust.as_ref().and_then(|trust| trust.max_leafs(account));
        by_jwt.or_else(|| self.max_leafs.get(account).copied())
    }

    /// How long a client has to send CONNECT.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Who a client is that has sent no CONNECT yet: anybody, or `no_auth_user`; `None` if it has to.
    pub fn without_connect(&self, kind: ConnectionType) -> Option<Session> {
        if !self.required() {
            return Some(Session::anybody(&self.global));
        }
        // nats-server takes an nkey for it only in CONNECT.
        let user = self.no_auth_user.as_ref().filter(|user| self.users.named.contains_key(&user.name))?;
        // The service might say no: it is asked about what stands in CONNECT.
        let asked_about = self.callout.as_ref().is_some_and(|callout| !callout.is_auth_user(&user.name));
        (user.may_connect_by(kind) && !asked_about).then(|| Session::of(user))
    }

    /// Finds out who a client is.
    ///
    /// # Errors
    /// Why it is not let in.
    pub async fn authenticate(&self, attempt: &Attempt<'_>) -> Result<Session, Refusal> {
        if !self.required() {
            return Ok(Session::anybody(&self.global));
        }
        if let Some(trust) = &self.trust {
            return trust.authenticate(attempt, SystemTime::now()).await;
        }
        let own = self.find(attempt).await;
        let Some(callout) = &self.callout else { return own };
        let connect = self.as_asked_about(attempt);
        let said = |text: &'_ Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        let known_as = match &own {
            Ok(session) if !session.user.is_empty() => session.user.to_string(),
            _ => said(&connect.nkey)
                .or_else(|| said(&connect.user))
                .or_else(|| said(&connect.auth_token).map(|_| "[REDACTED]".to_owned()))
                .unwrap_or_default(),
        };
        callout.decide(own, attempt, &connect, &known_as).await
    }

    /// What the client said, with name and password of `no_auth_user` where it said nothing of who it is. A JWT is nothing
    /// where there is no operator.
    fn as_asked_about(&self, attempt: &Attempt<'_>) -> Connect {
        let connect = attempt.connect;
        let empty = |text: &Option<String>| text.as_ref().is_none_or(String::is_empty);
        let silent = [&connect.user, &connect.pass, &connect.auth_token, &connect.nkey].into_iter().all(empty);
        match self.no_auth(attempt.kind).filter(|user| silent && self.users.named.contains_key(&user.name)) {
            None => Connect { jwt: None, ..connect.clone() },
            Some(user) => {
                let (name, password) = (Some(user.name.to_string()), Some(user.password.to_string()));
                Connect { user: name, pass: password, jwt: None, ..connect.clone() }
            }
        }
    }

    /// Which of the users of the configuration a client is.
    async fn find(&self, attempt: &Attempt<'_>) -> Result<Session, Refusal> {
        let Attempt { connect, nonce, kind, .. } = *attempt;
        let given = |text: &'_ Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
        let (user, password) = (given(&connect.user), given(&connect.pass));
        let (token, key) = (given(&connect.auth_token), given(&connect.nkey));
        let by_certificate = !self.users.named.is_empty() && self.maps(kind);
        if let Some(no_auth) = self.no_auth(kind)
            && !(by_certificate && self.users.named.contains_key(&no_auth.name))
            && user.is_none()
            && password.is_none()
            && token.is_none()
            && key.is_none()
        {
            return if no_auth.may_connect_by(kind) { Ok(Session::of(no_auth)) } else { Err(Refusal::ConnectionType) };
        }
        if let Some(key) = key.filter(|_| !self.users.nkeys.is_empty()) {
            let user = self.users.nkeys.get(&*key).ok_or(Refusal::Credentials)?;
            if !user.may_connect_by(kind) {
                return Err(Refusal::ConnectionType);
            }
            let signature = connect.sig.as_deref().unwrap_or_default();
            return if nkey::verifies(&key, nonce, signature) {
                Ok(Session::of(user))
            } else {
                Err(Refusal::Signature)
            };
        }
        let password = password.unwrap_or_default();
        if by_certificate {
            let user = self.named_by(attempt).ok_or(Refusal::Certificate)?;
            return match password::matches(&user.password, &password, &self.hashing).await {
                true => Ok(Session::of(user)),
                false => Err(Refusal::Credentials),
            };
        }
        if let Some(name) = user.as_ref().filter(|_| !self.users.named.is_empty()) {
            let user = self.users.named.get(&**name).ok_or(Refusal::Credentials)?;
            if !user.may_connect_by(kind) {
                return Err(Refusal::ConnectionType);
            }
            // A user without password, where certificates name users, is one that only a certificate names.
            let only_by_certificate = user.password.is_empty() && (self.maps_clients || self.maps_browsers);
            return match !only_by_certificate && password::matches(&user.password, &password, &self.hashing).await {
                true => Ok(Session::of(user)),
                false => Err(Refusal::Credentials),
            };
        }
        let (known, stored, given, shown) = match &self.single {
            Some(Single::Token(stored)) => (true, stored, token.unwrap_or_default(), ""),
            Some(Single::User { name, password: stored }) => {
                (user.as_deref().is_some_and(|user| password::equal(name, user)), stored, password, &**name)
            }
            None => return Err(Refusal::Credentials),
        };
        match known && password::matches(stored, &given, &self.hashing).await {
            true => Ok(Session::single(&self.global, shown)),
            false => Err(Refusal::Credentials),
        }
    }

    /// The user that those are who come in this way and give no credentials.
    fn no_auth(&self, kind: ConnectionType) -> Option<&Arc<User>> {
        let browser = matches!(kind, ConnectionType::Websocket | ConnectionType::LeafnodeWs);
        self.no_auth_browser.as_ref().filter(|_| browser).or(self.no_auth_user.as_ref())
    }

    /// Whether certificates name the users of those who come in this way.
    fn maps(&self, kind: ConnectionType) -> bool {
        match kind {
            ConnectionType::Standard => self.maps_clients,
            ConnectionType::Websocket => self.maps_browsers,
            _ => false,
        }
    }

    /// The user whom the certificate names.
    fn named_by(&self, attempt: &Attempt<'_>) -> Option<&Arc<User>> {
        let names = Names::read(attempt.tls.as_ref()?.certificates.first()?)?;
        let may = |user: &&Arc<User>| user.may_connect_by(attempt.kind);
        let users = self.users.named.iter().map(|(name, user)| (&**name, user)).filter(|(_, user)| may(user));
        names.find(|name| self.users.named.get(name).filter(may), users)
    }

    /// What becomes of a client that earlier rules have let in: as nats-server does at a reload, it is asked for its
    /// credentials again, except that an unchanged password is not hashed once more.
    ///
    /// # Errors
    /// Why it may not stay.
    pub async fn renew(&self, session: &Session, attempt: &Attempt<'_>) -> Result<Session, Refusal> {
        if let Source::User(before) = &session.source {
            let now = self.users.named.get(&before.name).or_else(|| self.users.nkeys.get(&before.name));
            let now = now.ok_or(Refusal::Gone)?;
            if now.password == before.password && now.may_connect_by(attempt.kind) {
                return Ok(Session::of(now));
            }
        }
        if let (Source::Jwt(by), Some(trust)) = (&session.source, &self.trust) {
            return trust.renew(session, by, attempt).await;
        }
        if let (Source::Callout { config, until }, Some(callout)) = (&session.source, &self.callout)
            && callout.is_still(config)
        {
            return Ok(session.with_end(*until));
        }
        self.authenticate(attempt).await
    }
}

fn single(config: &AuthorizationConfig) -> Result<Option<Single>, RulesError> {
    if config.user.is_some() && config.token.is_some() {
        return Err(RulesError::Both("user", "token"));
    }
    Ok(match (&config.user, &config.token) {
        (Some(name), _) => {
            let password = read("[authorization] password", config.password.as_ref())?;
            Some(Single::User { name: name.clone(), password })
        }
        (None, Some(token)) => Some(Single::Token(read("[authorization] token", Some(token))?)),
        (None, None) => None,
    })
}
