//! The link to the hub, and leaf connections that others make to us (nats-server's leafnode protocol).
//!
//! A link dials (`dial`), shows who it is (`auth`), and runs a `session` for as long as the connection lasts. A connection
//! that is up is a `peer`: a target in the account's router for what the other side wants, and an announcer of what we
//! want (`interest`), both narrowed by `permissions`. The accepting side differs only in its handshake.

mod accept;
mod auth;
mod backoff;
mod compression;
mod control;
mod dial;
mod guest;
mod info;
mod interest;
mod link;
mod links;
mod listen;
mod liveness;
mod peer;
mod permissions;
mod probe;
mod session;
mod status;
mod stored_share;
mod visitor;
mod wire;

pub use compression::Volume;
pub use dial::{Identity, bare};
/// The S2 stream format, for fuzzing.
#[cfg(fuzzing)]
pub mod s2 {
    pub use super::compression::{Decoded, Decoder, Encoder};
    pub use crate::config::compression::CompressionLevel;
    /// All levels.
    pub const LEVELS: [CompressionLevel; 4] = CompressionLevel::ALL;
}
pub use link::{Link, LinkError};
pub use links::{LinkChanges, Links};
pub use listen::{Door, House, LeafStatus, ListenError, Listener};
pub use probe::{Crossing, Probe};
pub use status::{LeafConnection, LinkState, LinkStatus};
pub use wire::STEP_LIMIT;
#[cfg(fuzzing)]
pub use {auth::LeafConnect, info::LeafInfo};
