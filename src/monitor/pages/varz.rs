//! `/varz`: the server as a whole.

use super::jsz::{self, JetStreamStats};
use crate::config::Config;
use crate::config::tls::TlsConfig;
use crate::config::units::Duration;
use crate::config::websocket::HANDSHAKE_TIMEOUT;
use crate::events::FeatureFlags;
use crate::jetstream::ServerLimits;
use crate::leaf::STEP_LIMIT;
use crate::monitor::sources::Sources;
use crate::monitor::{process, text};
use crate::protocol::NATS_VERSION;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
pub(in crate::monitor) struct Varz {
    server_id: String,
    server_name: String,
    version: &'static str,
    proto: u8,
    git_commit: &'static str,
    go: &'static str,
    host: String,
    port: u16,
    #[serde(skip_serializing_if = "is_false")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    max_connections: usize,
    #[serde(skip_serializing_if = "is_zero")]
    max_subscriptions: usize,
    /// Nanoseconds.
    ping_interval: u64,
    ping_max: u32,
    http_host: String,
    http_port: u16,
    http_base_path: String,
    https_port: u16,
    /// Seconds.
    #[serde(serialize_with = "text::number")]
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Nothing,
    gateway: Nothing,
    leaf: Leaf,
    mqtt: Nothing,
    websocket: WebSocket,
    jetstream: JetStream,
    /// Seconds.
    #[serde(serialize_with = "text::number")]
    tls_timeout: f64,
    /// Nanoseconds.
    write_deadline: u64,
    start: String,
    now: String,
    uptime: String,
    /// Bytes of resident memory.
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    /// Percent of one processor.
    #[serde(serialize_with = "text::number")]
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: u32,
    remotes: u32,
    leafnodes: usize,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: usize,
    http_req_stats: BTreeMap<&'static str, u64>,
    config_load_time: String,
    config_digest: String,
    system_account: String,
    feature_flags: FeatureFlags,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<String>,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
}

/// What leafd does not have: a cluster, gateways, an MQTT listener.
#[derive(Default, Serialize)]
pub(super) struct Nothing {}

#[derive(Default, Serialize)]
struct Leaf {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_timeout: Option<u64>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remotes: Vec<Remote>,
}

#[derive(Serialize)]
struct Remote {
    local_account: String,
    urls: Vec<String>,
}

#[derive(Default, Serialize)]
struct WebSocket {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_auth_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt_cookie: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake_timeout: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    no_tls: bool,
    #[serde(skip_serializing_if = "is_false")]
    same_origin: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_origins: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    compression: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<String>,
}

#[derive(Default, Serialize)]
pub(super) struct JetStream {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<jsz::JetStreamConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<JetStreamStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ServerLimits>,
}

/// A count by kind of connection.
#[derive(Serialize)]
pub(super) struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    /// Only of clients.
    pub fn clients(clients: u64) -> ByKind {
        ByKind { clients, routes: 0, gateways: 0, leafs: 0 }
    }

    /// Whether there was none.
    pub fn is_zero(&self) -> bool {
        self.clients + self.routes + self.gateways + self.leafs == 0
    }
}

/// Of nats-server's disk semaphore; leafd has none.
#[derive(Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.0.as_nanos()).unwrap_or(u64::MAX)
}

