//! The client listener: accepts connections, and ends them in order.

use super::client::Client;
use super::connection;
use super::greeting::Door;
use super::lame_duck::{self, LameDuck};
use super::limits::{ClientLimits, InForce};
use super::outbound::CloseReason;
use super::registry::Registry;
use super::tls::{TlsPolicy, TlsSlot};
use super::view::View;
use super::websocket::{LeafVisit, WebSocket};
use crate::account::{Accounts, Describe};
use crate::auth::Authenticator;
use crate::config::origin::OriginError;
use crate::config::websocket::WebSocketConfig;
use crate::events::Events;
use crate::protocol::{Info, JETSTREAM_API_LEVEL, NATS_VERSION};
use crate::system::listen;
use crate::system::tls::TlsError;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// What the client side needs to know.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Unique id of this process.
    pub server_id: String,
    /// The configured name.
    pub server_name: String,
    /// Host to listen on, a name or an address.
    pub host: String,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
    /// What clients may use at first.
    pub limits: ClientLimits,
    /// Whether there is JetStream.
    pub jetstream: bool,
    /// JetStream domain, if clients are told one.
    pub domain: Option<String>,
    /// Public curve key of this process.
    pub xkey: String,
}

/// What all connections share.
pub(super) struct Shared {
    pub options: ServerOptions,
    pub limits: InForce,
    pub accounts: Arc<Accounts>,
    pub authenticator: Arc<Authenticator>,
    pub events: Arc<Events>,
    pub tls: TlsSlot,
    pub registry: Registry,
    address: SocketAddr,
    connections: AtomicUsize,
    total: AtomicU64,
    slow_consumers: AtomicU64,
}

impl Shared {
    /// Counters of now.
    pub fn status(&self) -> ServerStatus {
        ServerStatus {
            address: self.address,
            connections: self.connections.load(Ordering::Relaxed),
            total_connections: self.total.load(Ordering::Relaxed),
            slow_consumers: self.slow_consumers.load(Ordering::Relaxed),
            subscriptions: self.accounts.all().iter().map(|account| account.subscriptions()).sum(),
        }
    }

    /// INFO for one client; it has to log in if `auth_required`, and to sign `nonce` if it does so with an nkey.
    pub fn info(&self, client_id: u64, peer: SocketAddr, nonce: &str, auth_required: bool) -> Info {
        let options = &self.options;
        Info {
            server_id: options.server_id.clone(),
            server_name: options.server_name.clone(),
            version: NATS_VERSION.into(),
            proto: 1,
            git_commit: env!("CARGO_PKG_VERSION").into(),
            go: "leafd".into(),
            host: self.address.ip().to_string(),
            port: self.address.port(),
            headers: true,
            max_payload: self.limits.now().protocol.payload,
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            jetstream: options.jetstream,
            auth_required,
            nonce: nonce.to_owned(),
            connect_info: false,
            remote_account: String::new(),
            acc_is_sys: false,
            client_id,
            client_ip: peer.ip().to_string(),
            domain: options.domain.clone().unwrap_or_default(),
            ldm: false,
            api_lvl: JETSTREAM_API_LEVEL,
            xkey: options.xkey.clone(),
        }
    }

    /// INFO that asks `client` to go elsewhere.
    pub fn farewell(&self, client: &Client) -> Info {
        let required = self.authenticator.watch().borrow().required();
        let info = self.info(client.id.get(), client.about.address, "", required);
        Info { ldm: true, tls_required: client.tls.is_some(), ..info }
    }
}

/// How the client side ends: in two steps, each told by `true`, before which there may be lame duck mode.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Nothing is accepted or read any more; what was read is still being answered.
    pub intake: watch::Receiver<bool>,
    /// What had to be answered has been: send what is pending and close.
    pub connections: watch::Receiver<bool>,
    /// Nothing is accepted any more, and clients go in their turn.
    pub lame_duck: watch::Receiver<Option<LameDuck>>,
}

/// The client side: what is bound, before it serves.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    websocket: Option<(TcpListener, Arc<WebSocket>)>,
}

