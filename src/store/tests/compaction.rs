//! Room of removed records is given back, while they are read, and whenever the power goes.

use super::simulation::audit;
use super::{DIR, all, log, open, put};
use crate::store::clock::Clock;
use crate::store::sim::SimDisk;
use crate::store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn size(disk: &SimDisk) -> usize {
    let files = disk.files().into_iter();
    files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).map(|(_, len)| len).sum()
}

fn used(disk: &SimDisk) -> usize {
    disk.files().into_iter().map(|(_, len)| len).sum()
}

/// Fills a log, and removes nine of ten but for the first and last segments; the payloads of what stays.
fn fill(store: &Store, log1: &Log) -> Vec<(u64, String)> {
    for n in 0..600 {
        put(log1, &format!("s.{}", n % 7), &format!("{n:0100}"));
        if n % 5 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    let goes: Vec<u64> = (20..580).filter(|seq| seq % 10 > 0).collect();
    assert_eq!(log1.remove(&goes).expect("removes"), goes.len() as u64);
    let kept = (1..=600).filter(|seq| !goes.contains(seq));
    kept.map(|seq| (seq, format!("{:0100}", seq - 1))).collect()
}

/// Fills a log, and removes two of five, but for the first and last segments; the payloads of what stays.
fn thin_out(store: &Store, log1: &Log) -> Vec<(u64, String)> {
    let payloads: Vec<String> = (0..600).map(|n| format!("{n:0100}")).collect();
    for (n, payload) in payloads.iter().enumerate() {
        put(log1, "s", payload);
        if n % 5 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    let (goes, stays): (Vec<_>, Vec<_>) = (1..=600).partition(|seq| (20..580).contains(seq) && seq % 5 < 2);
    log1.remove(&goes).expect("removes");
    store.barrier().wait().expect("commits");
    stays.into_iter().map(|seq| (seq, payloads[seq as usize - 1].clone())).collect()
}

fn shrinks(disk: &SimDisk, below: usize) {
    let begun = Instant::now();
    while size(disk) > below {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} bytes are left, not {below}", size(disk));
        std::thread::yield_now();
    }
}

#[test]
fn room_of_what_was_removed_between_others_is_given_back() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    let mut early = log1.reader();
    let kept = {
        let kept = fill(&store, &log1);
        // Stands in a segment that will be another file.
        early.seek(300);
        assert_eq!(early.next(&|_| true).expect("readable").map(|s| s.seq), Some(300));
        kept
    };
    store.barrier().wait().expect("commits");
    shrinks(&disk, 30_000);
    assert!(store.stats().bytes_compacted > 0);
    assert_eq!(all(&log1), kept);
    let mut rest = Vec::new();
    while let Some(stored) = early.next(&|_| true).expect("readable") {
        rest.push(stored.seq);
    }
    assert_eq!(rest, kept.iter().map(|(seq, _)| *seq).filter(|seq| *seq > 300).collect::<Vec<_>>());
    audit(&log1, "compacted");
    assert_eq!((log1.read(301).expect("readable"), log1.count_from(301, ">")), (None, rest.len() as u64));
    // Once more, of what was written anew.
    let goes: Vec<u64> = (30..570).filter(|seq| seq % 10 == 0 && seq % 100 > 0).collect();
    log1.remove(&goes).expect("removes");
    audit(&log1, "thinned out");
    store.close();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    audit(&log1, "opened");
    assert_eq!(log1.state().msgs, (kept.len() - goes.len()) as u64);
    assert_eq!(put(&log1, "s", "next"), 601);
}

#[test]
fn the_power_may_go_while_room_is_given_back() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::default();
        let store = open(&disk);
        let log1 = log(&store, Limits::default());
        let kept = fill(&store, &log1);
        store.barrier().wait().expect("commits");
        // At some time during it, or after; all is there all the time.
        let before = size(&disk);
        let until = random.usize(30_000.min(before)..=before);
        while size(&disk) > until {
            assert_eq!(all(&log1), kept, "seed {seed}, meanwhile");
            assert_eq!(log1.count_from(2, "s.*"), kept.len() as u64 - 1, "seed {seed}, meanwhile");
        }
        let disk = disk.cut(&mut random);
        store.close();
        let store = open(&disk);
        let log1 = log(&store, Limits::default());
        assert_eq!(all(&log1), kept, "seed {seed}");
        audit(&log1, &format!("seed {seed}"));
        shrinks(&disk, 30_000);
        assert_eq!(all(&log1), kept, "seed {seed}, compacted");
        store.close();
    }
}

