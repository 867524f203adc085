//! Entry point for the fuzz target `hints`: the files that are small or can be made again, each with any content behind a right
//! header and right checksums.

use super::checkpoint;
use super::frame::{self, UNSALTED};
use super::index;
use super::io::{Disk, Place};
use super::salt;
use super::sim::SimDisk;
use super::subjects::{self, Budget};
use super::tombstones::Tombstones;
use super::vault::{self, Encryption};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Memory for subjects, so little that most of them are on disk.
const MEMORY: u64 = 4096;

/// Whatever stands in them is read or refused. The first byte says which file it is; its bit 7 whether what follows is the file, or a
/// row of bodies of frames, each behind its length (u16).
pub fn hints(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let content = if kind & 0x80 > 0 { data.to_vec() } else { framed(data) };
    let disk = SimDisk::default();
    let place = Place { disk: Arc::new(disk.clone()), dir: "/data".into(), salt: 0, vault: None };
    let put = |name: &str, magic: &[u8], version: u32| {
        let file = disk.open(&Path::new("/data").join(name), true).expect("in memory");
        let version = if magic.is_empty() { Vec::new() } else { version.to_le_bytes().to_vec() };
        file.write_at(&[magic, &version, &content].concat(), 0).expect("in memory");
    };
    match kind % 6 {
        0 => {
            put("checkpoint", checkpoint::MAGIC, checkpoint::VERSION);
            let budget = Arc::new(Budget::new(MEMORY, place.clone()));
            if let Some((_, mut subjects, _)) = checkpoint::read(&place, &budget) {
                let (mut count, mut before) = (0, String::new());
                let passed = subjects.each::<()>(">", |subject, _| {
                    assert!(*before < *subject || count == 0, "in order");
                    before.replace_range(.., subject);
                    count += 1;
                    ControlFlow::Continue(())
                });
                passed.expect("in memory");
                assert!(count <= subjects.len());
            }
        }
        1 => {
            put("00000000000000000007.idx", index::MAGIC, index::VERSION);
            let _ = (index::summary(&place, 7), index::table(&place, 7));
        }
        2 => {
            put("store.salt", b"", 0);
            let _ = salt::read(&place);
        }
        3 => {
            put("store.key", b"", 0);
            let wish = Encryption { key: b"a key that nobody guesses".to_vec(), ..Encryption::default() };
            assert!(vault::unlock(&place, Some(&wish)).is_err(), "nobody has sealed that");
        }
        4 => {
            put("tombstones", b"", 0);
            let _ = Tombstones::open(&place);
        }
        _ => subjects::fuzz_block(&place, &content),
    }
}

fn framed(mut data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let (body, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        frame::push(&mut out, UNSALTED, |out| out.extend_from_slice(body));
        data = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_stands_in_hints_is_read_or_refused() {
        let seed = include_bytes!("../../fuzz/seeds/hints/checkpoint");
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..3000 {
            let mut data = seed.to_vec();
            data[0] = random.u8(..);
            for _ in 0..round % 7 {
                data[random.usize(1..seed.len())] = random.u8(..);
            }
            super::hints(&data);
        }
        super::hints(seed);
    }
}
