//! A serial device: a pty pair. The test writes and reads the device's end; leafd opens the other by a symlink, as udev
//! would name it.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A pty pair.
pub struct Pty {
    /// The device's end.
    pub device: File,
    /// Kept open, so that what leafd has not read survives its death.
    line: File,
    /// What leafd opens.
    pub path: PathBuf,
}

impl Pty {
    /// A pair whose line is at `path`.
    pub fn new(path: &Path) -> Pty {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&device).expect("granted");
        unlockpt(&device).expect("unlocked");
        let name = ptsname(&device, Vec::new()).expect("a name");
        let name = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
        let line = File::options().read(true).write(true).open(&name).expect("the line opens");
        let mut attributes = tcgetattr(&line).expect("a terminal");
        // No echo: the device would read its own readings as commands.
        attributes.make_raw();
        tcsetattr(&line, OptionalActions::Now, &attributes).expect("raw");
        std::os::unix::fs::symlink(&name, path).expect("a symlink");
        Pty { device: File::from(device), line, path: path.to_owned() }
    }

    /// Ends the exclusive use by a process that was killed; the kernel keeps it while anybody has the line open.
    pub fn release(&self) {
        let _ = rustix::termios::ioctl_tiocnxcl(&self.line);
    }
}
