//! Power cuts: an engine works on a disk whose power goes at some write; what it acknowledged must be there afterwards.

use crate::device::{Device, FILE, Medium};
use crate::process::{Numbers, child, speak};
use crate::workload::Queue;
use crate::{Kind, Result};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Size of the disk, bytes.
const DISK: u64 = 256 << 20;
/// The power goes at one of so many writes.
const WRITES: u64 = 3_000;
/// Should an engine write less than that, the power goes after this time.
const TIME: Duration = Duration::from_secs(20);

/// What one power cut did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Records that were acknowledged and not yet deleted.
    pub acked: u64,
    /// What the check said, or why it came to nothing.
    pub check: std::result::Result<Numbers, String>,
}

/// A mounted file system on a loop device; both go when it is dropped.
struct Mount {
    device: String,
    at: PathBuf,
}

impl Mount {
    fn new(disk: &Path, at: PathBuf) -> Result<Mount> {
        fs::create_dir_all(&at)?;
        let device = run("losetup", &["-f".as_ref(), "--show".as_ref(), disk.as_ref()])?;
        let mount = Mount { device: device.trim().to_owned(), at };
        run("mount", &["-t".as_ref(), "ext4".as_ref(), mount.device.as_ref(), mount.at.as_ref()])?;
        Ok(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = run("umount", &[self.at.as_ref()]);
        if let Err(error) = unmounted.and(run("losetup", &["-d".as_ref(), self.device.as_ref()])) {
            eprintln!("{error}");
        }
    }
}

fn run(program: &str, arguments: &[&std::ffi::OsStr]) -> Result<String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

/// An empty disk with an ext4 file system, made in `work`.
///
/// # Errors
/// There is no mkfs.ext4, or no space.
pub fn empty_disk(work: &Path) -> Result<Vec<u8>> {
    let image = work.join("empty");
    File::create(&image)?.set_len(DISK)?;
    // All tables at once, as the kernel would write them in the background and use up the writes.
    let options = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), "-E".as_ref(), options.as_ref(), image.as_ref()])?;
    Ok(fs::read(image)?)
}

/// Lets an engine work on a copy of `disk` until the power goes, and looks at what is left. The same seed takes the same
/// choices, though the engine's threads and the kernel's may run otherwise.
///
/// # Errors
/// The disk cannot be made, which takes root, FUSE and a free loop device. What becomes of the engine is an outcome.
pub fn cut(kind: Kind, disk: &[u8], work: &Path, seed: u64) -> Result<Outcome> {
    let mut random = fastrand::Rng::with_seed(seed);
    let fuse = work.join("fuse");
    fs::create_dir_all(&fuse)?;
    // What mounting writes is spared.
    let device = Device::mount(Medium::new(disk.to_vec(), random.u64(50..WRITES)), &fuse)?;
    let (tried, acked, after) = {
        let mount = Mount::new(&fuse.join(FILE), work.join("live"))?;
        let mut child = child(kind, "queue", &mount.at)
            .arg(seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let out = child.stdout.take().ok_or("the process has no output")?;
        let heard = std::thread::spawn(move || listen(BufReader::new(out)));
        device.wait(TIME);
        let after = device.cut(&mut random);
        child.kill()?;
        child.wait()?;
        let (tried, acked) = heard.join().map_err(|_| "the listening thread failed")?;
        (tried, acked, after)
    };
    drop(device);
    let image = work.join("image");
    write_sparse(&image, &after)?;
    let mount = Mount::new(&image, work.join("after"))?;
    let numbers = [acked.floor, acked.last, tried.floor, tried.last].map(|n| n.to_string());
    let check = speak(child(kind, "check", &mount.at).args(numbers));
    Ok(Outcome { acked: acked.last - tried.floor.min(acked.last), check })
}

fn listen(lines: impl BufRead) -> (Queue, Queue) {
    let (mut tried, mut acked) = (Queue::default(), Queue::default());
    for line in lines.lines().map_while(std::io::Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let [word, floor, last] = words[..] else { continue };
        let (Ok(floor), Ok(last)) = (floor.parse(), last.parse()) else { continue };
        let queue = Queue { floor, last };
        match word {
            "tried" => tried = queue,
            _ => acked = queue,
        }
    }
    (tried, acked)
}

fn write_sparse(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (at, piece) in (0..).step_by(4096).zip(bytes.chunks(4096)) {
        if piece.iter().any(|b| *b != 0) {
            file.write_all_at(piece, at)?;
        }
    }
    Ok(())
}
