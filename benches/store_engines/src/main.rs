//! `store_engines speed|power|damage FOLDER [ENGINE...]`: measures the engines in a folder on the disk in question, and
//! prints a table. `power` takes root, `/dev/fuse`, a loop device and mkfs.ext4.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use store_engines::damage::{self, End};
use store_engines::process::{Numbers, child, kill_when_done, speak};
use store_engines::table::{Rounds, summary, table};
use store_engines::workload::Queue;
use store_engines::{Kind, Result, measure, power};

const USAGE: &str = "usage: store_engines speed|power|damage FOLDER [ENGINE...]";
/// Each speed is measured so often.
const ROUNDS: usize = 3;
/// Records of the bulk append, which are opened again after a kill.
const BULK: u64 = 1_000_000;
/// Messages of the churned queue.
const CHURN: u64 = 100_000;
/// Power cuts.
const CUTS: u64 = 30;
/// Flipped bytes.
const FLIPS: u64 = 10;
/// A check that takes longer does not come to an end.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store_engines: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    let &[what, folder, ref rest @ ..] = words else { return Err(USAGE.into()) };
    if what == "measure" {
        return measured(folder, rest);
    }
    let kinds: Vec<Kind> = match rest {
        [] => Kind::ALL.to_vec(),
        names => names.iter().map(|name| name.parse()).collect::<Result<_>>()?,
    };
    let folder = Path::new(folder);
    let text = match what {
        "speed" => speed(&kinds, folder)?,
        "power" => cuts(&kinds, folder)?,
        "damage" => flips(&kinds, folder)?,
        _ => return Err(USAGE.into()),
    };
    println!("{text}");
    Ok(())
}

/// One measurement, in this process.
fn measured(what: &str, rest: &[&str]) -> Result<()> {
    let [kind, dir, numbers @ ..] = rest else { return Err(USAGE.into()) };
    let (kind, dir): (Kind, _) = (kind.parse()?, Path::new(dir));
    let numbers: Vec<u64> = numbers.iter().map(|n| n.parse()).collect::<std::result::Result<_, _>>()?;
    match (what, &numbers[..]) {
        ("durable", &[waiting]) => measure::durable(kind, dir, waiting),
        ("bulk", &[records]) => measure::bulk(kind, dir, records),
        ("reopen", &[records]) => measure::reopen(kind, dir, records),
        ("churn", &[messages]) => measure::churn(kind, dir, messages),
        ("fill", &[records]) => measure::fill(kind, dir, records),
        ("queue", &[seed]) => measure::queue(kind, dir, seed),
        ("check", &[floor, last, tried_floor, tried_last]) => {
            std::thread::spawn(|| {
                std::thread::sleep(PATIENCE);
                eprintln!("does not come to an end");
                std::process::exit(1);
            });
            let tried = Queue { floor: tried_floor, last: tried_last };
            measure::check(kind, dir, Queue { floor, last }, tried)
        }
        _ => Err(USAGE.into()),
    }
}

fn speed(kinds: &[Kind], folder: &Path) -> Result<String> {
    let mut columns: Vec<(&str, Rounds)> = kinds.iter().map(|kind| (kind.name(), Rounds::default())).collect();
    for round in 1..=ROUNDS {
        for (&kind, (name, rounds)) in kinds.iter().zip(&mut columns) {
            eprintln!("round {round}: {name}");
            for waiting in ["1", "16", "256"] {
                let numbers = fresh(folder, |dir| Ok(speak(child(kind, "durable", dir).arg(waiting))?))?;
                rounds.add(numbers.into_iter().map(|(name, n)| (format!("{name}, {waiting} waiting"), n)).collect());
            }
            rounds.add(fresh(folder, |dir| Ok(speak(child(kind, "churn", dir).arg(CHURN.to_string()))?))?);
            rounds.add(fresh(folder, |dir| bulk_and_reopen(kind, dir))?);
        }
    }
    Ok(table(&columns))
}

/// Does something with a new folder, and deletes it.
fn fresh<T>(folder: &Path, does: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let dir = folder.join("engine");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let done = does(&dir)?;
    fs::remove_dir_all(&dir)?;
    Ok(done)
}

fn bulk_and_reopen(kind: Kind, dir: &Path) -> Result<Numbers> {
    let records = BULK.to_string();
    let mut numbers = kill_when_done(child(kind, "bulk", dir).arg(&records))?;
    numbers.extend(speak(child(kind, "reopen", dir).arg(&records))?);
    Ok(numbers)
}

fn cuts(kinds: &[Kind], folder: &Path) -> Result<String> {
    fs::create_dir_all(folder)?;
    let disk = power::empty_disk(folder)?;
    let mut lines = Vec::new();
    for &kind in kinds {
        let (mut acked, mut lossy, mut lost, mut wrong, mut resurrected, mut closed) = (0, 0, 0.0, 0.0, 0, Vec::new());
        for seed in 1..=CUTS {
            let outcome = power::cut(kind, &disk, folder, seed)?;
            eprintln!("{} {seed}: {outcome:?}", kind.name());
            acked += outcome.acked;
            match outcome.check {
                Ok(numbers) => {
                    let gone = get(&numbers, "missing") + get(&numbers, "reported");
                    lossy += u64::from(gone > 0.0);
                    lost += gone;
                    wrong += get(&numbers, "wrong");
                    resurrected += u64::from(get(&numbers, "resurrected") > 0.0);
                }
                Err(why) => closed.push(why),
            }
        }
        lines.push(format!(
            "| {} | {acked} | {lossy} | {lost} | {resurrected} | {wrong} | {} |",
            kind.name(),
            closed.len()
        ));
    }
    let head = "| | records acked | cuts that lost acked records | records lost | cuts that brought back deleted ones \
                | wrong records | cuts after which it does not open |\n|---|---|---|---|---|---|---|";
    Ok(format!("{head}\n{}", lines.join("\n")))
}

fn flips(kinds: &[Kind], folder: &Path) -> Result<String> {
    let mut text = String::from(
        "| | refused or crashed | missing without a word | reported as unreadable | served wrong |\n|---|---|---|---|---|",
    );
    for &kind in kinds {
        for end in [End::Closed, End::Killed] {
            let filled = folder.join("filled");
            damage::fill(kind, &filled, end)?;
            let (mut silent, mut reported, mut wrong, mut refused) = (Vec::new(), Vec::new(), 0.0, 0);
            for seed in 1..=FLIPS {
                let outcome = damage::flip(kind, &filled, &folder.join("flipped"), seed)?;
                eprintln!("{}, {end:?} {seed}: {outcome:?}", kind.name());
                match outcome {
                    Ok(numbers) => {
                        silent.push(get(&numbers, "missing"));
                        reported.push(get(&numbers, "reported"));
                        wrong += get(&numbers, "wrong");
                    }
                    Err(_) => refused += 1,
                }
            }
            let (silent, reported) = (summary(&silent), summary(&reported));
            let row =
                format!("\n| {}, {end:?} | {refused} of {FLIPS} | {silent} | {reported} | {wrong} |", kind.name());
            text += &row;
        }
    }
    Ok(text)
}

fn get(numbers: &[(String, f64)], name: &str) -> f64 {
    numbers.iter().find(|(known, _)| known == name).map_or(0.0, |(_, value)| *value)
}
