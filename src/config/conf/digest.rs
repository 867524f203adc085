//! The digest by which a configuration is told from another (nats-server `conf/parse.go`, `configDigest`).

use super::value::{Kind, Value};
use serde_json::Value as Json;
use time::format_description::well_known::Rfc3339;

/// Of what a file in nats-server's language says: SHA-256 of its JSON as Go writes it, so that it is nats-server's of the
/// same file.
pub fn of_tree(tree: &Value) -> String {
    of_json(&json(tree))
}

/// `sha256:` and the hash of the value's JSON, keys in order, a line end behind it.
pub fn of_json(value: &Json) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => text += &format!("\\u{:04x}", u32::from(c)),
            c => text.push(c),
        }
    }
    text.push('\n');
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn json(value: &Value) -> Json {
    match &value.kind {
        Kind::Map(map) => {
            map.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect::<serde_json::Map<_, _>>().into()
        }
        Kind::Array(items) => items.iter().map(json).collect(),
        Kind::String(text) => text.as_str().into(),
        Kind::Integer(number) => (*number).into(),
        // Go writes no fraction where there is none.
        Kind::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => (*number as i64).into(),
        Kind::Float(number) => (*number).into(),
        Kind::Bool(flag) => (*flag).into(),
        Kind::DateTime(time) => time.format(&Rfc3339).unwrap_or_default().into(),
    }
}
