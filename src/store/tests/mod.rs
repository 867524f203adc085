//! The store as its users see it: on a simulated disk with power cuts, and on the real one.

mod at_hand;
mod batches;
mod compaction;
mod compression;
mod encryption;
mod faults;
mod logs;
mod simulation;

use super::clock::Clock;
use super::sim::SimDisk;
use super::*;
use std::path::Path;
use std::sync::{Arc, Mutex};

const DIR: &str = "/data";

fn open_by(disk: &SimDisk, clock: Clock) -> Store {
    open_as(disk, clock, false, StoreOptions::default().index_bytes)
}

fn open_as(disk: &SimDisk, clock: Clock, encrypted: bool, index_bytes: u64) -> Store {
    let encryption =
        encrypted.then(|| Encryption { key: b"a key that nobody guesses".to_vec(), ..Encryption::default() });
    let options = StoreOptions { segment_bytes: 2000, encryption, index_bytes };
    Store::on_disk(Arc::new(disk.clone()), Path::new(DIR), options, None, clock).expect("opens")
}

fn open(disk: &SimDisk) -> Store {
    open_by(disk, Clock::of_the_machine())
}

fn log(store: &Store, limits: Limits) -> Log {
    log_of(store, LogOptions { limits, ..LogOptions::default() })
}

fn log_of(store: &Store, options: LogOptions) -> Log {
    match store.log_ids().expect("lists").is_empty() {
        true => store.create_log("s", options).expect("creates"),
        false => store.open_log("s", options).expect("opens"),
    }
}

fn put(log: &Log, subject: &str, payload: &str) -> u64 {
    log.append(&Record { subject, headers: b"", payload: payload.as_bytes() }).expect("staged")
}

/// The disk works again, and what had to wait for it is committed.
fn heal(disk: &SimDisk, store: &Store) {
    disk.fail(None);
    // The round under way may have failed before.
    let _ = store.barrier().wait();
    store.barrier().wait().expect("works again");
}

fn all(log: &Log) -> Vec<(u64, String)> {
    let mut reader = log.reader();
    let mut got = Vec::new();
    while let Some(stored) = reader.next(&|_| true).expect("readable") {
        got.push((stored.seq, String::from_utf8_lossy(&stored.payload).into_owned()));
    }
    got
}

#[derive(Default)]
struct Heard(Mutex<(u64, Vec<u64>)>);

impl CommitObserver for Heard {
    fn committed(&self, upto: u64) {
        self.0.lock().expect("fine").0 = upto;
    }

    fn failed(&self, from: u64, _: &StoreError) {
        self.0.lock().expect("fine").1.push(from);
    }
}
