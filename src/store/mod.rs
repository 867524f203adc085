//! The store: append-only segment logs and a small state log, made durable together by one commit thread.
//!
//! A log takes records into a staging buffer ([`Log::append`] never waits for the disk); the commit thread takes all that
//! is staged, writes it with one write per log, syncs, and only then tells each log's [`CommitObserver`]. What arrives
//! meanwhile shares the next sync. Reading never goes beyond what is committed, except for a single record asked for by
//! its sequence. Nothing in here knows NATS, save that records carry a subject by which they are indexed.
//!
//! On disk: `store.version`, `store.lock`, `state.log`, and for each log a folder `streams/<id>/` with its segments
//! (`<first sequence>.seg`) and `tombstones`; and hints that can be made again: an index of each sealed segment
//! (`<first sequence>.idx`) and `checkpoint`.

mod batch;
mod bits;
mod checkpoint;
mod clock;
mod coding;
mod commit;
mod compaction;
mod dir;
mod error;
mod frame;
mod fsck;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(any(test, fuzzing))]
pub mod fuzz_hints;
mod handle;
mod index;
mod io;
mod log;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod removed;
mod reserve;
mod salt;
mod salvage;
mod scanner;
mod segment;
#[cfg(any(test, fuzzing))]
mod sim;
mod state_log;
mod subjects;
mod table;
mod tables;
#[cfg(test)]
mod tests;
mod tombstones;
mod unit;
mod varint;
mod vault;
mod writer;

pub use commit::{Commit, StoreStats};
pub use error::StoreError;
pub use fsck::{Damage, LogReport, Report, examine};
pub use handle::{Store, StoreOptions};
pub use io::{Disk, DiskFile, RealDisk};
pub use log::{CommitObserver, Later, Limits, Log, LogOptions, LogState, Purge, Storage, Sync};
pub use reader::Reader;
pub use record::{Record, Stored};
pub use salvage::salvage;
pub use state_log::{Change, StateLog};
pub use subjects::SubjectInfo;
pub use vault::{Cipher, Encryption};
