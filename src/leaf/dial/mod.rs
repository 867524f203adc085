//! From a URL to a hub that has taken our CONNECT: TCP or a proxy, WebSocket if the URL says so, the hub's INFO, TLS where asked for, CONNECT, and its second INFO.

mod http;
mod tunnel;
mod upgrade;
mod url;

pub use url::{Login, Url, bare};

use super::auth::{self, AuthError, LeafConnect};
use super::compression::{Agreed, UnknownMode};
use super::info::LeafInfo;
use super::wire::{Greeting, STEP_LIMIT, Socket, Wire, WireError};
use crate::config::leaf::RemoteConfig;
use crate::protocol::NATS_VERSION;
use crate::system::tls::{self, TlsError, TlsFiles};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tunnel::TunnelError;

/// Who this daemon is, towards hubs and leafs.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The configured name.
    pub server_name: String,
    /// Unique id of this process.
    pub server_id: String,
    /// JetStream domain.
    pub domain: Option<String>,
    /// Whether JetStream is on.
    pub jetstream: bool,
}

/// Why a dial failed, in the operator's words.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not a URL.
    #[error(
        "{0:?} is no leaf URL: write tls://HOST:PORT, nats-leaf://HOST:PORT, wss://HOST:PORT or ws://HOST:PORT, with USER:PASSWORD@ before the host if that is who we are there"
    )]
    Url(String),
    /// TCP, or the proxy.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// No WebSocket.
    #[error("no WebSocket for leaf nodes there: {0}; the hub needs a websocket port and a leafnodes block")]
    Upgrade(String),
    /// A certificate that is not among those that are pinned.
    #[error("the hub's certificate is not among tls.pinned_certs")]
    Pinned,
    /// TLS files.
    #[error(transparent)]
    TlsSetup(#[from] TlsError),
    /// Not a name that a certificate could have.
    #[error("{0:?} cannot be checked against a certificate; set tls.server_name")]
    ServerName(String),
    /// TLS handshake.
    #[error("TLS with the hub failed: {said}; {advice}", said = tls_said(.0), advice = tls_advice(.0))]
    Tls(std::io::Error),
    /// Nothing where its INFO should have come, as from a hub that waits for TLS.
    #[error("{0} instead of INFO; if the hub has handshake_first, set tls.handshake_first")]
    Mute(WireError),
    /// A step of the handshake.
    #[error(transparent)]
    Wire(WireError),
    /// INFO is not what a leafnode port sends.
    #[error("this is not a leafnode port ({0}); the hub's leafnodes port is 7422 unless set otherwise")]
    WrongPort(String),
    /// It compresses in a way of its own.
    #[error(transparent)]
    Compression(#[from] UnknownMode),
    /// Our credentials cannot be read.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The hub said no.
    #[error("the hub refused: {0}; {advice}", advice = advice(.0))]
    Refused(String),
}

/// What an operator should do about an error of the hub's.
pub fn advice(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    if error.contains("expired") || error.contains("revoked") {
        "put a new credentials file in place; it is read again at the next dial"
    } else if error.contains("authorization") || error.contains("authentication") {
        "check user, password, token, nkey or creds of [[leaf.remote]] against the hub's leafnodes authorization"
    } else if error.contains("duplicate remote leafnode") {
        "this account of the hub has a leaf with this server_name already: another gateway (give each its own server_name), or another remote here (give each its own account at the hub)"
    } else if error.contains("permissions violation") {
        "the hub's permissions of this user do not fit the export and import lists here"
    } else if error.contains("loop detected") {
        "the two servers are connected by another way already"
    } else {
        "see the hub's log"
    }
}

/// An error of TLS in words that are the same each time: rustls says how long ago a certificate has expired.
fn tls_said(error: &std::io::Error) -> String {
    use rustls::{CertificateError as Certificate, Error};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. })) => {
            "its certificate has expired".into()
        }
        Some(Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. })) => {
            "its certificate is not valid yet".into()
        }
        _ => error.to_string(),
    }
}

