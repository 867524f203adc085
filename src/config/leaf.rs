//! `[[leaf.remote]]` and `[leaf.listen]`: the link to the hub, and leaf connections that others make to us.

use super::compression::{Compression, CompressionLevel, CompressionMode};
use super::proxy::ProxyConfig;
use super::secret::Secret;
use super::units::{ByteSize, Duration};
use super::uplink::status_interval;
use crate::account::GLOBAL_ACCOUNT;
use serde::Deserialize;
use std::path::PathBuf;

/// `[leaf]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeafConfig {
    /// Hubs to dial.
    pub remote: Vec<RemoteConfig>,
    /// Where others may connect as leaf nodes; absent: nowhere.
    pub listen: Option<ListenConfig>,
}

/// What the URL of a remote may begin with.
pub const URL_SCHEMES: [&str; 6] = ["tls", "nats-leaf", "nats", "leaf", "wss", "ws"];

/// One hub: `[[leaf.remote]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Name in status, log lines and `[[uplink]] remote`.
    pub name: String,
    /// `tls://host:port`, or `nats-leaf://` and `nats://` for plain TCP (TLS if the hub asks for it), or
    /// `wss://` and `ws://` for the hub's websocket port. Default port 7422.
    pub urls: Vec<String>,
    /// The account that is joined to the hub's.
    #[serde(default = "account")]
    pub account: String,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of `user`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A token instead of user and password.
    #[serde(default)]
    pub token: Option<Secret>,
    /// An nkey seed (`SU...`), which signs the hub's nonce.
    #[serde(default)]
    pub nkey: Option<Secret>,
    /// A credentials file with a user JWT and its seed; read again at every dial.
    #[serde(default)]
    pub creds: Option<PathBuf>,
    /// TLS; absent: the system's certificate authorities.
    #[serde(default)]
    pub tls: RemoteTls,
    /// How WebSocket is spoken, with `ws://` and `wss://`.
    #[serde(default)]
    pub websocket: RemoteWebSocket,
    /// Through what the hub is dialled; absent: straight.
    #[serde(default)]
    pub proxy: Option<ProxyConfig>,
    /// How long TCP may take; the addresses of a name are tried in turn within it.
    #[serde(default = "dial_timeout")]
    pub dial_timeout: Duration,
    /// How long the hub's INFO may take.
    #[serde(default = "first_info_timeout")]
    pub first_info_timeout: Duration,
    /// Subjects that may cross to the hub as live traffic. Nothing listed, nothing crosses.
    #[serde(default)]
    pub export: Vec<String>,
    /// Subjects that may come from the hub. Nothing listed, nothing comes.
    #[serde(default)]
    pub import: Vec<String>,
    /// Subjects that never cross to the hub, though `export` lists them.
    #[serde(default)]
    pub deny_export: Vec<String>,
    /// Subjects that never come from the hub, though `import` lists them; the hub is told.
    #[serde(default)]
    pub deny_import: Vec<String>,
    /// First tokens of reply subjects. What answers a request crosses without being listed: a subscription below one of
    /// these is announced to the other side, and only to such a subscription, never to a wider one, replies are sent.
    #[serde(default = "reply_prefixes")]
    pub reply_prefixes: Vec<String>,
    /// Whether bytes are paid for: pings are rare then, and what crosses is compressed as far as it goes.
    #[serde(default)]
    pub metered: bool,
    /// How often a ping goes out; after three intervals of silence the link is taken down. Default: 5s, 40s if metered.
    #[serde(default)]
    pub ping_interval: Option<Duration>,
    /// Compression of the link, by S2. Default: `s2_auto`, `s2_best` if metered.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// Pause between dials.
    #[serde(default)]
    pub reconnect: Reconnect,
    /// Bytes of live traffic that may wait for a slow link; what comes above it is dropped and counted.
    #[serde(default = "max_pending")]
    pub max_pending: ByteSize,
    /// Whether the URLs are dialled in the order in which they stand here; else in one that is drawn at the start.
    #[serde(default)]
    pub no_randomize: bool,
    /// Whether we take the part of the hub on a link that we dial: what other hubs want is asked for here as well.
    #[serde(default)]
    pub hub: bool,
    /// Whether the hub is not told what leaf nodes of ours want.
    #[serde(default)]
    pub isolate: bool,
    /// Whether we ask the hub not to tell us what its other leaf nodes want.
    #[serde(default)]
    pub request_isolation: bool,
    /// Whether the addresses of further hub nodes, as the hub announces them, are dialled too.
    #[serde(default)]
    pub discover: bool,
    /// A key-value bucket at the hub that is told how the mirrors and sources of the account stand. Default: none.
    #[serde(default)]
    pub status_bucket: Option<String>,
    /// How often at most, while only numbers change. Default: 1m.
    #[serde(default = "status_interval")]
    pub status_interval: Duration,
}

impl RemoteConfig {
    /// How often a ping goes out. Idle, a metered link costs less than 1 MB a day, TCP and TLS included.
    pub fn ping_interval(&self) -> std::time::Duration {
        let usual = std::time::Duration::from_secs(if self.metered { 40 } else { 5 });
        self.ping_interval.map_or(usual, |interval| interval.0)
    }

