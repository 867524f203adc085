//! The parts of the daemon, in the order in which they are started and ended.

use super::StartError;
use super::origins::Teller;
use super::streams::Streams;
use crate::account::Accounts;
use crate::adapters::{AdapterContext, Adapters};
use crate::auth::{Authenticator, Resolver, Rules, ServerKeys, system_account};
use crate::config::leaf::RemoteConfig;
use crate::config::shares::Subjects;
use crate::config::tls::{HandshakeFirst, TlsConfig};
use crate::config::{Config, LimitsConfig};
use crate::events::{self, Events};
use crate::jetstream;
use crate::leaf::{Door, House, Identity, LinkChanges, Links, Listener};
use crate::monitor::{Counters, Http, Sources, SystemAccount};
use crate::protocol::Limits;
use crate::server::tls::TlsPolicy;
use crate::server::websocket::WebSocket;
use crate::server::{self, ClientLimits, Ending, LameDuck, Listening, Server, ServerOptions};
use crate::store::{Store, StoreOptions};
use crate::system::control::Asked;
use crate::system::tls::TlsError;
use crate::uplink::traffic::{Limits as TrafficLimits, Traffic};
use crate::uplink::{self, Surroundings, Uplink};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};

/// Everything that runs.
pub(super) struct Parts {
    pub store: Store,
    pub adapters: Adapters,
    streams: Streams,
    clients: Listening,
    accounts: Arc<Accounts>,
    authenticator: Arc<Authenticator>,
    resolver: Arc<Resolver>,
    keys: Arc<ServerKeys>,
    /// When what the accounts share changes by itself: a right to import ends, or an account's JWT.
    pub sharing_until: Option<Instant>,
    leafs: Option<Arc<Listener>>,
    http: Option<Http>,
    sources: Arc<Sources>,
    events: Arc<Events>,
    system: SystemAccount,
    links: Arc<Links>,
    /// Those whose hubs may be told of mirrors and sources.
    remotes: watch::Sender<Vec<RemoteConfig>>,
    uplinks: Vec<Arc<Uplink>>,
    ends: Ends,
}

/// Leaf nodes that have come by WebSocket and are not yet looked at, at most.
const MAX_LEAF_VISITS: usize = 16;

/// Told `true` one after the other when the daemon ends.
struct Ends {
    intake: watch::Sender<bool>,
    uplinks: watch::Sender<bool>,
    links: watch::Sender<bool>,
    connections: watch::Sender<bool>,
    lame_duck: watch::Sender<Option<LameDuck>>,
}

