//! Consumers in process: an account, a store and in-process clients, without server and API.

mod durable;
mod policies;
mod pull;
mod push;
mod random;

use super::config::{AckPolicy, ConsumerConfig};
use super::{Action, Consumer, Consumers, Engine, Retention, StreamRules};
use crate::account::{Account, Inbox, LocalClient, Message, OwnedMessage};
use crate::jetstream::Domain;
use crate::store::{CommitObserver, Log, LogOptions, Record, Store, StoreError, StoreOptions};
use std::sync::{Arc, Weak};
use std::time::Duration;

const MS: i64 = 1_000_000;

struct Waker(Weak<Consumers>);

impl CommitObserver for Waker {
    fn committed(&self, upto: u64) {
        if let Some(consumers) = self.0.upgrade() {
            consumers.on_committed(upto);
        }
    }

    fn failed(&self, _: u64, _: &StoreError) {}
}

/// A stream `S` with its consumers.
struct Bench {
    client: LocalClient,
    engine: Arc<Engine>,
    consumers: Arc<Consumers>,
    log: Log,
    store: Store,
    dir: Arc<tempfile::TempDir>,
}

fn rules(retention: Retention) -> StreamRules {
    StreamRules { subjects: vec!["a.>".into()], retention, ..StreamRules::default() }
}

impl Bench {
    fn new() -> Self {
        Bench::with(rules(Retention::Limits))
    }

    fn with(rules: StreamRules) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let store = Store::open(dir.path(), StoreOptions::default()).expect("opens");
        let log = store.create_log("s", LogOptions::default()).expect("a log");
        Bench::on(dir, store, log, rules)
    }

    fn on(dir: Arc<tempfile::TempDir>, store: Store, log: Log, rules: StreamRules) -> Self {
        let account = Account::new("A");
        let engine = Engine::start(account.clone(), store.clone()).expect("threads");
        let consumers = Consumers::open(engine.clone(), ("S", "one"), Domain::default(), log.clone(), rules);
        log.observe(Arc::new(Waker(Arc::downgrade(&consumers))));
        Bench { client: LocalClient::new(account), engine, consumers, log, store, dir }
    }

    fn store_message(&self, subject: &str, payload: &str) -> u64 {
        self.log.append(&Record { subject, headers: &[], payload: payload.as_bytes() }).expect("stored")
    }

    async fn fill(&self, subjects: &[&str]) {
        for (at, subject) in subjects.iter().enumerate() {
            self.store_message(subject, &format!("m{}", at + 1));
        }
        self.store.barrier().await.expect("durable");
    }

    fn create(&self, config: ConsumerConfig) -> Arc<Consumer> {
        self.consumers.create(config, Action::default(), false).expect("valid").consumer
    }

    /// Sends a pull request; messages and statuses come to the inbox.
    fn pull(&self, consumer: &str, request: &str) -> Inbox {
        let reply = crate::account::new_inbox();
        let inbox = self.client.subscribe(&reply, 10_000);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{consumer}");
        let message = Message { subject: &subject, reply: &reply, headers: &[], payload: request.as_bytes() };
        assert_eq!(self.client.publish(&message), 1, "the request has its receiver");
        inbox
    }

    fn ack(&self, message: &OwnedMessage, verb: &str) {
        let message = Message { subject: &message.reply, reply: "", headers: &[], payload: verb.as_bytes() };
        assert_eq!(self.client.publish(&message), 1, "the ack has its receiver");
    }

    async fn double_ack(&self, message: &OwnedMessage) {
        self.client.request(&message.reply, &[], b"+ACK", Duration::from_secs(5)).await.expect("confirmed");
    }

    /// Ends everything and opens it again from the disk.
    fn restart(self) -> Self {
        let (dir, rules) = (self.dir.clone(), (*self.consumers.rules()).clone());
        drop(self);
        let store = Store::open(dir.path(), StoreOptions::default()).expect("opens again");
        let log = store.open_log("s", LogOptions::default()).expect("the log");
        Bench::on(dir, store, log, rules)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.consumers.shutdown(false);
        self.engine.stop();
        self.store.close();
    }
}

fn pulled(name: &str) -> ConsumerConfig {
    ConsumerConfig { durable: name.into(), ack_policy: AckPolicy::Explicit, ..ConsumerConfig::default() }
}

async fn next(inbox: &mut Inbox) -> OwnedMessage {
    tokio::time::timeout(Duration::from_secs(5), inbox.next()).await.expect("in time").expect("lives")
}

async fn nothing(inbox: &mut Inbox, time: Duration) {
    if let Ok(Some(message)) = tokio::time::timeout(time, inbox.next()).await {
        panic!("unexpected {message:?}");
    }
}

fn text(message: &OwnedMessage) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

/// The status line of a message without a body.
fn status(message: &OwnedMessage) -> String {
    assert!(message.payload.is_empty(), "{message:?}");
    let headers = String::from_utf8_lossy(&message.headers).into_owned();
    headers.trim_start_matches("NATS/1.0 ").trim_end().replace("\r\n", " | ")
}

/// Deliveries, stream sequence, consumer sequence and pending of a delivery.
fn counts(message: &OwnedMessage) -> [u64; 4] {
    let tokens: Vec<&str> = message.reply.split('.').collect();
    [4, 5, 6, 8].map(|at| tokens[at].parse().expect("a number"))
}
