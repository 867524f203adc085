//! The readings: stored at the gateway one after the other, and looked for at the hub.

use crate::common::{self, hub::STREAM};
use async_nats::jetstream::{self, stream::Stream};
use futures_util::StreamExt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub const SUBJECT: &str = "plant1.gw1.telemetry.t";
/// Between two readings; each is stored durably before the next.
const PAUSE: Duration = Duration::from_millis(4);

/// Something that stores readings until told to end.
pub struct Producer {
    end: Arc<AtomicBool>,
    task: JoinHandle<u64>,
}

impl Producer {
    /// Starts one; `address` is where leafd listens.
    pub fn start(address: watch::Receiver<String>) -> Producer {
        let end = Arc::new(AtomicBool::new(false));
        Producer { task: tokio::spawn(store(address, end.clone())), end }
    }

    /// Ends it; how many readings it has stored.
    pub async fn end(self) -> u64 {
        self.end.store(true, Ordering::Relaxed);
        self.task.await.expect("ended")
    }
}

/// Stores numbers until told to end; returns how many. One that was not acknowledged is sent again under its id.
async fn store(mut address: watch::Receiver<String>, end: Arc<AtomicBool>) -> u64 {
    let mut number = 0;
    let mut context = None;
    while !end.load(Ordering::Relaxed) {
        if address.has_changed().unwrap_or(false) || context.is_none() {
            let url = address.borrow_and_update().clone();
            context = async_nats::connect(url).await.ok().map(jetstream::new);
        }
        let Some(context) = &context else {
            tokio::time::sleep(common::LOOK).await;
            continue;
        };
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", (number + 1).to_string().as_str());
        let stored = async {
            let payload = (number + 1).to_string();
            context.publish_with_headers(SUBJECT, headers, payload.into()).await.ok()?.await.ok()
        };
        if tokio::time::timeout(Duration::from_millis(500), stored).await.is_ok_and(|stored| stored.is_some()) {
            number += 1;
        }
        tokio::time::sleep(PAUSE).await;
    }
    number
}

/// What the hub should hold, and how often it was looked at.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Sequences that the hub had and has lost.
    pub lost: Vec<RangeInclusive<u64>>,
    /// Looks at the whole stream, and messages seen in all of them.
    pub looks: u32,
    pub seen: usize,
}

impl Ledger {
    /// Panics unless each sequence is in `stream` once and in its order, and none is missing but those that the hub has lost;
    /// the last one.
    pub async fn check(&mut self, stream: &Stream) -> u64 {
        let held = held(stream).await;
        let disorder = held.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1);
        assert_eq!(disorder, None, "(sequence, reading) twice or out of order; {self:?}");
        let last = held.last().map_or(0, |(seq, _)| *seq);
        let mut at = held.iter().map(|(seq, _)| *seq).peekable();
        let missing: Vec<u64> = (1..=last).filter(|seq| at.next_if_eq(seq).is_none()).collect();
        let unexplained = missing.iter().find(|seq| !self.lost.iter().any(|lost| lost.contains(seq)));
        assert_eq!(unexplained, None, "missing though the hub has lost nothing of it: {missing:?}; {self:?}");
        self.looks += 1;
        self.seen += held.len();
        last
    }
}

/// The sequence at the gateway that a message id ends with.
fn sequence(id: &str) -> u64 {
    let (_, seq) = id.rsplit_once(':').expect("gateway:stream:epoch:seq");
    seq.parse().expect("a sequence")
}

/// The sequence of the last reading in the hub's stream.
pub async fn last(stream: &Stream) -> u64 {
    match stream.get_last_raw_message_by_subject(SUBJECT).await {
        Ok(message) => sequence(message.headers.get("Nats-Msg-Id").expect("an id").as_str()),
        Err(_) => 0,
    }
}

/// The sequences at the hub and their readings, in the order in which they lie there. A hub that has just lost a node may leave a
/// request without an answer, so that it is asked again.
async fn held(stream: &Stream) -> Vec<(u64, u64)> {
    common::wait_for("the hub's stream, read to its end", Duration::from_secs(120), async || try_held(stream).await)
        .await
}

async fn try_held(stream: &Stream) -> Option<Vec<(u64, u64)>> {
    let info = stream.get_info().await.ok()?;
    assert_eq!(info.config.name, STREAM);
    let mut held = Vec::new();
    if info.state.messages == 0 {
        return Some(held);
    }
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.ok()?.messages().await.ok()?;
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), messages.next()).await.ok()??.ok()?;
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id");
        let payload = std::str::from_utf8(&message.payload).expect("a number");
        held.push((sequence(id.as_str()), payload.parse().expect("a number")));
        if message.info().expect("a reply subject").pending == 0 {
            return Some(held);
        }
    }
}
