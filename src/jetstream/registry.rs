//! JetStream of all accounts that have it, as those change while the server runs.

use super::JetStream;
use std::sync::{Arc, PoisonError, RwLock};

/// JetStream by account, that of `$G` first if it has it.
#[derive(Default)]
pub struct JetStreams(RwLock<Vec<Arc<JetStream>>>);

impl JetStreams {
    /// Those of now.
    pub fn all(&self) -> Vec<Arc<JetStream>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That of the account of this name.
    pub fn of(&self, account: &str) -> Option<Arc<JetStream>> {
        self.all().into_iter().find(|jetstream| jetstream.account().name() == account)
    }

    /// One more.
    pub fn add(&self, jetstream: Arc<JetStream>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(jetstream);
    }

    /// One less.
    pub fn remove(&self, account: &str) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|jetstream| jetstream.account().name() != account);
    }
}
