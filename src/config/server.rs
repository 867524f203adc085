//! `[listen]`, `[limits]`, `[jetstream]`, `[memory]` and `[log]`.

use super::units::{ByteSize, Duration};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration as StdDuration;

/// `[listen]`: where local clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Host name or address. Default: `127.0.0.1`.
    pub host: String,
    /// Port; 0 lets the kernel choose one, which is written to `leafd.ports` in the data directory. Default: 4222.
    pub port: u16,
}

impl Default for ListenConfig {
    fn default() -> Self {
        ListenConfig { host: "127.0.0.1".into(), port: 4222 }
    }
}

/// Default host of listeners that are not meant for other machines unless it is said.
pub(super) fn loopback() -> String {
    "127.0.0.1".into()
}

/// `[limits]`: what one client may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest message, headers and payload. Default: 1 MB.
    pub max_payload: ByteSize,
    /// Longest control line. Default: 4 KB.
    pub max_control_line: ByteSize,
    /// Clients at a time. Default: 65536.
    pub max_connections: usize,
    /// Subscriptions of one connection; 0: no bound. Default: 0.
    pub max_subscriptions: usize,
    /// Bytes that may wait for one client before it is cut off as a slow consumer. Default: 64 MB.
    pub max_pending: ByteSize,
    /// Idle time after which a client is pinged. Default: 2m.
    pub ping_interval: Duration,
    /// Unanswered pings after which a client is given up. Default: 2.
    pub ping_max: u32,
    /// How long a write to a client may make no progress. Default: 10s.
    pub write_deadline: Duration,
    /// Time over which a server in lame duck mode lets its clients go. Default: 2m.
    pub lame_duck_duration: Duration,
    /// Time that clients of a server in lame duck mode have before the first is let go. Default: 10s.
    pub lame_duck_grace_period: Duration,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig {
            max_payload: ByteSize(1 << 20),
            max_control_line: ByteSize(4 << 10),
            max_connections: 65536,
            max_subscriptions: 0,
            max_pending: ByteSize(64 << 20),
            ping_interval: Duration(StdDuration::from_secs(120)),
            ping_max: 2,
            write_deadline: Duration(StdDuration::from_secs(10)),
            lame_duck_duration: Duration(StdDuration::from_secs(120)),
            lame_duck_grace_period: Duration(StdDuration::from_secs(10)),
        }
    }
}

/// `[memory]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Most that the subjects of all streams may take; a message on a new one is refused beyond that. Default: 128 MB.
    pub max: ByteSize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig { max: ByteSize(128 << 20) }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Least important level that is logged. Default: info.
    pub level: LogLevel,
    /// File that lines are appended to; SIGUSR1 opens it anew. Default: stderr, or the journal under systemd.
    pub file: Option<PathBuf>,
    /// How lines look. Default: `leafd`.
    pub format: LogFormat,
    /// Whether lines begin with the time (UTC). Default: true.
    pub time: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: LogLevel::default(), file: None, format: LogFormat::default(), time: true }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Time, level, message and fields.
    #[default]
    Leafd,
    /// As nats-server writes them, for programs that read its log.
    NatsServer,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should know.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Each connection and request.
    Debug,
    /// Each protocol line.
    Trace,
}
