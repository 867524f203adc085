//! One leaf that connects to us, from INFO to its end.

use super::auth::LeafConnect;
use super::compression::Agreed;
use super::guest::{Card, Guest};
use super::info::LeafInfo;
use super::interest::loop_subject;
use super::listen::{Door, Leaf, Shared};
use super::peer::{Counters, Peer, Rules, Side};
use super::permissions::Filter;
use super::session::{Control, Session};
use super::visitor::Visitor;
use super::wire::{self, Greeting, STEP_LIMIT, Socket, WireError};
use crate::account::{Seat, TargetId};
use crate::auth::SubjectPermission;
use crate::config::auth::ConnectionType;
use crate::config::compression::CompressionMode;
use crate::protocol::NATS_VERSION;
use crate::server::outbound::CloseReason;
use crate::server::tls::TlsSession;
use crate::server::websocket::LeafVisit;
use crate::system::tls;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes that may wait for one leaf before its live traffic is dropped and counted.
const MAX_LIVE: usize = 8 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Never announced to a leaf: its API is its own (nats-server `denyAllClientJs`).
const DENIED: [&str; 4] = ["$JS.API.>", "$KV.>", "$OBJ.>", "$SYS.>"];

/// How a leaf comes in.
pub(super) enum Entrance {
    /// By the port for leaf nodes.
    Tcp(TcpStream),
    /// By that for WebSocket, of which the upgrade is done.
    WebSocket(LeafVisit),
}

/// A leaf that has sent CONNECT.
struct Greeted {
    socket: Socket,
    connect: LeafConnect,
    agreed: Agreed,
    tls: Option<TlsSession>,
}

impl Shared {
    fn info(&self, door: &Door, id: u64, nonce: String) -> LeafInfo {
        let mode = door.config.compression.mode;
        LeafInfo {
            server_id: self.identity.server_id.clone(),
            server_name: self.identity.server_name.clone(),
            version: NATS_VERSION.into(),
            proto: 1,
            host: self.address.ip().to_string(),
            port: self.address.port(),
            headers: true,
            auth_required: true,
            tls_required: door.tls.is_some(),
            max_payload: self.max_payload() as i64,
            jetstream: self.identity.jetstream,
            client_id: id,
            nonce,
            domain: self.identity.domain.clone().unwrap_or_default(),
            leafnode_urls: Some(Vec::new()),
            info_on_connect: true,
            compression: if mode == CompressionMode::NotSupported { String::new() } else { mode.name().into() },
            ..LeafInfo::default()
        }
    }

