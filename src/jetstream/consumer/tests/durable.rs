//! What outlives a restart, and what leaves the stream.

use super::*;

#[tokio::test]
async fn what_was_confirmed_never_comes_again_and_the_rest_comes_with_its_count() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.3", "a.4"]).await;
    bench.create(ConsumerConfig { ack_wait: 50 * MS, ..pulled("c") });
    let mut inbox = bench.pull("c", "3");
    let (first, _, third) = (next(&mut inbox).await, next(&mut inbox).await, next(&mut inbox).await);
    bench.double_ack(&first).await;
    bench.double_ack(&third).await;
    let bench = bench.restart();
    let mut inbox = bench.pull("c", "2");
    let (one, other) = (next(&mut inbox).await, next(&mut inbox).await);
    let mut got = [counts(&one), counts(&other)].map(|[deliveries, seq, ..]| (deliveries, seq));
    got.sort_unstable();
    assert_eq!(got, [(1, 4), (2, 2)]);
    let info = bench.consumers.get("c").expect("there").info();
    assert_eq!((info.ack_floor.stream_seq, info.delivered.consumer_seq), (1, 5));
}

#[tokio::test]
async fn consumers_in_memory_do_not_outlive_a_restart_and_deleted_ones_stay_away() {
    let bench = Bench::new();
    bench.create(ConsumerConfig { mem_storage: true, ..pulled("memory") });
    bench.create(pulled("deleted"));
    bench.create(pulled("kept"));
    bench.consumers.delete("deleted").expect("there").await.expect("durable");
    let bench = bench.restart();
    let names: Vec<String> = bench.consumers.list().iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(names, ["kept"]);
}

#[tokio::test]
async fn an_update_keeps_the_position() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(pulled("c"));
    let message = next(&mut bench.pull("c", "1")).await;
    bench.double_ack(&message).await;
    bench.create(ConsumerConfig { description: "changed".into(), ..pulled("c") });
    assert_eq!(text(&next(&mut bench.pull("c", "1")).await), "m2");
    let again = bench.consumers.create(pulled("c"), Action::Create, false).err().map(|refusal| refusal.err_code);
    assert_eq!(again, Some(10148));
}

#[tokio::test]
async fn a_work_queue_loses_what_is_acknowledged() {
    let bench = Bench::with(rules(Retention::WorkQueue));
    bench.fill(&["a.1", "a.2"]).await;
    bench.create(pulled("c"));
    let refused = bench.consumers.create(pulled("d"), Action::default(), false).err().map(|refusal| refusal.err_code);
    assert_eq!(refused, Some(10099));
    let message = next(&mut bench.pull("c", "1")).await;
    bench.double_ack(&message).await;
    wait_for(|| bench.log.state().msgs == 1).await;
    assert!(bench.log.read(1).expect("readable").is_none());
}

#[tokio::test]
async fn an_interest_stream_keeps_what_somebody_still_needs() {
    let bench = Bench::with(rules(Retention::Interest));
    bench.create(pulled("c"));
    bench.create(pulled("d"));
    bench.fill(&["a.1"]).await;
    let message = next(&mut bench.pull("c", "1")).await;
    bench.double_ack(&message).await;
    let message = next(&mut bench.pull("d", "1")).await;
    assert_eq!(bench.log.state().msgs, 1, "d needs it still");
    bench.double_ack(&message).await;
    wait_for(|| bench.log.state().msgs == 0).await;
    bench.fill(&["a.2"]).await;
    bench.consumers.delete("c");
    bench.double_ack(&next(&mut bench.pull("d", "1")).await).await;
    wait_for(|| bench.log.state().msgs == 0).await;
    bench.create(pulled("e"));
    bench.fill(&["a.3"]).await;
    bench.double_ack(&next(&mut bench.pull("d", "1")).await).await;
    bench.consumers.delete("e");
    wait_for(|| bench.log.state().msgs == 0).await;
}

#[tokio::test]
async fn interest_follows_the_filters_of_consumers() {
    let bench = Bench::with(rules(Retention::Interest));
    let config = |subjects: &[&str]| ConsumerConfig {
        filter_subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        ..pulled("c")
    };
    let want = || ["a.a", "a.b.1", "a.b.2"].map(|subject| bench.consumers.want(subject));
    assert_eq!(want(), [false; 3]);
    bench.create(config(&["a.a", "a.b.1"]));
    assert_eq!(want(), [true, true, false]);
    bench.create(config(&["a.b.*", "a.c"]));
    assert_eq!(want(), [false, true, true]);
    assert_eq!(bench.consumers.count(), 1);
    bench.create(pulled("d"));
    assert_eq!((want(), bench.consumers.count()), ([true; 3], 2));
    let bench = bench.restart();
    bench.consumers.delete("d").expect("it is there");
    let want = || ["a.a", "a.b.1", "a.b.2"].map(|subject| bench.consumers.want(subject));
    assert_eq!((want(), bench.consumers.count()), ([false, true, true], 1));
    bench.consumers.delete("c").expect("it is there");
    assert_eq!((want(), bench.consumers.count()), ([false; 3], 0));
}

async fn wait_for(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "did not come about");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_redelivery_that_is_damaged_is_passed_over() {
    let bench = Bench::new();
    bench.fill(&["a.1", "a.2", "a.3"]).await;
    bench.create(ConsumerConfig { ack_wait: 50 * MS, ..pulled("c") });
    let mut inbox = bench.pull("c", "2");
    next(&mut inbox).await;
    next(&mut inbox).await;
    damage(bench.dir.path(), b"m1");
    let mut inbox = bench.pull("c", "2");
    let mut got = [text(&next(&mut inbox).await), text(&next(&mut inbox).await)];
    got.sort_unstable();
    assert_eq!(got, ["m2", "m3"]);
    assert_eq!(bench.log.damaged(), [1..=1]);
}

/// Flips a bit of the payload in the only segment.
fn damage(dir: &std::path::Path, payload: &[u8]) {
    let segment = dir.join("streams/s/00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let at = bytes.windows(payload.len()).position(|part| part == payload).expect("stored");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
}