/// What an operator should do about an error of TLS.
fn tls_advice(error: &std::io::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(Alert::CertificateRequired)) => {
            "the hub wants to see a certificate: set tls.cert_file and tls.key_file"
        }
        Some(Error::AlertReceived(_)) => "the hub does not take tls.cert_file, or asks for another one",
        Some(Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. })) => {
            "dial a name that is in the hub's certificate, or set tls.server_name to one"
        }
        Some(Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        )) => "the hub needs a new certificate, or the clock here is wrong",
        Some(Error::InvalidCertificate(_)) => "set tls.ca_file to the authority that has signed the hub's certificate",
        Some(Error::InvalidMessage(_)) => {
            "the hub does not begin TLS there: leave tls.handshake_first out, and if it has no TLS dial nats-leaf:// or ws://"
        }
        _ => "check tls.ca_file, and cert_file and key_file if the hub verifies",
    }
}

impl From<WireError> for DialError {
    fn from(error: WireError) -> DialError {
        match error {
            // The hub's verdict on our certificate comes behind the handshake.
            WireError::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                DialError::Tls(error)
            }
            error => DialError::Wire(error),
        }
    }
}

/// A hub that has taken us.
pub struct Dialled {
    /// The connection.
    pub socket: Socket,
    /// What was read beyond the handshake.
    pub buffer: Vec<u8>,
    /// Where it is.
    pub address: SocketAddr,
    /// The hub's first INFO, with the permissions of its second.
    pub info: LeafInfo,
    /// How the connection is compressed.
    pub agreed: Agreed,
}

/// Dials `url` and goes through the handshake.
pub async fn dial(url: &Url, config: &RemoteConfig, identity: &Identity, account: &str) -> Result<Dialled, DialError> {
    let (mut socket, address) = tunnel::open(url, config.proxy.as_ref(), config.dial_timeout.0).await?;
    let began = Instant::now();
    let mut buffer = Vec::new();
    let limit = config.first_info_timeout.0;
    let mut deflated = false;
    let (mut socket, info) = if url.websocket {
        let stream = socket.into_wire();
        let stream = if url.tls { secure(stream, url, config).await? } else { stream };
        let upgraded = tokio::time::timeout(limit, upgrade::upgrade(stream, url, &config.websocket))
            .await
            .map_err(|_| WireError::TimedOut)?
            .map_err(DialError::Upgrade)?;
        deflated = upgraded.compressed;
        let mut socket = Socket::Framed(Box::new(upgraded.stream));
        let info = first_info(&mut socket, &mut buffer, limit).await?;
        (socket, info)
    } else if config.tls.handshake_first {
        let mut socket = Socket::Stream(secure(socket.into_wire(), url, config).await?);
        let info = first_info(&mut socket, &mut buffer, limit).await?;
        (socket, info)
    } else {
        let info = first_info(&mut socket, &mut buffer, limit).await.map_err(|error| match error {
            DialError::Wire(error @ (WireError::Closed | WireError::TimedOut)) => DialError::Mute(error),
            error => error,
        })?;
        if url.tls || info.tls_required {
            if !buffer.is_empty() {
                return Err(DialError::WrongPort("it sent more than its INFO before TLS".into()));
            }
            socket = Socket::Stream(secure(socket.into_wire(), url, config).await?);
        }
        (socket, info)
    };
    // From the connection to the first INFO is one round trip and little more.
    let agreed = match deflated {
        // Compressed once is enough.
        true => Agreed::none(),
        false => Agreed::negotiate(&config.compression(), &info.compression, began.elapsed())?,
    };
    let info = if agreed.is_on() {
        let own = LeafInfo {
            server_id: identity.server_id.clone(),
            server_name: identity.server_name.clone(),
            version: NATS_VERSION.into(),
            headers: true,
            compression: agreed.info_name().into(),
            ..LeafInfo::default()
        };
        socket.send(&own.line()).await?;
        socket = socket.compressed(agreed.clone(), &mut buffer);
        first_info(&mut socket, &mut buffer, limit).await?
    } else {
        info
    };
    let mut connect = LeafConnect {
        version: NATS_VERSION.into(),
        server_id: identity.server_id.clone(),
        domain: identity.domain.clone().unwrap_or_default(),
        name: identity.server_name.clone(),
        cluster: identity.server_name.clone(),
        headers: true,
        jetstream: identity.jetstream,
        compress_mode: agreed.name().into(),
        remote_account: account.to_owned(),
        hub: config.hub,
        deny_pub: config.deny_import.clone(),
        isolate: config.request_isolation,
        ..LeafConnect::default()
    };
    auth::fill(&mut connect, config, url.login.as_ref(), &info.nonce)?;
    let mut line = b"CONNECT ".to_vec();
    // A struct of strings and flags always serialises.
    let _ = serde_json::to_writer(&mut line, &connect);
    line.extend_from_slice(b"\r\n");
    socket.send(&line).await?;
    let info = if info.info_on_connect { second_info(&mut socket, &mut buffer, info).await? } else { info };
    Ok(Dialled { socket, buffer, address, info, agreed })
}

