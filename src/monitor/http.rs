//! The HTTP listener of monitoring: connections, TLS, basic authentication, and which page a path is.

use super::pages;
use super::sources::Sources;
use crate::config::http::HttpConfig;
use crate::config::secret::SecretError;
use crate::server::tls::{TlsPolicy, TlsSlot};
use crate::system::http::{Request, Response};
use crate::system::listen;
use crate::system::tls::TlsError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Connections at a time; further ones wait.
const MAX_CONNECTIONS: usize = 32;
/// How long a connection may be idle, a request or its answer may take.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Why monitoring cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen for monitoring on {host}:{port}: {error}; choose another [http] host or port")]
    Bind {
        /// Configured host.
        host: String,
        /// Configured port.
        port: u16,
        /// What the system said.
        error: std::io::Error,
    },
    /// TLS files.
    #[error("[http.tls]: {0}")]
    Tls(#[from] TlsError),
    /// The password.
    #[error("[http] password: {0}")]
    Password(#[from] SecretError),
}

/// The listener, bound and at work.
pub struct Http {
    address: SocketAddr,
    tls: Arc<TlsSlot>,
    task: JoinHandle<()>,
}

/// What every connection needs.
struct Site {
    sources: Arc<Sources>,
    /// Before each path; empty or with a leading slash and without one at its end.
    base: String,
    /// SHA-256 of the value that the header `Authorization` must have.
    authorization: Option<digest::Digest>,
    tls: Arc<TlsSlot>,
}

impl Http {
    /// Binds the listener, and answers until `ending`.
    ///
    /// # Errors
    /// The address, the TLS files or the password cannot be used.
    pub async fn start(
        config: &HttpConfig,
        sources: Arc<Sources>,
        ending: watch::Receiver<bool>,
    ) -> Result<Http, HttpError> {
        let tls = Arc::new(TlsSlot::new(config.tls.as_ref().map(TlsPolicy::load).transpose()?));
        let password = config.password.as_ref().map(|password| password.read()).transpose()?;
        let authorization = config.user.as_ref().map(|user| {
            let pair = format!("{user}:{}", password.as_deref().unwrap_or_default());
            digest::digest(&digest::SHA256, format!("Basic {}", STANDARD.encode(pair)).as_bytes())
        });
        let failed = |error| HttpError::Bind { host: config.host.clone(), port: config.port, error };
        let (listener, address) = listen::bind(&config.host, config.port).await.map_err(failed)?;
        let _ = sources.counters.port.set(address.port());
        let base = config.base_path.trim_matches('/');
        let base = if base.is_empty() { String::new() } else { format!("/{base}") };
        let site = Arc::new(Site { sources: sources.clone(), base, authorization, tls: tls.clone() });
        Ok(Http { address, tls, task: tokio::spawn(accept(listener, site, ending)) })
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.current().is_some() { "https" } else { "http" }, self.address)
    }

    /// TLS for connections to come.
    pub fn set_tls(&self, tls: Option<TlsPolicy>) {
        self.tls.replace(tls);
    }

    /// Waits until the last connection has ended, after shutdown.
    pub async fn stopped(self) {
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>, mut ending: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
            _ = ending.wait_for(|end| *end) => break,
        };
        match accepted {
            Ok((socket, _)) => {
                let site = site.clone();
                connections.spawn(async move { site.connection(socket).await });
            }
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::warn!("cannot accept a monitoring connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.shutdown().await;
}

impl Site {
    async fn connection(&self, socket: TcpStream) {
        let _ = socket.set_nodelay(true);
        match self.tls.current() {
            None => self.requests(socket).await,
            Some(policy) => {
                let accept = TlsAcceptor::from(policy.config.clone()).accept(socket);
                match tokio::time::timeout(policy.timeout, accept).await {
                    Ok(Ok(stream)) => self.requests(stream).await,
                    Ok(Err(error)) => tracing::debug!("monitoring: TLS handshake error: {error}"),
                    Err(_) => tracing::debug!("monitoring: TLS handshake timeout"),
                }
            }
        }
    }

    /// Answers one request after the other, until the other side closes.
    async fn requests<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S) {
        let mut buffer = Vec::new();
        loop {
            let request = match tokio::time::timeout(STEP_LIMIT, Request::read(&mut stream, &mut buffer)).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(_)) => {
                    let _ = Response::status(400).write(&mut stream, false, true).await;
                    return;
                }
            };
            let response = self.answer(&request).await;
            // A body, which no page takes, would be read as the next request.
            let keep = request.is_persistent() && request.has_no_body();
            let write = response.write(&mut stream, keep, request.method != "HEAD");
            if !matches!(tokio::time::timeout(STEP_LIMIT, write).await, Ok(Ok(()))) || !keep {
                return;
            }
        }
    }

    async fn answer(&self, request: &Request) -> Response {
        if let Some(expected) = &self.authorization {
            let shown = request.header("Authorization").unwrap_or_default();
            // Of digests, the time that a comparison takes tells nothing.
            if digest::digest(&digest::SHA256, shown.as_bytes()).as_ref() != expected.as_ref() {
                let headers = vec![("WWW-Authenticate", "Basic realm=\"leafd\"".to_owned())];
                return Response { headers, ..Response::status(401) };
            }
        }
        if !matches!(&*request.method, "GET" | "HEAD") {
            return Response::status(405);
        }
        match request.path.strip_prefix(&self.base) {
            Some(path) => pages::page(path, request, &self.sources).await,
            None => Response::status(404),
        }
    }
}
