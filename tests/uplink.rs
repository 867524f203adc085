//! The uplink against a real nats-server: a stream in our store, a hub that is restarted, and a connection that is cut at
//! any byte. The connection is a plain client connection; what the uplink needs of it is the same as of a leaf link.

mod common;

use common::{Hub, have, hub, wait_for};
use leafd::account::{Account, LocalClient, Message};
use leafd::config::traffic::{Class, TimeZone};
use leafd::store::{CommitObserver, Log, LogOptions, Record, Store, StoreError, StoreOptions};
use leafd::uplink::link::{HubLink, SendError, Session};
use leafd::uplink::machine::Settings;
use leafd::uplink::stored::StoredStream;
use leafd::uplink::traffic::{Limits, Member, Spent, Traffic};
use leafd::uplink::{Options, Uplink, UplinkStatus};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(60);

/// A part in traffic without limits.
fn member() -> Member {
    Traffic::new(Limits::default(), TimeZone::Utc).join("hub", Class::Telemetry, Limits::default(), Spent::default())
}

/// A client connection to the hub that can be cut after any number of bytes.
struct Wire {
    sessions: watch::Sender<Session>,
    writer: Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>,
    waiting: AtomicUsize,
    client: LocalClient,
}

impl Wire {
    fn new(account: &Arc<Account>) -> Arc<Self> {
        Arc::new(Wire {
            sessions: watch::channel(Session::default()).0,
            writer: Mutex::default(),
            waiting: AtomicUsize::new(0),
            client: LocalClient::new(account.clone()),
        })
    }

    /// Connects as session `number` and serves until `bytes` more bytes are written, `limit` is over, or it fails.
    async fn serve(self: Arc<Self>, hub: SocketAddr, number: u64, bytes: usize, limit: Duration) {
        let Ok(stream) = TcpStream::connect(hub).await else { return };
        let (read, mut write) = stream.into_split();
        let hello =
            b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"user\":\"app\",\"pass\":\"app\"}\r\n\
              SUB _INBOX.> 1\r\nPING\r\n";
        if write.write_all(hello).await.is_err() {
            return;
        }
        let mut read = BufReader::new(read);
        let mut line = String::new();
        while line != "PONG\r\n" {
            line.clear();
            if read.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let (sender, mut lines) = mpsc::unbounded_channel::<Vec<u8>>();
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.sessions.send_modify(|session| session.number = Some(number));
        let writing = async {
            let mut left = bytes;
            while let Some(line) = lines.recv().await {
                self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
                let part = &line[..line.len().min(left)];
                left -= part.len();
                if write.write_all(part).await.is_err() || left == 0 {
                    break;
                }
            }
        };
        tokio::select! {
            () = writing => {}
            () = self.receive(read) => {}
            () = tokio::time::sleep(limit) => {}
        }
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.waiting.store(0, Ordering::Relaxed);
        self.sessions.send_modify(|session| session.number = None);
    }

    async fn receive(&self, mut read: BufReader<tokio::net::tcp::OwnedReadHalf>) {
        let mut line = String::new();
        loop {
            line.clear();
            if read.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |back: usize| words.iter().rev().nth(back).and_then(|word| word.parse::<usize>().ok());
            let (head, total) = match words.first() {
                Some(&"MSG") => (0, number(0)),
                Some(&"HMSG") => (number(1).unwrap_or(0), number(0)),
                _ => continue,
            };
            let mut body = vec![0; total.unwrap_or(0) + 2];
            if read.read_exact(&mut body).await.is_err() {
                return;
            }
            body.truncate(body.len() - 2);
            let (headers, payload) = body.split_at(head);
            self.client.publish(&Message { subject: words[1], reply: "", headers, payload });
        }
    }
}

impl HubLink for Wire {
    fn publish(&self, message: &Message<'_>) -> Result<(), SendError> {
        let Message { subject, reply, headers, payload } = message;
        let mut line = match headers.len() {
            0 => format!("PUB {subject} {reply} {}\r\n", payload.len()),
            head => format!("HPUB {subject} {reply} {head} {}\r\n", message.size()),
        }
        .into_bytes();
        line.extend_from_slice(headers);
        line.extend_from_slice(payload);
        line.extend_from_slice(b"\r\n");
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = writer.as_ref().ok_or(SendError::Down)?;
        self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        writer.send(line).map_err(|_| SendError::Down)
    }

    fn backlog_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> watch::Receiver<Session> {
        self.sessions.subscribe()
    }

    fn permits_publish(&self, _: &str) -> bool {
        true
    }

    fn redial(&self) {
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn hub_domain(&self) -> Option<String> {
        None
    }
}

struct Committed(watch::Sender<u64>);

impl CommitObserver for Committed {
    fn committed(&self, upto: u64) {
        self.0.send_replace(upto);
    }

