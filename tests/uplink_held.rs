//! What does not cross now, and what never will: schedules, monthly budgets, and dead letters, as a user sees them beside a real hub.

mod common;

use async_nats::jetstream;
use common::hub::STREAM;
use common::{Gateway, Hub, LIMIT, Leafd, have, hub, wait_for, within};
use futures_util::StreamExt;
use serde_json::Value;

async fn store(leafd: &Leafd, payloads: impl IntoIterator<Item = String>) {
    let context = jetstream::new(leafd.client().await);
    for payload in payloads {
        let subject = "plant1.gw1.telemetry.t";
        context.publish(subject, payload.into()).await.expect("sent").await.expect("stored");
    }
}

fn uplink(leafd: &Leafd) -> Option<Value> {
    Some(leafd.status()?["uplinks"][0].clone())
}

async fn until_state(leafd: &Leafd, words: &str) -> Value {
    wait_for(words, LIMIT, || async { uplink(leafd).filter(|status| status["state"] == words) }).await
}

async fn at_hub(hub: &Hub) -> u64 {
    hub.stream().await.info().await.expect("its state").state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_of_its_schedule_an_uplink_sends_nothing_and_within_it_everything() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    hub.stream().await;
    let dir = tempfile::tempdir().expect("a folder");
    let schedule = |day: time::Weekday| {
        let name = &day.to_string()[..3];
        Gateway::default().linked(&hub, hub.leafs).text(&format!("schedule = [\"{name}\"]\n"))
    };
    let today = time::OffsetDateTime::now_utc().weekday();
    // Not tomorrow, which may begin meanwhile.
    let mut leafd = schedule(today.next().next().next()).leafd(dir.path());
    leafd.start();
    store(&leafd, (0..10).map(|n| n.to_string())).await;
    let status = until_state(&leafd, "held back outside of its schedule").await;
    assert_eq!((&status["backlog_messages"], at_hub(&hub).await), (&Value::from(10), 0), "{status}");
    leafd.kill9();

    let (today, tomorrow) = (today.to_string(), today.next().to_string());
    let open = format!("schedule = [\"{},{}\"]\n", &today[..3], &tomorrow[..3]);
    let mut leafd = Gateway::default().linked(&hub, hub.leafs).text(&open).leafd(dir.path());
    leafd.start();
    until_state(&leafd, "up to date").await;
    assert_eq!(at_hub(&hub).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_monthly_budget_holds_and_a_larger_one_lets_the_rest_cross() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    hub.stream().await;
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&hub, hub.leafs).text("monthly = \"60KB\"\n").leafd(dir.path());
    leafd.start();
    let noise = || std::iter::repeat_with(fastrand::alphanumeric).take(1000).collect::<String>();
    store(&leafd, std::iter::repeat_with(noise).take(200)).await;
    let status = until_state(&leafd, "held back: the bytes of the month are used up").await;
    let spent = status["bytes_this_month"].as_u64().expect("a number");
    assert!((50_000..80_000).contains(&spent), "{status}");
    assert!(status["eta"].is_null(), "what waits for the next month is not done in seconds: {status}");
    assert!(at_hub(&hub).await < 100);
    leafd.kill9();
    let mut leafd = Gateway::default().linked(&hub, hub.leafs).text("monthly = \"10MB\"\n").leafd(dir.path());
    leafd.start();
    let status = until_state(&leafd, "up to date").await;
    assert!(status["bytes_this_month"].as_u64() > Some(spent), "the month goes on: {status}");
    assert_eq!(at_hub(&hub).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_hub_refuses_for_good_is_kept_here_with_the_reason_and_the_rest_crosses_in_order() {
    if !have(&hub::binary()) {
        return;
    }
    let hub = Hub::start().await;
    let mut config = hub.stream().await.cached_info().config.clone();
    config.max_message_size = 2000;
    jetstream::new(hub.client().await).update_stream(config).await.expect("updated");
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Gateway::default().linked(&hub, hub.leafs).leafd(dir.path());
    leafd.start();
    store(&leafd, (0..30).map(|n| if n % 10 == 4 { "x".repeat(3000) } else { n.to_string() })).await;
    let status = wait_for("all is decided", LIMIT, || async {
        uplink(&leafd).filter(|status| status["backlog_messages"] == 0 && status["in_flight"] == 0)
    })
    .await;
    assert_eq!(status["dead_letters"], 3, "{status}");
    let context = jetstream::new(hub.client().await);
    let stream = context.get_stream(STREAM).await.expect("the stream");
    let mut payloads = Vec::new();
    for seq in 1..=27 {
        payloads
            .push(String::from_utf8_lossy(&stream.get_raw_message(seq).await.expect("a message").payload).into_owned());
    }
    assert_eq!(payloads, (0..30).filter(|n| n % 10 != 4).map(|n| n.to_string()).collect::<Vec<_>>());

    let dead = jetstream::new(leafd.client().await).get_stream("DEAD_telemetry").await.expect("dead letters");
    let ordered = jetstream::consumer::pull::OrderedConfig::default();
    let mut letters = dead.create_consumer(ordered).await.expect("a consumer").messages().await.expect("messages");
    for _ in 0..3 {
        let letter = within("a letter", letters.next()).await.expect("a letter").expect("a message");
        let headers = letter.headers.as_ref().expect("headers");
        assert_eq!(headers.get("Leafd-Dead-Subject").map(|subject| subject.as_str()), Some("plant1.gw1.telemetry.t"));
        let reason = headers.get("Leafd-Dead-Reason").expect("a reason").as_str();
        assert!(reason.contains("message size exceeds"), "{reason}");
        assert_eq!(letter.payload.len(), 3000);
    }

    // The log has the first at once, and how many more there were, not a line each.
    assert!(leafd.terminate().success());
    let log = leafd.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("the hub refuses")).collect();
    assert!(told.len() == 2 && told[0].contains("refuses message 5 on plant1.gw1.telemetry.t for good"), "{told:?}");
    assert!(told[1].contains("refuses 2 more messages for good; the last: message 25 on"), "{told:?}");
}
