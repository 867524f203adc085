//! The operating system: systemd, journald, signals, control socket, disk space; and what is counted over time.

pub mod control;
pub mod http;
pub mod listen;
pub mod logging;
pub mod meter;
pub mod notify;
pub mod pages;
pub mod signals;
pub mod tls;

/// The machine's name up to its first dot, fit to be a subject token.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = name.split('.').next().unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    if name.is_empty() { "leafd".to_owned() } else { name }
}

/// Bytes free for us on the file system of `path`.
pub fn free_space(path: &std::path::Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Bytes of memory that the machine has.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    // A word of the machine, which is 64 bits wide on some.
    (info.totalram as u128 * u128::from(info.mem_unit)) as u64
}

/// Lets the process have as many open files as the system allows it, which is what bounds its connections. The Go runtime
/// does so for nats-server. Where it is not allowed, the limit stays.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}

/// Bytes in the files of a folder and those below it; what cannot be read counts nothing.
pub fn size_of_dir(path: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of_dir(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}
