//! A block device in memory with a volatile cache: what was not flushed when the power goes is lost, kept or torn.
//!
//! It is one file of a FUSE file system, for the loop driver to make a disk of. So the file system on it is a real one, and
//! what an engine calls (fdatasync, sync_file_range, O_DIRECT, mmap) comes out as the writes and flushes that a drive would
//! see; the loop driver passes a flush on as fsync.

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyWrite, Request,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// What a drive writes as a whole.
const SECTOR: usize = 512;
/// The file's name.
pub const FILE: &str = "disk";
const INODE: u64 = 2;
const TTL: Duration = Duration::from_secs(3600);

/// What the device holds.
#[derive(Debug)]
pub struct Medium {
    /// What is flushed.
    durable: Vec<u8>,
    /// What is read: the flushed and what was written since.
    cached: Vec<u8>,
    /// What was written since the last flush, in order.
    pending: Vec<(usize, Vec<u8>)>,
    /// Writes until the power goes.
    left: u64,
}

impl Medium {
    /// A device with these contents, whose power goes with the write that comes after `writes` others.
    pub fn new(contents: Vec<u8>, writes: u64) -> Medium {
        Medium { cached: contents.clone(), durable: contents, pending: Vec::new(), left: writes }
    }

    /// Takes a write into the cache; `false` if there is no power any more.
    pub fn write(&mut self, at: usize, data: &[u8]) -> bool {
        let Some(place) = self.cached.get_mut(at..at + data.len()) else { return false };
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        place.copy_from_slice(data);
        self.pending.push((at, data.to_vec()));
        // The write that is under way when the power goes is torn like those in the cache, and never confirmed.
        self.left > 0
    }

    /// Makes durable what is in the cache; `false` if there is no power any more.
    pub fn flush(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        for (at, data) in self.pending.drain(..) {
            self.durable[at..at + data.len()].copy_from_slice(&data);
        }
        true
    }

    /// Takes the power away, and says what is on the device when it returns: all that was flushed; and of what was not,
    /// nothing, all up to some sector, or any sectors.
    pub fn cut(&mut self, random: &mut fastrand::Rng) -> Vec<u8> {
        self.left = 0;
        let mut after = self.durable.clone();
        let sectors: usize = self.pending.iter().map(|(_, data)| data.len().div_ceil(SECTOR)).sum();
        let (up_to, chance) = match random.u8(0..4) {
            0 => (0, 1.0),
            1 => (random.usize(0..=sectors), 1.0),
            _ => (sectors, random.f64()),
        };
        let pieces = self.pending.iter().flat_map(|(at, data)| (*at..).step_by(SECTOR).zip(data.chunks(SECTOR)));
        for (at, piece) in pieces.take(up_to) {
            if random.f64() < chance {
                after[at..at + piece.len()].copy_from_slice(piece);
            }
        }
        after
    }
}

/// A mounted device; unmounted when it is dropped.
pub struct Device {
    medium: Arc<(Mutex<Medium>, Condvar)>,
    _session: BackgroundSession,
}

impl Device {
    /// Serves `medium` as the file [`FILE`] of a folder.
    ///
    /// # Errors
    /// The folder cannot be mounted upon; it takes `/dev/fuse` and root.
    pub fn mount(medium: Medium, at: &Path) -> std::io::Result<Device> {
        let size = medium.cached.len() as u64;
        let medium = Arc::new((Mutex::new(medium), Condvar::new()));
        let files = Files { medium: medium.clone(), size };
        let options = [MountOption::FSName("store_engines".into())];
        Ok(Device { medium, _session: fuser::spawn_mount2(files, at, &options)? })
    }

    /// Waits until the power is gone, or for so long.
    pub fn wait(&self, most: Duration) {
        let (medium, gone) = &*self.medium;
        let _ = gone.wait_timeout_while(lock(medium), most, |medium| medium.left > 0);
    }

    /// As [`Medium::cut`].
    pub fn cut(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        lock(&self.medium.0).cut(random)
    }
}

fn lock(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The FUSE file system: a folder with one file.
struct Files {
    medium: Arc<(Mutex<Medium>, Condvar)>,
    size: u64,
}

impl Files {
    fn attributes(&self, inode: u64) -> FileAttr {
        let file = inode == INODE;
        FileAttr {
            ino: inode,
            size: if file { self.size } else { 0 },
            blocks: self.size / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if file { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Does something with the medium; whoever waits for the end of the power looks again.
    fn with<T>(&self, does: impl FnOnce(&mut Medium) -> T) -> T {
        let done = does(&mut lock(&self.medium.0));
        self.medium.1.notify_all();
        done
    }
}

const NO_POWER: i32 = Errno::IO.raw_os_error();

impl Filesystem for Files {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        match name == FILE {
            true => reply.entry(&TTL, &self.attributes(INODE), 0),
            false => reply.error(Errno::NOENT.raw_os_error()),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<u64>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        // The times, which a write sets.
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        self.with(|medium| {
            let rest = medium.cached.get(from..).unwrap_or_default();
            reply.data(&rest[..rest.len().min(size as usize)]);
        });
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.with(|medium| medium.write(at, data)) {
            true => reply.written(data.len() as u32),
            false => reply.error(NO_POWER),
        }
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        match self.with(Medium::flush) {
            true => reply.ok(),
            false => reply.error(NO_POWER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_is_kept_and_the_rest_may_be_torn() {
        let mut torn = 0;
        for seed in 0..100 {
            let mut medium = Medium::new(vec![0; 8 * SECTOR], 3);
            assert!(medium.write(0, &[1; 4 * SECTOR]));
            assert!(medium.flush());
            assert!(medium.write(2 * SECTOR, &[2; 4 * SECTOR]));
            let after = medium.cut(&mut fastrand::Rng::with_seed(seed));
            assert!(!medium.write(0, &[3; SECTOR]) && !medium.flush());
            assert!(after[..2 * SECTOR].iter().all(|b| *b == 1));
            let sectors: Vec<u8> = after.chunks(SECTOR).map(|sector| sector[0]).collect();
            assert!(sectors[2..4].iter().all(|b| [1, 2].contains(b)) && sectors[6..] == [0, 0], "{sectors:?}");
            torn += usize::from(sectors[2..6].contains(&2) && sectors[2..6] != [2; 4]);
        }
        assert!((20..90).contains(&torn), "{torn}");
    }

    #[test]
    fn the_power_goes_with_the_write_that_is_counted() {
        let mut medium = Medium::new(vec![0; SECTOR], 2);
        assert!(medium.write(0, &[1; SECTOR]) && medium.flush());
        assert!(!medium.write(0, &[2; SECTOR]) && !medium.flush());
    }
}
