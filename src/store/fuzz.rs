//! Entry points for the fuzz targets in `fuzz/`: the formats on disk, damaged in any way.
//!
//! Checksums keep random damage from reaching what lies behind them, so the input is read as a script that writes good
//! records, frames with a right checksum around anything, and raw bytes.

use super::clock::Clock;
use super::coding::Coding;
use super::compaction::compact_here;
use super::frame::{self, Parsed, UNSALTED};
use super::io::{Disk, DiskFile};
use super::log::Staged;
use super::record::{self, Part, Record};
use super::segment::{self, file_name};
use super::sim::SimDisk;
use super::unit::{self, Packer};
use super::{Log, LogOptions, Store, StoreOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/data";
const LOG: &str = "/data/streams/s";

/// Sequences and payloads.
type Records = Vec<(u64, Vec<u8>)>;

/// Frames, records and units: no input makes them read beyond it, and what is taken for a record is written as it was read.
pub fn records(data: &[u8]) {
    let mut ends = 0;
    let walk = frame::each(data, Path::new("fuzz"), |_, body| ends += body.len());
    assert!(ends <= walk.end && walk.end <= data.len());
    let mut framed = Vec::new();
    frame::push(&mut framed, UNSALTED, |out| out.extend_from_slice(data));
    assert!(data.is_empty() || matches!(frame::parse(&framed, UNSALTED), Parsed::Whole(body, _) if body == data));
    for bytes in [data, &framed] {
        if let Some(at) = record::find(bytes, UNSALTED, 0) {
            assert!(matches!(frame::parse(&bytes[at..], UNSALTED), Parsed::Whole(..)));
        }
        if let Parsed::Whole(body, used) = frame::parse(bytes, UNSALTED)
            && let Some(view) = record::view(body)
        {
            let mut again = Vec::new();
            let record = Record { subject: view.subject, headers: view.headers, payload: view.payload };
            record.push(&mut again, UNSALTED, view.seq, view.time, view.part);
            assert_eq!(again, bytes[..used]);
            assert_eq!(record::subject_of(bytes), Some(view.subject));
        }
    }
    let mut unpacked = Vec::new();
    if let Some(head) = unit::unpack(data, &Coding::default(), &mut unpacked) {
        let (mut at, mut last) = (0, head.first - u64::from(head.first > 0));
        while let Some((view, used)) = unit::next(&unpacked[at..]) {
            assert!(last <= view.seq, "sequences ascend");
            (at, last) = (at + used, view.seq);
        }
        assert_eq!((at, last), (unpacked.len(), head.last));
    }
}

/// A store whose files `data` describes: it opens or says why not, gives only records that were written, takes another,
/// and has the same when it is opened again. All on this thread, as an input whose outcome is by chance teaches a fuzzer nothing, and
/// others would be waited for most of the time.
pub fn recovery(data: &[u8]) {
    let (disk, written) = (SimDisk::default(), BTreeMap::new());
    let packer = Packer::default();
    let mut script = Script { data, disk, packer, seq: 0, salt: UNSALTED, written, forged: false };
    script.run();
    let Script { disk, written, forged, .. } = script;
    let Some((before, next)) = open(&disk, true) else { return };
    for (seq, payload) in &before {
        assert!(forged || written.get(seq) == Some(payload), "{seq} was never written");
    }
    let (mut after, _) = open(&disk, false).expect("it has opened before");
    if let Some(next) = next {
        assert_eq!(after.pop().map(|(seq, _)| seq), Some(next), "the new record is the last");
    }
    assert_eq!(before, after);
}

/// Opens the store and its log; its records, and the sequence of a new one if `append` says so and there is room for it.
fn open(disk: &SimDisk, append: bool) -> Option<(Records, Option<u64>)> {
    let options = StoreOptions { segment_bytes: 2000, ..StoreOptions::default() };
    let disk = Arc::new(disk.clone());
    let store = Store::unattended(disk, Path::new(DIR), options, None, Clock::of_the_machine()).ok()?;
    let log = store.open_log("s", LogOptions::default()).ok()?;
    let found = all(&log);
    compact_here(&log);
    assert_eq!(found, all(&log), "as it was before compaction");
    let new = Record { subject: "new", headers: b"", payload: b"new" };
    let next = if append { log.append(&new).ok() } else { None };
    let committed = store.barrier();
    store.finish_here();
    if let Some(seq) = next {
        committed.wait().expect("the disk works");
        assert_eq!(log.read(seq).expect("readable").map(|stored| stored.payload), Some("new".into()));
    }
    Some((found, next))
}

fn all(log: &Log) -> Records {
    let mut reader = log.reader();
    let mut found = Records::new();
    while let Some(stored) = reader.next(&|_| true).expect("readable") {
        assert!(found.last().is_none_or(|(seq, _)| *seq < stored.seq), "sequences ascend");
        found.push((stored.seq, stored.payload.to_vec()));
    }
    let sequences: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(found.len() as u64, log.state().msgs, "{sequences:?}");
    found
}

/// What writes the files.
struct Script<'a> {
    data: &'a [u8],
    disk: SimDisk,
    packer: Packer,
    /// Of the last record.
    seq: u64,
    /// Of the segment that is written.
    salt: u32,
    written: BTreeMap<u64, Vec<u8>>,
    /// Something that is not from us has a right checksum.
    forged: bool,
}

