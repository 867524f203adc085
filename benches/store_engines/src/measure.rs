//! What one process measures of one engine; says it on standard output, a name and a number a line.

use crate::committer::Committer;
use crate::workload::{self, PAYLOAD, Queue};
use crate::{Kind, Result};
use rustix::fs::{major, minor};
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Records behind one commit in a bulk append.
const BULK: u64 = 10_000;
/// Records that wait in the churned queue.
const QUEUE: u64 = 1_000;
/// Messages behind one commit in the churned queue.
const CHURN: u64 = 64;
/// How long durable appends are measured.
const DURABLE: Duration = Duration::from_secs(3);
/// How long the disk itself is measured before that.
const PROBE: Duration = Duration::from_millis(500);

/// Bytes that this process had the kernel write to the disk, as `/proc/self/io` accounts for them.
fn written() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io has no write_bytes")?.parse()?)
}

/// What the block device under a folder was asked for since it is there, by whomever: bytes written, and flushes.
fn device(dir: &Path) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let number = fs::metadata(dir)?.dev();
    let path = format!("/sys/dev/block/{}:{}/stat", major(number), minor(number));
    let text = fs::read_to_string(&path)?;
    let fields: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match (fields.get(6), fields.get(15)) {
        (Some(sectors), Some(flushes)) => Ok((sectors * 512, *flushes)),
        _ => Err(format!("{path} has no count of flushes").into()),
    }
}

fn say(name: &str, value: f64) {
    println!("{name} {value}");
}

/// Durable appends by `waiting` publishers, each of which hands in its next record when its last is acknowledged.
///
/// # Errors
/// Those of the engine.
pub fn durable(kind: Kind, dir: &Path, waiting: u64) -> Result<()> {
    say("disk syncs/s", syncs(&dir.join("probe"))?);
    let committer = Committer::open(kind, dir)?;
    let (mut submitted, mut acked) = (0, 0);
    let mut start = None;
    loop {
        while submitted < acked + waiting {
            submitted += 1;
            committer.submit(workload::payload(submitted))?;
        }
        acked = committer.acked(acked)?;
        // The first round creates files.
        if start.is_none() {
            start = Some((Instant::now(), written()?, acked, device(dir)?));
        }
        let Some((begun, before, from, (bytes, flushes))) = start else { continue };
        if begun.elapsed() >= DURABLE {
            say("acks/s", (acked - from) as f64 / begun.elapsed().as_secs_f64());
            let (acks, after) = ((acked - from) as f64, device(dir)?);
            say("bytes/ack", (written()? - before) as f64 / acks);
            say("device bytes/ack", (after.0 - bytes) as f64 / acks);
            say("device flushes/1000 acks", (after.1 - flushes) as f64 / acks * 1e3);
            return committer.close();
        }
    }
}

/// What the disk can do at the moment: one block written over and fdatasync, again and again; how often a second.
fn syncs(path: &Path) -> Result<f64> {
    let file = fs::File::create(path)?;
    file.write_all_at(&[1; 4096], 0)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < PROBE {
        count += 1;
        file.write_all_at(&[count as u8; 4096], 0)?;
        file.sync_data()?;
    }
    fs::remove_file(path)?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Appends `records`, then says so and waits to be killed.
///
/// # Errors
/// Those of the engine.
pub fn bulk(kind: Kind, dir: &Path, records: u64) -> Result<()> {
    let mut engine = kind.open(dir)?;
    let (start, before) = (Instant::now(), written()?);
    while engine.last() < records {
        let count = BULK.min(records - engine.last());
        workload::append(&mut *engine, count)?;
    }
    say("appends/s", records as f64 / start.elapsed().as_secs_f64());
    say("amplification", (written()? - before) as f64 / (records * PAYLOAD as u64) as f64);
    println!("done");
    loop {
        std::thread::park();
    }
}

/// Opens what a killed process left, appends one more record, and checks all `records`.
///
/// # Errors
/// Those of the engine; a record is not as it was written.
pub fn reopen(kind: Kind, dir: &Path, records: u64) -> Result<()> {
    let start = Instant::now();
    let mut engine = kind.open(dir)?;
    say("open s", start.elapsed().as_secs_f64());
    workload::append(&mut *engine, 1)?;
    say("to first ack s", start.elapsed().as_secs_f64());
    for seq in (1..=records).step_by(997) {
        if engine.read(seq)? != Some(workload::payload(seq)) {
            return Err(format!("record {seq} of {records} is not as it was written").into());
        }
    }
    Ok(())
}

/// Sends `messages` through a queue.
///
/// # Errors
/// Those of the engine.
pub fn churn(kind: Kind, dir: &Path, messages: u64) -> Result<()> {
    let mut engine = kind.open(dir)?;
    let mut queue = Queue::default();
    let (start, before, flushes) = (Instant::now(), written()?, device(dir)?.1);
    while queue.last < messages {
        let next = queue.after(CHURN, QUEUE);
        queue.advance(&mut *engine, next)?;
        queue = next;
    }
    say("messages/s", messages as f64 / start.elapsed().as_secs_f64());
    say("bytes/message", (written()? - before) as f64 / messages as f64);
    say("device flushes/1000 messages", (device(dir)?.1 - flushes) as f64 / messages as f64 * 1e3);
    say("disk MB", disk(dir)? as f64 / 1e6);
    engine.close()
}

/// Bytes that a folder takes on the disk.
fn disk(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() { disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}

/// Appends `records` and ends in order.
///
/// # Errors
/// Those of the engine.
pub fn fill(kind: Kind, dir: &Path, records: u64) -> Result<()> {
    let mut engine = kind.open(dir)?;
    while engine.last() < records {
        let count = CHURN.min(records - engine.last());
        workload::append(&mut *engine, count)?;
    }
    engine.close()
}

/// A queue that goes on until the power does; tells each step before it is tried and after it is acknowledged.
///
/// # Errors
/// The engine's, which a power cut makes likely.
pub fn queue(kind: Kind, dir: &Path, seed: u64) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut out = std::io::stdout().lock();
    let mut engine = kind.open(dir)?;
    let mut queue = Queue::default();
    loop {
        let next = queue.after(random.u64(1..=CHURN), random.u64(QUEUE..=2 * QUEUE));
        writeln!(out, "tried {} {}", next.floor, next.last)?;
        queue.advance(&mut *engine, next)?;
        writeln!(out, "acked {} {}", next.floor, next.last)?;
        queue = next;
    }
}

/// Compares what is there with what was acknowledged and tried, and sees whether the engine still takes records.
///
/// # Errors
/// The engine cannot be opened, or takes no records.
pub fn check(kind: Kind, dir: &Path, acked: Queue, tried: Queue) -> Result<()> {
    let mut engine = kind.open(dir)?;
    let found = workload::check(&*engine, acked, tried);
    say("intact", found.intact as f64);
    say("missing", found.missing as f64);
    say("reported", found.reported as f64);
    say("wrong", found.wrong as f64);
    say("resurrected", found.resurrected as f64);
    engine.write(&[vec![0; PAYLOAD]], &[])?;
    engine.close()
}
