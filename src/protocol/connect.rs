//! CONNECT: what a client says of itself (nats-server `client.go`, `ClientOpts`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The client's side of the handshake. Unknown fields are ignored, as clients add their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Answer each operation with `+OK`.
    pub verbose: bool,
    /// Check subjects strictly.
    pub pedantic: bool,
    /// The client wants TLS.
    pub tls_required: bool,
    /// Name the application gave itself.
    pub name: String,
    /// Client library's language.
    pub lang: String,
    /// Client library's version.
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
    /// An account that the client would like to be in; nats-server knew it once, and refuses it now.
    pub account: Option<String>,
    /// Whether that account should be made; likewise.
    pub new_account: bool,
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
            account: None,
            new_account: false,
        }
    }
}

impl Connect {
    /// Reads one. What it leaves out stays as it was in the one `before`, as nats-server reads each into the same place.
    ///
    /// # Errors
    /// It is no JSON object, or a member has a wrong type.
    pub fn read(json: &[u8], before: Option<&Connect>) -> Result<Connect, serde_json::Error> {
        let said: Option<Map<String, Value>> = serde_json::from_slice(json)?;
        let before = before.map_or_else(|| serde_json::to_value(Connect::default()), serde_json::to_value)?;
        let mut members = Map::new();
        let said = said.into_iter().flatten();
        for (name, value) in before.as_object().cloned().into_iter().flatten().chain(said) {
            // As Go reads it: names in any case, and what is null, as async-nats sends a name that is not set, stays.
            if !value.is_null() {
                members.insert(name.to_ascii_lowercase(), value);
            }
        }
        serde_json::from_value(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_one_changes_only_what_it_names() {
        let first = Connect::read(br#"{"verbose":false,"user":"a","pass":"p","name":null}"#, None).expect("valid");
        let second = Connect::read(br#"{"pass":"q","headers":true}"#, Some(&first)).expect("valid");
        assert!(!second.verbose && second.headers && second.echo);
        assert_eq!((second.user.as_deref(), second.pass.as_deref()), (Some("a"), Some("q")));
        assert!(!Connect::read(br#"{"Verbose":false,"echo":null}"#, None).expect("valid").verbose);
        assert!(Connect::read(b"null", None).expect("valid").verbose);
        assert!(Connect::read(b"[]", None).is_err() && Connect::read(b"[]", Some(&first)).is_err());
        assert!(Connect::read(b"{", None).is_err());
    }
}
