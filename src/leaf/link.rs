//! The link to a hub: dials its addresses in turn for ever, and keeps one session at a time.
//!
//! What crosses: live traffic through the account's router, in both directions, under the operator's `export` and
//! `import` lists narrowed by what the hub's INFO allows; and what an uplink hands to [`Link::publish`], under the
//! hub's permissions alone. As between nats-servers of different domains, `$JS.API.>`, `$KV.>` and `$OBJ.>` never cross
//! as live traffic, nor does our own domain's API outwards; a domain's API (`$JS.<domain>.API.>`) crosses if it is listed.

use super::backoff::Backoff;
use super::compression::{Agreed, Volume};
use super::control::HubControl;
use super::dial::{self, Dialled, Identity, Url};
use super::info::LeafInfo;
use super::interest::loop_subject;
use super::peer::{Counters, NotSent, Peer, Rules, Side};
use super::permissions::Filter;
use super::session::Session;
use super::status::{LeafConnection, LinkState, LinkStatus, seconds};
use crate::account::{Account, Message, TargetId};
use crate::config::leaf::RemoteConfig;
use crate::server::outbound::CloseReason;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// [`Link::publish`] answers `Full` above this many unsent bytes, so that pings and commands do not queue behind a backlog.
const MAX_DIRECT: usize = 256 * 1024;
/// A connection that lasted this long makes the next pause short again.
const STABLE: Duration = Duration::from_secs(10);
/// Pause after a loop or a duplicate name, as nats-server's `leafNodeReconnectDelayAfterLoopDetected`.
const LOOP_PAUSE: Duration = Duration::from_secs(30);
/// How long the writer of an ended connection is waited for.
const WRITER_LIMIT: Duration = Duration::from_secs(1);
/// Most addresses taken from the hub's INFO.
const MAX_DISCOVERED: usize = 16;
/// Never as live traffic while the domains differ (nats-server `denyAllClientJs`), nor the system's own subjects.
const DENIED: [&str; 4] = ["$JS.API.>", "$KV.>", "$OBJ.>", "$SYS.>"];
/// From this level of the protocol on servers trace messages (nats-server `MsgTraceProto`).
const TRACES: i32 = 3;

/// The link to one hub.
pub struct Link {
    name: String,
    config: watch::Sender<Arc<RemoteConfig>>,
    /// Held while rules are made and put in force, so that the last ones are those of the last change.
    ruling: Mutex<()>,
    removed: watch::Sender<bool>,
    account: Arc<Account>,
    identity: Identity,
    withheld: Vec<String>,
    pub(super) loop_subject: String,
    state: watch::Sender<LinkState>,
    current: Mutex<Current>,
    counters: Arc<Counters>,
    sessions: AtomicU64,
    stopped: watch::Sender<bool>,
}

/// What is known of the present connection, or of the last one.
#[derive(Default)]
pub(super) struct Current {
    peer: Option<Arc<Peer>>,
    pub hub: LeafInfo,
    url: String,
    address: Option<SocketAddr>,
    pub rtt: Option<Duration>,
    pub compression: &'static str,
    agreed: Option<Agreed>,
}

/// Why a message was not handed to the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("the link to the hub is down")]
    Down,
    /// The hub's permissions do not allow the subject.
    #[error(
        "the hub does not allow this user to publish the subject; add it to the user's publish permissions at the hub"
    )]
    NotAllowed,
    /// Too much waits in the outbound buffer; try again when it has drained.
    #[error("the link is busy")]
    Full,
    /// Larger than the hub's `max_payload`.
    #[error("the message is larger than the hub's max_payload")]
    TooLarge,
}

impl Link {
    /// Starts dialling. `withheld` are the subjects that uplinks own: they never cross as live traffic.
    pub fn start(
        account: Arc<Account>,
        config: RemoteConfig,
        identity: Identity,
        withheld: Vec<String>,
        shutdown: watch::Receiver<bool>,
    ) -> Arc<Link> {
        let down = LinkState::Down { since: SystemTime::now(), reason: "not connected yet".into(), next_dial: None };
        let link = Arc::new(Link {
            name: config.name.clone(),
            config: watch::Sender::new(Arc::new(config)),
            ruling: Mutex::default(),
            removed: watch::Sender::new(false),
            loop_subject: loop_subject(&account),
            account,
            identity,
            withheld,
            state: watch::Sender::new(down),
            current: Mutex::default(),
            counters: Arc::default(),
            sessions: AtomicU64::new(0),
            stopped: watch::Sender::new(false),
        });
        let task = link.clone();
        tokio::spawn(async move {
            let mut removed = task.removed.subscribe();
            tokio::select! {
                () = task.run(shutdown) => {}
                _ = removed.wait_for(|removed| *removed) => task.down("taken out of the configuration", None),
            }
            task.stopped.send_replace(true);
        });
        link
    }

