//! Compares leafd's segment log with embedded databases: speed, bytes written, power cuts and damage.
//!
//! Each measurement runs in a process of its own (`measure`), so that its bytes can be taken from the kernel's account and
//! a crash is a result like any other; `report` starts them, and makes a table of what they say.

/// Records that wait behind one committer.
pub mod committer;
/// A flipped byte.
pub mod damage;
/// A block device in memory that forgets what was not flushed.
pub mod device;
/// What an engine has to do.
pub mod engine;
/// The engines.
pub mod engines;
/// What one process measures.
pub mod measure;
/// Power cuts.
pub mod power;
/// The processes that measure.
pub mod process;
/// Medians and tables.
pub mod table;
/// The work that is measured.
pub mod workload;

pub use engine::{Engine, Kind};

/// Whatever went wrong, in words.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A result with an error in words.
pub type Result<T> = std::result::Result<T, Error>;
