//! Who a leaf is that connects to us: a user of `[leaf.listen]` if it has any, else whoever the clients' own rules let in
//! (nats-server `auth.go`, `isLeafNodeAuthorized`).

use super::auth::LeafConnect;
use crate::account::{Account, Accounts};
use crate::auth::{
    Attempt, Handshake, Hashing, Refusal, Rules, Session, SubjectPermission, password_matches, signature_verifies,
};
use crate::config::auth::ConnectionType;
use crate::config::leaf::ListenConfig;
use crate::protocol::Connect;
use crate::server::tls::TlsSession;
use std::net::IpAddr;
use std::sync::Arc;

/// What a leaf brings to prove who it is.
pub struct Card<'a> {
    /// Our number of the connection.
    pub id: u64,
    /// How it is connected.
    pub kind: ConnectionType,
    /// Its CONNECT.
    pub connect: &'a LeafConnect,
    /// The nonce in our INFO.
    pub nonce: &'a str,
    /// From where it connects.
    pub from: IpAddr,
    /// TLS, if there is any.
    pub tls: Option<&'a TlsSession>,
}

/// A leaf that has been let in.
pub struct Guest {
    /// The account that it is joined to.
    pub account: Arc<Account>,
    /// User name or public nkey; empty if nobody asked.
    pub user: String,
    /// What it may send; `None`: everything.
    pub publish: Option<SubjectPermission>,
    /// What it may receive; `None`: everything.
    pub subscribe: Option<SubjectPermission>,
    /// Set if the clients' rules have let it in.
    pub session: Option<Session>,
}

impl Guest {
    /// Lets in whom `card` proves to be somebody.
    ///
    /// # Errors
    /// Why not, for the log.
    pub async fn admit(
        config: &ListenConfig,
        accounts: &Accounts,
        rules: &Rules,
        hashing: &Hashing,
        card: &Card<'_>,
    ) -> Result<Guest, String> {
        let connect = card.connect;
        let (user, password) = (connect.user.as_deref().unwrap_or(""), connect.pass.as_deref().unwrap_or(""));
        let named = |account: Option<&String>| match account.or(config.account.as_ref()) {
            None => Ok(accounts.global().clone()),
            Some(name) => accounts.get(name).ok_or_else(|| format!("there is no account {name:?}")),
        };
        if let Some(key) = &config.nkey {
            let signature = connect.sig.as_deref().unwrap_or_default();
            if connect.nkey.as_ref() != Some(key) || !signature_verifies(key, card.nonce, signature) {
                return Err(Refusal::Signature.to_string());
            }
            return Ok(Guest::bare(named(None)?, key));
        }
        if !config.users.is_empty() {
            let refused = || format!("wrong user or password (user {user:?})");
            let known = config.users.iter().find(|known| known.user == user).ok_or_else(refused)?;
            let stored = known.password.read().map_err(|error| error.to_string())?;
            if !password_matches(&stored, password, hashing).await {
                return Err(refused());
            }
            let allow = |list: &Option<Vec<String>>| {
                list.clone().map(|allow| SubjectPermission { allow: Some(allow), deny: None })
            };
            let (publish, subscribe) = (allow(&known.publish), allow(&known.subscribe));
            return Ok(Guest { publish, subscribe, ..Guest::bare(named(known.account.as_ref())?, user) });
        }
        if !rules.required() {
            return Ok(Guest::bare(named(None)?, ""));
        }
        let session = rules.authenticate(&card.attempt(&card.connect())).await;
        let session = session.map_err(|refusal| format!("{refusal} (user {user:?})"))?;
        let lists = session.permissions.as_ref().map(|permissions| permissions.lists().clone()).unwrap_or_default();
        let some = |list: SubjectPermission| (list != SubjectPermission::default()).then_some(list);
        Ok(Guest {
            account: session.account.clone(),
            user: session.user.to_string(),
            publish: some(lists.publish),
            subscribe: some(lists.subscribe),
            session: Some(session),
        })
    }

    fn bare(account: Arc<Account>, user: &str) -> Guest {
        Guest { account, user: user.to_owned(), publish: None, subscribe: None, session: None }
    }

    /// Whether rules that have changed let it stay as it is.
    ///
    /// # Errors
    /// Why not.
    pub async fn stays(&self, rules: &Rules, card: &Card<'_>) -> Result<(), String> {
        let Some(before) = &self.session else { return Ok(()) };
        let now = rules.renew(before, &card.attempt(&card.connect())).await.map_err(|refusal| refusal.to_string())?;
        let lists = |session: &Session| session.permissions.as_ref().map(|p| p.lists().clone()).unwrap_or_default();
        match Arc::ptr_eq(&now.account, &self.account) && lists(&now) == lists(before) {
            true => Ok(()),
            false => Err("its account or its permissions have changed".into()),
        }
    }
}

impl<'a> Card<'a> {
    /// What a client would send.
    fn connect(&self) -> Connect {
        let connect = self.connect;
        Connect {
            user: connect.user.clone(),
            pass: connect.pass.clone(),
            auth_token: connect.auth_token.clone(),
            jwt: connect.jwt.clone(),
            nkey: connect.nkey.clone(),
            sig: connect.sig.clone(),
            ..Connect::default()
        }
    }

    fn attempt<'b>(&'b self, connect: &'b Connect) -> Attempt<'b> {
        Attempt {
            connect,
            nonce: self.nonce,
            kind: self.kind,
            from: self.from,
            client: self.id,
            tls: self.tls.map(|tls| Handshake {
                version: tls.version,
                cipher_suite: &tls.cipher_suite,
                certificates: &tls.certificates,
            }),
        }
    }
}
