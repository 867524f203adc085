use super::*;
use crate::store::io::MemoryDisk;
use crate::subject;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug)]
enum Step {
    Append(String),
    Remove(String),
    Merge(String, u64, u64),
    SetFirst(String, u64),
    Evict,
}

fn subjects(max: u64) -> Subjects {
    let place = Place { disk: Arc::new(MemoryDisk), dir: "/data".into(), salt: 0, vault: None };
    Subjects::new(Arc::new(Budget::new(max, place)))
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "(kv\\.)?([a-c]{1,2}\\.){0,3}[a-c!/]{1,3}",
        "device\\.[0-9]{3}\\.(temperature|humidity)",
        "ü(é|è)\\.[a-b]",
        "long\\.[a-b]{150,300}",
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => name().prop_map(Step::Append),
        3 => name().prop_map(Step::Remove),
        1 => (name(), any::<u64>(), any::<u64>()).prop_map(|(name, a, b)| Step::Merge(name, a, b)),
        1 => (name(), 0u64..1 << 40).prop_map(|(name, first)| Step::SetFirst(name, first)),
        1 => Just(Step::Evict),
    ]
}

fn selected(subjects: &mut Subjects, filter: &str) -> Vec<(String, SubjectInfo)> {
    let mut found = Vec::new();
    let passed = subjects.each::<()>(filter, |subject, info| {
        found.push((subject.to_owned(), info));
        ControlFlow::Continue(())
    });
    assert_eq!(passed.expect("readable"), None);
    found
}

