//! The state of everything, as `leafd status` and monitoring over HTTP show it. Reads everybody's snapshots; nobody uses it.

mod heartbeat;
mod http;
mod pages;
mod process;
mod query;
mod render;
mod requests;
mod sources;
mod system_account;
mod text;

pub use http::{Http, HttpError};
pub use render::render;
pub use sources::{Counters, Sources};
pub use system_account::SystemAccount;

use serde::Serialize;
use std::time::Instant;

/// What is told of the process itself.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// Version of leafd.
    pub version: &'static str,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// Resident memory in bytes; 0 if the system does not tell.
    pub rss: u64,
}

impl ProcessStatus {
    /// Of a process that started at `since`.
    pub fn now(since: Instant) -> ProcessStatus {
        ProcessStatus {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime: since.elapsed().as_secs(),
            rss: process::rss().unwrap_or(0),
        }
    }
}
