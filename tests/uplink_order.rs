//! In which order a backlog reaches a real hub: as configured, and each reading once in any order, whatever happens meanwhile.

mod common;

use async_nats::jetstream;
use common::hub::STREAM;
use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Leafd, Proxy, have, hub, wait_for, within};
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// How long a backlog may take to cross on a loaded machine.
const DRAIN: Duration = Duration::from_secs(90);

/// Stores `numbers`; each is on disk on return. One that was stored before is not stored again.
async fn store(leafd: &Leafd, numbers: Range<u64>) {
    let context = jetstream::new(leafd.client().await);
    let mut acks = Vec::new();
    for number in numbers {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", number.to_string().as_str());
        let subject = format!("plant1.gw1.telemetry.{}", number % 3);
        let sent = context.publish_with_headers(subject, headers, number.to_string().into()).await.expect("sent");
        acks.push(sent.into_future());
    }
    futures_util::future::join_all(acks).await.into_iter().for_each(|ack| drop(ack.expect("stored")));
}

/// The numbers in the hub's stream, in the order in which they came.
async fn at_hub(hub: &Hub) -> Vec<u64> {
    let stream = hub.stream().await;
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    let mut numbers = Vec::new();
    loop {
        let message = within("all of the stream", messages.next()).await.expect("more").expect("a message");
        numbers.push(std::str::from_utf8(&message.payload).expect("text").parse().expect("a number"));
        if message.info().expect("a reply subject").pending == 0 {
            return numbers;
        }
    }
}

async fn drained(leafd: &Leafd) {
    wait_for("the backlog has crossed", DRAIN, || async {
        let status = leafd.status()?["uplinks"][0].clone();
        (status["backlog_messages"] == 0 && status["in_flight"] == 0).then_some(())
    })
    .await;
}

/// A gateway whose uplink has these keys besides, and its hub.
async fn gateway(keys: &str, dir: &std::path::Path) -> (Hub, Proxy, Leafd) {
    let hub = Hub::start().await;
    hub.stream().await;
    let proxy = Proxy::start(hub.leafs).await;
    // The uplink's table is the last one.
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(keys).leafd(dir);
    leafd.start();
    (hub, proxy, leafd)
}

/// An outage with 300 readings, and 30 more while the backlog drains slowly.
async fn outage(order: &str) -> Vec<u64> {
    let dir = tempfile::tempdir().expect("a folder");
    let (hub, proxy, mut leafd) =
        gateway(&format!("order = {order:?}\nrate = \"20KB/s\"\nburst = \"1KB\"\n"), dir.path()).await;
    store(&leafd, 0..20).await;
    drained(&leafd).await;
    proxy.set(Link::Cut);
    wait_for("the link is known to be down", LIMIT, || async {
        (leafd.status()?["uplinks"][0]["state"] == "waiting for the link").then_some(())
    })
    .await;
    store(&leafd, 20..320).await;
    // What waits, and in which order, is known after a power cut too.
    leafd.restart();
    proxy.set(Link::Open);
    wait_for("a part of the backlog has crossed", LIMIT, || async {
        (leafd.status()?["uplinks"][0]["delivered"].as_u64()? >= 20).then_some(())
    })
    .await;
    store(&leafd, 320..350).await;
    drained(&leafd).await;
    at_hub(&hub).await
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_the_hub_gets_the_newest_first() {
    if !have(&hub::binary()) {
        return;
    }
    let numbers = outage("newest").await;
    let at = |number| numbers.iter().position(|at| *at == number).expect("it is there");
    assert_eq!(sorted(numbers.clone()), (0..350).collect::<Vec<_>>(), "each once");
    assert!(at(319) < at(300) && at(300) < at(100) && at(100) < at(21), "{numbers:?}");
    assert!(at(349) < at(100), "what came meanwhile goes before what is older: {numbers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_the_hub_gets_what_is_live_first() {
    if !have(&hub::binary()) {
        return;
    }
    let numbers = outage("live").await;
    let at = |number| numbers.iter().position(|at| *at == number).expect("it is there");
    assert_eq!(sorted(numbers.clone()), (0..350).collect::<Vec<_>>(), "each once");
    let (backlog, live): (Vec<u64>, Vec<u64>) = numbers.iter().partition(|number| **number < 320);
    assert!(backlog.is_sorted() && live.is_sorted(), "each part in its order: {numbers:?}");
    assert!(at(349) < at(250), "what came meanwhile did not wait for the backlog: {numbers:?}");
}

/// Cuts, resets, kill -9 of both sides, and readings all the time.
async fn storm(order: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut hub, proxy, mut leafd) = gateway(&format!("order = {order:?}\n"), dir.path()).await;
    let mut random = fastrand::Rng::with_seed(common::seed());
    let mut last = 0;
    for round in 0..16 {
        let more = random.u64(50..300);
        store(&leafd, last..last + more).await;
        last += more;
        match round % 5 {
            0 => proxy.set(Link::Cut),
            1 => proxy.set(Link::Reset(random.usize(1..600))),
            2 => leafd.restart(),
            3 => {
                hub.stop(false);
                hub.restart().await;
            }
            _ => proxy.set(Link::Stalled),
        }
        let more = random.u64(50..300);
        store(&leafd, last..last + more).await;
        last += more;
        if random.bool() {
            leafd.restart();
        }
        proxy.set(Link::Open);
        tokio::time::sleep(Duration::from_millis(random.u64(0..600))).await;
    }
    drained(&leafd).await;
    let mut counts = BTreeMap::new();
    at_hub(&hub).await.into_iter().for_each(|number| *counts.entry(number).or_insert(0) += 1);
    let wrong: Vec<_> = (0..last).filter(|number| counts.get(number) != Some(&1)).collect();
    assert!(wrong.is_empty(), "of {last} readings these are not once in {STREAM}: {wrong:?}");
    let status = leafd.status().expect("answers");
    println!("{order}: {last} readings, {}", status["uplinks"][0]);
    assert_eq!(status["uplinks"][0]["exactly_once"], "yes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reading_crosses_once_with_the_newest_first() {
    if have(&hub::binary()) {
        storm("newest").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_reading_crosses_once_with_what_is_live_first() {
    if have(&hub::binary()) {
        storm("live").await;
    }
}
