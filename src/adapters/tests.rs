//! The intake beside a real JetStream, and beside one that answers late, refuses, or says nothing.

use super::intake::{Intake, Outcome, Reading};
use super::status::Health;
use crate::account::{Account, LocalClient, Message, OwnedMessage};
use crate::jetstream::{Domain, JetStream, Options, ServerLimits};
use crate::store::{Store, StoreOptions};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

fn reading(n: usize, size: usize) -> Reading {
    let payload = Bytes::from(format!("{n:0size$}"));
    Reading { subject: "t.a".into(), payload, id: format!("id{n}") }
}

fn intake(account: &Arc<Account>) -> (Intake, Arc<Health>, watch::Sender<bool>) {
    let (end, ends) = watch::channel(false);
    let health = Health::new("test", "t");
    (Intake::new(account.clone(), health.clone(), ends), health, end)
}

/// A stream that does what a test tells it to.
struct FakeStream {
    stored: Arc<Mutex<Vec<String>>>,
}

/// What the fake does with the nth message it gets, counted from 0.
type Conduct = fn(usize) -> Deed;

enum Deed {
    Store,
    StoreSilently,
    Refuse(u16),
    SayDuplicate,
}

impl FakeStream {
    fn start(account: &Arc<Account>, conduct: Conduct) -> FakeStream {
        let stored = Arc::new(Mutex::new(Vec::new()));
        let taken = stored.clone();
        let client = LocalClient::new(account.clone());
        let mut names = client.subscribe("$JS.API.STREAM.NAMES", 100);
        let mut messages = client.subscribe("t.>", 1000);
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                tokio::select! {
                    Some(ask) = names.next() => reply(&client, &ask, &json!({ "streams": ["S"] })),
                    Some(message) = messages.next() => {
                        let deed = conduct(count);
                        count += 1;
                        if matches!(deed, Deed::Store | Deed::StoreSilently) {
                            taken.lock().expect("whole").push(String::from_utf8_lossy(&message.payload).into_owned());
                        }
                        match deed {
                            Deed::StoreSilently => {}
                            Deed::Store => reply(&client, &message, &json!({ "stream": "S", "seq": count })),
                            Deed::SayDuplicate => {
                                reply(&client, &message, &json!({ "stream": "S", "seq": 1, "duplicate": true }));
                            }
                            Deed::Refuse(code) => {
                                let error = json!({ "code": 400, "err_code": code, "description": "no" });
                                reply(&client, &message, &json!({ "stream": "S", "error": error }));
                            }
                        }
                    }
                }
            }
        });
        FakeStream { stored }
    }

    fn stored(&self) -> Vec<String> {
        self.stored.lock().expect("whole").clone()
    }
}

fn reply(client: &LocalClient, to: &OwnedMessage, answer: &Value) {
    let payload = answer.to_string();
    client.publish(&Message { subject: &to.reply, reply: "", headers: b"", payload: payload.as_bytes() });
}