/// The client side at work.
pub struct Listening {
    pub(super) shared: Arc<Shared>,
    websocket: Option<Arc<WebSocket>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Counters of the client side.
#[derive(Clone, Debug, Serialize)]
pub struct ServerStatus {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Clients connected now.
    pub connections: usize,
    /// Clients since the start.
    pub total_connections: u64,
    /// Clients cut off because they did not read.
    pub slow_consumers: u64,
    /// Subscriptions of all accounts, those of the daemon's own parts included.
    pub subscriptions: usize,
}

/// Why the client side could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// TLS for clients cannot be set up.
    #[error("[tls]: {0}")]
    Tls(#[from] TlsError),
    /// TLS for WebSocket clients cannot be set up.
    #[error("[websocket.tls]: {0}")]
    WebSocketTls(TlsError),
    /// An origin in the configuration.
    #[error("[websocket] allowed_origins: {0}")]
    Origin(#[from] OriginError),
    /// The address for WebSocket clients cannot be listened on.
    #[error(
        "cannot listen for websocket clients on {host}:{port}: {error}; is another server running there? Choose another [websocket] host or port"
    )]
    BindWebSocket {
        /// Configured host.
        host: String,
        /// Configured port.
        port: u16,
        /// What the system said.
        error: std::io::Error,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen for clients on {host}:{port}: {error}; is another server running there? Choose another [listen] host or port"
    )]
    Bind {
        /// Configured host.
        host: String,
        /// Configured port.
        port: u16,
        /// What the system said.
        error: std::io::Error,
    },
}

impl Server {
    /// Binds the listener. Nothing is accepted before [`Server::start`].
    pub async fn bind(
        options: ServerOptions,
        tls: Option<TlsPolicy>,
        accounts: Arc<Accounts>,
        authenticator: Arc<Authenticator>,
        events: Arc<Events>,
    ) -> Result<Server, StartError> {
        let failed = |error| StartError::Bind { host: options.host.clone(), port: options.port, error };
        let (listener, address) = listen::bind(&options.host, options.port).await.map_err(failed)?;
        let shared = Arc::new(Shared {
            limits: InForce::new(options.limits.clone()),
            options,
            accounts,
            authenticator,
            events,
            tls: TlsSlot::new(tls),
            registry: Registry::default(),
            address,
            connections: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            slow_consumers: AtomicU64::new(0),
        });
        let knows: Arc<dyn Describe> = shared.clone();
        shared.accounts.described_by(Arc::downgrade(&knows));
        Ok(Server { shared, listener, websocket: None })
    }

    /// Binds the listener for WebSocket clients as well.
    pub async fn bind_websocket(
        &mut self,
        config: &WebSocketConfig,
        tls: Option<TlsPolicy>,
        leafs: Option<mpsc::Sender<LeafVisit>>,
    ) -> Result<(), StartError> {
        let failed = |error| StartError::BindWebSocket { host: config.host.clone(), port: config.port, error };
        let (listener, address) = listen::bind(&config.host, config.port).await.map_err(failed)?;
        let max_payload = self.shared.limits.now().protocol.payload;
        let websocket = WebSocket::new(config, tls, max_payload, address, leafs)?;
        self.websocket = Some((listener, Arc::new(websocket)));
        Ok(())
    }

    /// The address that is bound.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Accepts and serves clients until told to end.
    pub fn start(self, ending: Ending) -> Listening {
        let mut tasks = vec![tokio::spawn(accept(self.shared.clone(), self.listener, Door::Clients, ending.clone()))];
        let mut websocket = None;
        if let Some((listener, entrance)) = self.websocket {
            let door = Door::WebSocket(entrance.clone());
            tasks.push(tokio::spawn(accept(self.shared.clone(), listener, door, ending)));
            websocket = Some(entrance);
        }
        Listening { shared: self.shared, websocket, tasks }
    }
}

impl Listening {
    /// Counters of now.
    pub fn status(&self) -> ServerStatus {
        self.shared.status()
    }

