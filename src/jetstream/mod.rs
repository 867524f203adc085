//! Streams and consumers.

/// The JetStream API.
pub mod api;
/// Consumers.
pub mod consumer;
