//! Logs whose records are compressed, and the salt of their segments.

use super::{DIR, all, log, log_of, open, put};
use crate::store::io::Disk;
use crate::store::segment::file_name;
use crate::store::sim::SimDisk;
use crate::store::*;
use std::path::{Path, PathBuf};

fn compressed() -> LogOptions {
    LogOptions { compress: true, ..LogOptions::default() }
}

fn reading(n: u64) -> String {
    format!(
        "{{\"sensor\":\"temperature-{}\",\"unit\":\"celsius\",\"quality\":\"good\",\"value\":{}.{}}}",
        n % 9,
        20 + n % 7,
        n
    )
}

/// Bytes of all segments.
fn on_disk(disk: &SimDisk) -> usize {
    let files = disk.files().into_iter();
    files.filter(|(path, _)| path.extension().is_some_and(|e| e == "seg")).map(|(_, len)| len).sum()
}

#[test]
fn what_comes_together_takes_less_room_and_counts_the_same() {
    let (disks, mut states) = ([SimDisk::default(), SimDisk::default()], Vec::new());
    for (disk, compress) in disks.iter().zip([false, true]) {
        let store = open(disk);
        let log = log_of(&store, LogOptions { compress, ..LogOptions::default() });
        // In batches, as those are committed together whatever the commit thread does.
        for n in 0..20 {
            let payloads: Vec<String> = (n * 10..n * 10 + 10).map(reading).collect();
            let records: Vec<Record<'_>> = payloads
                .iter()
                .map(|payload| Record { subject: "s", headers: b"", payload: payload.as_bytes() })
                .collect();
            log.append_batch(&records).expect("staged");
            store.barrier().wait().expect("commits");
        }
        states.push((log.state().msgs, log.state().bytes, all(&log)));
        for seq in [1, 77, 200] {
            let stored = log.read(seq).expect("readable").expect("there");
            assert_eq!(stored.payload, reading(seq - 1).as_bytes());
        }
        store.close();
    }
    assert_eq!(states[0], states[1]);
    let (plain, packed) = (on_disk(&disks[0]), on_disk(&disks[1]));
    assert!(packed * 2 < plain, "{packed} bytes instead of {plain}");
    // It says no less when it is not compressed any more.
    let store = open(&disks[1]);
    let log = log(&store, Limits::default());
    assert_eq!((log.state().msgs, log.state().bytes, all(&log)), states.swap_remove(0));
    log.set_compression(true);
    put(&log, "s", "more");
    store.barrier().wait().expect("commits");
    assert_eq!(log.state().msgs, 201);
}

#[test]
fn a_flipped_bit_costs_what_was_compressed_together_and_is_never_served() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::default();
        let store = open(&disk);
        let log1 = log_of(&store, compressed());
        for n in 0..300 {
            put(&log1, "s", &reading(n));
            if random.u8(..8) == 0 {
                store.barrier().wait().expect("commits");
            }
        }
        store.barrier().wait().expect("commits");
        store.close();
        let files = disk.files().into_iter();
        let files: Vec<_> = files.filter(|(p, _)| p.extension().is_some_and(|e| e == "seg")).collect();
        let (path, len) = &files[random.usize(..files.len())];
        disk.flip(path, random.usize(..*len));
        let store = open(&disk);
        let log1 = log_of(&store, compressed());
        let found = all(&log1);
        for (seq, payload) in &found {
            assert_eq!(*payload, reading(seq - 1), "seed {seed}");
        }
        // The end of the last segment may be an unfinished write.
        let told: u64 = log1.damaged().into_iter().map(|range| range.count() as u64).sum();
        let cut = 300 - log1.state().last_seq;
        assert_eq!(found.len() as u64 + told + cut, 300, "seed {seed}: {:?}", log1.damaged());
    }
}

#[test]
fn a_payload_that_looks_like_a_record_is_none() {
    let disk = SimDisk::default();
    let store = open(&disk);
    let log1 = log(&store, Limits::default());
    // As somebody may know it who has read the source, and knows neither the salt nor where it will lie.
    let mut forged = Vec::new();
    let record = Record { subject: "forged", headers: b"", payload: b"forged" };
    record.push(&mut forged, frame::UNSALTED, 2, 0, record::Part::default());
    log1.append(&Record { subject: "s", headers: b"", payload: &forged }).expect("staged");
    put(&log1, "s", "next");
    store.barrier().wait().expect("commits");
    store.close();
    // The length of the record that carries it.
    disk.flip(&Path::new(DIR).join("streams/s").join(file_name(1)), 36);
    let store = open(&disk);
    assert_eq!(all(&log(&store, Limits::default())), [(2, "next".to_owned())]);
}

#[test]
fn a_segment_of_an_older_version_is_read_and_followed() {
    for records in [0, 3] {
        let disk = SimDisk::default();
        let dir = PathBuf::from(DIR).join("streams/s");
        disk.create_dir(&dir).expect("made");
        let mut bytes = b"leafdseg\x02\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        for seq in 1..=records {
            let record = Record { subject: "s", headers: b"", payload: b"old" };
            record.push(&mut bytes, frame::UNSALTED, seq, 0, record::Part::default());
        }
        let file = disk.open(&dir.join(file_name(1)), true).expect("made");
        file.write_at(&bytes, 0).and_then(|()| file.sync()).expect("written");
        disk.sync_dir(&dir).expect("synced");
        for life in 0..3 {
            let store = open(&disk);
            let log = log_of(&store, compressed());
            assert_eq!(all(&log).len() as u64, records + 2 * life, "{records} old ones, life {life}");
            if life == 0 && records > 0 {
                assert_eq!(log.remove(&[2]).expect("removes"), 1);
                store.barrier().wait().expect("commits");
                put(&log, "s", "in the place of the removed one");
            }
            put(&log, "s", "new");
            put(&log, "s", "new");
            store.barrier().wait().expect("commits");
            store.close();
        }
        let bytes = disk.open(&dir.join(file_name(1)), false).and_then(|file| file.read_all()).expect("readable");
        assert_eq!(bytes[8], if records > 0 { 2 } else { 3 });
    }
}
