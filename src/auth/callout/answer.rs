//! What the service answers: a JWT that bears the user's, or an error (nats-server `auth_callout.go`, nats-io/jwt
//! `authorization_claims.go`).

use super::CalloutError;
use crate::auth::jwt::{Claims, Kind, UserClaims};
use crate::auth::nkey;
use nkeys::{KeyPairType, XKey};
use serde::Deserialize;
use std::time::SystemTime;

/// How each JWT begins; what does not is sealed.
const JWT_PREFIX: &[u8] = b"eyJ";

/// The answer's own part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnswerClaims {
    jwt: String,
    error: String,
    issuer_account: String,
}

impl Kind for AnswerClaims {
    const TYPE: &'static str = "authorization_response";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Account];
}

/// An answer that is in order.
pub struct Answer {
    /// The user that the client shall be.
    pub user: Claims<UserClaims>,
    /// The key that has signed the answer.
    pub signer: String,
    /// The account for which it has signed; empty: it is the account's own.
    pub signed_for: String,
    /// Whether it was sealed, by which it shows where it comes from.
    pub sealed: bool,
}

/// Whom the answer must be for.
pub struct Expected<'a> {
    /// The user nkey of the request.
    pub user: &'a str,
    /// This server's id.
    pub server: &'a str,
    /// The account that was asked.
    pub account: &'a str,
    /// Opens what is sealed: our key and the service's.
    pub keys: Option<(&'a XKey, &'a XKey)>,
}

/// Reads an answer and checks that it is one to our question.
///
/// # Errors
/// nats-server's texts.
pub fn read(payload: &[u8], expected: &Expected<'_>) -> Result<Answer, CalloutError> {
    if payload.is_empty() {
        return Err(CalloutError::NoReason(expected.account.to_owned()));
    }
    let mut opened = None;
    if let Some((ours, theirs)) = expected.keys.filter(|_| !payload.starts_with(JWT_PREFIX)) {
        let open = ours.open(payload, theirs);
        opened = Some(open.map_err(|error| CalloutError::Sealed(expected.account.to_owned(), error.to_string()))?);
    }
    let sealed = opened.is_some();
    let text = std::str::from_utf8(opened.as_deref().unwrap_or(payload)).unwrap_or_default();
    let claims = Claims::<AnswerClaims>::decode(text).map_err(CalloutError::Answer)?;
    validate(&claims)?;
    if claims.subject != expected.user {
        return Err(CalloutError::OtherUser);
    }
    if claims.audience != expected.server {
        return Err(CalloutError::OtherServer);
    }
    if !claims.nats.error.is_empty() {
        return Err(CalloutError::Refused(claims.nats.error));
    }
    let user = Claims::<UserClaims>::decode(&claims.nats.jwt).map_err(CalloutError::User)?;
    if user.subject != expected.user {
        return Err(CalloutError::Subject {
            want: expected.user.to_owned(),
            got: user.subject,
            account: expected.account.to_owned(),
        });
    }
    if !user.is_current(SystemTime::now()) {
        return Err(CalloutError::Validation("the user JWT has expired or does not hold yet"));
    }
    Ok(Answer { user, signer: claims.issuer, signed_for: claims.nats.issuer_account, sealed })
}

fn validate(claims: &Claims<AnswerClaims>) -> Result<(), CalloutError> {
    let own = &claims.nats;
    for (wrong, what) in [
        (!nkey::is_public(&claims.subject, KeyPairType::User), "Subject must be a user public key"),
        (!nkey::is_public(&claims.audience, KeyPairType::Server), "Audience must be a server public key"),
        (own.error.is_empty() && own.jwt.is_empty(), "Error or Jwt is required"),
        (!own.error.is_empty() && !own.jwt.is_empty(), "Only Error or Jwt can be set"),
        (
            !own.issuer_account.is_empty() && !nkey::is_public(&own.issuer_account, KeyPairType::Account),
            "issuer_account is not an account public key",
        ),
        (!claims.is_current(SystemTime::now()), "claim is expired or not yet valid"),
    ] {
        if wrong {
            return Err(CalloutError::Validation(what));
        }
    }
    Ok(())
}
