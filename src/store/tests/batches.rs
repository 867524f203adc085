//! Batches: all of one, or none.

use super::{all, log, open, put};
use crate::store::sim::SimDisk;
use crate::store::*;
use std::collections::BTreeMap;

fn put_batch(log: &Log, payloads: &[String]) -> u64 {
    let records: Vec<_> =
        payloads.iter().map(|p| Record { subject: "b", headers: b"", payload: p.as_bytes() }).collect();
    log.append_batch(&records).expect("staged")
}

#[test]
fn a_batch_follows_what_was_there_and_is_followed() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log = log(&store, Limits::default());
    assert_eq!(put(&log, "a", "first"), 1);
    assert_eq!(put_batch(&log, &["x".into(), "y".into(), "z".into()]), 2);
    assert_eq!(put(&log, "a", "last"), 5);
    store.close();
    let expected = [(1, "first"), (2, "x"), (3, "y"), (4, "z"), (5, "last")].map(|(seq, text)| (seq, text.to_owned()));
    let store = open(&disk);
    assert_eq!(all(&super::log(&store, Limits::default())), expected);
}

#[test]
fn one_that_is_too_large_leaves_nothing_of_its_batch() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    let (small, long) = ("s".to_owned(), "x".repeat(70_000));
    let records =
        [(&small, "p"), (&long, "p")].map(|(subject, p)| Record { subject, headers: b"", payload: p.as_bytes() });
    assert!(matches!(log.append_batch(&records), Err(StoreError::TooLarge(_))));
    assert_eq!((log.state().msgs, put(&log, "a", "x")), (0, 1));
}

/// Power cuts at any moment: a batch is there as a whole or not at all, and one that was acknowledged is there.
#[test]
fn power_cuts_leave_no_part_of_a_batch() {
    let (mut whole, mut absent) = (0, 0);
    for seed in 0..600 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = SimDisk::default();
        let mut acked: BTreeMap<u64, String> = BTreeMap::new();
        for life in 0..3 {
            let store = open(&disk);
            let log = log(&store, Limits::default());
            let there: BTreeMap<u64, String> = all(&log).into_iter().collect();
            for (seq, payload) in &acked {
                assert_eq!(there.get(seq), Some(payload), "seed {seed} life {life}: {seq} is lost");
            }
            let mut sizes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
            for payload in there.values().filter(|payload| payload.starts_with("batch")) {
                let mut parts = payload.split('.');
                let (batch, size) = (parts.next().expect("a name"), parts.next().expect("a size"));
                let found = sizes.entry(batch).or_insert((size.parse().expect("a number"), 0));
                found.1 += 1;
            }
            for (batch, (size, found)) in &sizes {
                assert_eq!(size, found, "seed {seed} life {life}: {batch} is not whole");
            }
            super::simulation::audit(&log, &format!("seed {seed} life {life}"));
            whole += sizes.len();
            acked = there;
            let mut staged = BTreeMap::new();
            for step in 0..random.u32(1..20) {
                match random.u8(..4) {
                    0 => {
                        let payload = format!("one.{}", "x".repeat(random.usize(..100)));
                        staged.insert(put(&log, "a", &payload), payload);
                    }
                    1 | 2 => {
                        let size = random.usize(1..12);
                        let name = format!("batch{life}-{step}.{size}");
                        let payloads: Vec<String> =
                            (0..size).map(|_| format!("{name}.{}", "x".repeat(random.usize(..200)))).collect();
                        let first = put_batch(&log, &payloads);
                        staged.extend((first..).zip(payloads));
                    }
                    _ => {
                        store.barrier().wait().expect("commits");
                        acked.append(&mut staged);
                    }
                }
            }
            absent += staged.len();
            disk = disk.cut(&mut random);
            store.close();
        }
    }
    assert!(whole > 100 && absent > 100, "both were met: {whole}, {absent}");
}

#[test]
fn damage_within_a_batch_costs_the_damaged_record_only() {
    for damaged in 2..=4u64 {
        let disk = SimDisk::default();
        let store = open(&disk);
        let log1 = log(&store, Limits::default());
        put(&log1, "a", "first");
        put_batch(&log1, &["x".into(), "y".into(), "z".into()]);
        put(&log1, "a", "last");
        store.close();
        let (path, _) =
            disk.files().into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "seg")).expect("a segment");
        // Header of the file, the first record, and those of the batch before; somewhere in the middle of it.
        let at = 24 + (31 + 6) + (damaged as usize - 2) * 33 + 20;
        disk.flip(&path, at);
        let store = open(&disk);
        let log2 = log(&store, Limits::default());
        let there: Vec<u64> = all(&log2).into_iter().map(|(seq, _)| seq).collect();
        let expected: Vec<u64> = (1..=5).filter(|seq| *seq != damaged).collect();
        assert_eq!(there, expected);
        assert_eq!(log2.damaged(), [damaged..=damaged]);
    }
}
