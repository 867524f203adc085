//! Consumers: where readers of a stream stand, what they were given and what they acknowledged.
//!
//! ```text
//! commit ──────────────┐                       ┌─> inbox or deliver subject (account router)
//! pull request, ack ───┼─> schedule ─> run ────┤
//! timer (ack wait ...) ┘   (deliver)   (run)   └─> state changed ─> writer ─> state log ─> double ack answered
//! ```
//!
//! [`state`] decides what may be delivered and is pure; [`pull`] and [`push`] decide to whom; [`live`] holds them under one
//! lock; [`run`] (with `read`) reads and routes on the threads of [`deliver`]; [`writer`] makes acks durable. [`Consumers`] is what a
//! stream sees of all this, [`Engine`] what the account's streams share.

pub mod ack;
mod advisory;
mod backlog;
pub mod config;
mod consumers;
mod context;
pub mod deliver;
mod engine;
pub mod info;
mod inlet;
mod interest;
pub mod live;
mod members;
mod pace;
pub mod persist;
mod position;
pub mod pull;
pub mod push;
mod read;
pub mod reset;
mod retire;
mod rounds;
pub mod run;
mod snapshot;
mod start;
pub mod state;
pub mod status;
pub mod timers;
pub mod validate;
mod writer;

pub use config::{Action, ConsumerConfig, CreateRequest};
pub use consumers::{Consumers, Created};
pub(super) use context::prefixes;
pub use engine::Engine;
pub use info::ConsumerInfo;
pub use live::Consumer;
pub use snapshot::Snapshot;
pub use validate::{Refusal, Retention, StreamRules};

#[cfg(test)]
mod tests;
