//! leafd as a process: start, signals, kill -9, restart, status; its log is printed when a test fails.

use super::{LIMIT, LOOK};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A leafd; killed when dropped.
pub struct Leafd {
    dir: PathBuf,
    environment: Vec<(String, String)>,
    child: Option<Child>,
    /// Where clients connect; another after each restart unless the configuration sets a port.
    pub clients: Option<SocketAddr>,
}

/// How a process that could not start ended.
pub struct Failure {
    /// Its exit status.
    pub status: ExitStatus,
    /// All it wrote to stderr.
    pub text: String,
}

impl Leafd {
    /// One whose files are in `dir`; `config` is all but `server_name`, `data_dir` and `[listen]`.
    pub fn new(dir: &Path, config: &str) -> Leafd {
        let leafd = Leafd { dir: dir.to_owned(), environment: Vec::new(), child: None, clients: None };
        leafd.configure(config);
        leafd
    }

    /// Writes the configuration anew.
    pub fn configure(&self, config: &str) {
        let text = format!("server_name = \"gw1\"\ndata_dir = {:?}\n[listen]\nport = 0\n{config}", self.data());
        self.configure_raw(&text);
    }

    /// Writes the whole configuration.
    pub fn configure_raw(&self, text: &str) {
        fs::write(self.config_file(), text).expect("written");
    }

    /// An environment variable for the next start.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("leafd.toml")
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("gateway")
    }

    /// Starts it and waits until it listens; panics if it does not.
    pub fn start(&mut self) {
        if let Err(failure) = self.try_start() {
            panic!("leafd ended with {} instead of starting:\n{}", failure.status, failure.text);
        }
    }

    /// Starts it and waits until it listens, or has ended.
    pub fn try_start(&mut self) -> Result<(), Failure> {
        let ports = self.data().join("leafd.ports");
        // Of an earlier start: it would be taken for this one's.
        let _ = fs::remove_file(&ports);
        let before = self.log().len();
        let log = File::options().create(true).append(true).open(self.log_file()).expect("a log");
        let mut command = Command::new(binary());
        command.arg("-c").arg(self.config_file()).envs(self.environment.iter().cloned());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("leafd is built");
        let child = self.child.insert(child);
        let until = Instant::now() + LIMIT;
        loop {
            // The other one is there if it was asked for, also on a full disk.
            let asked_for = self.dir.join(format!("leafd_{}.ports", child.id()));
            if let Some(address) = read_ports(&ports).or_else(|| read_ports(&asked_for)) {
                self.clients = Some(address);
                return Ok(());
            }
            if let Some(status) = child.try_wait().expect("it is our child") {
                self.child = None;
                return Err(Failure { status, text: self.log().split_off(before) });
            }
            assert!(Instant::now() < until, "leafd neither listens nor ends:\n{}", self.log());
            std::thread::sleep(LOOK);
        }
    }

    /// kill -9.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// kill -9, and start again.
    pub fn restart(&mut self) {
        self.kill9();
        self.start();
    }

    /// SIGTERM; how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        super::signal(child.id(), Signal::TERM);
        let until = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return status;
            }
            if Instant::now() > until {
                let _ = child.kill();
                panic!("leafd did not end after SIGTERM");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// SIGHUP.
    pub fn hup(&self) {
        super::signal(self.pid(), Signal::HUP);
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Where clients connect, as a URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.clients.expect("it listens"))
    }

    /// Where it listens for `kind`, as a URL, by its ports file.
    pub fn port(&self, kind: &str) -> String {
        let text = fs::read_to_string(self.data().join("leafd.ports")).expect("a ports file");
        let ports: Value = serde_json::from_str(&text).expect("JSON");
        ports[kind][0].as_str().unwrap_or_else(|| panic!("no {kind} in {text}")).to_owned()
    }

    /// A client that does not come back by itself: the address changes.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::ConnectOptions::new().connect(self.url()).await.expect("leafd takes clients")
    }

    /// What `leafd status --json` says; `None` if it cannot be asked now.
    pub fn status(&self) -> Option<Value> {
        let mut command = Command::new(binary());
        command.arg("status").arg("--json").arg("--data-dir").arg(self.data());
        let output = command.stdin(Stdio::null()).output().ok().filter(|output| output.status.success())?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Waits until its log has `text` after `from` bytes.
    pub fn wait_log(&self, text: &str, from: usize) {
        super::wait_blocking(&format!("in leafd's log: {text}"), Duration::from_secs(20), || {
            self.log().get(from..).is_some_and(|log| log.contains(text)).then_some(())
        });
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("leafd.log")
    }
}

impl Drop for Leafd {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- leafd, last lines ---\n{}", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

/// The binary: `LEAFD_BIN`, else the one that cargo built for the tests.
pub fn binary() -> PathBuf {
    std::env::var_os("LEAFD_BIN").map_or_else(|| env!("CARGO_BIN_EXE_leafd").into(), PathBuf::from)
}

fn read_ports(path: &Path) -> Option<SocketAddr> {
    let ports: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit('/').next()?.parse().ok()
}
