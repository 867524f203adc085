//! How the log of a stream is kept.

use super::ageing;
use super::config::{Compression, Discard, PersistMode, StorageType, StreamConfig, limit};
use crate::store::{Limits, LogOptions, Storage, Sync};
use std::time::Duration;

impl From<StorageType> for Storage {
    fn from(storage: StorageType) -> Self {
        match storage {
            StorageType::File => Storage::File,
            StorageType::Memory => Storage::Memory,
        }
    }
}

/// How the log of a stream with `config` is to be kept.
pub(super) fn log_options(config: &StreamConfig) -> LogOptions {
    LogOptions {
        storage: config.storage.into(),
        sync: Sync::Durable,
        limits: limits(config),
        first_seq: config.first_seq.max(1),
        compress: compresses(config),
    }
}

/// How durable what is stored is; `interval` is how often those are synced that are to be so.
pub(super) fn sync(config: &StreamConfig, interval: Duration) -> Sync {
    // Where it goes on in another stream is kept durably, so what it has of that must not be less.
    let follows = config.mirror.is_some() || !config.sources.is_empty();
    match config.persist_mode {
        PersistMode::Async if !follows => Sync::Interval(interval),
        _ => Sync::Durable,
    }
}

/// Whether new messages are compressed; in memory none are, as in nats-server.
pub(super) fn compresses(config: &StreamConfig) -> bool {
    config.compression == Compression::S2 && config.storage == StorageType::File
}

/// Where new messages give way, the desk refuses them and the log must not drop old ones.
pub(super) fn limits(config: &StreamConfig) -> Limits {
    let drops = config.discard == Discard::Old;
    Limits {
        max_msgs: limit(config.max_msgs).filter(|_| drops),
        max_bytes: limit(config.max_bytes).filter(|_| drops),
        max_age: limit(config.max_age).filter(|_| !ageing::is_own(config)).map(Duration::from_nanos),
        max_msgs_per_subject: limit(config.max_msgs_per_subject).filter(|_| !config.discard_new_per_subject),
    }
}
