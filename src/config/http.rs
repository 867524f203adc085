//! `[http]`: monitoring.

use super::secret::Secret;
use super::tls::TlsConfig;
use serde::Deserialize;

/// `[http]`: `/varz`, `/connz`, ..., `/healthz` and `/metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Host name or address. Default: `127.0.0.1`.
    #[serde(default = "super::server::loopback")]
    pub host: String,
    /// Port; 0 lets the kernel choose. nats-server's is 8222.
    pub port: u16,
    /// Path under which all pages lie. Default: `/`.
    #[serde(default)]
    pub base_path: String,
    /// TLS; absent: plain.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// User of HTTP basic authentication; absent: open.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of `user`.
    #[serde(default)]
    pub password: Option<Secret>,
}
