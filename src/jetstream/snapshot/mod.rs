//! Backup and restore of streams in the format of nats-server 2.15 (`server/stream_backup.go`): an [archive] of the stream's
//! numbers, its consumers with their delivery states, and its messages, in the S2 stream format.
//!
//! ```text
//! log ─> archive ─> S2 ─> chunks with flow control ─> deliver subject          (backup)
//! chunks, each acknowledged ─> S2 ─> archive ─> a new log ─> the stream opens  (restore)
//!                                 └─> tar of [files] ─┘ if it was made before 2.15
//! ```

mod archive;
mod backup;
mod blocks;
mod files;
mod restore;
mod tar;

pub(super) use self::backup::{Backup, Request as BackupRequest};
pub(super) use self::restore::Restore;

use serde::{Deserialize, Serialize};

/// The entry with the numbers, which comes first.
const STATE: &str = "state.json";
/// What the names of the entries of consumers begin with; they come behind the numbers.
const CONSUMERS: &str = "consumers/";

/// The part of a stream's numbers that a restore needs.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Numbers {
    first_seq: u64,
    last_seq: u64,
    consumer_count: u64,
}
