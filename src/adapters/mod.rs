//! Adapters: sensors in, commands out.
//!
//! An adapter is a task with a bound on memory. It turns what a device says into readings (`pipeline`), hands them to an
//! [`intake::Intake`], which has them on disk before it says so, and only then tells the device, if the device cares. A
//! device that is missing is tried again; it never stops the daemon. A new kind is a folder beside its neighbours and one
//! arm in [`Kind`].

mod capture;
mod command;
pub mod intake;
mod mqtt;
pub mod pipeline;
mod serial;
mod status;

#[cfg(test)]
mod tests;

pub use status::AdapterStatus;
use status::Health;

use crate::account::Account;
use crate::config::adapter::{AdaptersConfig, MqttConfig, SerialConfig};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What every adapter gets.
#[derive(Clone)]
pub struct AdapterContext {
    /// The account it publishes into.
    pub account: Arc<Account>,
    /// The gateway's name.
    pub gateway: String,
    /// Subjects that uplinks capture; results of commands may go there.
    pub uplinks: Arc<[String]>,
}

/// One configured adapter.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Serial(SerialConfig),
    Mqtt(MqttConfig),
}

struct Running {
    kind: Kind,
    health: Arc<Health>,
    end: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// All adapters at work.
pub struct Adapters {
    context: AdapterContext,
    running: Vec<Running>,
}

impl Adapters {
    /// Starts what is configured. Nothing can fail here: a device that is not there is waited for.
    pub fn start(config: &AdaptersConfig, context: AdapterContext) -> Adapters {
        let running = kinds(config).map(|kind| start(kind, &context, Vec::new())).collect();
        Adapters { context, running }
    }

    /// Ends what is no longer configured and starts what is new; what did not change goes on untouched. Returns how many
    /// were ended and started.
    pub async fn reload(&mut self, config: &AdaptersConfig) -> (usize, usize) {
        let wanted: Vec<Kind> = kinds(config).collect();
        let (kept, gone): (Vec<_>, Vec<_>) = self.running.drain(..).partition(|r| wanted.contains(&r.kind));
        let ended = gone.len();
        let gone_kinds: Vec<Kind> = gone.iter().map(|r| r.kind.clone()).collect();
        end(gone).await;
        self.running = kept;
        let new: Vec<Kind> = wanted.into_iter().filter(|k| !self.running.iter().any(|r| r.kind == *k)).collect();
        let started = new.len();
        let started_now = new.into_iter().map(|kind| {
            let stale = stale_filters(&kind, &gone_kinds);
            start(kind, &self.context, stale)
        });
        self.running.extend(started_now);
        (ended, started)
    }

    /// Snapshots of all.
    pub fn status(&self) -> Vec<AdapterStatus> {
        self.running.iter().map(|r| r.health.snapshot()).collect()
    }

    /// Ends all, after what they have taken in is on disk or its sender will send it again.
    pub async fn end(self) {
        end(self.running).await;
    }
}

fn kinds(config: &AdaptersConfig) -> impl Iterator<Item = Kind> {
    let serial = config.serial.iter().cloned().map(Kind::Serial);
    serial.chain(config.mqtt.iter().cloned().map(Kind::Mqtt))
}

/// Topic filters that the broker's session still has though `new` does not ask for them any more.
fn stale_filters(new: &Kind, gone: &[Kind]) -> Vec<String> {
    let Kind::Mqtt(new) = new else { return Vec::new() };
    let before = gone.iter().filter_map(|kind| match kind {
        Kind::Mqtt(old) => {
            Some(old).filter(|old| (&old.name, &old.client_id, &old.url) == (&new.name, &new.client_id, &new.url))
        }
        Kind::Serial(_) => None,
    });
    let filters = before.flat_map(|old| &old.topics).map(|topic| topic.filter.clone());
    filters.filter(|filter| new.topics.iter().all(|topic| topic.filter != *filter)).collect()
}

/// `stale`: topic filters that a broker's session is to forget.
fn start(kind: Kind, context: &AdapterContext, stale: Vec<String>) -> Running {
    let (end, ends) = watch::channel(false);
    let context = context.clone();
    let (health, task) = match kind.clone() {
        Kind::Serial(config) => {
            let health = Health::new("serial", &config.name);
            (health.clone(), tokio::spawn(serial::run(config, context, health, ends)))
        }
        Kind::Mqtt(config) => {
            let health = Health::new("mqtt", &config.name);
            (health.clone(), tokio::spawn(mqtt::run(config, context, health, ends, stale)))
        }
    };
    Running { kind, health, end, task }
}

async fn end(adapters: Vec<Running>) {
    for adapter in &adapters {
        let _ = adapter.end.send(true);
    }
    for adapter in adapters {
        let _ = adapter.task.await;
    }
}