impl Parts {
    /// Starts everything, from the disk outwards.
    pub async fn start(config: &Config, asked: mpsc::Sender<Asked>) -> Result<Parts, StartError> {
        let ends = Ends {
            intake: watch::Sender::new(false),
            uplinks: watch::Sender::new(false),
            links: watch::Sender::new(false),
            connections: watch::Sender::new(false),
            lame_duck: watch::Sender::new(None),
        };
        let keys = Arc::new(ServerKeys::generate());
        let identity = Identity {
            server_name: config.server_name.clone(),
            server_id: keys.id(),
            domain: config.jetstream.enabled.then(|| config.domain()),
            jetstream: config.jetstream.enabled,
        };
        let encryption = config.store.encryption.as_ref().map(|encryption| encryption.read()).transpose()?;
        let options = StoreOptions { encryption, index_bytes: config.memory.max.0, ..StoreOptions::default() };
        let store = Store::open(&config.data_dir, options)?;
        tracing::info!("Store Directory: \"{}\"", config.data_dir.display());
        let system = config.authorization.as_ref().and_then(system_account);
        let accounts = Accounts::new(system.as_deref());
        let account = accounts.global().clone();
        let resolver = Arc::new(Resolver::open(config.authorization.as_ref())?);
        let rules = Rules::new(config, &resolver.tokens(), &accounts, &keys)?;
        let (by_jwt, streams_by_jwt) = (rules.shared_by_jwt(), rules.streams_by_jwt());
        let sharing_until = by_jwt.change.map(|left| Instant::now() + left);
        let authenticator = Authenticator::new(rules);
        Subjects::read(config).map_err(StartError::Subjects)?.with(by_jwt).put_in_force(&accounts);
        let (events, changed) = Events::new(accounts.system().clone(), event_identity(config, &identity));
        let mut server = Server::bind(
            server_options(config, &identity, &keys),
            client_tls(config).map_err(server::StartError::from)?,
            accounts.clone(),
            authenticator.clone(),
            events.clone(),
        )
        .await?;
        let (leaf_visits, leaf_visitors) = mpsc::channel(MAX_LEAF_VISITS);
        if let Some(websocket) = &config.websocket {
            let tls = websocket_tls(config).map_err(server::StartError::WebSocketTls)?;
            let leafs = config.leaf.listen.as_ref().map(|_| leaf_visits.clone());
            server.bind_websocket(websocket, tls, leafs).await?;
        }
        let streams = Streams::start(config, &streams_by_jwt, &accounts, &store)?;
        let jetstreams = streams.all().all();
        let withheld = config.uplink.iter().flat_map(|uplink| uplink.captured()).collect();
        let (remotes, until) = (&config.leaf.remote, ends.links.subscribe());
        let links = Arc::new(Links::start(remotes, accounts.clone(), identity.clone(), withheld, until));
        let remotes = watch::Sender::new(remotes.clone());
        let gateway = config.server_name.clone();
        let teller = Teller { gateway, links: links.clone(), jetstreams: streams.all().clone() };
        tokio::spawn(teller.run(remotes.subscribe(), ends.links.subscribe()));
        let mut uplinks = Vec::new();
        let traffic = Traffic::new(wan_limits(config), config.wan.time);
        for uplink in &config.uplink {
            // A checked configuration names a remote that is there, and has JetStream on; that of `$G` is the first.
            let remote = config.remote_of(uplink).and_then(|r| links.find(&r.name));
            let (Some(link), Some(jetstream)) = (&remote, jetstreams.first()) else { continue };
            let around = Surroundings {
                gateway: config.server_name.clone(),
                account: account.clone(),
                jetstream: jetstream.clone(),
                store: store.clone(),
                traffic: traffic.clone(),
            };
            uplinks.push(Uplink::start(uplink, &around, link.name(), link.clone(), ends.uplinks.subscribe())?);
        }
        if let Some(jetstream) = jetstreams.first() {
            uplink::warn_of_leftovers(jetstream);
        }
        let leafs = match &config.leaf.listen {
            None => None,
            Some(listen) => {
                let house = House {
                    accounts: accounts.clone(),
                    authenticator: authenticator.clone(),
                    events: events.clone(),
                    identity: identity.clone(),
                    max_payload: config.limits.max_payload.as_usize(),
                    visits: leaf_visitors,
                };
                Some(Arc::new(Listener::start(house, listen.clone(), ends.links.subscribe()).await?))
            }
        };
        let uplinked = config.uplink.iter().flat_map(|uplink| uplink.captured()).collect();
        let context = AdapterContext { account, gateway: config.token(), uplinks: uplinked };
        let adapters = Adapters::start(&config.adapter, context);
        let clients = server.start(Ending {
            intake: ends.intake.subscribe(),
            connections: ends.connections.subscribe(),
            lame_duck: ends.lame_duck.subscribe(),
        });
        let sources = Arc::new(Sources {
            server_id: identity.server_id.clone(),
            server_name: identity.server_name.clone(),
            started: SystemTime::now(),
            since: Instant::now(),
            clients: clients.view(),
            registry: accounts.clone(),
            jetstreams: streams.all().clone(),
            leafs: leafs.clone(),
            links: links.clone(),
            resolver: resolver.clone(),
            store: store.clone(),
            asked,
            config: RwLock::new((Arc::new(config.clone()), SystemTime::now())),
            counters: Counters::default(),
        });
        let http = match &config.http {
            None => None,
            Some(http) => Some(Http::start(http, sources.clone(), ends.connections.subscribe()).await?),
        };
        let system = SystemAccount::start(sources.clone(), events.clone(), changed, ends.connections.subscribe());
        tracing::info!("Listening for client connections on {}", clients.status().address);
        if let Some(tls) = &config.tls {
            announce_tls(tls);
        }
        if let Some(websocket) = clients.websocket() {
            tracing::info!("Listening for websocket clients on {}", websocket_url(websocket));
        }
        if let Some(http) = &http {
            tracing::info!("Monitoring on {}", http.url());
        }
        if let Some(leafs) = &leafs {
            tracing::info!("Listening for leafnode connections on {}", leafs.address());
        }
        Ok(Parts {
            store,
            adapters,
            streams,
            clients,
            accounts,
            authenticator,
            resolver,
            keys,
            sharing_until,
            leafs,
            http,
            sources,
            events,
            system,
            links,
            remotes,
            uplinks,
            ends,
        })
    }

    /// Has the clients judged by the users, and held to the limits, of `config` from now on.
    ///
    /// # Errors
    /// Those are not right; the old ones stay.
    pub fn reload_users(&self, config: &Config) -> Result<(), String> {
        let resolver = Resolver::open(config.authorization.as_ref()).map_err(|error| error.to_string())?;
        let rules = Rules::new(config, &resolver.tokens(), &self.accounts, &self.keys);
        let rules = rules.map_err(|error| error.to_string())?;
        // First: whoever is judged anew takes them over.
        self.clients.set_limits(client_limits(&config.limits));
        self.authenticator.replace(rules);
        self.resolver.replace(resolver);
        Ok(())
    }

