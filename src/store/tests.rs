//! The store as its users see it: on a simulated disk with power cuts, and on the real one.

use super::clock::{Clock, Reading};
use super::sim::SimDisk;
use super::*;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIR: &str = "/data";

fn open_by(disk: &SimDisk, clock: Clock) -> Store {
    let options = StoreOptions { segment_bytes: 2000 };
    Store::on_disk(Arc::new(disk.clone()), Path::new(DIR), options, None, clock).expect("opens")
}

fn open(disk: &SimDisk) -> Store {
    open_by(disk, Clock::of_the_machine())
}

fn log(store: &Store, limits: Limits) -> Log {
    let options = LogOptions { limits, ..LogOptions::default() };
    match store.log_ids().expect("lists").is_empty() {
        true => store.create_log("s", options).expect("creates"),
        false => store.open_log("s", options).expect("opens"),
    }
}

fn put(log: &Log, subject: &str, payload: &str) -> u64 {
    log.append(&Record { subject, headers: b"", payload: payload.as_bytes() }).expect("staged")
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
        log.subject_info("a.3"),
        Some(SubjectInfo { first: 3, last: 500 - 500 % 7 + 3 - 7 * u64::from(500 % 7 < 3), count: 72 })
    );
    assert_eq!(log.last_for("a.*"), Some(500));
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
    assert_eq!(log1.subject_info("k.0"), Some(SubjectInfo { first: 55, last: 58, count: 2 }));
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
    assert_eq!(log.last_for("k.2"), Some(30));
    assert_eq!(log.purge(&Purge { keep: Some(4), ..Purge::default() }).expect("purges"), 12);
    assert_eq!(log.purge(&Purge::default()).expect("purges"), 4);
    assert_eq!((log.state().msgs, log.state().first_seq, log.state().last_seq), (0, 31, 30));
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
fn a_full_disk_answers_and_heals() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log = log(&store, Limits::default());
    let heard = Arc::new(Heard::default());
    log.observe(heard.clone());
    put(&log, "s", "1");
    store.barrier().wait().expect("commits");
    disk.fail(Some((ErrorKind::StorageFull, 0)));
    put(&log, "s", "lost");
    // The barrier may come after the round that failed; the observer hears of it in any case.
    let _ = store.barrier().wait();
    assert_eq!(heard.0.lock().expect("fine").1, [2]);
    assert_eq!((log.state().msgs, log.state().last_seq), (1, 1));
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
    put(&log1, "s", "refused");
    assert!(store.barrier().wait().is_err());
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

#[test]
fn a_damaged_header_costs_nothing() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    for n in 0..100 {
        put(&log1, "s", &format!("payload {n}"));
        store.barrier().wait().expect("commits");
    }
    store.close();
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
    for failing_after in 0..3 {
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
        disk.fail(None);
        store.barrier().wait().expect("commits");
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
    disk.fail(None);
    store.barrier().wait().expect("commits");
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
fn nobody_waits_for_a_closed_store() {
    let store = open(&SimDisk::default());
    store.close();
    assert!(matches!(store.barrier().wait(), Err(StoreError::Closed)));
    assert!(matches!(store.state().write(vec![Change::Delete("k".into())]).wait(), Err(StoreError::Closed)));
}

/// The seeds of a run: so many as `LEAFD_SEEDS` says, from `LEAFD_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first = number("LEAFD_SEED").unwrap_or(0);
    first..first + number("LEAFD_SEEDS").unwrap_or(300)
}

/// The books say what the records say.
fn audit(log: &Log, context: &str) {
    let mut subjects: BTreeMap<String, SubjectInfo> = BTreeMap::new();
    let (mut msgs, mut bytes) = (0, 0);
    let mut reader = log.reader();
    while let Some(stored) = reader.next(&|_| true).expect("readable") {
        msgs += 1;
        bytes += (31 + stored.subject.len() + stored.headers.len() + stored.payload.len()) as u64;
        let first = SubjectInfo { first: stored.seq, last: 0, count: 0 };
        let info = subjects.entry(stored.subject.into_string()).or_insert(first);
        (info.last, info.count) = (stored.seq, info.count + 1);
    }
    let state = log.state();
    assert_eq!((state.msgs, state.bytes, state.num_subjects), (msgs, bytes, subjects.len() as u64), "{context}");
    for (subject, info) in subjects {
        assert_eq!(log.subject_info(&subject), Some(info), "{context}: {subject}");
        let from = (info.first + info.last) / 2;
        let mut reader = log.reader();
        reader.seek(from);
        let mut count = 0;
        while reader.next(&|s| s == subject).expect("readable").is_some() {
            count += 1;
        }
        assert_eq!(log.count_from(from, &subject), count, "{context}: {subject} from {from}");
    }
}

