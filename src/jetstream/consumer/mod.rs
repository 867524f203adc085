//! Consumers.

pub mod ack;
pub mod config;
pub mod persist;
pub mod pull;
pub mod push;
pub mod state;
pub mod status;
pub mod validate;
