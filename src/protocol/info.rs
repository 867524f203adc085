//! INFO: what the server says of itself when a client connects (nats-server `server.go`, `Info`).

use serde::Serialize;

/// The server's side of the handshake.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Info {
    /// Unique id of this process, an nkey-like string.
    pub server_id: String,
    /// The configured name.
    pub server_name: String,
    /// nats-server version whose behaviour is implemented.
    pub version: String,
    /// Protocol level: 1 knows asynchronous INFO.
    pub proto: u8,
    /// Build identification.
    pub git_commit: String,
    /// Kept for clients that print it.
    pub go: String,
    /// Host of the listener.
    pub host: String,
    /// Port of the listener.
    pub port: u16,
    /// Whether HPUB and HMSG are understood.
    pub headers: bool,
    /// Largest message, bytes of headers and payload.
    pub max_payload: usize,
    /// Whether JetStream is on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub jetstream: bool,
    /// Whether TLS must follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_required: bool,
    /// Whether the client must show a certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_verify: bool,
    /// Whether TLS may follow.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls_available: bool,
    /// Whether CONNECT must say who the client is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auth_required: bool,
    /// Number of the connection.
    pub client_id: u64,
    /// Address of the client as the server sees it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_ip: String,
    /// What a client with an nkey has to sign.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// JetStream domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Set in the INFO that answers a client's first PING.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub connect_info: bool,
    /// The account that the client is in; with `connect_info`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remote_account: String,
    /// Whether that is the system account.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acc_is_sys: bool,
    /// Set before a lame-duck shutdown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ldm: bool,
    /// JetStream API level.
    pub api_lvl: u16,
    /// Public curve key of this process.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub xkey: String,
}

impl Info {
    /// The line as sent, CRLF included.
    pub fn line(&self) -> Vec<u8> {
        let mut line = b"INFO ".to_vec();
        // A struct of strings and numbers always serialises.
        let _ = serde_json::to_writer(&mut line, self);
        line.extend_from_slice(b"\r\n");
        line
    }
}
