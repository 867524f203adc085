//! What the API tells of streams and of the account, in nats-server's JSON shapes.

use super::config::StreamConfig;
use super::consumer::config::{GO_ZERO, Timestamp};
use super::follow::SourceInfo;
use super::stream::Stream;
use crate::store::Log;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// A time as Go writes it; 0 is Go's zero time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiTime(pub i64);

impl Serialize for ApiTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_str(GO_ZERO),
            time => Timestamp(time).serialize(serializer),
        }
    }
}

/// A stream's numbers.
#[derive(Clone, Debug, Serialize)]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// First sequence; one above the last if the stream has been emptied; 0 if there never was a message.
    pub first_seq: u64,
    /// Time of the first message.
    pub first_ts: ApiTime,
    /// Last sequence.
    pub last_seq: u64,
    /// Time of the last message.
    pub last_ts: ApiTime,
    /// Different subjects.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_subjects: u64,
    /// Messages by subject, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subjects: Option<BTreeMap<Box<str>, u64>>,
    /// Sequences between first and last that are gone.
    #[serde(skip_serializing_if = "is_zero")]
    pub num_deleted: u64,
    /// Which, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Vec<u64>>,
    /// What turned out damaged on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// Consumers.
    pub consumer_count: usize,
}

/// Messages that turned out damaged on disk (`server/store.go`, `LostStreamData`).
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    /// Their sequences, at most [`Lost::MOST`].
    pub msgs: Vec<u64>,
    /// nats-server's bytes of theirs; a damaged record does not tell its own, so that this is 0.
    pub bytes: u64,
}

impl Lost {
    /// Sequences that are listed.
    pub const MOST: usize = 100_000;

    /// Of a log that begins at `first`; `None` if nothing is.
    fn of(log: &Log, first: u64) -> Option<Lost> {
        let damaged = log.damaged().into_iter().flatten().filter(|seq| *seq >= first);
        Some(Lost { msgs: damaged.take(Lost::MOST).collect(), bytes: 0 }).filter(|lost| !lost.msgs.is_empty())
    }
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// What STREAM.INFO tells.
#[derive(Clone, Debug, Serialize)]
pub struct StreamInfo {
    /// The configuration.
    pub config: StreamConfig,
    /// When it was created.
    pub created: Timestamp,
    /// Its numbers.
    pub state: StreamState,
    /// The JetStream domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Who serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// How far a mirror has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<SourceInfo>,
    /// How far the sources have come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceInfo>,
    /// When this was gathered.
    pub ts: Timestamp,
}

/// The part of nats-server's cluster information that a single server has.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterInfo {
    /// The server's name.
    pub leader: String,
}

impl StreamInfo {
    /// Of `stream`, as it is now. Reads from disk.
    pub fn of(stream: &Stream, domain: Option<String>) -> Self {
        let config = stream.config();
        let log = stream.log().state();
        let never = log.last_seq == 0 || (log.msgs == 0 && log.last_time == 0);
        // An empty mirror begins where its origin will, once that has said so.
        let behind = stream.begins_behind();
        let (first, last) = match (never && log.first_seq <= 1, log.msgs == 0 && behind > log.last_seq) {
            (_, true) => (behind + 1, behind),
            (true, false) => (0, log.last_seq),
            (false, false) => (log.first_seq, log.last_seq),
        };
        let state = StreamState {
            messages: log.msgs,
            bytes: log.bytes,
            first_seq: first,
            first_ts: ApiTime(log.first_time),
            last_seq: last,
            last_ts: ApiTime(log.last_time),
            num_subjects: log.num_subjects,
            subjects: None,
            num_deleted: log.num_deleted,
            deleted: None,
            lost: Lost::of(stream.log(), log.first_seq),
            consumer_count: stream.consumers().count(),
        };
        StreamInfo {
            config: (*config).clone(),
            created: stream.created(),
            state,
            domain,
            cluster: None,
            mirror: stream.mirror_info(),
            sources: stream.sources_info(),
            ts: Timestamp::now(),
        }
    }

    /// With the metadata that nats-server adds to the answer about a single stream.
    pub fn with_server_metadata(mut self) -> Self {
        self.config = self.config.with_server_metadata();
        self
    }
}

/// What the account uses and may use.
#[derive(Clone, Debug, Serialize)]
pub struct AccountInfo {
    /// All of it. Where its limits are by tiers, these are all 0.
    #[serde(flatten)]
    pub all: TierInfo,
    /// The JetStream domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// API requests.
    pub api: ApiStats,
    /// The same by the number of replicas of the streams.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tiers: BTreeMap<String, TierInfo>,
}

/// What streams use and may use (nats-server's `JetStreamTier`).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TierInfo {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on disk.
    pub storage: u64,
    /// Bytes promised to memory streams.
    pub reserved_memory: u64,
    /// Bytes promised to file streams.
    pub reserved_storage: u64,
    /// Streams.
    pub streams: usize,
    /// Consumers.
    pub consumers: usize,
    /// Limits.
    pub limits: AccountLimits,
}

impl TierInfo {
    /// Of no streams.
    pub(super) fn unused(limits: AccountLimits) -> Self {
        let (memory, storage, reserved_memory, reserved_storage) = (0, 0, 0, 0);
        TierInfo { memory, storage, reserved_memory, reserved_storage, streams: 0, consumers: 0, limits }
    }
}

/// Limits of an account; -1 means none beside the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AccountLimits {
    /// Bytes in memory.
    pub max_memory: i64,
    /// Bytes on disk.
    pub max_storage: i64,
    /// Streams.
    pub max_streams: i64,
    /// Consumers of one stream; streams may ask for fewer.
    pub max_consumers: i64,
    /// Unacknowledged messages of one consumer.
    pub max_ack_pending: i64,
    /// Bytes of one memory stream.
    pub memory_max_stream_bytes: i64,
    /// Bytes of one file stream.
    pub storage_max_stream_bytes: i64,
    /// Whether streams must set `max_bytes`.
    pub max_bytes_required: bool,
}

impl AccountLimits {
    /// What Go has where there are no limits: zeros, which mean nothing.
    pub(super) const ZERO: AccountLimits = AccountLimits {
        max_memory: 0,
        max_storage: 0,
        max_streams: 0,
        max_consumers: 0,
        max_ack_pending: 0,
        memory_max_stream_bytes: 0,
        storage_max_stream_bytes: 0,
        max_bytes_required: false,
    };
}

impl Default for AccountLimits {
    fn default() -> Self {
        AccountLimits {
            max_memory: -1,
            max_storage: -1,
            max_streams: -1,
            max_consumers: -1,
            max_ack_pending: -1,
            memory_max_stream_bytes: -1,
            storage_max_stream_bytes: -1,
            max_bytes_required: false,
        }
    }
}

/// Counters of the API.
#[derive(Clone, Debug, Serialize)]
pub struct ApiStats {
    /// nats-server's API level.
    pub level: u32,
    /// Requests.
    pub total: u64,
    /// Those answered by an error.
    pub errors: u64,
}
