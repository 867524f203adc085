//! Exactly once inside: a publisher that repeats what was not acknowledged, a consumer that acknowledges doubly, and kill -9
//! at random. No message is stored twice, and none comes again whose acknowledgement was confirmed before a kill.
//! `LEAFD_ROUNDS` kills so often, `LEAFD_SEED` replays a run.

mod common;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context, consumer::pull};
use common::{Leafd, within};
use fastrand::Rng;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

const ROUNDS: usize = 6;
/// Messages that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 64;
/// New messages of a round at most.
const NEW: u64 = 300;
/// After the kills everything that is on its way must arrive within this time.
const DRAIN: Duration = Duration::from_secs(60);

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Message ids given so far.
    published: u64,
    /// Ids of which no acknowledgement has come yet.
    open: BTreeSet<u64>,
    /// Stream sequences whose double ack was confirmed before the last kill.
    done_before: BTreeSet<u64>,
    /// The same since then.
    done: BTreeSet<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_twice_and_nothing_done_comes_again() {
    let rounds = std::env::var("LEAFD_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Rng::with_seed(common::seed());
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let config = jetstream::stream::Config {
        name: "S".into(),
        subjects: vec!["s.>".into()],
        duplicate_window: Duration::from_secs(3600),
        ..Default::default()
    };
    let stream = jetstream::new(leafd.client().await).create_stream(config).await.expect("a stream");
    let durable = pull::Config {
        durable_name: Some("d".into()),
        ack_wait: Duration::from_secs(1),
        max_ack_pending: 100,
        ..Default::default()
    };
    stream.create_consumer(durable).await.expect("a consumer");
    let mut known = Known::default();
    for _ in 0..rounds {
        let until = tokio::time::Instant::now() + Duration::from_millis(random.u64(100..600));
        let context = jetstream::new(leafd.client().await);
        let Known { published, open, done, done_before } = &mut known;
        let last = *published + NEW;
        let work =
            async { tokio::join!(publish(&context, published, open, last), consume(&context, done, done_before)) };
        let _ = tokio::time::timeout_at(until, work).await;
        leafd.restart();
        known.done_before.append(&mut known.done);
    }
    let context = jetstream::new(leafd.client().await);
    let Known { published, open, done, done_before } = &mut known;
    let last = *published;
    let drained = async {
        publish(&context, published, open, last).await;
        let finish = async { while left(&context).await > 0 {} };
        tokio::select! {
            () = consume(&context, done, done_before) => panic!("the consumer ends"),
            () = finish => {}
        }
    };
    tokio::time::timeout(DRAIN, drained).await.expect("everything arrives");
    let ids = stored_ids(&context).await;
    assert_eq!(ids.len() as u64, known.published, "each id is stored");
    assert!(ids.values().all(|count| *count == 1), "and none twice");
    known.done_before.append(&mut known.done);
    eprintln!("{rounds} kills, {} messages stored once, {} acks confirmed", known.published, known.done_before.len());
    assert!(known.published > rounds as u64, "the test has shown something");
}

/// Publishes what is open, then new messages up to the id `last`; ends when all are acknowledged or the connection does.
async fn publish(context: &Context, next: &mut u64, open: &mut BTreeSet<u64>, last: u64) {
    let mut again: Vec<u64> = open.iter().rev().copied().collect();
    let mut waiting = FuturesUnordered::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let id = match again.pop() {
                Some(id) => id,
                None if *next < last => {
                    *next += 1;
                    *next - 1
                }
                None => break,
            };
            open.insert(id);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", id.to_string());
            let sent = context.publish_with_headers("s.x", headers, id.to_string().into()).await;
            let Ok(ack) = sent else { return };
            waiting.push(async move { (id, ack.await) });
        }
        match waiting.next().await {
            Some((id, Ok(_))) => drop(open.remove(&id)),
            Some((id, Err(_))) => again.push(id),
            None => return,
        }
    }
}

/// Acknowledges doubly what comes.
async fn consume(context: &Context, done: &mut BTreeSet<u64>, done_before: &BTreeSet<u64>) {
    let Ok(consumer) = context.get_consumer_from_stream::<pull::Config, _, _>("d", "S").await else { return };
    loop {
        let Ok(mut batch) = consumer.fetch().max_messages(50).messages().await else { return };
        let mut acks = FuturesUnordered::new();
        while let Some(Ok(message)) = batch.next().await {
            let seq = message.info().expect("a reply subject").stream_sequence;
            assert!(!done_before.contains(&seq), "{seq} was done before the last kill and comes again");
            acks.push(async move { message.double_ack().await.map(|()| seq) });
        }
        while let Some(ack) = acks.next().await {
            done.extend(ack);
        }
        tokio::task::yield_now().await;
    }
}

/// Messages that the consumer has still to do with.
async fn left(context: &Context) -> u64 {
    let consumer = context.get_consumer_from_stream::<pull::Config, _, _>("d", "S").await;
    match consumer {
        Ok(consumer) => consumer.cached_info().num_pending + consumer.cached_info().num_ack_pending as u64,
        Err(_) => u64::MAX,
    }
}

/// How often each message id stands in the stream.
async fn stored_ids(context: &Context) -> HashMap<String, u64> {
    let stream = context.get_stream("S").await.expect("the stream");
    let config = pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    let mut ids = HashMap::new();
    loop {
        let message = within("all of the stream", messages.next()).await.expect("more").expect("a message");
        let id = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id")).expect("an id");
        *ids.entry(id.to_string()).or_default() += 1;
        if message.info().expect("a reply subject").pending == 0 {
            return ids;
        }
    }
}
