//! JetStream of each account that has it.

use crate::account::{Accounts, GLOBAL_ACCOUNT};
use crate::auth::StreamsByJwt;
use crate::config::Config;
use crate::config::ServerLimitsConfig;
use crate::config::accounts::JetStreamLimits;
use crate::config::units::Duration;
use crate::jetstream::api::Absent;
use crate::jetstream::{
    self, AccountLimits, Domain, JetStream, JetStreamError, JetStreams, Limits, Options, ServerLimits, Usage,
};
use crate::store::Store;
use crate::system;
use std::collections::BTreeMap;
use std::sync::Arc;

/// JetStream of the accounts that have it. Their limits hold for each, the server's for all together.
pub(super) struct Streams {
    all: Arc<JetStreams>,
    room: Option<Room>,
    /// For the accounts without.
    absent: Vec<Absent>,
    store: Store,
}

/// What all accounts share.
struct Room {
    usage: Arc<Usage>,
    options: Options,
}

impl Streams {
    /// Of the accounts that `config` and their JWTs give it, `$G` first.
    pub fn start(
        config: &Config,
        by_jwt: &StreamsByJwt,
        accounts: &Accounts,
        store: &Store,
    ) -> Result<Streams, JetStreamError> {
        let room = config.jetstream.enabled.then(|| Room::new(config));
        let mut streams = Streams { all: Arc::default(), room, absent: Vec::new(), store: store.clone() };
        if config.jetstream.enabled {
            jetstream::look_for_strays(store);
        }
        for (name, limits) in wanted(config, by_jwt) {
            streams.add(name, limits, accounts)?;
        }
        streams.tell_others(accounts);
        Ok(streams)
    }

    /// Those of now.
    pub fn all(&self) -> &Arc<JetStreams> {
        &self.all
    }

    /// JetStream and limits as `config` and JWTs give them by now. Blocks where an account loses it.
    pub fn reload(&mut self, config: &Config, by_jwt: &StreamsByJwt, accounts: &Accounts) {
        let wanted: BTreeMap<_, _> = wanted(config, by_jwt).into_iter().collect();
        for jetstream in self.all.all() {
            let name = jetstream.account().name();
            match wanted.get(name) {
                Some(limits) if *limits == jetstream.limits() => {}
                Some(limits) => jetstream.set_limits(limits.clone()),
                None => {
                    tracing::warn!("account {name} has JetStream no longer; its streams stay on disk");
                    self.all.remove(name);
                    jetstream.switch_off();
                }
            }
        }
        for (name, limits) in wanted {
            if self.all.of(name).is_none()
                && let Err(error) = self.add(name, limits, accounts)
            {
                tracing::error!("account {name} gets no JetStream: {error}");
            }
        }
        self.tell_others(accounts);
    }

    fn add(&self, name: &str, limits: Limits, accounts: &Accounts) -> Result<(), JetStreamError> {
        let Some(Room { usage, options }) = &self.room else { return Ok(()) };
        let account = accounts.get_or_create(name);
        let within = Some(usage.clone());
        let jetstream = JetStream::start_within(within, limits, account, self.store.clone(), options.clone())?;
        jetstream.report_to(accounts.system().clone());
        self.all.add(jetstream);
        Ok(())
    }

    /// Those who ask in an account without streams are told that there are none; the system's account has no need of it.
    fn tell_others(&mut self, accounts: &Accounts) {
        let mut without = accounts.all();
        without.retain(|account| self.room.is_some() && !Arc::ptr_eq(account, accounts.system()));
        without.retain(|account| self.all.of(account.name()).is_none());
        self.absent.retain(|absent| without.iter().any(|account| Arc::ptr_eq(absent.account(), account)));
        without.retain(|account| !self.absent.iter().any(|absent| Arc::ptr_eq(absent.account(), account)));
        let domain = self.room.as_ref().and_then(|room| room.options.domain.name());
        self.absent.extend(without.into_iter().map(|account| Absent::start(account, domain)));
    }
}

impl Room {
    fn new(config: &Config) -> Room {
        let stored = system::size_of_dir(&config.data_dir.join("streams"));
        let free = system::free_space(&config.data_dir).unwrap_or(0);
        let max_file = config.jetstream.max_file.map_or((stored + free) / 4 * 3, |size| size.0);
        let max_memory = config.jetstream.max_memory.of(system::memory());
        let domain = Domain::new(config.domain(), config.tells_domain());
        let server_name = config.server_name.clone();
        let limits = server_limits(&config.jetstream.limits);
        let sync_interval = config.jetstream.sync_interval.0;
        let options = Options { domain, server_name, max_file, max_memory, sync_interval, limits };
        Room { usage: Arc::new(Usage::of_server(max_file, max_memory, &limits)), options }
    }
}

/// The accounts that have streams, and what they may have.
fn wanted<'a>(config: &'a Config, by_jwt: &'a StreamsByJwt) -> Vec<(&'a str, Limits)> {
    let global = config.global_has_streams().then_some((GLOBAL_ACCOUNT, Limits::default()));
    let named = config.accounts.iter().filter(|(name, account)| account.jetstream.enabled && *name != GLOBAL_ACCOUNT);
    let limits_of =
        |limits: &Option<JetStreamLimits>| Limits::Flat(limits.as_ref().map(account_limits).unwrap_or_default());
    let named = named.map(|(name, account)| (&**name, limits_of(&account.jetstream.limits)));
    global.into_iter().chain(named).chain(by_jwt.iter().map(|(key, limits)| (&**key, limits.clone()))).collect()
}

/// The server's limits in the form of nats-server.
fn server_limits(limits: &ServerLimitsConfig) -> ServerLimits {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let time = |time: Option<Duration>| time.map_or(std::time::Duration::ZERO, |time| time.0);
    ServerLimits {
        max_request_batch: number(limits.max_request_batch),
        max_ack_pending: number(limits.max_ack_pending),
        max_duplicate_window: i64::try_from(time(limits.duplicate_window).as_nanos()).unwrap_or(i64::MAX),
        max_batch_inflight_per_stream: count(limits.batch.max_inflight_per_stream),
        max_batch_inflight_total: count(limits.batch.max_inflight_total),
        max_batch_size: limits.batch.max_msgs,
        max_batch_timeout: time(limits.batch.timeout),
        default_max_consumers: match limits.default_max_consumers {
            0 => -1,
            consumers => number(consumers),
        },
    }
}

/// Limits of the configuration in the form of nats-server.
fn account_limits(limits: &JetStreamLimits) -> AccountLimits {
    let number = |number: Option<u64>| number.map_or(-1, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let size = |size: Option<crate::config::units::ByteSize>| number(size.map(|size| size.0));
    AccountLimits {
        max_memory: size(limits.max_memory),
        max_storage: size(limits.max_file),
        max_streams: number(limits.max_streams),
        max_consumers: number(limits.max_consumers),
        max_ack_pending: number(limits.max_ack_pending),
        memory_max_stream_bytes: size(limits.memory_max_stream_bytes),
        storage_max_stream_bytes: size(limits.file_max_stream_bytes),
        max_bytes_required: limits.max_bytes_required,
    }
}
