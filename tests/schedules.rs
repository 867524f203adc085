//! Schedules over kill -9: what was due is given once, whether the power went away before, while or after it was given.

mod common;

use async_nats::HeaderMap;
use async_nats::jetstream;
use common::{LIMIT, Leafd, wait_for};
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const COUNT: usize = 60;
/// Between two schedules.
const STEP: Duration = Duration::from_millis(50);

/// The targets that have messages, with their number.
async fn given(client: &async_nats::Client) -> BTreeMap<String, usize> {
    let stream = jetstream::new(client.clone()).get_stream("C").await.expect("it is there");
    let subjects = stream.info_with_subjects("c.given.*").await.expect("told");
    subjects.try_collect().await.expect("all of them")
}

#[tokio::test]
async fn a_kill_neither_loses_what_is_scheduled_nor_gives_it_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), "");
    leafd.start();
    let client = leafd.client().await;
    let config = serde_json::json!({"name": "C", "subjects": ["c.>"], "allow_msg_schedules": true}).to_string();
    client.request("$JS.API.STREAM.CREATE.C", config.into()).await.expect("an answer");
    let context = jetstream::new(client);
    let begin = SystemTime::now() + Duration::from_secs(1);
    for n in 0..COUNT {
        let at = (begin + STEP * n as u32).duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::try_from(at).expect("fits")).expect("a time");
        let at = at.format(&time::format_description::well_known::Rfc3339).expect("text");
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Schedule", format!("@at {at}"));
        headers.insert("Nats-Schedule-Target", format!("c.given.{n}"));
        let ack = context.publish_with_headers(format!("c.schedule.{n}"), headers, "x".into()).await.expect("sent");
        ack.await.expect("stored");
    }
    // Kills fall between, and into, what is given.
    for reached in (1..COUNT).step_by(COUNT / 6) {
        let client = leafd.client().await;
        wait_for("some of it", LIMIT, || async { (given(&client).await.len() >= reached).then_some(()) }).await;
        leafd.restart();
    }
    let client = leafd.client().await;
    let all = wait_for("all that was scheduled", LIMIT, || async {
        let all = given(&client).await;
        (all.len() == COUNT).then_some(all)
    })
    .await;
    assert!(all.values().all(|count| *count == 1), "{all:?}");
    let stream = jetstream::new(client).get_stream("C").await.expect("it is there");
    wait_for("no schedule that is left", LIMIT, || async {
        let info = stream.get_info().await.expect("told");
        (info.state.messages == COUNT as u64).then_some(())
    })
    .await;
}