/// Random work under limits, with restarts, power cuts, and lost hints: whatever is there is counted right.
fn count(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut disk = SimDisk::default();
    let most = |random: &mut fastrand::Rng, n: u64| random.bool().then(|| random.u64(1..n));
    let limits = Limits {
        max_msgs: most(&mut random, 200),
        max_bytes: most(&mut random, 20_000),
        max_msgs_per_subject: most(&mut random, 9),
        max_age: None,
    };
    for life in 0..5 {
        let store = open(&disk);
        let log = log(&store, limits);
        store.barrier().wait().expect("commits");
        audit(&log, &format!("seed {seed}, life {life}, opened"));
        for _ in 0..random.u32(1..80) {
            let last = log.state().last_seq;
            match random.u8(..14) {
                0..=9 => {
                    for _ in 0..random.u32(1..9) {
                        put(&log, &format!("s.{}", random.u8(..12)), &"x".repeat(random.usize(..120)));
                    }
                }
                10 => drop(log.remove(&[random.u64(..=last), random.u64(..=last), last])),
                11 if random.u8(..4) == 0 => drop(log.trim(random.u64(..=last + 1))),
                12 => {
                    let filter = Some(format!("s.{}", random.u8(..12)));
                    let keep = random.bool().then(|| random.u64(..4));
                    drop(log.purge(&Purge { filter, below_seq: most(&mut random, last + 2), keep }));
                }
                _ => store.barrier().wait().expect("commits"),
            }
        }
        store.barrier().wait().expect("commits");
        // What the limits removed then is noted by now.
        store.barrier().wait().expect("commits");
        audit(&log, &format!("seed {seed}, life {life}, at its end"));
        if random.bool() {
            disk = disk.cut(&mut random);
            store.close();
        } else {
            store.close();
            disk = disk.cut(&mut fastrand::Rng::with_seed(0));
        }
        for (path, len) in disk.files() {
            let hint = path.extension().is_some_and(|e| e == "idx") || path.ends_with("checkpoint");
            match random.u8(..20) {
                0 if hint => disk.forget(&path),
                1 if hint && len > 0 => disk.flip(&path, random.usize(..len)),
                _ => {}
            }
        }
    }
}

#[test]
fn the_books_are_right_after_every_opening() {
    for seed in seeds() {
        count(seed);
    }
}

/// Random work with random power cuts, against a model of what was acknowledged.
fn survive(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut disk = SimDisk::default();
    let mut acked: BTreeMap<u64, String> = BTreeMap::new();
    let mut state_acked = 0u64;
    let mut removed = Vec::new();
    for life in 0..4 {
        let store = open(&disk);
        let log = log(&store, Limits::default());
        let there: BTreeMap<u64, String> = all(&log).into_iter().collect();
        for (seq, payload) in &acked {
            assert_eq!(there.get(seq), Some(payload), "seed {seed} life {life}: acknowledged {seq} is lost or changed");
        }
        for seq in &removed {
            assert!(!there.contains_key(seq), "seed {seed} life {life}: {seq} was removed and is there again");
        }
        let stored = store.state().get("n").map_or(0, |b| String::from_utf8_lossy(&b).parse().expect("a number"));
        assert!(stored >= state_acked, "seed {seed} life {life}: state went back from {state_acked} to {stored}");
        audit(&log, &format!("seed {seed} life {life}"));
        // What was not acknowledged may be there too; from here on it counts.
        acked = there;
        state_acked = stored;
        let mut staged = BTreeMap::new();
        let mut removing = Vec::new();
        let mut failing = false;
        for step in 0..random.u32(1..60) {
            match random.u8(..12) {
                0..=6 => {
                    let payload = format!("{life}.{step}.{}", "x".repeat(random.usize(..120)));
                    let seq = put(&log, ["a", "b.c", "d"][random.usize(..3)], &payload);
                    if !failing {
                        staged.insert(seq, payload);
                    }
                }
                7 | 8 => {
                    if store.barrier().wait().is_ok() {
                        removed.append(&mut removing);
                        if !failing {
                            acked.append(&mut staged);
                        }
                    }
                }
                9 => {
                    state_acked += 1;
                    let change = Change::Put("n".into(), state_acked.to_string().into());
                    if store.state().write(vec![change]).wait().is_err() {
                        state_acked -= 1;
                    }
                }
                10 => {
                    let known: Vec<u64> = acked.keys().copied().collect();
                    if !known.is_empty() {
                        let seq = known[random.usize(..known.len())];
                        if random.bool() {
                            log.remove(&[seq]).expect("removes");
                            removing.push(seq);
                            acked.remove(&seq);
                        } else {
                            log.trim(seq);
                            acked.retain(|s, _| *s >= seq);
                        }
                    }
                }
                _ => {
                    failing = random.bool();
                    disk.fail(failing.then(|| (ErrorKind::StorageFull, random.u32(..5))));
                    if !failing {
                        // What was staged while the disk was full has been refused; sequences start over.
                        store.barrier().wait().expect("works again");
                        removed.append(&mut removing);
                        staged.clear();
                        let there: BTreeMap<u64, String> = all(&log).into_iter().collect();
                        for (seq, payload) in &acked {
                            assert_eq!(there.get(seq), Some(payload), "seed {seed}: lost {seq} to a full disk");
                        }
                        acked = there;
                    }
                }
            }
        }
        disk.fail(None);
        let last = acked.keys().next_back().copied().unwrap_or(0);
        assert!(log.state().last_seq >= last, "seed {seed}");
        disk = disk.cut(&mut random);
        store.close();
    }
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    for seed in seeds() {
        survive(seed);
    }
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
