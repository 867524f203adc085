//! Random work with random faults, seeded: a seed that fails is replayed by `LEAFD_SEED`. Each seed is a history of its own for each
//! variety, of some hundred operations; what a run came to is told with `--nocapture`.

use super::{all, heal, log_of, open_as, put};
use crate::store::clock::Clock;
use crate::store::sim::SimDisk;
use crate::store::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

/// Seeds of a run by default: millions of operations in about two minutes of a core.
const SEEDS: u64 = 600;

/// The seeds of a run: so many as `LEAFD_SEEDS` says, from `LEAFD_SEED` on.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let first = number("LEAFD_SEED").unwrap_or(0);
    first..first + number("LEAFD_SEEDS").unwrap_or(SEEDS)
}

/// Has the histories of all seeds done by `history`, which tells how many operations that were.
fn simulate(history: impl Fn(u64, Variety) -> u64) {
    let (seeds, begun) = (seeds(), std::time::Instant::now());
    let all = seeds.clone().flat_map(|seed| VARIETIES.map(|variety| (seed, variety)));
    let operations: u64 = all.map(|(seed, variety)| history(seed, variety)).sum();
    let histories = seeds.count() * VARIETIES.len();
    eprintln!("{histories} histories, {operations} operations, {:.0} s", begun.elapsed().as_secs_f64());
}

/// How a store writes.
#[derive(Clone, Copy)]
struct Variety {
    compress: bool,
    encrypted: bool,
    /// Memory for subjects: all, or hardly any.
    index_bytes: u64,
    sync: Sync,
}

const VARIETIES: [Variety; 5] = [
    Variety { compress: false, encrypted: false, index_bytes: 128 << 20, sync: Sync::Durable },
    Variety { compress: true, encrypted: false, index_bytes: 128 << 20, sync: Sync::Durable },
    Variety { compress: true, encrypted: true, index_bytes: 128 << 20, sync: Sync::Durable },
    Variety { compress: false, encrypted: true, index_bytes: SCARCE, sync: Sync::Durable },
    Variety {
        compress: false,
        encrypted: false,
        index_bytes: 128 << 20,
        sync: Sync::Interval(Duration::from_secs(3600)),
    },
];

/// For a few subjects at a time.
const SCARCE: u64 = 1600;

/// What a reader gives from a sequence on, of what `select` wants: sequences and subjects.
fn read_from(log: &Log, from: u64, select: &dyn Fn(&str) -> bool) -> Vec<(u64, String)> {
    let mut reader = log.reader();
    reader.seek(from);
    std::iter::from_fn(|| reader.next(select).expect("readable")).map(|s| (s.seq, s.subject.into_string())).collect()
}

/// The books say what the records say.
pub fn audit(log: &Log, context: &str) {
    let mut subjects: BTreeMap<String, SubjectInfo> = BTreeMap::new();
    let (mut all, mut bytes) = (Vec::new(), 0);
    let mut reader = log.reader();
    while let Some(stored) = reader.next(&|_| true).expect("readable") {
        let headers = if stored.headers.is_empty() { 0 } else { 4 + stored.headers.len() };
        bytes += (30 + stored.subject.len() + headers + stored.payload.len()) as u64;
        let subject = stored.subject.into_string();
        let first = SubjectInfo { first: stored.seq, last: 0, count: 0 };
        let info = subjects.entry(subject.clone()).or_insert(first);
        (info.last, info.count) = (stored.seq, info.count + 1);
        all.push((stored.seq, subject));
    }
    let (state, msgs) = (log.state(), all.len() as u64);
    assert_eq!((state.msgs, state.bytes, state.num_subjects), (msgs, bytes, subjects.len() as u64), "{context}");
    let known = |from: u64, select: &dyn Fn(&str) -> bool| {
        all.iter().filter(|(seq, subject)| *seq >= from && select(subject)).cloned().collect::<Vec<_>>()
    };
    // Each subject by the books, and some of them by what a reader gives.
    let every = subjects.len() / 3 + 1;
    for (n, (subject, info)) in subjects.iter().enumerate() {
        assert_eq!(log.subject_info(subject).expect("readable"), Some(*info), "{context}: {subject}");
        if n % every == all.len() % every {
            let from = (info.first + info.last) / 2;
            let there = known(from, &|s| s == subject);
            assert_eq!(log.count_from(from, subject), there.len() as u64, "{context}: {subject} from {from}");
            assert_eq!(read_from(log, from, &|s| s == subject), there, "{context}: {subject} from {from}");
        }
    }
    for filter in ["s.*", "*.1", "b.>"] {
        let from = (state.first_seq + state.last_seq) / 2;
        let select = |s: &str| crate::subject::matches(filter, s);
        let found = known(from, &select);
        assert_eq!(read_from(log, from, &select), found, "{context}: {filter} from {from}");
        assert_eq!(log.count_from(from, filter), found.len() as u64, "{context}: {filter} from {from}");
        let last = log.last_for(filter).expect("readable").filter(|last| *last >= from);
        assert_eq!(last, found.last().map(|(seq, _)| *seq), "{context}: {filter}");
        let (first, there) = (log.not_before(filter, from), found.first().map(|(seq, _)| *seq));
        assert!(first.is_some() != found.is_empty() && first <= there, "{context}: {filter}");
    }
}

