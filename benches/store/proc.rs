//! What the kernel says of this process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).expect("readable");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("there");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Bytes that went to the disk.
pub fn written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Resident memory now and at its most, KB.
pub fn memory() -> (u64, u64) {
    (field("/proc/self/status", "VmRSS:"), field("/proc/self/status", "VmHWM:"))
}

/// Bytes of disk that the files of a folder and those below it take.
pub fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| match entry.metadata().ok()? {
        folder if folder.is_dir() => Some(size(&entry.path())),
        file => Some(file.blocks() * 512),
    });
    sizes.sum()
}