    /// The way in for WebSocket clients, where there is one.
    pub fn websocket(&self) -> Option<&WebSocket> {
        self.websocket.as_deref()
    }

    /// For monitoring, and for longer than the listeners.
    pub fn view(&self) -> View {
        View::new(self.shared.clone(), self.websocket.clone())
    }

    /// TLS for clients that connect from now on; those that are connected stay.
    pub fn set_tls(&self, tls: Option<TlsPolicy>) {
        self.shared.tls.replace(tls);
    }

    /// Waits until the last connection has ended, after shutdown or in lame duck mode.
    pub async fn stopped(&mut self) {
        while let Some(task) = self.tasks.last_mut() {
            let _ = task.await;
            self.tasks.pop();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, door: Door, mut ending: Ending) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = ending.intake.wait_for(|end| *end) => break,
            _ = lame_duck::begun(&mut ending.lame_duck) => break,
        };
        let (mut socket, peer) = match accepted {
            Ok((socket, peer)) => (socket, listen::canonical(peer)),
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::warn!("cannot accept a client: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if shared.connections.load(Ordering::Relaxed) >= shared.limits.now().max_connections {
            connections.spawn(async move {
                let _ = socket.write_all(b"-ERR 'maximum connections exceeded'\r\n").await;
            });
            continue;
        }
        shared.connections.fetch_add(1, Ordering::Relaxed);
        shared.total.fetch_add(1, Ordering::Relaxed);
        let (shared, door, ending) = (shared.clone(), door.clone(), ending.clone());
        connections.spawn(async move {
            let reason = connection::serve(shared.clone(), door, socket, peer, ending).await;
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            if matches!(reason, CloseReason::SlowConsumerPending | CloseReason::SlowConsumerDeadline) {
                shared.slow_consumers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Rules;
    use crate::events::Identity;
    use crate::protocol::Limits;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    use tokio::net::TcpStream;

    async fn server(max_pending: usize) -> (Listening, watch::Sender<bool>) {
        start(options(ClientLimits { max_pending, ..limits() })).await
    }

    fn limits() -> ClientLimits {
        ClientLimits {
            protocol: Limits::default(),
            max_connections: 3,
            max_pending: 64 << 20,
            write_deadline: Duration::from_secs(10),
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            max_subscriptions: 0,
        }
    }

    fn options(limits: ClientLimits) -> ServerOptions {
        ServerOptions {
            server_id: "ID".into(),
            server_name: "gw1".into(),
            host: "127.0.0.1".into(),
            port: 0,
            limits,
            jetstream: false,
            domain: None,
            xkey: String::new(),
        }
    }

    async fn start(options: ServerOptions) -> (Listening, watch::Sender<bool>) {
        let (end, shutdown) = watch::channel(false);
        let accounts = Accounts::new(None);
        let rules = Authenticator::new(Rules::open(&accounts));
        let (events, _) = Events::new(accounts.system().clone(), Identity::default());
        let server = Server::bind(options, None, accounts, rules, events).await.expect("bind");
        let (_, lame_duck) = watch::channel(None);
        (server.start(Ending { intake: shutdown.clone(), connections: shutdown, lame_duck }), end)
    }

    async fn client(server: &Listening) -> BufReader<TcpStream> {
        let mut stream = BufReader::new(TcpStream::connect(server.status().address).await.expect("connect"));
        let mut info = String::new();
        stream.read_line(&mut info).await.expect("INFO");
        assert!(info.starts_with("INFO {"), "{info}");
        stream
    }

    /// Sends, then reads until the PONG to a PING of its own.
    async fn say(client: &mut BufReader<TcpStream>, text: &str) -> String {
        client.write_all(format!("{text}PING\r\n").as_bytes()).await.expect("write");
        let mut got = String::new();
        while !got.ends_with("PONG\r\n") {
            let n = client.read_line(&mut got).await.expect("read");
            assert!(n > 0, "closed after {got:?}");
        }
        got.truncate(got.len() - "PONG\r\n".len());
        got
    }

    const CONNECT: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";

    #[tokio::test]
    async fn messages_reach_their_subscribers() {
        let (mut server, end) = server(64 << 20).await;
        let (mut a, mut b) = (client(&server).await, client(&server).await);
        assert_eq!(say(&mut a, "SUB early 9\r\n").await, "+OK\r\n");
        assert_eq!(say(&mut a, &format!("{CONNECT}SUB t.* 1\r\nSUB t.> q 2\r\nSUB m 3\r\nUNSUB 3 1\r\n")).await, "");
        assert_eq!(say(&mut b, &format!("{CONNECT}PUB t.x 2\r\nhi\r\n")).await, "");
        let got = say(&mut a, "").await;
        assert!(got.contains("MSG t.x 1 2\r\nhi\r\n") && got.contains("MSG t.x 2 2\r\nhi\r\n"), "{got}");
        say(&mut b, "HPUB m r 12 13\r\nNATS/1.0\r\n\r\nx\r\nPUB m 1\r\ny\r\n").await;
        assert_eq!(say(&mut a, "").await, "HMSG m 3 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n");
        assert_eq!(
            say(&mut b, "SUB r.* 7\r\nPUB nobody r.1 0\r\n\r\n").await,
            "HMSG r.1 7 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n"
        );
        assert_eq!(say(&mut b, "SUB a..b 8\r\n").await, "-ERR 'Invalid Subject'\r\n");
        end.send(true).expect("running");
        let mut rest = Vec::new();
        a.read_to_end(&mut rest).await.expect("closed in order");
        server.stopped().await;
    }

    #[tokio::test]
    async fn breaches_end_only_their_own_connection() {
        let (server, _end) = server(64 << 20).await;
        let mut good = client(&server).await;
        for (bad, want) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), "Unknown Protocol Operation"),
            (format!("PUB {} 1\r\n", "x".repeat(5000)), "maximum control line exceeded"),
            ("PUB a 99999999\r\n".to_owned(), "Maximum Payload Violation"),
            ("CONNECT {nonsense\r\n".to_owned(), ""),
        ] {
            let mut client = client(&server).await;
            client.write_all(bad.as_bytes()).await.expect("write");
            let mut got = String::new();
            let _ = client.read_to_string(&mut got).await;
            assert!(got.contains(want), "{bad:?}: {got:?}");
        }
        say(&mut good, "").await;
    }

    #[tokio::test]
    async fn subscriptions_are_limited() {
        let (server, _end) = start(options(ClientLimits { max_subscriptions: 2, ..limits() })).await;
        let mut client = client(&server).await;
        say(&mut client, CONNECT).await;
        let refused = "-ERR 'maximum subscriptions exceeded'\r\n";
        assert_eq!(say(&mut client, "SUB a 1\r\nSUB b 2\r\nSUB c 3\r\n").await, refused);
        assert_eq!(say(&mut client, "UNSUB 1\r\nSUB c 3\r\nPUB c 1\r\nx\r\n").await, "MSG c 3 1\r\nx\r\n");
    }

    #[tokio::test]
    async fn other_limits_hold_for_what_comes_from_those_who_are_here() {
        let (server, _end) = server(64 << 20).await;
        let mut client = client(&server).await;
        say(&mut client, CONNECT).await;
        let protocol = Limits { payload: 10, ..Limits::default() };
        server.set_limits(ClientLimits { protocol, ..limits() });
        client.write_all(b"PUB a 11\r\nhello world\r\nPING\r\n").await.expect("write");
        let mut got = String::new();
        client.read_line(&mut got).await.expect("an answer");
        assert_eq!(got, "-ERR 'Maximum Payload Violation'\r\n");
    }

    #[tokio::test]
    async fn connections_are_limited() {
        let (server, _end) = server(64 << 20).await;
        let _held = (client(&server).await, client(&server).await, client(&server).await);
        let mut got = String::new();
        let mut fourth = TcpStream::connect(server.status().address).await.expect("connect");
        fourth.read_to_string(&mut got).await.expect("closed");
        assert_eq!(got, "-ERR 'maximum connections exceeded'\r\n");
    }
}
