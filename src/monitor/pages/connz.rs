//! `/connz`: clients.

use super::subsz::SubscriptionDetail;
use crate::account::GLOBAL_ACCOUNT;
use crate::leaf::LeafConnection;
use crate::monitor::query::{BadQuery, Query, default_limit, natural, window};
use crate::monitor::sources::Sources;
use crate::monitor::text;
use crate::server::tls::TlsSession;
use crate::server::{ClientSnapshot, SubscriptionSnapshot, Totals};
use crate::subject;
use ring::digest;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

#[derive(Serialize)]
pub(in crate::monitor) struct Connz {
    server_id: String,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    /// `None` of an account that is not there.
    connections: Option<Vec<Connection>>,
}

#[derive(Serialize)]
struct Connection {
    cid: u64,
    kind: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    client_type: Option<&'static str>,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    rtt: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stalls: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    lang: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cipher_suite: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tls_peer_certs: Vec<PeerCertificate>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_first: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list_detail: Vec<SubscriptionDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_tag: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

#[derive(Serialize)]
struct PeerCertificate {
    cert_sha256: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is asked for (nats-server `ConnzOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct Options {
    sort: String,
    /// With users and accounts.
    auth: bool,
    /// With subjects of subscriptions.
    subscriptions: bool,
    /// With the subscriptions themselves.
    subscriptions_detail: bool,
    offset: i64,
    limit: i64,
    /// Only this one; 0: all.
    cid: u64,
    /// Only with this MQTT client identifier, of which leafd has none.
    mqtt_client: String,
    /// 0: open, 1: closed, 2: both.
    state: u8,
    user: String,
    /// Only of this account.
    pub acc: String,
    /// Only those who subscribe to what this subject overlaps.
    filter_subject: String,
}

impl Options {
    /// Those of a URL: `sort`, `auth`, `subs` (a flag or `detail`), `offset`, `limit`, `cid`, `state` (`open`, `closed`,
    /// `any`), `user`, `acc`, `filter_subject` (which nats-server takes in requests only).
    pub fn read(query: &Query) -> Result<Options, BadQuery> {
        let subscriptions_detail = query.text("subs").eq_ignore_ascii_case("detail");
        Ok(Options {
            sort: query.text("sort").to_owned(),
            auth: query.flag("auth")?,
            subscriptions: !subscriptions_detail && query.flag("subs")?,
            subscriptions_detail,
            offset: query.number("offset")?,
            limit: query.number("limit")?,
            cid: query.id("cid")?.unwrap_or(0),
            mqtt_client: query.text("mqtt_client").to_owned(),
            state: match query.text("state").to_ascii_lowercase().as_str() {
                "" | "open" => OPEN,
                "closed" => CLOSED,
                "any" | "all" => ANY,
                _ => return Err(BadQuery(format!("Error decoding state for {}", query.text("state")))),
            },
            user: query.text("user").to_owned(),
            acc: query.text("acc").to_owned(),
            filter_subject: query.text("filter_subject").to_owned(),
        })
    }
}

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const ANY: u8 = 2;

/// Clients that are and were connected, and leaf nodes that are.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Result<Connz, BadQuery> {
    check_sort(&options.sort, options.state == CLOSED)?;
    let filter = Some(&*options.filter_subject).filter(|subject| !matches!(*subject, "" | ">"));
    let account = &options.acc;
    if filter.is_some() && account.is_empty() {
        return Err(BadQuery("filter by subject only valid with account filtering".into()));
    }
    let (offset, limit) = (natural(options.offset), natural(options.limit));
    let limit = if options.cid > 0 { 1 } else { default_limit(limit) };
    let nobody = |server_id: &str, connections| Connz {
        server_id: server_id.to_owned(),
        now: sources.now(),
        num_connections: 0,
        total: 0,
        offset,
        limit,
        connections,
    };
    if !account.is_empty() && sources.registry.get(account).is_none() {
        // So does nats-server.
        return Ok(nobody("", None));
    }
    let listed = options.subscriptions || options.subscriptions_detail || filter.is_some();
    let mut found = Vec::new();
    if matches!(options.state, OPEN | ANY) {
        found.extend(sources.clients.open(if listed { usize::MAX } else { 0 }));
        found.extend(sources.leaf_connections().into_iter().filter_map(leaf));
    }
    if matches!(options.state, CLOSED | ANY) {
        found.extend(sources.clients.closed());
    }
    found.retain(|client| account.is_empty() || client.account == *account);
    let total = found.len();
    found.retain(|client| options.cid == 0 || client.cid == options.cid);
    found.retain(|client| options.user.is_empty() || client.user == options.user);
    found.retain(|_| options.mqtt_client.is_empty());
    if let Some(filter) = filter {
        let overlaps = |client: &ClientSnapshot| client.list.iter().any(|sub| subject::overlap(filter, &sub.subject));
        found.retain(|client| client.stopped.is_some() || overlaps(client));
    }
    let now = SystemTime::now();
    order(&mut found, &options.sort, now);
    let shown = window(found.len(), offset, limit);
    let connections: Vec<_> = found.drain(shown).map(|client| connection(client, options, now)).collect();
    let all = nobody(&sources.server_id, None);
    Ok(Connz { num_connections: connections.len(), total, connections: Some(connections), ..all })
}

/// A leaf connection as one of a client.
fn leaf(leaf: LeafConnection) -> Option<ClientSnapshot> {
    let subscription = |subject: String| SubscriptionSnapshot {
        sid: subject.clone(),
        subject,
        queue: None,
        delivered: 0,
        limit: 0,
        cid: leaf.id,
    };
    Some(ClientSnapshot {
        cid: leaf.id,
        leaf: true,
        websocket: false,
        address: leaf.address?,
        started: leaf.since.0,
        last: leaf.since.1,
        stopped: None,
        rtt: leaf.rtt,
        pending: leaf.pending,
        totals: Totals {
            in_msgs: leaf.received,
            in_bytes: leaf.received_bytes,
            out_msgs: leaf.sent,
            out_bytes: leaf.sent_bytes,
            ..Totals::default()
        },
        name: leaf.name,
        lang: String::new(),
        version: leaf.version,
        tls: None,
        user: leaf.user,
        account: leaf.account,
        jwt: None,
        labels: None,
        subscriptions: leaf.subscriptions.len(),
        list: leaf.subscriptions.into_iter().map(subscription).collect(),
    })
}

fn check_sort(sort: &str, only_closed: bool) -> Result<(), BadQuery> {
    match sort {
        "" | "cid" | "start" | "subs" | "pending" | "msgs_to" | "msgs_from" | "bytes_to" | "bytes_from" | "last"
        | "idle" | "uptime" | "rtt" => Ok(()),
        "stop" | "reason" if only_closed => Ok(()),
        "stop" | "reason" => Err(BadQuery(format!("sort by {sort} only valid on closed connections"))),
        other => Err(BadQuery(format!("invalid sorting option: {other}"))),
    }
}

/// By number, start, time and reason ascending, by all else descending, as nats-server's.
fn order(clients: &mut [ClientSnapshot], sort: &str, now: SystemTime) {
    clients.sort_by_key(|client| client.cid);
    let ended = |client: &ClientSnapshot| client.stopped.as_ref().map(|(at, _)| *at);
    match sort {
        "subs" => clients.sort_by_key(|client| Reverse(client.subscriptions)),
        "pending" => clients.sort_by_key(|client| Reverse(client.pending)),
        "msgs_to" => clients.sort_by_key(|client| Reverse(client.totals.out_msgs)),
        "msgs_from" => clients.sort_by_key(|client| Reverse(client.totals.in_msgs)),
        "bytes_to" => clients.sort_by_key(|client| Reverse(client.totals.out_bytes)),
        "bytes_from" => clients.sort_by_key(|client| Reverse(client.totals.in_bytes)),
        "last" => clients.sort_by_key(|client| Reverse(client.last)),
        "idle" => clients.sort_by_key(|client| client.last),
        "uptime" => clients.sort_by_key(|client| between(client.started, ended(client).unwrap_or(now))),
        "rtt" => clients.sort_by_key(|client| Reverse(client.rtt)),
        "stop" => clients.sort_by_key(|client| Reverse(ended(client))),
        "reason" => clients.sort_by_key(|client| client.stopped.as_ref().map(|(_, reason)| reason.to_string())),
        _ => {}
    }
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn connection(client: ClientSnapshot, options: &Options, now: SystemTime) -> Connection {
    let stopped = client.stopped.as_ref();
    let until = stopped.map_or(now, |(at, _)| *at);
    let (mut subscriptions_list, mut subscriptions_list_detail) = (Vec::new(), Vec::new());
    if options.subscriptions_detail {
        subscriptions_list_detail = client.list.into_iter().map(|sub| SubscriptionDetail::of(sub, None)).collect();
    } else if options.subscriptions {
        subscriptions_list = client.list.into_iter().map(|sub| sub.subject).collect();
    }
    let (tls, labels) = (client.tls.as_ref(), client.labels.as_deref());
    let named = |text: String| Some(text).filter(|text| options.auth && !text.is_empty());
    Connection {
        cid: client.cid,
        kind: if client.leaf { "Leafnode" } else { "Client" },
        client_type: (!client.leaf).then_some(if client.websocket { "websocket" } else { "nats" }),
        ip: client.address.ip().to_string(),
        port: client.address.port(),
        start: text::time(client.started),
        last_activity: text::time(client.last),
        stop: stopped.map(|(at, _)| text::time(*at)),
        reason: stopped.map(|(_, reason)| reason.to_string()),
        rtt: text::duration(client.rtt.unwrap_or_default()),
        uptime: text::uptime(between(client.started, until)),
        idle: text::uptime(between(client.last, until)),
        pending_bytes: client.pending,
        in_msgs: client.totals.in_msgs,
        out_msgs: client.totals.out_msgs,
        in_bytes: client.totals.in_bytes,
        out_bytes: client.totals.out_bytes,
        stalls: client.totals.stalls,
        subscriptions: client.subscriptions,
        name: client.name,
        lang: client.lang,
        version: client.version,
        tls_version: tls.map(|tls| tls.version),
        tls_cipher_suite: tls.map(|tls| tls.cipher_suite.clone()),
        tls_peer_certs: tls.filter(|_| options.auth).map(certificates).unwrap_or_default(),
        tls_first: tls.is_some_and(|tls| tls.first),
        authorized_user: named(client.user),
        account: named(client.account.clone()).filter(|account| account != GLOBAL_ACCOUNT),
        subscriptions_list,
        subscriptions_list_detail,
        jwt: client.jwt.filter(|_| options.auth && !labels.is_some_and(|labels| labels.bearer)),
        issuer_key: labels.and_then(|labels| named(labels.issuer_key.clone())),
        name_tag: named(labels.map_or(client.account, |labels| labels.account_name.clone())),
        tags: labels.filter(|_| options.auth).map(|labels| labels.tags.clone()).unwrap_or_default(),
    }
}

fn certificates(tls: &TlsSession) -> Vec<PeerCertificate> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hash = |certificate: &[u8]| hex(digest::digest(&digest::SHA256, certificate).as_ref());
    tls.certificates.iter().map(|certificate| PeerCertificate { cert_sha256: hash(certificate) }).collect()
}
