//! TCP to the hub, straight or through a proxy: HTTP CONNECT (nats-server `establishHTTPProxyTunnel`), in TLS or not, or SOCKS5 (RFC 1928).

use super::http;
use super::url::Url;
use crate::config::proxy::{ProxyConfig, ProxyKind};
use crate::config::secret::SecretError;
use crate::leaf::wire::{self, Socket};
use crate::system::tls::{self, TlsError, TlsFiles};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long an address may keep silent before the next is tried as well; longer than a round trip by satellite.
const HEAD_START: Duration = Duration::from_secs(1);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// TCP.
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    /// TCP took too long.
    #[error("cannot connect within {0:?}")]
    Timeout(Duration),
    /// The proxy did.
    #[error("the proxy {0} does not connect to the hub within {1:?}")]
    Slow(String, Duration),
    /// TCP to the proxy.
    #[error("cannot connect to the proxy {0}: {1}")]
    Proxy(String, std::io::Error),
    /// The proxy speaks otherwise, or says no.
    #[error("the proxy {0} does not connect to the hub: {1}")]
    Refused(String, String),
    /// TLS with the proxy.
    #[error("TLS with the proxy {0} failed: {said}; check proxy.ca_file", said = super::tls_said(.1))]
    Tls(String, std::io::Error),
    /// The authorities of the proxy's certificate.
    #[error("proxy: {0}")]
    Authorities(#[from] TlsError),
    /// The password of the proxy.
    #[error("the password of the proxy: {0}")]
    Secret(#[from] SecretError),
}

/// A connection to `url`, within `limit`, or that of the proxy if it has its own; and what it is connected to.
pub async fn open(
    url: &Url,
    proxy: Option<&ProxyConfig>,
    limit: Duration,
) -> Result<(Socket, SocketAddr), TunnelError> {
    let limit = proxy.and_then(|proxy| proxy.timeout).map_or(limit, |timeout| timeout.0);
    let connect = async {
        match proxy {
            None => {
                let tcp = tcp(&url.host, url.port).await.map_err(TunnelError::Connect)?;
                wire::prepare(&tcp);
                let address = tcp.peer_addr().map_err(TunnelError::Connect)?;
                Ok((Socket::Plain(tcp), address))
            }
            Some(proxy) => through(proxy, url).await,
        }
    };
    tokio::time::timeout(limit, connect).await.map_err(|_| match proxy {
        Some(proxy) => TunnelError::Slow(proxy.address(), limit),
        None => TunnelError::Timeout(limit),
    })?
}

/// TCP to one of the addresses of `host`.
async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    first_of(tokio::net::lookup_host((host, port)).await?).await
}

/// TCP to the first of `addresses` that answers, where each has a head start before the next (RFC 8305): packets to one of them
/// may lead nowhere, as with IPv6 in many a network.
async fn first_of(mut addresses: impl Iterator<Item = SocketAddr>) -> std::io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
                Ok(tcp) => return Ok(tcp),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(HEAD_START), if more => {}
            else => return Err(failed),
        }
    }
}

async fn through(proxy: &ProxyConfig, url: &Url) -> Result<(Socket, SocketAddr), TunnelError> {
    let name = proxy.address();
    let mut tcp = tcp(&proxy.host, proxy.port).await.map_err(|error| TunnelError::Proxy(name.clone(), error))?;
    wire::prepare(&tcp);
    let address = tcp.peer_addr().map_err(TunnelError::Connect)?;
    let login = match (&proxy.user, &proxy.password) {
        (Some(user), Some(password)) => Some((user.as_str(), password.read()?)),
        _ => None,
    };
    let login = login.as_ref().map(|(user, password)| (*user, password.as_str()));
    let refused = |reason| TunnelError::Refused(name.clone(), reason);
    let socket = match proxy.kind {
        ProxyKind::Http => {
            connect(&mut tcp, url, login).await.map_err(refused)?;
            Socket::Plain(tcp)
        }
        ProxyKind::Https => {
            let files = TlsFiles { ca_file: proxy.ca_file.clone(), ..TlsFiles::default() };
            let connector = tokio_rustls::TlsConnector::from(tls::client(&files)?);
            let failed = |error| TunnelError::Tls(name.clone(), error);
            let checked = ServerName::try_from(proxy.host.clone()).map_err(|e| failed(std::io::Error::other(e)))?;
            let mut stream = connector.connect(checked, tcp).await.map_err(failed)?;
            connect(&mut stream, url, login).await.map_err(refused)?;
            Socket::Stream(Box::new(stream))
        }
        ProxyKind::Socks5 => {
            socks5(&mut tcp, url, login).await.map_err(refused)?;
            Socket::Plain(tcp)
        }
    };
    Ok((socket, address))
}