proptest! {
    #[test]
    fn it_is_what_a_plain_map_is(steps in proptest::collection::vec(step(), 1..800), filters in proptest::collection::vec("((kv|device|[a-c]|\\*)\\.){0,3}([a-c]{1,2}|\\*|>)", 1..20), max in prop_oneof![Just(1u64 << 30), 2000u64..30_000]) {
        let (mut subjects, mut model) = (subjects(max), BTreeMap::<String, SubjectInfo>::new());
        for (seq, step) in (1..).zip(steps) {
            match step {
                Step::Evict => assert!(subjects.evict(u64::MAX).error.is_none()),
                Step::Append(name) => {
                    let before = model.get(&name).copied();
                    prop_assert_eq!(subjects.append(&name, seq).expect("readable"), before);
                    if seq % 7 == 0 {
                        subjects.undo(&name, before.map(|info| info.last));
                        continue;
                    }
                    let info = model.entry(name).or_insert(SubjectInfo { first: seq, last: seq, count: 0 });
                    (info.last, info.count) = (seq, info.count + 1);
                }
                Step::Remove(name) => {
                    let Some(info) = model.get_mut(&name) else {
                        assert!(subjects.remove(&name, seq, |_| true).is_ok());
                        continue;
                    };
                    let last = info.last;
                    let left = subjects.remove(&name, last, |_| true).expect("readable") == Left::Last;
                    prop_assert_eq!(left, info.count > 1);
                    info.count -= 1;
                    if info.count == 0 {
                        model.remove(&name);
                    } else if info.count == 1 && info.first == last {
                        info.first = info.last;
                    }
                }
                Step::Merge(name, a, b) => {
                    let other = SubjectInfo { first: a.min(b), last: a.max(b), count: a % 300 + 1 };
                    subjects.merge(&name, other).expect("readable");
                    let info = model.entry(name).or_insert(SubjectInfo { count: 0, ..other });
                    *info = SubjectInfo {
                        first: info.first.min(other.first),
                        last: info.last.max(other.last),
                        count: info.count + other.count,
                    };
                }
                Step::SetFirst(name, first) => {
                    subjects.set_first(&name, first).expect("readable");
                    model.get_mut(&name).into_iter().for_each(|info| info.first = first);
                }
            }
            subjects.relieve(u64::MAX);
        }
        prop_assert_eq!(subjects.len(), model.len());
        for (name, info) in &model {
            prop_assert_eq!(subjects.get(name).expect("readable"), Some(*info), "{}", name);
        }
        for filter in filters.iter().map(String::as_str).chain([">", "kv.>", "device.*.humidity"]) {
            let naive: Vec<_> =
                model.iter().filter(|(s, _)| subject::matches(filter, s)).map(|(s, info)| (s.clone(), *info)).collect();
            prop_assert_eq!(selected(&mut subjects, filter), naive, "{}", filter);
        }
        for name in model.keys() {
            subjects.change(name, |_| None).expect("readable");
        }
        prop_assert_eq!(subjects.len(), 0);
        prop_assert!(selected(&mut subjects, ">").is_empty());
        let budget = subjects.budget.clone();
        prop_assert_eq!(budget.used(), subjects.memory() as u64);
        while !subjects.evict(u64::MAX).round || subjects.hot.len() > 0 {}
        prop_assert_eq!(budget.cold(), (0, 0), "what is no more is nowhere");
        drop(subjects);
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_first_is_not_made_of_a_last_that_is_gone() {
    let mut subjects = subjects(1 << 30);
    for seq in 1..=3 {
        subjects.append("a", seq).expect("in memory");
    }
    assert!(subjects.remove("a", 3, |_| true).is_ok_and(|left| left == Left::Last));
    // Before anybody has looked for what is the last one now.
    assert!(subjects.remove("a", 1, |seq| seq != 3).is_ok_and(|left| left == Left::Fine));
    assert_eq!(subjects.get("a").expect("in memory"), Some(SubjectInfo { first: 1, last: 3, count: 1 }));
}

/// All of the subjects, as far as they were not put out.
fn model(subjects: &mut Subjects) -> BTreeMap<String, SubjectInfo> {
    selected(subjects, ">").into_iter().collect()
}

#[test]
fn a_snapshot_is_what_was_there_when_it_was_begun() {
    let (mut done, mut lost) = (0, 0);
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut subjects = subjects([1 << 30, 20_000, 5000][random.usize(..3)]);
        // What it is to give, and what it has given so far.
        let (mut then, mut given) = (BTreeMap::new(), None::<BTreeMap<String, SubjectInfo>>);
        let mut seq = 0;
        for _ in 0..1000 {
            let name = format!("s.{}", random.u8(..200));
            match random.u8(..40) {
                0..=19 => {
                    seq += 1;
                    let before = subjects.append(&name, seq).expect("readable");
                    if random.u8(..9) == 0 {
                        subjects.undo(&name, before.map(|info| info.last));
                    }
                }
                20..=32 => {
                    if let Some(info) = subjects.get(&name).expect("readable") {
                        assert!(subjects.remove(&name, info.first, |_| true).is_ok());
                        subjects.set_first(&name, random.u64(info.first..=info.last)).expect("readable");
                    }
                }
                33 if given.is_none() => {
                    (then, given) = (model(&mut subjects), Some(BTreeMap::new()));
                    let last = seq;
                    let names: Vec<String> = (0..random.u8(..9)).map(|_| format!("s.{}", random.u8(..200))).collect();
                    let (mut staged, mut counts) = (Vec::new(), HashMap::new());
                    for name in &names {
                        seq += 1;
                        let before = subjects.append(name, seq).expect("readable").map(|info| info.last);
                        counts.entry(name.as_str()).or_insert((before, 0)).1 += 1;
                        staged.push((name, before));
                    }
                    subjects.begin_snapshot(last, &counts);
                    if random.bool() {
                        staged.into_iter().rev().for_each(|(name, before)| subjects.undo(name, before));
                    }
                }
                34..=36 => {
                    let Some(taken) = &mut given else { continue };
                    let (piece, pace) = subjects.snapshot_piece(random.usize(1..90)).expect("readable");
                    let mut walk = block::Walk::new(piece);
                    while let Some((name, info)) = walk.next() {
                        assert_eq!(taken.insert(name.to_owned(), info), None, "seed {seed}: each once");
                    }
                    match pace {
                        Pace::Steady | Pace::Hurry => continue,
                        Pace::Done => {
                            assert_eq!(*taken, then, "seed {seed}");
                            done += 1;
                        }
                        Pace::Lost => lost += 1,
                    }
                    given = None;
                }
                _ => assert!(subjects.evict(seq).error.is_none()),
            }
        }
        subjects.end_snapshot();
        assert_eq!(subjects.budget.used(), subjects.memory() as u64);
    }
    assert!(done > 100 && lost > 0, "{done} done, {lost} given up as they took too much memory");
}

#[test]
fn subjects_that_come_and_go_leave_nothing_behind() {
    let mut subjects = subjects(1 << 30);
    let (mut random, mut model) = (fastrand::Rng::with_seed(1), BTreeMap::new());
    for seq in 1..60_000 {
        let name = format!("plant.{:02}.dev.{:05}.temp", seq % 50, random.u32(..20_000));
        subjects.append(&name, seq).expect("readable");
        model.insert(name, seq);
        if random.u8(..9) > 3 {
            let (name, last) = model.pop_first().expect("there is one");
            subjects.change(&name, |info| (info.last != last).then_some(info)).expect("readable");
        }
        if seq % 9973 == 0 {
            let all = selected(&mut subjects, ">");
            assert!(
                all.iter().map(|(name, info)| (name, info.last)).eq(model.iter().map(|(name, last)| (name, *last)))
            );
        }
    }
    for name in model.keys() {
        subjects.change(name, |_| None).expect("readable");
    }
    assert!(subjects.memory() < 200_000, "{}", subjects.memory());
}

#[test]
fn a_hundred_thousand_subjects_take_little_memory() {
    let mut subjects = subjects(1 << 30);
    for n in 1..=100_000 {
        subjects.append(&name_of(n), n).expect("readable");
    }
    let each = subjects.memory() / 100_000;
    assert!(each < 70, "{each} bytes each");
}

fn name_of(n: u64) -> String {
    format!("plant.{:02}.dev.{n:07}.temp", n % 50)
}

#[test]
fn a_hundred_thousand_subjects_fit_into_any_memory() {
    const MAX: u64 = 400_000;
    let mut subjects = subjects(MAX);
    let mut random = fastrand::Rng::with_seed(3);
    let mut order: Vec<u64> = (1..=100_000).collect();
    random.shuffle(&mut order);
    for n in &order {
        subjects.relieve(u64::MAX);
        subjects.append(&name_of(*n), *n).expect("readable");
        // The hash table grows by doubling, some time or other as the hashes are random.
        assert!(subjects.budget.used() < MAX + MAX / 8, "{}", subjects.budget.used());
    }
    assert_eq!(subjects.len(), 100_000);
    let (cold, bytes) = subjects.budget.cold();
    assert!(cold > 90_000 && bytes < cold * 30, "{cold} in {bytes} bytes");
    for n in &order[..2000] {
        assert_eq!(subjects.get(&name_of(*n)).expect("readable").map(|info| info.first), Some(*n));
    }
    assert_eq!(subjects.get("plant.00.dev.0000001.temp").expect("readable"), None);
    assert_eq!(selected(&mut subjects, "plant.07.dev.*.temp").len(), 2000);
}

#[test]
fn a_block_that_cannot_be_read_is_an_error_until_it_is_made_anew() {
    let mut subjects = subjects(4000);
    for n in 1..=1000 {
        subjects.append(&name_of(n), n).expect("readable");
        subjects.relieve(n);
    }
    subjects.damage_first();
    let first = name_of(50);
    assert!(!subjects.is_hot(&first) && subjects.get(&first).is_err() && subjects.append(&first, 1001).is_err());
    assert!(subjects.each::<()>(">", |_, _| ControlFlow::Continue(())).is_err());
    assert!(subjects.evict(u64::MAX).error.is_none_or(|error| error.to_string().contains("damaged")));
    let range = subjects.unread().expect("one was found");
    let all = (1..=1000).filter(|n| range.contains(&name_of(*n)));
    let info = |n| SubjectInfo { first: n, last: n, count: 1 };
    subjects.mend(&range, &all.map(|n| (Box::from(name_of(n)), info(n))).collect()).expect("written");
    assert_eq!(subjects.unread(), None);
    assert_eq!(subjects.get(&first).expect("readable"), Some(info(50)));
    assert_eq!(selected(&mut subjects, ">").len(), 1000);
}

#[test]
fn what_is_counted_by_runs_is_what_is_counted_one_by_one() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let max = [1 << 30, 20_000, 3000][random.usize(..3)];
        let budget = subjects(max).budget.clone();
        let mut loader = Loader::new(&budget);
        let mut model: BTreeMap<String, SubjectInfo> = BTreeMap::new();
        for n in 0..300 {
            let info = SubjectInfo { first: n, last: n + 3, count: 3 };
            assert!(loader.add(&format!("s.{n:03}"), info).is_some());
            model.insert(format!("s.{n:03}"), info);
        }
        assert!(loader.add("s.100", SubjectInfo { first: 1, last: 1, count: 1 }).is_none(), "out of order");
        let (mut merged, mut runs, mut mend) = (loader.finish(), Runs::new(&budget), Vec::new());
        let mut lost: Vec<Box<str>> = Vec::new();
        for run in 0..5 {
            let names: std::collections::BTreeSet<String> =
                (0..100).map(|_| format!("s.{:03}", random.u16(..400))).collect();
            // Each is removed once, and what comes later comes behind it.
            let out = run == 0;
            let mut counted = Vec::new();
            for name in &names {
                let known = model.get(name).copied();
                let info = match known.filter(|_| out) {
                    Some(known) => SubjectInfo { first: 0, last: known.last - u64::from(random.bool()), count: 1 },
                    None if out => continue,
                    None => SubjectInfo { first: 1000 * run, last: 1000 * run + 5, count: 1 + random.u64(..4) },
                };
                counted.push((name.as_str(), info));
                let now = match (known, out) {
                    (Some(known), true) => SubjectInfo { count: known.count - 1, ..known },
                    (Some(known), false) => known.and(info),
                    (None, _) => info,
                };
                if out && known.is_some_and(|known| known.last == info.last) {
                    lost.push(name.as_str().into());
                }
                model.insert(name.clone(), now);
            }
            random.shuffle(&mut counted);
            runs.add(counted, out).expect("written");
            if random.u8(..4) == 0 {
                runs.merge(&mut merged, |_| true, &mut mend).expect("merged");
            }
        }
        runs.merge(&mut merged, |_| true, &mut mend).expect("merged");
        lost.retain(|name| mend.contains(name) || model[&**name].last < 1000);
        assert!(mend.iter().all(|name| lost.contains(name)), "seed {seed}");
        assert_eq!(merged.len(), model.len(), "seed {seed}");
        assert_eq!(selected(&mut merged, ">"), model.into_iter().collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(budget.used(), merged.memory() as u64);
        drop(merged);
        assert_eq!((budget.used(), budget.cold()), (0, (0, 0)));
    }
}