    /// Whether a connection that was made by these settings can go on by `new`, if its URL is still there: what differs is
    /// settled on our side alone.
    pub fn connects_as(&self, new: &RemoteConfig) -> bool {
        let renewed = RemoteConfig {
            urls: new.urls.clone(),
            export: new.export.clone(),
            import: new.import.clone(),
            deny_export: new.deny_export.clone(),
            reply_prefixes: new.reply_prefixes.clone(),
            dial_timeout: new.dial_timeout,
            first_info_timeout: new.first_info_timeout,
            reconnect: new.reconnect,
            no_randomize: new.no_randomize,
            discover: new.discover,
            status_bucket: new.status_bucket.clone(),
            status_interval: new.status_interval,
            ..self.clone()
        };
        renewed == *new
    }

    /// How the link is compressed.
    pub fn compression(&self) -> Compression {
        let usual = if self.metered { CompressionMode::Level(CompressionLevel::Best) } else { CompressionMode::Auto };
        self.compression.clone().unwrap_or_else(|| Compression::of(usual))
    }
}

/// `tls` of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteTls {
    /// PEM file of the certificate authorities that sign the hub; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// Name to check in the hub's certificate; absent: the host of the URL.
    pub server_name: Option<String>,
    /// SHA-256 of the public keys, in hexadecimal, of which the hub's certificate must have one; empty: any.
    pub pinned_certs: Vec<String>,
    /// TLS before the hub's INFO (`handshake_first` at the hub).
    pub handshake_first: bool,
}

/// `websocket` of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWebSocket {
    /// Messages are compressed by permessage-deflate if the hub grants it; the link is not compressed by S2 then.
    pub compression: bool,
    /// What we send is not masked if the hub grants it: less work, where no proxy of HTTP is in between.
    pub no_masking: bool,
}

/// `reconnect` of a remote: the pause doubles from `min` to `max` and is drawn at random below that (full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconnect {
    /// Bound of the first pause.
    pub min: Duration,
    /// Bound of the longest pause.
    pub max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Reconnect {
            min: Duration(std::time::Duration::from_millis(250)),
            max: Duration(std::time::Duration::from_secs(30)),
        }
    }
}

/// `[leaf.listen]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Host to listen on, a name or an address.
    #[serde(default = "listen_host")]
    pub host: String,
    /// Port; 0 lets the kernel choose.
    #[serde(default = "listen_port")]
    pub port: u16,
    /// TLS; absent: plain.
    #[serde(default)]
    pub tls: Option<ListenTls>,
    /// Compression, by S2.
    #[serde(default)]
    pub compression: Compression,
    /// Who may connect; empty: whoever may as a client, with the same permissions.
    #[serde(default)]
    pub users: Vec<LeafUser>,
    /// The one public nkey that may connect, instead of users.
    #[serde(default)]
    pub nkey: Option<String>,
    /// The account of `nkey`, of users that name none, and of leafs that need no credentials. Default: `$G`.
    #[serde(default)]
    pub account: Option<String>,
    /// Whether leafs are not told what other leafs want.
    #[serde(default)]
    pub isolate: bool,
}

/// `tls` of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// PEM file of our certificate chain.
    pub cert_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
    /// Authorities of client certificates; set: a certificate is required.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// SHA-256 of the public keys, in hexadecimal, of which a leaf's certificate must have one; empty: any.
    #[serde(default)]
    pub pinned_certs: Vec<String>,
    /// TLS before our INFO.
    #[serde(default)]
    pub handshake_first: bool,
}

/// A user of the listener.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafUser {
    /// User name.
    pub user: String,
    /// Password; plain, or its bcrypt hash.
    pub password: Secret,
    /// The account that this leaf is joined to. Default: that of the listener.
    #[serde(default)]
    pub account: Option<String>,
    /// Subjects that this leaf may send; absent: all.
    #[serde(default)]
    pub publish: Option<Vec<String>>,
    /// Subjects that this leaf may receive; absent: all.
    #[serde(default)]
    pub subscribe: Option<Vec<String>>,
}

fn reply_prefixes() -> Vec<String> {
    ["_INBOX", "_R_", "_GR_"].map(String::from).to_vec()
}

fn account() -> String {
    GLOBAL_ACCOUNT.into()
}

fn dial_timeout() -> Duration {
    Duration(std::time::Duration::from_secs(10))
}

fn first_info_timeout() -> Duration {
    Duration(std::time::Duration::from_secs(5))
}

fn max_pending() -> ByteSize {
    ByteSize(8 << 20)
}

fn listen_host() -> String {
    "127.0.0.1".into()
}

fn listen_port() -> u16 {
    7422
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_with_its_defaults() {
        let text = "[[remote]]\nname = \"hub\"\nurls = [\"tls://h:7422\"]\nuser = \"gw1\"\npassword = { env = \"P\" }\nexport = [\"a.>\"]";
        let config: LeafConfig = toml::from_str(text).expect("valid");
        let remote = &config.remote[0];
        assert_eq!(remote.ping_interval().as_secs(), 5);
        assert_eq!(remote.compression().mode, CompressionMode::Auto);
        let metered: LeafConfig = toml::from_str(&format!("{text}\nmetered = true")).expect("valid");
        let metered = &metered.remote[0];
        assert_eq!((metered.ping_interval().as_secs(), metered.compression().mode.name()), (40, "s2_best"));
        assert_eq!(remote.reconnect.max.0.as_secs(), 30);
        assert!(remote.import.is_empty() && !remote.tls.handshake_first);
        assert!(toml::from_str::<LeafConfig>("[[remote]]\nname = \"h\"\nurl = \"x\"").is_err());
    }
}
