//! The accepting side: leafs, a nats-server's or another daemon's, connect to us as their hub.
//!
//! A user's `publish` and `subscribe` lists go out in INFO as what the leaf may export and import, and are enforced here
//! as well: what a leaf sends or asks for beyond them is refused with an error and without closing the connection.

use super::auth::LeafConnect;
use super::compression::Agreed;
use super::dial::Identity;
use super::info::LeafInfo;
use super::interest::loop_subject;
use super::peer::{Counters, Peer, Rules};
use super::permissions::Filter;
use super::session::{Control, Session};
use super::status::LeafConnection;
use super::wire::{self, Greeting, STEP_LIMIT, Socket, WireError};
use crate::account::Account;
use crate::auth::SubjectPermission;
use crate::config::compression::CompressionMode;
use crate::config::leaf::{LeafUser, ListenConfig};
use crate::config::secret::SecretError;
use crate::protocol::NATS_VERSION;
use crate::server::outbound::{CloseReason, Outbound};
use crate::system::tls::{self, ServerSide, TlsError, TlsFiles};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Most leafs at a time.
const MAX_LEAFS: usize = 1024;
/// Bytes that may wait for one leaf before its live traffic is dropped and counted.
const MAX_LIVE: usize = 8 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Never announced to a leaf: its API is its own (nats-server `denyAllClientJs`).
const DENIED: [&str; 4] = ["$JS.API.>", "$KV.>", "$OBJ.>", "$SYS.>"];

/// The listener for leafs, bound and at work.
pub struct Listener {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    account: Arc<Account>,
    config: ListenConfig,
    identity: Identity,
    address: SocketAddr,
    max_payload: usize,
    tls: Option<tokio_rustls::TlsAcceptor>,
    loop_subject: String,
    leafs: Mutex<Vec<Leaf>>,
    next: AtomicU64,
}

/// A leaf that is connected.
struct Leaf {
    id: u64,
    name: String,
    account: String,
    user: String,
    address: SocketAddr,
    out: Arc<Outbound>,
    counters: Arc<Counters>,
    peer: Arc<Peer>,
    agreed: Agreed,
}

/// A snapshot of one leaf.
#[derive(Clone, Debug, Serialize)]
pub struct LeafStatus {
    /// Its server name.
    pub name: String,
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

impl Listener {
    /// Binds and accepts until `shutdown`. `max_payload` is told to leafs, bytes.
    pub async fn start(
        account: Arc<Account>,
        config: ListenConfig,
        identity: Identity,
        max_payload: usize,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Listener, ListenError> {
        for user in &config.users {
            user.password.read()?;
        }
        let tls = match &config.tls {
            None => None,
            Some(files) => {
                let files = TlsFiles {
                    ca_file: files.ca_file.clone(),
                    cert_file: Some(files.cert_file.clone()),
                    key_file: Some(files.key_file.clone()),
                };
                let side = ServerSide { verify: files.ca_file.is_some(), files, only_tls13: false };
                Some(tokio_rustls::TlsAcceptor::from(tls::server(&side)?))
            }
        };
        let failed = |error| ListenError::Bind { host: config.host.clone(), port: config.port, error };
        let listener = TcpListener::bind((config.host.as_str(), config.port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            loop_subject: loop_subject(&account),
            account,
            identity,
            address,
            max_payload,
            tls,
            leafs: Mutex::default(),
            next: AtomicU64::new(1),
            config,
        });
        let task = tokio::spawn(accept(shared.clone(), listener, shutdown));
        Ok(Listener { shared, task: Mutex::new(Some(task)) })
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
                user: leaf.user.clone(),
                address: leaf.address,
                sent: count(&leaf.counters.sent),
                received: count(&leaf.counters.received),
                dropped: count(&leaf.counters.dropped),
                refused: count(&leaf.counters.refused),
            })
            .collect()
    }

    /// The leafs connected now, as monitoring shows them.
    pub fn connections(&self) -> Vec<LeafConnection> {
        let leafs = self.shared.leafs();
        leafs
            .iter()
            .map(|leaf| leaf.peer.connection(leaf.name.clone(), Some(leaf.address), None, leaf.agreed.name()))
            .collect()
    }

