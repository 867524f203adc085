//! Whom the pages ask: handles of the parts, and what is counted of the requests themselves.

use super::process::Processor;
use super::text;
use crate::account::{Account, Accounts};
use crate::auth::Resolver;
use crate::config::Config;
use crate::jetstream::{JetStream, JetStreams};
use crate::leaf::{LeafConnection, Links, Listener};
use crate::server::View;
use crate::store::Store;
use crate::system::control::{Asked, Request};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// Everything that the pages show.
pub struct Sources {
    /// Unique id of this process.
    pub server_id: String,
    /// The configured name.
    pub server_name: String,
    /// When the daemon started.
    pub started: SystemTime,
    /// The same on the monotonic clock.
    pub since: Instant,
    /// Clients.
    pub clients: View,
    /// All accounts.
    pub registry: Arc<Accounts>,
    /// Streams of the accounts that have them.
    pub jetstreams: Arc<JetStreams>,
    /// Leafs that connect to us.
    pub leafs: Option<Arc<Listener>>,
    /// Links to hubs.
    pub links: Arc<Links>,
    /// Accounts by JWT.
    pub resolver: Arc<Resolver>,
    /// The disk.
    pub store: Store,
    /// Asks for what `leafd status` shows.
    pub asked: mpsc::Sender<Asked>,
    /// The configuration in force, and since when.
    pub config: RwLock<(Arc<Config>, SystemTime)>,
    /// What is counted here.
    pub counters: Counters,
}

/// What is counted of the pages themselves.
#[derive(Default)]
pub struct Counters {
    pub(super) processor: Processor,
    requests: Mutex<BTreeMap<&'static str, u64>>,
    /// Where the pages are.
    pub(super) port: OnceLock<u16>,
}

/// Messages and bytes that crossed leaf connections.
#[derive(Default)]
pub(super) struct Crossed {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
}

impl Sources {
    /// Another configuration is in force from now on.
    pub fn set_config(&self, config: &Config) {
        let now = (Arc::new(config.clone()), SystemTime::now());
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// JetStream of the accounts that have it.
    pub(super) fn jetstreams(&self) -> Vec<Arc<JetStream>> {
        self.jetstreams.all()
    }

    /// All accounts.
    pub(super) fn accounts(&self) -> Vec<Arc<Account>> {
        self.registry.all()
    }

    /// Accounts that somebody is connected to.
    pub(super) fn active_accounts(&self) -> usize {
        let (clients, leafs) = (self.clients.accounts(), self.leaf_connections());
        let is_active = |name: &str| {
            clients.get(name).is_some_and(|clients| clients.connections > 0)
                || leafs.iter().any(|leaf| leaf.account == name)
        };
        self.accounts().iter().filter(|account| is_active(account.name())).count()
    }

    /// Name of the system's account.
    pub(super) fn system_account(&self) -> &str {
        self.registry.system().name()
    }

    /// The configuration in force, and since when.
    pub(super) fn config(&self) -> (Arc<Config>, SystemTime) {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leaf connections that are up, to hubs and from leafs.
    pub(super) fn leaf_connections(&self) -> Vec<LeafConnection> {
        let hubs = self.links.all().into_iter().filter_map(|link| link.connection());
        hubs.chain(self.leafs.iter().flat_map(|leafs| leafs.connections())).collect()
    }

    /// What crossed leaf connections: those to hubs since the start, those of leafs that are connected now.
    pub(super) fn crossed(&self) -> Crossed {
        let mut sum = Crossed::default();
        for link in self.links.all().into_iter().map(|link| link.status()) {
            sum.in_msgs += link.received;
            sum.in_bytes += link.received_bytes;
            sum.out_msgs += link.sent;
            sum.out_bytes += link.sent_bytes;
        }
        for leaf in self.leafs.iter().flat_map(|leafs| leafs.connections()) {
            sum.in_msgs += leaf.received;
            sum.in_bytes += leaf.received_bytes;
            sum.out_msgs += leaf.sent;
            sum.out_bytes += leaf.sent_bytes;
        }
        sum
    }

    /// The time, as nats-server writes it.
    pub(super) fn now(&self) -> String {
        text::time(SystemTime::now())
    }

    /// A page was asked for.
    pub(super) fn count(&self, page: &'static str) {
        *self.counters.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(page).or_default() += 1;
    }

    /// How often each page was asked for.
    pub(super) fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.counters.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What `leafd status` shows; `None` while the daemon ends.
    pub(super) async fn status(&self) -> Option<Value> {
        let (sender, receiver) = oneshot::channel();
        self.asked.send((Request::Status, sender)).await.ok()?;
        receiver.await.ok()
    }
}
