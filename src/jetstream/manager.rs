//! The streams of an account: recovered at the start, made, changed and removed.

mod offline;
mod restoring;

pub(super) use self::restoring::Made;
use super::api::Api;
use super::catalogue::{self, Entry};
use super::config::{StorageType, StreamConfig, limit};
use super::consumer::Engine;
use super::consumer::config::Timestamp;
use super::domain::Domain;
use super::error::{ApiError, JetStreamError};
use super::info::{AccountInfo, AccountLimits, ApiStats, StreamInfo, TierInfo};
use super::limits::Taken;
use super::log_options::log_options;
use super::origin;
use super::server_limits::ServerLimits;
use super::stream::{Shared, Stream};
use super::tiers::Limits;
use super::upkeep::Upkeep;
use super::usage::Usage;
use super::validate;
use crate::account::{Account, Batch, Message, Origin, RouteCache, TargetId};
use crate::store::{Store, StoreError};
use crate::subject;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::runtime::Handle;

/// What JetStream is told by the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// The JetStream domain.
    pub domain: Domain,
    /// The server's name.
    pub server_name: String,
    /// Bytes on disk at most.
    pub max_file: u64,
    /// Bytes in memory at most.
    pub max_memory: u64,
    /// How often streams with `persist_mode: async` are synced.
    pub sync_interval: Duration,
    /// What each stream, consumer and batch may be.
    pub limits: ServerLimits,
}

/// JetStream of one account.
pub struct JetStream {
    shared: Arc<Shared>,
    store: Store,
    options: Options,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    /// Streams whose log or catalogue entry cannot be read, and why.
    offline: RwLock<BTreeMap<String, String>>,
    /// Held while streams are made, changed or removed, so that checks and changes are one.
    changing: Mutex<()>,
    /// The account has JetStream no longer.
    ended: AtomicBool,
    api: Mutex<Option<Api>>,
    system: OnceLock<Arc<Account>>,
    origin: Origin,
    /// API requests, and those answered by an error.
    pub(super) requests: AtomicU64,
    pub(super) errors: AtomicU64,
}

impl JetStream {
    /// Opens the streams that the catalogue has for `account`, and serves the API from tasks on the current runtime.
    /// A stream that cannot be opened is reported and stays away; the others go on.
    ///
    /// # Errors
    /// No threads could be started.
    pub fn start(account: Arc<Account>, store: Store, options: Options) -> Result<Arc<JetStream>, JetStreamError> {
        Self::start_within(None, Limits::default(), account, store, options)
    }

    /// As [`JetStream::start`], with `limits` of the account, `within` those that it shares with other accounts.
    ///
    /// # Errors
    /// As there.
    pub fn start_within(
        within: Option<Arc<Usage>>,
        limits: Limits,
        account: Arc<Account>,
        store: Store,
        options: Options,
    ) -> Result<Arc<JetStream>, JetStreamError> {
        let usage = Usage::new(0, 0, within);
        usage.set_most(sizes(&limits, &options));
        let shared = Arc::new(Shared {
            engine: Engine::start(account.clone(), store.clone())?,
            usage: Arc::new(usage),
            limits: RwLock::new(limits),
            upkeep: Upkeep::start()?,
            domain: options.domain.clone(),
            server: options.limits,
            sync_interval: options.sync_interval,
            runtime: Handle::current(),
            account,
        });
        for log in catalogue::abandoned_restores(&store, shared.account.name()) {
            tracing::warn!(log, "a restore was cut off; what there is of it is removed");
            catalogue::abandon_restore(&store, shared.account.name(), &log);
        }
        for log in catalogue::abandoned_removals(&store, shared.account.name()) {
            if let Err(error) = catalogue::remove_log(&store, shared.account.name(), &log) {
                tracing::warn!(%error, log, "what is left of a stream that was deleted cannot be removed");
            }
        }
        let (streams, offline) = recover(&shared, &store);
        let jetstream = Arc::new(JetStream {
            shared,
            store,
            options,
            streams: RwLock::new(streams),
            offline: RwLock::new(offline),
            changing: Mutex::new(()),
            ended: AtomicBool::new(false),
            api: Mutex::default(),
            system: OnceLock::new(),
            origin: Origin { id: TargetId::next(), echo: true },
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        });
        let api = Api::start(&jetstream)?;
        for stream in jetstream.streams() {
            api.serve_direct(&stream);
        }
        *jetstream.api() = Some(api);
        Ok(jetstream)
    }

