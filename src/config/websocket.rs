//! `[websocket]`: where browsers and WebSocket clients connect.

use super::tls::TlsConfig;
use super::units::Duration;
use serde::Deserialize;

/// `[websocket]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketConfig {
    /// Host name or address. Default: `127.0.0.1`.
    #[serde(default = "super::server::loopback")]
    pub host: String,
    /// Port; 0 lets the kernel choose.
    pub port: u16,
    /// TLS; absent: plain, which wants `no_tls = true`, so that nobody leaves it out by accident.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whether connections without TLS are meant. Default: false.
    #[serde(default)]
    pub no_tls: bool,
    /// Whether the Origin of a browser must be the host that it connects to. Default: false.
    #[serde(default)]
    pub same_origin: bool,
    /// Origins that are let in; empty: all. Default: empty.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Whether messages may be compressed (permessage-deflate) with clients that ask for it. Default: false.
    #[serde(default)]
    pub compression: bool,
    /// How long the upgrade may take. Default: 2s.
    #[serde(default = "handshake_timeout")]
    pub handshake_timeout: Duration,
    /// User of those who give no credentials here. Default: `authorization.no_auth_user`.
    #[serde(default)]
    pub no_auth_user: Option<String>,
    /// Cookie that carries the user's JWT.
    #[serde(default)]
    pub jwt_cookie: Option<String>,
    /// Cookie that carries the user's name.
    #[serde(default)]
    pub user_cookie: Option<String>,
    /// Cookie that carries the user's password.
    #[serde(default)]
    pub pass_cookie: Option<String>,
    /// Cookie that carries a token.
    #[serde(default)]
    pub token_cookie: Option<String>,
}

/// How long the upgrade may take unless it is said.
pub const HANDSHAKE_TIMEOUT: Duration = Duration(std::time::Duration::from_secs(2));

fn handshake_timeout() -> Duration {
    HANDSHAKE_TIMEOUT
}
