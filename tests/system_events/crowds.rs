//! More requests to JetStream than a server lets wait.

use super::common::LIMIT;
use super::pair::Pair;
use futures_util::StreamExt;
use serde_json::Value;
use std::time::{Duration, Instant};

/// nats-server, whose event has the same fields, works too fast to be brought there.
#[tokio::test]
async fn requests_that_are_refused_as_too_many_wait_are_told_of() {
    let pair = Pair::start().await;
    let [_, server] = pair.servers().await;
    let mut events = server.listen("$JS.EVENT.ADVISORY.API.LIMIT_REACHED").await;
    let app = server.app("crowd").await;
    let began = Instant::now();
    let event = loop {
        for _ in 0..20_000 {
            app.publish("$JS.API.STREAM.INFO.NONE", "".into()).await.expect("sent");
        }
        match tokio::time::timeout(Duration::from_millis(100), events.next()).await {
            Ok(event) => break event.expect("open"),
            Err(_) => assert!(began.elapsed() < LIMIT, "nobody is told"),
        }
    };
    let event: Value = serde_json::from_slice(&event.payload).expect("JSON");
    assert!(event["dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{event}");
    assert_eq!(event["type"], "io.nats.jetstream.advisory.v1.api_limit_reached");
    assert_eq!((&event["server"], &event["domain"]), (&"gw1".into(), &"gw1".into()));
    assert!(event["id"].is_string() && event["timestamp"].is_string(), "{event}");
}
