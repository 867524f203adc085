//! Users as the configuration lists them, made ready for checks.

use super::nkey;
use super::session::{Labels, Limits};
use super::{PermissionLists, Permissions, ResponseLimit, SubjectPermission};
use crate::account::{Account, Accounts, GLOBAL_ACCOUNT};
use crate::config::accounts::AccountConfig;
use crate::config::auth::{AuthorizationConfig, ConnectionType, PermissionsConfig, UserConfig};
use crate::config::secret::{Secret, SecretError};
use crate::subject::InvalidEntry;
use nkeys::KeyPairType;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// One user, by name or by nkey.
pub struct User {
    /// Name or public nkey.
    pub name: Box<str>,
    /// Plain, or a bcrypt hash; empty for an nkey and for a user that only a certificate can name.
    pub password: Box<str>,
    /// Where it belongs.
    pub account: Arc<Account>,
    /// What it may do; `None`: everything.
    pub permissions: Option<Arc<Permissions>>,
    /// What else it is bound to.
    pub limits: Limits,
    /// What monitoring tells of one with an nkey.
    pub labels: Option<Arc<Labels>>,
    kinds: Vec<ConnectionType>,
}

impl User {
    /// Whether it may connect in this way.
    pub fn may_connect_by(&self, kind: ConnectionType) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// The users of all accounts.
#[derive(Default)]
pub struct Users {
    /// By name.
    pub named: HashMap<Box<str>, Arc<User>>,
    /// By public nkey.
    pub nkeys: HashMap<Box<str>, Arc<User>>,
    /// What users of each account are bound to, by its name.
    pub places: BTreeMap<String, Place>,
}

/// An account as one for users that are not listed.
#[derive(Clone)]
pub struct Place {
    /// The account.
    pub account: Arc<Account>,
    /// Its bounds.
    pub limits: Limits,
}

/// What is wrong with the users of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// An entry of a permission list.
    #[error("{place}: {entry}")]
    Permission {
        /// Which user's.
        place: String,
        /// Which entry.
        entry: InvalidEntry,
    },
    /// A password that cannot be read.
    #[error("{place}: {error}")]
    Secret {
        /// Whose.
        place: String,
        /// Why.
        error: SecretError,
    },
    /// Neither a name nor an nkey, or both.
    #[error("{0}: a user has either user and password, or nkey")]
    Kind(String),
    /// Not an nkey.
    #[error("{place}: {key:?} is not a public user nkey (they begin with U)")]
    Nkey {
        /// Whose.
        place: String,
        /// What is there instead.
        key: String,
    },
    /// Two users of one name.
    #[error("{place}: there is another user {name:?}; each name and nkey can be used once in all accounts")]
    Duplicate {
        /// Where the second is.
        place: String,
        /// Which name.
        name: String,
    },
}

impl Users {
    /// Reads the users of `[authorization]` and of all accounts; accounts that are not there yet are made.
    ///
    /// # Errors
    /// The first user that is not valid.
    pub fn new(
        authorization: Option<&AuthorizationConfig>,
        configured: &BTreeMap<String, AccountConfig>,
        accounts: &Accounts,
    ) -> Result<Users, UsersError> {
        let mut users = Users::default();
        if let Some(authorization) = authorization {
            let default = authorization.default_permissions.as_ref();
            users.add_all("[authorization]", &authorization.users, default, accounts.global(), Limits::default())?;
        }
        for account in [accounts.global(), accounts.system()] {
            let place = Place { account: account.clone(), limits: Limits::default() };
            users.places.insert(account.name().to_owned(), place);
        }
        for (name, account) in configured {
            let default = account.default_permissions.as_ref();
            let bound = if name == GLOBAL_ACCOUNT { accounts.global().clone() } else { accounts.get_or_create(name) };
            let number = |limit: Option<u64>| limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
            let limits = Limits {
                subscriptions: number(account.limits.max_subscriptions),
                payload: account.limits.max_payload.map(|size| size.as_usize()),
                connections: number(account.limits.max_connections),
            };
            users.add_all(&format!("[accounts.{name}]"), &account.users, default, &bound, limits)?;
            users.places.insert(name.clone(), Place { account: bound, limits });
        }
        Ok(users)
    }