async fn first_info(socket: &mut Socket, buffer: &mut Vec<u8>, limit: Duration) -> Result<LeafInfo, DialError> {
    match socket.receive(buffer, limit).await? {
        Greeting::Info(json) => {
            let info: LeafInfo = serde_json::from_slice(&json)
                .map_err(|e| DialError::WrongPort(format!("its INFO is not valid: {e}")))?;
            if info.client_id == 0 || info.leafnode_urls.is_none() {
                return Err(DialError::WrongPort("its INFO is that of another port".into()));
            }
            Ok(info)
        }
        Greeting::Error(text) => Err(DialError::Refused(text)),
        other => Err(DialError::WrongPort(format!("it began with {other:?} instead of INFO"))),
    }
}

/// The answer to CONNECT, which carries the permissions.
async fn second_info(socket: &mut Socket, buffer: &mut Vec<u8>, first: LeafInfo) -> Result<LeafInfo, DialError> {
    // More than a few operations before it would be nonsense.
    for _ in 0..16 {
        match socket.receive(buffer, STEP_LIMIT).await? {
            Greeting::Info(json) => {
                let info: LeafInfo = serde_json::from_slice(&json)
                    .map_err(|e| DialError::WrongPort(format!("its INFO is not valid: {e}")))?;
                if info.connect_info {
                    let (import, export) = (info.import, info.export);
                    return Ok(LeafInfo { import, export, remote_account: info.remote_account, ..first });
                }
            }
            Greeting::Error(text) => return Err(DialError::Refused(text)),
            Greeting::Ping => socket.send(b"PONG\r\n").await?,
            Greeting::Connect(_) | Greeting::Other => {}
        }
    }
    Err(DialError::WrongPort("it did not answer CONNECT".into()))
}

async fn secure(stream: Box<dyn Wire>, url: &Url, config: &RemoteConfig) -> Result<Box<dyn Wire>, DialError> {
    let files = TlsFiles {
        ca_file: config.tls.ca_file.clone(),
        cert_file: config.tls.cert_file.clone(),
        key_file: config.tls.key_file.clone(),
    };
    let connector = tokio_rustls::TlsConnector::from(tls::client(&files)?);
    let name = config.tls.server_name.clone().unwrap_or_else(|| url.host.clone());
    let checked = ServerName::try_from(name.clone()).map_err(|_| DialError::ServerName(name))?;
    let stream = tokio::time::timeout(STEP_LIMIT, connector.connect(checked, stream))
        .await
        .map_err(|_| WireError::TimedOut)?
        .map_err(DialError::Tls)?;
    let pinned = &config.tls.pinned_certs;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(|c| tls::pin(c));
    if !pinned.is_empty() && !shown.is_some_and(|pin| pinned.iter().any(|p| p.eq_ignore_ascii_case(&pin))) {
        return Err(DialError::Pinned);
    }
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;
    use rustls::pki_types::UnixTime;

    #[test]
    fn what_a_certificate_fails_of_is_the_same_at_each_dial() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let said = |error| DialError::Tls(std::io::Error::other(rustls::Error::InvalidCertificate(error))).to_string();
        let expired = |now| said(CertificateError::ExpiredContext { time: at(now), not_after: at(10) });
        let too_new = |now| said(CertificateError::NotValidYetContext { time: at(now), not_before: at(90) });
        assert_eq!(expired(20), expired(50));
        assert_eq!(too_new(20), too_new(50));
        assert!(expired(20).contains("has expired; the hub needs a new certificate, or the clock here is wrong"));
    }
}
