//! Streams that could not be opened, as their files or their catalogue entry cannot be read.

use super::{JetStream, catalogue};
use crate::jetstream::error::ApiError;
use crate::store::StoreError;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockReadGuard};

impl JetStream {
    /// Streams that cannot be read, and why.
    pub fn offline(&self) -> RwLockReadGuard<'_, BTreeMap<String, String>> {
        self.offline.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what there is of a stream that could not be opened; `false` if there is none of that name.
    pub(super) fn delete_offline(&self, name: &str) -> Result<bool, ApiError> {
        if self.ended.load(Ordering::SeqCst) || !self.offline().contains_key(name) {
            return Ok(false);
        }
        let account = self.shared.account.name();
        let known = catalogue::scan(&self.store, account).into_iter().find(|(stream, _)| stream == name);
        // What cannot be read does not say where its messages are: their folder stays.
        if let Some((_, Ok(entry))) = &known {
            let failed = |error: StoreError| ApiError::new(500, 10050, error.to_string());
            catalogue::remove(&self.store, account, entry).wait().map_err(failed)?;
            catalogue::remove_log(&self.store, account, &entry.log).map_err(failed)?;
        }
        drop(catalogue::forget(&self.store, account, name));
        self.offline.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.advise("DELETED", "delete", name);
        Ok(true)
    }
}
