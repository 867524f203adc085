//! The running daemon: builds the parts from the configuration, connects them, and ends them in order.
//!
//! Started from the disk outwards (store, streams, listeners), so that nothing is taken in before it can be kept; ended
//! from the outside inwards, so that everything taken in is on disk and answered first.

mod files;
mod origins;
mod parts;
mod streams;
mod watchdog;

use crate::config::tls::TlsConfig;
use crate::config::{Config, JetStreamConfig, ServerLimitsConfig};
use crate::leaf::{Door, LinkChanges};
use crate::monitor::ProcessStatus;
use crate::store::StoreError;
use crate::system::control::{self, Asked, Request};
use crate::system::signals::{Event, Signals};
use crate::system::{logging, notify, pages};
use files::PortsFiles;
use parts::Parts;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// After the start: what is done once has been done, and what has not run by then seldom runs.
const SETTLED: Duration = Duration::from_secs(5);

/// Reads the configuration again.
pub type Reload<'a> = &'a dyn Fn() -> Result<Config, String>;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its key.
    #[error("[store.encryption]: {0}")]
    Key(#[from] crate::config::secret::SecretError),
    /// The client listener.
    #[error(transparent)]
    Server(#[from] crate::server::StartError),
    /// Streams.
    #[error(transparent)]
    JetStream(#[from] crate::jetstream::JetStreamError),
    /// The leaf-node listener.
    #[error(transparent)]
    Leaf(#[from] crate::leaf::ListenError),
    /// Users.
    #[error(transparent)]
    Rules(#[from] crate::auth::RulesError),
    /// Accounts by JWT.
    #[error(transparent)]
    Resolver(#[from] crate::auth::ResolverError),
    /// What accounts share and map.
    #[error("{}", .0.join("; "))]
    Subjects(Vec<String>),
    /// Monitoring.
    #[error(transparent)]
    Http(#[from] crate::monitor::HttpError),
    /// An uplink.
    #[error(transparent)]
    Uplink(#[from] crate::uplink::StartError),
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
    let (asked, mut requests) = mpsc::channel(8);
    let mut daemon = Daemon::start(config, asked.clone()).await?;
    match control::listen(&daemon.config.data_dir) {
        Ok(listener) => drop(tokio::spawn(control::serve(listener, asked))),
        Err(error) => tracing::warn!("no control socket, so `leafd status` will not work: {error}"),
    }
    let store = daemon.parts.store.clone();
    let watchdog = tokio::spawn(watchdog::watch(async move || store.barrier().await));
    notify::ready("serving");
    tracing::info!("Server is ready");
    tokio::spawn(async {
        tokio::time::sleep(SETTLED).await;
        pages::let_go_of_code();
    });
    let mut lame_duck = false;
    loop {
        let sharing_until = daemon.parts.sharing_until;
        tokio::select! {
            event = signals.next() => match event {
                Event::End => break,
                Event::LameDuck if lame_duck => {}
                Event::LameDuck => {
                    lame_duck = true;
                    daemon.parts.lame_duck(&daemon.config.limits);
                }
                Event::Reload => {
                    let _ = daemon.reload(reload).await;
                }
                Event::ReopenLog => match logging::reopen() {
                    Ok(()) => tracing::info!("File log re-opened"),
                    Err(error) => tracing::error!("{error}"),
                },
            },
            () = daemon.parts.clients_gone(), if lame_duck => break,
            () = moment(sharing_until) => {
                if let Err(error) = daemon.parts.reload_subjects(&daemon.config) {
                    tracing::error!("{error}");
                }
            }
            Some((request, answer)) = requests.recv() => {
                let reply = match request {
                    Request::Status => daemon.status(),
                    Request::Reload => match daemon.reload(reload).await {
                        Ok(result) => json!({ "result": result }),
                        Err(error) => json!({ "error": error }),
                    },
                    Request::Accounts => match daemon.parts.reload_accounts(&daemon.config) {
                        Ok(()) => json!({}),
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

/// Waits for a moment that may never come.
async fn moment(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

struct Daemon {
    config: Config,
    started: Instant,
    parts: Parts,
    files: PortsFiles,
}

impl Daemon {
    async fn start(config: Config, asked: mpsc::Sender<Asked>) -> Result<Daemon, StartError> {
        let started = Instant::now();
        warn(&config);
        files::write_pid(&config)?;
        let parts = Parts::start(&config, asked).await?;
        let files = PortsFiles::write(&config, &parts.ports())?;
        Ok(Daemon { config, started, parts, files })
    }

    fn status(&self) -> Value {
        let mut status = self.parts.status();
        status["server_name"] = json!(self.config.server_name);
        status["data_dir"] = json!(self.config.data_dir);
        status["process"] = json!(ProcessStatus::now(self.started));
        status
    }

    /// Reads the configuration again and applies what can be changed while running; says what came of it.
    async fn reload(&mut self, read: Reload<'_>) -> Result<String, String> {
        notify::reloading();
        let result = match read() {
            Ok(new) => self.apply(new).await,
            Err(error) => Err(error),
        };
        match &result {
            Ok(what) => tracing::info!("configuration read again: {what}"),
            Err(error) => tracing::error!("the configuration is not taken over, the old one goes on: {error}"),
        }
        notify::ready("serving");
        result
    }

    async fn apply(&mut self, new: Config) -> Result<String, String> {
        let fixed = fixed_changes(&self.config, &new);
        if !fixed.is_empty() {
            return Err(format!("{} can only change with a restart", fixed.join(", ")));
        }
        let door = new.leaf.listen.as_ref().map(Door::open).transpose().map_err(|error| error.to_string())?;
        self.parts.reload_tls(&new)?;
        self.parts.reload_users(&new)?;
        self.parts.reload_subjects(&new)?;
        let links = self.parts.reload_leaf(&new, door);
        warn(&new);
        let (ended, started) = self.parts.adapters.reload(&new.adapter).await;
        self.config = new;
        let mut done = Vec::new();
        if links != LinkChanges::default() {
            let LinkChanges { added, removed, changed } = links;
            done.push(format!("{added} leaf remotes added, {removed} removed, {changed} changed"));
        }
        if (ended, started) != (0, 0) {
            done.push(format!("{ended} adapters ended, {started} started"));
        }
        Ok(match done.is_empty() {
            true if self.config.has_certificates() => "certificates read again, nothing else has changed".to_owned(),
            true => "nothing has changed".to_owned(),
            false => done.join("; "),
        })
    }

    async fn end(self) {
        tracing::info!("ending: no more is taken in");
        self.files.remove();
        self.parts.end().await;
        tracing::info!("ended in order");
    }
}

/// What the operator should know of a configuration that is taken nevertheless.
fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Whether a table has changed in more than its certificates, which are read again at each reload.
fn differs<T: Clone + PartialEq>(old: &Option<T>, new: &Option<T>, tls: fn(&mut T) -> &mut Option<TlsConfig>) -> bool {
    match (old.clone(), new.clone()) {
        (Some(mut old), Some(mut new)) => {
            let same_kind = tls(&mut old).is_some() == tls(&mut new).is_some();
            (*tls(&mut old), *tls(&mut new)) = (None, None);
            !same_kind || old != new
        }
        (old, new) => old != new,
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
    note("[websocket]", differs(&old.websocket, &new.websocket, |websocket| &mut websocket.tls));
    note("[http]", differs(&old.http, &new.http, |http| &mut http.tls));
    let system = |config: &Config| config.authorization.as_ref().and_then(crate::auth::system_account);
    note("[authorization] system_account", system(old) != system(new));
    note("[accounts] jetstream: whether $G has it", old.global_has_streams() != new.global_has_streams());
    note("[jetstream.limits]", old.jetstream.limits != new.jetstream.limits);
    let rest = |config: &Config| JetStreamConfig { limits: ServerLimitsConfig::default(), ..config.jetstream.clone() };
    note("[jetstream]", rest(old) != rest(new));
    note("[store]", old.store != new.store);
    note("[log]", old.log != new.log);
    note("[leaf.listen]", old.leaf.listen.is_some() != new.leaf.listen.is_some());
    if let (Some(old), Some(new)) = (&old.leaf.listen, &new.leaf.listen) {
        note("[leaf.listen] host", old.host != new.host);
        note("[leaf.listen] port", old.port != new.port);
        note("[leaf.listen] tls", old.tls.is_some() != new.tls.is_some());
        note("[leaf.listen] users", old.users != new.users);
        note("[leaf.listen] nkey", old.nkey != new.nkey);
        note("[leaf.listen] account", old.account != new.account);
        note("[leaf.listen] isolate", old.isolate != new.isolate);
    }
    let remotes = |config: &Config| -> Vec<_> {
        let remotes = config.uplink.iter().map(|uplink| config.remote_of(uplink));
        remotes.map(|remote| remote.map(|remote| (remote.name.clone(), remote.account.clone()))).collect()
    };
    let same = old.uplink == new.uplink;
    note("name and account of the [[leaf.remote]] of an [[uplink]]", same && remotes(old) != remotes(new));
    note("[wan]", old.wan != new.wan);
    note("[[uplink]]", !same);
    changed
}
