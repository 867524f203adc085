//! Store and forward: captures subjects in a local stream and delivers each message to the hub's stream once and in order.
//!
//! The path of a message: a local stream captures it ([`local::LocalStream`]); once it is on disk the [`worker`] reads it,
//! adds its id and a guard ([`message`]) and hands it to the link past the local router ([`link::HubLink`]); the hub's
//! ack comes back through an inbox ([`answer`]); the [`machine`] moves the cursor, which is saved about once a second
//! ([`cursor`]); then the message is dropped here. Why that is exactly once and in order stands in [`machine`].

mod answer;
mod ask;
mod cursor;
mod gaps;
mod leaf;
pub mod link;
pub mod local;
pub mod machine;
mod message;
mod order;
mod positions;
mod report;
mod start;
mod status;
pub mod stored;
#[cfg(test)]
mod tests;
mod thin;
pub mod traffic;
mod worker;

pub use report::Bucket;
pub use start::{StartError, Surroundings, warn_of_leftovers};
pub use status::UplinkStatus;

use crate::account::{Account, LocalClient};
use crate::config::uplink::DrainOrder;
use crate::system::meter::Meter;
use link::HubLink;
use local::LocalStream;
use machine::{Cursor, Phase, Settings};
use order::Plan;
use report::Notable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Notify, watch};
use traffic::{Held, Member};

/// What one uplink is made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Its name in the configuration.
    pub name: String,
    /// The gateway's name; part of the message ids.
    pub gateway: String,
    /// The subjects that it captures.
    pub filters: Arc<[String]>,
    /// The hub's stream, if the operator names it.
    pub hub_stream: Option<String>,
    /// Its JetStream domain.
    pub hub_domain: Option<String>,
    /// The subject that the dead-letter stream captures.
    pub dead_subject: String,
    /// The subject on which gaps are declared; one that the local stream captures. `None`: they are only counted.
    pub gap_subject: Option<String>,
    /// Of how many messages of a subject one stays, and of how many bytes, when the local stream is nearly full. `None`: it is
    /// not thinned.
    pub thin: Option<(u32, u64)>,
    /// What of a backlog goes first.
    pub order: DrainOrder,
    /// Where the hub is told the state; `None`: nowhere.
    pub bucket: Option<Bucket>,
    /// Bounds and times.
    pub settings: Settings,
}

/// A running uplink.
pub struct Uplink {
    shared: Arc<Shared>,
    local: Arc<dyn LocalStream>,
    ended: watch::Receiver<bool>,
    /// What is missing in `local` was superseded.
    sparse: bool,
}

/// What the task tells those who ask.
struct Shared {
    snapshot: Mutex<Snapshot>,
    /// Something notable has changed.
    changed: Notify,
    start: Instant,
}

struct Snapshot {
    status: UplinkStatus,
    phase: Phase,
    held: Option<Held>,
    cursor: Cursor,
    plan: Arc<Plan>,
    messages: Meter,
    bytes: Meter,
}

impl Snapshot {
    fn notable(&self) -> Notable {
        // Being held back for the rate's sake comes and goes with every message.
        let held = self.held.filter(|held| matches!(held, Held::Daily | Held::Monthly | Held::Schedule));
        Notable::of(&self.status, held.map(Held::words))
    }
}

impl Shared {
    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notable(&self) -> Notable {
        let snapshot = self.snapshot();
        snapshot.notable()
    }
}

impl Uplink {
    /// Starts the uplink of `local` over `link`, on the current runtime; it ends when `shutdown` turns true. `member` is its
    /// part in the traffic over the link.
    pub fn run(
        options: Options,
        member: Member,
        link: Arc<dyn HubLink>,
        local: Arc<dyn LocalStream>,
        account: Arc<Account>,
        shutdown: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let status =
            UplinkStatus { name: options.name.clone(), stream: local.name().to_owned(), ..UplinkStatus::default() };
        let (messages, bytes) = (Meter::default(), Meter::default());
        let (phase, held, cursor, plan) = (Phase::Offline, None, Cursor::default(), Arc::default());
        let snapshot = Snapshot { status, phase, held, cursor, plan, messages, bytes };
        let shared = Arc::new(Shared { snapshot: Mutex::new(snapshot), changed: Notify::new(), start: Instant::now() });
        let member = Arc::new(member);
        let sparse = options.settings.sparse;
        let (bucket, client) = (options.bucket.clone(), LocalClient::new(account.clone()));
        let worker = worker::Worker::new(
            options,
            member.clone(),
            link.clone(),
            local.clone(),
            LocalClient::new(account),
            shared.clone(),
        );
        let (end, ended) = watch::channel(false);
        let uplink = Arc::new(Uplink { shared, local, ended, sparse });
        let report = report::run(uplink.clone(), client, link, member, bucket, shutdown.clone());
        tokio::spawn(async move {
            tokio::join!(worker.run(shutdown), report);
            end.send_replace(true);
        });
        uplink
    }

    /// A snapshot of what it does.
    pub fn status(&self) -> UplinkStatus {
        let now = self.shared.start.elapsed();
        let (mut status, phase, held, cursor, plan) = {
            let snapshot = self.shared.snapshot();
            let mut status = snapshot.status.clone();
            status.rate = snapshot.messages.rate(now, status.delivered);
            status.byte_rate = snapshot.bytes.rate(now, status.bytes);
            (status, snapshot.phase, snapshot.held, snapshot.cursor, snapshot.plan.clone())
        };
        let extent = self.local.extent();
        let committed = *self.local.committed().borrow();
        let mut oldest = u64::MAX;
        for (first, last) in plan.unconfirmed(cursor.confirmed, committed) {
            let here = first.max(extent.first_seq);
            // What was dropped and has not been passed over yet.
            if !self.sparse {
                status.gaps += here.min(last + 1) - first;
            }
            status.backlog_messages += (last + 1).saturating_sub(here);
            oldest = oldest.min(first);
        }
        let held = held.filter(|_| phase == Phase::Sending && status.backlog_messages > 0);
        status.state = held.map_or(status::words(phase, status.backlog_messages), Held::words).to_owned();
        let till_later = matches!(held, Some(Held::Daily | Held::Monthly | Held::Schedule));
        if status.backlog_messages > 0 {
            // Confirmed messages that are still here have about the size of those that wait.
            let held = extent.messages.max(1);
            let share = u128::from(extent.bytes) * u128::from(status.backlog_messages.min(held)) / u128::from(held);
            status.backlog_bytes = u64::try_from(share).unwrap_or(u64::MAX);
            let rate = status.rate.filter(|rate| *rate > 0.0 && !till_later);
            status.eta = rate.map(|rate| status.backlog_messages as f64 / rate);
            let oldest = self.local.time_of(oldest).unwrap_or(extent.first_time);
            let age = i128::from(unix_nanos()) - i128::from(oldest);
            status.oldest_age = Some(Duration::from_nanos(u64::try_from(age).unwrap_or(0)).as_secs_f64());
        }
        status
    }

    /// Resolves when the task has ended.
    pub async fn stopped(&self) {
        // An error means that the task is gone, which is the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

fn unix_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The present as RFC 3339.
fn timestamp() -> Option<String> {
    OffsetDateTime::from(SystemTime::now()).format(&Rfc3339).ok()
}
