//! JetStream of each account that has it.

use crate::account::{Account, Accounts, GLOBAL_ACCOUNT};
use crate::auth::StreamsByJwt;
use crate::config::Config;
use crate::config::accounts::JetStreamLimits;
use crate::jetstream::api::Absent;
use crate::jetstream::{AccountLimits, JetStream, JetStreamError, Options, Usage};
use crate::store::Store;
use crate::system;
use std::sync::Arc;

/// JetStream of the accounts that have it, `$G` first if it does. Their limits hold for each, the server's for all together.
pub(super) fn start(
    config: &Config,
    by_jwt: &StreamsByJwt,
    accounts: &Accounts,
    store: &Store,
) -> Result<Vec<Arc<JetStream>>, JetStreamError> {
    if !config.jetstream.enabled {
        return Ok(Vec::new());
    }
    let stored = system::size_of_dir(&config.data_dir.join("streams"));
    let free = system::free_space(&config.data_dir).unwrap_or(0);
    let max_file = config.jetstream.max_file.map_or((stored + free) / 4 * 3, |size| size.0);
    let max_memory = config.jetstream.max_memory.0;
    let all = Arc::new(Usage::new(max_file, max_memory, None));
    let start = |(name, limits): (&str, AccountLimits)| {
        let (domain, server_name) = (Some(config.domain()), config.server_name.clone());
        let options = Options { domain, server_name, max_file, max_memory };
        JetStream::start_within(Some(all.clone()), limits, accounts.get_or_create(name), store.clone(), options)
    };
    wanted(config, by_jwt).into_iter().map(start).collect()
}

/// What tells those who ask in an account without streams that there are none; the system's account has no need of it.
pub(super) fn absent(config: &Config, accounts: &Accounts, jetstreams: &[Arc<JetStream>]) -> Vec<Absent> {
    let has_streams = |account: &Arc<Account>| jetstreams.iter().any(|js| Arc::ptr_eq(js.account(), account));
    let mut without = accounts.all();
    without.retain(|account| config.jetstream.enabled && !Arc::ptr_eq(account, accounts.system()));
    without.into_iter().filter(|account| !has_streams(account)).map(Absent::start).collect()
}

/// The accounts that have streams, and what they may have.
fn wanted<'a>(config: &'a Config, by_jwt: &'a StreamsByJwt) -> Vec<(&'a str, AccountLimits)> {
    let global = config.global_has_streams().then_some((GLOBAL_ACCOUNT, AccountLimits::default()));
    let named = config.accounts.iter().filter(|(name, account)| account.jetstream.enabled && *name != GLOBAL_ACCOUNT);
    let limits_of = |limits: &Option<JetStreamLimits>| limits.as_ref().map(account_limits).unwrap_or_default();
    let named = named.map(|(name, account)| (&**name, limits_of(&account.jetstream.limits)));
    global.into_iter().chain(named).chain(by_jwt.iter().map(|(key, limits)| (&**key, *limits))).collect()
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
