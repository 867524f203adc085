//! Clients of an account, counted.

use super::Account;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One client's place in its account; given back when dropped.
pub struct Seat(Arc<Account>);

impl Account {
    /// Takes a place; `None` if `limit` places are taken.
    pub fn enter(self: &Arc<Self>, limit: Option<usize>) -> Option<Seat> {
        let free = |taken: usize| (taken < limit.unwrap_or(usize::MAX)).then_some(taken + 1);
        let entered = self.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        entered.is_ok().then(|| Seat(self.clone()))
    }

    /// Clients now.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }
}

impl Seat {
    /// Where it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
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
    }
}
