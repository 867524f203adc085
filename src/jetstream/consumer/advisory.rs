//! Advisories of consumers: JSON events that monitoring listens to (`server/jetstream_events.go`). They are made only when
//! somebody does.

use super::config::Timestamp;
use super::context::StreamContext;
use serde::Serialize;

/// What happened to a message or a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        reason: String,
    },
    /// The consumer is paused, or goes on.
    Paused {
        /// Until when; in the past if it goes on.
        until: Timestamp,
    },
    /// The consumer was made.
    Created,
    /// The consumer is gone.
    Deleted,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: String,
    timestamp: Timestamp,
    stream: &'a str,
    consumer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

/// Publishes `advisory` about `consumer` if anybody listens.
pub fn publish(context: &StreamContext, consumer: &str, advisory: &Advisory) {
    let (kind, name) = match advisory {
        Advisory::MaxDeliveries { .. } => ("MAX_DELIVERIES", "max_deliver"),
        Advisory::Nak { .. } => ("MSG_NAKED", "nak"),
        Advisory::Terminated { .. } => ("MSG_TERMINATED", "terminated"),
        Advisory::Paused { .. } => ("PAUSE", "consumer_pause"),
        Advisory::Created => ("CREATED", "consumer_action"),
        Advisory::Deleted => ("DELETED", "consumer_action"),
    };
    let subject = format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{}.{consumer}", context.stream);
    if !context.has_interest(&subject) {
        return;
    }
    let (consumer_seq, stream_seq, deliveries, reason) = match advisory {
        Advisory::MaxDeliveries { stream_seq, deliveries } => (None, Some(*stream_seq), Some(*deliveries), ""),
        Advisory::Nak { consumer_seq, stream_seq, deliveries } => {
            (Some(*consumer_seq), Some(*stream_seq), Some(*deliveries), "")
        }
        Advisory::Terminated { consumer_seq, stream_seq, deliveries, reason } => {
            (Some(*consumer_seq), Some(*stream_seq), Some(*deliveries), reason.as_str())
        }
        Advisory::Paused { .. } | Advisory::Created | Advisory::Deleted => (None, None, None, ""),
    };
    let pause_until = match advisory {
        Advisory::Paused { until } => Some(*until),
        _ => None,
    };
    let event = Event {
        r#type: &format!("io.nats.jetstream.advisory.v1.{name}"),
        id: format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..)),
        timestamp: Timestamp::now(),
        stream: &context.stream,
        consumer,
        action: match advisory {
            Advisory::Created => Some("create"),
            Advisory::Deleted => Some("delete"),
            _ => None,
        },
        consumer_seq,
        stream_seq,
        deliveries,
        reason,
        paused: pause_until.map(|until| until > Timestamp::now()),
        pause_until,
        domain: context.domain.as_deref(),
    };
    if let Ok(json) = serde_json::to_vec(&event) {
        context.publish(&subject, &[], &json);
    }
}
