//! Where the JWTs of accounts come from (nats-server `accounts.go`, `AccountResolver`): the configuration, what the
//! operator has sent since, and a directory that keeps it over a restart.
//!
//! All are in memory, at most as many as the resolver may have, and given to each new set of rules. Who changes them has
//! the rules made anew.

mod directory;
mod orders;

pub use orders::Outcome;

use super::jwt::{AccountClaims, Claims};
use super::nkey;
use super::operators::OperatorKeys;
use super::trust::TrustError;
use crate::config::auth::AuthorizationConfig;
use directory::Directory;
use nkeys::KeyPairType;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// JWTs of accounts by their public nkeys.
pub type Tokens = BTreeMap<String, String>;

/// A directory of accounts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// It, or a file in it.
    #[error("[authorization] resolver: cannot use {path}: {error}", path = path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// More accounts than it may have.
    #[error("[authorization] resolver: {path} holds more than {limit} accounts; raise limit", path = path.display())]
    Full {
        /// Which.
        path: PathBuf,
        /// Accounts at most.
        limit: usize,
    },
    /// Operators that cannot be read.
    #[error(transparent)]
    Operators(#[from] TrustError),
    /// Requests about accounts come in the system account.
    #[error("[authorization] resolver: a directory needs system_account, here or in the operator's JWT")]
    NoSystemAccount,
}

/// The accounts known by JWT.
pub struct Resolver(Mutex<State>);

#[derive(Default)]
struct State {
    tokens: Tokens,
    directory: Option<Directory>,
    operators: OperatorKeys,
    system: Option<String>,
}

impl Resolver {
    /// What `config` names; where it names a directory, what lies there too.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn open(config: Option<&AuthorizationConfig>) -> Result<Resolver, ResolverError> {
        Ok(Resolver(Mutex::new(State::open(config)?)))
    }

    /// Knows what `new` knows from now on.
    pub fn replace(&self, new: Resolver) {
        *self.state() = new.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    }

    /// All.
    pub fn tokens(&self) -> Tokens {
        self.state().tokens.clone()
    }

    /// Whether they lie in a directory. The others are changed for as long as nothing is reloaded.
    pub fn keeps(&self) -> bool {
        self.state().directory.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(config: Option<&AuthorizationConfig>) -> Result<State, ResolverError> {
        let Some(config) = config else { return Ok(State::default()) };
        let operators = OperatorKeys::read(config)?;
        let system = super::system_account(config);
        let preload = config.resolver_preload.clone();
        let Some(resolver) = &config.resolver else {
            return Ok(State { tokens: preload, directory: None, operators, system });
        };
        if system.is_none() {
            return Err(ResolverError::NoSystemAccount);
        }
        let (directory, tokens) = Directory::open(resolver)?;
        let mut state = State { tokens, directory: Some(directory), operators, system };
        for (key, token) in preload {
            if is_account(&key) && is_newer(&token, state.tokens.get(&key)) {
                let kept = state.keep(&key, token);
                kept.map_err(|why| ResolverError::Directory {
                    path: resolver.dir.clone(),
                    error: std::io::Error::other(why),
                })?;
            }
        }
        Ok(state)
    }

    /// Knows `token` from now on, and keeps it where there is a directory.
    fn keep(&mut self, key: &str, token: String) -> Result<(), String> {
        if let Some(directory) = &self.directory {
            let others = self.tokens.len() - usize::from(self.tokens.contains_key(key));
            directory.save(key, &token, others)?;
        }
        self.tokens.insert(key.to_owned(), token);
        Ok(())
    }

    /// The hash by which resolvers see whether they know the same (nats-server `DirJWTStore.Hash`).
    fn hash(&self) -> [u8; 32] {
        let mut all = [0; 32];
        for token in self.tokens.values() {
            for (all, one) in all.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()) {
                *all ^= one;
            }
        }
        all
    }
}

/// Whether `key` is a public nkey of an account; such a text is safe as the name of a file.
pub fn is_account(key: &str) -> bool {
    nkey::is_public(key, KeyPairType::Account)
}

/// Whether `new` takes the place of `old`: it is another and not made before it.
fn is_newer(new: &str, old: Option<&String>) -> bool {
    let read = |token: &str| Claims::<AccountClaims>::decode(token.trim()).ok();
    match (read(new), old.and_then(|old| read(old))) {
        (Some(new), Some(old)) => new.id != old.id && new.issued_at >= old.issued_at,
        // What cannot be read is refused by the rules, by name.
        (None, Some(_)) => false,
        (_, None) => true,
    }
}
