//! A store that has nothing to do: what it writes in an hour, told by what it writes in `SECONDS` (60) with 20 streams of each
//! kind that hold messages, some of which have an age.

use crate::{proc, setting};
use leafd::store::{Limits, LogOptions, Record, Store, StoreOptions, Sync};
use std::path::Path;
use std::time::Duration;

/// Sleeps, and says what was written meanwhile.
pub fn measure(dir: &Path) {
    let duration = Duration::from_secs(setting("SECONDS", 60));
    let store = Store::open(dir, StoreOptions::default()).expect("opens");
    let kinds = [
        (Sync::Durable, None),
        (Sync::Durable, Some(Duration::from_secs(86_400))),
        (Sync::Interval(Duration::from_secs(1)), None),
    ];
    let mut logs = Vec::new();
    for (kind, (sync, max_age)) in kinds.into_iter().enumerate() {
        for n in 0..20 {
            let limits = Limits { max_age, ..Limits::default() };
            let options = LogOptions { sync, limits, ..LogOptions::default() };
            let log = store.create_log(&format!("i{kind}-{n}"), options).expect("creates");
            for _ in 0..100 {
                log.append(&Record { subject: "s.a", headers: b"", payload: &[b'x'; 128] }).expect("staged");
            }
            logs.push(log);
        }
    }
    store.barrier().wait().expect("commits");
    // What an interval owes, and the file system after it.
    std::thread::sleep(Duration::from_secs(10));
    let (written, stats) = (proc::written(), store.stats());
    std::thread::sleep(duration);
    let hours = duration.as_secs_f64() / 3600.0;
    println!(
        "  {:.0} bytes and {:.0} syncs an hour",
        (proc::written() - written) as f64 / hours,
        (store.stats().syncs - stats.syncs) as f64 / hours
    );
}
