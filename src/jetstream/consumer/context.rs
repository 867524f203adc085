//! What all consumers of one stream share: where messages come from, where they go to, and the filters between.

use super::advisory::{self, Action, Advisory};
use super::deliver::Scheduler;
use super::live::Consumer;
use super::members::Members;
use super::validate::{Retention, StreamRules};
use super::writer::AckWriter;
use crate::account::{Account, Batch, Message, Origin, RouteCache};
use crate::jetstream::Domain;
use crate::store::{Change, Commit, Log, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What a stream gives its consumers.
pub struct StreamContext {
    /// The account that the stream belongs to.
    pub account: Arc<Account>,
    /// The stream's name.
    pub stream: Box<str>,
    /// Tells the stream from an earlier one of its name.
    pub identity: Box<str>,
    /// The JetStream domain.
    pub domain: Domain,
    /// Catalogue and delivery states.
    pub store: Store,
    /// The messages.
    pub log: Log,
    /// As whom consumers publish.
    pub origin: Origin,
    /// The delivery threads.
    pub scheduler: Scheduler,
    /// The thread that makes acks durable.
    pub acks: AckWriter,
    /// The stream's configuration, as far as consumers obey it; replaced when it is updated.
    pub rules: RwLock<Arc<StreamRules>>,
    /// The consumers.
    pub members: RwLock<Members>,
    /// Gives what is to be on disk before acknowledged messages are removed.
    pub before_removals: OnceLock<Box<dyn Fn() -> Vec<Change> + Send + Sync>>,
    /// The consumers are ending, and `members` no longer tells who needs a message.
    pub ended: AtomicBool,
    /// Those that the next commit wakes; each stands here at most once.
    pub line: Mutex<Vec<Arc<Consumer>>>,
}

impl StreamContext {
    /// The stream's configuration.
    pub fn rules(&self) -> Arc<StreamRules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be stored together with acks: it is on disk before they remove messages.
    pub fn beside_acks(&self) -> Vec<Change> {
        match self.before_removals.get() {
            Some(gather) if self.rules().retention != Retention::Limits => gather(),
            _ => Vec::new(),
        }
    }

    /// Whether anybody subscribes to `subject`.
    pub fn has_interest(&self, subject: &str) -> bool {
        self.account.has_interest(subject, None)
    }

    /// Bytes that may be delivered to `subject` now; `None` if nobody subscribes to it.
    pub fn room(&self, subject: &str) -> Option<usize> {
        self.account.room(subject)
    }

    /// Publishes one message outside of the delivery path.
    pub fn publish(&self, subject: &str, headers: &[u8], payload: &[u8]) -> usize {
        let message = Message { subject, reply: "", headers, payload };
        self.account.route(self.origin, &message, &mut RouteCache::default(), &mut Batch::default())
    }

    /// The consumer of that name.
    pub fn member(&self, name: &str) -> Option<Arc<Consumer>> {
        self.members().get(name).cloned()
    }

    /// All consumers but the one called `except`.
    pub fn others(&self, except: &str) -> Vec<Arc<Consumer>> {
        self.members().all().filter(|consumer| consumer.name() != except).cloned().collect()
    }

    /// The consumers as they are now. No consumer's lock is taken meanwhile.
    pub fn members(&self) -> RwLockReadGuard<'_, Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, to be changed. A consumer's lock may be taken meanwhile: nobody takes this one while he holds one of those.
    pub fn members_mut(&self) -> RwLockWriteGuard<'_, Members> {
        self.members.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes `consumer` with the next commit.
    pub fn wait_for_commit(&self, consumer: &Arc<Consumer>) {
        if !consumer.waits.swap(true, Ordering::AcqRel) {
            locked(&self.line, |line| line.push(consumer.clone()));
        }
    }

    /// Wakes those that wait for a commit, and nobody else.
    pub fn wake_line(&self) {
        let line = locked(&self.line, std::mem::take);
        for consumer in &line {
            consumer.waits.store(false, Ordering::Release);
        }
        self.scheduler.schedule_all(line);
    }

    /// Ends a consumer and removes what is stored of it. `None` if there is no such consumer; it is gone for good when
    /// the commit resolves.
    pub fn remove(self: &Arc<Self>, name: &str) -> Option<Commit> {
        let consumer = self.members_mut().remove(name)?;
        consumer.close(true);
        let commit = self.acks.write(vec![Change::Delete(self.config_key(name)), Change::Delete(self.acks_key(name))]);
        advisory::publish(self, name, &Advisory::Action { action: Action::Delete });
        if self.rules().retention == Retention::Interest {
            self.acks.sweep(self);
        }
        Some(commit)
    }

    /// The key of a consumer's configuration in the state log.
    pub fn config_key(&self, consumer: &str) -> String {
        let [configs, _] = prefixes(self.account.name(), &self.stream);
        configs + consumer
    }

    /// The key of a consumer's delivery state in the state log.
    pub fn acks_key(&self, consumer: &str) -> String {
        let [_, states] = prefixes(self.account.name(), &self.stream);
        states + consumer
    }
}

/// What the keys of a stream's consumers begin with in the state log: of their configurations, and of their delivery states.
pub fn prefixes(account: &str, stream: &str) -> [String; 2] {
    ["consumer", "acks"].map(|kind| format!("{kind}/{account}/{stream}/"))
}

/// Which messages a consumer gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of them.
    All,
    /// Those on one literal subject.
    Subject(Box<str>),
    /// Those that match any of these; they do not overlap.
    Any(Vec<Box<str>>),
}

impl Filter {
    /// From the filters of a configuration.
    pub fn new(filters: &[&str]) -> Self {
        match filters {
            [] | [">"] => Filter::All,
            [one] if crate::subject::is_literal(one) => Filter::Subject((*one).into()),
            several => Filter::Any(several.iter().map(|filter| (*filter).into()).collect()),
        }
    }

    /// Whether it lets a message on `subject` through.
    pub fn matches(&self, subject: &str) -> bool {
        match self {
            Filter::All => true,
            Filter::Subject(only) => **only == *subject,
            Filter::Any(filters) => filters.iter().any(|filter| crate::subject::matches(filter, subject)),
        }
    }

    /// How many messages from `seq` on pass.
    pub fn count_from(&self, log: &Log, seq: u64) -> u64 {
        match self {
            Filter::All => log.count_from(seq, ">"),
            Filter::Subject(subject) => log.count_from(seq, subject),
            Filter::Any(filters) => filters.iter().map(|filter| log.count_from(seq, filter)).sum(),
        }
    }

    /// Its patterns.
    pub fn patterns(&self) -> Vec<&str> {
        match self {
            Filter::All => vec![">"],
            Filter::Subject(subject) => vec![subject],
            Filter::Any(filters) => filters.iter().map(|filter| &**filter).collect(),
        }
    }
}

/// Runs `work` with what the lock protects, a panic of another holder notwithstanding.
pub(super) fn locked<T, R>(lock: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> R {
    work(&mut lock.lock().unwrap_or_else(PoisonError::into_inner))
}
