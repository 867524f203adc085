//! What the operator asks of a resolver in the system account (nats-server `accounts.go`, `DirAccResolver.Start`, and
//! `events.go`, `accountClaimUpdate`), and what it is answered.

use super::{Resolver, State, is_account};
use crate::auth::jwt::{AccountClaims, Claims, DeleteClaims};
use crate::auth::trusted_account::TrustedAccount;

/// What came of an order.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The account; empty where it is about several.
    pub account: String,
    /// What was done or tried, in the words of nats-server.
    pub message: String,
    /// Why it was not done.
    pub error: Option<String>,
    /// Whether rules have to be made anew.
    pub changed: bool,
}

impl Outcome {
    fn done(account: &str, message: impl Into<String>, changed: bool) -> Outcome {
        Outcome { account: account.to_owned(), message: message.into(), error: None, changed }
    }

    fn failed(account: &str, message: impl Into<String>, error: impl ToString) -> Outcome {
        let error = Some(error.to_string());
        Outcome { account: account.to_owned(), message: message.into(), error, changed: false }
    }
}

impl Resolver {
    /// A new JWT for the account `named`, or for whichever it is about.
    ///
    /// Unlike nats-server, no JWT is kept that no trusted operator has signed: it would take the place of one that holds.
    pub fn update(&self, named: Option<&str>, token: &[u8]) -> Outcome {
        let mut state = self.state();
        match state.directory.is_some() {
            true => state.update_directory(named, token),
            false => state.update_memory(named.unwrap_or_default(), token),
        }
    }

    /// Forgets the accounts that the JWT `order` names.
    pub fn delete(&self, order: &[u8]) -> Outcome {
        self.state().delete(order)
    }

    /// The JWT of `account`.
    pub fn look_up(&self, account: &str) -> Option<String> {
        self.state().tokens.get(account).cloned()
    }

    /// All accounts.
    pub fn list(&self) -> Vec<String> {
        self.state().tokens.keys().cloned().collect()
    }

    /// All JWTs, one a message, for a resolver that knows others than we, by its `hash`.
    pub fn pack(&self, hash: &[u8]) -> Vec<String> {
        let state = self.state();
        match state.hash() == hash {
            true => Vec::new(),
            false => state.tokens.iter().map(|(key, token)| format!("{key}|{token}")).collect(),
        }
    }
}

impl State {
    fn update_memory(&mut self, account: &str, token: &[u8]) -> Outcome {
        let failed = "jwt update resulted in error";
        if token.is_empty() {
            return Outcome::failed(account, "jwt update error", "request body is empty");
        }
        let (claims, token) = match decode(token) {
            Ok(decoded) => decoded,
            Err(error) => return Outcome::failed(account, failed, error),
        };
        if claims.subject != account {
            return Outcome::failed(account, failed, "subject does not match jwt content");
        }
        if !self.tokens.contains_key(account) {
            return Outcome::done(account, "jwt update skipped", false);
        }
        match self.take(account, token) {
            Ok(changed) => Outcome::done(account, "jwt updated", changed),
            Err(error) => Outcome::failed(account, failed, error),
        }
    }

    fn update_directory(&mut self, named: Option<&str>, token: &[u8]) -> Outcome {
        let failed = "jwt update resulted in error";
        let (claims, token) = match decode(token) {
            Ok(decoded) => decoded,
            Err(error) => return Outcome::failed("n/a", failed, error),
        };
        let account = &*claims.subject;
        if let Err(error) = claims.validate() {
            return Outcome::failed(account, "jwt validation failed", format!("validation errors: [{error}]"));
        }
        if let Some(named) = named.filter(|named| *named != account) {
            return Outcome::failed(named, failed, "subject does not match jwt content");
        }
        if self.operators.strict && self.operators.first.as_ref() == Some(&claims.issuer) {
            return Outcome::failed(account, failed, "operator requires issuer to be a signing key");
        }
        if !is_account(account) {
            return Outcome::failed(account, failed, "invalid public key");
        }
        match self.take(account, token) {
            Ok(changed) => Outcome::done(account, "jwt updated", changed),
            Err(error) => Outcome::failed(account, failed, error),
        }
    }

    /// Takes over a token that is as it should be; whether it is another than before.
    fn take(&mut self, account: &str, token: String) -> Result<bool, String> {
        if self.tokens.get(account) == Some(&token) {
            return Ok(false);
        }
        let trusted = TrustedAccount::read(account, &token).map_err(|error| error.to_string())?;
        if !self.operators.keys.contains(trusted.issuer()) {
            return Err("account validation failed".into());
        }
        self.keep(account, token)?;
        Ok(true)
    }

    fn delete(&mut self, order: &[u8]) -> Outcome {
        let failed = |by: &str| format!("delete accounts request by {by} failed");
        let order = match decode_order(order) {
            Ok(order) => order,
            Err(error) => return Outcome::failed("", failed(""), error),
        };
        let accounts = match self.may_delete(&order) {
            Ok(accounts) => accounts,
            Err(error) => return Outcome::failed("", failed(&order.subject), error),
        };
        let (mut deleted, mut errors) = (0, Vec::new());
        for account in accounts {
            let gone = self.directory.as_ref().map_or(Ok(()), |directory| directory.delete(account));
            match gone {
                Ok(()) => {
                    self.tokens.remove(account);
                    deleted += 1;
                }
                Err(error) => errors.push(error),
            }
        }
        let changed = deleted > 0;
        match errors.len() {
            0 => Outcome::done("", format!("deleted {deleted} accounts"), changed),
            count => {
                let message = format!("deleted {deleted} accounts, failed for {count}");
                Outcome { changed, ..Outcome::failed("", message, errors.join("\n")) }
            }
        }
    }

    fn may_delete<'a>(&self, order: &'a Claims<DeleteClaims>) -> Result<&'a [String], &'static str> {
        if !self.directory.as_ref().is_some_and(|directory| directory.deletes) {
            return Err("delete must be enabled in server config");
        }
        if order.subject != order.issuer {
            return Err("not self signed");
        }
        if !self.operators.keys.contains(&order.issuer) {
            return Err("not trusted");
        }
        let accounts = order.nats.accounts.as_deref().ok_or("malformed request")?;
        for account in accounts {
            if !is_account(account) {
                return Err("malformed request");
            }
            if self.system.as_ref() == Some(account) {
                return Err("not allowed to delete system account");
            }
        }
        Ok(accounts)
    }
}

fn decode(token: &[u8]) -> Result<(Claims<AccountClaims>, String), String> {
    let token = std::str::from_utf8(token).map_err(|_| "expected 3 chunks")?;
    let claims = Claims::decode(token).map_err(|error| error.to_string())?;
    Ok((claims, token.to_owned()))
}

fn decode_order(token: &[u8]) -> Result<Claims<DeleteClaims>, String> {
    let token = std::str::from_utf8(token).map_err(|_| "expected 3 chunks")?;
    Claims::decode(token).map_err(|error| error.to_string())
}
