//! Logs that nothing happens to: what is stored, removed and limited.

use super::simulation::audit;
use super::{DIR, all, log, log_of, open, open_by, put};
use crate::store::clock::{Clock, Reading};
use crate::store::sim::SimDisk;
use crate::store::*;
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn records_are_read_back_staged_and_committed() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    for n in 1..=500 {
        assert_eq!(put(&log, &format!("a.{}", n % 7), &format!("p{n}")), n);
        assert_eq!(log.read(n).expect("readable").expect("there").payload, format!("p{n}"));
    }
    store.barrier().wait().expect("commits");
    let state = log.state();
    assert_eq!((state.msgs, state.first_seq, state.last_seq, state.committed), (500, 1, 500, 500));
    assert_eq!(state.num_subjects, 7);
    assert_eq!(all(&log).len(), 500);
    assert_eq!(
        log.subject_info("a.3").expect("readable"),
        Some(SubjectInfo { first: 3, last: 500 - 500 % 7 + 3 - 7 * u64::from(500 % 7 < 3), count: 72 })
    );
    assert_eq!(log.last_for("a.*").expect("readable"), Some(500));
    assert_eq!(log.count_from(1, "a.0"), 71);
    assert_eq!(log.count_from(400, ">"), 101);
    assert_eq!(log.count_from(494, "a.1"), 1);
    let time = log.read(250).expect("readable").expect("there").time;
    assert!(log.seq_at(time) <= 250);
    assert_eq!(log.seq_at(i64::MAX), 501);
}

#[test]
fn it_opens_again_with_everything() {
    let disk = SimDisk::default();
    {
        let store = open(&disk);
        let log = log(&store, Limits::default());
        for n in 0..100 {
            put(&log, "s", &n.to_string());
        }
        store.state().write(vec![Change::Put("k".into(), Bytes::from_static(b"v"))]).wait().expect("commits");
        store.barrier().wait().expect("commits");
        assert_eq!(log.remove(&[3, 5, 50]).expect("removes"), 3);
        assert_eq!(log.trim(11), 8);
        store.close();
    }
    let store = open(&disk);
    let log = log(&store, Limits::default());
    let state = log.state();
    assert_eq!((state.msgs, state.first_seq, state.last_seq, state.num_deleted), (89, 11, 100, 1));
    assert_eq!(log.read(50).expect("readable"), None);
    assert_eq!(store.state().get("k"), Some(Bytes::from_static(b"v")));
    assert_eq!(put(&log, "s", "next"), 101);
}

#[test]
fn limits_drop_the_oldest() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits { max_msgs: Some(10), ..Limits::default() });
    for n in 0..100 {
        put(&log, "s", &n.to_string());
    }
    store.barrier().wait().expect("commits");
    assert_eq!((log.state().msgs, log.state().first_seq), (10, 91));
    log.set_limits(Limits { max_age: Some(Duration::ZERO), ..Limits::default() });
    store.barrier().wait().expect("commits");
    log.expire();
    assert_eq!((log.state().msgs, log.state().first_seq, log.state().last_seq), (0, 101, 100));
}

#[test]
fn lowered_limits_hold_for_what_is_there() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits { max_msgs_per_subject: Some(9), ..Limits::default() });
    for n in 0..20 {
        put(&log, &format!("s{}", n % 2), &n.to_string());
    }
    store.barrier().wait().expect("commits");
    let left = || all(&log).into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    log.set_limits(Limits { max_msgs_per_subject: Some(3), ..Limits::default() });
    assert_eq!(left(), [15, 16, 17, 18, 19, 20]);
    log.set_limits(Limits { max_msgs_per_subject: Some(1), ..Limits::default() });
    assert_eq!(left(), [19, 20]);
    log.set_limits(Limits { max_msgs: Some(1), ..Limits::default() });
    assert_eq!(left(), [20]);
}

