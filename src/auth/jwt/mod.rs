//! JWTs of operators, accounts and users, as nats-io/jwt `v2` reads them (those of version 1 too): three parts of base64url,
//! signed with an nkey.

mod claims;
#[cfg(fuzzing)]
pub mod fuzz;
mod hours;
mod sharing;
mod template;
mod validate;
mod version1;

pub use claims::{AccountClaims, AccountLimits, DeleteClaims, OperatorClaims, UNLIMITED, UserClaims, UserLimits};
pub use hours::valid_for;
pub use sharing::{mappings, shares};
pub use template::{Names, fill_in};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::{KeyPair, KeyPairType};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest token that is read, as in nats-io/jwt.
pub const MAX_TOKEN: usize = 1 << 20;

/// What every JWT says, with its own part `T`.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims<T> {
    /// Public nkey of who signed it.
    #[serde(rename = "iss", default)]
    pub issuer: String,
    /// Public nkey of whom it is about.
    #[serde(rename = "sub", default)]
    pub subject: String,
    /// For whom it is: a server, an account.
    #[serde(rename = "aud", default)]
    pub audience: String,
    /// Which of the tokens about its subject this is.
    #[serde(rename = "jti", default)]
    pub id: String,
    /// Name of the subject, for people.
    #[serde(default)]
    pub name: String,
    /// When it was made, seconds since 1970.
    #[serde(rename = "iat", default)]
    pub issued_at: i64,
    /// When it ends, seconds since 1970; 0: never.
    #[serde(rename = "exp", default)]
    expires: i64,
    /// When it begins, seconds since 1970; 0: at once.
    #[serde(rename = "nbf", default)]
    not_before: i64,
    /// Its own part.
    pub nats: T,
}

/// A part that one kind of JWT has.
pub trait Kind: DeserializeOwned {
    /// Its `type`.
    const TYPE: &'static str;
    /// What kinds of nkey may sign it.
    const ISSUERS: &'static [KeyPairType];
}

/// Why a JWT is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Not three parts of base64url with JSON in the first two.
    #[error("this is no JWT: {0}")]
    Malformed(String),
    /// Another algorithm or version.
    #[error("only JWTs of versions 1 and 2 that are signed with ed25519-nkey are taken; this is {0}")]
    Version(String),
    /// Another kind.
    #[error("a JWT of type {want} is needed; this is {got:?}")]
    Type {
        /// What is needed.
        want: &'static str,
        /// What it is.
        got: String,
    },
    /// Signed by another kind of key.
    #[error("it is signed by {0:?}, which may not sign this kind of JWT")]
    Issuer(String),
    /// The signature is not the issuer's.
    #[error("the signature is not that of its issuer")]
    Signature,
    /// It cannot be signed.
    #[error("it cannot be signed: {0}")]
    Unsigned(String),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

#[derive(Deserialize)]
struct Identifier {
    /// Version 1 has it here.
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    nats: Generic,
}

#[derive(Default, Deserialize)]
struct Generic {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    version: i64,
}

impl<T: Kind> Claims<T> {
    /// Reads a token and verifies that its issuer has signed it; whether the issuer is to be trusted is not looked at, nor
    /// the time.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn decode(token: &str) -> Result<Claims<T>, JwtError> {
        let malformed = |why: &dyn std::fmt::Display| JwtError::Malformed(why.to_string());
        if token.len() > MAX_TOKEN {
            return Err(malformed(&"it is longer than 1 MiB"));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(&"it does not have three parts"));
        };
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| malformed(&error));
        let head: Header = serde_json::from_slice(&part(header)?).map_err(|error| malformed(&error))?;
        let known = ["ed25519-nkey", "ed25519"].iter().any(|known| head.alg.eq_ignore_ascii_case(known));
        if !known || !head.typ.eq_ignore_ascii_case("jwt") {
            return Err(JwtError::Version(format!("{} {}", head.typ, head.alg)));
        }
        let (version, claims) = Claims::read(&part(body)?)?;
        let signed = match version {
            1 => body.as_bytes(),
            _ => &token.as_bytes()[..header.len() + 1 + body.len()],
        };
        let key = KeyPair::from_public_key(&claims.issuer).map_err(|_| JwtError::Signature)?;
        key.verify(signed, &part(signature)?).map_err(|_| JwtError::Signature)?;
        Ok(claims)
    }

    /// Reads the body of a token, and which version it is of.
    fn read(json: &[u8]) -> Result<(i64, Claims<T>), JwtError> {
        let malformed = |error: serde_json::Error| JwtError::Malformed(error.to_string());
        let identifier: Identifier = serde_json::from_slice(json).map_err(malformed)?;
        let (version, kind) = match identifier.kind.is_empty() {
            true => (identifier.nats.version, identifier.nats.kind),
            false => (1, identifier.kind),
        };
        if version != 1 && version != 2 {
            return Err(JwtError::Version(format!("version {version}")));
        }
        if kind != T::TYPE {
            return Err(JwtError::Type { want: T::TYPE, got: kind });
        }
        let claims: Claims<T> = match version {
            1 => {
                let old: Map<String, Value> = serde_json::from_slice(json).map_err(malformed)?;
                serde_json::from_value(version1::migrate(T::TYPE, old).into()).map_err(malformed)?
            }
            _ => serde_json::from_slice(json).map_err(malformed)?,
        };
        if !T::ISSUERS.iter().any(|kind| super::nkey::is_public(&claims.issuer, kind.clone())) {
            return Err(JwtError::Issuer(claims.issuer));
        }
        Ok((version, claims))
    }
}

