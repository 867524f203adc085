//! A real mosquitto that keeps sessions and queues without limit.

use super::{LIMIT, wait_blocking};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// A broker; killed when dropped.
pub struct Mosquitto {
    _dir: tempfile::TempDir,
    child: Child,
    /// Where it listens.
    pub port: u16,
}

/// The binary: `MOSQUITTO`, else the one on PATH.
pub fn binary() -> String {
    std::env::var("MOSQUITTO").unwrap_or_else(|_| "mosquitto".to_owned())
}

impl Mosquitto {
    /// Starts one.
    pub fn start() -> Mosquitto {
        let dir = tempfile::tempdir().expect("a folder");
        loop {
            // mosquitto cannot let the kernel pick and tell, so the port is picked here; another may be quicker to take it.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a port").port();
            let config = dir.path().join("mosquitto.conf");
            let text = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
                 max_queued_messages 0\nmax_inflight_messages 100\nset_tcp_nodelay true\nuser {}\n",
                dir.path().display(),
                std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
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
            if listens {
                return Mosquitto { _dir: dir, child, port };
            }
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