async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    tcp: &mut S,
    url: &Url,
    login: Option<(&str, &str)>,
) -> Result<(), String> {
    let to = url.authority();
    let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some((user, password)) = login {
        let basic = STANDARD.encode(format!("{user}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {basic}\r\n"));
    }
    request.push_str("\r\n");
    tcp.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    tcp.flush().await.map_err(|e| e.to_string())?;
    let answer = http::Answer::read(tcp).await?;
    match (answer.status, login) {
        (200..=299, _) => Ok(()),
        (407, None) => Err("it asks for user and password; set proxy.user and proxy.password".into()),
        (407, Some(_)) => Err("it does not know proxy.user, or that is not its password".into()),
        (status, _) => Err(format!("it answers {status} {}", answer.reason)),
    }
}

/// SOCKS5 with the hub's name, which the proxy resolves.
async fn socks5(tcp: &mut TcpStream, url: &Url, login: Option<(&str, &str)>) -> Result<(), String> {
    const VERSION: u8 = 5;
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    let failed = |error: std::io::Error| error.to_string();
    let method = if login.is_some() { PASSWORD } else { NONE };
    tcp.write_all(&[VERSION, 1, method]).await.map_err(failed)?;
    let mut chosen = [0; 2];
    tcp.read_exact(&mut chosen).await.map_err(failed)?;
    match (chosen, login) {
        ([VERSION, NONE], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            // RFC 1929
            let mut request = vec![1];
            for text in [user, password] {
                let length =
                    u8::try_from(text.len()).map_err(|_| "its user and password are at most 255 bytes long")?;
                request.push(length);
                request.extend_from_slice(text.as_bytes());
            }
            tcp.write_all(&request).await.map_err(failed)?;
            let mut status = [0; 2];
            tcp.read_exact(&mut status).await.map_err(failed)?;
            if status[1] != 0 {
                return Err("it does not know proxy.user, or that is not its password".into());
            }
        }
        ([VERSION, _], None) => return Err("it asks for user and password; set proxy.user and proxy.password".into()),
        ([VERSION, _], Some(_)) => return Err("it takes no user and password".into()),
        _ => return Err("it does not speak SOCKS5".into()),
    }
    let mut request = vec![VERSION, 1, 0];
    match url.host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let length = u8::try_from(url.host.len()).map_err(|_| "the hub's name is longer than 255 bytes")?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(url.host.as_bytes());
        }
    }
    request.extend_from_slice(&url.port.to_be_bytes());
    tcp.write_all(&request).await.map_err(failed)?;
    let mut head = [0; 4];
    tcp.read_exact(&mut head).await.map_err(failed)?;
    if head[1] != 0 {
        return Err(socks5_reason(head[1]).into());
    }
    // Where it is bound at the proxy; of no use.
    let address = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(tcp.read_u8().await.map_err(failed)?),
        _ => return Err("it does not speak SOCKS5".into()),
    };
    let mut bound = vec![0; address + 2];
    tcp.read_exact(&mut bound).await.map_err(failed)?;
    Ok(())
}

fn socks5_reason(code: u8) -> &'static str {
    match code {
        1 => "it has failed",
        2 => "its rules do not allow it",
        3 => "the network cannot be reached",
        4 => "the host cannot be reached",
        5 => "the connection is refused",
        6 => "the time is up",
        _ => "it does not support that",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn an_address_that_keeps_silent_does_not_hide_the_next() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        // Where nobody accepts and the queue of those who wait is full, packets are dropped.
        let silent = TcpSocket::new_v4().expect("a socket");
        silent.bind(any).expect("bound");
        let silent = silent.listen(1).expect("it listens");
        let silent_at = silent.local_addr().expect("an address");
        let _waiting = [TcpStream::connect(silent_at).await, TcpStream::connect(silent_at).await];
        let hub = TcpListener::bind(any).await.expect("it listens");
        let hub_at = hub.local_addr().expect("an address");
        let closed_at = TcpListener::bind(any).await.and_then(|closed| closed.local_addr()).expect("an address");

        let tcp = first_of([closed_at, silent_at, hub_at].into_iter());
        let tcp = tokio::time::timeout(Duration::from_secs(10), tcp).await.expect("in time").expect("connected");
        assert_eq!(tcp.peer_addr().expect("an address"), hub_at);
        let error = first_of([closed_at, closed_at].into_iter()).await.expect_err("nobody is there");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(first_of(std::iter::empty()).await.is_err());
    }
}
