//! A work queue that stands: as many messages are taken from it as are put into it, for `MINUTES` (10). What each writes to the
//! disk, and how much of the disk the queue takes.

use crate::{proc, setting};
use leafd::store::{Change, LogOptions, Record, Store, StoreOptions};
use std::path::Path;
use std::time::{Duration, Instant};

/// Messages that wait.
const BACKLOG: u64 = 1000;
/// Put and taken with each commit.
const BATCH: u64 = 64;

/// One that waits and 64 of each at a time, each message acknowledged durably, and so is how far the consumer has come.
pub fn measure(dir: &Path) {
    let duration = Duration::from_secs(60 * setting("MINUTES", 10));
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    let log = store.create_log("q", LogOptions::default()).expect("creates");
    let (begun, written) = (Instant::now(), proc::written());
    let (mut next, mut most, mut told) = (1, 0, Duration::ZERO);
    let report = |messages: u64, most: u64| {
        let (seconds, stats) = (begun.elapsed().as_secs_f64(), store.stats());
        println!(
            "  {seconds:4.0} s: {messages} messages, {:.0} a second, {} bytes written each; {:.1} MB on disk, at most {:.1} MB; \
             {} bytes compacted, {:.0} syncs/s",
            messages as f64 / seconds,
            (proc::written() - written) / messages.max(1),
            proc::size(dir) as f64 / 1e6,
            most as f64 / 1e6,
            stats.bytes_compacted,
            stats.syncs as f64 / seconds
        );
    };
    let mut random = fastrand::Rng::with_seed(1);
    let mut waiting = std::collections::VecDeque::new();
    while begun.elapsed() < duration {
        for _ in 0..BATCH {
            let record = Record { subject: "work.order", headers: b"", payload: &[b'x'; 128] };
            waiting.push_back(log.append(&record).expect("staged"));
        }
        if waiting.len() as u64 > BACKLOG {
            // Workers are not done in the order they began.
            let taken: Vec<u64> =
                (0..BATCH).filter_map(|_| waiting.swap_remove_front(random.usize(..BATCH as usize))).collect();
            next += taken.len() as u64;
            log.remove(&taken).expect("removes");
            store.state().write(vec![Change::Put("q.worker".into(), next.to_string().into())]);
        }
        store.barrier().wait().expect("commits");
        if begun.elapsed() - told > duration / 10 {
            told = begun.elapsed();
            most = most.max(proc::size(dir));
            report(next - 1, most);
        }
    }
    report(next - 1, most.max(proc::size(dir)));
}
