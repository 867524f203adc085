//! An index of more subjects than its memory holds: how long a publish takes in it while its checkpoint is written, and how much
//! memory the process has at most.

use crate::{proc, setting};
use leafd::store::{Log, LogOptions, Record, Store, StoreOptions};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Measures in a process of its own, as its memory is measured.
pub fn measure(dir: &Path) {
    let me = std::env::current_exe().expect("known");
    for step in ["index", "reopen"] {
        Command::new(&me).arg(step).arg(dir).status().expect("runs");
    }
}

fn options() -> StoreOptions {
    StoreOptions { index_bytes: setting("INDEX_BYTES", 4_000_000), ..StoreOptions::default() }
}

/// Publishes on each of `SUBJECTS` (1 million) once, then on any of them, with `INDEX_BYTES` (4 MB) of memory.
pub fn fill(dir: &Path) {
    let (subjects, messages) = (setting("SUBJECTS", 1_000_000), setting("UPDATES", 500_000));
    let store = Store::open(dir, options()).expect("opens");
    let log = store.create_log("s", LogOptions::default()).expect("creates");
    report("new subjects", publish(&store, &log, (0..subjects).map(|n| n * 7919 % subjects)));
    let mut random = fastrand::Rng::with_seed(1);
    report("known ones", publish(&store, &log, (0..messages).map(|_| random.u64(..subjects))));
    std::process::exit(0);
}

/// Opens what [`fill`] left behind, as after a kill.
pub fn open(dir: &Path) {
    let begun = Instant::now();
    let store = Store::open(dir, options()).expect("opens");
    let log = store.open_log("s", LogOptions::default()).expect("opens");
    println!(
        "  opened in {:.0} ms, {} subjects; RSS at most {:.1} MB",
        begun.elapsed().as_secs_f64() * 1e3,
        log.state().num_subjects,
        proc::memory().1 as f64 / 1024.0
    );
    std::process::exit(0);
}

/// How long each took to be staged.
fn publish(store: &Store, log: &Log, numbers: impl Iterator<Item = u64>) -> Vec<Duration> {
    let mut took = Vec::new();
    for (n, number) in (1..).zip(numbers) {
        let subject = format!("plant.{:02}.device.{number:07}.state", number % 50);
        let begun = Instant::now();
        log.append(&Record { subject: &subject, headers: b"", payload: &[b'x'; 128] }).expect("staged");
        took.push(begun.elapsed());
        if n % 256 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    took
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "  {name}: a publish takes {:.1} us (p50), {:.0} (p99), {:.0} (p99.9), {:.0} at most; RSS at most {:.1} MB",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
        proc::memory().1 as f64 / 1024.0
    );
}