#[test]
fn a_date_that_is_learnt_late_expires_nothing() {
    const SECOND: i64 = 1_000_000_000;
    let disk = SimDisk::default();
    let limits = Limits { max_age: Some(Duration::from_secs(3600)), ..Limits::default() };
    let now = Arc::new(Mutex::new(Reading { wall: 0, running: 0 }));
    let set = |wall: i64, running: i64| *now.lock().expect("fine") = Reading { wall, running };
    let clock = Clock::turned_by({
        let now = now.clone();
        move || *now.lock().expect("fine")
    });
    let today = 1_790_000_000 * SECOND;
    let store = open_by(&disk, clock.clone());
    let log1 = log(&store, limits);
    put(&log1, "s", "of 1970");
    store.barrier().wait().expect("commits");
    set(today, 60 * SECOND);
    put(&log1, "s", "of today");
    store.barrier().wait().expect("commits");
    log1.expire();
    assert_eq!(log1.state().msgs, 2, "it is a minute old");
    set(today + 3560 * SECOND, 3620 * SECOND);
    log1.expire();
    assert_eq!(all(&log1), [(2, "of today".to_owned())], "an hour has passed since");
    store.close();
    // The machine lost the date again; the next start knows it.
    // What was dropped last may be there again, and goes again in time.
    for (wall, left) in [(0, 2), (today + 9000 * SECOND, 0)] {
        set(wall, 0);
        let store = open_by(&disk, clock.clone());
        let log = log(&store, limits);
        log.expire();
        assert_eq!(log.state().msgs, left);
        store.close();
    }
}

#[test]
fn a_subject_keeps_its_last() {
    let disk = SimDisk::default();
    let limits = Limits { max_msgs_per_subject: Some(2), ..Limits::default() };
    let store = open(&disk);
    let log1 = log(&store, limits);
    for n in 0..60 {
        put(&log1, &format!("k.{}", n % 3), &n.to_string());
        if n % 4 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    assert_eq!(log1.state().msgs, 6);
    assert_eq!(log1.subject_info("k.0").expect("readable"), Some(SubjectInfo { first: 55, last: 58, count: 2 }));
    store.close();
    let store = open(&disk);
    assert_eq!(log(&store, limits).state().msgs, 6);
}

#[test]
fn purges_by_filter_sequence_and_keep() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    for n in 0..30 {
        put(&log, &format!("k.{}", n % 3), &n.to_string());
    }
    store.barrier().wait().expect("commits");
    let filter = |f: &str| Some(f.to_owned());
    assert_eq!(log.purge(&Purge { filter: filter("k.1"), below_seq: Some(15), keep: None }).expect("purges"), 5);
    assert_eq!(log.purge(&Purge { filter: filter("k.2"), below_seq: None, keep: Some(1) }).expect("purges"), 9);
    assert_eq!(log.state().msgs, 16);
    assert_eq!(log.last_for("k.2").expect("readable"), Some(30));
    assert_eq!(log.purge(&Purge { keep: Some(4), ..Purge::default() }).expect("purges"), 12);
    assert_eq!(log.purge(&Purge::default()).expect("purges"), 4);
    assert_eq!((log.state().msgs, log.state().first_seq, log.state().last_seq), (0, 31, 30));
}

#[test]
fn room_between_records_that_stay_is_given_back() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    for n in 0..300 {
        put(&log1, "s", &format!("{n:0100}"));
        store.barrier().wait().expect("commits");
    }
    let size = |disk: &SimDisk| {
        let segments = disk.files().into_iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "seg"));
        segments.map(|(_, len)| len).sum::<usize>()
    };
    let before = size(&disk);
    let middle: Vec<u64> = (2..300).collect();
    assert_eq!(log1.remove(&middle).expect("removes"), 298);
    store.barrier().wait().expect("commits");
    assert!(size(&disk) < before / 7, "{} of {before} bytes are left", size(&disk));
    audit(&log1, "after removal");
    store.close();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    audit(&log1, "after opening");
    assert_eq!(all(&log1).iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 300]);
    assert_eq!(put(&log1, "s", "next"), 301);
}

#[test]
fn memory_logs_work_alike() {
    let store = open(&SimDisk::default());
    let log = store.create_log("m", LogOptions { storage: Storage::Memory, ..LogOptions::default() }).expect("creates");
    for n in 0..300 {
        put(&log, "s", &n.to_string());
    }
    store.barrier().wait().expect("commits");
    log.trim(200);
    assert_eq!(all(&log).len(), 101);
}

#[test]
fn nobody_waits_for_a_closed_store() {
    let store = open(&SimDisk::default());
    store.close();
    assert!(matches!(store.barrier().wait(), Err(StoreError::Closed)));
    assert!(matches!(store.state().write(vec![Change::Delete("k".into())]).wait(), Err(StoreError::Closed)));
}

#[test]
fn the_real_disk_has_one_owner_and_one_format() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path(), StoreOptions::default()).expect("opens");
    let second = Store::open(dir.path(), StoreOptions::default()).err().expect("refused");
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    let log = store.create_log("s", LogOptions::default()).expect("creates");
    put(&log, "a", "1");
    drop((log, store));
    let store = Store::open(dir.path(), StoreOptions::default()).expect("opens again");
    assert_eq!(all(&store.open_log("s", LogOptions::default()).expect("opens")).len(), 1);
    drop(store);
    std::fs::write(dir.path().join("store.version"), "99\n").expect("writes");
    let newer = Store::open(dir.path(), StoreOptions::default()).err().expect("refused");
    assert!(matches!(newer, StoreError::Newer { found: 99, .. }));
    let foreign = tempfile::tempdir().expect("a folder");
    std::fs::write(foreign.path().join("photo.jpg"), "x").expect("writes");
    let refused = Store::open(foreign.path(), StoreOptions::default()).err().expect("refused");
    assert!(refused.to_string().contains("photo.jpg"), "{refused}");
}

