//! Who we say we are in CONNECT. Secrets and credentials files are read at every dial, so that a renewed one is used
//! without a restart.

use super::dial::Login;
use crate::config::leaf::RemoteConfig;
use crate::config::secret::SecretError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// CONNECT between servers (nats-server `leafConnectInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct LeafConnect {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What the dialling side is part of; its name where it is alone. Members of a queue group at a hub's other nodes come
    /// before those of a leaf only if it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// The dialling side takes the part of the hub.
    #[serde(rename = "is_hub", skip_serializing_if = "std::ops::Not::not")]
    pub hub: bool,
    pub headers: bool,
    pub jetstream: bool,
    /// What the dialling side does not take.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub deny_pub: Vec<String>,
    /// The dialling side does not want to hear of other leaf nodes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub isolate: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compress_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// Only clients send it; a leaf's CONNECT has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
}

/// An absent list may be `null`.
fn or_default<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// A password, token or seed cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The credentials file cannot be read.
    #[error("cannot read the credentials file {path}: {error}", path = path.display())]
    Creds {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not a credentials file.
    #[error("{path} is no credentials file: it must hold a user JWT and an nkey seed between BEGIN and END lines", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The seed is none.
    #[error("the nkey seed is not valid: {0}")]
    Seed(String),
}

/// The text between the first and the second pair of `-----BEGIN` and `-----END` lines.
fn creds_parts(text: &str) -> Option<(&str, &str)> {
    let mut blocks = text.lines().map(str::trim).scan(false, |inside, line| {
        let body = *inside && !line.starts_with('-') && !line.is_empty();
        *inside = if line.starts_with("-----BEGIN") || line.starts_with("---BEGIN") {
            true
        } else if line.starts_with('-') {
            false
        } else {
            *inside
        };
        Some(body.then_some(line))
    });
    let jwt = blocks.by_ref().flatten().next()?;
    let seed = blocks.flatten().next()?;
    Some((jwt, seed))
}

fn sign(seed: &str, nonce: &str) -> Result<(String, String), AuthError> {
    let pair = nkeys::KeyPair::from_seed(seed.trim()).map_err(|e| AuthError::Seed(e.to_string()))?;
    let signature = pair.sign(nonce.as_bytes()).map_err(|e| AuthError::Seed(e.to_string()))?;
    Ok((pair.public_key(), URL_SAFE_NO_PAD.encode(signature)))
}

/// Fills in who we are; `login` is that of the URL, `nonce` the hub's.
pub fn fill(
    connect: &mut LeafConnect,
    config: &RemoteConfig,
    login: Option<&Login>,
    nonce: &str,
) -> Result<(), AuthError> {
    if let Some(path) = &config.creds {
        let text = std::fs::read_to_string(path).map_err(|error| AuthError::Creds { path: path.clone(), error })?;
        let (jwt, seed) = creds_parts(&text).ok_or_else(|| AuthError::Malformed { path: path.clone() })?;
        connect.sig = Some(sign(seed, nonce)?.1);
        connect.jwt = Some(jwt.to_owned());
    } else if let Some(seed) = &config.nkey {
        let (public, signature) = sign(&seed.read()?, nonce)?;
        connect.nkey = Some(public);
        connect.sig = Some(signature);
    }
    if let Some(Login { user, password }) = login {
        connect.user = Some(user.clone());
        connect.pass.clone_from(password);
        if password.is_none() {
            connect.auth_token = Some(user.clone());
        }
        return Ok(());
    }
    connect.user = config.user.clone();
    if let Some(password) = &config.password {
        connect.pass = Some(password.read()?);
    }
    if let Some(token) = &config.token {
        let token = token.read()?;
        // As a user as well, which is how nats-server's own leafs send what stands alone in a URL.
        connect.user.get_or_insert_with(|| token.clone());
        connect.auth_token = Some(token);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_files() {
        let text = "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\nSUAXYZ\n------END USER NKEY SEED------\n";
        assert_eq!(creds_parts(text), Some(("abc.def", "SUAXYZ")));
        assert_eq!(creds_parts("hello"), None);
    }

    #[test]
    fn signatures_verify() {
        let pair = nkeys::KeyPair::new_user();
        let (public, signature) = sign(&pair.seed().expect("has a seed"), "nonce").expect("valid");
        assert_eq!(public, pair.public_key());
        let raw = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        pair.verify(b"nonce", &raw).expect("verifies");
    }
}
