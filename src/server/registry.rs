//! The clients that are connected, and the last ones that were.

use super::client::Client;
use super::outbound::CloseReason;
use super::snapshot::{ClientSnapshot, Totals};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Clients remembered after their end; nats-server's `max_closed_clients` is 10000, too many for a gateway.
const MAX_CLOSED: usize = 1000;
/// Subscriptions remembered of each of them.
const MAX_CLOSED_SUBSCRIPTIONS: usize = 32;

/// Who is and was here.
#[derive(Default)]
pub(super) struct Registry {
    open: Mutex<BTreeMap<u64, Arc<Client>>>,
    past: Mutex<Past>,
}

#[derive(Default)]
struct Past {
    closed: VecDeque<ClientSnapshot>,
    /// Of all who have gone, by account.
    totals: BTreeMap<String, Totals>,
}

/// The clients of one account.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountTotals {
    /// Connected now.
    pub connections: usize,
    /// Since the start, those included who have gone.
    pub totals: Totals,
}

impl Registry {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Client>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has connected.
    pub fn add(&self, client: &Arc<Client>) {
        self.open().insert(client.id.get(), client.clone());
    }

    /// It ends; it still has its subscriptions.
    pub fn remove(&self, client: &Client, reason: &CloseReason) {
        self.open().remove(&client.id.get());
        let mut last = client.snapshot(MAX_CLOSED_SUBSCRIPTIONS);
        last.stopped = Some((SystemTime::now(), reason.clone()));
        last.totals.stale = u64::from(*reason == CloseReason::Stale);
        let slow = matches!(reason, CloseReason::SlowConsumerPending | CloseReason::SlowConsumerDeadline);
        last.totals.slow = u64::from(slow);
        let mut past = self.past();
        *past.totals.entry(last.account.clone()).or_default() += last.totals;
        if past.closed.len() >= MAX_CLOSED {
            past.closed.pop_front();
        }
        past.closed.push_back(last);
    }

    /// The one with the number `cid`, if it is connected.
    pub fn client(&self, cid: u64) -> Option<Arc<Client>> {
        self.open().get(&cid).cloned()
    }

    /// Those connected now.
    pub fn clients(&self) -> Vec<Arc<Client>> {
        self.open().values().cloned().collect()
    }

    /// The last ones that were.
    pub fn closed(&self) -> Vec<ClientSnapshot> {
        self.past().closed.iter().cloned().collect()
    }

    /// By account, of all who are and were here.
    pub fn accounts(&self) -> BTreeMap<String, AccountTotals> {
        let with =
            |(name, totals): (&String, &Totals)| (name.clone(), AccountTotals { connections: 0, totals: *totals });
        let mut accounts: BTreeMap<_, _> = self.past().totals.iter().map(with).collect();
        for client in self.clients() {
            let account = accounts.entry(client.session().account.name().to_owned()).or_default();
            account.connections += 1;
            account.totals += client.totals();
        }
        accounts
    }
}
