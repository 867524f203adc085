//! The server in its system account: what it tells there by itself, and the requests that it answers.

use super::heartbeat;
use super::requests::{self, Site};
use super::sources::Sources;
use crate::account::Account;
use crate::events::Events;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// At work until the daemon ends.
pub struct SystemAccount {
    heartbeat: JoinHandle<()>,
    requests: JoinHandle<()>,
}

impl SystemAccount {
    /// Tells of the accounts that have `changed`, and of the server, and answers requests, until `ending`.
    pub fn start(
        sources: Arc<Sources>,
        events: Arc<Events>,
        changed: mpsc::Receiver<Arc<Account>>,
        ending: watch::Receiver<bool>,
    ) -> SystemAccount {
        let site = Site { sources: sources.clone(), events: events.clone() };
        SystemAccount {
            requests: tokio::spawn(requests::run(site, ending.clone())),
            heartbeat: tokio::spawn(heartbeat::run(sources, events, changed, ending)),
        }
    }

    /// Waits for the end.
    pub async fn stopped(self) {
        let _ = self.heartbeat.await;
        let _ = self.requests.await;
    }
}
