//! Tells push consumers when somebody begins or ceases to listen on their deliver subject, so that none has to look.

use super::deliver::Scheduler;
use super::live::Consumer;
use crate::account::{InterestWatcher, Subscription};
use crate::subject;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::context::locked;

/// The deliver subjects of all push consumers of an account.
pub struct PushInterest {
    scheduler: Scheduler,
    /// Number of entries, so that without push consumers a subscription costs nothing.
    count: AtomicUsize,
    by_subject: Mutex<HashMap<Box<str>, Vec<Weak<Consumer>>>>,
    /// Entries at which those of consumers that are gone are looked for again.
    sweep_at: AtomicUsize,
}

impl PushInterest {
    /// Knows no consumers yet.
    pub fn new(scheduler: Scheduler) -> Arc<Self> {
        Arc::new(PushInterest {
            scheduler,
            count: AtomicUsize::new(0),
            by_subject: Mutex::default(),
            sweep_at: AtomicUsize::new(64),
        })
    }

    /// Tells `consumer` of changes on `deliver_subject` until it is dropped. Consumers that are gone are forgotten here.
    pub fn follow(&self, deliver_subject: &str, consumer: &Arc<Consumer>) {
        locked(&self.by_subject, |by_subject| {
            if by_subject.len() >= self.sweep_at.load(Ordering::Relaxed) {
                by_subject.retain(|_, consumers| {
                    consumers.retain(|consumer| consumer.strong_count() > 0);
                    !consumers.is_empty()
                });
                self.sweep_at.store(64.max(2 * by_subject.len()), Ordering::Relaxed);
            }
            by_subject.entry(deliver_subject.into()).or_default().push(Arc::downgrade(consumer));
            self.count.store(by_subject.len(), Ordering::Release);
        });
    }

    fn changed(&self, changed: &str) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let concerned: Vec<Arc<Consumer>> = locked(&self.by_subject, |by_subject| {
            let alive =
                |consumers: &Vec<Weak<Consumer>>| consumers.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
            if subject::is_literal(changed) {
                by_subject.get(changed).map(alive).unwrap_or_default()
            } else {
                by_subject.iter().filter(|(to, _)| subject::matches(changed, to)).flat_map(|(_, c)| alive(c)).collect()
            }
        });
        if !concerned.is_empty() {
            self.scheduler.schedule_all(concerned);
        }
    }
}

impl InterestWatcher for PushInterest {
    fn added(&self, subscription: &Subscription) {
        self.changed(subscription.subject());
    }

    fn removed(&self, subscription: &Subscription) {
        self.changed(subscription.subject());
    }
}
