//! The configuration of a stream as it stands in API requests, in answers and in the catalogue: every field of nats-server
//! 2.15, with its JSON names, units and omissions (`server/stream.go`, `StreamConfig`).

use super::origin::StreamSource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When messages leave the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// By the limits alone.
    #[default]
    Limits,
    /// When all consumers that want them have acknowledged.
    Interest,
    /// When one consumer has acknowledged.
    WorkQueue,
}

/// What gives way at a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// The oldest messages.
    #[default]
    Old,
    /// The new message, which is refused.
    New,
}

/// Where messages are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// On disk.
    #[default]
    File,
    /// In memory.
    Memory,
}

/// Compression of stored messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they came.
    #[default]
    None,
    /// S2.
    S2,
}

/// When a message counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    /// When it is on disk.
    #[default]
    #[serde(alias = "")]
    Default,
    /// Before, as in nats-server; here when it is on disk all the same.
    Async,
}

/// Limits that consumers of the stream obey.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerLimits {
    /// Longest time of being unused, nanoseconds; 0: no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub inactive_threshold: i64,
    /// Most unacknowledged messages; 0: no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
}

/// Where in a cluster a stream is placed; a single server keeps it without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// The cluster's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// Tags that the server must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// A server's name; not permitted in streams.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub preferred: String,
}

/// How the subjects of messages change on their way into a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubjectTransform {
    /// Which subjects; empty: all.
    #[serde(rename = "src")]
    pub source: String,
    /// What becomes of them; empty: nothing else.
    #[serde(rename = "dest")]
    pub destination: String,
}

/// Stored messages are published again elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Republish {
    /// Which subjects; empty in a request: all.
    #[serde(rename = "src", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Where to.
    #[serde(rename = "dest")]
    pub destination: String,
    /// Without the body, whose size is told.
    #[serde(skip_serializing_if = "is_default")]
    pub headers_only: bool,
}

/// A stream's configuration. Durations are nanoseconds; for limits -1 (or 0 in a request) means none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// The name, at most 255 bytes.
    pub name: String,
    /// Free text, at most 4 KiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is captured; empty means the stream's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// When messages leave.
    pub retention: Retention,
    /// Consumers at most.
    pub max_consumers: i64,
    /// Messages at most.
    pub max_msgs: i64,
    /// Bytes at most, as stored.
    pub max_bytes: i64,
    /// Greatest age; 0: none.
    pub max_age: i64,
    /// Messages of one subject at most.
    pub max_msgs_per_subject: i64,
    /// Largest message, headers and body.
    #[serde(skip_serializing_if = "is_default")]
    pub max_msg_size: i32,
    /// What gives way at a limit.
    pub discard: Discard,
    /// Where messages are kept.
    pub storage: StorageType,
    /// Replicas; leafd has one.
    pub num_replicas: i64,
    /// Answer no publishes.
    #[serde(skip_serializing_if = "is_default")]
    pub no_ack: bool,
    /// How long message ids are remembered.
    #[serde(skip_serializing_if = "is_default")]
    pub duplicate_window: i64,
    /// Where in a cluster; kept and without effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The stream that this one is a copy of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    /// The streams that messages come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSource>,
    /// Compression on disk.
    pub compression: Compression,
    /// First sequence of a new stream; 0 means 1.
    #[serde(skip_serializing_if = "is_default")]
    pub first_seq: u64,
    /// How subjects change before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    /// Where stored messages are published again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    /// Answer direct gets.
    pub allow_direct: bool,
    /// Answer direct gets for the origin of a mirror.
    pub mirror_direct: bool,
    /// Discard new messages at the limit per subject too.
    #[serde(skip_serializing_if = "is_default")]
    pub discard_new_per_subject: bool,
    /// Nothing comes in or goes out any more.
    pub sealed: bool,
    /// Single messages cannot be deleted.
    pub deny_delete: bool,
    /// The stream cannot be purged.
    pub deny_purge: bool,
    /// The header `Nats-Rollup` is obeyed.
    pub allow_rollup_hdrs: bool,
    /// Limits for consumers.
    pub consumer_limits: ConsumerLimits,
    /// The header `Nats-TTL` is obeyed.
    pub allow_msg_ttl: bool,
    /// How long a marker stays that tells of a subject's last message having aged out; 0: none is left.
    #[serde(skip_serializing_if = "is_default")]
    pub subject_delete_marker_ttl: i64,
    /// Messages are counters.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_msg_counter: bool,
    /// Messages may come in batches that are stored as one.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_atomic: bool,
    /// Messages may be schedules that give others.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_msg_schedules: bool,
    /// When a message counts as stored.
    #[serde(skip_serializing_if = "is_default")]
    pub persist_mode: PersistMode,
    /// Messages may come in batches that are acknowledged in groups.
    #[serde(skip_serializing_if = "is_default")]
    pub allow_batched: bool,
    /// Free keys and values, at most 128 KiB.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A limit of the configuration as a number, if it limits at all.
pub fn limit(value: impl Into<i64>) -> Option<u64> {
    u64::try_from(value.into()).ok().filter(|limit| *limit > 0)
}

impl StreamConfig {
    /// The configuration with what nats-server adds when it answers a single stream's request.
    pub fn with_server_metadata(&self) -> Self {
        let mut config = self.clone();
        config.metadata.insert("_nats.ver".into(), "2.15.1".into());
        config.metadata.insert("_nats.level".into(), "5".into());
        config
    }

    /// Replaces what clients send back of the server's metadata by what the configuration requires.
    pub fn set_static_metadata(&mut self) {
        self.metadata.remove("_nats.ver");
        self.metadata.remove("_nats.level");
        let level = if self.allow_batched {
            4
        } else if self.allow_msg_counter
            || self.allow_atomic
            || self.allow_msg_schedules
            || self.persist_mode == PersistMode::Async
        {
            2
        } else {
            u8::from(self.allow_msg_ttl || self.subject_delete_marker_ttl > 0)
        };
        self.metadata.insert("_nats.req.level".into(), level.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_nats_server_writes_it() {
        let text = r#"{"name":"S","subjects":["s.>"],"retention":"workqueue","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"memory","num_replicas":1,"duplicate_window":120000000000,"compression":"none","allow_direct":false,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":false,"consumer_limits":{},"allow_msg_ttl":false,"metadata":{"_nats.req.level":"0"}}"#;
        let config: StreamConfig = serde_json::from_str(text).expect("valid");
        assert_eq!(serde_json::to_string(&config).expect("JSON"), text);
    }
}
