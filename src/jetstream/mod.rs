//! Streams and consumers of an account, and the JetStream API that manages them.
//!
//! A [`Stream`] subscribes its subjects in the account's router. What is published there is checked and appended to its
//! log (`desk`); when the commit thread has it on disk, the publisher gets its PubAck and the consumers are woken.
//! [`JetStream`] holds the streams and the catalogue, [`api`] answers requests.

mod ageing;
/// The JetStream API.
pub mod api;
mod batch;
mod catalogue;
pub mod config;
/// Consumers.
pub mod consumer;
mod counter;
mod damage;
mod dedup;
mod desk;
mod domain;
mod error;
mod expiry;
mod follow;
mod headers;
mod info;
mod level;
mod limits;
mod log_options;
mod manager;
/// Where the messages of mirrors and of streams with sources come from.
pub mod origin;
mod publish;
mod registry;
mod republish;
mod schedule;
mod server_limits;
mod snapshot;
mod stream;
mod tiers;
mod upkeep;
mod usage;
mod validate;

pub use catalogue::{bereft, look_for_strays, strays};
pub use config::StreamConfig;
pub use domain::Domain;
pub use error::{ApiError, JetStreamError};
pub use follow::{SourceInfo, SyncStatus};
pub use info::{AccountInfo, AccountLimits, StreamInfo, StreamState, TierInfo};
pub use manager::{JetStream, Options};
pub use registry::JetStreams;
pub use server_limits::ServerLimits;
pub use stream::Stream;
pub use tiers::Limits;
pub use usage::{Short, Usage};

#[cfg(test)]
mod tests;
