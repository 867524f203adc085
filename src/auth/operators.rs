//! Operators: whose signatures on account JWTs count (nats-server `jwt.go`, `validateTrustedOperators`).

use super::jwt::{Claims, OperatorClaims};
use super::nkey;
use super::trust::TrustError;
use crate::config::auth::AuthorizationConfig;
use nkeys::KeyPairType;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Keys that may sign accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OperatorKeys {
    /// Their public nkeys; none: there is no operator.
    pub keys: BTreeSet<String>,
    /// Whether accounts and users have to be signed with signing keys, not with the identities themselves.
    pub strict: bool,
    /// Identity of the first operator.
    pub first: Option<String>,
}

impl OperatorKeys {
    /// Those that `config` names.
    ///
    /// # Errors
    /// What is wrong, by name.
    pub fn read(config: &AuthorizationConfig) -> Result<OperatorKeys, TrustError> {
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
        let strict = operators.iter().any(|operator| operator.nats.strict_signing_key_usage);
        Ok(OperatorKeys { keys, strict, first: operators.into_iter().next().map(|operator| operator.subject) })
    }
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

/// `2.10.1` as numbers.
fn version(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}
