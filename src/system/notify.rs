//! What systemd is told over `NOTIFY_SOCKET` (sd_notify(3)); nothing happens where that is not set.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service is up.
pub fn ready(status: &str) {
    send(&format!("READY=1\nSTATUS={status}"));
}

/// The configuration is being read again; [`ready`] must follow. systemd 253 and later want the time with it.
pub fn reloading() {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
    send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The service ends.
pub fn stopping() {
    send("STOPPING=1\nSTATUS=ending: everything taken in goes to disk");
}

/// A line for `systemctl status`.
pub fn status(status: &str) {
    send(&format!("STATUS={status}"));
}

/// The service is alive.
pub fn watchdog() {
    send("WATCHDOG=1");
}

/// How long systemd waits for [`watchdog`] before it kills us; `None` if it does not watch this process.
pub fn watchdog_limit() -> Option<Duration> {
    let micros: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    let ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
    (ours && micros > 0).then(|| Duration::from_micros(micros))
}

fn send(message: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.to_string_lossy().strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    // systemd may be gone or restarting; the daemon goes on without it.
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(message.as_bytes(), &address);
    }
}
