//! The consumers of one stream: made, changed, listed and removed here, and recovered when the stream opens.

use super::advisory::{self, Action as Event, Advisory};
use super::config::{AckPolicy, Action, ConsumerConfig, Timestamp};
use super::context::{Filter, StreamContext, locked};
use super::engine::Engine;
use super::live::Consumer;
use super::rounds::Ended;
use super::state::{Delivery, Rules, Ticks};
use super::validate::{self, Refusal, Retention, StreamRules, refuse};
use super::{info, inlet, persist, start};
use crate::account::Subscription;
use crate::jetstream::{Domain, tiers};
use crate::store::{Change, Commit, Log};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

/// The consumers of one stream.
pub struct Consumers {
    context: Arc<StreamContext>,
    engine: Arc<Engine>,
    inlets: Mutex<Vec<Arc<Subscription>>>,
    /// Held while a consumer is made or changed, so that checks and changes are one.
    changing: Mutex<()>,
}

/// A consumer as the catalogue keeps it.
#[derive(Serialize, Deserialize)]
struct Entry {
    created: Timestamp,
    config: ConsumerConfig,
}

/// A consumer that was made or changed; durable when the commit resolves.
pub struct Created {
    /// The consumer.
    pub consumer: Arc<Consumer>,
    /// Resolves when its configuration is on disk; `None` if it is kept in memory or nothing changed.
    pub commit: Option<Commit>,
}

impl Consumers {
    /// Opens the consumers that the catalogue has for `stream`.
    /// `identity` tells it from an earlier one of that name.
    pub fn open(
        engine: Arc<Engine>,
        (stream, identity): (&str, &str),
        domain: Domain,
        log: Log,
        rules: StreamRules,
    ) -> Arc<Self> {
        let context = Arc::new(StreamContext {
            account: engine.account().clone(),
            stream: stream.into(),
            identity: identity.into(),
            domain,
            store: engine.store().clone(),
            log,
            origin: engine.origin(),
            scheduler: engine.scheduler(),
            acks: engine.acks().clone(),
            rules: RwLock::new(Arc::new(rules)),
            members: RwLock::default(),
            before_removals: OnceLock::new(),
            ended: AtomicBool::new(false),
            line: Mutex::default(),
        });
        let inlets = Mutex::new(inlet::open(&context));
        let consumers = Arc::new(Consumers { context, engine, inlets, changing: Mutex::new(()) });
        consumers.recover();
        consumers
    }

    /// Has what `gather` gives stored together with acks that remove messages, if nothing else is yet. `gather` does not wait.
    pub fn before_removals(&self, gather: impl Fn() -> Vec<Change> + Send + Sync + 'static) {
        let _ = self.context.before_removals.set(Box::new(gather));
    }

