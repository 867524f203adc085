//! One flipped byte: within a stored payload, where no other record should suffer; in what an engine left that was closed,
//! and in what one left that was killed.

use crate::process::{Numbers, child, kill_when_done, speak};
use crate::workload::payload;
use crate::{Kind, Result};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Records stored before a byte is flipped.
pub const RECORDS: u64 = 100_000;

/// What a check of all records said after one byte was flipped, or why it came to nothing.
pub type Outcome = std::result::Result<Numbers, String>;

/// How an engine ended that filled a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// By SIGKILL.
    Killed,
}

/// Fills a new folder, for [`flip`].
///
/// # Errors
/// Those of the engine.
pub fn fill(kind: Kind, dir: &Path, end: End) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    match end {
        End::Closed => speak(child(kind, "fill", dir).arg(RECORDS.to_string()))?,
        End::Killed => kill_when_done(child(kind, "bulk", dir).arg(RECORDS.to_string()))?,
    };
    Ok(())
}

/// Flips one byte of one stored payload in a copy of a filled folder, and has all records checked.
///
/// # Errors
/// The copy cannot be made, or no payload is found in it.
pub fn flip(kind: Kind, filled: &Path, work: &Path, seed: u64) -> Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(seed);
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    copy(filled, work)?;
    let mut files = Vec::new();
    list(work, &mut files)?;
    let (path, at) = loop {
        let copies = find(&files, &payload(random.u64(1..=RECORDS)))?;
        if let Some(found) = random.choice(copies) {
            break found;
        }
    };
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1 << random.u8(0..8)], at)?;
    let numbers = [0, RECORDS, 0, RECORDS].map(|n| n.to_string());
    Ok(speak(child(kind, "check", work).args(numbers)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Where the middle of a payload is stored, in each copy that the engine has of it.
fn find(files: &[PathBuf], payload: &[u8]) -> Result<Vec<(PathBuf, u64)>> {
    // A part of it, as a compressor may have taken its ends.
    let needle = &payload[payload.len() / 4..payload.len() / 2];
    let mut found = Vec::new();
    for path in files {
        let bytes = fs::read(path)?;
        let hits = memchr::memmem::find_iter(&bytes, needle);
        found.extend(hits.map(|at| (path.clone(), (at + needle.len() / 2) as u64)));
    }
    Ok(found)
}
