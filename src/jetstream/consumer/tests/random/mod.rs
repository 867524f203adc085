//! Random histories of a stream and its consumers, compared step by step with a model that is kept in memory
//! ([`model`]): publishes, messages with a time to live, deletions, purges, pulls, also those of a priority group that wait for a
//! backlog, acks of every kind, naks with a delay among them, consumers that come and go, and restarts from the disk. `LEAFD_SEED` replays one history, `LEAFD_HISTORIES` runs so many for each retention policy.

mod bench;
mod model;

use super::Retention;
use bench::Bench;
use fastrand::Rng;
use model::{Model, Verb};

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
            90..97 => come_or_go(&mut random, &mut model, &mut bench).await,
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
    let backlog = if random.u32(0..4) == 0 { random.usize(1..6) } else { 0 };
    let expected = model.pull(&name, count, backlog);
    let given = bench.pull(&name, count, backlog).await;
    assert_eq!(given, expected, "{name} pulls {count} from a backlog of {backlog}");
    format!("{name} pulls {count} from a backlog of {backlog}: {given:?}")
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
    model.add(name, filter);
    bench.add(name, filter).await;
    format!("{name} comes")
}

fn any(random: &mut Rng, model: &Model) -> Option<String> {
    random.choice(model.consumers.keys().cloned().collect::<Vec<_>>())
}