#[test]
fn sequences_that_never_were_are_not_counted() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    for seq in [3, 4, 7, 12, 13] {
        log.append_at(seq, 0, &Record { subject: "a", headers: b"", payload: b"x" }).expect("staged");
    }
    store.barrier().wait().expect("commits");
    for (from, count) in [(1, 5), (4, 4), (5, 3), (8, 2), (13, 1), (14, 0)] {
        assert_eq!(log.count_from(from, ">"), count, "from {from}");
    }
}

#[test]
fn subjects_beyond_the_memory_for_them_are_on_disk_until_not_even_their_blocks_fit() {
    let disk = SimDisk::default();
    let open = |index_bytes| {
        let options = StoreOptions { index_bytes, ..StoreOptions::default() };
        Store::on_disk(Arc::new(disk.clone()), Path::new(DIR), options, None, Clock::of_the_machine()).expect("opens")
    };
    let store = open(8000);
    let log1 = log(&store, Limits::default());
    let record = |subject| Record { subject, headers: b"", payload: b"x" };
    let names: Vec<String> = (0..50_000u64).map(|n| format!("plant.dev.{:05}.temp", n * 7919 % 50_000)).collect();
    let commit = || store.barrier().wait().expect("commits");
    let append = |name| {
        commit();
        log1.append(&record(name))
    };
    let taken = names.iter().take_while(|name| append(name).is_ok()).count();
    assert!((800..10_000).contains(&taken), "{taken}");
    commit();
    let stats = store.stats();
    assert!(stats.index_cold_subjects > 600 && stats.index_cold_bytes > 0, "{stats:?}");
    assert!(stats.index_bytes < 2 * stats.index_max_bytes, "{stats:?}");
    let files = || disk.files().iter().filter(|(path, _)| path.to_string_lossy().contains("spill")).count();
    assert_eq!(files(), 1);
    let error = log1.append(&record("another")).expect_err("is refused");
    assert!(matches!(error, StoreError::Subjects(8000)), "{error}");
    let batch = [record(&names[0]), record("another")];
    assert!(matches!(log1.append_batch(&batch), Err(StoreError::Subjects(_))));
    assert!(store.stats().subjects_refused >= 3);
    for (seq, name) in (1..).zip(&names[..taken]) {
        assert_eq!(log1.last_for(name).expect("readable"), Some(seq), "{name}");
    }
    append(&names[0]).expect("is known");
    commit();
    assert_eq!(log1.subject_info(&names[0]).expect("readable").map(|info| info.count), Some(2));
    // Once there are fewer, there is room.
    log1.trim(taken as u64);
    append("another").expect("has room");
    commit();
    assert_eq!(log1.state().num_subjects, 3);
    // What is there is served, whatever the limit is now.
    store.close();
    let store = open(1);
    let log1 = log(&store, Limits::default());
    assert_eq!(log1.subject_info("another").expect("readable").map(|info| info.count), Some(1));
    assert!(log1.append(&record("another")).is_ok() && log1.append(&record("one more")).is_err());
    store.close();
    drop((store, log1));
    assert_eq!(files(), 0, "nothing is left behind");
}

/// Somebody else removed them meanwhile, and their segments went.
#[test]
fn what_is_to_be_removed_may_have_gone_with_its_segment() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    for n in 0..2000 {
        put(&log, "s", &n.to_string());
        if n % 100 == 0 {
            store.barrier().wait().expect("commits");
        }
    }
    store.barrier().wait().expect("commits");
    let between: Vec<u64> = (500..1500).collect();
    assert_eq!(log.remove(&between).expect("removes"), 1000);
    store.barrier().wait().expect("commits");
    let (ended, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(log.remove_found(&between)));
    let removed = heard.recv_timeout(Duration::from_secs(30)).expect("it comes to an end");
    assert_eq!(removed.expect("nothing fails"), 0);
}

/// Tells another thread of commits.
struct Told(std::sync::mpsc::Sender<u64>);

impl CommitObserver for Told {
    fn committed(&self, upto: u64) {
        let _ = self.0.send(upto);
    }

    fn failed(&self, _: u64, _: &StoreError) {}
}

