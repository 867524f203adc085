//! The stream under test: JetStream in process, reached by its API.

use super::model::{MAX_DELIVER, Model, Verb};
use crate::account::{Account, LocalClient, Message, new_inbox};
use crate::jetstream::consumer::Retention;
use crate::jetstream::{Domain, JetStream, Options, ServerLimits};
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
        let bench = Bench::on(tempfile::tempdir().expect("a directory"), BTreeMap::new());
        let retention = match retention {
            Retention::Limits => "limits",
            Retention::Interest => "interest",
            Retention::WorkQueue => "workqueue",
        };
        let config = json!({ "name": "M", "subjects": ["m.*"], "retention": retention, "max_msgs": max_msgs, "allow_msg_ttl": true });
        bench.api("STREAM.CREATE.M", config).await;
        bench
    }

    fn on(dir: tempfile::TempDir, replies: BTreeMap<(String, u64), String>) -> Self {
        let store = open(dir.path());
        let account = Account::new("$G");
        let options = Options {
            domain: Domain::default(),
            server_name: "m".into(),
            max_file: 1 << 30,
            max_memory: 1 << 20,
            limits: ServerLimits::default(),
        };
        let jetstream = JetStream::start(account.clone(), store.clone(), options).expect("starts");
        Bench { client: LocalClient::new(account), jetstream, store, dir, replies }
    }

    /// Ends it and opens it again from disk.
    pub async fn restart(self) -> Self {
        let Bench { client, jetstream, store, dir, replies } = self;
        let end = move || {
            jetstream.shutdown();
            drop(jetstream);
            store.close();
        };
        tokio::task::spawn_blocking(end).await.expect("ends");
        drop(client);
        Bench::on(dir, replies)
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

    pub async fn add(&mut self, name: &str, filter: &[String]) {
        self.replies.retain(|(of, _), _| of != name);
        let config = json!({
            "durable_name": name, "ack_policy": "explicit", "max_deliver": MAX_DELIVER, "filter_subjects": filter,
            "ack_wait": 3_600_000_000_000_i64, "priority_groups": ["g"], "priority_policy": "overflow",
        });
        self.api(&format!("CONSUMER.CREATE.M.{name}"), json!({ "stream_name": "M", "config": config })).await;
    }

    pub async fn drop_consumer(&mut self, name: &str) {
        self.replies.retain(|(of, _), _| of != name);
        self.api(&format!("CONSUMER.DELETE.M.{name}"), Value::Null).await;
    }

    /// Asks for `count` messages without waiting, if at least `backlog` are not acknowledged: sequence and how often each was
    /// delivered.
    pub async fn pull(&mut self, name: &str, count: usize, backlog: usize) -> Vec<(u64, u64)> {
        let reply = new_inbox();
        let mut inbox = self.client.subscribe(&reply, 1000);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.M.{name}");
        let payload = json!({ "batch": count, "no_wait": true, "group": "g", "min_ack_pending": backlog }).to_string();
        let request = Message { subject: &subject, reply: &reply, headers: &[], payload: payload.as_bytes() };
        assert_eq!(self.client.publish(&request), 1, "the request has its receiver");
        let mut given = Vec::new();
        while given.len() < count {
            let message = tokio::time::timeout(LIMIT, inbox.next()).await.expect("in time").expect("lives");
            if message.reply.is_empty() {
                assert!(message.headers.starts_with(b"NATS/1.0 404"), "{message:?}");
                break;
            }
            let tokens: Vec<&str> = message.reply.split('.').collect();
            let [deliveries, seq] = [4, 5].map(|at| tokens[at].parse().expect("a number"));
            self.replies.insert((name.to_owned(), seq), message.reply.to_string());
            given.push((seq, deliveries));
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
