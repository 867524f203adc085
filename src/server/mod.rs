//! The client side of the daemon: listeners, connections, outbound buffers.
//!
//! A connection's task reads a buffer full, parses and routes every message in it (the targets' outbound buffers fill
//! meanwhile), and then flushes each touched target once.

mod client;
mod close_reason;
mod connection;
mod events;
mod greeting;
mod label;
mod lame_duck;
mod lane;
mod limits;
mod listener;
mod login;
mod message_trace;
pub mod outbound;
mod pending;
mod registry;
mod snapshot;
pub mod tls;
mod trace;
mod transport;
mod view;
pub mod websocket;

pub use lame_duck::LameDuck;
pub use limits::ClientLimits;
pub use listener::{Ending, Listening, Server, ServerOptions, ServerStatus, StartError};
pub use registry::AccountTotals;
pub use snapshot::{ClientSnapshot, SubscriptionSnapshot, Totals};
pub use transport::ByteStream;
pub use view::View;