impl<'a> Script<'a> {
    fn run(&mut self) {
        let mut segment = self.segment(1);
        while let Some(step) = self.byte() {
            match step % 8 {
                0..=2 => {
                    self.seq += 1 + u64::from(step / 64);
                    let (time, length) = (i64::from(self.byte().unwrap_or(0)), self.byte().unwrap_or(0));
                    let payload = vec![length; usize::from(length)];
                    let subject = ["a", "b.c"][usize::from(step / 8 % 2)];
                    let record = Record { subject, headers: b"", payload: &payload };
                    let mut staged = Staged::default();
                    for n in 0..1 + u64::from(step % 8) {
                        staged.push(&record, self.seq + n, time, Part::default(), None, self.salt);
                        self.written.insert(self.seq + n, payload.clone());
                    }
                    self.seq += u64::from(step % 8);
                    staged.finish(Vec::new(), self.salt);
                    match self.salt {
                        UNSALTED => append(&segment, &staged.buffer),
                        salt => append(&segment, &self.packer.pack(&staged, &Coding { salt, key: None }, true).buffer),
                    }
                }
                3 if step < 128 => {
                    let bytes = self.take();
                    append(&self.file(&format!("{LOG}/tombstones")), bytes);
                }
                3 => {
                    let from = u64::from(self.byte().unwrap_or(0));
                    let to = (from + u64::from(self.byte().unwrap_or(0) % 16)).min(self.seq + 8);
                    let mut out = Vec::new();
                    frame::push(&mut out, UNSALTED, |out| {
                        out.extend([from, to].iter().flat_map(|seq| seq.to_le_bytes()))
                    });
                    append(&self.file(&format!("{LOG}/tombstones")), &out);
                }
                4 => {
                    let bytes = self.take();
                    let mut out = Vec::new();
                    frame::push(&mut out, UNSALTED, |out| out.extend_from_slice(bytes));
                    append(&self.file(&format!("{DIR}/state.log")), if step < 128 { bytes } else { &out });
                }
                5 => {
                    let bytes = self.take();
                    self.forged |= record::find(bytes, self.salt, 0).is_some();
                    append(&segment, bytes);
                }
                6 => {
                    let bytes = self.take();
                    // No log comes so far; a jump beyond this is not looked for behind damage.
                    let far = record::view(bytes).is_some_and(|view| view.seq >> 32 > 0);
                    if far || unit::head(bytes).is_some_and(|head| head.last >> 32 > 0) {
                        continue;
                    }
                    self.forged = true;
                    let mut out = Vec::new();
                    frame::push(&mut out, self.salt, |out| out.extend_from_slice(bytes));
                    append(&segment, &out);
                }
                _ if step < 128 => {
                    let length = segment.size().expect("in memory");
                    let at = u64::from(self.byte().unwrap_or(0)) * length / 256;
                    let mut byte = [0];
                    if segment.read_at(&mut byte, at).expect("in memory") == 1 {
                        segment.write_at(&[byte[0] ^ step], at).expect("in memory");
                    }
                }
                _ => segment = self.segment(self.seq.saturating_add(u64::from(step / 8 % 4))),
            }
        }
    }

    /// A segment that begins at `base`, with a right header of the first version or of the present one.
    fn segment(&mut self, base: u64) -> Arc<dyn DiskFile> {
        let file = self.file(&format!("{LOG}/{}", file_name(base)));
        let mut header = b"leafdseg\x01\0\0\0".to_vec();
        header.extend_from_slice(&base.to_le_bytes());
        header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
        self.salt = if base.is_multiple_of(2) { 9 } else { UNSALTED };
        if self.salt != UNSALTED {
            header = segment::header(base, &Coding { salt: 9, key: None });
        }
        file.write_at(&header, 0).expect("in memory");
        file
    }

    fn file(&self, path: &str) -> Arc<dyn DiskFile> {
        self.disk.open(&PathBuf::from(path), true).expect("in memory")
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    /// A length, and so many bytes.
    fn take(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte().unwrap_or(0)).min(self.data.len());
        let (taken, rest) = self.data.split_at(length);
        self.data = rest;
        taken
    }
}

fn append(file: &Arc<dyn DiskFile>, bytes: &[u8]) {
    if !bytes.is_empty() {
        file.write_at(bytes, file.size().expect("in memory")).expect("in memory");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_store_survives_the_seeds_and_what_chance_makes_of_them() {
        let (record, script) =
            (include_bytes!("../../fuzz/seeds/record/one"), include_bytes!("../../fuzz/seeds/recovery/all"));
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..300 {
            for (seed, target) in [(&record[..], super::records as fn(&[u8])), (&script[..], super::recovery)] {
                target(seed);
                let mut changed = seed.to_vec();
                for _ in 0..random.usize(1..8) {
                    changed[random.usize(..seed.len())] = random.u8(..);
                }
                target(&changed);
            }
        }
    }
}
