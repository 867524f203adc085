//! The running daemon: builds the parts from the configuration, connects them, and ends them in order.
//!
//! Started from the disk outwards (store, streams, listeners), so that nothing is taken in before it can be kept; ended
//! from the outside inwards, so that everything taken in is on disk and answered first.

use crate::account::Account;
use crate::config::Config;
use crate::monitor::ProcessStatus;
use crate::protocol::Limits;
use crate::server::{Ending, Listening, Server, ServerOptions};
use crate::store::{Store, StoreError, StoreOptions};
use crate::system::control::{self, Request};
use crate::system::notify;
use crate::system::signals::{Event, Signals};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Reads the configuration again.
pub type Reload<'a> = &'a dyn Fn() -> Result<Config, String>;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client listener.
    #[error(transparent)]
    Server(#[from] crate::server::StartError),
    /// A file of ours in the data directory.
    #[error("cannot write {path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The signal handlers.
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
}

/// Runs until told to end by a signal.
///
/// # Errors
/// Some part could not start; those already started have ended again.
pub async fn run(config: Config, reload: Reload<'_>) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let mut daemon = Daemon::start(config).await?;
    let (asked, mut requests) = mpsc::channel(8);
    match control::listen(&daemon.config.data_dir) {
        Ok(listener) => drop(tokio::spawn(control::serve(listener, asked))),
        Err(error) => tracing::warn!("no control socket, so `leafd status` will not work: {error}"),
    }
    let watchdog = tokio::spawn(watch_over(daemon.store.clone()));
    notify::ready("serving");
    tracing::info!("Server is ready");
    loop {
        tokio::select! {
            event = signals.next() => match event {
                Event::End => break,
                Event::Reload => {
                    let _ = daemon.reload(reload);
                }
            },
            Some((request, answer)) = requests.recv() => {
                let reply = match request {
                    Request::Status => daemon.status(),
                    Request::Reload => match daemon.reload(reload) {
                        Ok(result) => json!({ "result": result }),
                        Err(error) => json!({ "error": error }),
                    },
                };
                let _ = answer.send(reply);
            }
        }
    }
    notify::stopping();
    watchdog.abort();
    drop(requests);
    daemon.end().await;
    Ok(())
}

/// Tells systemd that we live, as long as the store commits.
async fn watch_over(store: Store) {
    let Some(interval) = notify::watchdog_interval() else { return };
    loop {
        if tokio::time::timeout(interval, store.barrier()).await.is_ok() {
            notify::watchdog();
        }
        tokio::time::sleep(interval).await;
    }
}

struct Daemon {
    config: Config,
    started: Instant,
    store: Store,
    clients: Listening,
    intake: watch::Sender<bool>,
    connections: watch::Sender<bool>,
}

impl Daemon {
    async fn start(config: Config) -> Result<Daemon, StartError> {
        let started = Instant::now();
        let store = Store::open(&config.data_dir, StoreOptions::default())?;
        tracing::info!("Storing in {}", config.data_dir.display());
        let account = Account::new("$G");
        let (intake, intake_ends) = watch::channel(false);
        let (connections, connections_end) = watch::channel(false);
        let server = Server::bind(server_options(&config), account.clone()).await?;
        let address = server.address();
        let clients = server.start(Ending { intake: intake_ends, connections: connections_end });
        tracing::info!("Listening for client connections on {address}");
        let daemon = Daemon { config, started, store, clients, intake, connections };
        daemon.write_ports()?;
        Ok(daemon)
    }

    /// Says on which ports we listen, in the form of nats-server's ports file.
    fn write_ports(&self) -> Result<(), StartError> {
        let path = self.config.data_dir.join("leafd.ports");
        let ports = json!({ "nats": [format!("nats://{}", self.clients.status().address)] });
        // By way of a new name, so that nobody reads half of it.
        let new = path.with_extension("new");
        let written = std::fs::write(&new, ports.to_string()).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|error| StartError::File { path, error })
    }

    fn status(&self) -> Value {
        json!({
            "server_name": self.config.server_name,
            "data_dir": self.config.data_dir,
            "process": ProcessStatus::now(self.started),
            "clients": self.clients.status(),
            "store": self.store.stats(),
        })
    }

    /// Reads the configuration again and applies what can be changed while running; says what came of it.
    fn reload(&mut self, read: Reload<'_>) -> Result<String, String> {
        notify::reloading();
        let result = read().and_then(|new| self.apply(new));
        match &result {
            Ok(what) => tracing::info!("configuration read again: {what}"),
            Err(error) => tracing::error!("the configuration is not taken over, the old one goes on: {error}"),
        }
        notify::ready("serving");
        result
    }

    fn apply(&mut self, new: Config) -> Result<String, String> {
        let fixed = fixed_changes(&self.config, &new);
        if !fixed.is_empty() {
            return Err(format!("{} can only change with a restart", fixed.join(", ")));
        }
        self.config = new;
        Ok("nothing has changed".to_owned())
    }

    /// Ends in order: no intake, everything on disk, every answer out, then the connections.
    async fn end(self) {
        tracing::info!("ending: no more is taken in");
        let _ = self.intake.send(true);
        // What was read but not yet staged is staged when its connection's task has seen the end.
        tokio::task::yield_now().await;
        if let Err(error) = self.store.barrier().await {
            tracing::error!("not everything could be written: {error}");
        }
        let _ = self.connections.send(true);
        self.clients.stopped().await;
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!("ended in order");
    }
}

/// The tables that have changed though they cannot while running.
fn fixed_changes(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut note = |name, differs: bool| {
        if differs {
            changed.push(name);
        }
    };
    note("server_name", old.server_name != new.server_name);
    note("data_dir", old.data_dir != new.data_dir);
    note("[listen]", old.listen != new.listen);
    note("[limits]", old.limits != new.limits);
    note("[jetstream]", old.jetstream != new.jetstream);
    note("[log]", old.log != new.log);
    note("[leaf]", old.leaf != new.leaf);
    note("[[uplink]]", old.uplink != new.uplink);
    note("[adapter]", old.adapter != new.adapter);
    changed
}

fn server_options(config: &Config) -> ServerOptions {
    let limits = &config.limits;
    ServerOptions {
        server_id: server_id(),
        server_name: config.server_name.clone(),
        host: config.listen.host.clone(),
        port: config.listen.port,
        limits: Limits { control_line: limits.max_control_line.as_usize(), payload: limits.max_payload.as_usize() },
        max_connections: limits.max_connections,
        max_pending: limits.max_pending.as_usize(),
        write_deadline: limits.write_deadline.0.max(Duration::from_millis(1)),
        ping_interval: limits.ping_interval.0.max(Duration::from_millis(1)),
        ping_max: limits.ping_max,
        jetstream_domain: config.jetstream.enabled.then(|| config.domain().to_owned()),
    }
}

/// An id of this process in the form of a server nkey: `N` and 55 characters of base 32.
fn server_id() -> String {
    const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    std::iter::once('N').chain((0..55).map(|_| char::from(BASE32[fastrand::usize(..32)]))).collect()
}
