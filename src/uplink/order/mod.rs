//! In which order local messages go to the hub, and how exactly once holds in each.
//!
//! The [`machine`](super::machine) proves exactly once for messages that stand in line: numbers 1, 2, 3, each sent behind the
//! one before. It does not mind which message has which number. So an order is a permutation of the local sequences: the
//! [`Plan`] gives each of them its place in line, once, and is on disk before a message that it places is sent. Then the
//! hub's last message from here tells how far the line has got, whatever the order, and nothing else has to be kept.
//!
//! A message whose place differs from its sequence has both in its id (`...:<seq>@<place>`), so that a plan that was lost,
//! or restored from a backup, is noticed: an id that does not fit the plan counts as somebody else's. Then messages may come
//! twice, but none is taken for delivered that is not.
//!
//! The line is planned a block at a time while there is a backlog ([`Planner`]), as what arrives meanwhile may have to go
//! first. With no backlog its end is open: messages have their own sequence as place, and nothing is written.

mod plan;
mod planner;

pub use plan::{Plan, Stretch, Way};
pub use planner::{Planner, Step};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Saved {
    epoch: String,
    plan: Plan,
}

/// Encodes the plan of the local stream's `epoch`.
pub fn encode(epoch: &str, plan: &Plan) -> Bytes {
    let saved = Saved { epoch: epoch.to_owned(), plan: plan.clone() };
    serde_json::to_vec(&saved).unwrap_or_default().into()
}

/// Decodes a plan. That of another epoch is about another stream; then the line is as the local stream runs.
pub fn decode(saved: Option<Bytes>, epoch: &str) -> Plan {
    let saved = saved.and_then(|saved| serde_json::from_slice::<Saved>(&saved).ok());
    saved.filter(|saved| saved.epoch == epoch).map(|saved| saved.plan).unwrap_or_default()
}