/// One of a few subjects, or of many where they do not fit into memory.
fn subject(random: &mut fastrand::Rng, index_bytes: u64) -> String {
    format!("s.{}", random.u8(..if index_bytes == SCARCE { 120 } else { 12 }))
}

/// Random work under limits, with restarts, power cuts, and lost hints: whatever is there is counted right.
fn count(seed: u64, Variety { compress, encrypted, index_bytes, sync }: Variety) -> u64 {
    let mut operations = 0;
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
        let store = open_as(&disk, Clock::of_the_machine(), encrypted, index_bytes);
        let log = log_of(&store, LogOptions { limits, compress, sync, ..LogOptions::default() });
        store.barrier().wait().expect("commits");
        audit(&log, &format!("seed {seed}, compress {compress}, encrypted {encrypted}, life {life}, opened"));
        for _ in 0..random.u32(1..80) {
            let last = log.state().last_seq;
            operations += 1;
            match random.u8(..14) {
                0..=9 => {
                    for _ in 0..random.u32(1..9) {
                        operations += 1;
                        let (subject, payload) = (subject(&mut random, index_bytes), "x".repeat(random.usize(..120)));
                        let record = Record { subject: &subject, headers: b"", payload: payload.as_bytes() };
                        if let Err(error) = log.append(&record) {
                            // What is on its way cannot be put out of memory.
                            assert!(matches!(error, StoreError::Subjects(_)), "seed {seed}: {error}");
                            store.barrier().wait().expect("commits");
                            put(&log, &subject, &payload);
                        }
                    }
                }
                10 => drop(log.remove(&[random.u64(..=last), random.u64(..=last), last])),
                11 if random.u8(..4) == 0 => drop(log.trim(random.u64(..=last + 1))),
                12 => {
                    let wild = ["s.*", "s.>", "*.7"].get(random.usize(..20));
                    let filter = Some(wild.map_or_else(|| subject(&mut random, index_bytes), ToString::to_string));
                    let keep = random.bool().then(|| random.u64(..4));
                    drop(log.purge(&Purge { filter, below_seq: most(&mut random, last + 2), keep }));
                }
                _ => store.barrier().wait().expect("commits"),
            }
        }
        store.barrier().wait().expect("commits");
        // What the limits removed then is noted by now.
        store.barrier().wait().expect("commits");
        audit(
            &log,
            &format!("seed {seed}, {sync}, compress {compress}, encrypted {encrypted}, life {life}, at its end"),
        );
        if random.bool() {
            disk = disk.cut(&mut random);
            store.close();
        } else {
            store.close();
            disk = disk.cut(&mut fastrand::Rng::with_seed(0));
        }
        for (path, len) in disk.files() {
            let hint = path.extension().is_some_and(|e| e == "idx" || e == "salt") || path.ends_with("checkpoint");
            match random.u8(..20) {
                0 if hint => disk.forget(&path),
                1 if hint && len > 0 => disk.flip(&path, random.usize(..len)),
                _ => {}
            }
        }
    }
    operations
}

#[test]
fn the_books_are_right_after_every_opening() {
    simulate(count);
}

/// Random work with random power cuts, against a model of what was acknowledged.
fn survive(seed: u64, Variety { compress, encrypted, index_bytes, sync }: Variety) -> u64 {
    let mut operations = 0;
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut disk, faulty) = (SimDisk::default(), random.bool());
    let mut acked: BTreeMap<u64, String> = BTreeMap::new();
    let mut state_acked = 0u64;
    let mut removed = Vec::new();
    // Whether the power was cut before a sync that was due later only, the last time and ever.
    let (mut early, mut torn) = (false, false);
    for life in 0..4 {
        let store = open_as(&disk, Clock::of_the_machine(), encrypted, index_bytes);
        let log = log_of(&store, LogOptions { compress, sync, ..LogOptions::default() });
        let there: BTreeMap<u64, String> = all(&log).into_iter().collect();
        for (seq, payload) in &acked {
            let found = there.get(seq);
            let gone = early && found.is_none();
            assert!(gone || found == Some(payload), "seed {seed} life {life}: acknowledged {seq} is lost or changed");
        }
        for seq in &removed {
            assert!(!there.contains_key(seq), "seed {seed} life {life}: {seq} was removed and is there again");
        }
        let stored = store.state().get("n").map_or(0, |b| String::from_utf8_lossy(&b).parse().expect("a number"));
        assert!(stored >= state_acked, "seed {seed} life {life}: state went back from {state_acked} to {stored}");
        audit(&log, &format!("seed {seed} life {life}"));
        assert!(torn || log.damaged().is_empty(), "seed {seed} life {life}: what a power cut tore is no damage");
        // What was not acknowledged may be there too; from here on it counts.
        acked = there;
        state_acked = stored;
        let mut staged = BTreeMap::new();
        let mut removing = Vec::new();
        let mut failing = false;
        for step in 0..random.u32(1..60) {
            operations += 1;
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
                    failing = faulty && random.bool();
                    disk.fail(failing.then(|| (ErrorKind::StorageFull, random.u32(..5))));
                    if !failing {
                        // What was staged while the disk was full has been refused; sequences start over.
                        heal(&disk, &store);
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
        early = sync != Sync::Durable && random.bool();
        torn |= early;
        if sync == Sync::Durable || early {
            disk = disk.cut(&mut random);
            store.close();
        } else {
            store.close();
            disk = disk.cut(&mut random);
        }
    }
    operations
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    simulate(survive);
}
