//! What an account imports, as monitoring shows it.

use crate::account::Account;
use std::sync::PoisonError;

/// An import in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportView {
    /// Whether messages are imported, not requests.
    pub is_stream: bool,
    /// The exporting account.
    pub account: String,
    /// Subject there.
    pub subject: String,
    /// Subject here.
    pub to: String,
    /// Whether the service is told who asks.
    pub shares: bool,
}

impl Account {
    /// The imports in force, streams first.
    pub fn imports(&self) -> Vec<ImportView> {
        let streams = self.sharing.stream_imports.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut views: Vec<_> = streams.iter().map(|import| import.view()).collect();
        let services = self.sharing.services.read().unwrap_or_else(PoisonError::into_inner);
        services.imports.for_each(&mut |import: &std::sync::Arc<super::ServiceImport>| views.push(import.view()));
        views
    }
}