    /// The stream of that name.
    pub fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All streams by name.
    pub fn streams(&self) -> Vec<Arc<Stream>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The stream, or why there is none.
    pub(super) fn find(&self, name: &str) -> Result<Arc<Stream>, ApiError> {
        self.check_online(name)?;
        self.stream(name).ok_or_else(ApiError::stream_not_found)
    }

    fn check_online(&self, name: &str) -> Result<(), ApiError> {
        if self.ended.load(Ordering::SeqCst) {
            return Err(ApiError::not_enabled());
        }
        match self.offline().get(name) {
            Some(reason) => Err(ApiError::new(500, 10194, format!("stream is offline: {reason}"))),
            None => Ok(()),
        }
    }

    /// Makes a stream; the same configuration again gives the stream that exists. It captures from now on, and is
    /// durable no later than the first message that it acknowledges; await [`Store::barrier`] to know that it is.
    ///
    /// # Errors
    /// nats-server's, for a configuration that cannot be had.
    pub fn create_stream(&self, config: StreamConfig) -> Result<Arc<Stream>, ApiError> {
        self.create(config, false)
    }

    pub(super) fn create(&self, mut config: StreamConfig, pedantic: bool) -> Result<Arc<Stream>, ApiError> {
        if config.sealed {
            return Err(ApiError::config("stream configuration for create can not be sealed"));
        }
        if config.mirror_direct && config.mirror.is_none() {
            return Err(ApiError::config("stream has no mirror but does have mirror direct"));
        }
        let _changing = self.changing();
        let all = self.shared.limits();
        all.of(config.num_replicas)?.check_new(&config, &self.taken(&config))?;
        self.check(&mut config, pedantic)?;
        let limits = all.of(1)?;
        limits.check_max_bytes(&config)?;
        self.check_online(&config.name)?;
        if let Some(existing) = self.stream(&config.name) {
            return match *existing.config() == config {
                true => Ok(existing),
                false => Err(ApiError::new(400, 10058, "stream name already in use with a different configuration")),
            };
        }
        limits.check_new(&config, &self.taken(&config))?;
        self.check_overlap(&config)?;
        origin::check_filters(&config)?;
        let failed = |error: StoreError| ApiError::new(500, 10049, format!("error creating store for stream: {error}"));
        let entry = Entry::new(self.shared.account.name(), config);
        let log = self.store.create_log(&entry.log, log_options(&entry.config)).map_err(failed)?;
        // Of an earlier one of this name, whose deletion was cut off.
        drop(catalogue::forget(&self.store, self.shared.account.name(), &entry.config.name));
        // Nobody waits for this commit: what the stream acknowledges is committed after it.
        catalogue::put(&self.store, self.shared.account.name(), &entry).map_err(ApiError::general)?;
        let stream = Stream::open(self.shared.clone(), entry, log).map_err(failed)?;
        self.insert(&stream);
        self.advise("CREATED", "create", stream.name());
        Ok(stream)
    }

    /// The configuration of the stream of that name.
    pub(super) fn config_of(&self, name: &str) -> Option<StreamConfig> {
        self.stream(name).map(|stream| (*stream.config()).clone())
    }

    /// Checks a configuration by itself and beside the other streams, and fills in its defaults.
    pub(super) fn check(&self, config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
        validate::check(config, pedantic, &self.options.limits, &|name| self.config_of(name))
    }

    /// Changes a stream. Durable as with [`JetStream::create_stream`].
    ///
    /// # Errors
    /// nats-server's, for a change that cannot be had.
    pub fn update_stream(&self, config: StreamConfig) -> Result<Arc<Stream>, ApiError> {
        self.update(config, false)
    }

    pub(super) fn update(&self, mut config: StreamConfig, pedantic: bool) -> Result<Arc<Stream>, ApiError> {
        let _changing = self.changing();
        self.check(&mut config, pedantic)?;
        let stream = self.find(&config.name)?;
        let old = stream.config();
        validate::check_update(&old, &mut config)?;
        let limits = self.shared.limits().of(1)?;
        limits.check_max_bytes(&config)?;
        if *old == config {
            return Ok(stream);
        }
        check_consumers(&stream, &old, &config)?;
        limits.check_changed(&old, &config, &self.taken(&config))?;
        self.check_overlap(&config)?;
        let entry = Entry { config: config.clone(), ..stream.entry() };
        catalogue::put(&self.store, self.shared.account.name(), &entry).map_err(ApiError::not_updated)?;
        stream.reconfigure(config);
        if let Some(api) = &*self.api() {
            api.serve_direct(&stream);
        }
        self.advise("UPDATED", "modify", stream.name());
        Ok(stream)
    }

