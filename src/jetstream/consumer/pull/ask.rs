//! What a pull request asks for, read from its payload and checked against the consumer's limits
//! (`server/consumer.go`, `nextReqFromMsg`, `processNextMsgRequest`).

use crate::jetstream::consumer::config::{ConsumerConfig, PriorityPolicy};
use crate::jetstream::consumer::state::Ticks;
use crate::jetstream::consumer::status::Status;
use serde::Deserialize;
use std::sync::Arc;

/// What a pull request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Messages wanted, at least 1.
    pub batch: u64,
    /// Bytes wanted at most.
    pub max_bytes: Option<u64>,
    /// Nanoseconds after which it ends.
    pub expires: Option<Ticks>,
    /// It ends when nothing more is there.
    pub no_wait: bool,
    /// Nanoseconds of silence after which a sign of life is due.
    pub heartbeat: Option<Ticks>,
    /// Whether it is served before or only after others.
    pub priority: Priority,
    /// Where one client is pinned: its group, and the id that it was given.
    pub member: Option<Member>,
}

/// Who asks, where one client of a group is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The priority group.
    pub group: Box<str>,
    /// The id of the pinned client; empty if it has none.
    pub id: Arc<str>,
}

/// What a request of a priority group asks for (ADR-42).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priority {
    /// Overflow: it is served only when so many messages are left to deliver; 0: that does not matter.
    pub min_pending: u64,
    /// Overflow: or when so many are not acknowledged; 0: that does not matter.
    pub min_ack_pending: u64,
    /// Prioritized: requests with a lower number are served first.
    pub level: u8,
}

/// What a consumer has to do still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages left to deliver, the next one included.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
}

impl Priority {
    /// Whether a request that asks for this is served now.
    pub(super) fn admits(&self, load: Load) -> bool {
        let reached = |least: u64, have: u64| least > 0 && have >= least;
        self.min_pending == 0 && self.min_ack_pending == 0
            || reached(self.min_pending, load.pending)
            || reached(self.min_ack_pending, load.ack_pending)
    }
}

/// The JSON form. async-nats sends `null` for what is not asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Json<'a> {
    expires: Option<i64>,
    batch: Option<i64>,
    max_bytes: Option<i64>,
    no_wait: Option<bool>,
    idle_heartbeat: Option<i64>,
    min_pending: Option<i64>,
    min_ack_pending: Option<i64>,
    #[serde(borrow)]
    group: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
    priority: Option<i64>,
}

impl Ask {
    /// Reads the payload: empty for one message, a number, or JSON; and checks it against the limits of `config`.
    pub fn parse(payload: &[u8], config: &ConsumerConfig) -> Result<Ask, Status> {
        let text = payload.trim_ascii();
        let bad = |reason: &str| Status::BadRequest(reason.to_owned());
        let json = match text.first() {
            Some(b'{') => serde_json::from_slice(text).map_err(|error| Status::BadRequest(error.to_string()))?,
            _ => {
                let batch = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
                Json { batch: Some(batch), ..Json::default() }
            }
        };
        let or_zero = |field: Option<i64>| field.unwrap_or(0);
        let (batch, max_bytes) = (or_zero(json.batch), or_zero(json.max_bytes));
        let (expires, heartbeat) = (or_zero(json.expires), or_zero(json.idle_heartbeat));
        if heartbeat > 0 && heartbeat.saturating_mul(2) > expires {
            return Err(bad("heartbeat value too large"));
        }
        if config.max_request_batch > 0 && batch > config.max_request_batch {
            return Err(Status::MaxRequestBatch(config.max_request_batch));
        }
        if config.max_request_expires > 0 && expires > config.max_request_expires {
            return Err(Status::MaxRequestExpires(config.max_request_expires));
        }
        if config.max_request_max_bytes > 0 && max_bytes > config.max_request_max_bytes {
            return Err(Status::MaxRequestMaxBytes(config.max_request_max_bytes));
        }
        let policy = config.priority_policy;
        let (min_pending, min_ack_pending) = (or_zero(json.min_pending), or_zero(json.min_ack_pending));
        if (min_pending != 0 || min_ack_pending != 0) && policy != PriorityPolicy::Overflow {
            return Err(bad("Not a Overflow Priority consumer"));
        }
        let id = json.id.unwrap_or_default();
        if !id.is_empty() && policy != PriorityPolicy::PinnedClient {
            return Err(bad("Not a Pinned Client Priority consumer"));
        }
        if !(0..=9).contains(&or_zero(json.priority)) {
            return Err(bad("Priority must be between 0 and 9"));
        }
        // A request in JSON belongs to a group, where there are any.
        let mut member = None;
        if policy != PriorityPolicy::None && text.first() == Some(&b'{') {
            let group = json.group.unwrap_or_default();
            if group.is_empty() {
                return Err(bad("Priority Group missing"));
            }
            if !config.priority_groups.iter().any(|known| *known == group) {
                return Err(bad("Invalid Priority Group"));
            }
            if policy == PriorityPolicy::PinnedClient {
                member = Some(Member { group: group.into(), id: id.as_ref().into() });
            }
        }
        let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
        Ok(Ask {
            batch: positive(batch).unwrap_or(1),
            max_bytes: positive(max_bytes),
            expires: (expires != 0).then_some(expires.max(0) as u64),
            no_wait: json.no_wait.unwrap_or(false),
            heartbeat: positive(heartbeat),
            priority: Priority {
                min_pending: positive(min_pending).unwrap_or(0),
                min_ack_pending: positive(min_ack_pending).unwrap_or(0),
                level: match policy {
                    PriorityPolicy::Prioritized => or_zero(json.priority) as u8,
                    _ => 0,
                },
            },
            member,
        })
    }
}
