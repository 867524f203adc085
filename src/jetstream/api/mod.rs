//! The JetStream API: one file per family of requests.

/// `$JS.API.CONSUMER.>`.
pub mod consumer;