/// No options.
pub(in crate::monitor) fn page(sources: &Sources) -> Varz {
    let (config, loaded) = sources.config();
    let (clients, leafs) = (sources.clients.status(), sources.leaf_connections());
    let totals = sources.clients.totals();
    let crossed = sources.crossed();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let required = |tls: &Option<TlsConfig>| tls.as_ref().is_some_and(|tls| !tls.allow_non_tls);
    let verify = |tls: &Option<TlsConfig>| tls.as_ref().is_some_and(|tls| tls.verify || tls.verify_and_map);
    let http = config.http.as_ref().map_or((0, 0), |http| {
        let port = sources.counters.port.get().copied().unwrap_or(http.port);
        if http.tls.is_some() { (0, port) } else { (port, 0) }
    });
    let limits = &config.limits;
    Varz {
        server_id: sources.server_id.clone(),
        server_name: sources.server_name.clone(),
        version: NATS_VERSION,
        proto: 1,
        git_commit: env!("CARGO_PKG_VERSION"),
        go: "leafd",
        host: config.listen.host.clone(),
        port: clients.address.port(),
        auth_required: config.authorization.is_some(),
        tls_required: required(&config.tls),
        tls_verify: verify(&config.tls),
        max_connections: limits.max_connections,
        max_subscriptions: limits.max_subscriptions,
        ping_interval: nanos(limits.ping_interval),
        ping_max: limits.ping_max,
        http_host: config.http.as_ref().map(|http| http.host.clone()).unwrap_or_default(),
        http_port: http.0,
        http_base_path: config.http.as_ref().map(|http| http.base_path.clone()).unwrap_or_default(),
        https_port: http.1,
        auth_timeout: config.auth_timeout().as_secs_f64(),
        max_control_line: limits.max_control_line.as_usize(),
        max_payload: limits.max_payload.as_usize(),
        max_pending: limits.max_pending.as_usize(),
        cluster: Nothing {},
        gateway: Nothing {},
        leaf: leaf(&config, sources),
        mqtt: Nothing {},
        websocket: websocket(&config, sources),
        jetstream: jetstream(sources),
        tls_timeout: config.tls.as_ref().map_or(2.0, |tls| tls.timeout.0.as_secs_f64()),
        write_deadline: nanos(limits.write_deadline),
        start: text::time(sources.started),
        now: sources.now(),
        uptime: text::uptime(sources.since.elapsed()),
        mem: process::rss().unwrap_or(0),
        cores,
        gomaxprocs: cores,
        cpu: sources.counters.processor.percent(),
        connections: clients.connections,
        total_connections: clients.total_connections,
        routes: 0,
        remotes: 0,
        leafnodes: leafs.len(),
        in_msgs: totals.in_msgs + crossed.in_msgs,
        in_bytes: totals.in_bytes + crossed.in_bytes,
        in_client_msgs: totals.in_msgs,
        in_client_bytes: totals.in_bytes,
        out_msgs: totals.out_msgs + crossed.out_msgs,
        out_bytes: totals.out_bytes + crossed.out_bytes,
        out_client_msgs: totals.out_msgs,
        out_client_bytes: totals.out_bytes,
        slow_consumers: clients.slow_consumers,
        stale_connections: totals.stale,
        stalled_clients: totals.stalls,
        subscriptions: sources.accounts().iter().map(|account| account.subscriptions()).sum(),
        http_req_stats: sources.requests(),
        config_load_time: text::time(loaded),
        config_digest: config.digest.clone(),
        system_account: sources.system_account().to_owned(),
        feature_flags: FeatureFlags::default(),
        tls_cert_not_after: sources.clients.certificate_expires().map(text::time),
        slow_consumer_stats: ByKind::clients(clients.slow_consumers),
        stale_connection_stats: ByKind::clients(totals.stale),
        disk_io_wait_stats: DiskWaits::default(),
    }
}

fn leaf(config: &Config, sources: &Sources) -> Leaf {
    let remotes = config.leaf.remote.iter().map(|remote| Remote {
        local_account: "$G".into(),
        urls: remote.urls.iter().map(|url| url.rsplit(['/', '@']).next().unwrap_or(url).to_owned()).collect(),
    });
    let listen = config.leaf.listen.as_ref();
    Leaf {
        host: listen.map(|listen| listen.host.clone()),
        port: sources.leafs.as_ref().map(|leafs| leafs.address().port()),
        tls_required: listen.is_some_and(|listen| listen.tls.is_some()),
        tls_verify: listen.and_then(|listen| listen.tls.as_ref()).is_some_and(|tls| tls.ca_file.is_some()),
        auth_timeout: listen.map(|_| STEP_LIMIT.as_secs()),
        tls_timeout: listen.map(|_| STEP_LIMIT.as_secs()),
        tls_cert_not_after: sources.leafs.as_ref().and_then(|leafs| leafs.certificate_expires()).map(text::time),
        remotes: remotes.collect(),
    }
}

fn websocket(config: &Config, sources: &Sources) -> WebSocket {
    let Some(websocket) = &config.websocket else { return WebSocket::default() };
    WebSocket {
        host: Some(websocket.host.clone()),
        port: sources.clients.websocket_address().map(|address| address.port()),
        no_auth_user: websocket.no_auth_user.clone(),
        jwt_cookie: websocket.jwt_cookie.clone(),
        handshake_timeout: Some(websocket.handshake_timeout).filter(|time| *time != HANDSHAKE_TIMEOUT).map(nanos),
        no_tls: websocket.no_tls,
        same_origin: websocket.same_origin,
        allowed_origins: websocket.allowed_origins.clone(),
        compression: websocket.compression,
        tls_cert_not_after: sources.clients.websocket_certificate_expires().map(text::time),
    }
}

fn jetstream(sources: &Sources) -> JetStream {
    if sources.jetstreams().is_empty() {
        return JetStream::default();
    }
    jsz::varz(sources, jsz::config(sources))
}
