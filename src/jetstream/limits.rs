//! What the streams of an account may be, beside what each is by itself (nats-server `jetstream.go`, `checkLimits`;
//! `stream.go`, `maxBytesLimits`).

use super::config::{StorageType, StreamConfig, limit};
use super::error::ApiError;
use super::info::AccountLimits;

/// What other streams of the account take already.
pub struct Taken {
    /// How many there are.
    pub streams: usize,
    /// Bytes that those of the same storage have reserved by `max_bytes`.
    pub reserved: u64,
    /// Bytes that the server has left which no stream of any account has reserved.
    pub server: u64,
}

impl AccountLimits {
    /// Bytes of `storage`; `None`: no bound but the server's.
    pub fn most(&self, storage: StorageType) -> Option<u64> {
        let most = match storage {
            StorageType::File => self.max_storage,
            StorageType::Memory => self.max_memory,
        };
        u64::try_from(most).ok()
    }

    /// Consumers of a stream that asks for at most `own`; `None`: any number.
    pub fn consumers(&self, own: i64) -> Option<i64> {
        [own, self.max_consumers].into_iter().filter(|limit| *limit > 0).min()
    }

    /// Checks whether there may be one more stream, `config`, beside those that have `taken` theirs.
    ///
    /// # Errors
    /// 10027, and those of [`AccountLimits::check_bounds`].
    pub fn check_new(&self, config: &StreamConfig, taken: &Taken) -> Result<(), ApiError> {
        if self.max_streams > 0 && i64::try_from(taken.streams).is_ok_and(|streams| streams >= self.max_streams) {
            return Err(ApiError::new(400, 10027, "maximum number of streams reached"));
        }
        // Without a bound of its own it takes what there is, which must be something.
        let wanted = if config.max_bytes < 0 { 1 } else { config.max_bytes.unsigned_abs() };
        self.check_bounds(config, wanted, wanted, taken)
    }

    /// Checks whether the stream `old` may become as `config` says.
    ///
    /// # Errors
    /// 10026, 10028 and 10047.
    pub fn check_changed(&self, old: &StreamConfig, config: &StreamConfig, taken: &Taken) -> Result<(), ApiError> {
        let reserved = |config: &StreamConfig| limit(config.max_bytes).unwrap_or(0);
        let wanted = reserved(config);
        self.check_bounds(config, wanted, wanted.saturating_sub(reserved(old)), taken)
    }

    /// `wanted` is what the stream reserves, `more` how much of it is new.
    fn check_bounds(&self, config: &StreamConfig, wanted: u64, more: u64, taken: &Taken) -> Result<(), ApiError> {
        if config.max_consumers > 0 && self.max_consumers > 0 && config.max_consumers > self.max_consumers {
            return Err(ApiError::new(400, 10026, "maximum consumers limit reached"));
        }
        let own = self.most(config.storage);
        if own.is_none_or(|own| taken.reserved.saturating_add(wanted) <= own) && more <= taken.server {
            return Ok(());
        }
        Err(match config.storage {
            StorageType::File => ApiError::new(500, 10047, "insufficient storage resources available"),
            StorageType::Memory => ApiError::new(500, 10028, "insufficient memory resources available"),
        })
    }

    /// Checks the `max_bytes` of a stream.
    ///
    /// # Errors
    /// 10113 and 10122.
    pub fn check_max_bytes(&self, config: &StreamConfig) -> Result<(), ApiError> {
        if self.max_bytes_required && config.max_bytes <= 0 {
            return Err(ApiError::new(400, 10113, "account requires a stream config to have max bytes set"));
        }
        let most = match config.storage {
            StorageType::File => self.storage_max_stream_bytes,
            StorageType::Memory => self.memory_max_stream_bytes,
        };
        if most > 0 && config.max_bytes > most {
            return Err(ApiError::new(400, 10122, "stream max bytes exceeds account limit max stream bytes"));
        }
        Ok(())
    }
}
