//! The configuration: one struct per table, read from `leafd.toml` and `conf.d/*.toml` beside it.
//!
//! [`load`] parses and merges the files, [`check`] looks for what does not fit together. Nothing is applied here: the
//! daemon gets a [`Config`] that can be trusted.

pub mod accounts;
pub mod adapter;
pub mod auth;
mod check;
pub mod compression;
pub mod conf;
pub mod http;
mod jetstream;
pub mod leaf;
mod load;
pub mod origin;
mod parse;
pub mod percent;
pub mod proxy;
pub mod schedule;
pub mod secret;
mod server;
pub mod shares;
pub mod store;
pub mod tls;
pub mod traffic;
pub mod units;
pub mod uplink;
pub mod websocket;

pub use jetstream::{BatchLimitsConfig, JetStreamConfig, ServerLimitsConfig};
pub(crate) use load::default_data_dir;
pub use load::{ConfigError, Source, data_dir, is_toml, load, overlay, table};
pub use server::{LimitsConfig, ListenConfig, LogConfig, LogFormat, LogLevel, MemoryConfig};

use crate::account::{GLOBAL_ACCOUNT, SYSTEM_ACCOUNT};
use crate::auth::system_account;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a client has to send CONNECT where nothing is configured and there is no TLS (nats-server `AUTH_TIMEOUT`).
pub const AUTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gateway's name, one subject token. Default: the host name.
    pub server_name: String,
    /// Where streams and state lie. Default: `$STATE_DIRECTORY`, else `$XDG_DATA_HOME/leafd` or `~/.local/share/leafd`.
    pub data_dir: PathBuf,
    /// Where the process number is written; absent: nowhere.
    pub pid_file: Option<PathBuf>,
    /// Where `<program>_PID.ports` is written, which says on which ports we listen; absent: nowhere.
    pub ports_file_dir: Option<PathBuf>,
    /// Where local clients connect.
    pub listen: ListenConfig,
    /// TLS of `listen`; absent: plain.
    pub tls: Option<tls::TlsConfig>,
    /// Where browsers connect; absent: nowhere.
    pub websocket: Option<websocket::WebSocketConfig>,
    /// Monitoring over HTTP; absent: none.
    pub http: Option<http::HttpConfig>,
    /// Who may connect; absent: anybody.
    pub authorization: Option<auth::AuthorizationConfig>,
    /// Accounts beside `$G` and `$SYS`.
    pub accounts: BTreeMap<String, accounts::AccountConfig>,
    /// Rewrites of subjects in `$G`.
    pub mappings: accounts::MappingsConfig,
    /// What one client may use.
    pub limits: LimitsConfig,
    /// Streams.
    pub jetstream: JetStreamConfig,
    /// How what is stored lies on disk.
    pub store: store::StoreConfig,
    /// What may be kept in memory.
    pub memory: MemoryConfig,
    /// Logging.
    pub log: LogConfig,
    /// Links to hubs, and from other leaf nodes.
    pub leaf: leaf::LeafConfig,
    /// What all uplinks together may send.
    pub wan: traffic::WanConfig,
    /// Store and forward.
    pub uplink: Vec<uplink::UplinkConfig>,
    /// Sensors.
    pub adapter: adapter::AdaptersConfig,
    /// What can be had but should not be, for the log.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// By which what the files say is told from other configurations; empty without files.
    #[serde(skip)]
    pub digest: String,
}

impl Config {
    /// The remote to which an uplink delivers; `None` if it names none and there is not exactly one.
    pub fn remote_of(&self, uplink: &uplink::UplinkConfig) -> Option<&leaf::RemoteConfig> {
        match (&uplink.remote, &self.leaf.remote[..]) {
            (Some(name), remotes) => remotes.iter().find(|r| r.name == *name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Whether `$G` has streams: its uplinks need them, and otherwise it does where no account asks for them.
    pub fn global_has_streams(&self) -> bool {
        let asked = self.accounts.values().any(|account| account.jetstream.enabled);
        let global = self.accounts.get("$G").is_some_and(|account| account.jetstream.enabled);
        self.jetstream.enabled && (!asked || global || !self.uplink.is_empty())
    }

    /// Whether some listener for clients, browsers or monitoring has certificates, which a reload reads again.
    pub fn has_certificates(&self) -> bool {
        let websocket = self.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
        let http = self.http.as_ref().and_then(|http| http.tls.as_ref());
        self.tls.as_ref().or(websocket).or(http).is_some()
    }

    /// Whether there is an account of that name.
    pub fn has_account(&self, name: &str) -> bool {
        let system = self.authorization.as_ref().and_then(system_account);
        // What lies in a directory of JWTs is only known while running.
        let by_jwt = |a: &auth::AuthorizationConfig| {
            a.resolver_preload.contains_key(name) || a.resolver.is_some() && crate::auth::is_account(name)
        };
        let preloaded = self.authorization.as_ref().is_some_and(by_jwt);
        [GLOBAL_ACCOUNT, system.as_deref().unwrap_or(SYSTEM_ACCOUNT)].contains(&name)
            || self.accounts.contains_key(name)
            || preloaded
    }

    /// How long a client has to send CONNECT (nats-server `getDefaultAuthTimeout`).
    pub fn auth_timeout(&self) -> Duration {
        let configured = self.authorization.as_ref().and_then(|authorization| authorization.timeout);
        let default = || self.tls.as_ref().map_or(AUTH_TIMEOUT, |tls| tls.timeout.0 + Duration::from_secs(1));
        configured.map_or_else(default, |timeout| timeout.0)
    }

    /// JetStream domain.
    pub fn domain(&self) -> String {
        self.jetstream.domain.clone().unwrap_or_else(|| self.token())
    }

    /// Whether answers tell the domain: if it is configured, or servers with streams of their own may be joined.
    pub fn tells_domain(&self) -> bool {
        self.jetstream.domain.is_some() || !self.leaf.remote.is_empty() || self.leaf.listen.is_some()
    }

    /// `server_name` as a token of subjects: dots and wildcards, which a name may have, become dashes.
    pub fn token(&self) -> String {
        self.server_name.replace(['.', '*', '>'], "-")
    }

    /// `subject` with `{gateway}` filled in.
    pub fn expand(&self, subject: &str) -> String {
        subject.replace("{gateway}", &self.token())
    }
}
