//! The wire grammar of NATS: what bytes mean, and which bytes to write. No I/O, no state beyond a parser's own.

mod connect;
mod error;
pub mod headers;
mod info;
pub mod leaf;
pub mod number;
mod parser;

pub use connect::Connect;
pub use error::ProtocolError;
pub use info::Info;
pub use parser::{Limits, Op, Parser};

/// Level of the JetStream API that is implemented.
pub const JETSTREAM_API_LEVEL: u16 = 5;

/// Version of nats-server whose behaviour is implemented; clients detect features by it.
pub const NATS_VERSION: &str = "2.15.1";