#[test]
fn a_purge_during_a_limit_of_its_subject_costs_no_later_record() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits { max_msgs_per_subject: Some(3), ..Limits::default() });
    let (told, commits) = std::sync::mpsc::channel();
    log.observe(Arc::new(Told(told)));
    for _ in 0..5000 {
        for _ in 0..3 {
            put(&log, "s", "x");
        }
        store.barrier().wait().expect("commits");
        // One more than fit, upon which those before it are purged.
        let last = put(&log, "s", "rollup");
        while commits.recv().expect("told") < last {}
        log.purge(&Purge { filter: Some("s".into()), below_seq: Some(last), keep: None }).expect("purges");
        store.barrier().wait().expect("commits");
        assert!(log.read(last).expect("readable").is_some(), "{last} was not to go");
    }
}

#[test]
fn limits_applied_by_several_at_a_time_take_no_more_than_is_too_much() {
    for _ in 0..300 {
        let store = open(&SimDisk::default());
        let log = log(&store, Limits::default());
        for n in 0..200 {
            put(&log, "s", &n.to_string());
        }
        store.barrier().wait().expect("commits");
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| log.set_limits(Limits { max_msgs: Some(100), ..Limits::default() }));
            }
        });
        assert_eq!((log.state().msgs, log.state().first_seq), (100, 101));
    }
}

#[test]
fn a_log_that_is_synced_at_an_interval_is_durable_within_it() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let sync = Sync::Interval(Duration::from_secs(1));
    let log = log_of(&store, LogOptions { sync, ..LogOptions::default() });
    let deadline = Instant::now() + Duration::from_secs(30);
    put(&log, "s", "1");
    store.barrier().wait().expect("written");
    let early = (0..50).filter(|seed| {
        let store = open(&disk.cut(&mut fastrand::Rng::with_seed(*seed)));
        all(&log_of(&store, LogOptions::default())).is_empty()
    });
    assert_ne!(early.count(), 0, "it is not on disk yet");
    let synced = |times| {
        while store.stats().syncs < times {
            assert!(Instant::now() < deadline, "it is never synced");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    synced(1);
    for seed in 0..50 {
        let store = open(&disk.cut(&mut fastrand::Rng::with_seed(seed)));
        assert_eq!(all(&log_of(&store, LogOptions::default())), [(1, "1".into())]);
    }
    put(&log, "s", "2");
    store.barrier().wait().expect("written");
    log.set_sync(Sync::Durable);
    synced(2);
    for seed in 0..50 {
        let store = open(&disk.cut(&mut fastrand::Rng::with_seed(seed)));
        assert_eq!(all(&log_of(&store, LogOptions::default())).len(), 2);
    }
}

#[test]
fn a_segment_that_is_the_last_one_again_is_indexed_anew() {
    let disk = SimDisk::default();
    // What does not fit any more begins a new segment.
    let fill = |log: &Log, store: &Store| {
        for n in 0..10 {
            put(log, &format!("s.{}", n % 3), "x");
            store.barrier().wait().expect("commits");
        }
        put(log, "s.0", &"x".repeat(5000));
        store.barrier().wait().expect("commits");
    };
    let store = open(&disk);
    fill(&log(&store, Limits::default()), &store);
    store.close();
    // A power cut before that record was written.
    let files = disk.files();
    let (last, _) = files.iter().rfind(|(path, _)| path.extension().is_some_and(|e| e == "seg")).expect("a segment");
    disk.open(last, false).and_then(|file| file.truncate(0)).expect("cut");
    let store = open(&disk);
    let log = log(&store, Limits::default());
    fill(&log, &store);
    audit(&log, "filled again");
}

#[test]
fn a_purge_keeps_as_many_as_it_is_told_to_while_others_remove() {
    let store = open(&SimDisk::default());
    let log = log(&store, Limits::default());
    for round in 0..20 {
        let first = log.state().last_seq + 1;
        for n in 0..500 {
            put(&log, if n % 2 == 0 { "s.a" } else { "s.b" }, "x");
        }
        store.barrier().wait().expect("commits");
        let last = log.state().last_seq;
        let kept = last - 99..=last;
        std::thread::scope(|scope| {
            scope.spawn(|| (first..*kept.start()).for_each(|seq| drop(log.remove(&[seq]))));
            log.purge(&Purge { filter: Some("s.*".into()), below_seq: None, keep: Some(100) }).expect("purged");
        });
        assert_eq!(kept.clone().filter(|seq| log.contains(*seq)).count(), 100, "round {round}");
        assert_eq!(log.state().msgs, 100, "round {round}");
    }
}
