//! Our side's interest as the peer is told of it: local subscriptions, narrowed by the permissions and counted, become
//! `LS+` and `LS-` (nats-server's `smap` in `leafnode.go`).

use super::peer::Peer;
use super::permissions::Filter;
use crate::account::{Account, InterestWatcher, Subscription, TargetKind};
use crate::protocol::leaf::{push_subscribe, push_unsubscribe};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

/// First token of the subjects by which servers detect that leaf connections form a loop.
pub const LOOP_PREFIX: &str = "$LDS.";

/// The loop detection subject of `account` in this process: if it comes back on any of its leaf connections, there is a
/// loop.
pub fn loop_subject(account: &Arc<Account>) -> String {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let process = PROCESS.get_or_init(|| fastrand::u64(..));
    format!("{LOOP_PREFIX}{process:016x}{:016x}", Arc::as_ptr(account).addr())
}

/// The `sid` of a subscription that stands for the interest of a hub, as against that of a leaf: what one hub wants is
/// not announced to another.
pub const HUB_SID: &str = "hub";

/// Subject and queue group of a piece of interest.
pub type Key = (Box<str>, Option<Box<str>>);

/// What the peer has been told.
#[derive(Default)]
pub struct Announced {
    counts: HashMap<Key, u32>,
    filter: Filter,
    /// Being rebuilt: changes are gathered and the difference is sent at the end.
    silent: bool,
}

impl Announced {
    /// Begins anew under `filter`, silently; returns what was announced before.
    pub fn restart(&mut self, filter: Filter) -> HashMap<Key, u32> {
        self.filter = filter;
        self.silent = true;
        std::mem::take(&mut self.counts)
    }

    /// Ends the silence; returns the lines that lead from `before` to what holds now.
    pub fn resume(&mut self, before: &HashMap<Key, u32>) -> Vec<u8> {
        self.silent = false;
        let mut out = Vec::new();
        for ((subject, queue), count) in &self.counts {
            let old = before.get(&(subject.clone(), queue.clone()));
            if old.is_none() || (queue.is_some() && old != Some(count)) {
                push_subscribe(&mut out, subject, queue.as_deref(), *count);
            }
        }
        for (key, _) in before.iter().filter(|(key, _)| !self.counts.contains_key(*key)) {
            push_unsubscribe(&mut out, &key.0, key.1.as_deref());
        }
        out
    }

    /// Subjects announced.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Appends what the peer has to be told of `weight` more (or less) of `subject`.
    pub fn change(&mut self, subject: &str, queue: Option<&str>, more: bool, weight: u32, out: &mut Vec<u8>) {
        let parts = if subject.starts_with(LOOP_PREFIX) { vec![subject.into()] } else { self.filter.narrow(subject) };
        for part in parts {
            let key = (part, queue.map(Box::from));
            let before = self.counts.get(&key).copied().unwrap_or(0);
            let now = if more { before.saturating_add(weight) } else { before.saturating_sub(weight) };
            if !self.silent {
                match (before, now) {
                    (0, 0) => {}
                    (_, 0) => push_unsubscribe(out, &key.0, queue),
                    (0, _) => push_subscribe(out, &key.0, queue, now),
                    _ if queue.is_some() => push_subscribe(out, &key.0, queue, now),
                    _ => {}
                }
            }
            match now {
                0 => drop(self.counts.remove(&key)),
                _ => drop(self.counts.insert(key, now)),
            }
        }
    }
}

/// Tells a peer of the account's interest. Holds the peer weakly: the account must not keep an ended connection.
pub struct Watcher(pub Weak<Peer>);

impl Watcher {
    fn change(&self, sub: &Subscription, more: bool) {
        let Some(peer) = self.0.upgrade() else { return };
        let from_leaf = sub.target.kind() == TargetKind::Leaf;
        // What finds loops goes on to other hubs as well (nats-server `updateSmap`).
        let among_hubs = peer.peer_is_hub && sub.sid() == HUB_SID && !sub.subject().starts_with(LOOP_PREFIX);
        let withheld = sub.target.id() == peer.id || from_leaf && (among_hubs || peer.isolated);
        if !withheld {
            peer.announce(sub.subject(), sub.queue(), more, sub.weight());
        }
    }
}

impl InterestWatcher for Watcher {
    fn added(&self, sub: &Subscription) {
        self.change(sub, true);
    }

    fn removed(&self, sub: &Subscription) {
        self.change(sub, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(list: &[&str]) -> Filter {
        Filter::new(&list.iter().map(|s| s.to_string()).collect::<Vec<_>>(), &["_INBOX".into()], &[], None)
    }

    #[test]
    fn announces_first_and_last_and_every_change_of_a_group() {
        let mut announced = Announced::default();
        let before = announced.restart(filter(&["a.>"]));
        announced.change("a.b", None, true, 1, &mut Vec::new());
        assert_eq!(announced.resume(&before), b"LS+ a.b\r\n");
        let mut out = Vec::new();
        announced.change("a.b", None, true, 1, &mut out);
        announced.change(">", Some("q"), true, 1, &mut out);
        announced.change(">", Some("q"), true, 1, &mut out);
        announced.change("x", None, true, 1, &mut out);
        announced.change("a.b", None, false, 1, &mut out);
        announced.change("a.b", None, false, 1, &mut out);
        announced.change(">", Some("q"), false, 1, &mut out);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "LS+ a.> q 1\r\nLS+ a.> q 2\r\nLS- a.b\r\nLS+ a.> q 1\r\n");
        let before = announced.restart(filter(&["c.>"]));
        announced.change("c.d", None, true, 1, &mut Vec::new());
        assert_eq!(announced.resume(&before), b"LS+ c.d\r\nLS- a.> q\r\n");
        assert_eq!(announced.len(), 1);
    }
}
