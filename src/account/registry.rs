//! The accounts of the process by name.

use super::{Account, Describe};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

/// Name of the default account.
pub const GLOBAL_ACCOUNT: &str = "$G";
/// Name of the system's account unless configured otherwise.
pub const SYSTEM_ACCOUNT: &str = "$SYS";

/// All accounts. An account once made stays the same object, whatever is reloaded, as its subscriptions do.
pub struct Accounts {
    global: Arc<Account>,
    system: Arc<Account>,
    named: RwLock<BTreeMap<Box<str>, Arc<Account>>>,
    who: OnceLock<Weak<dyn Describe>>,
}

impl Accounts {
    /// `$G` and the system account.
    pub fn new(system: Option<&str>) -> Arc<Self> {
        let global = Account::new(GLOBAL_ACCOUNT);
        let system = Account::new(system.unwrap_or(SYSTEM_ACCOUNT));
        global.ask_system(&system);
        system.ask_system(&system);
        let named = [&global, &system].map(|account| (account.name().into(), account.clone()));
        Arc::new(Accounts { global, system, named: RwLock::new(BTreeMap::from(named)), who: OnceLock::new() })
    }

    /// `$G`.
    pub fn global(&self) -> &Arc<Account> {
        &self.global
    }

    /// The system account.
    pub fn system(&self) -> &Arc<Account> {
        &self.system
    }

    /// The account of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.named.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The account of that name, made if there is none.
    pub fn get_or_create(&self, name: &str) -> Arc<Account> {
        if let Some(account) = self.get(name) {
            return account;
        }
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let account = named.entry(name.into()).or_insert_with(|| {
            let account = Account::new(name);
            account.ask_system(&self.system);
            self.who.get().into_iter().for_each(|who| account.described_by(who.clone()));
            account
        });
        account.clone()
    }

    /// Has `who` tell of connections to services of imports that share it, in all accounts; the first one stays.
    pub fn described_by(&self, who: Weak<dyn Describe>) {
        // Held, so that no account is made in between.
        let named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let who = self.who.get_or_init(|| who);
        named.values().for_each(|account| account.described_by(who.clone()));
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.named.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_by_name() {
        let accounts = Accounts::new(Some("SYS"));
        assert!(Arc::ptr_eq(&accounts.get("$G").expect("there"), accounts.global()));
        assert!(Arc::ptr_eq(&accounts.get_or_create("SYS"), accounts.system()));
        assert!(accounts.get("A").is_none());
        let a = accounts.get_or_create("A");
        assert!(Arc::ptr_eq(&a, &accounts.get_or_create("A")));
        assert_eq!(accounts.all().iter().map(|a| a.name().to_owned()).collect::<Vec<_>>(), ["$G", "A", "SYS"]);
    }
}
