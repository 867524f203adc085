//! Clients and leafs of an account, counted.

use super::Account;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One connection's place in its account; given back when dropped.
pub struct Seat {
    account: Arc<Account>,
    taken: fn(&Account) -> &AtomicUsize,
}

impl Account {
    /// Takes a client's place; `None` if `limit` places are taken.
    pub fn enter(self: &Arc<Self>, limit: Option<usize>) -> Option<Seat> {
        self.take(limit, |account| &account.clients)
    }

    /// Takes the place of a leaf that connects to us; `None` if `limit` places are taken.
    pub fn enter_leaf(self: &Arc<Self>, limit: Option<usize>) -> Option<Seat> {
        self.take(limit, |account| &account.leafs)
    }

    fn take(self: &Arc<Self>, limit: Option<usize>, taken: fn(&Account) -> &AtomicUsize) -> Option<Seat> {
        let free = |taken: usize| (taken < limit.unwrap_or(usize::MAX)).then_some(taken + 1);
        let entered = taken(self).fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        entered.is_ok().then(|| Seat { account: self.clone(), taken })
    }

    /// Clients now.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }
}

impl Seat {
    /// Where it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        (self.taken)(&self.account).fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_given_back() {
        let account = Account::new("A");
        let first = account.enter(Some(2)).expect("free");
        let second = account.enter(None).expect("no limit");
        assert!(account.enter(Some(2)).is_none() && account.clients() == 2);
        drop(first);
        assert!(account.enter(Some(2)).is_some());
        assert!(Arc::ptr_eq(second.account(), &account) && account.clients() == 1);
        let leaf = account.enter_leaf(Some(1)).expect("leafs are counted by themselves");
        assert!(account.enter_leaf(Some(1)).is_none());
        drop(leaf);
        assert!(account.enter_leaf(Some(1)).is_some());
    }
}