    /// The user of that name or nkey.
    pub fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.named.get(name).or_else(|| self.nkeys.get(name))
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.nkeys.is_empty()
    }

    fn add_all(
        &mut self,
        table: &str,
        list: &[UserConfig],
        default: Option<&PermissionsConfig>,
        account: &Arc<Account>,
        limits: Limits,
    ) -> Result<(), UsersError> {
        for (at, config) in list.iter().enumerate() {
            let name = config.user.as_ref().or(config.nkey.as_ref());
            let place = match name {
                Some(name) => format!("{table} user {name:?}"),
                None => format!("{table} users[{at}]"),
            };
            let by_nkey = match (&config.user, &config.nkey) {
                (Some(_), None) => false,
                (None, Some(_)) if config.password.is_none() => true,
                _ => return Err(UsersError::Kind(place)),
            };
            let name = name.map_or("", String::as_str);
            if by_nkey && !nkey::is_public(name, KeyPairType::User) {
                return Err(UsersError::Nkey { place, key: name.to_owned() });
            }
            let written = config.permissions.as_ref().or(default).map(lists);
            let permissions = written
                .map(|lists| Permissions::new(&lists))
                .transpose()
                .map_err(|entry| UsersError::Permission { place: place.clone(), entry })?;
            let user = User {
                name: name.into(),
                password: read(&place, config.password.as_ref())?.into(),
                account: account.clone(),
                permissions,
                limits,
                labels: by_nkey.then(|| Arc::new(Labels::of_account(account.name()))),
                kinds: config.allowed_connection_types.clone(),
            };
            let table = if by_nkey { &mut self.nkeys } else { &mut self.named };
            if table.insert(name.into(), Arc::new(user)).is_some() {
                return Err(UsersError::Duplicate { place, name: name.to_owned() });
            }
        }
        Ok(())
    }
}

/// A password or token as it lies; empty if there is none.
pub(super) fn read(place: &str, secret: Option<&Secret>) -> Result<String, UsersError> {
    let text = secret.map(Secret::read).transpose();
    text.map(Option::unwrap_or_default).map_err(|error| UsersError::Secret { place: place.to_owned(), error })
}

/// Permissions of the configuration in the form of nats-server.
fn lists(config: &PermissionsConfig) -> PermissionLists {
    let list = |list: &Option<crate::config::auth::SubjectPermission>| match list {
        None => SubjectPermission::default(),
        Some(list) => SubjectPermission { allow: list.allow.clone(), deny: Some(list.deny.clone()) },
    };
    let responses = config.allow_responses.filter(|responses| responses.granted).map(|responses| {
        let default = ResponseLimit::default();
        ResponseLimit {
            max: match responses.max {
                0 => default.max,
                max => u64::try_from(max).ok(),
            },
            expires: match responses.expires {
                None => default.expires,
                Some(expires) if expires.0 == Duration::ZERO => default.expires,
                Some(expires) => Some(expires.0),
            },
        }
    });
    PermissionLists { publish: list(&config.publish), subscribe: list(&config.subscribe), responses }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(text: &str) -> Result<Users, UsersError> {
        #[derive(serde::Deserialize)]
        struct Tables {
            authorization: Option<AuthorizationConfig>,
            #[serde(default)]
            accounts: BTreeMap<String, AccountConfig>,
        }
        let tables: Tables = toml::from_str(text).expect("parses");
        Users::new(tables.authorization.as_ref(), &tables.accounts, &Accounts::new(None))
    }

    const TWO: &str = "
        [authorization]
        default_permissions = { publish = \"d\" }
        users = [{ user = \"a\", password = \"p\" }, { user = \"b\", permissions = { allow_responses = { max = -1 } } }]
        [accounts.X]
        users = [{ user = \"c\", password = \"p\", allowed_connection_types = [\"WEBSOCKET\"] }]";

    #[test]
    fn users_stand_in_their_accounts_with_their_permissions() {
        let two = users(TWO).expect("valid");
        let (a, b, c) = (&two.named["a"], &two.named["b"], &two.named["c"]);
        assert_eq!((a.account.name(), c.account.name()), ("$G", "X"));
        assert!(a.permissions.as_ref().is_some_and(|p| p.may_publish("d") && !p.may_publish("e")));
        let responses = b.permissions.as_ref().and_then(|p| p.responses()).expect("granted");
        assert_eq!(responses, ResponseLimit { max: None, expires: Some(Duration::from_secs(120)) });
        assert!(c.permissions.is_none() && c.may_connect_by(ConnectionType::Websocket));
        assert!(!c.may_connect_by(ConnectionType::Standard) && a.may_connect_by(ConnectionType::Standard));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("[authorization]\nusers = [{ password = \"p\" }]", "users[0]: a user has either"),
            ("[authorization]\nusers = [{ nkey = \"UX\" }]", "not a public user nkey"),
            (
                "[authorization]\nusers = [{ user = \"a\", permissions = { publish = \"a b\" } }]",
                "[authorization] user \"a\": \"a b\" is not a subject",
            ),
            (
                "[authorization]\nusers = [{ user = \"a\" }]\n[accounts.X]\nusers = [{ user = \"a\" }]",
                "[accounts.X] user \"a\": there is another",
            ),
            ("[authorization]\nusers = [{ user = \"a\", password = { env = \"LEAFD_NOT_SET\" } }]", "LEAFD_NOT_SET"),
        ] {
            let found = users(text).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(found.contains(want), "{text}\n=> {found}");
        }
    }
}
