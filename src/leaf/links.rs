//! The links to all hubs, which change when the configuration is read again: one that is new is dialled, one that is gone
//! ends, and of one that is another now only what has changed.

use super::dial::Identity;
use super::link::Link;
use crate::account::{Accounts, GLOBAL_ACCOUNT};
use crate::config::leaf::RemoteConfig;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// All links, in the order of the configuration.
pub struct Links {
    list: RwLock<Vec<Arc<Link>>>,
    accounts: Arc<Accounts>,
    identity: Identity,
    withheld: Vec<String>,
    shutdown: watch::Receiver<bool>,
}

/// What a reload has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChanges {
    /// Links that are dialled from now on.
    pub added: usize,
    /// Links that have ended.
    pub removed: usize,
    /// Links that go on otherwise.
    pub changed: usize,
}

impl Links {
    /// Starts dialling all of `remotes`. `withheld` are the subjects that uplinks own: they never cross as live traffic, to
    /// whichever hub, as they would arrive twice.
    pub fn start(
        remotes: &[RemoteConfig],
        accounts: Arc<Accounts>,
        identity: Identity,
        withheld: Vec<String>,
        shutdown: watch::Receiver<bool>,
    ) -> Links {
        let links = Links { list: RwLock::default(), accounts, identity, withheld, shutdown };
        links.reload(remotes);
        links
    }

    /// The links there are.
    pub fn all(&self) -> Vec<Arc<Link>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The link of that name.
    pub fn find(&self, name: &str) -> Option<Arc<Link>> {
        self.all().into_iter().find(|link| link.name() == name)
    }

    /// Has exactly `remotes` from now on.
    pub fn reload(&self, remotes: &[RemoteConfig]) -> LinkChanges {
        let mut changes = LinkChanges::default();
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *list);
        for remote in remotes {
            // Of another account it is another link, though its name is the same.
            let known = before.iter().position(|link| link.name() == remote.name && link.account() == remote.account);
            list.push(match known.map(|at| before.swap_remove(at)) {
                Some(link) => {
                    changes.changed += usize::from(link.reconfigure(remote));
                    link
                }
                None => {
                    changes.added += 1;
                    self.dial(remote)
                }
            });
        }
        changes.removed = before.len();
        before.iter().for_each(|link| link.remove());
        changes
    }

    fn dial(&self, remote: &RemoteConfig) -> Arc<Link> {
        let account = self.accounts.get_or_create(&remote.account);
        let withheld = if remote.account == GLOBAL_ACCOUNT { self.withheld.clone() } else { Vec::new() };
        Link::start(account, remote.clone(), self.identity.clone(), withheld, self.shutdown.clone())
    }
}