impl<T> Claims<T> {
    /// With its own part, and about `subject`, as `issuer` might have signed it.
    pub fn of(issuer: &str, subject: &str, nats: T) -> Claims<T> {
        let (issuer, subject, audience) = (issuer.to_owned(), subject.to_owned(), String::new());
        let (id, name) = (String::new(), String::new());
        Claims { issuer, subject, audience, id, name, issued_at: 0, expires: 0, not_before: 0, nats }
    }

    /// Whether it holds at `now`.
    pub fn is_current(&self, now: SystemTime) -> bool {
        let now = seconds(now);
        (self.expires == 0 || self.expires > now) && (self.not_before == 0 || self.not_before <= now)
    }

    /// How long it holds from `now` on; `None`: for ever.
    pub fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let left = |expires: i64| Duration::from_secs(u64::try_from(expires - seconds(now)).unwrap_or(0));
        (self.expires != 0).then(|| left(self.expires))
    }
}

/// The token of `claims`, signed with `key`, with issuer and id filled in.
///
/// # Errors
/// The key cannot sign.
pub fn sign(key: &KeyPair, mut claims: Value) -> Result<String, JwtError> {
    claims["iss"] = key.public_key().into();
    let digest = ring::digest::digest(&ring::digest::SHA512_256, claims.to_string().as_bytes());
    claims["jti"] = URL_SAFE_NO_PAD.encode(digest).into();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#), part(&claims.to_string()));
    let signature = key.sign(signed.as_bytes()).map_err(|error| JwtError::Unsigned(error.to_string()))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Seconds since 1970, as in JWTs.
pub fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0);
    i64::try_from(since).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A token for `claims` with `nats.version` filled in.
    pub fn sign(key: &KeyPair, mut claims: Value) -> String {
        claims["nats"]["version"] = json!(2);
        super::sign(key, claims).expect("signs")
    }

    #[test]
    fn only_what_its_issuer_has_signed_is_read() {
        let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
        let claims = json!({"sub": user.public_key(), "name": "u", "exp": 2000, "nbf": 1000, "nats": {"type": "user"}});
        let token = sign(&account, claims.clone());
        let decoded = Claims::<UserClaims>::decode(&token).expect("valid");
        assert_eq!((decoded.subject, decoded.issuer), (user.public_key(), account.public_key()));
        let mut forged: Vec<&str> = token.split('.').collect();
        let other = sign(&account, json!({"sub": "UX", "nats": {"type": "user"}}));
        forged[1] = other.split('.').nth(1).expect("a body");
        assert_eq!(Claims::<UserClaims>::decode(&forged.join(".")).err(), Some(JwtError::Signature));
        assert!(matches!(Claims::<UserClaims>::decode(&sign(&user, claims)), Err(JwtError::Issuer(_))));
        assert!(matches!(Claims::<AccountClaims>::decode(&token), Err(JwtError::Type { .. })));
        for bad in ["", "a.b", "a.b.c.d", "e30.e30.e30", "!.!.!", &token[1..]] {
            assert!(Claims::<UserClaims>::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        let account = KeyPair::new_account();
        let token = sign(&account, json!({"sub": "U", "exp": 2000, "nbf": 1000, "nats": {"type": "user"}}));
        let claims = Claims::<UserClaims>::decode(&token).expect("valid");
        let at = |s: u64| UNIX_EPOCH + Duration::from_secs(s);
        assert!(!claims.is_current(at(999)) && claims.is_current(at(1000)) && !claims.is_current(at(2000)));
        assert_eq!(claims.remaining(at(1500)), Some(Duration::from_secs(500)));
        assert_eq!(claims.remaining(at(3000)), Some(Duration::ZERO));
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,200}", parts in "[a-zA-Z0-9_-]{0,40}\\.[a-zA-Z0-9_-]{0,80}\\.[a-zA-Z0-9_-]{0,90}") {
            let _ = Claims::<UserClaims>::decode(&text);
            let _ = Claims::<AccountClaims>::decode(&parts);
        }
    }
}
