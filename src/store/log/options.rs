//! How a log is kept, and what is said of it.

use crate::store::StoreError;
use std::fmt;
use std::time::Duration;

/// Where a log keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In segment files.
    File,
    /// In memory; gone with the process.
    Memory,
}

/// When a record counts as committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When it is on disk.
    Durable,
    /// When it is written; the disk is synced at this interval, so a power cut loses at most that much.
    Interval(Duration),
}

impl fmt::Display for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sync::Durable => f.write_str("durable"),
            Sync::Interval(every) => write!(f, "every {every:?}"),
        }
    }
}

/// What makes the oldest records go. They go after a commit, so limits may be exceeded by what is staged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most records.
    pub max_msgs: Option<u64>,
    /// Most bytes, as counted in [`LogState::bytes`].
    pub max_bytes: Option<u64>,
    /// Greatest age.
    pub max_age: Option<Duration>,
    /// Most records of one subject.
    pub max_msgs_per_subject: Option<u64>,
}

/// How a log is to be kept.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Where.
    pub storage: Storage,
    /// How durably.
    pub sync: Sync,
    /// How much.
    pub limits: Limits,
    /// First sequence of a new log.
    pub first_seq: u64,
    /// Records that come together are compressed together (S2); only in files.
    pub compress: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            storage: Storage::File,
            sync: Sync::Durable,
            limits: Limits::default(),
            first_seq: 1,
            compress: false,
        }
    }
}

/// Told what became of staged records, on the commit thread, in order (and of damage). Must not wait for a commit.
pub trait CommitObserver: Send + std::marker::Sync {
    /// Every sequence up to `upto` is committed.
    fn committed(&self, upto: u64);
    /// The staged sequences from `from` on were dropped; the log goes on from `from`.
    fn failed(&self, from: u64, error: &StoreError);
    /// The committed sequences from `first` to `last` turned out damaged, and are left out from now on. Comes from whichever
    /// thread read them, so it must not wait.
    fn damaged(&self, _first: u64, _last: u64) {}
}

/// Numbers of a log, staged records included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Records.
    pub msgs: u64,
    /// Bytes they take on disk.
    pub bytes: u64,
    /// First sequence; one more than the last if there is no record.
    pub first_seq: u64,
    /// Last sequence ever given.
    pub last_seq: u64,
    /// Time of the first record, nanoseconds since 1970; 0 if there is none or it cannot be read.
    pub first_time: i64,
    /// Time of the last record; 0 if there never was one.
    pub last_time: i64,
    /// Different subjects.
    pub num_subjects: u64,
    /// Sequences between first and last that are no more.
    pub num_deleted: u64,
    /// Last committed sequence.
    pub committed: u64,
    /// Sequences that turned out damaged.
    pub damaged: u64,
}

/// What to purge; all that is said must hold.
#[derive(Clone, Debug, Default)]
pub struct Purge {
    /// Only subjects that this filter selects.
    pub filter: Option<String>,
    /// Only sequences below this one.
    pub below_seq: Option<u64>,
    /// All but the last so many.
    pub keep: Option<u64>,
}