    /// Has the clients judged, and the accounts share and map, by the JWTs that the resolver knows by now.
    ///
    /// # Errors
    /// The configuration does not fit any more.
    pub fn reload_accounts(&mut self, config: &Config) -> Result<(), String> {
        let rules = Rules::new(config, &self.resolver.tokens(), &self.accounts, &self.keys);
        self.authenticator.replace(rules.map_err(|error| error.to_string())?);
        self.reload_subjects(config)
    }

    /// Has the accounts share and map what `config` says, and have the streams that it gives them, from now on.
    ///
    /// # Errors
    /// That is not right; what was in force stays.
    pub fn reload_subjects(&mut self, config: &Config) -> Result<(), String> {
        let subjects = Subjects::read(config).map_err(|wrong| wrong.join("; "))?;
        let by_jwt = self.authenticator.watch().borrow().shared_by_jwt();
        self.sharing_until = by_jwt.change.map(|left| Instant::now() + left);
        subjects.with(by_jwt).put_in_force(&self.accounts);
        let by_jwt = self.authenticator.watch().borrow().streams_by_jwt();
        tokio::task::block_in_place(|| self.streams.reload(config, &by_jwt, &self.accounts));
        Ok(())
    }

    /// Has the links and the listener for leafs go on as `config` says; what has changed. `door` is what leafs come in by.
    pub fn reload_leaf(&self, config: &Config, door: Option<Door>) -> LinkChanges {
        if let (Some(leafs), Some(door)) = (&self.leafs, door) {
            leafs.reload(door, config.limits.max_payload.as_usize());
        }
        let changes = self.links.reload(&config.leaf.remote);
        self.remotes.send_replace(config.leaf.remote.clone());
        changes
    }

    /// Certificates and policy of TLS for connections to come, the files read again; all or nothing.
    pub fn reload_tls(&self, config: &Config) -> Result<(), String> {
        let clients = client_tls(config).map_err(|error| format!("[tls]: {error}"))?;
        let browsers = websocket_tls(config).map_err(|error| format!("[websocket.tls]: {error}"))?;
        let monitoring = config.http.as_ref().and_then(|http| http.tls.as_ref()).map(TlsPolicy::load).transpose();
        let monitoring = monitoring.map_err(|error| format!("[http.tls]: {error}"))?;
        self.clients.set_tls(clients);
        if let Some(http) = &self.http {
            http.set_tls(monitoring);
        }
        self.sources.set_config(config);
        if let Some(websocket) = self.clients.websocket() {
            websocket.set_tls(browsers);
        }
        Ok(())
    }

    /// On which ports we listen, in the form of nats-server's ports file.
    pub fn ports(&self) -> Value {
        let mut ports = json!({ "nats": [format!("nats://{}", reachable(self.clients.status().address))] });
        if let Some(websocket) = self.clients.websocket() {
            ports["websocket"] = json!([websocket_url(websocket)]);
        }
        if let Some(leafs) = &self.leafs {
            ports["leafnodes"] = json!([format!("nats-leaf://{}", reachable(leafs.address()))]);
        }
        if let Some(http) = &self.http {
            ports["monitoring"] = json!([http.url()]);
        }
        ports
    }

    /// Snapshots of everything. Reads from disk.
    pub fn status(&self) -> Value {
        let streams: Vec<_> = self.streams.all().all().into_iter().flat_map(|jetstream| jetstream.streams()).collect();
        let origins: Vec<_> = streams.iter().flat_map(|stream| stream.sync()).collect();
        let streams: Vec<_> = streams.iter().map(|stream| stream_status(stream)).collect();
        json!({
            "clients": self.clients.status(),
            "store": self.store.stats(),
            "streams": streams,
            "origins": origins,
            "links": self.links.all().iter().map(|l| l.status()).collect::<Vec<_>>(),
            "leafs": self.leafs.as_ref().map(|l| l.status()),
            "uplinks": self.uplinks.iter().map(|u| u.status()).collect::<Vec<_>>(),
            "adapters": self.adapters.status(),
        })
    }

    /// Lets no more clients in, and those who are there go.
    pub fn lame_duck(&self, limits: &LimitsConfig) {
        tracing::info!("Entering lame duck mode, stop accepting new clients");
        self.events.lame_duck();
        let clients = self.clients.status().connections;
        let duck = LameDuck::new(limits.lame_duck_duration.0, limits.lame_duck_grace_period.0, clients);
        self.ends.lame_duck.send_replace(Some(duck));
    }

    /// Waits until the last client has gone, in lame duck mode.
    pub async fn clients_gone(&mut self) {
        self.clients.stopped().await;
    }

