//! The configuration of a consumer as it stands in API requests, in answers and in the catalogue: every field of
//! nats-server 2.15, with its JSON names, units and omissions (`server/consumer.go`, `ConsumerConfig`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// From which message on a new consumer delivers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// Everything the stream holds.
    #[default]
    All,
    /// From the last message on.
    Last,
    /// What is stored from now on.
    New,
    /// From `opt_start_seq` on.
    ByStartSequence,
    /// From the first message not older than `opt_start_time` on.
    ByStartTime,
    /// The last message of each subject, then what follows.
    LastPerSubject,
}

/// What counts as an acknowledgement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckPolicy {
    /// Delivery itself.
    #[default]
    None,
    /// An ack stands for all messages delivered before it.
    All,
    /// Each message has its own ack.
    Explicit,
    /// As `All`, through answers to flow control (ADR-60).
    FlowControl,
}

/// How fast stored messages are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayPolicy {
    /// As fast as the receiver takes them.
    #[default]
    Instant,
    /// With the pauses in which they came.
    Original,
}

/// How pull requests of priority groups are chosen (ADR-42).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityPolicy {
    /// In the order of arrival.
    #[default]
    None,
    /// Only above a number of pending messages.
    Overflow,
    /// One client at a time.
    PinnedClient,
    /// Lowest priority number first.
    Prioritized,
}

/// What a create request may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Create it, or update the one that exists.
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    /// Only update.
    #[serde(rename = "update")]
    Update,
    /// Only create; the same configuration again is no error.
    #[serde(rename = "create")]
    Create,
}

/// A consumer's configuration. Durations are nanoseconds; 0, empty and absent are the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The name of a consumer that outlives its users; empty for an ephemeral one.
    #[serde(rename = "durable_name", skip_serializing_if = "String::is_empty")]
    pub durable: String,
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Free text, at most 4 KiB.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where delivery starts.
    pub deliver_policy: DeliverPolicy,
    /// First sequence for [`DeliverPolicy::ByStartSequence`].
    #[serde(skip_serializing_if = "is_default")]
    pub opt_start_seq: u64,
    /// First time for [`DeliverPolicy::ByStartTime`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<Timestamp>,
    /// What counts as an acknowledgement.
    pub ack_policy: AckPolicy,
    /// After how long an unacknowledged message is delivered again.
    #[serde(skip_serializing_if = "is_default")]
    pub ack_wait: i64,
    /// Deliveries of one message at most; -1 for no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_deliver: i64,
    /// Waits before the first, second, ... redelivery, in place of `ack_wait`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backoff: Vec<i64>,
    /// Only messages on matching subjects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// Several filters, which do not overlap; not together with `filter_subject`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    /// How fast stored messages are delivered.
    pub replay_policy: ReplayPolicy,
    /// Push: bits per second at most.
    #[serde(skip_serializing_if = "is_default")]
    pub rate_limit_bps: u64,
    /// Share of acks that are told of as metrics, as in `30%`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sample_freq: String,
    /// Pull requests that may wait at once.
    #[serde(skip_serializing_if = "is_default")]
    pub max_waiting: i64,
    /// Messages delivered and not acknowledged at most; -1 for no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub max_ack_pending: i64,
    /// Push: stop until the receiver answers flow control messages.
    #[serde(skip_serializing_if = "is_default")]
    pub flow_control: bool,
    /// Deliver headers and the size, without the body.
    #[serde(skip_serializing_if = "is_default")]
    pub headers_only: bool,
    /// Pull: largest batch of one request.
    #[serde(rename = "max_batch", skip_serializing_if = "is_default")]
    pub max_request_batch: i64,
    /// Pull: longest wait of one request.
    #[serde(rename = "max_expires", skip_serializing_if = "is_default")]
    pub max_request_expires: i64,
    /// Pull: most bytes of one request.
    #[serde(rename = "max_bytes", skip_serializing_if = "is_default")]
    pub max_request_max_bytes: i64,
    /// Push: where messages go; empty for a pull consumer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
    /// Push: the queue group that shares them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_group: String,
    /// Push: a sign of life when there was nothing to deliver for so long.
    #[serde(rename = "idle_heartbeat", skip_serializing_if = "is_default")]
    pub heartbeat: i64,
    /// The consumer goes when nobody used it for so long.
    #[serde(skip_serializing_if = "is_default")]
    pub inactive_threshold: i64,
    /// Replicas; 0 is the stream's number. leafd has one.
    pub num_replicas: i64,
    /// Keep the delivery state in memory only.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_storage: bool,
    /// A consumer of a mirror or source; has no durable state.
    #[serde(skip_serializing_if = "is_default")]
    pub direct: bool,
    /// Set by mirrors and sources, which acknowledge by flow control where acks remove messages (ADR-60).
    #[serde(skip_serializing_if = "is_default")]
    pub sourcing: bool,
    /// Free keys and values, at most 128 KiB.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// No delivery until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<Timestamp>,
    /// The groups that pull requests belong to, at most one of which is told of in the consumer's information.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<String>,
    /// Which requests of a group are served.
    #[serde(skip_serializing_if = "is_default")]
    pub priority_policy: PriorityPolicy,
    /// How long a pinned client may be silent.
    #[serde(rename = "priority_timeout", skip_serializing_if = "is_default")]
    pub pinned_ttl: i64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl ConsumerConfig {
    /// Whether it outlives its users.
    pub fn is_durable(&self) -> bool {
        !self.durable.is_empty()
    }

    /// Whether messages are pushed to a subject rather than pulled.
    pub fn is_push(&self) -> bool {
        !self.deliver_subject.is_empty()
    }

    /// Whether this ack is among those that are told of.
    pub fn samples(&self) -> bool {
        let share: u32 = self.sample_freq.trim_end_matches('%').parse().unwrap_or(0);
        share > 0 && fastrand::u32(0..100) < share
    }

    /// Its filters; empty means every message.
    pub fn filters(&self) -> Vec<&str> {
        if self.filter_subject.is_empty() {
            self.filter_subjects.iter().map(String::as_str).collect()
        } else {
            vec![&self.filter_subject]
        }
    }

    /// Whether a pause has been asked for, ended or not.
    pub fn pauses(&self) -> bool {
        self.pause_until.is_some_and(|until| until != Timestamp::ZERO)
    }
}

