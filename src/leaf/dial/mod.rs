//! From a URL to a hub that has taken our CONNECT: TCP, its INFO, TLS where asked for, CONNECT, and its second INFO.

use super::auth::{self, AuthError, LeafConnect};
use super::compression::{Agreed, UnknownMode};
use super::info::LeafInfo;
use super::wire::{Greeting, STEP_LIMIT, Socket, WireError};
use crate::config::leaf::RemoteConfig;
use crate::protocol::NATS_VERSION;
use crate::system::tls::{self, TlsError, TlsFiles};
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const DEFAULT_PORT: u16 = 7422;
/// How long TCP may take; the addresses of a name are tried in turn within it.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

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

/// A place to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// TLS whatever the hub's INFO says.
    pub tls: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Why a dial failed, in the operator's words.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not a URL.
    #[error("{0:?} is no leaf URL: write tls://HOST:PORT or nats-leaf://HOST:PORT, without user and password")]
    Url(String),
    /// TCP.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// TCP took too long.
    #[error("cannot connect within {} s", CONNECT_LIMIT.as_secs())]
    ConnectTimeout,
    /// TLS files.
    #[error(transparent)]
    TlsSetup(#[from] TlsError),
    /// Not a name that a certificate could have.
    #[error("{0:?} cannot be checked against a certificate; set tls.server_name")]
    ServerName(String),
    /// TLS handshake.
    #[error("TLS with the hub failed: {0}; check tls.ca_file, and cert_file and key_file if the hub verifies")]
    Tls(std::io::Error),
    /// A step of the handshake.
    #[error(transparent)]
    Wire(#[from] WireError),
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
    if error.contains("authorization") || error.contains("authentication") {
        "check user, password, token, nkey or creds of [[leaf.remote]] against the hub's leafnodes authorization"
    } else if error.contains("expired") || error.contains("revoked") {
        "put a new credentials file in place; it is read again at the next dial"
    } else if error.contains("duplicate remote leafnode") {
        "another leaf with this server_name is connected; give each gateway its own server_name"
    } else if error.contains("permissions violation") {
        "the hub's permissions of this user do not fit the export and import lists here"
    } else if error.contains("loop detected") {
        "the two servers are connected by another way already"
    } else {
        "see the hub's log"
    }
}

impl Url {
    /// Reads `scheme://host[:port]`.
    pub fn parse(text: &str) -> Result<Url, DialError> {
        let bad = || DialError::Url(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let tls = match scheme {
            "tls" => true,
            "nats-leaf" | "nats" | "leaf" => false,
            _ => return Err(bad()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(['@', '/', ' ']) {
            return Err(bad());
        }
        let port = port.map_or(Ok(DEFAULT_PORT), |p| p.parse().map_err(|_| bad()))?;
        Ok(Url { tls, host: host.to_owned(), port })
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats-leaf" };
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
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
    let tcp = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((url.host.as_str(), url.port)))
        .await
        .map_err(|_| DialError::ConnectTimeout)?
        .map_err(DialError::Connect)?;
    let _ = tcp.set_nodelay(true);
    let address = tcp.peer_addr().map_err(DialError::Connect)?;
    let began = Instant::now();
    let mut buffer = Vec::new();
    let (mut socket, info) = if config.tls.handshake_first {
        let mut socket = secure(tcp, url, config).await?;
        let info = first_info(&mut socket, &mut buffer).await?;
        (socket, info)
    } else {
        let mut socket = Socket::Plain(tcp);
        let info = first_info(&mut socket, &mut buffer).await?;
        match socket {
            Socket::Plain(tcp) if url.tls || info.tls_required => {
                if !buffer.is_empty() {
                    return Err(DialError::WrongPort("it sent more than its INFO before TLS".into()));
                }
                (secure(tcp, url, config).await?, info)
            }
            other => (other, info),
        }
    };
    // From the connection to the first INFO is one round trip and little more.
    let agreed = Agreed::negotiate(&config.compression, &info.compression, began.elapsed())?;
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
        first_info(&mut socket, &mut buffer).await?
    } else {
        info
    };
    let mut connect = LeafConnect {
        version: NATS_VERSION.into(),
        server_id: identity.server_id.clone(),
        domain: identity.domain.clone().unwrap_or_default(),
        name: identity.server_name.clone(),
        headers: true,
        jetstream: identity.jetstream,
        compress_mode: agreed.name().into(),
        remote_account: account.to_owned(),
        ..LeafConnect::default()
    };
    auth::fill(&mut connect, config, &info.nonce)?;
    let mut line = b"CONNECT ".to_vec();
    // A struct of strings and flags always serialises.
    let _ = serde_json::to_writer(&mut line, &connect);
    line.extend_from_slice(b"\r\n");
    socket.send(&line).await?;
    let info = if info.info_on_connect { second_info(&mut socket, &mut buffer, info).await? } else { info };
    Ok(Dialled { socket, buffer, address, info, agreed })
}

async fn first_info(socket: &mut Socket, buffer: &mut Vec<u8>) -> Result<LeafInfo, DialError> {
    match socket.receive(buffer).await? {
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
        match socket.receive(buffer).await? {
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

async fn secure(tcp: TcpStream, url: &Url, config: &RemoteConfig) -> Result<Socket, DialError> {
    let files = TlsFiles {
        ca_file: config.tls.ca_file.clone(),
        cert_file: config.tls.cert_file.clone(),
        key_file: config.tls.key_file.clone(),
    };
    let connector = tokio_rustls::TlsConnector::from(tls::client(&files)?);
    let name = config.tls.server_name.clone().unwrap_or_else(|| url.host.clone());
    let checked = ServerName::try_from(name.clone()).map_err(|_| DialError::ServerName(name))?;
    let stream = tokio::time::timeout(STEP_LIMIT, connector.connect(checked, tcp))
        .await
        .map_err(|_| WireError::TimedOut)?
        .map_err(DialError::Tls)?;
    Ok(Socket::Stream(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, want) in [
            ("tls://hub:1234", "tls://hub:1234"),
            ("nats://hub", "nats-leaf://hub:7422"),
            ("nats-leaf://[::1]:7", "nats-leaf://[::1]:7"),
            ("tls://[::1]", "tls://[::1]:7422"),
        ] {
            assert_eq!(Url::parse(text).map(|u| u.to_string()).ok().as_deref(), Some(want), "{text}");
        }
        for bad in ["hub:7422", "http://hub", "tls://", "tls://u:p@hub:1", "tls://hub:x", "tls://hub:99999"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