#[tokio::test(start_paused = true)]
async fn a_late_acknowledgement_is_waited_for_again_and_makes_no_duplicate() {
    let account = Account::new("$G");
    let fake = FakeStream::start(&account, |n| if n == 0 { Deed::StoreSilently } else { Deed::SayDuplicate });
    let (mut intake, health, _end) = intake(&account);
    let outcomes = intake.store(&[reading(1, 1)]).await.expect("stored");
    // It is ours: nobody else sent it before.
    assert_eq!((outcomes, fake.stored()), (vec![Outcome::Stored], vec!["1".to_owned()]));
    assert_eq!(health.duplicates.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_stored_holds_nothing_up() {
    let account = Account::new("$G");
    let fake = FakeStream::start(&account, |n| if n == 1 { Deed::Refuse(10054) } else { Deed::Store });
    let (mut intake, health, _end) = intake(&account);
    let outcomes = intake.store(&[reading(1, 1), reading(2, 1), reading(3, 1)]).await.expect("stored");
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Refused, Outcome::Stored]);
    assert_eq!((fake.stored(), health.dropped.load(Ordering::Relaxed)), (vec!["1".into(), "3".into()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_answers_is_not_taken_for_the_stream() {
    let account = Account::new("$G");
    let busybody = LocalClient::new(account.clone());
    let mut heard = busybody.subscribe("t.>", 10);
    tokio::spawn(async move {
        while let Some(message) = heard.next().await {
            reply(&busybody, &message, &json!("thanks"));
            reply(&busybody, &message, &json!({}));
        }
    });
    let fake = FakeStream::start(&account, |_| Deed::Store);
    let (mut intake, health, _end) = intake(&account);
    assert_eq!(intake.store(&[reading(1, 1)]).await.expect("stored"), [Outcome::Stored]);
    assert_eq!((fake.stored().len(), health.retries.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_says_nothing_does_not_count_as_no_stream() {
    let account = Account::new("$G");
    let client = LocalClient::new(account.clone());
    let silent = client.subscribe("$JS.API.STREAM.NAMES", 10);
    let (mut intake, health, end) = intake(&account);
    let mut delivered = client.subscribe("t.>", 10);
    let storing = tokio::spawn(async move { intake.store(&[reading(1, 1)]).await.is_err() });
    while health.snapshot().retries == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(health.snapshot().state.contains("does not answer"), "{}", health.snapshot().state);
    assert!(delivered.try_next().is_none(), "published though nobody could say that it would be stored");
    let _ = end.send(true);
    assert!(storing.await.expect("no panic"), "ended without having stored it");
    drop(silent);
}

struct Bench {
    account: Arc<Account>,
    client: LocalClient,
    jetstream: Arc<JetStream>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path(), StoreOptions::default()).expect("opens");
        let account = Account::new("$G");
        let options = Options {
            domain: Domain::default(),
            server_name: "gw1".into(),
            max_file: 1 << 30,
            max_memory: 1 << 20,
            sync_interval: Duration::from_secs(10),
            limits: ServerLimits::default(),
        };
        let jetstream = JetStream::start(account.clone(), store, options).expect("starts");
        Bench { client: LocalClient::new(account.clone()), account, jetstream, _dir: dir }
    }

    async fn api(&self, verb: &str, request: Value) -> Value {
        let subject = format!("$JS.API.{verb}");
        // Requests without a body must have none.
        let payload = if request.is_null() { String::new() } else { request.to_string() };
        let answer = self.client.request(&subject, b"", payload.as_bytes(), Duration::from_secs(10)).await;
        let answer: Value = serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON");
        assert!(answer.get("error").is_none(), "{verb}: {answer}");
        answer
    }

    async fn payload(&self, seq: u64) -> String {
        let stored = self.jetstream.stream("S").expect("is there");
        let mut reader = stored.log().reader();
        reader.seek(seq);
        let stored = reader.next(&|_| true).expect("readable").expect("there");
        String::from_utf8_lossy(&stored.payload).trim_start_matches('0').to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_just_now_is_known_at_the_next_reading() {
    let bench = Bench::new();
    let (mut intake, ..) = intake(&bench.account);
    assert_eq!(intake.store(&[reading(1, 1)]).await.expect("done"), [Outcome::Uncaptured]);
    bench.api("STREAM.CREATE.S", json!({ "name": "S", "subjects": ["t.>"] })).await;
    assert_eq!(intake.store(&[reading(2, 1)]).await.expect("done"), [Outcome::Stored]);
    bench.api("STREAM.DELETE.S", Value::Null).await;
    assert_eq!(intake.store(&[reading(3, 1)]).await.expect("done"), [Outcome::Uncaptured]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_full_stream_no_small_reading_passes_a_large_one() {
    let bench = Bench::new();
    bench.api("STREAM.CREATE.S", json!({ "name": "S", "subjects": ["t.>"], "max_bytes": 600, "discard": "new" })).await;
    let (mut intake, health, _end) = intake(&bench.account);
    assert_eq!(intake.store(&[reading(1, 100)]).await.expect("stored"), [Outcome::Stored]);
    let storing = tokio::spawn(async move {
        // The second has no room beside the first; the third would.
        intake.store(&[reading(2, 480), reading(3, 10), reading(4, 10)]).await.expect("stored")
    });
    while health.snapshot().retries == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(health.snapshot().state.contains("maximum bytes exceeded"), "{}", health.snapshot().state);
    bench.api("STREAM.PURGE.S", Value::Null).await;
    while health.snapshot().stored < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(bench.payload(2).await, "2");
    bench.api("STREAM.PURGE.S", Value::Null).await;
    assert_eq!(storing.await.expect("no panic"), [Outcome::Stored; 3]);
    assert_eq!((bench.payload(3).await, bench.payload(4).await), ("3".to_owned(), "4".to_owned()));
}