    /// Removes a stream with all its messages and consumers, also one that could not be opened.
    ///
    /// # Errors
    /// There is none of that name, it is held, or that cannot be written, or its files cannot be removed.
    pub fn delete_stream(&self, name: &str) -> Result<(), ApiError> {
        let _changing = self.changing();
        if self.delete_offline(name)? {
            return Ok(());
        }
        let stream = self.find(name)?;
        if let Some(holder) = stream.holder() {
            return Err(ApiError::new(500, 10050, format!("{holder} of the configuration needs this stream")));
        }
        self.streams.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(api) = &*self.api() {
            api.end_direct(name);
        }
        let account = self.shared.account.name();
        let forgotten = catalogue::remove(&self.store, account, &stream.entry());
        stream.close(true);
        // A stream that the catalogue knows must not be without its files.
        let removed = forgotten.wait().and_then(|()| catalogue::remove_log(&self.store, account, &stream.entry().log));
        removed.map_err(|error| ApiError::new(500, 10050, error.to_string()))?;
        self.advise("DELETED", "delete", name);
        Ok(())
    }

    /// What the account uses and may use. Reads from disk.
    pub fn account_info(&self) -> AccountInfo {
        let (storage, memory) = self.shared.usage.recount();
        let streams = self.streams();
        let all = TierInfo {
            memory,
            storage,
            reserved_memory: self.reserved(StorageType::Memory, ""),
            reserved_storage: self.reserved(StorageType::File, ""),
            streams: streams.len(),
            consumers: streams.iter().map(|stream| stream.consumers().count()).sum(),
            limits: AccountLimits::ZERO,
        };
        let info = AccountInfo {
            all,
            domain: self.options.domain.told().map(str::to_owned),
            api: ApiStats {
                level: crate::protocol::JETSTREAM_API_LEVEL.into(),
                total: self.requests.load(Ordering::Relaxed),
                errors: self.errors.load(Ordering::Relaxed),
            },
            tiers: BTreeMap::new(),
        };
        self.shared.limits().told(all, info)
    }

    /// What STREAM.INFO tells of a stream. Reads from disk.
    pub fn info(&self, stream: &Stream) -> StreamInfo {
        StreamInfo::of(stream, self.options.domain.told().map(str::to_owned))
    }

    /// Tells those who wait for messages that the server ends.
    pub fn end_requests(&self) {
        self.streams().iter().for_each(|stream| stream.consumers().end_requests());
    }

    /// Ends the API and all streams; what was acknowledged is stored before this returns. Blocks.
    pub fn shutdown(&self) {
        drop(self.api().take());
        let streams = std::mem::take(&mut *self.streams.write().unwrap_or_else(PoisonError::into_inner));
        streams.values().for_each(|stream| stream.close(false));
        self.shared.engine.stop();
    }