    /// Waits until the last leaf has ended, after shutdown.
    pub async fn stopped(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
    let mut leafs = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = leafs.join_next() => continue,
            _ = shutdown.wait_for(|end| *end) => break,
        };
        match accepted {
            Ok((socket, peer)) if leafs.len() < MAX_LEAFS => {
                let (shared, end) = (shared.clone(), shutdown.clone());
                leafs.spawn(async move {
                    let reason = shared.serve(socket, peer, end).await;
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

impl Shared {
    fn leafs(&self) -> MutexGuard<'_, Vec<Leaf>> {
        self.leafs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn info(&self, id: u64, nonce: String) -> LeafInfo {
        LeafInfo {
            server_id: self.identity.server_id.clone(),
            server_name: self.identity.server_name.clone(),
            version: NATS_VERSION.into(),
            proto: 1,
            host: self.address.ip().to_string(),
            port: self.address.port(),
            headers: true,
            auth_required: !self.config.users.is_empty(),
            tls_required: self.tls.is_some(),
            max_payload: self.max_payload as i64,
            jetstream: self.identity.jetstream,
            client_id: id,
            nonce,
            domain: self.identity.domain.clone().unwrap_or_default(),
            leafnode_urls: Some(Vec::new()),
            info_on_connect: true,
            compression: self.compression_in_info(),
            ..LeafInfo::default()
        }
    }

    /// What the first INFO says of compression.
    fn compression_in_info(&self) -> String {
        match self.config.compression.mode {
            CompressionMode::NotSupported => String::new(),
            mode => mode.name().to_owned(),
        }
    }

    /// The user that CONNECT shows, `None` if anybody may connect.
    fn authenticate(&self, connect: &LeafConnect) -> Result<Option<&LeafUser>, String> {
        if self.config.users.is_empty() {
            return Ok(None);
        }
        let (user, pass) = (connect.user.as_deref().unwrap_or(""), connect.pass.as_deref().unwrap_or(""));
        let found = self.config.users.iter().find(|u| u.user == user);
        let matches = found.is_some_and(|u| u.password.read().is_ok_and(|p| same(p.as_bytes(), pass.as_bytes())));
        if matches { Ok(found) } else { Err(format!("wrong user or password (user {user:?})")) }
    }

    /// What may cross towards and from a leaf of `user`. All subjects unless listed; a leaf's requests to our JetStream
    /// API are taken, as nats-server takes them, but the API of either side is never announced to the other.
    fn rules(&self, user: Option<&LeafUser>) -> Rules {
        let all = [">".to_owned()];
        let publish = user.and_then(|u| u.publish.as_deref()).unwrap_or(&all);
        let subscribe = user.and_then(|u| u.subscribe.as_deref()).unwrap_or(&all);
        let denied = DENIED.map(String::from);
        let mut outward = denied.to_vec();
        outward.extend(self.identity.domain.iter().map(|domain| format!("$JS.{domain}.API.>")));
        Rules {
            send: Filter::new(subscribe, &[], &outward, None),
            announce: Filter::new(publish, &[], &denied, None),
            receive: Filter::new(publish, &[], &["$SYS.>".to_owned()], None),
            peer_export: SubjectPermission::default(),
        }
    }

    /// Serves one leaf until it ends; returns why it did.
    async fn serve(&self, tcp: TcpStream, address: SocketAddr, shutdown: watch::Receiver<bool>) -> String {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        wire::prepare(&tcp);
        let info = self.info(id, format!("{:016x}", fastrand::u64(..)));
        let mut buffer = Vec::new();
        let (mut socket, connect, agreed) = match self.greet(tcp, &info, &mut buffer).await {
            Ok(greeted) => greeted,
            Err(error) => return format!("no handshake: {error}"),
        };
        if !connect.lang.is_empty() {
            let _ = socket.send(b"-ERR 'attempted to connect to leaf node port'\r\n").await;
            return "a client connected to the leaf node port".into();
        }
        let user = match self.authenticate(&connect) {
            Ok(user) => user,
            Err(reason) => {
                let _ = socket.send(b"-ERR 'Authorization Violation'\r\n").await;
                return reason;
            }
        };
        let lists =
            |list: Option<&Vec<String>>| list.map(|allow| SubjectPermission { allow: Some(allow.clone()), deny: None });
        let answer = LeafInfo {
            connect_info: true,
            compression: String::new(),
            nonce: String::new(),
            remote_account: self.account.name().to_owned(),
            import: lists(user.and_then(|u| u.subscribe.as_ref())),
            export: lists(user.and_then(|u| u.publish.as_ref())),
            ..info
        };
        if let Err(error) = socket.send(&answer.line()).await {
            return error.to_string();
        }
        let (reader, out, _writer) = socket.split();
        self.replace_stale(&connect);
        let counters = Arc::new(Counters::default());
        let peer = Peer::new(self.account.clone(), out.clone(), false, MAX_LIVE, counters.clone());
        peer.start(self.rules(user), &self.loop_subject);
        self.leafs().push(Leaf {
            id,
            name: connect.name.clone(),
            account: connect.remote_account.clone(),
            user: user.map(|u| u.user.clone()).unwrap_or_default(),
            address,
            out: out.clone(),
            counters,
            peer: peer.clone(),
            agreed: agreed.clone(),
        });
        let guard = Connected { shared: self, id, peer: peer.clone() };
        tracing::info!("leaf node {address}: connected ({} {})", connect.name, connect.version);
        let mut control = LeafControl { peer: peer.clone(), address, agreed };
        let session = Session {
            peer,
            loop_subject: &self.loop_subject,
            ping_interval: PING_INTERVAL,
            max_payload: self.max_payload,
            shutdown,
        };
        let reason = session.run(reader, buffer, &mut control).await;
        drop(guard);
        reason
    }

    /// INFO, TLS where it is on, and the leaf's CONNECT.
    async fn greet(
        &self,
        tcp: TcpStream,
        info: &LeafInfo,
        buffer: &mut Vec<u8>,
    ) -> Result<(Socket, LeafConnect, Agreed), WireError> {
        let mut plain = Socket::Plain(tcp);
        plain.send(&info.line()).await?;
        let mut socket = match (plain, &self.tls) {
            (Socket::Plain(tcp), Some(acceptor)) => {
                let stream = tokio::time::timeout(STEP_LIMIT, acceptor.accept(tcp)).await;
                Socket::Stream(Box::new(stream.map_err(|_| WireError::TimedOut)??))
            }
            (plain, _) => plain,
        };
        let (began, mut agreed) = (Instant::now(), Agreed::none());
        // A leaf that may compress says so in an INFO of its own, once, before it says who it is.
        for first in [true, false] {
            match socket.receive(buffer, STEP_LIMIT).await? {
                Greeting::Connect(json) => {
                    let connect = serde_json::from_slice(&json).map_err(std::io::Error::from)?;
                    return Ok((socket, connect, agreed));
                }
                Greeting::Info(json) if first => {
                    let theirs: LeafInfo = serde_json::from_slice(&json).map_err(std::io::Error::from)?;
                    agreed = Agreed::negotiate(&self.config.compression, &theirs.compression, began.elapsed())
                        .map_err(std::io::Error::other)?;
                    if agreed.is_on() {
                        socket = socket.compressed(agreed.clone(), buffer);
                        let answer = LeafInfo { compression: agreed.info_name().into(), ..info.clone() };
                        socket.send(&answer.line()).await?;
                    }
                }
                _ => break,
            }
        }
        Err(WireError::Protocol(crate::protocol::ProtocolError::UnknownOperation))
    }

    /// A leaf that comes back before its old connection was found dead takes its place, as in nats-server.
    fn replace_stale(&self, connect: &LeafConnect) {
        if connect.name.is_empty() || connect.remote_account.is_empty() {
            return;
        }
        for old in self.leafs().iter().filter(|l| l.name == connect.name && l.account == connect.remote_account) {
            tracing::warn!("leaf node {}: replaced by a new connection of {}", old.address, old.name);
            old.out.send(b"-ERR 'Duplicate Remote LeafNode Connection'\r\n");
            old.out.close(CloseReason::Stale);
        }
    }
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
}

/// A connected leaf; dropping it takes it out of the account and the list.
struct Connected<'a> {
    shared: &'a Shared,
    id: u64,
    peer: Arc<Peer>,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.shared.leafs().retain(|leaf| leaf.id != self.id);
        self.peer.end();
        self.peer.out.close(CloseReason::ClientClosed);
    }
}

/// How the accepting side takes what a leaf says beside messages.
struct LeafControl {
    peer: Arc<Peer>,
    address: SocketAddr,
    agreed: Agreed,
}

impl Control for LeafControl {
    fn info(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn error(&mut self, text: &str) -> Result<(), String> {
        if text.contains("Loop detected") {
            return Err(format!("the leaf says {text:?}"));
        }
        tracing::warn!("leaf node {}: says {text:?}", self.address);
        Ok(())
    }

    fn round_trip(&mut self, time: Duration) {
        self.agreed.adapt(time);
    }

    fn refused(&mut self, subject: &str) {
        let line = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
        self.peer.out.send(line.as_bytes());
    }
}