    fn failed(&self, _: u64, error: &StoreError) {
        panic!("the store failed: {error}");
    }
}

struct Gateway {
    account: Arc<Account>,
    wire: Arc<Wire>,
    store: Store,
    log: Log,
    committed: watch::Receiver<u64>,
}

impl Gateway {
    fn new(dir: &Path) -> Gateway {
        let account = Account::new("A");
        let store = Store::open(dir, StoreOptions::default()).expect("a store");
        let log = store.create_log("up", LogOptions::default()).expect("a log");
        let (sender, committed) = watch::channel(log.committed());
        log.observe(Arc::new(Committed(sender)));
        Gateway { wire: Wire::new(&account), account, store, log, committed }
    }

    fn append(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let (subject, payload) = (format!("t.{}", number % 3), number.to_string());
            let record = Record { subject: &subject, headers: b"", payload: payload.as_bytes() };
            self.log.append(&record).expect("appended");
        }
    }

    fn uplink(&self) -> (Arc<Uplink>, watch::Sender<bool>) {
        let (end, shutdown) = watch::channel(false);
        let options = Options {
            name: "t".into(),
            gateway: "gw1".into(),
            filters: vec!["t.>".to_owned()].into(),
            dead_subject: "dead.t".into(),
            settings: Settings {
                ack_timeout: Duration::from_millis(500),
                backoff: (Duration::from_millis(5), Duration::from_millis(200)),
                ..Settings::default()
            },
            ..Options::default()
        };
        let committed = self.committed.clone();
        let stream = StoredStream::new("t", "UPLINK_t", "e1", self.store.clone(), self.log.clone(), committed);
        (Uplink::run(options, member(), self.wire.clone(), Arc::new(stream), self.account.clone(), shutdown), end)
    }
}

async fn drained(uplink: &Uplink) -> UplinkStatus {
    wait_for("the backlog has drained", PATIENCE, || async {
        Some(uplink.status()).filter(|status| status.backlog_messages == 0 && status.in_flight == 0)
    })
    .await
}

async fn context(hub: &Hub) -> async_nats::jetstream::Context {
    async_nats::jetstream::new(hub.client().await)
}

/// The payloads of the hub's stream that are ours, in their order.
async fn at_hub(hub: &Hub) -> Vec<String> {
    let context = context(hub).await;
    let mut stream = context.get_stream("T").await.expect("the hub's stream");
    let last = stream.info().await.expect("its state").state.last_sequence;
    let mut payloads = Vec::new();
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.expect("a message");
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        if payload != "foreign" {
            payloads.push(payload);
        }
    }
    payloads
}

/// Others publish to the hub's stream meanwhile; ends by itself or with the hub.
async fn publish_foreign(hub: &Hub) {
    let context = context(hub).await;
    tokio::spawn(async move {
        for _ in 0..20 {
            let Ok(ack) = context.publish("other", "foreign".into()).await else { return };
            if ack.await.is_err() {
                return;
            }
        }
    });
}

async fn scenario(seed: u64, foreign: bool, atomic: bool) {
    if !have(&hub::binary()) {
        return;
    }
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let mut hub = Hub::start().await;
    let config = json!({
        "name": "T",
        "subjects": ["t.>", "other"],
        "storage": "file",
        "retention": "limits",
        "num_replicas": 1,
        // The shortest that nats-server takes: what counts are the guards, not the window.
        "duplicate_window": Duration::from_millis(100).as_nanos() as u64,
        "allow_atomic": atomic,
    });
    let made: Value = context(&hub).await.request("STREAM.CREATE.T", &config).await.expect("an answer");
    assert!(made["error"].is_null(), "{made}");
    let gateway = Gateway::new(dir.path());
    let (mut uplink, mut end) = gateway.uplink();
    let (mut next, mut session) = (0, 0);
    for round in 0..12 {
        let more = rng.u32(100..400);
        gateway.append(next..next + more);
        next += more;
        session += 1;
        if foreign {
            publish_foreign(&hub).await;
        }
        gateway.wire.clone().serve(hub.clients, session, rng.usize(500..60_000), Duration::from_secs(2)).await;
        match round % 4 {
            1 => {
                hub.stop(false);
                hub.restart().await;
            }
            3 => {
                end.send_replace(true);
                uplink.stopped().await;
                (uplink, end) = gateway.uplink();
            }
            _ => {}
        }
    }
    let wire = tokio::spawn(gateway.wire.clone().serve(hub.clients, session + 1, usize::MAX, PATIENCE));
    let status = drained(&uplink).await;
    println!("seed {seed}: {next} messages, {status:?}");
    assert_eq!(status.exactly_once, "yes");
    assert_eq!(status.batches > 0, atomic, "{status:?}");
    assert_eq!(at_hub(&hub).await, (0..next).map(|number| number.to_string()).collect::<Vec<_>>(), "seed {seed}");
    wire.abort();
    end.send_replace(true);
    uplink.stopped().await;
    gateway.store.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_hub_gets_each_message_once_and_in_order_across_cuts_and_restarts() {
    scenario(1, false, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_a_hub_stream_that_others_write_to() {
    scenario(2, true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_that_takes_atomic_batches() {
    scenario(3, false, true).await;
}
