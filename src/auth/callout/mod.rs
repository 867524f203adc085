//! Auth callout (ADR-26): a service that listens in an account says who a client is (nats-server `auth_callout.go`).
//!
//! The server asks on `$SYS.REQ.USER.AUTH` with a JWT about the client, sealed where the service has a curve key. The
//! answer is a JWT that bears a user's JWT, for a user nkey that was made for this question, so that none is answered
//! with the answer to another.

mod answer;
mod configured;
mod request;

pub use answer::Answer;
pub use configured::{Configured, ConfiguredError, without_requests};

use super::jwt::JwtError;
use super::keys::ServerKeys;
use super::rules::Attempt;
use crate::account::{Account, LocalClient, Message};
use crate::protocol::Connect;
use answer::Expected;
use nkeys::{KeyPair, XKey};
use request::{Asking, Question};
use std::sync::Arc;
use std::time::Duration;

/// Where the service listens.
pub const SUBJECT: &str = "$SYS.REQ.USER.AUTH";
/// Header of a sealed request: the public curve key of the server.
const XKEY_HEADER: &str = "Nats-Server-Xkey";

/// Why nobody was let in by the service; the texts of nats-server, for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalloutError {
    /// The request could not be made.
    #[error("Error encoding auth request claim on account {0:?}: {1}")]
    Request(String, String),
    /// No answer in time.
    #[error("Authorization callout response not received in time on account {0:?}")]
    TimedOut(String),
    /// An empty answer.
    #[error("Auth callout violation: \"no reason supplied\" on account {0:?}")]
    NoReason(String),
    /// A sealed answer that cannot be opened.
    #[error("Error decrypting auth callout response on account {0:?}: {1}")]
    Sealed(String, String),
    /// No JWT, or not one of an answer.
    #[error("Authorization response: {0}")]
    Answer(JwtError),
    /// Members that do not fit each other.
    #[error("Authorization response had validation errors: {0}")]
    Validation(&'static str),
    /// The answer to another question.
    #[error("Auth callout violation: auth callout response is not for expected user")]
    OtherUser,
    /// The answer to another server.
    #[error("Auth callout violation: auth callout response is not for server")]
    OtherServer,
    /// The service lets the client not in.
    #[error("Auth callout service returned an error: {0}")]
    Refused(String),
    /// The user's JWT cannot be read.
    #[error("User JWT of the auth callout response: {0}")]
    User(JwtError),
    /// The user's JWT is about another user.
    #[error("Expected authorized user of {want:?} but got {got:?} on account {account:?}")]
    Subject {
        /// Who was asked for.
        want: String,
        /// Who it is about.
        got: String,
        /// The account that was asked.
        account: String,
    },
    /// Signed for an account, where accounts have no keys.
    #[error("Error non operator mode account {0:?}: attempted to use issuer_account")]
    IssuerAccount(String),
    /// Signed by another key.
    #[error("Wrong issuer for auth callout response on account {account:?}, expected {want:?} got {got:?}")]
    Issuer {
        /// The account that was asked.
        account: String,
        /// Whose signature counts.
        want: String,
        /// Who signed.
        got: String,
    },
    /// The answer is signed by a key that the account does not know.
    #[error("Auth callout signing key is unknown")]
    UnknownKey,
    /// An account into which this service may put nobody.
    #[error("Account {0:?} not permitted as valid account option for auth callout for account {1:?}")]
    NotAllowed(String, String),
    /// There is no such account.
    #[error("No valid account {0:?} for auth callout response on account {1:?}")]
    NoAccount(String, String),
}

/// This server, as it asks.
#[derive(Clone)]
pub struct Asker {
    /// Its keys.
    pub keys: Arc<ServerKeys>,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub host: String,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// Who is asked.
pub struct Service<'a> {
    /// Where it listens.
    pub account: &'a Arc<Account>,
    /// Whom the request names as its subject.
    pub subject: &'a str,
    /// Its public curve key, where requests are sealed.
    pub xkey: Option<&'a XKey>,
}

impl Asker {
    /// Asks `service` about a client who said `connect` and is known as `known_as` so far.
    ///
    /// # Errors
    /// There is no answer, or one that lets nobody in.
    pub async fn ask(
        &self,
        service: &Service<'_>,
        attempt: &Attempt<'_>,
        connect: &Connect,
        known_as: &str,
    ) -> Result<Answer, CalloutError> {
        let account = service.account.name();
        let failed = |error: &dyn std::fmt::Display| CalloutError::Request(account.to_owned(), error.to_string());
        let user = KeyPair::new_user().public_key();
        let (keys, timeout) = (&self.keys, self.timeout);
        let xkey = service.xkey.map(|_| keys.xkey());
        let asking = Asking { name: &self.name, host: &self.host, key: keys.signing(), xkey: xkey.clone() };
        let question = Question { subject: service.subject, user: &user, known_as, connect, timeout };
        let token = request::token(&asking, &question, attempt).map_err(|error| failed(&error))?;
        let (headers, payload) = match service.xkey {
            None => (String::new(), token.into_bytes()),
            Some(theirs) => (
                format!("NATS/1.0\r\n{XKEY_HEADER}: {}\r\n\r\n", xkey.unwrap_or_default()),
                keys.curve().seal(token.as_bytes(), theirs).map_err(|error| failed(&error))?,
            ),
        };
        let client = LocalClient::new(service.account.clone());
        let reply = format!("$SYS._INBOX.{:08x}.{:016x}", fastrand::u32(..), fastrand::u64(..));
        let mut inbox = client.subscribe(&reply, 1);
        client.publish(&Message { subject: SUBJECT, reply: &reply, headers: headers.as_bytes(), payload: &payload });
        // As in nats-server the time runs out where nobody listens: a service that is just starting is not hammered.
        let Ok(Some(answer)) = tokio::time::timeout(timeout, inbox.next()).await else {
            return Err(CalloutError::TimedOut(account.to_owned()));
        };
        let keys = service.xkey.map(|theirs| (keys.curve(), theirs));
        answer::read(&answer.payload, &Expected { user: &user, server: &self.keys.id(), account, keys })
    }
}