    /// The configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account that is joined to the hub's.
    pub fn account(&self) -> &str {
        self.account.name()
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<RemoteConfig> {
        self.config.borrow().clone()
    }

    /// Goes on by `new`, a configuration of the same name and account; whether it is another. The connection stays where it
    /// can: what may cross changes on it at once, and the pauses between dials at the next one. Everything else takes a
    /// new connection, which is dialled now.
    pub fn reconfigure(&self, new: &RemoteConfig) -> bool {
        let changed = self.config.send_if_modified(|config| {
            let changed = **config != *new;
            *config = Arc::new(new.clone());
            changed
        });
        if changed {
            self.rule();
        }
        changed
    }

    /// Gives the connection up and dials no more.
    pub fn remove(&self) {
        self.removed.send_replace(true);
    }

    /// Puts in force what the configuration and the hub allow now.
    pub(super) fn rule(&self) {
        let _ruling = self.ruling.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, hub) = {
            let current = self.current();
            (current.peer.clone(), current.hub.clone())
        };
        if let Some(peer) = peer {
            peer.start(self.rules(&hub), &self.loop_subject);
        }
    }

    /// Hands a message straight to the hub, past the local router and the operator's lists. It leaves with whatever else
    /// is waiting; order is kept.
    pub fn publish(&self, message: &Message<'_>) -> Result<(), LinkError> {
        let peer = self.current().peer.clone().ok_or(LinkError::Down)?;
        peer.send_direct(message, MAX_DIRECT).map_err(|error| match error {
            NotSent::NotAllowed => LinkError::NotAllowed,
            NotSent::Full => LinkError::Full,
            NotSent::TooLarge => LinkError::TooLarge,
        })
    }

    /// Whether the link is up, and changes of that.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Gives the present connection up, and dials again.
    pub fn redial(&self) {
        if let Some(peer) = &self.current().peer {
            peer.out.close(CloseReason::Stale);
        }
    }

    /// Bytes not yet written.
    pub fn backlog_bytes(&self) -> usize {
        self.current().peer.as_ref().map_or(0, |peer| peer.out.waiting())
    }

    /// What the present connection has sent and received, if it is compressed.
    pub fn volumes(&self) -> Option<(Volume, Volume)> {
        self.current().agreed.as_ref().and_then(Agreed::volumes)
    }

    /// Whether the hub allows us to publish the literal `subject`; unknown, hence `true`, while the link is down.
    pub fn permits_publish(&self, subject: &str) -> bool {
        self.current().peer.as_ref().is_none_or(|peer| peer.rules().peer_export.allows(subject))
    }

    /// The hub's JetStream domain as it said last; empty if it has none or is not known yet.
    pub fn hub_domain(&self) -> String {
        self.current().hub.domain.clone()
    }

    /// See [`LeafInfo::takes_chains`]; of the hub node that is connected, or was last.
    pub fn takes_chains(&self) -> bool {
        self.current().hub.takes_chains()
    }

    /// The largest message (headers and payload, bytes) that the hub takes; `None` before the first connection.
    pub fn max_payload(&self) -> Option<usize> {
        usize::try_from(self.current().hub.max_payload).ok().filter(|limit| *limit > 0)
    }

    /// A snapshot.
    pub fn status(&self) -> LinkStatus {
        let state = self.state.borrow().clone();
        let (up, since, reason, next_dial) = match state {
            LinkState::Up { since, .. } => (true, since, String::new(), None),
            LinkState::Down { since, reason, next_dial } => (false, since, reason, next_dial),
        };
        let current = self.current();
        let rules =
            current.peer.as_ref().map(|p| p.rules()).unwrap_or_else(|| Arc::new(self.rules(&LeafInfo::default())));
        let list = |filter: &Filter| filter.allow.iter().map(|s| s.to_string()).collect();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkStatus {
            name: self.name.clone(),
            up,
            since: seconds(since),
            reason,
            next_dial: next_dial.map(seconds),
            hub_name: current.hub.server_name.clone(),
            hub_version: current.hub.version.clone(),
            hub_domain: current.hub.domain.clone(),
            hub_url: current.url.clone(),
            compression: current.compression,
            rtt_ms: current.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
            sent: count(&self.counters.sent),
            sent_bytes: count(&self.counters.sent_bytes),
            received: count(&self.counters.received),
            received_bytes: count(&self.counters.received_bytes),
            reconnects: count(&self.sessions).saturating_sub(1),
            dropped: count(&self.counters.dropped),
            refused: count(&self.counters.refused),
            interest: current.peer.as_ref().map_or(0, |peer| peer.announced_len()),
            waiting_bytes: current.peer.as_ref().map_or(0, |peer| peer.out.waiting()),
            export: list(&rules.send),
            import: list(&rules.announce),
        }
    }

