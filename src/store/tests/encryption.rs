//! Data directories that are encrypted.

use super::{all, log_of, open_as, put};
use crate::store::clock::Clock;
use crate::store::sim::SimDisk;
use crate::store::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SECRET: &str = "PRIVATE";

fn key(text: &str) -> Encryption {
    Encryption { key: text.repeat(16).into_bytes(), ..Encryption::default() }
}

fn open_dir(dir: &Path, encryption: Option<Encryption>) -> Result<Store, StoreError> {
    Store::open(dir, StoreOptions { segment_bytes: 4000, encryption, ..StoreOptions::default() })
}

fn fill(dir: &Path, encryption: Option<Encryption>) {
    let store = open_dir(dir, encryption).expect("opens");
    for (id, compress) in [("plain", false), ("packed", true)] {
        let log = store.create_log(id, LogOptions { compress, ..LogOptions::default() }).expect("creates");
        for n in 0..200 {
            put(&log, &format!("{SECRET}.{}", n % 3), &format!("{SECRET} {n}"));
            if n % 5 == 0 {
                store.barrier().wait().expect("commits");
            }
        }
        log.remove(&[7]).expect("removes");
        // So that removals go to their own file.
        for n in 200..400 {
            put(&log, &format!("{SECRET}.{}", n % 3), &format!("{SECRET} {n}"));
            if n % 20 == 0 {
                store.barrier().wait().expect("commits");
            }
        }
        store.barrier().wait().expect("commits");
    }
    store.state().write(vec![Change::Put(SECRET.into(), SECRET.into())]).wait().expect("commits");
    store.close();
}

/// All files and what is in them, but for the lock and the reserve.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("store.lock") && !path.ends_with("store.reserve") {
            found.insert(path.clone(), fs::read(&path).expect("readable"));
        }
    }
    found
}

#[test]
fn nothing_of_subjects_payloads_and_keys_can_be_read_on_disk() {
    for (encryption, readable) in [(None, true), (Some(key("k")), false)] {
        let folder = tempfile::tempdir().expect("a folder");
        fill(folder.path(), encryption);
        let files = files(folder.path());
        let kinds = |end: &str| files.keys().any(|path| path.to_string_lossy().ends_with(end));
        assert!(["seg", "idx", "checkpoint", "state.log", "tombstones"].into_iter().all(kinds), "{:?}", files.keys());
        let shown = files.values().filter(|bytes| memchr::memmem::find(bytes, SECRET.as_bytes()).is_some()).count();
        assert_eq!(shown > 0, readable);
    }
}

#[test]
fn it_opens_with_its_key_only_and_else_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("data");
    for cipher in [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm] {
        let dir = dir.join(format!("{cipher:?}"));
        fill(&dir, Some(Encryption { cipher, ..key("k") }));
        let before = files(&dir);
        assert!(matches!(open_dir(&dir, Some(key("other"))), Err(StoreError::WrongKey { .. })));
        assert!(matches!(open_dir(&dir, None), Err(StoreError::NoKey { .. })));
        assert!(matches!(open_dir(&dir, Some(key(""))), Err(StoreError::ShortKey(_))));
        assert!(matches!(examine(&dir, None), Err(StoreError::NoKey { .. })));
        assert!(matches!(examine(&dir, Some(&key("other"))), Err(StoreError::WrongKey { .. })));
        assert!(examine(&dir, Some(&key("k"))).expect("examined").is_sound());
        assert_eq!(files(&dir), before);
        // One half of the file with the wrapped key may be damaged.
        let path = dir.join("store.key");
        let whole = fs::read(&path).expect("there");
        for at in [20, 4096 + 20] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("written");
            assert!(!examine(&dir, Some(&key("k"))).expect("examined").is_sound());
            open_dir(&dir, Some(key("k"))).expect("opens").close();
            assert!(examine(&dir, Some(&key("k"))).expect("examined").is_sound(), "it is whole again");
        }
        fs::write(&path, vec![0; whole.len()]).expect("written");
        assert!(matches!(open_dir(&dir, Some(key("k"))), Err(StoreError::KeyLost { .. })));
        fs::remove_file(&path).expect("removed");
        for key in [None, Some(key("k"))] {
            assert!(matches!(open_dir(&dir, key), Err(StoreError::KeyLost { .. })));
        }
        // Another key, once it was opened with both.
        fs::write(&path, &whole).expect("written");
        let both = Encryption { previous: Some(key("k").key), ..key("new") };
        open_dir(&dir, Some(both)).expect("opens").close();
        let store = open_dir(&dir, Some(key("new"))).expect("opens");
        let log = store.open_log("packed", LogOptions::default()).expect("opens");
        assert_eq!((log.state().msgs, all(&log).len()), (399, 399));
        assert_eq!(store.state().get(SECRET).as_deref(), Some(SECRET.as_bytes()));
        drop((log, store));
        assert!(matches!(open_dir(&dir, Some(key("k"))), Err(StoreError::WrongKey { .. })));
    }
}

#[test]
fn salvage_encrypts_decrypts_and_changes_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = |name: &str| folder.path().join(name);
    fill(&dir("plain"), None);
    let before = files(&dir("plain"));
    assert!(matches!(open_dir(&dir("plain"), Some(key("a"))), Err(StoreError::NotEncrypted { .. })));
    assert_eq!(files(&dir("plain")), before);
    let (a, b) = (key("a"), key("b"));
    for (from, old, to, new) in
        [("plain", None, "a", Some(&a)), ("a", Some(&a), "b", Some(&b)), ("b", Some(&b), "again", None)]
    {
        assert!(salvage(&dir(from), old, &dir(to), new).expect("salvaged").is_sound());
        assert!(matches!(salvage(&dir(from), old, &dir(from), new), Err(StoreError::Foreign { .. })));
        let store = open_dir(&dir(to), new.cloned()).expect("opens");
        for id in ["plain", "packed"] {
            let log = store.open_log(id, LogOptions::default()).expect("opens");
            let found = all(&log);
            assert_eq!(found.len(), 399);
            assert!(found.iter().all(|(seq, payload)| *payload == format!("{SECRET} {}", seq - 1)));
        }
        assert_eq!(store.state().get(SECRET).as_deref(), Some(SECRET.as_bytes()));
        store.close();
    }
}

#[test]
fn what_was_changed_on_disk_is_damage_and_never_served() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::default();
        let store = open_as(&disk, Clock::of_the_machine(), true, StoreOptions::default().index_bytes);
        let log = log_of(&store, LogOptions::default());
        for n in 0..200 {
            put(&log, "s", &format!("payload {n}"));
            if random.u8(..4) == 0 {
                store.barrier().wait().expect("commits");
            }
        }
        store.close();
        let files = disk.files().into_iter();
        let files: Vec<_> = files.filter(|(p, _)| p.extension().is_some_and(|e| e == "seg")).collect();
        let (path, len) = &files[random.usize(..files.len())];
        disk.flip(path, random.usize(..*len));
        let store = open_as(&disk, Clock::of_the_machine(), true, StoreOptions::default().index_bytes);
        let log = log_of(&store, LogOptions::default());
        let found = all(&log);
        assert!(found.iter().all(|(seq, payload)| *payload == format!("payload {}", seq - 1)), "seed {seed}");
        let told: u64 = log.damaged().into_iter().map(|range| range.count() as u64).sum();
        let cut = 200 - log.state().last_seq;
        assert_eq!(found.len() as u64 + told + cut, 200, "seed {seed}: {:?}", log.damaged());
    }
}
