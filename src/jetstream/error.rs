//! What can go wrong: errors of the API with nats-server's codes and texts (`server/errors.json`), and errors of starting.

use super::consumer::Refusal;
use crate::store::StoreError;
use serde::{Deserialize, Serialize};

/// An error as API answers and refused publishes carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{description} (code {err_code})")]
pub struct ApiError {
    /// HTTP-like code.
    pub code: u16,
    /// nats-server's own code.
    pub err_code: u16,
    /// What the client is shown.
    pub description: String,
}

impl ApiError {
    /// An error with the given codes.
    pub fn new(code: u16, err_code: u16, description: impl Into<String>) -> Self {
        ApiError { code, err_code, description: description.into() }
    }

    /// The configuration cannot be had.
    pub fn config(text: impl Into<String>) -> Self {
        Self::new(500, 10052, text)
    }

    /// In pedantic mode: a value that would have been corrected.
    pub fn pedantic(text: &str) -> Self {
        Self::new(400, 10157, format!("pedantic mode: {text}"))
    }

    /// The request does not make sense.
    pub fn bad_request() -> Self {
        Self::new(400, 10003, "bad request")
    }

    /// The account has no JetStream.
    pub fn not_enabled() -> Self {
        Self::new(503, 10039, "JetStream not enabled for account")
    }

    /// No such stream.
    pub fn stream_not_found() -> Self {
        Self::new(404, 10059, "stream not found")
    }

    /// No message at that sequence or on that subject.
    pub fn no_message() -> Self {
        Self::new(404, 10037, "no message found")
    }

    /// The message could not be stored.
    pub fn store_failed(error: impl std::fmt::Display) -> Self {
        Self::new(503, 10077, error.to_string())
    }

    /// The store did not take the message: where it has no memory for another subject, nats-server's error for insufficient
    /// resources.
    pub fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::Subjects(_) => Self::new(503, 10023, error.to_string()),
            error => Self::store_failed(error),
        }
    }

    /// A stream's configuration could not be changed.
    pub fn not_updated(error: impl std::fmt::Display) -> Self {
        Self::new(500, 10069, error.to_string())
    }

    /// Something within failed.
    pub fn general(error: impl std::fmt::Display) -> Self {
        Self::new(500, 10051, error.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        ApiError::new(refusal.code, refusal.err_code, refusal.text)
    }
}

/// Why JetStream did not start.
#[derive(Debug, thiserror::Error)]
pub enum JetStreamError {
    /// No threads.
    #[error("cannot start the threads of JetStream: {0}")]
    Threads(#[from] std::io::Error),
}
