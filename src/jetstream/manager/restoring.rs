//! Streams that are being restored: they have a log, and are a stream when all of it is there.

use super::{JetStream, catalogue};
use crate::jetstream::catalogue::Entry;
use crate::jetstream::config::{StorageType, StreamConfig};
use crate::jetstream::error::ApiError;
use crate::jetstream::log_options::log_options;
use crate::jetstream::stream::Stream;
use crate::store::Log;
use std::sync::Arc;

/// A stream to be.
pub(in crate::jetstream) struct Made {
    entry: Entry,
    pub log: Log,
}

impl JetStream {
    /// Checks the configuration of a stream to be restored, and fills in its defaults.
    pub(in crate::jetstream) fn may_restore(&self, config: &mut StreamConfig) -> Result<(), ApiError> {
        self.check(config, false)?;
        let limits = self.shared.limits().of(1)?;
        limits.check_max_bytes(config)?;
        limits.check_new(config, &self.taken(config))?;
        if self.stream(&config.name).is_some() {
            return Err(ApiError::new(400, 10130, "stream name already in use, cannot restore"));
        }
        self.check_online(&config.name)?;
        self.check_overlap(config)
    }

    /// An empty log for it.
    pub(in crate::jetstream) fn begin_restore(&self, config: StreamConfig) -> Result<Made, ApiError> {
        let entry = Entry::new(self.shared.account.name(), config);
        // First: what is left of it after a power cut is removed at the next start.
        let begun = catalogue::begin_restore(&self.store, self.shared.account.name(), &entry);
        begun.wait().map_err(ApiError::general)?;
        let log = self.store.create_log(&entry.log, log_options(&entry.config)).map_err(ApiError::general)?;
        Ok(Made { entry, log })
    }

    /// Whether there is room for so many bytes of a stream to be.
    pub(in crate::jetstream) fn check_restore(&self, storage: StorageType, bytes: u64) -> Result<(), ApiError> {
        Ok(self.shared.usage.admit(storage, bytes)?)
    }

    /// Its log is filled: the stream is there from now on.
    pub(in crate::jetstream) fn end_restore(&self, made: Made) -> Result<Arc<Stream>, ApiError> {
        let _changing = self.changing();
        let Made { mut entry, log } = made;
        if let Err(error) = self.may_restore(&mut entry.config) {
            self.abandon_restore(&entry.log);
            return Err(error);
        }
        catalogue::end_restore(&self.store, self.shared.account.name(), &entry).map_err(ApiError::general)?;
        let stream = Stream::open(self.shared.clone(), entry, log).map_err(ApiError::general)?;
        self.insert(&stream);
        self.advise("CREATED", "create", stream.name());
        Ok(stream)
    }

    /// It will not be: its log goes.
    pub(in crate::jetstream) fn abandon_restore(&self, log: &str) {
        catalogue::abandon_restore(&self.store, self.shared.account.name(), log);
    }
}

impl Made {
    /// The name of its log.
    pub fn log_id(&self) -> &str {
        &self.entry.log
    }

    /// Where its messages are kept.
    pub fn storage(&self) -> StorageType {
        self.entry.config.storage
    }
}
