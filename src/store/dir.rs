//! The data directory: whose it is, which format it has, and that only one process uses it.

use super::StoreError;
use rustix::fs::{FlockOperation, flock};
use std::fs;
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Format of the files of this version: 1, and of an encrypted directory 2.
const VERSION: u32 = 1;
const ENCRYPTED: u32 = 2;
const VERSION_FILE: &str = "store.version";
const LOCK_FILE: &str = "store.lock";

/// Held while the directory is in use.
pub(super) struct Lock {
    file: fs::File,
}

/// Creates the directory if need be, checks that it is ours and not newer, and locks it.
pub(super) fn take(dir: &Path, encrypted: bool) -> Result<Lock, StoreError> {
    create(dir).map_err(|e| failure("create the data directory", dir, e))?;
    let version = dir.join(VERSION_FILE);
    let known = fs::read_to_string(&version);
    if known.is_err() {
        refuse_foreign(dir)?;
    }
    let path = dir.join(LOCK_FILE);
    let failed = |e| failure("lock", &path, e);
    let lock =
        fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    let mut lock = lock_or_tell(lock, dir)?;
    // Who we are is for the next one's message only: a full disk must not be in the way of a start.
    let _ = lock
        .file
        .set_len(0)
        .and_then(|()| lock.file.rewind())
        .and_then(|()| writeln!(lock.file, "{}", std::process::id()));
    match known {
        Ok(text) => check_version(dir, &text)?,
        Err(_) => write_version(dir, if encrypted { ENCRYPTED } else { VERSION })
            .map_err(|e| StoreError::io("write", &version, e))?,
    }
    Ok(lock)
}

/// Why the directory cannot be used at all.
fn failure(action: &'static str, path: &Path, error: std::io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path: path.to_owned() },
        _ => StoreError::io(action, path, error),
    }
}

/// What clients say is nobody else's business: only the user and the group may look into a directory that is made here.
fn create(dir: &Path) -> std::io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o750).create(dir) {
        Err(_) if dir.is_dir() => Ok(()),
        result => result,
    }
}

/// Locks an existing directory of ours, for reading: nothing in it is changed.
pub(super) fn hold(dir: &Path) -> Result<Option<Lock>, StoreError> {
    let version = dir.join(VERSION_FILE);
    let text = fs::read_to_string(&version).map_err(|e| StoreError::io("read", &version, e))?;
    check_version(dir, &text)?;
    match fs::File::open(dir.join(LOCK_FILE)) {
        Ok(lock) => lock_or_tell(lock, dir).map(Some),
        Err(_) => Ok(None),
    }
}

fn lock_or_tell(mut lock: fs::File, dir: &Path) -> Result<Lock, StoreError> {
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = lock.read_to_string(&mut pid);
        return Err(StoreError::Locked { path: dir.to_owned(), pid: pid.trim().to_owned() });
    }
    Ok(Lock { file: lock })
}

fn check_version(dir: &Path, text: &str) -> Result<(), StoreError> {
    match text.trim().parse() {
        Ok(VERSION) => Ok(()),
        // Nothing can be read without its key, which must not be made anew.
        Ok(ENCRYPTED) if !dir.join("store.key").exists() && dir.join("state.log").exists() => {
            Err(StoreError::KeyLost { path: dir.join("store.key") })
        }
        Ok(ENCRYPTED) => Ok(()),
        Ok(found) => Err(StoreError::Newer { path: dir.to_owned(), found, known: ENCRYPTED }),
        Err(_) => Err(StoreError::Foreign { path: dir.to_owned(), found: VERSION_FILE.to_owned() }),
    }
}

/// By way of a new name, so that a power cut leaves it whole or not there at all.
fn write_version(dir: &Path, version: u32) -> std::io::Result<()> {
    let new = dir.join("store.version.new");
    let mut file = fs::File::create(&new)?;
    writeln!(file, "{version}")?;
    file.sync_all()?;
    fs::rename(&new, dir.join(VERSION_FILE))?;
    fs::File::open(dir)?.sync_all()
}

/// A directory with files that are not leafd's is somebody else's.
fn refuse_foreign(dir: &Path) -> Result<(), StoreError> {
    let ours = |name: &str| name.starts_with("store.") || name.starts_with("leafd.") || name == "lost+found";
    let entries = fs::read_dir(dir).map_err(|e| StoreError::io("read the data directory", dir, e))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !ours(&name) {
            return Err(StoreError::Foreign { path: dir.to_owned(), found: name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_system_that_is_read_only_is_told_with_what_to_do() {
        let error = failure("lock", Path::new("/data/store.lock"), Errno::ROFS.into()).to_string();
        assert!(error.contains("read-only") && error.contains("another data_dir"), "{error}");
    }

    #[test]
    fn a_new_directory_is_closed_to_others_and_an_old_one_is_left_as_it_is() {
        let root = tempfile::tempdir().expect("a folder");
        let mode = |dir: &Path| fs::metadata(dir).expect("there").permissions().mode() & 0o777;
        let new = root.path().join("a/b");
        take(&new, false).expect("made");
        assert_eq!(mode(&new) & 0o007, 0, "{:o}", mode(&new));
        let old = root.path().join("old");
        fs::create_dir(&old).expect("made");
        fs::set_permissions(&old, fs::Permissions::from_mode(0o711)).expect("set");
        take(&old, false).expect("taken");
        assert_eq!(mode(&old), 0o711);
    }
}