    /// The account may have `limits` from now on. What its streams and consumers are stays; what they become is checked.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.usage.set_most(sizes(&limits, &self.options));
        *self.shared.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
        self.streams().iter().for_each(|stream| stream.limits_changed());
    }

    /// What the account may have.
    pub fn limits(&self) -> Limits {
        self.shared.limits()
    }

    /// As [`JetStream::shutdown`], for an account that has JetStream no longer: what it stored counts for nobody, and
    /// another [`JetStream`] of the account may be started later. Blocks.
    pub fn switch_off(&self) {
        let streams = {
            // Streams are neither made nor removed after this.
            let _changing = self.changing();
            self.ended.store(true, Ordering::SeqCst);
            self.streams()
        };
        self.shutdown();
        streams.iter().for_each(|stream| stream.take_no_more());
        let logs: Vec<_> = streams.iter().map(|stream| stream.entry().log).collect();
        logs.iter().for_each(|log| self.shared.usage.forget(log));
        if let Err(error) = self.store.close_logs(&logs) {
            let account = self.account().name();
            tracing::error!("not everything that the streams of account {account} took could be written: {error}");
        }
    }

    /// The account that it serves.
    pub fn account(&self) -> &Arc<Account> {
        &self.shared.account
    }

    /// The options that it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Tells the system account what concerns the server as a whole; the first one stays.
    pub fn report_to(&self, system: Arc<Account>) {
        let _ = self.system.set(system);
    }

    pub(super) fn system(&self) -> Option<&Arc<Account>> {
        self.system.get()
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    fn api(&self) -> MutexGuard<'_, Option<Api>> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.name().to_owned(), stream.clone());
        drop(streams);
        if let Some(api) = &*self.api() {
            api.serve_direct(stream);
        }
    }

    fn reserved(&self, storage: StorageType, except: &str) -> u64 {
        let streams = self.streams();
        let configs = streams.iter().filter(|stream| stream.name() != except).map(|stream| stream.config());
        configs.filter(|config| config.storage == storage).filter_map(|config| limit(config.max_bytes)).sum()
    }

    /// What the account's other streams take.
    fn taken(&self, config: &StreamConfig) -> Taken {
        let streams = self.streams();
        Taken {
            streams: streams.iter().filter(|stream| stream.name() != config.name).count(),
            reserved: self.reserved(config.storage, &config.name),
            server: self.shared.usage.unreserved(config.storage),
        }
    }

    fn check_overlap(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let others = self.streams().into_iter().filter(|other| other.name() != config.name).map(|other| other.config());
        for other in others {
            let overlaps = |ours: &String| other.subjects.iter().any(|theirs| subject::overlap(ours, theirs));
            if config.subjects.iter().any(overlaps) {
                return Err(ApiError::new(400, 10065, "subjects overlap with an existing stream"));
            }
        }
        Ok(())
    }

    fn advise(&self, event: &str, action: &str, stream: &str) {
        self.tell(event, "stream_action", stream, serde_json::json!({ "action": action }));
    }

    /// Publishes an advisory about a stream: its `kind`, what all advisories have, and `more`.
    pub(super) fn tell(&self, event: &str, kind: &str, stream: &str, more: serde_json::Value) {
        let subject = format!("$JS.EVENT.ADVISORY.STREAM.{event}.{stream}");
        if !self.account().has_interest(&subject, None) {
            return;
        }
        let mut advisory = more;
        advisory["type"] = format!("io.nats.jetstream.advisory.v1.{kind}").into();
        advisory["id"] = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)).into();
        advisory["timestamp"] = serde_json::to_value(Timestamp::now()).unwrap_or_default();
        advisory["stream"] = stream.into();
        if let Some(domain) = self.options.domain.told() {
            advisory["domain"] = domain.into();
        }
        let payload = advisory.to_string();
        let message = Message { subject: &subject, reply: "", headers: &[], payload: payload.as_bytes() };
        self.account().route(self.origin, &message, &mut RouteCache::default(), &mut Batch::default());
    }
}

/// Limits for consumers may not become narrower than what a consumer has.
fn check_consumers(stream: &Stream, old: &StreamConfig, new: &StreamConfig) -> Result<(), ApiError> {
    let (old, new) = (&old.consumer_limits, &new.consumer_limits);
    if old == new {
        return Ok(());
    }
    let above = |value: i64, most: i64| most > 0 && value > most;
    let consumers = stream.consumers().list().into_iter().filter(|consumer| {
        let config = consumer.config();
        above(config.inactive_threshold, new.inactive_threshold) || above(config.max_ack_pending, new.max_ack_pending)
    });
    let names: Vec<_> = consumers.map(|consumer| consumer.name().to_owned()).collect();
    match names.is_empty() {
        true => Ok(()),
        false => Err(ApiError::new(500, 10069, format!("change to limits violates consumers: {}", names.join(", ")))),
    }
}

/// Bytes on disk and in memory that an account may take; `None`: it may have no streams.
fn sizes(limits: &Limits, options: &Options) -> Option<(u64, u64)> {
    let limits = limits.single()?;
    let most = |storage, server: u64| limits.most(storage).unwrap_or(server);
    Some((most(StorageType::File, options.max_file), most(StorageType::Memory, options.max_memory)))
}

type Recovered = (BTreeMap<String, Arc<Stream>>, BTreeMap<String, String>);

fn recover(shared: &Arc<Shared>, store: &Store) -> Recovered {
    let (mut streams, mut offline) = (BTreeMap::new(), BTreeMap::new());
    for (name, entry) in catalogue::scan(store, shared.account.name()) {
        match entry.map_err(|error| error.to_string()).and_then(|entry| open(shared, store, entry)) {
            Ok(stream) => {
                streams.insert(name, stream);
            }
            Err(reason) => {
                tracing::error!(stream = name, reason, "the stream cannot be opened; the others go on");
                offline.insert(name, reason);
            }
        }
    }
    (streams, offline)
}

fn open(shared: &Arc<Shared>, store: &Store, entry: Entry) -> Result<Arc<Stream>, String> {
    let options = log_options(&entry.config);
    let log = match entry.config.storage {
        StorageType::File => store.open_log(&entry.log, options),
        // What was in memory is gone; the stream is there again, empty.
        StorageType::Memory => store.create_log(&entry.log, options),
    };
    log.and_then(|log| Stream::open(shared.clone(), entry, log)).map_err(|error| error.to_string())
}
