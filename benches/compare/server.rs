//! The servers under comparison, as processes on ports of the kernel's choice.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// leafd, durable as it is by default.
    Leafd,
    /// nats-server as it is by default: synced every two minutes.
    Nats,
    /// nats-server with `sync_interval: always`.
    NatsAlways,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    /// Where clients connect.
    pub address: SocketAddr,
}

impl Server {
    /// Starts one with an empty store on the disk of the build folder (a folder in memory would sync for nothing).
    pub fn start(rival: Rival) -> Server {
        Server::configured(rival, "", "")
    }

    /// As [`Server::start`], with `config` in its own language; `jetstream` is what else stands in nats-server's block of that
    /// name.
    pub fn configured(rival: Rival, config: &str, jetstream: &str) -> Server {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let path = dir.path();
        let (mut command, ports): (Command, Box<dyn Fn(u32) -> PathBuf>) = match rival {
            Rival::Leafd => {
                let binary = std::env::var("LEAFD_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_leafd").to_owned());
                fs::write(path.join("leafd.toml"), config).expect("writes");
                let mut command = Command::new(binary);
                command.args(["-p", "0", "--data-dir"]).arg(path.join("data")).arg("-c").arg(path.join("leafd.toml"));
                let file = path.join("data/leafd.ports");
                (command, Box::new(move |_| file.clone()))
            }
            Rival::Nats | Rival::NatsAlways => {
                let sync = if rival == Rival::NatsAlways { ", sync_interval: always" } else { "" };
                let text = format!(
                    "listen: \"127.0.0.1:-1\"\nports_file_dir: \"{0}\"\njetstream {{ store_dir: \"{0}/data\"{sync}{jetstream} }}\n{config}",
                    path.display()
                );
                fs::write(path.join("n.conf"), text).expect("writes");
                let mut command = Command::new(std::env::var("NATS_SERVER").unwrap_or_else(|_| "nats-server".into()));
                command.arg("-c").arg(path.join("n.conf"));
                let dir = path.to_owned();
                (command, Box::new(move |pid| dir.join(format!("nats-server_{pid}.ports"))))
            }
        };
        let log = fs::File::create(path.join("log")).expect("a log");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("starts");
        let address = wait_for(&|| read_port(&ports(child.id())), path);
        Server { child, dir, address }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Where a nats-server takes leaf nodes.
    pub fn leaf_port(&self) -> u16 {
        let log = self.log();
        let (_, address) = log.split_once("Listening for leafnode connections on ").expect("it takes leaf nodes");
        address.lines().next().and_then(|line| line.rsplit(':').next()?.trim().parse().ok()).expect("a port")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time used so far, seconds.
    pub fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().expect("user") + fields[12].parse::<f64>().expect("system");
        ticks / 100.0
    }

    /// Bytes it had written to the disk so far.
    pub fn written(&self) -> u64 {
        self.proc_value("io", "write_bytes:")
    }

    /// Resident memory, kilobytes.
    pub fn rss(&self) -> u64 {
        self.proc_value("status", "VmRSS:")
    }

    /// Times that its threads went to wait so far; each is a wake-up.
    pub fn switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("runs");
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
            .filter_map(|text| {
                text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
            })
            .sum()
    }

    fn proc_value(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("runs");
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_port(path: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(path).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json["nats"][0].as_str()?.rsplit('/').next()?.parse().ok()
}

fn wait_for(port: &dyn Fn() -> Option<SocketAddr>, dir: &Path) -> SocketAddr {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(address) = port() {
            return address;
        }
        let log = || fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < until, "the server does not start:\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}
