//! The state of mirrors and sources, told to the hub: in the key-value bucket that a `[[leaf.remote]]` names.

use crate::account::{LocalClient, Message};
use crate::config::leaf::RemoteConfig;
use crate::jetstream::{JetStreams, SyncStatus};
use crate::leaf::Links;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Least time between two times of telling, so that a link that comes and goes does not fill itself with them.
const PAUSE: Duration = Duration::from_secs(5);
/// Changes that may wait; they are looked at all at once.
const CHANGES: usize = 64;

/// What is told from.
#[derive(Clone)]
pub(super) struct Teller {
    pub gateway: String,
    pub links: Arc<Links>,
    pub jetstreams: Arc<JetStreams>,
}

#[derive(Serialize)]
struct Report<'a> {
    time: Option<String>,
    #[serde(flatten)]
    status: &'a SyncStatus,
}

impl Teller {
    /// Tells the hub of each of `remotes` that is to be told, until `shutdown`.
    pub async fn run(self, mut remotes: watch::Receiver<Vec<RemoteConfig>>, mut shutdown: watch::Receiver<bool>) {
        loop {
            let mut told = JoinSet::new();
            for remote in remotes.borrow_and_update().iter().filter(|remote| remote.status_bucket.is_some()) {
                told.spawn(self.clone().tell(remote.clone()));
            }
            tokio::select! {
                _ = shutdown.wait_for(|end| *end) => return,
                changed = remotes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Tells the hub of `remote`: soon after a change that is worth an event, else at its interval.
    async fn tell(self, remote: RemoteConfig) {
        let (Some(bucket), Some(jetstream)) = (remote.status_bucket, self.jetstreams.of(&remote.account)) else {
            return;
        };
        let mut changes = LocalClient::new(jetstream.account().clone()).subscribe("$LEAFD.EVENT.ORIGIN.>", CHANGES);
        let interval = remote.status_interval.0;
        let mut told: HashMap<String, SyncStatus> = HashMap::new();
        let (mut last, mut next) = (Instant::now(), Instant::now() + PAUSE);
        loop {
            tokio::select! {
                Some(_) = changes.next() => next = next.min(last + PAUSE),
                () = tokio::time::sleep_until(next) => {
                    (last, next) = (Instant::now(), Instant::now() + interval);
                    let origins: Vec<_> = jetstream.streams().iter().flat_map(|stream| stream.sync()).collect();
                    let origins = origins.into_iter().filter(SyncStatus::is_external);
                    let mut now: HashMap<_, _> = origins.map(|status| (status.key(), status)).collect();
                    told.retain(|key, _| now.contains_key(key));
                    now.retain(|key, status| told.get(key).is_none_or(|told| status.differs(told)));
                    let Some(link) = self.links.find(&remote.name).filter(|_| !now.is_empty()) else { continue };
                    for (key, status) in now {
                        let subject = format!("$KV.{bucket}.{}.{key}", self.gateway);
                        let time = OffsetDateTime::now_utc().format(&Rfc3339).ok();
                        // A struct of strings and numbers always serialises.
                        let payload = serde_json::to_vec(&Report { time, status: &status }).unwrap_or_default();
                        let message = Message { subject: &subject, reply: "", headers: b"", payload: &payload };
                        // Not permitted or no link: the next one will do.
                        if link.publish(&message).is_ok() {
                            told.insert(key, status);
                        }
                    }
                }
            }
        }
    }
}