/// A point in time of the API: UNIX nanoseconds, RFC 3339 on the wire. What lies outside of the years 1677 to 2262 is read
/// as the nearest of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

/// How Go writes a time that was never set.
pub const GO_ZERO: &str = "0001-01-01T00:00:00Z";

impl Timestamp {
    /// Go's zero time, which clients in Go send in fields that they do not use: before every other time.
    pub const ZERO: Timestamp = Timestamp(i64::MIN);

    /// Now, by the system's clock.
    pub fn now() -> Self {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Timestamp(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }

    /// As on the wire.
    pub fn text(self) -> Cow<'static, str> {
        let time = OffsetDateTime::from_unix_timestamp_nanos(self.0.into()).ok().filter(|_| self != Timestamp::ZERO);
        // Any time but the one that was never set is within the years that can be written.
        time.and_then(|time| time.format(&Rfc3339).ok()).map_or(GO_ZERO.into(), Cow::Owned)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(Timestamp(time.unix_timestamp_nanos().clamp(i64::MIN.into(), i64::MAX.into()) as i64))
    }
}

/// A create request (`$JS.API.CONSUMER.CREATE` and `DURABLE.CREATE`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateRequest {
    /// The stream, as in the subject.
    pub stream_name: String,
    /// What is wanted.
    pub config: ConsumerConfig,
    /// What may be done for it.
    pub action: Action,
    /// Refuse what would be corrected silently.
    pub pedantic: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_request_comes_back_as_nats_server_writes_it() {
        let text = r#"{"durable_name":"d","deliver_policy":"by_start_time","opt_start_time":"2024-05-01T10:00:00.5Z",
            "ack_policy":"explicit","ack_wait":30000000000,"max_deliver":-1,"replay_policy":"instant","num_replicas":1}"#;
        let config: ConsumerConfig = serde_json::from_str(text).expect("valid");
        assert_eq!(config.opt_start_time, Some(Timestamp(1_714_557_600_500_000_000)));
        let back = serde_json::to_string(&config).expect("json");
        assert_eq!(back, text.replace("\n            ", ""));
    }

    #[test]
    fn unknown_fields_are_named() {
        let error = serde_json::from_str::<ConsumerConfig>(r#"{"ack_weight":1}"#).expect_err("unknown");
        assert!(error.to_string().contains("ack_weight"));
    }

    #[test]
    fn actions_have_their_names() {
        let action = |text| serde_json::from_str::<Action>(text).ok();
        assert_eq!(action("\"\""), Some(Action::CreateOrUpdate));
        assert_eq!(action("\"create\""), Some(Action::Create));
        assert_eq!(action("\"update\""), Some(Action::Update));
        assert_eq!(action("\"replace\""), None);
    }
}
