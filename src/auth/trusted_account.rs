//! An account as its JWT describes it.

use super::Permissions;
use super::jwt::{AccountClaims, AccountLimits, Claims, UNLIMITED};
use super::trust::TrustError;
use nkeys::XKey;
use std::sync::Arc;

/// An account whose JWT can be used; whether its issuer is trusted, and the time, are not looked at here.
pub struct TrustedAccount {
    /// What it says.
    pub claims: Claims<AccountClaims>,
    /// What users may do who have no permissions of their own.
    pub default_permissions: Option<Arc<Permissions>>,
    /// Of the service that says who its users are.
    pub xkey: Option<XKey>,
    /// The JWT itself.
    pub token: String,
}

impl TrustedAccount {
    /// Reads the JWT of the account `key`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &str, token: &str) -> Result<TrustedAccount, TrustError> {
        let claims = Claims::<AccountClaims>::decode(token.trim());
        let claims = claims.map_err(|error| TrustError::Account(key.to_owned(), error))?;
        if claims.subject != key {
            return Err(TrustError::Subject(key.to_owned(), claims.subject));
        }
        let permissions = claims.nats.default_permissions.lists().map(|lists| Permissions::new(&lists)).transpose();
        let default_permissions = permissions.map_err(|entry| TrustError::Permissions(key.to_owned(), entry))?;
        let xkey = Some(&*claims.nats.authorization.xkey).filter(|xkey| !xkey.is_empty());
        let xkey = xkey.map(XKey::from_public_key).transpose();
        let xkey = xkey.map_err(|_| TrustError::Xkey(key.to_owned(), claims.nats.authorization.xkey.clone()))?;
        Ok(TrustedAccount { claims, default_permissions, xkey, token: token.to_owned() })
    }

    /// The system account, where its JWT is still to come: its users can send it.
    pub fn awaited(key: &str, operator: &str) -> TrustedAccount {
        let limits = AccountLimits {
            subs: UNLIMITED,
            payload: UNLIMITED,
            conn: UNLIMITED,
            leaf: UNLIMITED,
            ..AccountLimits::default()
        };
        let nats = AccountClaims { limits, ..AccountClaims::default() };
        let claims = Claims::of(operator, key, nats);
        TrustedAccount { claims, default_permissions: None, xkey: None, token: String::new() }
    }

    /// Public nkey of who signed it.
    pub fn issuer(&self) -> &str {
        &self.claims.issuer
    }
}
