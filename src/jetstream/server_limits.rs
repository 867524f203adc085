//! What the server allows streams, consumers and batches of all accounts (nats-server `opts.go`, `JSLimitOpts`).

use serde::{Serialize, Serializer};
use std::time::Duration;

/// Bounds, of which 0 is none, or of batches the default. In JSON as nats-server's monitoring tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerLimits {
    /// `max_request_batch` of a pull consumer.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_request_batch: i64,
    /// `max_ack_pending` of a consumer.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_ack_pending: i64,
    /// `duplicate_window` of a stream, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_duplicate_window: i64,
    /// Batches of each kind that a stream may have open.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch_inflight_per_stream: usize,
    /// Batches of each kind that all streams together may have open.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch_inflight_total: usize,
    /// Messages of an atomic batch.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_batch_size: u64,
    /// A batch of which nothing was heard for so long is given up.
    #[serde(skip_serializing_if = "Duration::is_zero", serialize_with = "nanoseconds")]
    pub max_batch_timeout: Duration,
    /// Consumers of a stream where neither it nor its account says how many; -1: any number.
    pub default_max_consumers: i64,
}

/// As of nats-server 2.15.
const DEFAULT_MAX_CONSUMERS: i64 = 1000;

impl Default for ServerLimits {
    fn default() -> Self {
        ServerLimits {
            max_request_batch: 0,
            max_ack_pending: 0,
            max_duplicate_window: 0,
            max_batch_inflight_per_stream: 0,
            max_batch_inflight_total: 0,
            max_batch_size: 0,
            max_batch_timeout: Duration::ZERO,
            default_max_consumers: DEFAULT_MAX_CONSUMERS,
        }
    }
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn nanoseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