    /// Ends everything, from the outside inwards: no intake, everything on disk, every answer out, then the connections.
    pub async fn end(mut self) {
        self.events.shutdown();
        self.streams.all().all().iter().for_each(|jetstream| jetstream.end_requests());
        let _ = self.ends.intake.send(true);
        self.adapters.end().await;
        let _ = self.ends.uplinks.send(true);
        for uplink in &self.uplinks {
            uplink.stopped().await;
        }
        if let Err(error) = self.store.barrier().await {
            tracing::error!("not everything could be written: {error}");
        }
        let _ = self.ends.links.send(true);
        let _ = self.ends.connections.send(true);
        for link in self.links.all() {
            link.stopped().await;
        }
        if let Some(leafs) = &self.leafs {
            leafs.stopped().await;
        }
        self.clients.stopped().await;
        if let Some(http) = self.http {
            http.stopped().await;
        }
        self.system.stopped().await;
        let (jetstreams, store) = (self.streams.all().all(), self.store);
        let _ = tokio::task::spawn_blocking(move || {
            jetstreams.iter().for_each(|jetstream| jetstream.shutdown());
            store.close();
        })
        .await;
    }
}

/// What nats-server says of TLS at its start.
fn announce_tls(tls: &TlsConfig) {
    let only_first = tls.handshake_first == HandshakeFirst::Yes;
    match tls.allow_non_tls && !only_first {
        true => tracing::info!("TLS available for client connections"),
        false => tracing::info!("TLS required for client connections"),
    }
    if only_first {
        tracing::warn!("Clients that are not using \"TLS Handshake First\" option will fail to connect");
    }
}

fn client_tls(config: &Config) -> Result<Option<TlsPolicy>, TlsError> {
    config.tls.as_ref().map(TlsPolicy::load).transpose()
}

fn websocket_tls(config: &Config) -> Result<Option<TlsPolicy>, TlsError> {
    config.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref()).map(TlsPolicy::load).transpose()
}

fn websocket_url(websocket: &WebSocket) -> String {
    format!("{}://{}", if websocket.is_secure() { "wss" } else { "ws" }, websocket.address())
}

fn wan_limits(config: &Config) -> TrafficLimits {
    let wan = &config.wan;
    TrafficLimits {
        rate: wan.rate.map(|rate| rate.0),
        burst: wan.burst.map(|burst| burst.0),
        daily: wan.daily.map(|bytes| bytes.0),
        monthly: wan.monthly.map(|bytes| bytes.0),
        schedule: wan.schedule.clone(),
    }
}

fn stream_status(stream: &jetstream::Stream) -> Value {
    let state = stream.log().state();
    let damaged = stream.log().damaged().into_iter().map(|range| (*range.start(), *range.end()));
    json!({
        "name": stream.name(),
        "mirror": stream.mirror_info().map(origin_status),
        "sources": stream.sources_info().into_iter().map(origin_status).collect::<Vec<_>>(),
        "sync": stream.log().sync().map_or("none".to_owned(), |sync| sync.to_string()),
        "state": {
            "messages": state.msgs,
            "bytes": state.bytes,
            "first_seq": state.first_seq,
            "last_seq": state.last_seq,
            "damaged": state.damaged,
            "damaged_sequences": damaged.collect::<Vec<_>>(),
        },
    })
}

/// As `STREAM.INFO` tells it, with the consumer that is read through.
fn origin_status(info: jetstream::SourceInfo) -> Value {
    let mut status = json!(info);
    if let Some(consumer) = &info.consumer {
        status["consumer"] = json!(consumer);
    }
    status
}

fn event_identity(config: &Config, identity: &Identity) -> events::Identity {
    events::Identity {
        name: identity.server_name.clone(),
        host: config.listen.host.clone(),
        id: identity.server_id.clone(),
        domain: identity.domain.clone().filter(|_| config.tells_domain()),
        jetstream: identity.jetstream,
    }
}

fn client_limits(limits: &LimitsConfig) -> ClientLimits {
    ClientLimits {
        protocol: Limits { control_line: limits.max_control_line.as_usize(), payload: limits.max_payload.as_usize() },
        max_connections: limits.max_connections,
        max_pending: limits.max_pending.as_usize(),
        write_deadline: limits.write_deadline.0.max(Duration::from_millis(1)),
        ping_interval: limits.ping_interval.0.max(Duration::from_millis(1)),
        ping_max: limits.ping_max,
        max_subscriptions: limits.max_subscriptions,
    }
}

fn server_options(config: &Config, identity: &Identity, keys: &ServerKeys) -> ServerOptions {
    ServerOptions {
        server_id: identity.server_id.clone(),
        server_name: identity.server_name.clone(),
        host: config.listen.host.clone(),
        port: config.listen.port,
        limits: client_limits(&config.limits),
        jetstream: identity.jetstream,
        domain: identity.domain.clone().filter(|_| config.tells_domain()),
        xkey: keys.xkey(),
    }
}

/// An address for programs on this machine: one of all interfaces cannot be connected to.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
