//! What can go wrong in the store, in the operator's words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of the store. Cheap to clone, as one failed sync fails many records.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused to read or write.
    #[error("cannot {action} {path}: {error}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: Arc<std::io::Error>,
    },
    /// Another process has the data directory.
    #[error("the data directory {path} is in use by another leafd (process {pid}); stop that one or choose another data_dir", path = path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds the lock, as that process wrote it.
        pid: String,
    },
    /// Nothing can be written to the data directory.
    #[error("{path} is on a file system that is read-only, so leafd does not start: if it became so by errors, have it checked (fsck); mount it writable, or start with another data_dir to have everything but what is stored here", path = path.display())]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// A directory that is not leafd's.
    #[error("{path} is not a leafd data directory and not empty ({found} is there); choose an empty or a new data_dir", path = path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A file that does not belong there.
        found: String,
    },
    /// Written by a newer leafd.
    #[error("{path} has store format {found}, this leafd knows {known}; upgrade leafd, or restore a backup made by this version", path = path.display())]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
    /// Encrypted, and no key is configured.
    #[error("{path}: the data directory is encrypted; set key in [store.encryption] (for fsck and salvage: --key-file)", path = path.display())]
    NoKey {
        /// The file with the wrapped key.
        path: PathBuf,
    },
    /// The key is too short.
    #[error(
        "[store.encryption] key: at least {0} bytes are needed, since it is used as it is; `openssl rand -hex 32` makes a good one"
    )]
    ShortKey(usize),
    /// Another key.
    #[error("{path} does not open with this key: configure the one that the data directory was made with, or that as previous_key to change it; nothing was changed", path = path.display())]
    WrongKey {
        /// The file with the wrapped key.
        path: PathBuf,
    },
    /// The file with the wrapped key is gone or damaged.
    #[error("{path} is missing or damaged: without it nothing in the data directory can be read; restore it from a backup", path = path.display())]
    KeyLost {
        /// The file with the wrapped key.
        path: PathBuf,
    },
    /// A key is configured, but what is there is not encrypted.
    #[error("{path} is not encrypted, and stays so: `leafd salvage {path} NEW --new-key-file FILE` writes an encrypted copy, with which leafd can then be started; or take [store.encryption] away", path = path.display())]
    NotEncrypted {
        /// The directory, or a segment in it.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, without which nothing can be encrypted")]
    NoRandom,
    /// A record whose checksum is wrong.
    #[error("sequence {seq} of {log} is damaged on disk; the rest is readable")]
    Damaged {
        /// The log.
        log: String,
        /// The record.
        seq: u64,
    },
    /// Somebody who stores one record behind the other must look again what is there.
    #[error("records before this one were dropped, as the disk did not take them; they are fetched again")]
    RolledBack,
    /// A log of that name exists, or does not.
    #[error("the log {0} exists already")]
    Exists(String),
    /// No such log.
    #[error("there is no log {0}")]
    Missing(String),
    /// A record too large for a frame.
    #[error("a record of {0} bytes is too large for the store")]
    TooLarge(usize),
    /// No memory is left for another subject.
    #[error(
        "insufficient resources: the subjects of all streams take memory.max ({0} bytes), and a new one is refused; set more, or have streams with fewer subjects"
    )]
    Subjects(u64),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Wraps an error of the system.
    pub fn io(action: &'static str, path: &Path, error: std::io::Error) -> Self {
        StoreError::Io { action, path: path.to_owned(), error: Arc::new(error) }
    }

    /// Whether the disk is full (or a quota reached).
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, StoreError::Io { error, .. } if matches!(error.kind(), StorageFull | QuotaExceeded))
    }
}
