//! Durable acknowledgements: how many a second, and what each costs the disk.

use crate::{proc, setting};
use leafd::store::{CommitObserver, Log, LogOptions, Record, Store, StoreError, StoreOptions};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Lets so many records be on their way at once.
#[derive(Default)]
struct Window {
    committed: Mutex<u64>,
    moved: Condvar,
}

impl CommitObserver for Window {
    fn committed(&self, upto: u64) {
        *self.committed.lock().expect("fine") = upto;
        self.moved.notify_one();
    }

    fn failed(&self, _: u64, error: &StoreError) {
        panic!("{error}");
    }
}

/// Publishes for so long with `in_flight` on their way; returns how many were acknowledged.
fn publish(log: &Log, window: &Window, in_flight: u64, duration: Duration) -> u64 {
    let begun = Instant::now();
    let first = log.committed();
    let mut last = first;
    while begun.elapsed() < duration {
        let committed = {
            let mut committed = window.committed.lock().expect("fine");
            while last.saturating_sub(*committed) >= in_flight && last > first {
                committed = window.moved.wait(committed).expect("fine");
            }
            *committed
        };
        while last - committed.max(first) < in_flight {
            last =
                log.append(&Record { subject: "sensor.value", headers: b"", payload: &[b'x'; 128] }).expect("staged");
        }
    }
    log.committed() - first
}

fn streams(store: &Store, count: usize, name: &str) -> Vec<(Log, Arc<Window>)> {
    let logs = (0..count).map(|n| store.create_log(&format!("{name}{n}"), LogOptions::default()).expect("creates"));
    logs.map(|log| {
        let window = Arc::new(Window::default());
        log.observe(window.clone());
        (log, window)
    })
    .collect()
}

/// One stream, with 1, 64 and 1024 in flight.
pub fn in_flight(dir: &Path) {
    let duration = Duration::from_secs(setting("SECONDS", 3));
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    for in_flight in [1, 64, 1024] {
        let (log, window) = streams(&store, 1, &format!("w{in_flight}-")).remove(0);
        let (before, syncs) = (proc::written(), store.stats().syncs);
        let acks = publish(&log, &window, in_flight, duration);
        store.barrier().wait().expect("commits");
        let (written, syncs) = (proc::written() - before, store.stats().syncs - syncs);
        let seconds = duration.as_secs_f64();
        println!(
            "  {in_flight:4} in flight: {:8.0} acks/s, {:5} bytes written each, {:6.0} syncs/s",
            acks as f64 / seconds,
            written / acks.max(1),
            syncs as f64 / seconds
        );
    }
}

/// One stream with 64 in flight, then 20 streams with 64 each.
pub fn many(dir: &Path) {
    let duration = Duration::from_secs(setting("SECONDS", 3));
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    let mut one = 0.0;
    for count in [1, 20] {
        let streams = streams(&store, count, &format!("m{count}-"));
        let before = proc::written();
        let acks: u64 = std::thread::scope(|scope| {
            let tasks: Vec<_> =
                streams.iter().map(|(log, window)| scope.spawn(|| publish(log, window, 64, duration))).collect();
            tasks.into_iter().map(|task| task.join().expect("fine")).sum()
        });
        let (rate, written) = (acks as f64 / duration.as_secs_f64(), proc::written() - before);
        one = if count == 1 { rate } else { one };
        let share = rate / one;
        println!(
            "  {count:2} streams: {rate:8.0} acks/s ({share:.2} of one), {} bytes written each",
            written / acks.max(1)
        );
    }
}
