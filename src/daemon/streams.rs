//! JetStream of each account that has it.

use crate::account::{Accounts, GLOBAL_ACCOUNT};
use crate::config::Config;
use crate::config::accounts::JetStreamLimits;
use crate::jetstream::{JetStream, JetStreamError, Options, Usage};
use crate::store::Store;
use crate::system;
use std::sync::Arc;

/// JetStream of the accounts that have it, `$G` first if it does. Their limits hold for each, the server's for all together.
pub(super) fn start(
    config: &Config,
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
    let start = |name: &str, limits: &JetStreamLimits| {
        let options = Options {
            domain: Some(config.domain().to_owned()),
            server_name: config.server_name.clone(),
            max_file: limits.max_file.map_or(max_file, |size| size.0),
            max_memory: limits.max_memory.map_or(max_memory, |size| size.0),
        };
        JetStream::start_within(Some(all.clone()), accounts.get_or_create(name), store.clone(), options)
    };
    let mut started = Vec::new();
    if config.global_has_streams() {
        started.push(start(GLOBAL_ACCOUNT, &JetStreamLimits::default())?);
    }
    for (name, account) in &config.accounts {
        if account.jetstream.enabled && name != GLOBAL_ACCOUNT {
            started.push(start(name, &account.jetstream.limits.clone().unwrap_or_default())?);
        }
    }
    Ok(started)
}
