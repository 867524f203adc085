//! The stream under test: JetStream in process, reached by its API.

use super::model::{MAX_DELIVER, Model, Policy, Rival, Says, Verb};
use crate::account::{Account, Inbox, LocalClient, Message, OwnedMessage, new_inbox};
use crate::jetstream::consumer::Retention;
use crate::jetstream::{Domain, JetStream, Options, ServerLimits};
use crate::protocol::headers;
use crate::store::{Store, StoreError, StoreOptions};
use fastrand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

pub struct Bench {
    client: LocalClient,
    jetstream: Arc<JetStream>,
    store: Store,
    dir: tempfile::TempDir,
    /// The reply subject of the last delivery of each message, by consumer.
    replies: BTreeMap<(String, u64), String>,
    /// The id that was told with the last message of each consumer that told one.
    pins: BTreeMap<String, String>,
}

/// Opens the store, as soon as the last task of an earlier one lets go of it.
fn open(dir: &Path) -> Store {
    let began = Instant::now();
    loop {
        match Store::open(dir, StoreOptions::default()) {
            Err(StoreError::Locked { .. }) if began.elapsed() < LIMIT => std::thread::yield_now(),
            opened => return opened.expect("opens"),
        }
    }
}

impl Bench {
    pub async fn new(retention: Retention, max_msgs: usize) -> Self {
        let bench = Bench::on(tempfile::tempdir().expect("a directory"));
        let retention = match retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::WorkQueue => "workqueue",
        };
        let config = json!({ "name": "M", "subjects": ["m.*"], "retention": retention, "max_msgs": max_msgs, "allow_msg_ttl": true });
        bench.api("STREAM.CREATE.M", config).await;
        bench
    }

    fn on(dir: tempfile::TempDir) -> Self {
        let store = open(dir.path());
        let account = Account::new("$G");
        let options = Options {
            domain: Domain::default(),
            server_name: "m".into(),
            max_file: 1 << 30,
            max_memory: 1 << 20,
            sync_interval: Duration::from_secs(10),
            limits: ServerLimits::default(),
        };
        let jetstream = JetStream::start(account.clone(), store.clone(), options).expect("starts");
        let (replies, pins) = Default::default();
        Bench { client: LocalClient::new(account), jetstream, store, dir, replies, pins }
    }

    /// Ends it and opens it again from disk.
    pub async fn restart(self) -> Self {
        let Bench { client, jetstream, store, dir, replies, pins } = self;
        let end = move || {
            jetstream.shutdown();
            drop(jetstream);
            store.close();
        };
        tokio::task::spawn_blocking(end).await.expect("ends");
        drop(client);
        Bench { replies, pins, ..Bench::on(dir) }
    }

    async fn api(&self, verb: &str, request: Value) -> Value {
        let payload = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
        let answer = self.client.request(&format!("$JS.API.{verb}"), b"", &payload, LIMIT).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(answer["error"].is_null(), "{verb} {request}: {answer}");
        answer
    }

    pub async fn publish(&self, subject: &str) -> u64 {
        self.publish_with(subject, b"").await
    }

    /// Publishes a message that lives for a second.
    pub async fn publish_brief(&self, subject: &str) -> u64 {
        self.publish_with(subject, b"NATS/1.0\r\nNats-TTL: 1s\r\n\r\n").await
    }

    async fn publish_with(&self, subject: &str, headers: &[u8]) -> u64 {
        let answer = self.client.request(subject, headers, b"x", LIMIT).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        answer["seq"].as_u64().unwrap_or_else(|| panic!("{subject}: {answer}"))
    }

    pub async fn add(&mut self, name: &str, filter: &[String], policy: Policy) {
        self.replies.retain(|(of, _), _| of != name);
        self.pins.remove(name);
        // No client is silent for so long.
        let pinned = if policy == Policy::Pinned { 3_600_000_000_000_i64 } else { 0 };
        let policy = match policy {
            Policy::Overflow => "overflow",
            Policy::Pinned => "pinned_client",
            Policy::Prioritized => "prioritized",
        };
        let config = json!({
            "durable_name": name, "ack_policy": "explicit", "max_deliver": MAX_DELIVER, "filter_subjects": filter,
            "ack_wait": 3_600_000_000_000_i64, "priority_groups": ["g"], "priority_policy": policy, "priority_timeout": pinned,
        });
        self.api(&format!("CONSUMER.CREATE.M.{name}"), json!({ "stream_name": "M", "config": config })).await;
    }

    pub async fn drop_consumer(&mut self, name: &str) {
        self.replies.retain(|(of, _), _| of != name);
        self.api(&format!("CONSUMER.DELETE.M.{name}"), Value::Null).await;
    }

    pub async fn unpin(&self, name: &str) {
        self.api(&format!("CONSUMER.UNPIN.M.{name}"), json!({ "group": "g" })).await;
    }

    /// Asks for messages of the priority group.
    fn ask(&self, name: &str, mut body: Value) -> Inbox {
        body["group"] = json!("g");
        let (reply, payload) = (new_inbox(), body.to_string());
        let inbox = self.client.subscribe(&reply, 1000);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.M.{name}");
        let request = Message { subject: &subject, reply: &reply, headers: &[], payload: payload.as_bytes() };
        assert_eq!(self.client.publish(&request), 1, "the request has its receiver");
        inbox
    }

    /// The sequence of a message, and how often it was delivered.
    fn note(&mut self, name: &str, message: &OwnedMessage) -> (u64, u64) {
        let tokens: Vec<&str> = message.reply.split('.').collect();
        let [deliveries, seq] = [4, 5].map(|at| tokens[at].parse().expect("a number"));
        self.replies.insert((name.to_owned(), seq), message.reply.to_string());
        if let Some(id) = headers::get(&message.headers, "Nats-Pin-Id") {
            self.pins.insert(name.to_owned(), id.to_owned());
        }
        (seq, deliveries)
    }

    /// Has two requests wait, stores what they want together, and gives what each got.
    pub async fn compete(&mut self, name: &str, subject: &str, rivals: [Rival; 2]) -> [Vec<(u64, u64)>; 2] {
        let ask = |(level, batch): Rival| json!({ "batch": batch, "priority": level, "expires": 60_000_000_000_i64 });
        let inboxes = rivals.map(|rival| self.ask(name, ask(rival)));
        for _ in 0..rivals[0].1 + rivals[1].1 {
            self.publish(subject).await;
        }
        let mut given = [Vec::new(), Vec::new()];
        for (at, mut inbox) in inboxes.into_iter().enumerate() {
            while given[at].len() < rivals[at].1 {
                let message = tokio::time::timeout(LIMIT, inbox.next()).await.expect("in time").expect("lives");
                given[at].push(self.note(name, &message));
            }
        }
        given
    }

    /// Asks for `count` messages without waiting: sequence and how often each was delivered.
    pub async fn pull(&mut self, name: &str, count: usize, says: Says) -> Vec<(u64, u64)> {
        let mut body = json!({ "batch": count, "no_wait": true });
        match says {
            Says::Nothing => {}
            Says::Backlog(backlog) => body["min_ack_pending"] = json!(backlog),
            Says::Pinned => body["id"] = json!(self.pins.get(name).map_or("none", String::as_str)),
            Says::Foreign => body["id"] = json!("foreign"),
        }
        let mut inbox = self.ask(name, body);
        let mut given = Vec::new();
        while given.len() < count {
            let message = tokio::time::timeout(LIMIT, inbox.next()).await.expect("in time").expect("lives");
            if message.reply.is_empty() {
                let refused = [Says::Pinned, Says::Foreign].contains(&says);
                let ended = message.headers.starts_with(b"NATS/1.0 404");
                assert!(ended || refused && message.headers.starts_with(b"NATS/1.0 423"), "{message:?}");
                break;
            }
            given.push(self.note(name, &message));
        }
        given
    }

    /// A message that was delivered, acknowledged since or not.
    pub fn any_delivery(&self, random: &mut Rng) -> Option<(String, u64)> {
        random.choice(self.replies.keys().cloned().collect::<Vec<_>>())
    }

    /// Says `verb` of a delivery. What is answered is awaited, so that it has been taken in.
    pub async fn answer(&self, name: &str, seq: u64, verb: Verb) {
        let payload: &[u8] = match verb {
            Verb::Ack => b"+ACK",
            Verb::Nak => b"-NAK",
            Verb::Later => b"-NAK {\"delay\": 3600000000000}",
            Verb::Term => b"+TERM",
            Verb::Progress => b"+WPI",
        };
        let reply = &self.replies[&(name.to_owned(), seq)];
        self.client.request(reply, b"", payload, LIMIT).await.expect("confirmed");
    }

    pub async fn purge(&self, subject: Option<&str>) {
        self.api("STREAM.PURGE.M", subject.map_or(Value::Null, |subject| json!({ "filter": subject }))).await;
    }

    pub async fn remove(&self, seq: u64) {
        self.api("STREAM.MSG.DELETE.M", json!({ "seq": seq })).await;
    }

    /// Waits until the stream is as the model says; what was acknowledged leaves it a moment later.
    pub async fn compare(&self, model: &Model) {
        let began = Instant::now();
        loop {
            let differences = self.differences(model).await;
            if differences.is_empty() {
                return;
            }
            assert!(began.elapsed() < LIMIT, "{differences:#?}\n{model:#?}");
            tokio::task::yield_now().await;
        }
    }

    async fn differences(&self, model: &Model) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: String, have: &Value, expected: Value| {
            if *have != expected {
                found.push(format!("{what}: {have} instead of {expected}"));
            }
        };
        let info = self.api("STREAM.INFO.M", json!({ "deleted_details": true })).await;
        let state = &info["state"];
        compare("messages".into(), &state["messages"], json!(model.messages.len()));
        compare("last".into(), &state["last_seq"], json!(model.last));
        if let Some(first) = model.messages.keys().next() {
            let gone: Vec<u64> = (*first..model.last).filter(|seq| !model.messages.contains_key(seq)).collect();
            compare("first".into(), &state["first_seq"], json!(first));
            let have = if state["deleted"].is_null() { json!([]) } else { state["deleted"].clone() };
            let gone: Vec<u64> =
                gone.into_iter().chain((!model.messages.contains_key(&model.last)).then_some(model.last)).collect();
            compare("deleted".into(), &have, json!(gone));
        }
        for (name, reader) in &model.consumers {
            let info = self.api(&format!("CONSUMER.INFO.M.{name}"), Value::Null).await;
            compare(format!("{name}.num_pending"), &info["num_pending"], json!(model.left(name)));
            compare(format!("{name}.num_ack_pending"), &info["num_ack_pending"], json!(reader.pending.len()));
        }
        found
    }
}
