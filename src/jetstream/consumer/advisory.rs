//! Advisories and metrics of consumers: JSON events that monitoring listens to (`server/jetstream_events.go`). They are
//! made only when somebody does.

use super::config::Timestamp;
use super::context::StreamContext;
use crate::jetstream::info::ApiTime;
use serde::Serialize;

/// What happened to a message or a consumer, with the fields of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Advisory {
    /// The message was delivered as often as it may be.
    MaxDeliveries {
        /// Its stream sequence.
        stream_seq: u64,
        /// How often it was delivered.
        deliveries: u64,
    },
    /// The client wants the message again.
    Nak {
        /// The sequence of the delivery.
        consumer_seq: u64,
        /// Its stream sequence.
        stream_seq: u64,
        /// How often it was delivered.
        deliveries: u64,
    },
    /// The client will never take the message.
    Terminated {
        /// The sequence of the delivery.
        consumer_seq: u64,
        /// Its stream sequence.
        stream_seq: u64,
        /// How often it was delivered.
        deliveries: u64,
        /// Why.
        #[serde(skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// The client acknowledged a message, and this ack is among those that are sampled.
    Acked {
        /// The sequence of the delivery.
        consumer_seq: u64,
        /// Its stream sequence.
        stream_seq: u64,
        /// Nanoseconds since it was last delivered.
        ack_time: i64,
        /// How often it was delivered.
        deliveries: u64,
    },
    /// The consumer is paused, or goes on.
    Paused {
        /// Whether it is paused.
        paused: bool,
        /// Until when it is, or was; Go's zero time if it no longer is.
        pause_until: ApiTime,
    },
    /// A client of a priority group gets all messages from now on.
    Pinned {
        /// The group.
        group: String,
        /// The client's id.
        pinned_id: String,
    },
    /// No client of the group is pinned any more.
    Unpinned {
        /// The group.
        group: String,
        /// `admin` or `timeout`.
        reason: &'static str,
    },
    /// The consumer was made or is gone.
    Action {
        /// Which of these.
        action: Action,
    },
}

/// What was done with a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was made.
    Create,
    /// It is gone.
    Delete,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: String,
    id: String,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    stream: &'a str,
    consumer: &'a str,
    #[serde(flatten)]
    advisory: &'a Advisory,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

/// Publishes `advisory` about `consumer` if anybody listens.
pub fn publish(context: &StreamContext, consumer: &str, advisory: &Advisory) {
    let (kind, name) = match advisory {
        Advisory::MaxDeliveries { .. } => ("ADVISORY.CONSUMER.MAX_DELIVERIES", "advisory.v1.max_deliver"),
        Advisory::Nak { .. } => ("ADVISORY.CONSUMER.MSG_NAKED", "advisory.v1.nak"),
        Advisory::Terminated { .. } => ("ADVISORY.CONSUMER.MSG_TERMINATED", "advisory.v1.terminated"),
        Advisory::Acked { .. } => ("METRIC.CONSUMER.ACK", "metric.v1.consumer_ack"),
        Advisory::Paused { .. } => ("ADVISORY.CONSUMER.PAUSE", "advisory.v1.consumer_pause"),
        Advisory::Pinned { .. } => ("ADVISORY.CONSUMER.PINNED", "advisory.v1.consumer_group_pinned"),
        Advisory::Unpinned { .. } => ("ADVISORY.CONSUMER.UNPINNED", "advisory.v1.consumer_group_unpinned"),
        Advisory::Action { action: Action::Create } => ("ADVISORY.CONSUMER.CREATED", "advisory.v1.consumer_action"),
        Advisory::Action { action: Action::Delete } => ("ADVISORY.CONSUMER.DELETED", "advisory.v1.consumer_action"),
    };
    let subject = format!("$JS.EVENT.{kind}.{}.{consumer}", context.stream);
    if !context.has_interest(&subject) {
        return;
    }
    let of_account = matches!(advisory, Advisory::Pinned { .. } | Advisory::Unpinned { .. });
    let event = Event {
        r#type: format!("io.nats.jetstream.{name}"),
        id: format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..)),
        timestamp: Timestamp::now(),
        account: of_account.then(|| context.account.name()),
        stream: &context.stream,
        consumer,
        advisory,
        domain: context.domain.told(),
    };
    if let Ok(json) = serde_json::to_vec(&event) {
        context.publish(&subject, &[], &json);
    }
}
