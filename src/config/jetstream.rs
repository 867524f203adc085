//! `[jetstream]`.

use super::units::{ByteSize, Duration, MemorySize};
use serde::Deserialize;
use std::time;

/// `[jetstream]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JetStreamConfig {
    /// Whether streams are offered. Uplinks need them. Default: true.
    pub enabled: bool,
    /// Domain by which others address these streams. Default: the server's name.
    pub domain: Option<String>,
    /// Most that file-backed streams may take. Default: 75 % of the disk's free space, what is stored already included.
    pub max_file: Option<ByteSize>,
    /// Most that memory-backed streams may take. Default: 64 MB.
    pub max_memory: MemorySize,
    /// How often streams with `persist_mode: async` are synced: at most so much of them is lost to a power cut. Default: 10
    /// seconds, at least 1.
    pub sync_interval: Duration,
    /// What streams, consumers and batches of all accounts may be.
    pub limits: ServerLimitsConfig,
}

impl Default for JetStreamConfig {
    fn default() -> Self {
        JetStreamConfig {
            enabled: true,
            domain: None,
            max_file: None,
            max_memory: MemorySize::Bytes(ByteSize(64 << 20)),
            sync_interval: Duration(time::Duration::from_secs(10)),
            limits: ServerLimitsConfig::default(),
        }
    }
}

/// `[jetstream.limits]`: what streams and consumers may ask for, as nats-server's `limits` of `jetstream`. 0: anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerLimitsConfig {
    /// Most that a consumer may have as its `max_ack_pending`. Default: 0.
    pub max_ack_pending: u64,
    /// Most that a pull consumer may have as its `max_batch`, and what it has if it says nothing. Default: 0.
    pub max_request_batch: u64,
    /// Longest `duplicate_window` of a stream. Default: any.
    pub duplicate_window: Option<Duration>,
    /// Consumers of a stream where neither it nor its account says how many. Default: 1000.
    pub default_max_consumers: u64,
    /// Batches.
    pub batch: BatchLimitsConfig,
}

impl Default for ServerLimitsConfig {
    fn default() -> Self {
        ServerLimitsConfig {
            max_ack_pending: 0,
            max_request_batch: 0,
            duplicate_window: None,
            default_max_consumers: 1000,
            batch: BatchLimitsConfig::default(),
        }
    }
}

/// `batch` of `[jetstream.limits]`: batches of messages that are being published. Absent or 0: the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchLimitsConfig {
    /// Open batches of each kind of a stream. Default: 50 atomic ones, 1000 fast ones.
    pub max_inflight_per_stream: u64,
    /// Open batches of each kind of all streams. Default: 1000 atomic ones, 50000 fast ones.
    pub max_inflight_total: u64,
    /// Messages of an atomic batch. Default: 1000.
    pub max_msgs: u64,
    /// A batch of which nothing was heard for so long is given up. Default: 10 seconds.
    pub timeout: Option<Duration>,
}
