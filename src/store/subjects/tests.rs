use super::*;
use crate::subject;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Append(String),
    Remove(String),
    Merge(String, u64, u64),
    SetFirst(String, u64),
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
    ]
}

fn selected(subjects: &mut Subjects, filter: &str) -> Vec<(String, SubjectInfo)> {
    let mut found = Vec::new();
    subjects.each::<()>(filter, |subject, info| {
        found.push((subject.to_owned(), info));
        ControlFlow::Continue(())
    });
    found
}

proptest! {
    #[test]
    fn it_is_what_a_plain_map_is(steps in proptest::collection::vec(step(), 1..800), filters in proptest::collection::vec("((kv|device|[a-c]|\\*)\\.){0,3}([a-c]{1,2}|\\*|>)", 1..20)) {
        let (mut subjects, mut model) = (Subjects::default(), BTreeMap::<String, SubjectInfo>::new());
        for (seq, step) in (1..).zip(steps) {
            match step {
                Step::Append(name) => {
                    let before = model.get(&name).copied();
                    prop_assert_eq!(subjects.append(&name, seq), before);
                    if seq % 7 == 0 {
                        subjects.undo(&name, before.map(|info| info.last));
                        continue;
                    }
                    let info = model.entry(name).or_insert(SubjectInfo { first: seq, last: seq, count: 0 });
                    (info.last, info.count) = (seq, info.count + 1);
                }
                Step::Remove(name) => {
                    let Some(info) = model.get_mut(&name) else {
                        subjects.remove(&name, seq);
                        continue;
                    };
                    let last = info.last;
                    let left = subjects.remove(&name, last) == Left::Last;
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
                    subjects.merge(&name, other);
                    let info = model.entry(name).or_insert(SubjectInfo { count: 0, ..other });
                    *info = SubjectInfo {
                        first: info.first.min(other.first),
                        last: info.last.max(other.last),
                        count: info.count + other.count,
                    };
                }
                Step::SetFirst(name, first) => {
                    subjects.set_first(&name, first);
                    model.get_mut(&name).into_iter().for_each(|info| info.first = first);
                }
            }
        }
        prop_assert_eq!(subjects.len(), model.len());
        for (name, info) in &model {
            prop_assert_eq!(subjects.get(name), Some(*info), "{}", name);
        }
        for filter in filters.iter().map(String::as_str).chain([">", "kv.>", "device.*.humidity"]) {
            let naive: Vec<_> =
                model.iter().filter(|(s, _)| subject::matches(filter, s)).map(|(s, info)| (s.clone(), *info)).collect();
            prop_assert_eq!(selected(&mut subjects, filter), naive, "{}", filter);
        }
        for name in model.keys() {
            subjects.change(name, |_| None);
        }
        prop_assert_eq!(subjects.len(), 0);
        prop_assert!(selected(&mut subjects, ">").is_empty());
    }
}

#[test]
fn subjects_that_come_and_go_leave_nothing_behind() {
    let mut subjects = Subjects::default();
    let (mut random, mut model) = (fastrand::Rng::with_seed(1), BTreeMap::new());
    for seq in 1..60_000 {
        let name = format!("plant.{:02}.dev.{:05}.temp", seq % 50, random.u32(..20_000));
        subjects.append(&name, seq);
        model.insert(name, seq);
        if random.u8(..9) > 3 {
            let (name, last) = model.pop_first().expect("there is one");
            subjects.change(&name, |info| (info.last != last).then_some(info));
        }
        if seq % 9973 == 0 {
            let all = selected(&mut subjects, ">");
            assert!(
                all.iter().map(|(name, info)| (name, info.last)).eq(model.iter().map(|(name, last)| (name, *last)))
            );
        }
    }
    for name in model.keys() {
        subjects.change(name, |_| None);
    }
    assert!(subjects.memory() < 200_000, "{}", subjects.memory());
}

#[test]
fn a_hundred_thousand_subjects_take_little_memory() {
    let mut subjects = Subjects::default();
    for n in 1..=100_000 {
        subjects.append(&format!("plant.{:02}.dev.{n:07}.temp", n % 50), n);
    }
    let each = subjects.memory() / 100_000;
    assert!(each < 70, "{each} bytes each");
}
