//! What the kernel says of this process.

use std::fs;

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
