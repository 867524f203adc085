//! The store by itself: `cargo bench --bench store`. Opening after kill -9, durable acknowledgements, bytes written, a work queue,
//! and what it writes when nothing happens. `ONLY` names a part.
//!
//! `MESSAGES` (10 million) and `SUBJECTS` (100,000) set the size of the log that is opened; `DIR` the folder, which should be on
//! the disk that is to be measured.

mod acks;
mod churn;
mod idle;
mod index;
mod opening;
mod proc;

use std::path::{Path, PathBuf};

/// Measures something in a folder of its own.
type Part = fn(&Path);

/// A setting of the environment, or what it is by default.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dir = |text: &str| PathBuf::from(text);
    // What must be a process of its own, as it is killed or its memory is measured.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "fill", path] => return opening::fill(&dir(path)),
        [_, "open", path] => return opening::open(&dir(path)),
        [_, "index", path] => return index::fill(&dir(path)),
        [_, "reopen", path] => return index::open(&dir(path)),
        _ => {}
    }
    let parent = std::env::var("DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let parts: [(&str, Part); 6] = [
        ("durable acknowledgements", acks::in_flight),
        ("many streams", acks::many),
        ("opening", opening::measure),
        ("many subjects in little memory", index::measure),
        ("churn of a work queue", churn::measure),
        ("idle", idle::measure),
    ];
    for (name, part) in parts {
        if std::env::var("ONLY").is_ok_and(|only| !name.contains(&only)) {
            continue;
        }
        let folder = tempfile::tempdir_in(&parent).expect("a folder");
        println!("{name}");
        part(folder.path());
    }
}
