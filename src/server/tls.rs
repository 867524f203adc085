//! TLS of the client listener: when a client has to speak it, and the handshake (nats-server `createClientEx` in server.go).
//!
//! The order on the wire is INFO in the clear, then TLS. With `handshake_first` TLS comes before anything else, either
//! always, or if the client begins it within a short delay.

use super::outbound::CloseReason;
use super::transport::Transport;
use crate::config::tls::{HandshakeFirst, TlsConfig, TlsVersion};
use crate::protocol::Info;
use crate::system;
use crate::system::listen;
use crate::system::tls::{ServerSide, Shown, TlsError, TlsFiles};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// First byte of a TLS record that carries a handshake.
const HANDSHAKE_RECORD: u8 = 0x16;

/// TLS towards clients.
#[derive(Clone, Debug)]
pub struct TlsPolicy {
    /// Certificates and versions.
    pub config: Arc<ServerConfig>,
    /// When our certificate is over.
    pub expires: Option<SystemTime>,
    /// The client must show a certificate; for INFO, as `config` sees to it.
    pub verify: bool,
    /// Clients that do not speak TLS may connect as well.
    pub allow_non_tls: bool,
    /// Whether TLS comes before INFO.
    pub handshake_first: HandshakeFirst,
    /// How long the handshake may take.
    pub timeout: Duration,
}

impl TlsPolicy {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn load(config: &TlsConfig) -> Result<TlsPolicy, TlsError> {
        let verify = config.verify || config.verify_and_map;
        let side = ServerSide {
            files: TlsFiles {
                ca_file: config.ca_file.clone(),
                cert_file: Some(config.cert_file.clone()),
                key_file: Some(config.key_file.clone()),
            },
            verify,
            only_tls13: config.min_version == TlsVersion::V13,
        };
        let Shown { config: server, expires } = system::tls::server(&side)?;
        Ok(TlsPolicy {
            config: server,
            expires,
            verify,
            allow_non_tls: config.allow_non_tls,
            handshake_first: config.handshake_first,
            timeout: config.timeout.0,
        })
    }
}

/// The policy for connections to come; connections that are there keep theirs.
#[derive(Debug, Default)]
pub struct TlsSlot(RwLock<Option<Arc<TlsPolicy>>>);

impl TlsSlot {
    /// With what to begin.
    pub fn new(policy: Option<TlsPolicy>) -> TlsSlot {
        TlsSlot(RwLock::new(policy.map(Arc::new)))
    }

    /// For a connection that comes in now.
    pub fn current(&self) -> Option<Arc<TlsPolicy>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another policy from now on.
    pub fn replace(&self, policy: Option<TlsPolicy>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy.map(Arc::new);
    }
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct TlsSession {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// In IANA's spelling.
    pub cipher_suite: String,
    /// TLS came before INFO.
    pub first: bool,
    /// What the client showed, its own certificate first; verified if there is any.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl TlsSession {
    /// Of a connection whose handshake is done.
    pub fn of(stream: &TlsStream<TcpStream>, first: bool) -> TlsSession {
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
            _ => "1.2",
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        TlsSession {
            version,
            cipher_suite: suite.unwrap_or_default().replace("TLS13_", "TLS_"),
            first,
            certificates: connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
        }
    }
}

/// Sends INFO and does the handshake, in the order that `policy` wants.
pub(super) async fn greet(
    mut tcp: TcpStream,
    policy: Option<&TlsPolicy>,
    info: &mut Info,
) -> Result<(Transport, Option<TlsSession>), CloseReason> {
    let Some(policy) = policy else {
        say(&mut tcp, info).await?;
        return Ok((Transport::Plain(tcp), None));
    };
    info.tls_required = !policy.allow_non_tls;
    info.tls_available = policy.allow_non_tls;
    info.tls_verify = policy.verify;
    let first = match policy.handshake_first {
        HandshakeFirst::No => false,
        HandshakeFirst::Yes => true,
        HandshakeFirst::Auto(delay) => peek(&tcp, delay.0).await.is_some(),
    };
    if first {
        info.tls_required = true;
    } else {
        say(&mut tcp, info).await?;
        if policy.allow_non_tls && peek(&tcp, policy.timeout).await != Some(HANDSHAKE_RECORD) {
            return Ok((Transport::Plain(tcp), None));
        }
    }
    let mut stream = handshake(tcp, policy).await?;
    if first {
        say(&mut stream, info).await?;
    }
    let session = TlsSession::of(&stream, first);
    Ok((Transport::Tls(stream), Some(session)))
}

/// Sends INFO.
pub(super) async fn say<S: tokio::io::AsyncWrite + Unpin>(stream: &mut S, info: &Info) -> Result<(), CloseReason> {
    let write = async {
        stream.write_all(&info.line()).await?;
        stream.flush().await
    };
    write.await.map_err(|_| CloseReason::WriteError)
}

/// The first byte that the client sends within `delay`; it stays to be read.
async fn peek(tcp: &TcpStream, delay: Duration) -> Option<u8> {
    let mut byte = [0];
    match tokio::time::timeout(delay, tcp.peek(&mut byte)).await {
        Ok(Ok(1)) => Some(byte[0]),
        _ => None,
    }
}

/// TLS, within the time for it.
pub(super) async fn handshake(tcp: TcpStream, policy: &TlsPolicy) -> Result<Box<TlsStream<TcpStream>>, CloseReason> {
    let peer = tcp.peer_addr().map(|address| listen::canonical(address).to_string()).unwrap_or_default();
    let accept = TlsAcceptor::from(policy.config.clone()).accept(tcp);
    match tokio::time::timeout(policy.timeout, accept).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::error!("client {peer}: TLS handshake error: {error}");
            Err(CloseReason::TlsHandshake)
        }
        Err(_) => {
            tracing::error!("client {peer}: TLS handshake timeout");
            Err(CloseReason::TlsHandshake)
        }
    }
}
