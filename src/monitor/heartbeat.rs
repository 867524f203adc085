//! What the system account is told again and again: how the server does, and how many connections the accounts have.

use super::pages::{self, AccountConnections};
use super::sources::Sources;
use crate::account::{Account, GLOBAL_ACCOUNT};
use crate::events::{self, Events};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

/// The first STATSZ comes after this time, the next after twice as long, and so on up to the longest.
const FIRST_STATSZ: Duration = Duration::from_millis(250);
const LONGEST_STATSZ: Duration = Duration::from_secs(10);
/// How often the connections of an account are told though nothing has changed.
const CONNECTIONS: Duration = Duration::from_secs(30);

/// Tells until `ending`. What nobody listens to is not made; between two heartbeats nothing wakes.
pub(super) async fn run(
    sources: Arc<Sources>,
    events: Arc<Events>,
    mut changed: mpsc::Receiver<Arc<Account>>,
    mut ending: watch::Receiver<bool>,
) {
    let mut pause = FIRST_STATSZ;
    let mut statsz = Instant::now() + pause;
    let mut connections = tokio::time::interval_at(Instant::now() + CONNECTIONS, CONNECTIONS);
    connections.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(statsz) => {
                pause = (pause * 2).min(LONGEST_STATSZ);
                statsz = Instant::now() + pause;
                broadcast_statsz(&sources, &events);
            }
            _ = connections.tick() => {
                for account in sources.accounts().iter().filter(|account| account.name() != GLOBAL_ACCOUNT) {
                    tell_connections(&sources, &events, account, false);
                }
            }
            Some(account) = changed.recv() => tell_connections(&sources, &events, &account, true),
            _ = ending.wait_for(|end| *end) => return,
        }
    }
}

/// STATSZ for all who listen.
pub(super) fn broadcast_statsz(sources: &Sources, events: &Events) {
    let subject = format!("$SYS.SERVER.{}.STATSZ", sources.server_id);
    if events.is_wanted(&subject) {
        let page = tokio::task::block_in_place(|| pages::statsz(sources, events.server()));
        events.tell(&subject, &page);
    }
}

/// How many connections `account` has, even if it has `none`.
fn tell_connections(sources: &Sources, events: &Events, account: &Arc<Account>, none: bool) {
    let wanted: Vec<_> = events::connections(account.name()).into_iter().filter(|s| events.is_wanted(s)).collect();
    if wanted.is_empty() {
        return;
    }
    let stat = pages::account_stat(sources, account);
    if none || stat.total_conns > 0 {
        let message = AccountConnections::new(events, stat);
        wanted.iter().for_each(|subject| events.tell(subject, &message));
    }
}
