//! The state of everything, as `leafd status` shows it. Reads everybody's snapshots; nobody uses it.

mod render;

pub use render::render;

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
            rss: rss().unwrap_or(0),
        }
    }
}

fn rss() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
