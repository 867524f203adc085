//! Commands to a broker: what follows the command prefix in the subject is the topic. `+OK` is the broker's receipt.

use crate::account::{Inbox, OwnedMessage};
use crate::adapters::AdapterContext;
use crate::adapters::command::Desk;
use crate::adapters::pipeline::subject;
use crate::adapters::status::Health;
use crate::config::adapter::MqttConfig;
use rumqttc::{AsyncClient, QoS};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Commands that may wait, and as many that may be on their way. Fewer than the client library sends without receipt,
/// so that its queue never stands still behind them.
const MAX_COMMANDS: usize = 64;

/// The commands of one broker.
pub(super) struct Commands {
    desk: Desk,
    client: AsyncClient,
    /// The prefix and its inbox; `None`: commands are not offered.
    inbox: tokio::sync::Mutex<Option<(String, Inbox)>>,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    connected: bool,
    /// Handed to the client library, in its order.
    queued: VecDeque<OwnedMessage>,
    /// Written to the broker, by packet id.
    sent: HashMap<u16, OwnedMessage>,
}

impl Commands {
    pub fn new(config: &MqttConfig, context: &AdapterContext, client: AsyncClient, health: Arc<Health>) -> Commands {
        let desk = Desk::new(context, health);
        let inbox = config.command.as_ref().map(|command| {
            let prefix = format!("{}.", subject::fill(command, &config.name, ""));
            let inbox = desk.client().subscribe(&format!("{prefix}>"), MAX_COMMANDS);
            (prefix, inbox)
        });
        Commands { desk, client, inbox: inbox.into(), under_way: Mutex::default() }
    }

    /// Passes commands on; never returns.
    pub async fn run(&self) {
        let mut inbox = self.inbox.lock().await;
        let Some((prefix, inbox)) = inbox.as_mut() else { return std::future::pending().await };
        let mut dropped = 0;
        while let Some(command) = inbox.next().await {
            self.desk.note_dropped(inbox, &mut dropped);
            if !self.desk.admits(&command) {
                continue;
            }
            if let Err(reason) = self.send(prefix, &command) {
                self.desk.answer(&command, Err(&reason));
            }
        }
    }

    fn send(&self, prefix: &str, command: &OwnedMessage) -> Result<(), String> {
        let rest = command.subject.strip_prefix(prefix).unwrap_or_default();
        let topic = subject::to_topic(rest).ok_or_else(|| format!("{rest:?} is not the subject of a topic"))?;
        let mut under_way = self.under_way();
        if !under_way.connected {
            return Err("the broker is not connected".to_owned());
        }
        if under_way.queued.len() + under_way.sent.len() >= MAX_COMMANDS {
            return Err(format!("{MAX_COMMANDS} commands wait for the broker's receipt already"));
        }
        self.client
            .try_publish(topic, QoS::AtLeastOnce, false, command.payload.to_vec())
            .map_err(|error| error.to_string())?;
        under_way.queued.push_back(command.clone());
        Ok(())
    }

    /// The connection is made.
    pub fn connected(&self) {
        self.under_way().connected = true;
    }

    /// The oldest command that was queued is on its way to the broker, as `pkid`.
    pub fn written(&self, pkid: u16) {
        let mut under_way = self.under_way();
        if let Some(command) = under_way.queued.pop_front() {
            under_way.sent.insert(pkid, command);
        }
    }

    /// The broker has got `pkid`.
    pub fn received(&self, pkid: u16) {
        let command = self.under_way().sent.remove(&pkid);
        if let Some(command) = command {
            self.desk.answer(&command, Ok(()));
        }
    }

    /// The connection is gone. A command is not tried again behind the back of who sent it: it may be too late for it.
    pub fn lost(&self) {
        let mut under_way = self.under_way();
        let UnderWay { queued, sent, .. } = std::mem::take(&mut *under_way);
        drop(under_way);
        for command in queued.iter() {
            self.desk.answer(command, Err("the broker was lost before it had the command"));
        }
        for command in sent.values() {
            let reason = "the broker was lost before it said that it has the command; it may have it";
            self.desk.answer(command, Err(reason));
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
