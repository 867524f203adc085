//! Protocol lines in the log at level `trace`, in the form of nats-server's `-V` (`client.go`, `traceOp`):
//! `127.0.0.1:50832 - cid:7 - "v1.2:rust:app" - <<- [PUB a 5]`. Passwords and tokens are left out.

use super::label::Label;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt::{self, Write};
use tracing::level_filters::LevelFilter;

/// Longest part of a line or payload that is logged.
const LONGEST: usize = 4096;
/// Keys of CONNECT whose value nobody may read in a log.
const SECRETS: [&str; 3] = ["pass", "auth_token", "sig"];

/// Whether lines are logged at all: one load, for the path of messages.
pub(super) fn on() -> bool {
    LevelFilter::current() == LevelFilter::TRACE
}

/// What the client has sent: one operation, its payload included.
pub(super) fn inbound(label: Label<'_>, operation: &[u8]) {
    let (line, payload) = split(operation);
    match without_secrets(line) {
        Some(line) => tracing::trace!("{label} - <<- [{line}]"),
        None => tracing::trace!("{label} - <<- [{}]", text(line)),
    }
    if !payload.is_empty() {
        tracing::trace!("{label} - <<- MSG_PAYLOAD: [{}]", Quoted(payload));
    }
}

/// What the client is sent. Of INFO nats-server says nothing, and of what it refuses not the quotes.
pub(super) fn outbound(label: Label<'_>, operation: &[u8]) {
    let (line, payload) = split(operation);
    let line = text(line);
    match &*line {
        info if info.starts_with("INFO ") => return,
        "+OK" => tracing::trace!("{label} - ->> [OK]"),
        line => match line.strip_prefix("-ERR '").and_then(|line| line.strip_suffix('\'')) {
            Some(error) => tracing::trace!("{label} - ->> [-ERR {error}]"),
            None => tracing::trace!("{label} - ->> [{line}]"),
        },
    }
    if !payload.is_empty() {
        tracing::trace!("{label} - ->> MSG_PAYLOAD: [{}]", Quoted(payload));
    }
}

/// A subscription of the client has ended.
pub(super) fn ended(label: Label<'_>, sid: &str) {
    tracing::trace!("{label} - <-> [DELSUB {sid}]");
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

/// Bytes in quotes as Go's `%q` writes them.
pub(super) struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.0[..self.0.len().min(LONGEST)].utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    '\x07' => f.write_str("\\a")?,
                    '\x08' => f.write_str("\\b")?,
                    '\x0b' => f.write_str("\\v")?,
                    '\x0c' => f.write_str("\\f")?,
                    '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                    '\0'..=' ' | '\x7f' if c != ' ' => write!(f, "\\x{:02x}", u32::from(c))?,
                    '\'' => f.write_char(c)?,
                    // What is escaped here is what cannot be printed.
                    _ if c.escape_debug().len() == 1 => f.write_char(c)?,
                    '\0'..='\u{ffff}' => write!(f, "\\u{:04x}", u32::from(c))?,
                    _ => write!(f, "\\U{:08x}", u32::from(c))?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

/// CONNECT with its secrets masked, in its order; `None` if it is another operation.
fn without_secrets(line: &[u8]) -> Option<String> {
    let (verb, json) = line.split_at_checked("CONNECT".len())?;
    verb.eq_ignore_ascii_case(b"CONNECT").then_some(())?;
    let Ok(options) = serde_json::Deserializer::from_slice(json).deserialize_map(Options) else {
        // Whatever it is, it may hold a secret.
        return Some("CONNECT [not JSON]".into());
    };
    let options: Vec<String> = options
        .into_iter()
        .map(|(key, value)| match SECRETS.iter().any(|secret| key.eq_ignore_ascii_case(secret)) {
            true => format!("{}:\"[REDACTED]\"", Value::from(key)),
            false => format!("{}:{value}", Value::from(key)),
        })
        .collect();
    Some(format!("CONNECT {{{}}}", options.join(",")))
}

/// Reads an object's fields in the order in which they are there.
struct Options;

impl<'de> Visitor<'de> for Options {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_the_log() {
        let line = br#"connect {"user":"u","pass":"s3cret","auth_token":"t0ken","verbose":false}"#;
        let shown = without_secrets(line).expect("a CONNECT");
        let want = r#"CONNECT {"user":"u","pass":"[REDACTED]","auth_token":"[REDACTED]","verbose":false}"#;
        assert_eq!(shown, want);
        assert!(!without_secrets(b"CONNECT {\"pass\":\"s3cret\"").expect("a CONNECT").contains("s3cret"));
        assert_eq!(without_secrets(b"PUB pass 1"), None);
        assert_eq!(without_secrets(b"PING"), None);
    }

    #[test]
    fn operations_are_split_at_their_line() {
        assert_eq!(split(b"PUB a 5\r\nhello\r\n"), (&b"PUB a 5"[..], &b"hello"[..]));
        assert_eq!(split(b"PING\r\n"), (&b"PING"[..], &b""[..]));
    }

    #[test]
    fn bytes_are_quoted_as_go_does() {
        let bytes = b"a \"b'\\\r\n\t\x00\x01\x07\x08\x0b\x0c\x7f \xff \xc3\xa9 \xe2\x80\x8b \xf3\xa0\x80\x81";
        let want = r#""a \"b'\\\r\n\t\x00\x01\a\b\v\f\x7f \xff é \u200b \U000e0001""#;
        assert_eq!(Quoted(bytes).to_string(), want);
    }
}
