//! An outage that is longer than the local stream is large: what was lost is told, and nothing else is.

mod common;

use common::proxy::Link;
use common::{Gateway, Hub, LIMIT, Proxy, have, hub, wait_for};
use serde_json::Value;

const READINGS: u64 = 3000;

/// What the hub holds, as `(payload, headers)` of its messages.
async fn at_hub(hub: &Hub) -> Vec<(String, Option<async_nats::HeaderMap>)> {
    let mut stream = hub.stream().await;
    let last = stream.info().await.expect("its state").state.last_sequence;
    let mut messages = Vec::new();
    for seq in 1..=last {
        let message = stream.get_raw_message(seq).await.expect("a message");
        messages.push((String::from_utf8_lossy(&message.payload).into_owned(), Some(message.headers)));
    }
    messages
}

/// The hub's stream takes the gaps as well.
async fn gaps_too(hub: &Hub) {
    let mut config = hub.stream().await.cached_info().config.clone();
    config.subjects.push("plant1.*.gaps".into());
    async_nats::jetstream::new(hub.client().await).update_stream(config).await.expect("updated");
}

async fn outage(on_full: &str, order: &str) -> (Vec<u64>, u64, Value) {
    let hub = Hub::start().await;
    gaps_too(&hub).await;
    let proxy = Proxy::start(hub.leafs).await;
    proxy.set(Link::Cut);
    let dir = tempfile::tempdir().expect("a folder");
    // The uplink's table is the last one.
    let keys = format!(
        "max_bytes = \"300KB\"\non_full = {on_full:?}\nkeep_every = 4\ngap_subject = \"plant1.gw1.gaps\"\norder = {order:?}\n"
    );
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(&keys).leafd(dir.path());
    leafd.start();
    let context = async_nats::jetstream::new(leafd.client().await);
    for n in 0..READINGS {
        let payload = format!("{n:0>150}");
        context
            .publish(format!("plant1.gw1.telemetry.{}", n % 3), payload.into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    proxy.set(Link::Open);
    let status = wait_for("all that is left has crossed, and the gaps are told", LIMIT, || async {
        let status = leafd.status()?["uplinks"][0].clone();
        (status["backlog_messages"] == 0 && status["gaps"].as_u64()? > 0 && status["gaps_declared"].as_u64()? > 0)
            .then_some(status)
    })
    .await;
    let (mut readings, mut told) = (Vec::new(), 0);
    for (payload, headers) in at_hub(&hub).await {
        let count = headers.as_ref().and_then(|headers| headers.get("Leafd-Gap-Count"));
        match count {
            Some(count) => told += count.as_str().parse::<u64>().expect("a number"),
            None => readings.push(payload.parse().expect("a number")),
        }
    }
    (readings, told, status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_go_and_the_hub_is_told_how_many() {
    if !have(&hub::binary()) {
        return;
    }
    let (readings, told, status) = outage("drop_oldest", "oldest").await;
    assert_eq!(readings.len() as u64 + told, READINGS, "{status}");
    assert!(readings.iter().copied().eq(told..READINGS), "the newest are there: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_they_where_the_newest_cross_first() {
    if !have(&hub::binary()) {
        return;
    }
    let (mut readings, told, status) = outage("drop_oldest", "newest").await;
    assert_eq!(readings[0], READINGS - 1, "{status}");
    readings.sort_unstable();
    assert_eq!(readings.len() as u64 + told, READINGS, "{status}");
    assert!(readings.iter().copied().eq(told..READINGS), "the newest are there: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thinned_stream_reaches_back_to_the_first_reading() {
    if !have(&hub::binary()) {
        return;
    }
    let (readings, told, status) = outage("thin", "oldest").await;
    assert_eq!(readings.len() as u64 + told, READINGS, "{status}");
    assert!(status["thinned"].as_u64() > Some(READINGS / 3), "{status}");
    assert!(readings[0] < 20, "{status}");
    assert!(readings.is_sorted_by(|a, b| a < b), "once and in order");
    let tail = READINGS - 300..READINGS;
    assert_eq!(readings.iter().filter(|n| tail.contains(n)).count(), 300, "the newest are all there: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_the_flash_has_damaged_is_a_gap_that_the_hub_is_told_of() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    gaps_too(&hub).await;
    let proxy = Proxy::start(hub.leafs).await;
    proxy.set(Link::Cut);
    let dir = tempfile::tempdir().expect("a folder");
    let keys = "gap_subject = \"plant1.gw1.gaps\"\n";
    let mut leafd = Gateway::default().linked(&hub, proxy.address).text(keys).leafd(dir.path());
    leafd.start();
    let context = async_nats::jetstream::new(leafd.client().await);
    for n in 0..20 {
        let sent = context.publish("plant1.gw1.telemetry.t", format!("reading {n:02}").into()).await.expect("sent");
        sent.await.expect("stored");
    }
    leafd.kill9();
    assert_eq!(flip(&leafd.data(), b"reading 07"), 1, "there is one copy of it");
    leafd.start();
    proxy.set(Link::Open);
    let status = wait_for("the rest has crossed, and the gap is told", LIMIT, || async {
        let status = leafd.status()?["uplinks"][0].clone();
        (status["backlog_messages"] == 0 && status["gaps_declared"] == 1).then_some(status)
    })
    .await;
    let (told, readings): (Vec<_>, Vec<_>) = at_hub(&hub)
        .await
        .into_iter()
        .partition(|(_, headers)| headers.as_ref().is_some_and(|headers| headers.get("Leafd-Gap-Count").is_some()));
    assert_eq!(told.len(), 1, "{status}");
    assert_eq!(told[0].1.as_ref().and_then(|headers| headers.get("Leafd-Gap-Count")).expect("a number").as_str(), "1");
    let there = (0..20).filter(|n| *n != 7).map(|n| format!("reading {n:02}"));
    assert!(
        readings.into_iter().map(|(payload, _)| payload).eq(there),
        "each once, in order, and none that is damaged"
    );
}

/// Flips a bit of `what` wherever segments below `dir` hold it; how often.
fn flip(dir: &std::path::Path, what: &[u8]) -> usize {
    let mut found = 0;
    for path in std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            found += flip(&path, what);
        } else if path.extension().is_some_and(|end| end == "seg") {
            let mut bytes = std::fs::read(&path).expect("readable");
            while let Some(at) = bytes.windows(what.len()).position(|part| part == what) {
                bytes[at] ^= 1;
                found += 1;
            }
            std::fs::write(&path, bytes).expect("written");
        }
    }
    found
}
