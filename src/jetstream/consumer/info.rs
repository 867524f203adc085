//! What `$JS.API.CONSUMER.INFO` tells of a consumer (`server/consumer.go`, `ConsumerInfo`).

use super::config::{AckPolicy, ConsumerConfig, PriorityPolicy, Timestamp};
use super::context::locked;
use super::live::{Consumer, Mode};
use super::pull::pin::Pin;
use super::state::{Pair, Ticks};
use crate::jetstream::info::ApiTime;
use crate::store::Commit;
use serde::Serialize;
use std::sync::Arc;

/// A sequence pair with the time of the last activity.
#[derive(Clone, Debug, Serialize)]
pub struct SequenceInfo {
    /// The consumer's own number.
    pub consumer_seq: u64,
    /// The stream sequence.
    pub stream_seq: u64,
    /// When it last moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<Timestamp>,
}

/// A priority group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupInfo {
    /// Its name.
    pub group: String,
    /// The id of the pinned client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_client_id: Option<Arc<str>>,
    /// Since when it is pinned; Go's zero time if none is.
    pub pinned_ts: ApiTime,
}

/// The state of a consumer.
#[derive(Clone, Debug, Serialize)]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Its configuration, with defaults and the server's metadata.
    pub config: ConsumerConfig,
    /// The last delivery.
    pub delivered: SequenceInfo,
    /// Everything up to here is acknowledged.
    pub ack_floor: SequenceInfo,
    /// Messages delivered and not acknowledged.
    pub num_ack_pending: usize,
    /// Of these, delivered more than once.
    pub num_redelivered: usize,
    /// Pull requests that wait.
    pub num_waiting: usize,
    /// Messages that match and were not delivered yet.
    pub num_pending: u64,
    /// Push: somebody listens.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub push_bound: bool,
    /// The first priority group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<GroupInfo>,
    /// It delivers nothing for now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// For how long, nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_remaining: Option<i64>,
    /// When this was gathered.
    pub ts: Timestamp,
}

impl Consumer {
    /// Resolves when what the stream took in is committed, without which it would not be counted as pending; `None` if it is.
    pub fn unsettled(&self) -> Option<Commit> {
        (!self.context.log.is_settled()).then(|| self.context.store.barrier())
    }

    /// Its state now.
    pub fn info(&self) -> ConsumerInfo {
        let context = &self.context;
        let (now, ts) = (context.scheduler.now(), Timestamp::now());
        let wall =
            |ticks: Option<Ticks>| ticks.map(|at| Timestamp(ts.0 - i64::try_from(now.saturating_sub(at)).unwrap_or(0)));
        let sequence = |pair: Pair, last: Option<Ticks>| SequenceInfo {
            consumer_seq: pair.consumer,
            stream_seq: pair.stream,
            last_active: wall(last),
        };
        let first = context.log.state().first_seq;
        let (info, filter, next, picks, resume, mut backlog) = locked(&self.live, |live| {
            live.delivery.forget_below(first);
            let (num_waiting, push_bound, pin) = match &mut live.mode {
                Mode::Pull(waiting) => {
                    waiting.drop_without_interest(&|subject| context.has_interest(subject));
                    (waiting.len(), false, waiting.pin())
                }
                Mode::Push(push) => (0, push.is_active(), None),
            };
            let pause = live.config.pause_until.map(|until| until.0.saturating_sub(ts.0)).filter(|left| *left > 0);
            let info = ConsumerInfo {
                stream_name: context.stream.to_string(),
                name: self.name.to_string(),
                created: self.created,
                config: (*live.config).clone(),
                delivered: sequence(live.delivery.delivered(), live.last_delivered),
                ack_floor: sequence(live.delivery.floor(), live.last_acked),
                num_ack_pending: live.delivery.ack_pending(),
                num_redelivered: live.delivery.num_redelivered(),
                num_waiting,
                num_pending: 0,
                push_bound,
                priority_groups: live
                    .config
                    .priority_groups
                    .first()
                    .map(|group| GroupInfo::of(group, pin))
                    .into_iter()
                    .collect(),
                paused: pause.is_some(),
                pause_remaining: pause,
                ts,
            };
            let picks = live.delivery.picks().len() as u64;
            (info, live.filter.clone(), live.delivery.next(), picks, live.delivery.resume, live.backlog)
        });
        let from = if picks > 0 { resume + 1 } else { next };
        ConsumerInfo { num_pending: picks + backlog.exactly_at(&context.log, &filter, from), ..info }
    }
}

impl GroupInfo {
    fn of(group: &str, pin: Option<&Pin>) -> Self {
        GroupInfo {
            group: group.to_owned(),
            pinned_client_id: pin.and_then(|pin| pin.id().cloned()),
            pinned_ts: ApiTime(pin.and_then(Pin::since).map_or(0, |since| since.0)),
        }
    }
}

impl ConsumerInfo {
    /// With the metadata that nats-server adds to the answer about a single consumer.
    pub fn with_server_metadata(mut self) -> Self {
        self.config.metadata.insert("_nats.ver".into(), "2.15.1".into());
        self.config.metadata.insert("_nats.level".into(), "5".into());
        self
    }
}

/// Replaces what clients send back of the server's metadata by what the configuration requires.
pub fn set_static_metadata(config: &mut ConsumerConfig) {
    config.metadata.remove("_nats.ver");
    config.metadata.remove("_nats.level");
    let prioritised = config.priority_policy != PriorityPolicy::None || config.pinned_ttl != 0;
    let level = match config.ack_policy {
        AckPolicy::FlowControl => 4,
        _ => u8::from(config.pauses() || prioritised || !config.priority_groups.is_empty()),
    };
    config.metadata.insert("_nats.req.level".into(), level.to_string());
}
