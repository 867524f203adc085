//! `leafd fsck DIR`: examines a data directory while no daemon runs on it.

use crate::config::secret::Secret;
use crate::jetstream;
use crate::store::{self, Damage, Encryption, Report};
use std::path::Path;

/// Prints what is there and what is damaged; an error if anything is.
pub fn run(dir: &Path, key_file: Option<&Path>) -> Result<(), String> {
    let report = store::examine(dir, key(key_file)?.as_ref()).map_err(|e| e.to_string())?;
    print(dir, &report);
    match report.is_sound() && misfits(dir, &report).is_empty() {
        true => Ok(()),
        false => Err(format!("{} is damaged; `leafd salvage {0} NEW` writes what is readable to NEW", dir.display())),
    }
}

/// The key in a file, if one is named.
pub(super) fn key(file: Option<&Path>) -> Result<Option<Encryption>, String> {
    let Some(file) = file else { return Ok(None) };
    let key = Secret::File { file: file.to_owned() }.read().map_err(|e| e.to_string())?;
    Ok(Some(Encryption { key: key.into_bytes(), ..Encryption::default() }))
}

/// Logs with messages of which no stream is known, and streams without a log.
fn misfits(dir: &Path, report: &Report) -> Vec<Damage> {
    let state = |prefix: &str| {
        let entries = report.state.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let damage = |log: String, what| Damage { path: dir.join("streams").join(log), what, lost: None };
    let filled = report.logs.iter().filter(|log| log.segments > 0).map(|log| log.id.clone());
    let strays = jetstream::strays(filled, state).into_iter();
    let all = report.logs.iter().map(|log| log.id.clone()).collect();
    let strays = strays.map(|log| damage(log, "state.log knows no stream whose messages these are".to_owned()));
    let bereft = jetstream::bereft(&all, state).into_iter();
    let bereft = bereft.map(|(stream, log)| damage(log, format!("the folder of stream {stream} is missing")));
    strays.chain(bereft).collect()
}

/// One line for each stream and for each damage.
pub(super) fn print(dir: &Path, report: &Report) {
    for log in &report.logs {
        let sequences = match &log.sequences {
            Some(range) => format!("sequences {} to {}", range.start(), range.end()),
            None => "empty".to_owned(),
        };
        println!("{}: {} messages, {} bytes, {} segments, {sequences}", log.id, log.records, log.bytes, log.segments);
        log.damage.iter().for_each(print_damage);
    }
    println!("state: {} keys", report.state.len());
    report.damage.iter().for_each(print_damage);
    misfits(dir, report).iter().for_each(print_damage);
}

fn print_damage(damage: &Damage) {
    let lost = match &damage.lost {
        Some(range) if range.start() == range.end() => format!("; sequence {} is lost", range.start()),
        Some(range) => format!("; sequences {} to {} are lost", range.start(), range.end()),
        None => String::new(),
    };
    println!("  DAMAGED {}: {}{lost}", damage.path.display(), damage.what);
}
