//! The work that is measured: records, batches of them, and what an engine must have kept.

use crate::{Engine, Result};
use std::ops::Range;

/// Bytes of a record's payload.
pub const PAYLOAD: usize = 128;

/// The payload of a sequence. It looks random, so that no engine gains by compressing it.
pub fn payload(seq: u64) -> Vec<u8> {
    let mut bytes = vec![0; PAYLOAD];
    fastrand::Rng::with_seed(seq).fill(&mut bytes);
    bytes
}

/// The payloads of some sequences.
pub fn payloads(seqs: Range<u64>) -> Vec<Vec<u8>> {
    seqs.map(payload).collect()
}

/// Appends the next `count` records with one commit.
///
/// # Errors
/// Those of the engine.
pub fn append(engine: &mut dyn Engine, count: u64) -> Result<()> {
    let next = engine.last() + 1;
    engine.write(&payloads(next..next + count), &[])
}

/// A queue as a work-queue stream is one: records come in behind and are deleted in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// All up to this one are deleted.
    pub floor: u64,
    /// The last one appended.
    pub last: u64,
}

impl Queue {
    /// What it is after `append` more records, with the oldest deleted until at most `keep` are left.
    pub fn after(self, append: u64, keep: u64) -> Queue {
        let last = self.last + append;
        Queue { floor: self.floor.max(last.saturating_sub(keep)).min(self.last), last }
    }

    /// Has the engine go from this queue to a later one, with one commit.
    ///
    /// # Errors
    /// Those of the engine.
    pub fn advance(self, engine: &mut dyn Engine, to: Queue) -> Result<()> {
        let remove: Vec<u64> = (self.floor + 1..to.floor + 1).collect();
        engine.write(&payloads(self.last + 1..to.last + 1), &remove)
    }
}

/// What became of the records that an engine must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Read back as they were written.
    pub intact: u64,
    /// The engine says that there is no such record.
    pub missing: u64,
    /// The engine says that it cannot read the record.
    pub reported: u64,
    /// Read back with other contents.
    pub wrong: u64,
    /// Deleted records that are there again.
    pub resurrected: u64,
}

/// Compares an engine with what it acknowledged. The records of `tried` may be missing or there, as their deletion or their
/// appending was under way.
pub fn check(engine: &dyn Engine, acked: Queue, tried: Queue) -> Found {
    let mut found = Found::default();
    for seq in 1..=acked.floor {
        found.resurrected += u64::from(matches!(engine.read(seq), Ok(Some(_))));
    }
    for seq in tried.floor.max(acked.floor) + 1..=acked.last {
        match engine.read(seq) {
            Ok(Some(bytes)) if bytes == payload(seq) => found.intact += 1,
            Ok(Some(_)) => found.wrong += 1,
            Ok(None) => found.missing += 1,
            Err(_) => found.reported += 1,
        }
    }
    for seq in acked.last + 1..=engine.last().min(tried.last) {
        found.wrong += u64::from(matches!(engine.read(seq), Ok(Some(bytes)) if bytes != payload(seq)));
    }
    found
}

/// All that an engine has to do, once, in the folder that is the program's argument: for the size of a program with it.
///
/// # Errors
/// Those of the engine; there is no argument.
pub fn probe<E: Engine>() -> Result<()> {
    let dir = std::env::args_os().nth(1).ok_or("usage: size_ENGINE FOLDER")?;
    let mut engine = E::open(dir.as_ref())?;
    append(&mut engine, 2)?;
    engine.write(&[], &[1])?;
    let found = check(&engine, Queue { floor: 1, last: 2 }, Queue { floor: 1, last: 2 });
    println!("{found:?}");
    Box::new(engine).close()
}
