//! The client side of the daemon: listeners, connections, outbound buffers.
//!
//! A connection's task reads a buffer full, parses and routes every message in it (the targets' outbound buffers fill
//! meanwhile), and then flushes each touched target once.

mod client;
mod connection;
mod listener;
pub mod outbound;
pub mod tls;
mod transport;

pub use listener::{Ending, Listening, Server, ServerOptions, ServerStatus, StartError};
