//! Clients and leafs of an account, counted.

use super::Account;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who has a place, those who came first in front.
#[derive(Default)]
pub(super) struct Seats(Mutex<BTreeSet<u64>>);

impl Seats {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in its account; given back when dropped.
pub struct Seat {
    account: Arc<Account>,
    id: u64,
    seats: fn(&Account) -> &Seats,
}

impl Account {
    /// Takes the place of the client with the number `id`; `None` if `limit` places are taken.
    pub fn enter(self: &Arc<Self>, id: u64, limit: Option<usize>) -> Option<Seat> {
        self.take(id, limit, |account| &account.clients)
    }

    /// The same of a leaf that connects to us; `None` if `limit` places are taken.
    pub fn enter_leaf(self: &Arc<Self>, id: u64, limit: Option<usize>) -> Option<Seat> {
        self.take(id, limit, |account| &account.leafs)
    }

    fn take(self: &Arc<Self>, id: u64, limit: Option<usize>, seats: fn(&Account) -> &Seats) -> Option<Seat> {
        let mut taken = seats(self).lock();
        if limit.is_some_and(|limit| taken.len() >= limit) {
            return None;
        }
        taken.insert(id);
        drop(taken);
        Some(Seat { account: self.clone(), id, seats })
    }

    /// Clients now.
    pub fn clients(&self) -> usize {
        self.clients.lock().len()
    }
}

impl Seat {
    /// Where it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Whether `limit` others came before: a limit that was lowered leaves those who were here first (nats-server
    /// `accounts.go`, `updateAccountClaims`).
    pub fn is_beyond(&self, limit: Option<usize>) -> bool {
        let taken = (self.seats)(&self.account).lock();
        limit.is_some_and(|limit| taken.len() > limit && taken.iter().nth(limit).is_some_and(|first| *first <= self.id))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        (self.seats)(&self.account).lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::TargetId;

    #[test]
    fn places_are_limited_and_given_back() {
        let account = Account::new("A");
        let enter = |limit| account.enter(TargetId::next().get(), limit);
        let first = enter(Some(2)).expect("free");
        let second = enter(None).expect("no limit");
        assert!(enter(Some(2)).is_none() && account.clients() == 2);
        drop(first);
        assert!(enter(Some(2)).is_some());
        assert!(Arc::ptr_eq(second.account(), &account) && account.clients() == 1);
        let leaf = account.enter_leaf(TargetId::next().get(), Some(1)).expect("leafs are counted by themselves");
        assert!(account.enter_leaf(TargetId::next().get(), Some(1)).is_none());
        drop(leaf);
        assert!(account.enter_leaf(TargetId::next().get(), Some(1)).is_some());
    }

    #[test]
    fn a_limit_that_is_lowered_leaves_the_first() {
        let account = Account::new("A");
        let seats: Vec<_> = (0..4).filter_map(|_| account.enter(TargetId::next().get(), None)).collect();
        let beyond = |limit| seats.iter().map(|seat| seat.is_beyond(limit)).collect::<Vec<_>>();
        assert_eq!(beyond(Some(2)), [false, false, true, true]);
        assert_eq!(beyond(Some(4)), [false; 4]);
        assert_eq!(beyond(Some(0)), [true; 4]);
        assert_eq!(beyond(None), [false; 4]);
    }
}