    /// Makes a consumer, or changes the one of that name, as `action` allows. `name` may be empty for a new ephemeral one.
    pub fn create(&self, mut config: ConsumerConfig, action: Action, pedantic: bool) -> Result<Created, Refusal> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.context.rules();
        if config.direct && config.sourcing && !config.name.is_empty() {
            self.adapt_to_sourcing(&mut config, rules.retention);
        }
        let name = if config.is_durable() { &config.durable } else { &config.name };
        if let Some(old) = self.get(name).map(|existing| existing.config()) {
            // Only a request of its own changes that.
            config.pause_until = old.pause_until;
            // One that others source from goes on where it is, wherever they think that is.
            if config.sourcing && config.is_durable() {
                config.deliver_policy = old.deliver_policy;
                (config.opt_start_seq, config.opt_start_time) = (old.opt_start_seq, old.opt_start_time);
            }
        }
        if rules.untiered {
            let error = tiers::no_limits();
            return Err(refuse(error.code, error.err_code, error.description));
        }
        info::set_static_metadata(&mut config);
        validate::set_defaults(&mut config, &rules, pedantic)?;
        validate::check(&config, &rules)?;
        let name = if config.is_durable() { &config.durable } else { &config.name };
        if let Some(existing) = self.get(name) {
            return self.update(existing, config, action, &rules);
        }
        if action == Action::Update {
            return Err(refuse(400, 10149, "consumer does not exist"));
        }
        if rules.max_consumers > 0 && !config.direct && self.count() as i64 >= rules.max_consumers {
            return Err(refuse(400, 10026, "maximum consumers limit reached"));
        }
        if rules.retention == Retention::WorkQueue && !config.direct {
            validate::check_work_queue(&config, &filters(&self.context.others("")))?;
        }
        let name = match name.as_str() {
            "" => self.new_name(),
            name => name.to_owned(),
        };
        config.name.clone_from(&name);
        if !config.is_durable() && config.inactive_threshold == 0 {
            config.inactive_threshold = validate::DEFAULT_INACTIVE_THRESHOLD;
        }
        let delivery = start::select(&config, &Filter::new(&config.filters()), &self.context.log);
        let created = Timestamp::now();
        let commit = self.store(&name, created, &config, true);
        let consumer = self.launch(&name, created, config, delivery);
        advisory::publish(&self.context, &name, &Advisory::Action { action: Event::Create });
        if consumer.config().pause_until.is_some_and(|until| until > Timestamp::now()) {
            consumer.tell_paused();
        }
        Ok(Created { consumer, commit })
    }

    /// Pauses a consumer until a point in time, or has it go on. `None` if there is no such consumer; the change is
    /// durable when the commit resolves.
    pub fn pause(&self, name: &str, until: Option<Timestamp>) -> Option<Option<Commit>> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let consumer = self.get(name)?;
        let mut config = (*consumer.config()).clone();
        config.pause_until = until;
        info::set_static_metadata(&mut config);
        let commit = self.store(name, consumer.created, &config, false);
        consumer.update(config);
        consumer.tell_paused();
        Some(commit)
    }

    /// Removes a consumer. `None` if there is no such; it is gone for good when the commit resolves.
    pub fn delete(&self, name: &str) -> Option<Commit> {
        self.context.remove(name)
    }

    /// The consumer of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Consumer>> {
        self.context.member(name)
    }

    /// All consumers by name, except those of mirrors and sources.
    pub fn list(&self) -> Vec<Arc<Consumer>> {
        self.context.others("").into_iter().filter(|consumer| !consumer.config().direct).collect()
    }

    /// How many there are, those by which other streams follow this one left out.
    pub fn count(&self) -> usize {
        self.context.members().count()
    }

    /// Tells the stream from an earlier one of its name.
    pub fn identity(&self) -> &str {
        &self.context.identity
    }

    /// Resolves when all that the stream has taken in so far is on disk.
    pub fn barrier(&self) -> Commit {
        self.context.store.barrier()
    }

    /// Whether acks remove messages, so that [`Consumers::catch_up`] may have something to wait for.
    pub fn may_let_go(&self) -> bool {
        self.context.rules().retention != Retention::Limits
    }

    /// Waits until the acks that have come let go what they let go, on a thread that may block.
    pub fn catch_up(&self) {
        if self.may_let_go()
            && let Some(ended) = self.letting_go()
        {
            // An error is that the thread has ended, which did all there was.
            let _ = ended.blocking_recv();
        }
    }

    /// The end of what acks bring about that have come until now, which is hurried: messages that nobody needs any more have left the
    /// stream. `None`: there is nothing to wait for.
    pub fn letting_go(&self) -> Option<Ended> {
        let mut waiting = self.context.others("");
        waiting.retain(|consumer| locked(&consumer.live, |live| !live.settled.is_empty()));
        // Who changed a consumer before the ack may only be about to say so.
        waiting.iter().for_each(|consumer| self.context.acks.note(consumer, true));
        self.context.acks.catch_up(!waiting.is_empty())
    }

    /// Messages were committed: wakes the consumers that wait for some.
    pub fn on_committed(&self, _upto: u64) {
        self.context.wake_line();
    }

    /// Messages left the stream, which begins at `first` now.
    pub fn on_removed(&self, first: u64) {
        for consumer in self.context.others("") {
            consumer.trimmed(first);
        }
    }

    /// Messages were purged from the stream, which begins at `first` now: nothing more is expected of them.
    pub fn on_purged(&self, first: u64) {
        for consumer in self.context.others("") {
            consumer.trimmed(first);
            consumer.forget_removed();
        }
    }

    /// A message was deleted.
    pub fn on_deleted(&self, seq: u64) {
        let first = self.context.log.state().first_seq;
        for consumer in self.context.others("") {
            consumer.deleted(seq);
            consumer.trimmed(first);
        }
    }

    /// The stream's configuration, as far as consumers obey it.
    pub fn rules(&self) -> Arc<StreamRules> {
        self.context.rules()
    }

    /// The stream's configuration has changed.
    pub fn set_rules(&self, rules: StreamRules) {
        *self.context.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Whether some consumer will want a message on `subject` (retention by interest).
    pub fn want(&self, subject: &str) -> bool {
        let concerned = self.context.members().concerned(subject);
        concerned.iter().any(|consumer| consumer.filter().matches(subject))
    }

    /// Ends the pull requests that wait, as the server ends.
    pub fn end_requests(&self) {
        self.context.others("").iter().for_each(|consumer| consumer.end_requests());
    }

    /// Ends all consumers. With `deleted` the stream is gone: those who wait are told so, and what is stored of the
    /// consumers is removed.
    pub fn shutdown(&self, deleted: bool) {
        self.context.ended.store(true, Ordering::SeqCst);
        for inlet in locked(&self.inlets, std::mem::take) {
            self.context.account.unsubscribe(&inlet);
        }
        let names: Vec<Box<str>> = self.context.others("").iter().map(|consumer| consumer.name().into()).collect();
        if deleted {
            for name in names {
                self.context.remove(&name);
            }
        }
        let members = std::mem::take(&mut *self.context.members_mut());
        for consumer in members.all() {
            self.engine.acks().flush(consumer);
            consumer.close(false);
        }
        locked(&self.context.line, Vec::clear);
    }

    fn update(
        &self,
        existing: Arc<Consumer>,
        mut config: ConsumerConfig,
        action: Action,
        rules: &StreamRules,
    ) -> Result<Created, Refusal> {
        let old = existing.config();
        config.name.clone_from(&old.name);
        if !config.is_durable() && config.inactive_threshold == 0 {
            config.inactive_threshold = old.inactive_threshold;
        }
        if is_same(&old, &config) {
            return Ok(Created { consumer: existing, commit: None });
        }
        if action == Action::Create {
            return Err(refuse(400, 10148, "consumer already exists"));
        }
        if rules.retention == Retention::WorkQueue {
            validate::check_work_queue(&config, &filters(&self.context.others(existing.name())))?;
        }
        validate::check_update(&old, &config, self.context.has_interest(&old.deliver_subject))?;
        let commit = self.store(existing.name(), existing.created, &config, false);
        if config.is_push() && config.deliver_subject != old.deliver_subject {
            self.engine.interest().follow(&config.deliver_subject, &existing);
        }
        let sourcing = config.sourcing;
        let (filter, wanted) = (existing.filter(), Filter::new(&config.filters()));
        self.context.members_mut().want(&existing, &wanted);
        existing.update(config);
        self.context.members_mut().forget(&existing, &filter);
        let reset = sourcing.then(|| existing.reset(0).ok()).flatten();
        Ok(Created { commit: reset.and_then(|reset| reset.commit).or(commit), consumer: existing })
    }

    /// Turns what a mirror or source of another server asks for into what suits the stream (ADR-60): where acks remove
    /// messages, a durable consumer that is acknowledged by flow control; else one with a name of its own, as the other
    /// server asks by the same name each time.
    fn adapt_to_sourcing(&self, config: &mut ConsumerConfig, retention: Retention) {
        if retention == Retention::Limits {
            config.name = format!("{}-{}", config.name, self.new_name());
            return;
        }
        config.direct = false;
        config.durable.clone_from(&config.name);
        config.ack_policy = AckPolicy::FlowControl;
        (config.ack_wait, config.max_deliver, config.inactive_threshold) = (0, 0, 0);
    }

    /// Stores the configuration; of a `new` consumer no delivery state may be left over from an earlier one.
    fn store(&self, name: &str, created: Timestamp, config: &ConsumerConfig, new: bool) -> Option<Commit> {
        if config.mem_storage || config.direct {
            return None;
        }
        let json = serde_json::to_vec(&Entry { created, config: config.clone() }).ok()?;
        let mut changes = vec![Change::Put(self.context.config_key(name), Bytes::from(json))];
        if new {
            changes.push(Change::Delete(self.context.acks_key(name)));
        }
        Some(self.context.acks.write(changes))
    }

    fn launch(&self, name: &str, created: Timestamp, config: ConsumerConfig, delivery: Delivery) -> Arc<Consumer> {
        let consumer = Consumer::new(self.context.clone(), name, created, config, delivery);
        let config = consumer.config();
        if config.is_push() {
            self.engine.interest().follow(&config.deliver_subject, &consumer);
        }
        self.context.members_mut().insert(&consumer);
        // The first run finds out whether somebody listens, and sets its timers. Where it starts is worth keeping too.
        consumer.touched();
        self.context.scheduler.schedule(&consumer);
        consumer
    }

    /// Has a consumer go on from where it was when it was backed up.
    pub(super) fn start(&self, name: &str, mut config: ConsumerConfig, mut delivery: Delivery) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // What came while the backup was made is not in it, and nobody has lost it here.
        delivery.forget_above(self.context.log.state().last_seq);
        info::set_static_metadata(&mut config);
        let created = Timestamp::now();
        self.store(name, created, &config, true);
        self.launch(name, created, config, delivery);
    }

    /// The time of deadlines.
    pub(super) fn now(&self) -> Ticks {
        self.context.scheduler.now()
    }

    fn recover(&self) {
        let prefix = self.context.config_key("");
        self.find_the_end();
        let log = self.context.log.state();
        for (key, value) in self.context.store.state().scan(&prefix) {
            let name = &key[prefix.len()..];
            let entry: Entry = match serde_json::from_slice(&value) {
                Ok(entry) => entry,
                Err(error) => {
                    let stream = &self.context.stream;
                    tracing::error!(%error, %stream, consumer = name, "the stored configuration of a consumer cannot be read; the consumer stays away");
                    continue;
                }
            };
            let delivery = self.recover_delivery(name, &entry.config, &log);
            self.launch(name, entry.created, entry.config, delivery);
        }
        if self.context.rules().retention != Retention::Limits {
            self.context.acks.sweep(&self.context);
        }
    }

    /// What was delivered was on disk: the log goes on behind it, also if the disk has lost its end.
    fn find_the_end(&self) {
        let delivered =
            self.context.store.state().scan(&self.context.acks_key("")).into_iter().filter_map(|(_, stored)| {
                let delivery = persist::decode(&stored, Rules::of(&ConsumerConfig::default()), 0).ok()?;
                // Before the first delivery it is where the consumer begins, which may be anywhere.
                Some(delivery.delivered()).filter(|last| last.consumer > 0).map(|last| last.stream)
            });
        delivered.max().into_iter().for_each(|seq| self.context.log.go_on_behind(seq));
    }

    fn recover_delivery(&self, name: &str, config: &ConsumerConfig, log: &crate::store::LogState) -> Delivery {
        let filter = Filter::new(&config.filters());
        let Some(stored) = self.context.store.state().get(&self.context.acks_key(name)) else {
            return start::select(config, &filter, &self.context.log);
        };
        match persist::decode(&stored, Rules::of(config), self.context.scheduler.now()) {
            Ok(mut delivery) => {
                delivery.forget_below(log.first_seq);
                delivery.forget_above(log.last_seq);
                if delivery.resume > delivery.next() {
                    let (next, resume) = (delivery.next(), delivery.resume);
                    delivery.set_picks(start::last_per_subject(&filter, &self.context.log, next, resume), resume);
                }
                delivery
            }
            Err(error) => {
                let stream = &self.context.stream;
                tracing::error!(%error, %stream, consumer = name, "the consumer starts again as if it were new");
                start::select(config, &filter, &self.context.log)
            }
        }
    }

    fn new_name(&self) -> String {
        loop {
            let name: String = (0..8).map(|_| fastrand::alphanumeric()).collect();
            if self.get(&name).is_none() {
                return name;
            }
        }
    }
}

/// Whether two configurations ask for the same; which API level that requires is the server's own note.
fn is_same(old: &ConsumerConfig, new: &ConsumerConfig) -> bool {
    let mut old = old.clone();
    if let Some(level) = new.metadata.get("_nats.req.level") {
        old.metadata.insert("_nats.req.level".into(), level.clone());
    }
    old == *new
}

fn filters(consumers: &[Arc<Consumer>]) -> Vec<Vec<String>> {
    let limited = consumers.iter().map(|consumer| consumer.config()).filter(|config| !config.direct);
    limited.map(|config| config.filters().into_iter().map(str::to_owned).collect()).collect()
}
