//! A real nats-server with whatever configuration a test compares leafd with.

use super::{LIMIT, hub, wait_for};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A nats-server; killed when dropped, its log printed if the test failed.
pub struct NatsServer {
    dir: tempfile::TempDir,
    child: Child,
    /// Where clients connect.
    pub clients: SocketAddr,
}

impl NatsServer {
    /// Starts one with `config`, which must not set where it listens.
    pub async fn start(config: &str) -> NatsServer {
        Self::start_binary(hub::binary(), config).await
    }

    /// The same with another binary than that of hubs.
    pub async fn start_binary(binary: String, config: &str) -> NatsServer {
        let dir = tempfile::tempdir().expect("a folder");
        let file = write(dir.path(), config);
        let log = File::create(dir.path().join("server.log")).expect("a log");
        let mut command = Command::new(binary);
        command.arg("-c").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("nats-server starts; NATS_SERVER names its binary");
        let ports = dir.path().join(format!("nats-server_{}.ports", child.id()));
        let none = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = NatsServer { dir, child, clients: none };
        server.clients = wait_for("nats-server's ports file", LIMIT, || async { hub::read_port(&ports) }).await;
        server
    }

    /// Where it listens for `kind`, as a URL, by its ports file.
    pub fn port(&self, kind: &str) -> String {
        let file = self.dir.path().join(format!("nats-server_{}.ports", self.child.id()));
        let text = fs::read_to_string(file).expect("a ports file");
        let ports: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        ports[kind][0].as_str().unwrap_or_else(|| panic!("no {kind} in {text}")).to_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        super::signal(self.child.id(), signal);
    }

    /// Has it read another configuration.
    pub fn reconfigure(&self, config: &str) {
        write(self.dir.path(), config);
        super::signal(self.child.id(), rustix::process::Signal::HUP);
    }

    /// A client without credentials.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.clients.to_string()).await.expect("nats-server takes clients")
    }
}

/// Writes the configuration file.
fn write(dir: &Path, config: &str) -> PathBuf {
    let file = dir.join("server.conf");
    let text = format!("listen: \"127.0.0.1:-1\"\nports_file_dir: {dir:?}\n{config}");
    fs::write(&file, text).expect("written");
    file
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- nats-server ---\n{}", self.log());
        }
    }
}
