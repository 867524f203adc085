//! A real mosquitto that keeps sessions and queues without limit.

use super::{LIMIT, Port, wait_blocking};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A broker; killed when dropped.
pub struct Mosquitto {
    dir: tempfile::TempDir,
    child: Option<Child>,
    max_inflight: u32,
    /// Where it listens.
    pub port: u16,
    /// mosquitto cannot let the kernel pick and tell.
    _kept: Port,
}

/// The binary: `MOSQUITTO`, else the one on PATH.
pub fn binary() -> String {
    std::env::var("MOSQUITTO").unwrap_or_else(|_| "mosquitto".to_owned())
}

impl Mosquitto {
    /// Starts one that sends 100 messages ahead of the receipts.
    pub fn start() -> Mosquitto {
        Mosquitto::with_inflight(100)
    }

    /// Starts one that sends so many messages ahead of the receipts; 0: all it has.
    pub fn with_inflight(max_inflight: u32) -> Mosquitto {
        let dir = tempfile::tempdir().expect("a folder");
        let kept = Port::free();
        let mut broker = Mosquitto { dir, child: None, max_inflight, port: kept.number(), _kept: kept };
        assert!(broker.try_start(), "mosquitto ended at its start");
        broker
    }

    /// Starts it again on the same port, with what it had saved.
    pub fn start_again(&mut self) {
        wait_blocking("mosquitto has its port again", LIMIT, || self.try_start().then_some(()));
    }

    fn try_start(&mut self) -> bool {
        let (port, dir) = (self.port, self.dir.path());
        let config = dir.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nmax_inflight_messages {}\nset_tcp_nodelay true\nuser {}\n\
             log_dest file {}\nlog_type all\n",
            dir.display(),
            self.max_inflight,
            std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
            self.log_file().display(),
        );
        std::fs::write(&config, text).expect("written");
        let mut child = Command::new(binary())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts; MOSQUITTO names its binary");
        let listens = wait_blocking("mosquitto listens", LIMIT, || {
            match (child.try_wait(), TcpStream::connect((Ipv4Addr::LOCALHOST, port))) {
                (Ok(None), Ok(_)) => Some(true),
                (Ok(Some(_)), _) => Some(false),
                _ => None,
            }
        });
        self.child = listens.then_some(child);
        listens
    }

    /// Ends it in order: it saves its sessions.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            super::signal(child.id(), rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }

    /// Forgets all sessions and retained messages; it must not run.
    pub fn forget(&self) {
        assert!(self.child.is_none(), "it runs");
        let _ = std::fs::remove_file(self.dir.path().join("mosquitto.db"));
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("mosquitto.log")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
