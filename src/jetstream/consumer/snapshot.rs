//! Consumers in backups of their stream, with the JSON names of nats-server (`server/stream_backup.go`,
//! `SnapshotConsumerState`; `server/store.go`, `ConsumerState`).

use super::config::{ConsumerConfig, Timestamp};
use super::consumers::Consumers;
use super::context::locked;
use super::live::Consumer;
use super::state::{Delivery, Pair, Pending, Rules, Ticks};
use super::validate::{self, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A consumer and how far it has come.
#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    /// Its configuration.
    pub config: ConsumerConfig,
    state: State,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    delivered: Sequences,
    ack_floor: Sequences,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pending: BTreeMap<u64, Unacknowledged>,
    /// How often beyond the first time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    redelivered: BTreeMap<u64, u64>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct Sequences {
    consumer_seq: u64,
    stream_seq: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Unacknowledged {
    /// Of its first delivery.
    sequence: u64,
    /// When it was delivered, nanoseconds since 1970.
    timestamp: i64,
}

impl Sequences {
    fn of(pair: Pair, last: u64) -> Self {
        Sequences { consumer_seq: pair.consumer, stream_seq: pair.stream.min(last) }
    }

    fn pair(self) -> Pair {
        Pair { consumer: self.consumer_seq, stream: self.stream_seq }
    }
}

/// How long the message is waited for after a delivery.
fn wait(rules: &Rules, redeliveries: u64) -> Ticks {
    let last = rules.waits.len().saturating_sub(1);
    let at = usize::try_from(redeliveries).unwrap_or(last).min(last);
    rules.waits.get(at).copied().unwrap_or(0)
}

impl Consumers {
    /// All consumers, as far as they have come with messages up to `last`.
    pub fn states(&self, last: u64) -> Vec<Snapshot> {
        self.list().iter().map(|consumer| consumer.snapshot(last)).collect()
    }

    /// Makes a consumer as it was in a backup.
    ///
    /// # Errors
    /// Its configuration does not fit to the stream.
    pub fn restore(&self, name: &str, snapshot: Snapshot) -> Result<(), Refusal> {
        let Snapshot { mut config, state } = snapshot;
        let rules = self.rules();
        config.name = name.to_owned();
        validate::set_defaults(&mut config, &rules, false)?;
        validate::check(&config, &rules)?;
        let (wall, now) = (Timestamp::now().0, self.now());
        let rules = Rules::of(&config);
        let pending = state.pending.into_iter().map(|(seq, unacknowledged)| {
            let passed = Ticks::try_from(wall.saturating_sub(unacknowledged.timestamp)).unwrap_or(0);
            let wait = wait(&rules, state.redelivered.get(&seq).copied().unwrap_or(0));
            let deadline = if wait == 0 { Ticks::MAX } else { now.saturating_add(wait.saturating_sub(passed)) };
            (seq, Pending { delivery: unacknowledged.sequence, deadline, queued: None, unseen: false })
        });
        let pending = pending.collect();
        let (delivered, floor) = (state.delivered.pair(), state.ack_floor.pair());
        let next = delivered.stream.saturating_add(1);
        let delivery = Delivery::restored(rules, next, 0, delivered, floor, pending, state.redelivered);
        self.start(name, config, delivery);
        Ok(())
    }
}

impl Consumer {
    fn snapshot(&self, last: u64) -> Snapshot {
        let (wall, now) = (Timestamp::now().0, self.context.scheduler.now());
        locked(&self.live, |live| {
            let delivery = &live.delivery;
            let redelivered: BTreeMap<u64, u64> = delivery.redelivered.range(..=last).map(|(s, n)| (*s, *n)).collect();
            let pending = delivery.pending.range(..=last).map(|(seq, pending)| {
                let wait = wait(&delivery.rules, redelivered.get(seq).copied().unwrap_or(0));
                let passed = now.saturating_add(wait).saturating_sub(pending.deadline).min(wait);
                let timestamp = wall.saturating_sub(i64::try_from(passed).unwrap_or(0));
                (*seq, Unacknowledged { sequence: pending.delivery, timestamp })
            });
            let pending = pending.collect();
            let (delivered, ack_floor) = (delivery.delivered(), delivery.floor());
            Snapshot {
                config: (*live.config).clone(),
                state: State {
                    delivered: Sequences::of(delivered, last),
                    ack_floor: Sequences::of(ack_floor, last),
                    pending,
                    redelivered,
                },
            }
        })
    }
}
