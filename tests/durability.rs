//! A PubAck means that the message is on disk: a publisher with many in flight, kill -9 at random, and a look at what is
//! there after the restart. `LEAFD_SEED` replays a run, `LEAFD_KILLS` sets the number of kills.

mod common;

use async_nats::jetstream;
use common::Leafd;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::time::Duration;

/// Messages that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("LEAFD_KILLS").map_or(20, |text| text.parse().expect("LEAFD_KILLS is a number"));
    let mut random = fastrand::Rng::with_seed(common::seed());
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let config = jetstream::stream::Config { name: "S".into(), subjects: vec!["s.>".into()], ..Default::default() };
    jetstream::new(leafd.client().await).create_stream(config).await.expect("a stream");
    let mut acked = HashMap::new();
    let mut next = 0;
    for _ in 0..rounds {
        let until = tokio::time::Instant::now() + Duration::from_millis(random.u64(30..250));
        let publisher = publish(&leafd, &mut next, &mut acked);
        let _ = tokio::time::timeout_at(until, publisher).await;
        leafd.restart();
        let stored = read_all(&leafd).await;
        for (seq, payload) in &acked {
            assert_eq!(
                stored.get(seq),
                Some(payload),
                "acknowledged under sequence {seq}, and not there after kill -9"
            );
        }
    }
    eprintln!("{rounds} kills, {next} published, {} acknowledged, all there", acked.len());
    assert!(acked.len() > rounds, "the test has shown something");
}

/// Publishes without end; notes each acknowledgement.
async fn publish(leafd: &Leafd, next: &mut u64, acked: &mut HashMap<u64, String>) {
    let context = jetstream::new(leafd.client().await);
    let mut waiting = futures_util::stream::FuturesUnordered::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let payload = format!("message {next}");
            *next += 1;
            let Ok(ack) = context.publish("s.x", payload.clone().into()).await else { return };
            waiting.push(async move { (ack.await, payload) });
        }
        if let Some((Ok(ack), payload)) = waiting.next().await {
            acked.insert(ack.sequence, payload);
        }
    }
}

async fn read_all(leafd: &Leafd) -> HashMap<u64, String> {
    let stream = jetstream::new(leafd.client().await).get_stream("S").await.expect("the stream is there again");
    let mut stored = HashMap::new();
    if stream.cached_info().state.messages == 0 {
        return stored;
    }
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let mut messages = stream.create_consumer(config).await.expect("a consumer").messages().await.expect("messages");
    loop {
        let message = messages.next().await.expect("more").expect("a message");
        let info = message.info().expect("a reply subject");
        stored.insert(info.stream_sequence, String::from_utf8_lossy(&message.payload).into_owned());
        if info.pending == 0 {
            return stored;
        }
    }
}