#[test]
fn little_room_is_given_back_only_where_the_disk_is_nearly_full() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    let kept = thin_out(&store, &log1);
    let before = size(&disk);
    // All that waits is looked at in turn.
    let other = store.create_log("other", LogOptions::default()).expect("creates");
    fill(&store, &other);
    while store.stats().bytes_compacted == 0 {
        std::thread::yield_now();
    }
    store.remove_log("other").expect("removes");
    assert!(size(&disk) >= before, "two of five are not worth the wear");
    // Hardly a byte is free when a segment is full.
    disk.resize(Some(used(&disk) + 30_000));
    let more = (601..=630).map(|seq| (seq, format!("{seq:0100}")));
    let kept: Vec<_> = kept.into_iter().chain(more.clone()).collect();
    for (seq, payload) in more {
        assert_eq!(put(&log1, "s", &payload), seq);
        store.barrier().wait().expect("commits");
    }
    shrinks(&disk, before / 4 * 3);
    assert_eq!(all(&log1), kept);
    audit(&log1, "compacted on a disk that is nearly full");
    store.close();
    let store = open(&disk);
    assert_eq!(all(&log(&store, Limits::default())), kept);
}

#[test]
fn a_full_disk_gives_room_of_removed_records_back_and_stores_again() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    let kept = thin_out(&store, &log1);
    // Not a byte is free.
    disk.resize(Some(used(&disk)));
    let begun = Instant::now();
    let stored = loop {
        let seq = put(&log1, "s", &"x".repeat(5000));
        if store.barrier().wait().is_ok() {
            break seq;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is freed");
    };
    let there: Vec<_> = all(&log1).into_iter().filter(|(seq, _)| *seq <= 600).collect();
    assert_eq!((there, stored), (kept, 601));
    // Counted when the file that was written anew has taken the place of the old ones, which were gone before.
    while store.stats().bytes_freed == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was compacted");
        std::thread::yield_now();
    }
    audit(&log1, "compacted on a full disk");
}

#[test]
fn a_million_removals_in_any_order_have_at_most_half_of_what_was_appended_written_anew() {
    const RECORDS: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let disk = SimDisk::default();
    let options = StoreOptions { segment_bytes: 256 << 10, ..StoreOptions::default() };
    let store = Store::on_disk(Arc::new(disk.clone()), Path::new(DIR), options, None, Clock::of_the_machine());
    let store = store.expect("opens");
    let log1 = log(&store, Limits::default());
    for n in 0..RECORDS {
        put(&log1, "s", "x");
        if n % 10_000 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    let (appended, mut left) = (size(&disk) as u64, (1..=RECORDS).collect::<Vec<_>>());
    let mut random = fastrand::Rng::with_seed(5);
    random.shuffle(&mut left);
    let mut removals = 0;
    while let Some(from) = left.len().checked_sub(RECORDS as usize / 200) {
        let before = store.stats();
        log1.remove(&left.split_off(from)).expect("removes");
        store.barrier().wait().expect("commits");
        let now = store.stats();
        removals += (now.bytes_written - before.bytes_written) - (now.bytes_compacted - before.bytes_compacted);
        // What is live is told by its shares of the units that it lay in; the heads of new ones are a few bytes more.
        assert!(now.bytes_compacted <= now.bytes_freed / 2 + now.bytes_freed / 1000, "{now:?}");
    }
    assert_eq!(log1.state().msgs, 0);
    let stats = store.stats();
    assert!(stats.bytes_compacted > 0 && stats.bytes_compacted <= appended / 2, "{stats:?}, {appended} appended");
    assert!(removals < 40 * RECORDS, "{removals} bytes for {RECORDS} removals");
    shrinks(&disk, 300_000);
    store.close();
}
