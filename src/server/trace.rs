//! Protocol lines in the log at level `trace`, in the form of nats-server's `-V`:
//! `127.0.0.1:50832 - cid:7 - <<- [PUB a 5]`. Passwords and tokens are left out.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use tracing::level_filters::LevelFilter;

/// Longest part of a line or payload that is logged.
const LONGEST: usize = 4096;
/// Keys of CONNECT whose value nobody may read in a log.
const SECRETS: [&str; 3] = ["pass", "auth_token", "sig"];

/// A connection as lines name it.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub peer: SocketAddr,
    pub id: u64,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - cid:{}", self.peer, self.id)
    }
}

/// Whether lines are logged at all: one load, for the path of messages.
pub(super) fn on() -> bool {
    LevelFilter::current() == LevelFilter::TRACE
}

/// What the client has sent: one operation, its payload included.
pub(super) fn inbound(label: Label, operation: &[u8]) {
    let (line, payload) = split(operation);
    match without_secrets(line) {
        Some(line) => tracing::trace!("{label} - <<- [{line}]"),
        None => tracing::trace!("{label} - <<- [{}]", text(line)),
    }
    if !payload.is_empty() {
        tracing::trace!("{label} - <<- MSG_PAYLOAD: [{:?}]", text(payload));
    }
}

/// What the client is sent.
pub(super) fn outbound(label: Label, operation: &[u8]) {
    let (line, payload) = split(operation);
    tracing::trace!("{label} - ->> [{}]", text(line));
    if !payload.is_empty() {
        tracing::trace!("{label} - ->> MSG_PAYLOAD: [{:?}]", text(payload));
    }
}

/// The line, and what follows it, without the line ends.
fn split(operation: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', operation).unwrap_or(operation.len());
    let payload = operation.get(end + 1..).unwrap_or_default();
    (operation[..end].trim_ascii(), payload.strip_suffix(b"\r\n").unwrap_or(payload))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)])
}

/// CONNECT with its secrets masked; `None` if it is another operation.
fn without_secrets(line: &[u8]) -> Option<String> {
    let (verb, json) = line.split_at_checked("CONNECT".len())?;
    verb.eq_ignore_ascii_case(b"CONNECT").then_some(())?;
    let Ok(serde_json::Value::Object(mut options)) = serde_json::from_slice(json) else {
        // Whatever it is, it may hold a secret.
        return Some("CONNECT [not JSON]".into());
    };
    for secret in SECRETS {
        if let Some(value) = options.get_mut(secret) {
            *value = "[REDACTED]".into();
        }
    }
    Some(format!("CONNECT {}", serde_json::Value::Object(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_the_log() {
        let line = br#"connect {"user":"u","pass":"s3cret","auth_token":"t0ken","verbose":false}"#;
        let shown = without_secrets(line).expect("a CONNECT");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken") && shown.contains("\"user\":\"u\""), "{shown}");
        assert!(!without_secrets(b"CONNECT {\"pass\":\"s3cret\"").expect("a CONNECT").contains("s3cret"));
        assert_eq!(without_secrets(b"PUB pass 1"), None);
        assert_eq!(without_secrets(b"PING"), None);
    }

    #[test]
    fn operations_are_split_at_their_line() {
        assert_eq!(split(b"PUB a 5\r\nhello\r\n"), (&b"PUB a 5"[..], &b"hello"[..]));
        assert_eq!(split(b"PING\r\n"), (&b"PING"[..], &b""[..]));
    }
}
