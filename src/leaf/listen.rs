//! The accepting side: leafs, a nats-server's or another daemon's, connect to us as their hub.
//!
//! What a leaf may send and receive goes out in INFO, and is enforced here as well: what it sends or asks for beyond that is
//! refused with an error and without closing the connection.

use super::accept::Entrance;
use super::compression::Agreed;
use super::dial::Identity;
use super::peer::{Counters, Peer};
use super::status::LeafConnection;
use crate::account::Accounts;
use crate::auth::{Authenticator, Hashing};
use crate::config::compression::CompressionMode;
use crate::config::leaf::ListenConfig;
use crate::config::secret::SecretError;
use crate::events::Events;
use crate::server::outbound::{CloseReason, Outbound};
use crate::server::websocket::LeafVisit;
use crate::system::listen;
use crate::system::tls::{self, ServerSide, TlsError, TlsFiles};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Most leafs at a time.
const MAX_LEAFS: usize = 1024;

/// The listener for leafs, bound and at work.
pub struct Listener {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What all leafs share.
pub(super) struct Shared {
    pub accounts: Arc<Accounts>,
    pub authenticator: Arc<Authenticator>,
    pub hashing: Hashing,
    pub events: Arc<Events>,
    door: RwLock<Arc<Door>>,
    pub identity: Identity,
    pub address: SocketAddr,
    max_payload: AtomicUsize,
    leafs: Mutex<Vec<Leaf>>,
}

/// The configuration that leafs come in by, with its certificates read.
pub struct Door {
    pub(super) config: ListenConfig,
    pub(super) tls: Option<TlsAcceptor>,
    /// When our certificate is over.
    expires: Option<SystemTime>,
}

/// A leaf that is connected.
pub(super) struct Leaf {
    pub name: String,
    /// Its own account.
    pub remote_account: String,
    /// Ours.
    pub account: String,
    pub user: String,
    /// Of its server.
    pub version: String,
    pub address: SocketAddr,
    pub out: Arc<Outbound>,
    pub counters: Arc<Counters>,
    pub peer: Arc<Peer>,
    pub agreed: Agreed,
    /// Of the certificate that it has shown.
    pub pin: Option<String>,
}

/// A snapshot of one leaf.
#[derive(Clone, Debug, Serialize)]
pub struct LeafStatus {
    /// Its server name.
    pub name: String,
    /// The account that it is joined to.
    pub account: String,
    /// The user it has shown.
    pub user: String,
    /// Where it connected from.
    pub address: SocketAddr,
    /// Messages sent to it.
    pub sent: u64,
    /// Messages received from it.
    pub received: u64,
    /// Messages not sent because too much was waiting.
    pub dropped: u64,
    /// Messages from it that its permissions do not allow.
    pub refused: u64,
}

/// Why leafs cannot be listened for.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen for leaf nodes on {host}:{port}: {error}; choose another [leaf.listen] host or port")]
    Bind {
        /// Configured host.
        host: String,
        /// Configured port.
        port: u16,
        /// What the system said.
        error: std::io::Error,
    },
    /// TLS files.
    #[error("[leaf.listen] tls: {0}")]
    Tls(#[from] TlsError),
    /// A user's password.
    #[error("[leaf.listen] users: {0}")]
    Secret(#[from] SecretError),
}

/// What leafs come into.
pub struct House {
    /// All accounts.
    pub accounts: Arc<Accounts>,
    /// Who is let in where `[leaf.listen]` has no users.
    pub authenticator: Arc<Authenticator>,
    /// Who is told of leafs that come and go.
    pub events: Arc<Events>,
    /// Who we are.
    pub identity: Identity,
    /// Largest message, told to leafs, bytes.
    pub max_payload: usize,
    /// Leafs that come to the port for WebSocket.
    pub visits: mpsc::Receiver<LeafVisit>,
}

impl Listener {
    /// Binds and accepts until `shutdown`.
    pub async fn start(
        house: House,
        config: ListenConfig,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Listener, ListenError> {
        for user in &config.users {
            user.password.read()?;
        }
        let door = Door::open(&config)?;
        let failed = |error| ListenError::Bind { host: config.host.clone(), port: config.port, error };
        let (listener, address) = listen::bind(&config.host, config.port).await.map_err(failed)?;
        let shared = Arc::new(Shared {
            accounts: house.accounts,
            authenticator: house.authenticator,
            hashing: Hashing::default(),
            events: house.events,
            identity: house.identity,
            address,
            max_payload: AtomicUsize::new(house.max_payload),
            door: RwLock::new(Arc::new(door)),
            leafs: Mutex::default(),
        });
        let task = tokio::spawn(accept(shared.clone(), listener, house.visits, shutdown));
        Ok(Listener { shared, task: Mutex::new(Some(task)) })
    }

    /// Has leafs come in by `door` from now on, and tells them of `max_payload`, bytes. Of those that are here the ones go, and come again, whose compression has to be
    /// agreed upon anew, or whose certificate is not among those that are pinned now.
    pub fn reload(&self, door: Door, max_payload: usize) {
        self.shared.max_payload.store(max_payload, Ordering::Relaxed);
        let new = Arc::new(door);
        let old =
            std::mem::replace(&mut *self.shared.door.write().unwrap_or_else(PoisonError::into_inner), new.clone());
        let recompressed = old.config.compression != new.config.compression;
        for leaf in self.shared.leafs().iter() {
            let agreed = leaf.agreed.name();
            let other = recompressed && agreed != CompressionMode::NotSupported.name();
            if other && agreed != new.config.compression.mode.name() || !new.takes(leaf.pin.as_deref()) {
                leaf.out.close(CloseReason::ClientClosed);
            }
        }
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// The leafs connected now.
    pub fn status(&self) -> Vec<LeafStatus> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let leafs = self.shared.leafs();
        leafs
            .iter()
            .map(|leaf| LeafStatus {
                name: leaf.name.clone(),
                account: leaf.account.clone(),
                user: leaf.user.clone(),
                address: leaf.address,
                sent: count(&leaf.counters.sent),
                received: count(&leaf.counters.received),
                dropped: count(&leaf.counters.dropped),
                refused: count(&leaf.counters.refused),
            })
            .collect()
    }

    /// When the certificate that leafs are shown is over.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        self.shared.door().expires
    }

    /// The leafs connected now, as monitoring shows them.
    pub fn connections(&self) -> Vec<LeafConnection> {
        let leafs = self.shared.leafs();
        leafs
            .iter()
            .map(|leaf| {
                let connection = leaf.peer.connection(leaf.name.clone(), Some(leaf.address), None, leaf.agreed.name());
                LeafConnection { version: leaf.version.clone(), user: leaf.user.clone(), ..connection }
            })
            .collect()
    }

    /// Ends the connection `id`; whether there is one.
    pub fn kick(&self, id: u64) -> bool {
        let leafs = self.shared.leafs();
        let leaf = leafs.iter().find(|leaf| leaf.peer.id.get() == id);
        leaf.iter().for_each(|leaf| leaf.out.close(CloseReason::Kicked));
        leaf.is_some()
    }

    /// Waits until the last leaf has ended, after shutdown.
    pub async fn stopped(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut visits: mpsc::Receiver<LeafVisit>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut leafs = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => {
                accepted.map(|(socket, from)| (Entrance::Tcp(socket), listen::canonical(from)))
            },
            Some(visit) = visits.recv() => {
                let from = visit.from;
                Ok((Entrance::WebSocket(visit), from))
            }
            Some(_) = leafs.join_next() => continue,
            _ = shutdown.wait_for(|end| *end) => break,
        };
        match accepted {
            Ok((entrance, peer)) if leafs.len() < MAX_LEAFS => {
                let (shared, end) = (shared.clone(), shutdown.clone());
                leafs.spawn(async move {
                    let reason = shared.serve(entrance, peer, end).await;
                    tracing::info!("leaf node {peer}: {reason}");
                });
            }
            Ok((_, peer)) => tracing::warn!("leaf node {peer} refused: {MAX_LEAFS} are connected already"),
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::warn!("cannot accept a leaf node: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    while leafs.join_next().await.is_some() {}
}

impl Door {
    /// By that configuration.
    ///
    /// # Errors
    /// Its certificates cannot be used.
    pub fn open(config: &ListenConfig) -> Result<Door, ListenError> {
        let shown = match &config.tls {
            None => None,
            Some(files) => {
                let files = TlsFiles {
                    ca_file: files.ca_file.clone(),
                    cert_file: Some(files.cert_file.clone()),
                    key_file: Some(files.key_file.clone()),
                };
                let side = ServerSide { verify: files.ca_file.is_some(), files, only_tls13: false };
                Some(tls::server(&side)?)
            }
        };
        let expires = shown.as_ref().and_then(|shown| shown.expires);
        Ok(Door { config: config.clone(), tls: shown.map(|shown| TlsAcceptor::from(shown.config)), expires })
    }

    /// Whether a leaf may come in that has shown the certificate with this pin.
    pub(super) fn takes(&self, pin: Option<&str>) -> bool {
        let pinned = self.config.tls.as_ref().map_or(&[][..], |tls| &tls.pinned_certs);
        pinned.is_empty() || pin.is_some_and(|pin| pinned.iter().any(|known| known.eq_ignore_ascii_case(pin)))
    }
}

impl Shared {
    /// By what a leaf comes in that comes now.
    pub fn door(&self) -> Arc<Door> {
        self.door.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Largest message of leafs that come now, bytes.
    pub fn max_payload(&self) -> usize {
        self.max_payload.load(Ordering::Relaxed)
    }

    /// The leafs connected now.
    pub fn leafs(&self) -> MutexGuard<'_, Vec<Leaf>> {
        self.leafs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
