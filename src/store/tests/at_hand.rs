//! Answers without waiting for the disk: the same ones as with it, or none.

use super::{all, log_of, open_as, put};
use crate::store::sim::SimDisk;
use crate::store::*;

const SUBJECTS: u64 = 7;
const RECORDS: u64 = 300;

fn subject(seq: u64) -> String {
    format!("s.{}", seq % SUBJECTS)
}

fn payload(seq: u64) -> String {
    format!("{{\"sensor\":\"temperature\",\"unit\":\"celsius\",\"value\":{seq}}}")
}

fn open(disk: &SimDisk, encrypted: bool) -> Store {
    open_as(disk, clock::Clock::of_the_machine(), encrypted, StoreOptions::default().index_bytes)
}

fn options(compress: bool) -> LogOptions {
    LogOptions { compress, ..LogOptions::default() }
}

/// A log of several segments, some of whose records are in units.
fn fill(disk: &SimDisk, compress: bool, encrypted: bool) -> (Store, Log) {
    let store = open(disk, encrypted);
    let log = log_of(&store, options(compress));
    for n in 1..=RECORDS {
        put(&log, &subject(n), &payload(n));
        if n % 11 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    (store, log)
}

#[test]
fn what_is_at_hand_is_found_as_it_is() {
    for (compress, encrypted) in [(false, false), (true, false), (false, true), (true, true)] {
        let disk = SimDisk::default();
        let (store, log) = fill(&disk, compress, encrypted);
        let staged = put(&log, "s.staged", "staged");
        assert_eq!(log.last_at_hand("s.staged").expect("at hand").map(|s| s.seq), Some(staged));
        store.barrier().wait().expect("commits");
        log.remove(&[20, 21, RECORDS - 1]).expect("removes");
        for seq in 0..=staged + 1 {
            assert_eq!(log.read_at_hand(seq), Ok(log.read(seq).expect("readable")), "{seq}");
        }
        for n in 0..SUBJECTS {
            let last = log.last_for(&subject(n)).expect("known").expect("there");
            let found = log.last_at_hand(&subject(n)).expect("at hand").expect("there");
            assert_eq!((found.seq, found.payload.as_ref()), (last, payload(last).as_bytes()));
        }
        assert_eq!(log.last_at_hand("s.none"), Ok(None));
        disk.slow(true);
        assert_eq!(log.read_at_hand(1), Err(Later));
        assert_eq!(log.last_at_hand("s.1"), Err(Later));
        assert_eq!(log.last_at_hand("s.none"), Ok(None));
        assert_eq!(log.read(1).expect("readable").map(|s| s.seq), Some(1));
    }
}

#[test]
fn what_takes_long_to_read_is_not_at_hand() {
    for compress in [false, true] {
        let disk = SimDisk::default();
        let store = open(&disk, false);
        let log = log_of(&store, options(compress));
        put(&log, "s.large", &"x".repeat(100_000));
        store.barrier().wait().expect("commits");
        put(&log, "s.small", "x");
        store.barrier().wait().expect("commits");
        assert_eq!(log.last_at_hand("s.large"), Err(Later));
        assert_eq!(log.last_at_hand("s.small").expect("at hand").map(|s| s.seq), Some(2));
    }
}

#[test]
fn what_is_damaged_is_left_to_those_who_tell() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (disk, compress, encrypted) = (SimDisk::default(), random.bool(), random.bool());
        let (store, log) = fill(&disk, compress, encrypted);
        let files = disk.files().into_iter();
        let files: Vec<_> = files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).collect();
        let (path, len) = &files[random.usize(..files.len())];
        disk.flip(path, random.usize(..*len));
        for seq in 1..=RECORDS {
            let found = log.read_at_hand(seq);
            if let Ok(found) = &found {
                let found = found.as_ref().unwrap_or_else(|| panic!("seed {seed}: {seq} is said not to be there"));
                assert_eq!((found.seq, found.payload.as_ref()), (seq, payload(seq).as_bytes()), "seed {seed}");
            }
            if matches!(log.read(seq), Err(StoreError::Damaged { .. })) {
                assert_eq!(found, Err(Later), "seed {seed}: {seq}");
            }
        }
        let lost = RECORDS - all(&log).len() as u64;
        assert_eq!(log.damaged().into_iter().map(|range| range.count() as u64).sum::<u64>(), lost, "seed {seed}");
        store.close();
    }
}