    /// The connection to the hub as monitoring shows it; `None` while there is none.
    pub fn connection(&self) -> Option<LeafConnection> {
        let current = self.current();
        let peer = current.peer.as_ref()?;
        Some(peer.connection(current.hub.server_name.clone(), current.address, current.rtt, current.compression))
    }

    /// Waits until the link has ended, after shutdown.
    pub async fn stopped(&self) {
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    pub(super) fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rules(&self, hub: &LeafInfo) -> Rules {
        let config = self.config();
        let denied: Vec<String> = DENIED.map(String::from).to_vec();
        let not_in: Vec<String> = denied.iter().chain(&config.deny_import).cloned().collect();
        let announce = Filter::new(&config.import, &config.reply_prefixes, &not_in, hub.import.as_ref());
        let mut denied: Vec<String> = denied.into_iter().chain(config.deny_export.iter().cloned()).collect();
        denied.extend(self.identity.domain.iter().map(|domain| format!("$JS.{domain}.API.>")));
        denied.extend(self.withheld.iter().cloned());
        Rules {
            send: Filter::new(&config.export, &config.reply_prefixes, &denied, hub.export.as_ref()),
            receive: announce.clone(),
            announce,
            peer_export: hub.export.clone().unwrap_or_default(),
        }
    }

    async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let name = &self.name;
        let mut configured = self.config.subscribe();
        let mut config = configured.borrow_and_update().clone();
        let mut backoff = backoff_of(&config);
        let mut urls = self.urls(&config);
        // Why each URL was of no use when it was dialled last.
        let mut told = HashMap::new();
        let mut turn = 0;
        loop {
            let began = tokio::time::Instant::now();
            let sessions = self.sessions.load(Ordering::Relaxed);
            let dialled = urls.get(turn % urls.len().max(1)).cloned();
            turn += 1;
            let ended = match &dialled {
                None => Ok("no valid URL is configured".to_owned()),
                Some(url) => {
                    let end = shutdown.clone();
                    tokio::select! {
                        reason = self.session(url, &config, end) => Ok(format!("{url}: {reason}")),
                        new = reconfigured(&mut configured, &config, url) => Err(new),
                        _ = shutdown.wait_for(|end| *end) => return,
                    }
                }
            };
            if *shutdown.borrow() {
                return;
            }
            let reason = match ended {
                Ok(reason) => reason,
                Err(new) => {
                    tracing::info!("leaf remote {name:?}: its configuration has changed; dialling anew");
                    self.down("its configuration has changed", None);
                    (backoff, urls) = (backoff_of(&new), self.urls(&new));
                    (config, turn, told) = (new, 0, HashMap::new());
                    continue;
                }
            };
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let mut pause = backoff.pause();
            if reason.contains("Loop detected") || reason.contains("Duplicate Remote") {
                pause = LOOP_PAUSE;
            }
            // A hub that is gone for a day must not fill the log with the same line.
            let at = dialled.map(|url| url.to_string()).unwrap_or_default();
            if self.sessions.load(Ordering::Relaxed) != sessions {
                told.retain(|url, _| *url == at);
            }
            if told.insert(at, reason.clone()).as_ref() != Some(&reason) {
                tracing::warn!("leaf remote {name:?}: {reason}; dialling goes on");
            } else {
                tracing::debug!("leaf remote {name:?}: {reason}; next dial in {pause:?}");
            }
            self.down(&reason, Some(SystemTime::now() + pause));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = configured.changed() => {}
                _ = shutdown.wait_for(|end| *end) => return,
            }
            let new = configured.borrow_and_update().clone();
            if !Arc::ptr_eq(&new, &config) {
                (backoff, urls) = (backoff_of(&new), self.urls(&new));
                (config, turn) = (new, 0);
            }
            if config.discover {
                self.discovered(&mut urls);
            }
            self.down(&reason, None);
        }
    }

    fn urls(&self, config: &RemoteConfig) -> Vec<Url> {
        let parsed = config.urls.iter().map(|text| Url::parse(text));
        let mut urls: Vec<_> = parsed
            .filter_map(|url| url.inspect_err(|e| tracing::error!("leaf remote {:?}: {e}", self.name)).ok())
            .collect();
        if !config.no_randomize {
            fastrand::shuffle(&mut urls);
        }
        urls
    }

    /// Adds the addresses that the hub has announced; they take TLS and credentials of the configured ones.
    fn discovered(&self, urls: &mut Vec<Url>) {
        let (tls, websocket) = (urls.iter().any(|url| url.tls), urls.iter().any(|url| url.websocket));
        let login = urls.iter().find_map(|url| url.login.clone());
        let current = self.current();
        let announced = if websocket { &current.hub.ws_connect_urls } else { &current.hub.leafnode_urls };
        for text in announced.iter().flatten().take(MAX_DISCOVERED) {
            if let Ok(url) = Url::parse(&format!("nats-leaf://{text}")) {
                let url = Url { tls, websocket, login: login.clone(), ..url };
                if !urls.iter().any(|known| known.is_at(&url)) && urls.len() < MAX_DISCOVERED {
                    urls.push(url);
                }
            }
        }
    }

    /// Notes that the link is down; `since` stays that of the first failure.
    fn down(&self, reason: &str, next_dial: Option<SystemTime>) {
        self.state.send_modify(|state| {
            let since = match state {
                LinkState::Down { since, .. } => *since,
                LinkState::Up { .. } => SystemTime::now(),
            };
            *state = LinkState::Down { since, reason: reason.to_owned(), next_dial };
        });
    }

    /// One connection from dial to end; returns why it ended.
    async fn session(&self, url: &Url, config: &RemoteConfig, shutdown: watch::Receiver<bool>) -> String {
        let Dialled { socket, buffer, address, info, agreed } =
            match dial::dial(url, config, &self.identity, self.account.name()).await {
                Ok(dialled) => dialled,
                Err(error) => return error.to_string(),
            };
        let (reader, out, writer) = socket.split();
        let max_live = config.max_pending.as_usize();
        let side = Side { peer_is_hub: !config.hub, isolated: config.isolate };
        let peer =
            Peer::new(TargetId::next(), self.account.clone(), out.clone(), side, max_live, self.counters.clone());
        if let Ok(limit @ 1..) = usize::try_from(info.max_payload) {
            peer.max_payload.store(limit, Ordering::Relaxed);
        }
        let _ = peer.remote.set((info.server_name.clone(), info.proto >= TRACES));
        peer.start(self.rules(&info), &self.loop_subject);
        // Takes the peer out of the account and the link down however the session ends.
        let guard = Established { link: self, peer: peer.clone() };
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!("leaf remote {:?}: connected to {} ({} {})", self.name, url, info.server_name, info.version);
        if !info.domain.is_empty() && self.identity.domain.as_ref() == Some(&info.domain) {
            tracing::warn!(
                "leaf remote {:?}: the hub's JetStream domain is {:?}, as ours, so that neither can ask the other; set another [jetstream] domain",
                self.name,
                info.domain
            );
        }
        let hub_name = info.server_name.clone();
        *self.current() = Current {
            peer: Some(peer.clone()),
            hub: info,
            url: url.to_string(),
            address: Some(address),
            rtt: None,
            compression: agreed.name(),
            agreed: Some(agreed.clone()),
        };
        // Another configuration may have come since it was asked for rules.
        self.rule();
        self.state.send_replace(LinkState::Up {
            since: SystemTime::now(),
            hub_name,
            hub_url: url.to_string(),
            session,
        });
        let mut control = HubControl { link: self, agreed, refused: false };
        let session = Session {
            peer,
            loop_subject: &self.loop_subject,
            ping_interval: config.ping_interval(),
            max_payload: self.max_payload().unwrap_or_default(),
            shutdown,
        };
        let reason = session.run(reader, buffer, &mut control).await;
        drop(guard);
        // What was pending has gone out as far as the socket took it; the writer ends by itself, at the latest after its
        // deadline, and must not hold up the next dial.
        let _ = tokio::time::timeout(WRITER_LIMIT, writer).await;
        reason
    }
}

fn backoff_of(config: &RemoteConfig) -> Backoff {
    Backoff::new(config.reconnect.min.0, config.reconnect.max.0, fastrand::u64(..))
}

/// Waits for a configuration that a connection to `url` by `old` cannot go on with.
async fn reconfigured(
    configured: &mut watch::Receiver<Arc<RemoteConfig>>,
    old: &RemoteConfig,
    url: &Url,
) -> Arc<RemoteConfig> {
    let stays = |new: &RemoteConfig| {
        old.connects_as(new)
            && (old.urls == new.urls || new.urls.iter().any(|text| Url::parse(text).is_ok_and(|new| new == *url)))
    };
    let new = configured.wait_for(|new| !stays(new)).await.map(|new| new.clone());
    match new {
        Ok(new) => new,
        // The link itself holds the other end.
        Err(_) => std::future::pending().await,
    }
}

/// An established connection; dropping it undoes what [`Link::session`] has set up.
struct Established<'a> {
    link: &'a Link,
    peer: Arc<Peer>,
}

impl Drop for Established<'_> {
    fn drop(&mut self) {
        self.link.current().peer = None;
        self.link.down("the connection ended", None);
        self.peer.end();
        self.peer.out.close(CloseReason::ClientClosed);
    }
}
