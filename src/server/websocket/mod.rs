//! WebSocket for clients, and for leaf links in both roles: the upgrade from HTTP, the frames, and the byte stream inside them.

mod deflate;
mod frame;
mod handshake;
mod origin;
mod stream;

pub use handshake::{DEFLATE_OFFER, NO_MASKING, Visitor, accept_key};
pub use stream::{Agreement, WebSocketStream};

use super::outbound::{CloseReason, Outbound};
use super::tls::{self, TlsPolicy, TlsSession, TlsSlot};
use super::transport::ByteStream;
use crate::config::origin::{Origin, OriginError};
use crate::config::websocket::WebSocketConfig;
use crate::system::http::Request;
use crate::system::listen;
use handshake::{CookieNames, Refusal, Upgrade, UpgradeRules};
use origin::Origins;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Largest compressed message that a leaf node may send once it is unpacked, bytes: all that waited at the other side.
const MAX_LEAF_MESSAGE: usize = 32 << 20;

/// A WebSocket connection over TCP or TLS.
pub type Stream = WebSocketStream<Box<dyn ByteStream>>;

/// How WebSocket clients are let in.
pub struct WebSocket {
    rules: UpgradeRules,
    tls: TlsSlot,
    timeout: Duration,
    max_payload: Arc<AtomicUsize>,
    address: SocketAddr,
    leafs: Option<mpsc::Sender<LeafVisit>>,
}

/// A WebSocket connection that has been let in.
pub(super) struct Opened {
    pub stream: Box<Stream>,
    pub tls: Option<TlsSession>,
    pub visitor: Visitor,
    /// It is a leaf node's, and whether its messages are compressed.
    pub leaf: Option<Compressed>,
}

/// Whether the messages of a WebSocket connection are compressed.
pub type Compressed = bool;

/// A leaf node that has come to the port for WebSocket.
pub struct LeafVisit {
    /// Its connection.
    pub stream: Box<Stream>,
    /// TLS, if there is any.
    pub tls: Option<TlsSession>,
    /// Messages are compressed, so that the link need not be.
    pub compressed: Compressed,
    /// From where it came.
    pub from: SocketAddr,
}

impl WebSocket {
    /// By the configuration, for clients that connect to `address`; leaf nodes are passed on to `leafs`.
    pub(super) fn new(
        config: &WebSocketConfig,
        tls: Option<TlsPolicy>,
        max_payload: usize,
        address: SocketAddr,
        leafs: Option<mpsc::Sender<LeafVisit>>,
    ) -> Result<WebSocket, OriginError> {
        let allowed = config.allowed_origins.iter().map(|origin| Origin::parse(origin));
        let rules = UpgradeRules {
            origins: Origins { same: config.same_origin, allowed: allowed.collect::<Result<_, _>>()? },
            compression: config.compression,
            leafs: leafs.is_some(),
            cookies: CookieNames {
                jwt: config.jwt_cookie.clone(),
                user: config.user_cookie.clone(),
                pass: config.pass_cookie.clone(),
                token: config.token_cookie.clone(),
            },
        };
        Ok(WebSocket {
            rules,
            tls: TlsSlot::new(tls),
            timeout: config.handshake_timeout.0,
            max_payload: Arc::new(AtomicUsize::new(max_payload)),
            address,
            leafs,
        })
    }

    /// Whether clients speak TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.current().is_some()
    }

    /// When our certificate is over.
    pub(super) fn certificate_expires(&self) -> Option<SystemTime> {
        self.tls.current()?.expires
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Largest message of clients from now on, bytes.
    pub(super) fn set_max_payload(&self, bytes: usize) {
        self.max_payload.store(bytes, Ordering::Relaxed);
    }

    /// Certificates for connections to come.
    pub fn set_tls(&self, tls: Option<TlsPolicy>) {
        self.tls.replace(tls);
    }

    /// TLS where it is on, and the upgrade, within the time for it.
    pub(super) async fn open(&self, tcp: TcpStream) -> Result<Opened, CloseReason> {
        let peer = tcp.peer_addr().map(|address| listen::canonical(address).to_string()).unwrap_or_default();
        let mut tls = None;
        let stream: Box<dyn ByteStream> = match self.tls.current() {
            None => Box::new(tcp),
            Some(policy) => {
                let stream = tls::handshake(tcp, &policy).await?;
                tls = Some(TlsSession::of(&stream, false));
                stream
            }
        };
        let upgraded = tokio::time::timeout(self.timeout, self.upgrade(stream, tls.is_some())).await;
        match upgraded.map_err(|_| "no request came in time".to_owned()).flatten() {
            Ok((stream, visitor, leaf)) => Ok(Opened { stream: Box::new(stream), tls, visitor, leaf }),
            Err(error) => {
                tracing::error!("{peer} - {error}");
                Err(CloseReason::ClientClosed)
            }
        }
    }

    /// Passes a leaf node on; one that comes while too many are waiting is let go, and comes again.
    pub(super) fn pass_on(&self, visit: LeafVisit) {
        if let Some(leafs) = &self.leafs {
            let _ = leafs.try_send(visit);
        }
    }

    async fn upgrade(
        &self,
        mut stream: Box<dyn ByteStream>,
        secure: bool,
    ) -> Result<(Stream, Visitor, Option<Compressed>), String> {
        let mut early = Vec::new();
        let request = Request::read(&mut stream, &mut early).await.map_err(|error| error.to_string())?;
        let Some(request) = request else { return Err("closed before a request came".into()) };
        let granted = match handshake::upgrade(&request, &self.rules, secure) {
            Ok(_) if !early.is_empty() => Err(Refusal::early()),
            granted => granted,
        };
        let Upgrade { answer, masked, compression, browser, visitor, leaf } = match granted {
            Ok(granted) => granted,
            Err(refusal) => {
                let _ = refusal.answer().write(&mut stream, false, true).await;
                let _ = stream.shutdown().await;
                return Err(refusal.to_string());
            }
        };
        let answered = async {
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await
        };
        answered.await.map_err(|error: std::io::Error| error.to_string())?;
        // A server sends many messages of the protocol inside as one of WebSocket.
        let max_payload = match leaf {
            true => Arc::new(AtomicUsize::new(self.max_payload.load(Ordering::Relaxed).max(MAX_LEAF_MESSAGE))),
            false => self.max_payload.clone(),
        };
        let agreement = Agreement { masked, masks: false, compression, browser, max_payload };
        Ok((WebSocketStream::new(stream, agreement), visitor, leaf.then_some(compression)))
    }
}

/// What the close frame says when `out` ends.
pub(super) fn farewell(out: Arc<Outbound>) -> stream::Farewell {
    Box::new(move || {
        let reason = out.closed().unwrap_or(CloseReason::ClientClosed);
        (frame::status_of(&reason), reason.to_string())
    })
}
