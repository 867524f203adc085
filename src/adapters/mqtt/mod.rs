//! MQTT brokers: each message of the topics becomes a reading; at QoS 1 the broker hears of its receipt only once it is on
//! disk.
//!
//! The broker keeps the session (`clean_session` off), so what it has not been told about comes again after an outage or
//! a crash of ours. Such a repetition is recognised by an id made of the session, the packet id and a hash of topic and
//! payload, which the stream's deduplication window knows. Packet ids come round again, so two different messages may
//! have the same id; the broker then does not say that it is a repetition (DUP), and the second one is stored under
//! another id.

use super::AdapterContext;
use super::intake::{Intake, MAX_BATCH, Outcome, Reading};
use super::pipeline::subject;
use super::status::Health;
use crate::account::LocalClient;
use crate::config::adapter::MqttConfig;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Publish, QoS};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Requests to the broker that may wait.
const MAX_REQUESTS: usize = 1024;
/// Messages taken from the broker that may wait for the store.
const MAX_WAITING: usize = 1024;
/// Commands that may wait.
const MAX_COMMANDS: usize = 64;
/// Largest packet, bytes.
const MAX_PACKET: usize = 1 << 20;

/// A message and the connection that it came over.
type Arrived = (Publish, u64);

/// Runs until told to end.
pub(super) async fn run(config: MqttConfig, context: AdapterContext, health: Arc<Health>, ends: watch::Receiver<bool>) {
    let client_id = config.client_id.clone().unwrap_or_else(|| format!("leafd-{}-{}", context.gateway, config.name));
    let Some(options) = options(&config, &client_id) else {
        return health.set(&format!("the url {:?} is not mqtt://host:port", config.url));
    };
    let (client, events) = AsyncClient::new(options, MAX_REQUESTS);
    let connection = Arc::new(AtomicU64::new(0));
    let (arrived, arrivals) = mpsc::channel(MAX_WAITING);
    let commands = command(&config, &context, client.clone(), &health);
    let intake = Intake::new(context.account.clone(), health.clone(), ends.clone());
    let storing = Storing { config: &config, client_id, client: &client, connection: &connection, health: &health };
    let mut ending = ends.clone();
    tokio::select! {
        () = poll(&config, events, &client, &connection, arrived, &health, ends) => {}
        () = storing.run(arrivals, intake) => {}
        () = commands => {}
        _ = ending.wait_for(|end| *end) => {}
    }
    let _ = client.try_disconnect();
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

/// Keeps the connection; passes messages on.
async fn poll(
    config: &MqttConfig,
    mut events: EventLoop,
    client: &AsyncClient,
    connection: &AtomicU64,
    arrived: mpsc::Sender<Arrived>,
    health: &Health,
    mut ends: watch::Receiver<bool>,
) {
    let mut pause = FIRST_PAUSE;
    let mut subscribed = false;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(ack))) => {
                pause = FIRST_PAUSE;
                connection.fetch_add(1, Ordering::AcqRel);
                health.set("ok");
                // What the session has is not asked for again, or retained messages would come with every connection.
                if !ack.session_present || !subscribed {
                    for topic in &config.topics {
                        let qos = if topic.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                        subscribed = client.try_subscribe(&topic.filter, qos).is_ok();
                    }
                }
            }
            Ok(Event::Incoming(Incoming::Publish(publish))) => {
                let now = connection.load(Ordering::Acquire);
                if arrived.send((publish, now)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                // Acknowledgements of what came over this connection must not reach the next one's session, nor may what
                // was read and not yet handed on be taken for messages of the next connection.
                connection.fetch_add(1, Ordering::AcqRel);
                events.state.events.clear();
                health.set(&format!("{} is not usable ({error}); trying again", config.url));
                health.add(&health.reconnects, 1);
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                    _ = ends.wait_for(|end| *end) => return,
                }
            }
        }
    }
}

/// The side between broker and store.
struct Storing<'a> {
    config: &'a MqttConfig,
    client_id: String,
    client: &'a AsyncClient,
    connection: &'a AtomicU64,
    health: &'a Health,
}

impl Storing<'_> {
    async fn run(&self, mut arrivals: mpsc::Receiver<Arrived>, mut intake: Intake) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while arrivals.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let (mut known, mut readings) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for arrived in batch.drain(..) {
                match self.reading(&arrived.0) {
                    Some(reading) => {
                        readings.push(reading);
                        known.push(arrived);
                    }
                    None => {
                        // It can never be stored; without an acknowledgement it would come for ever.
                        self.health.add(&self.health.dropped, 1);
                        self.acknowledge(&arrived);
                    }
                }
            }
            let Ok(outcomes) = intake.store(&readings).await else { return };
            let mut again = Vec::new();
            for ((publish, _), (mut reading, outcome)) in known.iter().zip(readings.into_iter().zip(outcomes)) {
                if outcome == Outcome::Duplicate && !publish.dup {
                    reading.id = reading.id.map(|id| format!("{id}:{:08x}", fastrand::u32(..)));
                    again.push(reading);
                }
            }
            if !again.is_empty() && intake.store(&again).await.is_err() {
                return;
            }
            known.iter().for_each(|arrived| self.acknowledge(arrived));
        }
    }

    fn reading(&self, publish: &Publish) -> Option<Reading> {
        let topic = subject::of_topic(&publish.topic)?;
        let subject = subject::fill(&self.config.subject, &self.config.name, &topic);
        let id = (publish.qos != QoS::AtMostOnce).then(|| self.id(publish));
        crate::subject::is_valid_literal(&subject).then(|| Reading { subject, payload: publish.payload.clone(), id })
    }

    fn id(&self, publish: &Publish) -> String {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        hash.update(publish.topic.as_bytes());
        hash.update(&[0]);
        hash.update(&publish.payload);
        let mut id = format!("mqtt:{}:{}:", self.client_id, publish.pkid);
        for byte in &hash.finish().as_ref()[..8] {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Tells the broker, unless the connection that the message came over is gone: there it will come again.
    fn acknowledge(&self, (publish, connection): &Arrived) {
        if publish.qos != QoS::AtMostOnce && *connection == self.connection.load(Ordering::Acquire) {
            let _ = self.client.try_ack(publish);
        }
    }
}

/// Publishes commands to the broker; what follows the command prefix in the subject is the topic.
fn command(
    config: &MqttConfig,
    context: &AdapterContext,
    client: AsyncClient,
    health: &Arc<Health>,
) -> impl Future<Output = ()> + use<> {
    let local = LocalClient::new(context.account.clone());
    let prefix = config.command.as_ref().map(|command| format!("{}.", subject::fill(command, &config.name, "")));
    let mut inbox = prefix.as_ref().map(|prefix| local.subscribe(&format!("{prefix}>"), MAX_COMMANDS));
    let health = health.clone();
    async move {
        let (Some(prefix), Some(inbox)) = (prefix, inbox.as_mut()) else { return std::future::pending().await };
        while let Some(message) = inbox.next().await {
            let topic = subject::to_topic(message.subject.strip_prefix(&*prefix).unwrap_or(&message.subject));
            let sent = client.try_publish(topic, QoS::AtLeastOnce, false, message.payload.to_vec());
            let answer = match sent {
                Ok(()) => {
                    health.add(&health.commands, 1);
                    "+OK".to_owned()
                }
                Err(error) => format!("-ERR {error}"),
            };
            if !message.reply.is_empty() {
                let payload = answer.as_bytes();
                local.publish(&crate::account::Message { subject: &message.reply, reply: "", headers: b"", payload });
            }
        }
    }
}
