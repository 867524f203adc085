//! The connection to the broker: made again whenever it is lost, with the same session.

use super::{Arrived, MAX_WAITING_BYTES, Session};
use rumqttc::{
    ConnAck, Event, EventLoop, Incoming, Outgoing, Publish, QoS, SubAck, SubscribeFilter, SubscribeReasonCode,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the broker may take to close the connection after our goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// The connection of one adapter.
pub(super) struct Link<'a> {
    session: &'a Session,
    events: EventLoop,
    arrived: mpsc::Sender<Arrived>,
    /// Bytes that messages on their way to the store may still take.
    room: Arc<Semaphore>,
    ends: watch::Receiver<bool>,
    /// The session at the broker has our subscriptions.
    subscribed: bool,
    /// Filters that the session at the broker may still have.
    stale: Vec<String>,
}

/// Why a connection ended.
enum Lost {
    /// We said so.
    Ended,
    /// More came than there is memory for while the store takes nothing; the broker keeps it until we come back.
    NoRoom,
    Failed(String),
}

impl<'a> Link<'a> {
    pub fn new(
        session: &'a Session,
        events: EventLoop,
        arrived: mpsc::Sender<Arrived>,
        ends: watch::Receiver<bool>,
        stale: Vec<String>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(MAX_WAITING_BYTES));
        Link { session, events, arrived, room, ends, subscribed: false, stale }
    }

    /// Returns after the broker has been told goodbye, or when told to end while there is no connection.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.session.connection();
            let lost = self.connection().await;
            if self.session.connection() != before {
                pause = FIRST_PAUSE;
            }
            self.forget_connection();
            let (url, health) = (&self.session.config.url, &self.session.health);
            match lost {
                Lost::Ended => return,
                Lost::NoRoom => {
                    health.source(Some("the broker waits until the store takes readings again"));
                    tokio::select! {
                        _ = self.room.acquire_many(MAX_WAITING_BYTES as u32) => {}
                        _ = self.ends.wait_for(|end| *end) => return,
                    }
                }
                Lost::Failed(reason) => {
                    health.source(Some(&format!("{url} is not usable ({reason}); trying again")));
                    health.add(&health.reconnects, 1);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        _ = self.ends.wait_for(|end| *end) => return,
                    }
                }
            }
        }
    }

    /// Acknowledgements and commands of a connection that is gone must not reach the next one's session, nor may what was
    /// read and not yet handed on be taken for messages of the next connection.
    fn forget_connection(&mut self) {
        self.session.connection.fetch_add(1, Ordering::AcqRel);
        self.events.clean();
        self.events.pending.clear();
        self.events.state.events.clear();
        self.session.commands.lost();
    }

    /// Connects and passes on what comes; returns when the connection is lost.
    async fn connection(&mut self) -> Lost {
        loop {
            let event = if self.events.network.is_some() {
                self.events.poll().await
            } else {
                tokio::select! {
                    event = self.events.poll() => event,
                    _ = self.ends.wait_for(|end| *end) => return Lost::Ended,
                }
            };
            match event {
                Ok(Event::Incoming(Incoming::ConnAck(ack))) => self.connected(&ack),
                Ok(Event::Incoming(Incoming::SubAck(ack))) => self.subscribed(&ack),
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    if let Err(lost) = self.take(publish) {
                        return lost;
                    }
                }
                Ok(Event::Incoming(Incoming::PubAck(ack))) => self.session.commands.received(ack.pkid),
                Ok(Event::Outgoing(Outgoing::Publish(pkid))) => self.session.commands.written(pkid),
                Ok(Event::Outgoing(Outgoing::Disconnect)) => {
                    // Closing while messages still come would reset the connection, and take the goodbye back.
                    let _ = timeout(GOODBYE, async { while self.events.poll().await.is_ok() {} }).await;
                    return Lost::Ended;
                }
                Ok(_) => {}
                Err(error) => return Lost::Failed(error.to_string()),
            }
        }
    }

    fn connected(&mut self, ack: &ConnAck) {
        let Session { config, client, health, commands, .. } = self.session;
        self.session.connection.fetch_add(1, Ordering::AcqRel);
        health.source(None);
        commands.connected();
        for filter in self.stale.drain(..) {
            // Should it not get through, its messages are dropped and counted.
            let _ = client.try_unsubscribe(filter);
        }
        // What the session has is not asked for again, or retained messages would come with every connection.
        if ack.session_present && self.subscribed {
            return;
        }
        self.subscribed = false;
        let filters = config.topics.iter().map(|topic| {
            let qos = if topic.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            SubscribeFilter::new(topic.filter.clone(), qos)
        });
        if let Err(error) = client.try_subscribe_many(filters) {
            health.source(Some(&format!("the topics cannot be subscribed to: {error}")));
        }
    }

    fn subscribed(&mut self, ack: &SubAck) {
        let refused = |code: &SubscribeReasonCode| *code == SubscribeReasonCode::Failure;
        let filters = self.session.config.topics.iter().map(|topic| &*topic.filter);
        let refused: Vec<&str> =
            filters.zip(&ack.return_codes).filter(|(_, code)| refused(code)).map(|(f, _)| f).collect();
        if refused.is_empty() {
            self.subscribed = true;
        } else {
            let text = format!("the broker refuses the topics {}: see its access rules", refused.join(", "));
            self.session.health.source(Some(&text));
        }
    }

    /// Hands a message to the store's side. At QoS 0 what does not fit is dropped and counted; at QoS 1 the broker keeps it.
    fn take(&mut self, publish: Publish) -> Result<(), Lost> {
        let health = &self.session.health;
        health.receive(publish.payload.len());
        let connection = self.session.connection();
        // A packet is at most MAX_PACKET, which fits into a u32.
        let bytes = (publish.topic.len() + publish.payload.len()) as u32;
        let at_most_once = publish.qos == QoS::AtMostOnce;
        let room = self.room.clone().try_acquire_many_owned(bytes).ok();
        let taken = room.is_some_and(|_room| {
            !matches!(
                self.arrived.try_send(Arrived { publish, connection, _room }),
                Err(mpsc::error::TrySendError::Full(_))
            )
        });
        match taken {
            true => Ok(()),
            false if at_most_once => {
                health.add(&health.dropped, 1);
                Ok(())
            }
            false => Err(Lost::NoRoom),
        }
    }
}