    /// Serves one leaf until it ends; returns why it did.
    pub(super) async fn serve(
        &self,
        entrance: Entrance,
        address: SocketAddr,
        shutdown: watch::Receiver<bool>,
    ) -> String {
        let (id, door) = (TargetId::next(), self.door());
        let Some(nonce) = crate::auth::nonce() else { return "the system gives no random numbers".into() };
        let mut info = self.info(&door, id.get(), nonce);
        let kind = match &entrance {
            Entrance::Tcp(_) => ConnectionType::Leafnode,
            Entrance::WebSocket(visit) => {
                info.tls_required = false;
                if visit.compressed {
                    // Compressed once is enough.
                    info.compression = String::new();
                }
                ConnectionType::LeafnodeWs
            }
        };
        let mut buffer = Vec::new();
        let Greeted { mut socket, connect, agreed, tls } = match self.greet(&door, entrance, &info, &mut buffer).await {
            Ok(greeted) => greeted,
            Err(error) => return format!("no handshake: {error}"),
        };
        if !connect.lang.is_empty() {
            let _ = socket.send(b"-ERR 'attempted to connect to leaf node port'\r\n").await;
            return "a client connected to the leaf node port".into();
        }
        let card =
            Card { id: id.get(), kind, connect: &connect, nonce: &info.nonce, from: address.ip(), tls: tls.as_ref() };
        let mut rules = self.authenticator.watch();
        let in_force = rules.borrow_and_update().clone();
        let admitted = Guest::admit(&door.config, &self.accounts, &in_force, &self.hashing, &card).await;
        let guest = match admitted {
            Ok(guest) => guest,
            Err(reason) => {
                let _ = socket.send(b"-ERR 'Authorization Violation'\r\n").await;
                return reason;
            }
        };
        self.replace_stale(&connect, guest.account.name());
        let Some(seat) = guest.account.enter_leaf(id.get(), in_force.max_leafs(guest.account.name())) else {
            let _ = socket.send(b"-ERR 'maximum account active connections exceeded'\r\n").await;
            return format!("account {} has as many leaf connections as it may", guest.account.name());
        };
        let answer = LeafInfo {
            connect_info: true,
            compression: String::new(),
            nonce: String::new(),
            remote_account: guest.account.name().to_owned(),
            import: guest.subscribe.clone(),
            export: guest.publish.clone(),
            ..info.clone()
        };
        if let Err(error) = socket.send(&answer.line()).await {
            return error.to_string();
        }
        let (reader, out, _writer) = socket.split();
        let counters = Arc::new(Counters::default());
        let side = Side { peer_is_hub: connect.hub, isolated: door.config.isolate || connect.isolate };
        let peer = Peer::new(id, guest.account.clone(), out.clone(), side, MAX_LIVE, counters.clone());
        let loop_subject = loop_subject(&guest.account);
        peer.start(self.rules(&guest, &connect.deny_pub), &loop_subject);
        self.leafs().push(Leaf {
            name: connect.name.clone(),
            remote_account: connect.remote_account.clone(),
            account: guest.account.name().to_owned(),
            user: guest.user.clone(),
            version: connect.version.clone(),
            address,
            out: out.clone(),
            counters,
            peer: peer.clone(),
            agreed: agreed.clone(),
            pin: tls.as_ref().and_then(pin),
        });
        let guard = Connected { shared: self, peer: peer.clone(), _seat: seat };
        let (account, user) = (guest.account.name().to_owned(), guest.user.clone());
        let visitor = Visitor { peer: peer.clone(), connect: connect.clone(), account, user, address };
        let came = SystemTime::now();
        self.events.connected(guest.account.name(), || visitor.info(came));
        tracing::info!("leaf node {address}: connected ({} {})", connect.name, connect.version);
        let mut control = LeafControl { peer: peer.clone(), address, agreed };
        let session = Session {
            peer,
            loop_subject: &loop_subject,
            ping_interval: PING_INTERVAL,
            max_payload: usize::try_from(info.max_payload).unwrap_or_default(),
            shutdown,
        };
        let time = guest.session.as_ref().and_then(|session| session.ends);
        let over = async {
            match time {
                Some((left, _)) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            loop {
                if rules.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                let now = rules.borrow_and_update().clone();
                if let Err(reason) = guest.stays(&now, &card).await {
                    return reason;
                }
            }
        };
        let reason = tokio::select! {
            reason = session.run(reader, buffer, &mut control) => reason,
            reason = changed => {
                out.send(b"-ERR 'Authorization Violation'\r\n");
                reason
            }
            () = over => {
                let text = time.map_or("User Authentication Expired", |(_, ending)| ending.text());
                out.send(format!("-ERR '{text}'\r\n").as_bytes());
                text.into()
            }
        };
        let why = out.closed().unwrap_or(CloseReason::ClientClosed);
        drop(guard);
        self.events.disconnected(guest.account.name(), || visitor.ended(came, &why));
        reason
    }

    /// INFO and TLS, an agreement on compression, and the leaf's CONNECT.
    async fn greet(
        &self,
        door: &Door,
        entrance: Entrance,
        info: &LeafInfo,
        buffer: &mut Vec<u8>,
    ) -> Result<Greeted, WireError> {
        let (mut socket, tls, may_compress) = match entrance {
            Entrance::Tcp(tcp) => {
                wire::prepare(&tcp);
                let (socket, tls) = door.secure(tcp, info).await?;
                (socket, tls, true)
            }
            Entrance::WebSocket(visit) => {
                let mut socket = Socket::Framed(visit.stream);
                socket.send(&info.line()).await?;
                (socket, visit.tls, !visit.compressed)
            }
        };
        let (began, mut agreed) = (Instant::now(), Agreed::none());
        // A leaf that may compress says so in an INFO of its own, once, before it says who it is.
        for first in [true, false] {
            match socket.receive(buffer, STEP_LIMIT).await? {
                Greeting::Connect(json) => {
                    let connect = serde_json::from_slice(&json).map_err(std::io::Error::from)?;
                    return Ok(Greeted { socket, connect, agreed, tls });
                }
                Greeting::Info(json) if first && may_compress => {
                    let theirs: LeafInfo = serde_json::from_slice(&json).map_err(std::io::Error::from)?;
                    agreed = Agreed::negotiate(&door.config.compression, &theirs.compression, began.elapsed())
                        .map_err(std::io::Error::other)?;
                    if agreed.is_on() {
                        socket = socket.compressed(agreed.clone(), buffer);
                        let answer = LeafInfo { compression: agreed.info_name().into(), ..info.clone() };
                        socket.send(&answer.line()).await?;
                    }
                }
                Greeting::Info(_) if first => {}
                _ => break,
            }
        }
        Err(WireError::Protocol(crate::protocol::ProtocolError::UnknownOperation))
    }

    /// What may cross towards and from a leaf. All subjects unless listed; a leaf's requests to our JetStream API are
    /// taken, as nats-server takes them, but the API of either side is never announced to the other. `refused` is what the
    /// leaf says that it does not take.
    fn rules(&self, guest: &Guest, refused: &[String]) -> Rules {
        let all = [">".to_owned()];
        let list = |permission: &Option<SubjectPermission>| {
            let permission = permission.clone().unwrap_or_default();
            (permission.allow.unwrap_or_else(|| all.to_vec()), permission.deny.unwrap_or_default())
        };
        let bare = |list: Vec<String>| list.iter().map(|entry| crate::auth::bare(entry).to_owned()).collect::<Vec<_>>();
        let ((publish, not_from), (subscribe, not_to)) = (list(&guest.publish), list(&guest.subscribe));
        let (publish, subscribe) = (bare(publish), bare(subscribe));
        let and = |more: Vec<String>| DENIED.map(String::from).into_iter().chain(bare(more)).collect::<Vec<_>>();
        let mut outward = and(not_to);
        outward.extend(refused.iter().cloned());
        outward.extend(self.identity.domain.iter().map(|domain| format!("$JS.{domain}.API.>")));
        let mut inward = vec!["$SYS.>".to_owned()];
        inward.extend(bare(not_from.clone()));
        Rules {
            send: Filter::new(&subscribe, &[], &outward, None),
            announce: Filter::new(&publish, &[], &and(not_from), None),
            receive: Filter::new(&publish, &[], &inward, None),
            peer_export: SubjectPermission::default(),
        }
    }

    /// A leaf that comes back before its old connection was found dead takes its place, as in nats-server.
    fn replace_stale(&self, connect: &LeafConnect, account: &str) {
        if connect.name.is_empty() || connect.remote_account.is_empty() {
            return;
        }
        let same = |leaf: &&Leaf| {
            leaf.name == connect.name && leaf.remote_account == connect.remote_account && leaf.account == account
        };
        for old in self.leafs().iter().filter(same) {
            tracing::warn!("leaf node {}: replaced by a new connection of {}", old.address, old.name);
            old.out.send(b"-ERR 'Duplicate Remote LeafNode Connection'\r\n");
            old.out.close(CloseReason::Stale);
        }
    }
}

impl Door {
    /// INFO and TLS, in the order that is configured.
    async fn secure(&self, tcp: TcpStream, info: &LeafInfo) -> Result<(Socket, Option<TlsSession>), WireError> {
        let first = self.config.tls.as_ref().is_some_and(|tls| tls.handshake_first);
        let mut plain = Socket::Plain(tcp);
        if !first {
            plain.send(&info.line()).await?;
        }
        let mut session = None;
        let mut socket = match (plain, &self.tls) {
            (Socket::Plain(tcp), Some(acceptor)) => {
                let stream = tokio::time::timeout(STEP_LIMIT, acceptor.accept(tcp)).await;
                let stream = stream.map_err(|_| WireError::TimedOut)??;
                let tls_session = TlsSession::of(&stream, first);
                if !self.takes(pin(&tls_session).as_deref()) {
                    return Err(std::io::Error::other("its certificate is not among tls.pinned_certs").into());
                }
                session = Some(tls_session);
                Socket::Stream(Box::new(stream))
            }
            (plain, _) => plain,
        };
        if first {
            socket.send(&info.line()).await?;
        }
        Ok((socket, session))
    }
}

/// That of the certificate that was shown.
fn pin(session: &TlsSession) -> Option<String> {
    session.certificates.first().and_then(|certificate| tls::pin(certificate))
}

/// A connected leaf; dropping it takes it out of the account and the list.
struct Connected<'a> {
    shared: &'a Shared,
    peer: Arc<Peer>,
    _seat: Seat,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.shared.leafs().retain(|leaf| !Arc::ptr_eq(&leaf.peer, &self.peer));
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
