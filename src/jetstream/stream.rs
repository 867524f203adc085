//! A stream: captures what is published on its subjects, keeps it in its log, and acknowledges when it is on disk.
//!
//! ```text
//! publish ─> deliver ─> Desk (checks, append, wait in order) ─> log ─> commit thread ─> committed ─> PubAcks, consumers
//!                └─> refused: answered at once                              └─> failed ─> errors
//! ```

mod answers;
mod room;

use self::answers::Outgoing;
pub(super) use self::room::Line;
use super::ageing::Ageing;
use super::catalogue::Entry;
use super::config::{self, StreamConfig};
use super::consumer::config::Timestamp;
use super::consumer::{self, Consumers, Engine, StreamRules};
use super::damage::Gap;
use super::desk::{Desk, Due, Surroundings, Verdict};
use super::domain::Domain;
use super::error::ApiError;
use super::follow::Followers;
use super::log_options::{compresses, limits, sync};
use super::schedule::Schedules;
use super::server_limits::ServerLimits;
use super::tiers::Limits;
use super::upkeep::Upkeep;
use super::usage::Usage;
use crate::account::{Account, Batch, Message, Origin, Party, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::protocol::headers;
use crate::store::{CommitObserver, Log, Purge, Store, StoreError, Sync};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// What the streams of an account share.
pub(super) struct Shared {
    pub account: Arc<Account>,
    pub engine: Arc<Engine>,
    pub usage: Arc<Usage>,
    /// What the account may have.
    pub limits: RwLock<Limits>,
    /// What the server allows.
    pub server: ServerLimits,
    /// How often streams are synced that are not durable.
    pub sync_interval: Duration,
    pub upkeep: Upkeep,
    pub domain: Domain,
    pub runtime: Handle,
}

impl Shared {
    /// What the account may have by now.
    pub fn limits(&self) -> Limits {
        self.limits.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A stream.
pub struct Stream {
    id: TargetId,
    me: Weak<Stream>,
    shared: Arc<Shared>,
    name: Box<str>,
    entry: Entry,
    config: RwLock<Arc<StreamConfig>>,
    log: Log,
    consumers: Arc<Consumers>,
    desk: Mutex<Desk>,
    outgoing: Mutex<Outgoing>,
    /// `{"stream":"NAME","domain":"D","seq":`
    ack_prefix: String,
    committed: watch::Sender<u64>,
    captures: Mutex<Vec<Arc<Subscription>>>,
    ageing: Mutex<Ageing>,
    schedules: Mutex<Schedules>,
    followers: Mutex<Followers>,
    /// The part of the daemon that cannot do without it, if any.
    holder: OnceLock<String>,
}

struct Observer(Weak<Stream>);

impl CommitObserver for Observer {
    fn committed(&self, upto: u64) {
        if let Some(stream) = self.0.upgrade() {
            stream.on_committed(upto);
        }
    }

    fn failed(&self, from: u64, error: &StoreError) {
        if let Some(stream) = self.0.upgrade() {
            stream.on_failed(from, error);
        }
    }

    fn damaged(&self, first: u64, last: u64) {
        if let Some(stream) = self.0.upgrade() {
            stream.shared.upkeep.declare(Gap { first, last }, self.0.clone());
        }
    }
}

/// Nanoseconds since this process first asked; never goes back.
fn monotonic() -> i64 {
    static START: OnceLock<Instant> = OnceLock::new();
    i64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(i64::MAX)
}

fn rules(config: &StreamConfig, shared: &Shared) -> StreamRules {
    let (limits, server) = (shared.limits().single(), &shared.server);
    let untiered = limits.is_none();
    let limits = limits.unwrap_or_default();
    StreamRules {
        subjects: config.subjects.clone(),
        retention: match config.retention {
            super::config::Retention::Limits => consumer::Retention::Limits,
            super::config::Retention::Interest => consumer::Retention::Interest,
            super::config::Retention::WorkQueue => consumer::Retention::WorkQueue,
        },
        max_consumers: limits.consumers(config.max_consumers).unwrap_or(server.default_max_consumers),
        max_ack_pending: config.consumer_limits.max_ack_pending,
        untiered,
        account_max_ack_pending: limits.max_ack_pending,
        server_max_ack_pending: server.max_ack_pending,
        max_request_batch: server.max_request_batch,
        inactive_threshold: config.consumer_limits.inactive_threshold,
    }
}

impl Stream {
    /// Opens a stream on its log and begins to capture. Reads the duplicate window back from the log, so it may take
    /// a moment; not for the async runtime.
    pub(super) fn open(shared: Arc<Shared>, entry: Entry, log: Log) -> Result<Arc<Self>, StoreError> {
        let config = Arc::new(entry.config.clone());
        log.set_sync(sync(&config, shared.sync_interval));
        let json_name = serde_json::Value::from(config.name.as_str());
        let domain = shared.domain.told().map(|domain| format!("\"domain\":{},", serde_json::Value::from(domain)));
        let consumers = Consumers::open(
            shared.engine.clone(),
            (&config.name, &entry.epoch),
            shared.domain.clone(),
            log.clone(),
            rules(&config, &shared),
        );
        // Behind these, who may know of a sequence that the log has lost.
        let desk = recover_desk(config.clone(), &log)?;
        let stream = Arc::new_cyclic(|me| Stream {
            id: TargetId::next(),
            me: me.clone(),
            name: config.name.as_str().into(),
            ack_prefix: format!("{{\"stream\":{json_name},{}\"seq\":", domain.unwrap_or_default()),
            committed: watch::Sender::new(log.committed()),
            captures: Mutex::default(),
            ageing: Mutex::default(),
            schedules: Mutex::default(),
            followers: Mutex::default(),
            holder: OnceLock::new(),
            outgoing: Mutex::default(),
            desk: Mutex::new(desk),
            config: RwLock::new(config.clone()),
            consumers,
            entry,
            log,
            shared,
        });
        stream.log.observe(Arc::new(Observer(Arc::downgrade(&stream))));
        let reserved = config::limit(config.max_bytes).unwrap_or(0);
        stream.shared.usage.watch(&stream.entry.log, config.storage, &stream.log, reserved);
        let me = stream.me.clone();
        stream.consumers.before_removals(move || me.upgrade().map_or_else(Vec::new, |stream| stream.moved_positions()));
        stream.capture(&config.subjects);
        stream.look_after_age();
        stream.look_after_schedules();
        stream.follow();
        Ok(stream)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration as it stands.
    pub fn config(&self) -> Arc<StreamConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The account that it belongs to.
    pub fn account(&self) -> &Arc<Account> {
        &self.shared.account
    }

    /// A random id made when the stream was created: tells it from an earlier stream of the same name.
    pub fn epoch(&self) -> &str {
        &self.entry.epoch
    }

    /// When it was created.
    pub fn created(&self) -> Timestamp {
        self.entry.created
    }

    /// Keeps clients from deleting it, in the name of `holder`, who reads it as long as the daemon runs, and for whom it is
    /// durable.
    pub fn hold(&self, holder: String) {
        // Who was there first stays.
        let _ = self.holder.set(holder);
        self.look_after_sync();
    }

    /// Who keeps it from being deleted.
    pub fn holder(&self) -> Option<&str> {
        self.holder.get().map(String::as_str)
    }

    /// Follows the last committed sequence.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    /// Its consumers.
    pub fn consumers(&self) -> &Arc<Consumers> {
        &self.consumers
    }

    pub(super) fn entry(&self) -> Entry {
        Entry { config: (*self.config()).clone(), ..self.entry.clone() }
    }

    /// Puts a checked configuration in force.
    pub(super) fn reconfigure(self: &Arc<Self>, config: StreamConfig) {
        let config = Arc::new(config);
        self.desk().configure(config.clone());
        let old = self.config();
        let moved = old.mirror != config.mirror || old.sources != config.sources;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.log.set_compression(compresses(&config));
        self.look_after_sync();
        self.log.set_limits(limits(&config));
        self.shared.usage.reserve(&self.entry.log, config::limit(config.max_bytes).unwrap_or(0));
        self.consumers.set_rules(rules(&config, &self.shared));
        self.capture(&config.subjects);
        self.look_after_age();
        self.look_after_schedules();
        if moved {
            self.follow();
        }
    }

    /// Has the log synced as it is to be.
    fn look_after_sync(&self) {
        let sync = match self.holder() {
            None => sync(&self.config(), self.shared.sync_interval),
            Some(_) => Sync::Durable,
        };
        self.log.set_sync(sync);
    }

    /// Purges; returns how many messages went.
    pub fn purge(&self, purge: &Purge) -> Result<u64, StoreError> {
        let purged = self.log.purge(purge)?;
        self.shared.usage.freed();
        self.consumers.on_purged(self.log.state().first_seq);
        Ok(purged)
    }

    /// Deletes one message; returns whether it was there.
    pub fn delete_message(&self, seq: u64) -> Result<bool, StoreError> {
        self.keep_positions()?;
        let removed = self.log.remove(&[seq])? > 0;
        self.shared.usage.freed();
        self.consumers.on_deleted(seq);
        Ok(removed)
    }

    /// Waits until what was published before is committed and bounded by the limits, and what was acknowledged before has
    /// left, as nats-server does both at once. On a thread that may block.
    ///
    /// # Errors
    /// The store cannot commit.
    pub(super) fn catch_up(&self) -> Result<(), StoreError> {
        let committed = self.store().barrier();
        self.consumers.catch_up();
        committed.wait()
    }

    /// Ends the stream. With `deleted` it is gone for good, and those who wait for a commit are told so.
    pub(super) fn close(&self, deleted: bool) {
        self.capture_none();
        self.follow_nobody(deleted);
        self.consumers.shutdown(deleted);
        if deleted {
            let mut due = Due::default();
            self.desk().close(&mut due);
            self.answer_all(&due, &ApiError::stream_not_found());
            self.refuse_those_who_wait();
            self.shared.usage.forget(&self.entry().log);
        }
    }

    /// Takes no more in. Those who wait for a commit are answered by it.
    pub(super) fn take_no_more(&self) {
        self.desk().closed = true;
    }

    /// The account's limits have changed.
    pub(super) fn limits_changed(&self) {
        self.consumers.set_rules(rules(&self.config(), &self.shared));
    }

    fn capture(self: &Arc<Self>, subjects: &[String]) {
        let mut captures = self.captures.lock().unwrap_or_else(PoisonError::into_inner);
        captures.retain(|capture| {
            let stays = subjects.iter().any(|subject| **subject == *capture.subject());
            if !stays {
                self.shared.account.unsubscribe(capture);
            }
            stays
        });
        for subject in subjects {
            if !captures.iter().any(|capture| *capture.subject() == **subject) {
                let capture = Arc::new(Subscription::new(subject, None, "", self.clone()));
                self.shared.account.subscribe(capture.clone());
                captures.push(capture);
            }
        }
    }

    fn capture_none(&self) {
        let captures = std::mem::take(&mut *self.captures.lock().unwrap_or_else(PoisonError::into_inner));
        captures.iter().for_each(|capture| self.shared.account.unsubscribe(capture));
    }

    pub(super) fn ageing(&self) -> MutexGuard<'_, Ageing> {
        self.ageing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn schedules(&self) -> MutexGuard<'_, Schedules> {
        self.schedules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn followers(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn store(&self) -> &Store {
        self.shared.engine.store()
    }

    pub(super) fn upkeep(&self) -> &Upkeep {
        &self.shared.upkeep
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn domain(&self) -> Option<&str> {
        self.shared.domain.told()
    }

    pub(super) fn origin(&self) -> Origin {
        Origin { id: self.id, echo: true }
    }

    /// Has `work` done under the intake's lock with what surrounds it; `None` if the stream is closed.
    pub(super) fn take_in(
        &self,
        work: impl FnOnce(&mut Desk, &Surroundings<'_>, &mut Due) -> Verdict,
    ) -> Option<Verdict> {
        let mut failed = Due::default();
        let mut desk = self.desk();
        if desk.closed {
            return None;
        }
        let wanted = |subject: &str| self.consumers.want(subject);
        let around = Surroundings {
            log: &self.log,
            usage: &self.shared.usage,
            domain: self.shared.domain.told(),
            now: monotonic(),
            wanted: &wanted,
        };
        let verdict = work(&mut desk, &around, &mut failed);
        let watch = desk.batches.wants_watch();
        drop(desk);
        if watch {
            self.shared.upkeep.call(self.shared.usage.inflight().timeout, self.me.clone(), Stream::give_up_batches);
        }
        if !failed.entries.is_empty() {
            self.answer_all(&failed, &ApiError::store_failed("the disk did not take the message"));
        }
        for message in failed.copies {
            let (mut cache, mut batch) = (RouteCache::default(), Batch::default());
            self.shared.account.route(self.origin(), &message.borrow(), &mut cache, &mut batch);
        }
        Some(verdict)
    }
}

impl Target for Stream {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn party(&self) -> Option<Party> {
        Some(Party::Stream { name: self.name().to_owned() })
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        let mut reply = message.reply;
        let verdict = self.take_in(|desk, around, failed| {
            if desk.config.no_ack {
                reply = "";
            }
            if !desk.line.is_empty() {
                return desk.line.join(message);
            }
            desk.publish(message, around, failed)
        });
        match verdict {
            Some(Verdict::Full(_)) => self.tell(self.wait_for_room(message), reply, batch),
            Some(verdict) => self.tell(verdict, reply, batch),
            None => {}
        }
    }
}

/// The intake as it was: last message id, and the ids stored within the duplicate window of the last message's time
/// (not of now: the time without power does not count).
fn recover_desk(config: Arc<StreamConfig>, log: &Log) -> Result<Desk, StoreError> {
    let state = log.state();
    let mut desk = Desk::new(config.clone(), state.last_seq);
    if state.msgs == 0 {
        return Ok(desk);
    }
    let now = monotonic();
    let mut reader = log.reader();
    reader.seek(log.seq_at(state.last_time.saturating_sub(config.duplicate_window)));
    loop {
        match reader.next(&|_| true) {
            Ok(Some(stored)) => {
                let id = headers::get(&stored.headers, "Nats-Msg-Id").unwrap_or_default();
                if !id.is_empty() {
                    desk.dedup.insert(id, stored.seq, now.saturating_sub(state.last_time.saturating_sub(stored.time)));
                }
                if stored.seq == state.last_seq {
                    id.clone_into(&mut desk.last_msg_id);
                }
            }
            Ok(None) => return Ok(desk),
            Err(error @ StoreError::Damaged { .. }) => {
                tracing::warn!(%error, stream = config.name, "a damaged message is left out of the duplicate window");
            }
            Err(error) => return Err(error),
        }
    }
}
