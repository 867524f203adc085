//! Disks that are full, fail, or flip bits.

use super::{DIR, Heard, all, heal, log, open, open_as, put};
use crate::store::clock::Clock;
use crate::store::sim::SimDisk;
use crate::store::*;
use bytes::Bytes;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_full_disk_answers_and_heals() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log = log(&store, Limits::default());
    let heard = Arc::new(Heard::default());
    log.observe(heard.clone());
    put(&log, "s", "1");
    store.barrier().wait().expect("commits");
    let before = log.state();
    disk.fail(Some((ErrorKind::StorageFull, 0)));
    put(&log, "s", "lost");
    // The barrier may come after the round that failed; the observer hears of it in any case.
    let _ = store.barrier().wait();
    assert_eq!(heard.0.lock().expect("fine").1, [2]);
    assert_eq!(log.state(), before, "as if it had never come");
    assert!(store.stats().error.is_some());
    disk.fail(None);
    assert_eq!(put(&log, "s", "2"), 2);
    store.barrier().wait().expect("commits again");
    assert_eq!(heard.0.lock().expect("fine").0, 2);
    assert!(store.stats().error.is_none());
    assert_eq!(all(&log), [(1, "1".to_owned()), (2, "2".to_owned())]);
}

#[test]
fn a_full_disk_takes_removals_and_state_and_then_records_again() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    let heard = Arc::new(Heard::default());
    log1.observe(heard.clone());
    disk.resize(Some((1 << 20) + 30_000));
    while heard.0.lock().expect("fine").1.is_empty() {
        put(&log1, "s", &"x".repeat(100));
        let _ = store.barrier().wait();
    }
    let stored = log1.state().msgs;
    assert!(stored > 100, "{stored} are stored");
    // Exactly full.
    let used: usize = disk.files().iter().map(|(_, len)| len).sum();
    disk.resize(Some(used));
    for n in 0..20 {
        store.state().write(vec![Change::Put(format!("cursor{n}"), vec![0; 500].into())]).wait().expect("is kept");
    }
    assert_eq!(log1.remove(&[stored]).expect("removes"), 1);
    store.barrier().wait().expect("removals are kept");
    // The room that was given up for that is not for records.
    let refused = heard.0.lock().expect("fine").1.len();
    put(&log1, "s", "refused");
    let _ = store.barrier().wait();
    assert_eq!(heard.0.lock().expect("fine").1.len(), refused + 1);
    assert_eq!(log1.state().msgs, stored - 1);
    disk.resize(Some(used + 20_000));
    log1.purge(&Purge::default()).expect("purges");
    store.barrier().wait().expect("commits");
    put(&log1, "s", "taken");
    store.barrier().wait().expect("there is room again");
    let disk = disk.cut(&mut fastrand::Rng::with_seed(3));
    store.close();
    let store = open(&disk);
    assert_eq!(all(&log(&store, Limits::default())).len(), 1);
    assert_eq!(store.state().scan("cursor").len(), 20);
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    for n in 0..100 {
        put(&log1, "subject", &format!("payload {n}"));
    }
    store.barrier().wait().expect("commits");
    let (path, len) = disk.files().into_iter().find(|(p, _)| p.extension().is_some_and(|e| e == "seg")).expect("one");
    let at = (len / 2).min(1000);
    disk.flip(&path, at);
    let readable = all(&log1);
    assert_eq!(readable.len(), 99);
    let lost = (1..=100).find(|n| !readable.iter().any(|(seq, _)| seq == n)).expect("one");
    assert!(matches!(log1.read(lost), Err(StoreError::Damaged { seq, .. }) if seq == lost));
    assert_eq!((log1.damaged(), log1.state().damaged), (vec![lost..=lost], 1));
    store.close();
    let store = open(&disk);
    assert_eq!(all(&log(&store, Limits::default())).len(), 99);
}

/// A log with sealed segments, their indexes, a checkpoint, removals and a state log; the payloads that are there.
fn all_kinds_of_files(disk: &SimDisk) -> Vec<(u64, String)> {
    let store = open(disk);
    let log1 = log(&store, Limits::default());
    for n in 0..150 {
        put(&log1, &format!("s.{}", n % 5), &format!("payload {n}"));
        store.barrier().wait().expect("commits");
        if n % 40 == 39 {
            log1.remove(&[n - 3, n - 20]).expect("removes");
        }
    }
    store.state().write(vec![Change::Put("k".into(), Bytes::from_static(b"value"))]).wait().expect("commits");
    let there = all(&log1);
    store.close();
    there
}

