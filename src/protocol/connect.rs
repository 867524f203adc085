//! CONNECT: what a client says of itself (nats-server `client.go`, `ClientOpts`).

use serde::Deserialize;

/// The client's side of the handshake. Unknown fields are ignored, as clients add their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Answer each operation with `+OK`.
    pub verbose: bool,
    /// Check subjects strictly.
    pub pedantic: bool,
    /// The client wants TLS.
    pub tls_required: bool,
    /// Name the application gave itself.
    #[serde(deserialize_with = "null_as_empty")]
    pub name: String,
    /// Client library's language.
    #[serde(deserialize_with = "null_as_empty")]
    pub lang: String,
    /// Client library's version.
    #[serde(deserialize_with = "null_as_empty")]
    pub version: String,
    /// 1: understands asynchronous INFO.
    pub protocol: i32,
    /// Whether its own messages come back to it.
    pub echo: bool,
    /// Understands HMSG.
    pub headers: bool,
    /// Wants a 503 when nobody listens on a request's subject; needs `headers`.
    pub no_responders: bool,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Token.
    pub auth_token: Option<String>,
    /// User JWT.
    pub jwt: Option<String>,
    /// Public nkey.
    pub nkey: Option<String>,
    /// Signature of the nonce.
    pub sig: Option<String>,
}

/// Reads `null`, which async-nats sends for a name that is not set, as Go does.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::<String>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Default for Connect {
    fn default() -> Self {
        Connect {
            verbose: true,
            pedantic: true,
            tls_required: false,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            protocol: 0,
            echo: true,
            headers: false,
            no_responders: false,
            user: None,
            pass: None,
            auth_token: None,
            jwt: None,
            nkey: None,
            sig: None,
        }
    }
}
