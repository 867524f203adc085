//! The uplink's task against a hub inside the test: a link that comes and goes, a stream that checks ids and guards and
//! answers through the account's router, as the leaf link would.

use super::link::{HubLink, SendError, Session};
use super::local::{CHUNK_MESSAGES, Chunk, Extent, LocalMessage, LocalStream};
use super::traffic::{Limits, Spent, Traffic};
use super::*;
use crate::account::{Message, OwnedMessage};
use crate::config::traffic::{Class, TimeZone};
use crate::protocol::headers;
use base64::Engine as _;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// A part in traffic without limits.
fn member() -> Member {
    Traffic::new(Limits::default(), TimeZone::Utc).join("hub", Class::Telemetry, Limits::default(), Spent::default())
}

/// Of a stream without `allow_atomic`.
const NO_BATCHES: &str =
    r#"{"error":{"code":400,"err_code":10174,"description":"atomic publish is disabled"},"stream":"T","seq":0}"#;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A local stream in memory whose cursor outlives its uplink.
struct Memory {
    messages: Mutex<BTreeMap<u64, LocalMessage>>,
    committed: watch::Sender<u64>,
    cursor: Mutex<Option<Bytes>>,
    plan: Mutex<Option<Bytes>>,
}

impl Memory {
    fn new() -> Arc<Self> {
        let (cursor, plan) = Default::default();
        Arc::new(Memory { messages: Mutex::default(), committed: watch::channel(0).0, cursor, plan })
    }