#[test]
fn a_flipped_bit_in_any_file_costs_one_record_at_most_and_is_never_served() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::default();
        let there = all_kinds_of_files(&disk);
        let files: Vec<_> =
            disk.files().into_iter().filter(|(path, len)| *len > 0 && !path.ends_with("store.reserve")).collect();
        let kinds =
            ["seg", "idx", "log"].map(|kind| files.iter().any(|(p, _)| p.extension().is_some_and(|e| e == kind)));
        assert_eq!(kinds, [true; 3], "{files:?}");
        let (path, len) = &files[random.usize(..files.len())];
        disk.flip(path, random.usize(..*len));
        let store = open(&disk);
        let log1 = log(&store, Limits::default());
        let removal = path.ends_with("tombstones") || path.extension().is_some_and(|e| e == "seg");
        let found = all(&log1);
        let lost = there.iter().filter(|record| !found.contains(record)).count();
        assert!(lost <= 1, "seed {seed}: {lost} records are lost to {}", path.display());
        for (seq, payload) in &found {
            let back = !there.iter().any(|(known, _)| known == seq);
            assert_eq!(*payload, format!("payload {}", seq - 1), "seed {seed}");
            assert!(!back || removal, "seed {seed}: {seq} is back by {}", path.display());
        }
        assert!(log1.append(&Record { subject: "s", headers: b"", payload: b"next" }).is_ok());
        store.barrier().wait().expect("commits");
        store.close();
    }
}

/// The disk of a log of a hundred records in several segments.
fn filled() -> SimDisk {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    for n in 0..100 {
        put(&log1, "s", &format!("payload {n}"));
        store.barrier().wait().expect("commits");
    }
    store.close();
    disk
}

