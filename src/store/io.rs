//! The disk under the store, as far as the store uses it: passed in, so that tests can cut its power.

use super::vault::Vault;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A file system.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing; creates it if it is not there and `create` says so.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a folder and those above it.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Puts one file in the place of another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a file that takes so much room, if it does not already.
    fn allocate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that are free for us on the file system of a folder, and that it has.
    fn space(&self, path: &Path) -> io::Result<(u64, u64)>;
}

/// An open file. Positions are explicit, so that one handle serves everybody.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Fills `buffer` from `offset` on if that takes no waiting for the disk; `false` if it does, or cannot be known, or fails.
    fn read_at_hand(&self, buffer: &mut [u8], offset: u64) -> bool;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends to `len`.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
}

impl dyn DiskFile {
    /// Reads from `offset` until `buffer` is full or the file ends; how much that was.
    pub fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut at = 0;
        while at < buffer.len() {
            match self.read_at(&mut buffer[at..], offset + at as u64) {
                Ok(0) => break,
                Ok(n) => at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(at)
    }

    /// The whole file.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; usize::try_from(self.size()?).map_err(io::Error::other)?];
        let read = self.read_full(&mut buffer, 0)?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

/// The machine's own file systems.
#[derive(Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = fs::OpenOptions::new();
        Ok(RealFile::of(options.read(true).write(true).create(create).truncate(false).open(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn allocate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let allocated = match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len) {
            // A file system that cannot: what is written takes room anywhere.
            Err(rustix::io::Errno::OPNOTSUPP) => file.write_all_at(&vec![0; len as usize], 0),
            result => result.map_err(io::Error::from),
        };
        if allocated.is_err() {
            let _ = fs::remove_file(path);
        }
        allocated
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let folder = fs::File::open(path)?;
        folder.sync_all().and_then(|()| confirm(&folder))
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(path)?;
        Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
    }
}

/// The machine's own file systems, to be read only.
#[derive(Debug, Default)]
pub(super) struct ReadOnlyDisk;

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::of(fs::File::open(path)?))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _: &Path, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn space(&self, path: &Path) -> io::Result<(u64, u64)> {
        RealDisk.space(path)
    }
}

/// Whether a sync that went well can be believed. While a file system fails it cannot: ext4 says that all is well of what was on its
/// way to new blocks when the journal ended (seen with Linux 6.18, in one of ten errors under load), and others say so of every sync
/// once they are read-only. An attribute that is not there is asked to be removed: it takes a journal that works, and changes
/// nothing; about 2 us.
///
/// # Errors
/// What was synced may be lost.
fn confirm(file: &fs::File) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, "user.leafd.none") {
        Err(error @ (Errno::ROFS | Errno::IO)) => Err(error.into()),
        // It is not there, or there are no attributes.
        _ => Ok(()),
    }
}

struct RealFile {
    file: fs::File,
    /// Its file system, or the kernel, cannot tell whether a read has to wait.
    waits: AtomicBool,
}

impl RealFile {
    fn of(file: fs::File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { file, waits: AtomicBool::new(false) })
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, offset)
    }

    fn read_at_hand(&self, buffer: &mut [u8], offset: u64) -> bool {
        if self.waits.load(Ordering::Relaxed) {
            return false;
        }
        let wanted = buffer.len();
        match rustix::io::preadv2(&self.file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => read == wanted,
            Err(error) => {
                if matches!(error, Errno::OPNOTSUPP | Errno::NOSYS) {
                    self.waits.store(true, Ordering::Relaxed);
                }
                false
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().and_then(|()| confirm(&self.file))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Files in memory, for memory-backed logs. There is nothing to list or rename in it: a log keeps its own handles.
#[derive(Debug, Default)]
pub(super) struct MemoryDisk;

#[derive(Default)]
struct MemoryFile(RwLock<Vec<u8>>);

impl Disk for MemoryDisk {
    fn open(&self, _: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(MemoryFile::default()))
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, _: &Path, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<(u64, u64)> {
        Ok((u64::MAX, u64::MAX))
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn read_at_hand(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.read_at(buffer, offset).is_ok_and(|read| read == buffer.len())
    }

    fn write_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (offset as usize, offset as usize + new.len());
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).resize(len as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }
}

/// Where a log's files lie, on which disk.
#[derive(Clone)]
pub(super) struct Place {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    /// With which the checksums of new segments begin.
    pub salt: u32,
    /// The keys, if it is encrypted.
    pub vault: Option<Arc<Vault>>,
}
