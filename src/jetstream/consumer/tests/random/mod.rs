//! Random histories of a stream and its consumers, compared step by step with a model that is kept in memory
//! ([`model`]): publishes, messages with a time to live, deletions, purges, pulls, also those of priority groups that wait for a
//! backlog, have one client pinned, or are served before others, acks of every kind, naks with a delay among them, consumers that come and go, and restarts from the disk. `LEAFD_SEED` replays one history, `LEAFD_HISTORIES` runs so many for each retention policy.

mod bench;
mod model;

use super::Retention;
use bench::Bench;
use fastrand::Rng;
use model::{Model, Policy, Says, Verb};

const STEPS: usize = 120;
const SUBJECTS: [&str; 3] = ["m.a", "m.b", "m.c"];

/// Consumers and their filters. In a work queue no message is for two.
fn readers(retention: Retention) -> Vec<(&'static str, Vec<String>)> {
    let only = |subjects: &[&str]| subjects.iter().map(|subject| subject.to_string()).collect();
    match retention {
        Retention::WorkQueue => vec![("one", only(&["m.a", "m.b"])), ("two", only(&["m.c"]))],
        _ => vec![("all", Vec::new()), ("one", only(&["m.a"])), ("two", only(&["m.b", "m.c"]))],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_retention_is_as_its_model() {
    histories(Retention::Limits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interest_retention_is_as_its_model() {
    histories(Retention::Interest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_queue_retention_is_as_its_model() {
    histories(Retention::WorkQueue).await;
}

async fn histories(retention: Retention) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("LEAFD_SEED") {
        return history(retention, seed).await;
    }
    for seed in 0..number("LEAFD_HISTORIES").unwrap_or(4) {
        history(retention, seed).await;
    }
}

async fn history(retention: Retention, seed: u64) {
    eprintln!("LEAFD_SEED={seed} {retention:?}");
    let mut random = Rng::with_seed(seed);
    let max_msgs = if retention == Retention::Limits { random.usize(5..40) } else { 1000 };
    let mut model = Model::new(retention, max_msgs);
    let mut bench = Bench::new(retention, max_msgs).await;
    for step in 0..STEPS {
        let done = match random.u32(0..100) {
            0 => publish_brief(&mut random, &mut model, &bench).await,
            1..40 => publish(&mut random, &mut model, &bench).await,
            40..65 => pull(&mut random, &mut model, &mut bench).await,
            65..85 => answer(&mut random, &mut model, &bench).await,
            85..90 => remove(&mut random, &mut model, &bench).await,
            90..96 => come_or_go(&mut random, &mut model, &mut bench).await,
            96 => unpin(&mut random, &mut model, &bench).await,
            _ => {
                bench = bench.restart().await;
                model.restart();
                "restart".to_owned()
            }
        };
        eprintln!("{step}: {done}");
        bench.compare(&model).await;
    }
}

async fn publish(random: &mut Rng, model: &mut Model, bench: &Bench) -> String {
    let subject = SUBJECTS[random.usize(..SUBJECTS.len())];
    let seq = model.publish(subject);
    assert_eq!(bench.publish(subject).await, seq);
    format!("publish {subject} as {seq}")
}

/// A message that has gone by itself when the stream is compared next.
async fn publish_brief(random: &mut Rng, model: &mut Model, bench: &Bench) -> String {
    let subject = SUBJECTS[random.usize(..SUBJECTS.len())];
    let seq = model.publish(subject);
    model.remove(seq);
    assert_eq!(bench.publish_brief(subject).await, seq);
    format!("publish {subject} as {seq} for a second")
}

async fn pull(random: &mut Rng, model: &mut Model, bench: &mut Bench) -> String {
    let (Some(name), count) = (any(random, model), random.usize(1..8)) else { return "nobody pulls".into() };
    let policy = model.consumers[&name].policy;
    if policy == Policy::Prioritized && random.bool() && model.has_nothing_for(&name) {
        return compete(random, model, bench, &name).await;
    }
    let says = match (policy, random.u32(0..8)) {
        (Policy::Overflow, 0..2) => Says::Backlog(random.usize(1..6)),
        (Policy::Pinned, 0..5) => Says::Pinned,
        (Policy::Pinned, 5) => Says::Foreign,
        _ => Says::Nothing,
    };
    let expected = model.pull(&name, count, says);
    let given = bench.pull(&name, count, says).await;
    assert_eq!(given, expected, "{name} pulls {count}, says {says:?}");
    format!("{name} pulls {count}, says {says:?}: {given:?}")
}

/// Two requests wait when messages come.
async fn compete(random: &mut Rng, model: &mut Model, bench: &mut Bench, name: &str) -> String {
    let subjects: Vec<&str> = SUBJECTS.into_iter().filter(|on| model.consumers[name].matches(on)).collect();
    let Some(subject) = random.choice(subjects) else { return "nobody competes".into() };
    let mut rival = || (random.u8(0..3), random.usize(1..3));
    let rivals = [rival(), rival()];
    let expected = model.compete(name, subject, rivals);
    let given = bench.compete(name, subject, rivals).await;
    assert_eq!(given, expected, "{name} pulls as {rivals:?}");
    format!("{name} pulls as {rivals:?}: {given:?}")
}

async fn unpin(random: &mut Rng, model: &mut Model, bench: &Bench) -> String {
    let Some(name) = any(random, model) else { return "nobody is unpinned".into() };
    if model.consumers[&name].policy == Policy::Pinned {
        model.unpin(&name);
        bench.unpin(&name).await;
    }
    format!("{name} is unpinned")
}

async fn answer(random: &mut Rng, model: &mut Model, bench: &Bench) -> String {
    let Some((name, seq)) = bench.any_delivery(random) else { return "nothing to answer".into() };
    let verbs = [Verb::Ack, Verb::Ack, Verb::Nak, Verb::Nak, Verb::Later, Verb::Term, Verb::Progress];
    let verb = verbs[random.usize(..verbs.len())];
    model.answer(&name, seq, verb);
    bench.answer(&name, seq, verb).await;
    format!("{name} says {verb:?} of {seq}")
}

async fn remove(random: &mut Rng, model: &mut Model, bench: &Bench) -> String {
    if random.u32(0..4) == 0 {
        let subject = random.bool().then(|| SUBJECTS[random.usize(..SUBJECTS.len())]);
        model.purge(subject);
        bench.purge(subject).await;
        return format!("purge {subject:?}");
    }
    let seqs: Vec<u64> = model.messages.keys().copied().collect();
    let Some(seq) = random.choice(seqs) else { return "nothing to remove".into() };
    model.remove(seq);
    bench.remove(seq).await;
    format!("remove {seq}")
}

async fn come_or_go(random: &mut Rng, model: &mut Model, bench: &mut Bench) -> String {
    let readers = readers(model.retention);
    let (name, filter) = &readers[random.usize(..readers.len())];
    if model.consumers.contains_key(*name) {
        model.drop_consumer(name);
        bench.drop_consumer(name).await;
        return format!("{name} goes");
    }
    let policy = [Policy::Overflow, Policy::Pinned, Policy::Prioritized][random.usize(..3)];
    model.add(name, filter, policy);
    bench.add(name, filter, policy).await;
    format!("{name} comes, {policy:?}")
}

fn any(random: &mut Rng, model: &Model) -> Option<String> {
    random.choice(model.consumers.keys().cloned().collect::<Vec<_>>())
}
