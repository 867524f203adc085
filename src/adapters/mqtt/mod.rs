//! MQTT brokers: each message of the topics becomes a reading; at QoS 1 the broker hears of its receipt only once it is on
//! disk.
//!
//! The broker keeps the session (`clean_session` off), so what it has not been told about comes again after an outage or
//! a crash of ours, and is recognised ([`identity`]). [`link`] keeps the connection, [`storing`] stands between it and the
//! store, [`command`] goes the other way. They share [`Session`] and run in one task.

mod command;
mod identity;
mod link;
mod storing;

use super::AdapterContext;
use super::intake::Intake;
use super::status::Health;
use crate::config::adapter::MqttConfig;
use command::Commands;
use link::Link;
use rumqttc::{AsyncClient, MqttOptions, Publish};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use storing::Storing;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Requests to the broker that may wait. More than there are packet ids, so that an acknowledgement always finds room.
const MAX_REQUESTS: usize = 1 << 17;
/// Messages taken from the broker that may wait for the store, and their bytes.
const MAX_WAITING: usize = 1024;
const MAX_WAITING_BYTES: usize = 16 << 20;
/// Largest packet, bytes.
const MAX_PACKET: usize = 8 << 20;
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(15);

/// A message, the connection that it came over, and its place in memory.
struct Arrived {
    publish: Publish,
    connection: u64,
    _room: OwnedSemaphorePermit,
}

/// What the parts of one adapter share.
struct Session {
    config: MqttConfig,
    client_id: String,
    client: AsyncClient,
    /// Counts connections made and lost: an acknowledgement must not reach another one than the message came over.
    connection: AtomicU64,
    commands: Commands,
    health: Arc<Health>,
}

impl Session {
    fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }
}

/// Runs until told to end, and until what is being stored then is on disk and acknowledged. The broker's session forgets
/// the `stale` topic filters.
pub(super) async fn run(
    config: MqttConfig,
    context: AdapterContext,
    health: Arc<Health>,
    ends: watch::Receiver<bool>,
    stale: Vec<String>,
) {
    let client_id = config.client_id.clone().unwrap_or_else(|| format!("leafd-{}-{}", context.gateway, config.name));
    let Some(options) = options(&config, &client_id) else {
        return health.source(Some(&format!("the url {:?} is not mqtt://host:port", config.url)));
    };
    let (client, events) = AsyncClient::new(options, MAX_REQUESTS);
    let (arrived, arrivals) = mpsc::channel(MAX_WAITING);
    let commands = Commands::new(&config, &context, client.clone(), health.clone());
    let intake = Intake::new(context.account.clone(), health.clone(), ends.clone());
    let session = Session { config, client_id, client, connection: AtomicU64::new(0), commands, health };
    let link = Link::new(&session, events, arrived, ends.clone(), stale);
    let storing = async {
        Storing::new(&session, intake).run(arrivals, ends.clone()).await;
        let _ = session.client.try_disconnect();
        std::future::pending().await
    };
    let mut end = ends.clone();
    let too_late = async {
        let _ = end.wait_for(|end| *end).await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        () = link.run() => {}
        () = storing => {}
        () = session.commands.run() => {}
        () = too_late => {}
    }
}

fn options(config: &MqttConfig, client_id: &str) -> Option<MqttOptions> {
    let address = config.url.strip_prefix("mqtt://")?.trim_end_matches('/');
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (address, 1883),
    };
    let mut options = MqttOptions::new(client_id, host, port);
    options.set_clean_session(false).set_manual_acks(true).set_keep_alive(KEEP_ALIVE);
    options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some(user) = &config.user {
        let password = config.password.as_ref().and_then(|p| p.read().ok()).unwrap_or_default();
        options.set_credentials(user, password);
    }
    Some(options)
}
