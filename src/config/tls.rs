//! `tls` of a listener: `[tls]` for clients, `[websocket.tls]`, `[http.tls]`.

use super::units::Duration;
use serde::Deserialize;
use std::path::PathBuf;

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of our certificate chain; read again at a reload.
    pub cert_file: PathBuf,
    /// PEM file of its key.
    pub key_file: PathBuf,
    /// Authorities of client certificates. Default: the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether a client must show a certificate that one of the authorities signed. Default: false.
    #[serde(default)]
    pub verify: bool,
    /// As `verify`, and the certificate names the user. Default: false.
    #[serde(default)]
    pub verify_and_map: bool,
    /// How long a handshake may take. Default: 2s.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Whether TLS begins before our INFO. Default: `false`.
    #[serde(default)]
    pub handshake_first: HandshakeFirst,
    /// Whether clients without TLS are let in too. Default: false.
    #[serde(default)]
    pub allow_non_tls: bool,
    /// Oldest version of the protocol: `1.2` or `1.3`. Default: 1.2.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// `handshake_first`: `true`, `false`, or how long a client has to begin before INFO is sent after all (`"auto"` is 50ms).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "HandshakeFirstText")]
pub enum HandshakeFirst {
    /// INFO comes first, in plain text.
    #[default]
    No,
    /// TLS comes first.
    Yes,
    /// TLS comes first where the client begins it within this time.
    Auto(Duration),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "handshake_first is true, false, \"auto\" or a duration such as \"100ms\"")]
enum HandshakeFirstText {
    Flag(bool),
    Auto(AutoWord),
    After(Duration),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum AutoWord {
    Auto,
}

impl From<HandshakeFirstText> for HandshakeFirst {
    fn from(text: HandshakeFirstText) -> Self {
        match text {
            HandshakeFirstText::Flag(false) => HandshakeFirst::No,
            HandshakeFirstText::Flag(true) => HandshakeFirst::Yes,
            HandshakeFirstText::Auto(AutoWord::Auto) => {
                HandshakeFirst::Auto(Duration(std::time::Duration::from_millis(50)))
            }
            HandshakeFirstText::After(delay) => HandshakeFirst::Auto(delay),
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

fn timeout() -> Duration {
    Duration(std::time::Duration::from_secs(2))
}