    fn append(&self, subject: &str, payload: &str) {
        let seq = *self.committed.borrow() + 1;
        let message = LocalMessage {
            seq,
            time: unix_nanos(),
            subject: subject.into(),
            headers: Bytes::new(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        lock(&self.messages).insert(seq, message);
        self.committed.send_replace(seq);
    }
}

impl LocalStream for Memory {
    fn name(&self) -> &str {
        "UPLINK_t"
    }

    fn epoch(&self) -> &str {
        "e1"
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn read(&self, from: u64, upto: u64) -> Result<Chunk, String> {
        let messages: Vec<_> =
            lock(&self.messages).range(from..=upto).take(CHUNK_MESSAGES).map(|(_, message)| message.clone()).collect();
        let covered = if messages.len() == CHUNK_MESSAGES { messages[CHUNK_MESSAGES - 1].seq } else { upto };
        Ok(Chunk { from, covered, messages })
    }

    fn remove(&self, seqs: &[u64]) -> Result<(), String> {
        lock(&self.messages).retain(|seq, _| !seqs.contains(seq));
        Ok(())
    }

    fn is_damaged(&self, _: u64, _: u64) -> bool {
        false
    }

    fn trim(&self, upto: u64) {
        lock(&self.messages).retain(|seq, _| *seq > upto);
    }

    fn extent(&self) -> Extent {
        let messages = lock(&self.messages);
        let first = messages.first_key_value().map(|(_, message)| (message.seq, message.time));
        let (first_seq, first_time) = first.unwrap_or((*self.committed.borrow() + 1, 0));
        Extent { messages: messages.len() as u64, bytes: 10 * messages.len() as u64, first_seq, first_time }
    }

    fn time_of(&self, seq: u64) -> Option<i64> {
        lock(&self.messages).get(&seq).map(|message| message.time)
    }

    fn load_cursor(&self) -> Option<Bytes> {
        lock(&self.cursor).clone()
    }

    fn save_cursor(&self, cursor: Bytes) -> Result<(), String> {
        *lock(&self.cursor) = Some(cursor);
        Ok(())
    }

    fn load_plan(&self) -> Option<Bytes> {
        lock(&self.plan).clone()
    }

    fn save_plan(&self, plan: Bytes) -> Result<(), String> {
        *lock(&self.plan) = Some(plan);
        Ok(())
    }
}

#[derive(Default)]
struct HubState {
    stored: Vec<OwnedMessage>,
    /// Where the message with an id lies.
    ids: HashMap<String, usize>,
    /// Messages that get no ack, though the hub has stored them.
    mute: usize,
    /// Messages that the hub loses.
    deaf: usize,
    /// Times that the connection was given up.
    redials: usize,
}

/// The hub and the link to it.
struct Hub {
    client: LocalClient,
    sessions: watch::Sender<Session>,
    state: Mutex<HubState>,
    may_ask: bool,
    /// It is a cluster of nats-server 2.14 or later, whose stream takes no batches.
    no_chains: bool,
}

impl Hub {
    fn new(account: &Arc<Account>, may_ask: bool) -> Arc<Self> {
        let client = LocalClient::new(account.clone());
        let sessions = watch::channel(Session::default()).0;
        Arc::new(Hub { client, sessions, state: Mutex::default(), may_ask, no_chains: false })
    }

    fn connect(&self) {
        self.sessions.send_modify(|session| session.number = Some(fastrand::u64(..)));
    }

    fn disconnect(&self) {
        self.sessions.send_modify(|session| session.number = None);
    }

    fn payloads(&self) -> Vec<String> {
        lock(&self.state).stored.iter().map(|m| String::from_utf8_lossy(&m.payload).into_owned()).collect()
    }

    fn id(message: &OwnedMessage) -> &str {
        headers::get(&message.headers, "Nats-Msg-Id").expect("every message has an id")
    }

    /// Checks and stores as nats-server does, with an endless deduplication window.
    fn store(state: &mut HubState, message: OwnedMessage) -> String {
        let HubState { stored, ids, .. } = state;
        let error = |code: u16, text: String| {
            format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"T","seq":0}}"#)
        };
        if let Some(expected) = headers::get(&message.headers, "Nats-Expected-Last-Subject-Sequence") {
            let last = stored.iter().rposition(|m| m.subject == message.subject).map_or(0, |at| at + 1);
            if expected != last.to_string() {
                return error(10071, format!("wrong last sequence: {last}"));
            }
        }
        if let Some(at) = ids.get(Hub::id(&message)) {
            return format!(r#"{{"stream":"T","seq":{},"duplicate":true}}"#, at + 1);
        }
        if let Some(expected) = headers::get(&message.headers, "Nats-Expected-Last-Msg-Id") {
            let last = stored.last().map_or("", Hub::id);
            if expected != last {
                return error(10070, format!("wrong last msg ID: {last}"));
            }
        }
        if message.payload.starts_with(b"bad") {
            return error(10054, "message size exceeds maximum allowed".to_owned());
        }
        ids.insert(Hub::id(&message).to_owned(), stored.len());
        stored.push(message);
        format!(r#"{{"stream":"T","seq":{}}}"#, stored.len())
    }

    fn answer(stored: &[OwnedMessage], subject: &str, body: &[u8]) -> String {
        if subject.starts_with("$JS.API.STREAM.NAMES") {
            return r#"{"streams":["T"]}"#.to_owned();
        }
        let body: serde_json::Value = serde_json::from_slice(body).expect("a JSON body");
        let filter = body["last_by_subj"].as_str().expect("last_by_subj");
        match stored.iter().rposition(|m| crate::subject::matches(filter, &m.subject)) {
            Some(at) => {
                let hdrs = base64::engine::general_purpose::STANDARD.encode(&stored[at].headers);
                format!(r#"{{"message":{{"seq":{},"hdrs":"{hdrs}"}}}}"#, at + 1)
            }
            None => r#"{"error":{"code":404,"err_code":10037,"description":"no message found"}}"#.to_owned(),
        }
    }
}

impl HubLink for Hub {
    fn publish(&self, message: &Message<'_>) -> Result<(), SendError> {
        if self.sessions.borrow().number.is_none() {
            return Err(SendError::Down);
        }
        if message.size() > 1000 {
            return Err(SendError::TooLarge);
        }
        let mut state = lock(&self.state);
        let answer = if message.subject.starts_with("$JS.") {
            Hub::answer(&state.stored, message.subject, message.payload)
        } else {
            if state.deaf > 0 {
                state.deaf -= 1;
                return Ok(());
            }
            let answer = if self.no_chains && headers::get(message.headers, "Nats-Batch-Id").is_some() {
                NO_BATCHES.to_owned()
            } else {
                Hub::store(&mut state, message.to_owned())
            };
            if state.mute > 0 {
                state.mute -= 1;
                return Ok(());
            }
            answer
        };
        drop(state);
        if message.reply.is_empty() {
            return Ok(());
        }
        self.client.publish(&Message { subject: message.reply, reply: "", headers: b"", payload: answer.as_bytes() });
        Ok(())
    }

    fn backlog_bytes(&self) -> usize {
        0
    }

    fn sessions(&self) -> watch::Receiver<Session> {
        self.sessions.subscribe()
    }

    fn permits_publish(&self, subject: &str) -> bool {
        self.may_ask || !subject.starts_with("$JS.")
    }

    fn takes_chains(&self) -> bool {
        !self.no_chains
    }

    fn redial(&self) {
        lock(&self.state).redials += 1;
        self.disconnect();
    }

    fn hub_domain(&self) -> Option<String> {
        None
    }
}

struct Bench {
    account: Arc<Account>,
    hub: Arc<Hub>,
    local: Arc<Memory>,
    uplink: Arc<Uplink>,
    end: watch::Sender<bool>,
}

impl Bench {
    fn start(account: Arc<Account>, hub: Arc<Hub>, local: Arc<Memory>) -> Self {
        let (end, shutdown) = watch::channel(false);
        let options = Options {
            name: "t".into(),
            gateway: "gw1".into(),
            filters: vec!["t.>".to_owned()].into(),
            dead_subject: "dead.t".into(),
            gap_subject: Some("t.gaps".into()),
            settings: Settings {
                ack_timeout: Duration::from_millis(200),
                backoff: (Duration::from_millis(1), Duration::from_millis(20)),
                save_interval: Duration::from_millis(10),
                ..Settings::default()
            },
            ..Options::default()
        };
        let uplink = Uplink::run(options, member(), hub.clone(), local.clone(), account.clone(), shutdown);
        Bench { account, hub, local, uplink, end }
    }

    fn new(may_ask: bool) -> Self {
        let account = Account::new("A");
        let hub = Hub::new(&account, may_ask);
        Bench::start(account, hub, Memory::new())
    }

    async fn restart(self) -> Self {
        self.end.send_replace(true);
        self.uplink.stopped().await;
        Bench::start(self.account, self.hub, self.local)
    }

    async fn until(&self, what: &str, done: impl Fn(&UplinkStatus) -> bool) -> UplinkStatus {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.uplink.status();
            if done(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn numbered(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.local.append(["t.a", "t.b"][number as usize % 2], &number.to_string());
        }
    }

    async fn drained(&self) -> UplinkStatus {
        self.until("drained", |status| status.backlog_messages == 0 && status.in_flight == 0).await
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_backlog_drains_when_the_link_comes_up_and_is_dropped_here() {
    let bench = Bench::new(true);
    bench.numbered(0..3000);
    let status = bench.until("backlog", |status| status.backlog_messages == 3000).await;
    assert_eq!(status.state, "waiting for the link");
    assert!(status.oldest_age.is_some());
    bench.hub.connect();
    let status = bench.drained().await;
    assert_eq!(bench.hub.payloads(), numbers(0..3000));
    assert_eq!((status.delivered, status.resends, status.gaps), (3000, 0, 0));
    assert_eq!((status.exactly_once, status.hub_stream.as_deref()), ("yes", Some("T")));
    assert_eq!((status.last_ack_seq, status.state.as_str()), (3000, "up to date"));
    assert!(status.last_ack_time.is_some());
    bench.until("trimmed", |_| bench.local.extent().messages == 0).await;
}

#[tokio::test]
async fn a_cluster_that_takes_neither_chains_nor_batches_is_told_of() {
    let account = Account::new("A");
    let mut hub = Hub::new(&account, true);
    Arc::get_mut(&mut hub).expect("nobody else has it").no_chains = true;
    let bench = Bench::start(account, hub, Memory::new());
    bench.numbered(0..100);
    bench.hub.connect();
    let status = bench.drained().await;
    assert_eq!(bench.hub.payloads(), numbers(0..100));
    assert!(status.advice.is_some_and(|advice| advice.contains("set allow_atomic")), "{status:?}");
}

#[tokio::test]
async fn cuts_lost_messages_lost_acks_and_restarts_change_nothing_at_the_hub() {
    for may_ask in [true, false] {
        let mut bench = Bench::new(may_ask);
        let mut next = 0;
        for round in 0..12 {
            bench.numbered(next..next + 150);
            next += 150;
            bench.hub.connect();
            let target = u64::from(next) - 100;
            bench.until("some progress", |status| status.last_ack_seq >= target || status.backlog_messages < 100).await;
            match round % 4 {
                0 => lock(&bench.hub.state).mute = 3,
                1 => lock(&bench.hub.state).deaf = 3,
                _ => {}
            }
            if round % 2 == 0 {
                bench.hub.disconnect();
            }
            if round % 3 == 0 {
                bench = bench.restart().await;
            }
        }
        bench.hub.connect();
        let status = bench.drained().await;
        assert_eq!(bench.hub.payloads(), numbers(0..next), "may ask: {may_ask}");
        assert_eq!(status.exactly_once, if may_ask { "yes" } else { "dedup window only" });
    }
}

#[tokio::test]
async fn what_the_hub_refuses_for_good_becomes_a_dead_letter_and_the_rest_goes_on() {
    let bench = Bench::new(true);
    let client = LocalClient::new(bench.account.clone());
    let mut dead = client.subscribe("dead.t", 10);
    bench.numbered(0..5);
    bench.local.append("t.a", "bad");
    bench.local.append("t.a", &"x".repeat(2000));
    bench.numbered(5..9);
    bench.hub.connect();
    for reason in ["message size exceeds maximum allowed (err_code 10054)", "with headers)"] {
        let letter = tokio::time::timeout(Duration::from_secs(20), dead.next()).await.expect("in time");
        let letter = letter.expect("a dead letter");
        let told = headers::get(&letter.headers, "Leafd-Dead-Reason").expect("a reason");
        assert!(told.ends_with(reason), "{told}");
        assert_eq!(headers::get(&letter.headers, "Leafd-Dead-Subject"), Some("t.a"));
        let ack = br#"{"stream":"DEAD_t","seq":1}"#;
        client.publish(&Message { subject: &letter.reply, reply: "", headers: b"", payload: ack });
    }
    let status = bench.drained().await;
    assert_eq!(status.dead_letters, 2);
    assert_eq!(bench.hub.payloads(), numbers(0..9));
}

#[tokio::test]
async fn a_missing_local_message_is_a_counted_gap() {
    let bench = Bench::new(true);
    let mut gaps = LocalClient::new(bench.account.clone()).subscribe("t.gaps", 10);
    bench.numbered(0..20);
    lock(&bench.local.messages).retain(|seq, _| !(5..=7).contains(seq) && *seq != 20);
    bench.hub.connect();
    let status = bench.drained().await;
    assert_eq!((status.gaps, status.delivered), (4, 16));
    assert_eq!(bench.hub.payloads().len(), 16);
    let declared = tokio::time::timeout(Duration::from_secs(20), gaps.next()).await.expect("in time").expect("a gap");
    let told = |name| headers::get(&declared.headers, name);
    assert_eq!((told("Leafd-Gap-First"), told("Leafd-Gap-Last")), (Some("5"), Some("20")));
    assert_eq!((told("Leafd-Gap-Count"), told("Leafd-Gap-Reason")), (Some("4"), Some("dropped")));
}

#[tokio::test]
async fn other_publishers_between_ours_slow_it_down_but_break_nothing() {
    let bench = Bench::new(true);
    bench.hub.connect();
    for round in 0..20 {
        bench.numbered(round * 50..(round + 1) * 50);
        let foreign = headers::HeadersBuilder::new().add("Nats-Msg-Id", &format!("other:{round}")).build();
        lock(&bench.hub.state).stored.push(OwnedMessage {
            subject: "other".into(),
            headers: foreign.into(),
            payload: Bytes::from_static(b"other"),
            ..OwnedMessage::default()
        });
        tokio::task::yield_now().await;
    }
    bench.drained().await;
    let mut ours = bench.hub.payloads();
    ours.retain(|payload| payload != "other");
    assert_eq!(ours, numbers(0..1000));
}
