//! `[store]`: how what is stored lies on disk.

use super::secret::{Secret, SecretError};
use crate::store::{Cipher, Encryption};
use serde::Deserialize;

/// `[store]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Absent: not encrypted.
    pub encryption: Option<EncryptionConfig>,
}

/// `[store.encryption]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionConfig {
    /// The key, at least 16 bytes.
    pub key: Secret,
    /// The key before, with which the data directory is opened once more if it does not open with `key`.
    pub previous_key: Option<Secret>,
    /// Of new data directories; others keep theirs. Default: ChaCha20-Poly1305.
    #[serde(default)]
    pub cipher: Cipher,
}

impl EncryptionConfig {
    /// Reads the keys.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn read(&self) -> Result<Encryption, SecretError> {
        let read = |secret: &Secret| secret.read().map(String::into_bytes);
        let previous = self.previous_key.as_ref().map(read).transpose()?;
        Ok(Encryption { key: read(&self.key)?, previous, cipher: self.cipher })
    }
}
