//! A bucket whose keys do not fit into `memory.max`: those that were not used lately are on disk, and everything goes on as if they
//! were not.

mod common;

use async_nats::jetstream::{self, kv, stream};
use common::{LIMIT, Leafd, wait_for, within};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::path::Path;

/// Keys; in memory they would take about eight times as much as they may.
const KEYS: usize = 20_000;
const CONFIG: &str = "[http]\nport = 0\n[memory]\nmax = \"200KB\"\n";
const MAX: u64 = 250_000;

fn key(n: usize) -> String {
    format!("site.{}.device.{n:05}.state", n % 20)
}

/// Puts `keys` many at a time; all are acknowledged.
async fn put(bucket: &kv::Store, keys: impl Iterator<Item = usize>, value: &str) {
    let puts = futures_util::stream::iter(keys.map(|n| bucket.put(key(n), format!("{value} {n}").into())));
    puts.buffer_unordered(256).try_for_each(|_| async { Ok(()) }).await.expect("acknowledged");
}

async fn values(bucket: &kv::Store, filter: &str) -> BTreeMap<String, String> {
    let mut watch = bucket.watch_with_history(filter).await.expect("watched");
    let mut found = BTreeMap::new();
    while let Some(entry) = within("the next key", watch.next()).await {
        let entry = entry.expect("an entry");
        let text = String::from_utf8_lossy(&entry.value).into_owned();
        let before = found.insert(entry.key, text);
        assert_eq!(before, None, "each key once");
        if entry.delta == 0 {
            break;
        }
    }
    found
}

fn spilled(data: &Path) -> usize {
    let names = std::fs::read_dir(data).expect("there").map(|entry| entry.expect("there").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("store.spill.")).count()
}

async fn check_numbers(leafd: &Leafd, subjects: u64) {
    let store = &leafd.status().expect("answers")["store"];
    let number = |name: &str| store[name].as_u64().unwrap_or_else(|| panic!("no {name} in {store}"));
    assert!(number("index_bytes") < MAX, "{store}");
    assert!(number("index_cold_subjects") > subjects / 2 && number("index_cold_bytes") > 100_000, "{store}");
    assert_eq!(number("subjects_refused"), 0, "{store}");
    // Both are asked again, as memory is still given back after the last put was acknowledged.
    wait_for("/metrics says what the status says", LIMIT, async || {
        let store = &leafd.status().expect("answers")["store"];
        let page = common::http::get(&format!("{}/metrics", leafd.port("monitoring")), "", None).await.body;
        page.contains(&format!("\nleafd_store_index_cold_subjects {}\n", store["index_cold_subjects"])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_may_have_more_keys_than_fit_into_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), CONFIG);
    leafd.start();
    let context = jetstream::new(leafd.client().await);
    let config = kv::Config { bucket: "B".into(), history: 1, ..Default::default() };
    let bucket = context.create_key_value(config).await.expect("a bucket");
    // In an order that jumps about.
    put(&bucket, (0..KEYS).map(|n| n * 7919 % KEYS), "first").await;
    put(&bucket, (0..KEYS).step_by(10), "second").await;
    check_numbers(&leafd, KEYS as u64).await;
    let expected = |n: usize| format!("{} {n}", if n.is_multiple_of(10) { "second" } else { "first" });
    let look = async |leafd: &Leafd, gone: Option<usize>| {
        let bucket = jetstream::new(leafd.client().await).get_key_value("B").await.expect("the bucket");
        for n in (0..KEYS).step_by(37) {
            let value = bucket.get(key(n)).await.expect("readable");
            let there = (Some(n % 20) != gone).then(|| expected(n).into());
            assert_eq!(value, there, "{}", key(n));
        }
        let site = values(&bucket, "site.7.device.*.state").await;
        assert_eq!(site.len(), KEYS / 20);
        assert!(
            site.iter().eq((7..KEYS).step_by(20).map(|n| (key(n), expected(n))).collect::<BTreeMap<_, _>>().iter())
        );
    };
    look(&leafd, None).await;
    leafd.restart();
    assert_eq!(spilled(&leafd.data()), 1, "that of the process before is gone");
    check_numbers(&leafd, KEYS as u64).await;
    look(&leafd, None).await;
    let context = jetstream::new(leafd.client().await);
    let bucket: stream::Stream = context.get_stream("KV_B").await.expect("the stream");
    let purged = bucket.purge().filter("$KV.B.site.3.>").await.expect("purged");
    assert_eq!(purged.purged, KEYS as u64 / 20);
    look(&leafd, Some(3)).await;
    leafd.restart();
    look(&leafd, Some(3)).await;
    let mut stream = jetstream::new(leafd.client().await).get_stream("KV_B").await.expect("the stream");
    let state = &stream.info().await.expect("told").state;
    assert_eq!((state.subjects_count, state.messages), (KEYS as u64 / 20 * 19, KEYS as u64 / 20 * 19));
    leafd.terminate();
    assert_eq!(spilled(&leafd.data()), 0, "nothing is left behind");
}