#[test]
fn a_segment_of_which_nothing_is_left_is_a_declared_gap() {
    let ways: [fn(usize) -> Vec<u8>; 3] = [|_| Vec::new(), |len| vec![0; len], |len| vec![0x5a; len]];
    for (lost, way) in [0, 1].into_iter().flat_map(|lost| ways.map(|way| (lost, way))) {
        let disk = filled();
        let files = disk.files();
        let mut segments = files.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"));
        let (path, len) = segments.nth(lost).expect("a segment");
        let base = |path: &Path| -> u64 { path.file_stem().and_then(|s| s.to_str()?.parse().ok()).expect("a number") };
        let (first, last) = (base(path), base(&segments.next().expect("another one").0) - 1);
        let file = disk.open(path, false).expect("opens");
        file.truncate(0).and_then(|()| file.write_at(&way(*len), 0)).and_then(|()| file.sync()).expect("written");
        let store = open(&disk);
        let log2 = log(&store, Limits::default());
        assert_eq!(log2.damaged(), [first..=last], "segment {lost}");
        let left: Vec<u64> = all(&log2).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(left, (1..=100).filter(|seq| !(first..=last).contains(seq)).collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_header_costs_nothing() {
    let disk = filled();
    let segments: Vec<_> =
        disk.files().into_iter().map(|(p, _)| p).filter(|p| p.extension().is_some_and(|e| e == "seg")).collect();
    assert!(segments.len() > 2);
    segments.iter().for_each(|path| disk.flip(path, 9));
    let store = open(&disk);
    assert_eq!(all(&log(&store, Limits::default())).len(), 100);
}

#[test]
fn a_flipped_bit_in_the_state_log_costs_one_batch() {
    let disk = SimDisk::default();
    let store = open(&disk);
    for n in 0..20 {
        let change = Change::Put(format!("k{n}"), Bytes::from_static(b"value"));
        store.state().write(vec![change]).wait().expect("commits");
    }
    store.close();
    disk.flip(&Path::new(DIR).join("state.log"), 100);
    let store = open(&disk);
    assert_eq!(store.state().scan("k").len(), 19);
    store.state().write(vec![Change::Put("after".into(), Bytes::new())]).wait().expect("commits");
    store.close();
    assert_eq!(open(&disk).state().scan("").len(), 20);
}

#[test]
fn a_subject_keeps_its_committed_value_while_a_later_one_is_refused() {
    let disk = SimDisk::default();
    let limits = Limits { max_msgs_per_subject: Some(1), ..Limits::default() };
    for failing_after in 0..6 {
        let disk = disk.cut(&mut fastrand::Rng::with_seed(1));
        let store = open(&disk);
        let log = log(&store, limits);
        put(&log, "key", "1");
        store.barrier().wait().expect("commits");
        disk.fail(Some((ErrorKind::StorageFull, failing_after)));
        for n in 2..5 {
            put(&log, "key", &n.to_string());
        }
        let _ = store.barrier().wait();
        disk.fail(None);
        let _ = store.barrier().wait();
        assert_eq!(log.state().msgs, 1, "after {failing_after}: {:?} {:?} {:?}", all(&log), log.state(), store.stats());
        store.close();
        let store = open(&disk);
        assert_eq!(all(&self::log(&store, limits)).len(), 1, "after {failing_after}");
    }
}

#[test]
fn a_removal_that_could_not_be_written_is_not_forgotten() {
    for failing_after in 0..2 {
        let disk = SimDisk::default();
        let store = open(&disk);
        let log1 = log(&store, Limits::default());
        for n in 0..9 {
            put(&log1, "s", &n.to_string());
        }
        store.barrier().wait().expect("commits");
        disk.fail(Some((ErrorKind::StorageFull, failing_after)));
        assert_eq!(log1.remove(&[3, 5]).expect("removes"), 2);
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(store.barrier().wait().is_ok());
        }
        assert!(!answers[2], "after {failing_after}: {answers:?}");
        heal(&disk, &store);
        let disk = disk.cut(&mut fastrand::Rng::with_seed(failing_after.into()));
        store.close();
        assert_eq!(log(&open(&disk), Limits::default()).state().msgs, 7, "after {failing_after}");
    }
}

#[test]
fn changes_of_state_wait_for_the_disk_within_bounds() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let write = |key: String, len: usize| store.state().write(vec![Change::Put(key, vec![7; len].into())]);
    for n in 0..1000 {
        drop(write("cursor".into(), 1000 + n % 2));
    }
    write("other".into(), 1).wait().expect("commits");
    disk.fail(Some((ErrorKind::StorageFull, 0)));
    for n in 0..20 {
        assert!(write(format!("k{n:02}"), 1 << 20).wait().is_err());
    }
    let kept = store.state().scan("k").len();
    assert!((8..12).contains(&kept), "{kept} are kept");
    heal(&disk, &store);
    let disk = disk.cut(&mut fastrand::Rng::with_seed(1));
    store.close();
    assert_eq!(open(&disk).state().scan("k").len(), kept);
}

#[test]
fn what_failed_is_tried_again_without_being_asked() {
    let disk = SimDisk::default();
    let store = open(&disk);
    disk.fail(Some((ErrorKind::ReadOnlyFilesystem, 0)));
    assert!(store.state().write(vec![Change::Put("k".into(), Bytes::new())]).wait().is_err());
    let begun = std::time::Instant::now();
    let told = |failed: bool| {
        while store.stats().error.is_some() != failed {
            assert!(begun.elapsed() < Duration::from_secs(20), "it heals within some ticks");
            std::thread::yield_now();
        }
    };
    told(true);
    disk.fail(None);
    told(false);
    let disk = disk.cut(&mut fastrand::Rng::with_seed(1));
    assert!(open(&disk).state().get("k").is_some());
}

#[test]
fn flipped_bits_in_subjects_on_disk_are_an_error_and_then_made_anew() {
    let disk = SimDisk::default();
    let store = open_as(&disk, Clock::of_the_machine(), false, 8000);
    let log1 = log(&store, Limits::default());
    let names: Vec<String> = (0..800u64).map(|n| format!("plant.dev.{:05}.temp", n * 7919 % 50_000)).collect();
    for names in names.chunks(20) {
        for name in names {
            put(&log1, name, "x");
        }
        store.barrier().wait().expect("commits");
    }
    let (path, length) =
        disk.files().into_iter().find(|(path, _)| path.to_string_lossy().contains("spill")).expect("is there");
    (0..length).step_by(97).for_each(|at| disk.flip(&path, at));
    let mut failures = 0;
    for (seq, name) in (1..).zip(&names) {
        let last = (0..3).find_map(|_| {
            let last = log1.last_for(name);
            if last.is_err() {
                failures += 1;
                store.barrier().wait().expect("commits");
            }
            last.ok()
        });
        assert_eq!(last, Some(Some(seq)), "{name}");
    }
    assert!(failures > 5, "{failures}");
    assert_eq!(log1.state().num_subjects, 800);
    assert_eq!(log1.purge(&Purge { filter: Some("plant.*.*.temp".into()), ..Purge::default() }).expect("purged"), 800);
    assert_eq!(log1.state().num_subjects, 0);
}
