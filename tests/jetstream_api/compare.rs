//! What counts as the same answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Values that depend on the time of the test.
const TIMES: [&str; 8] =
    ["ts", "created", "pinned_ts", "first_ts", "last_ts", "time", "last_active", "Nats-Time-Stamp"];
/// Sizes that each server counts in its own way.
const SIZES: [&str; 3] = ["storage", "memory", "pause_remaining"];

/// What each server makes up.
const IDS: [&str; 3] = ["Nats-Pin-Id", "pinned_client_id", "Nats-Stream-Identity"];

/// One way in which two answers differ.
#[derive(Debug)]
pub struct Difference {
    /// Where, as `error.description`.
    pub path: String,
    /// What leafd says.
    pub ours: Value,
    /// What nats-server says.
    pub theirs: Value,
}

/// An answer without what may differ.
pub fn normal(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, value)| normal_field(key, value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        other => other,
    }
}

fn normal_field(key: String, value: Value) -> (String, Value) {
    let value = match &value {
        Value::String(text) if TIMES.contains(&key.as_str()) => match text.starts_with("0001-") {
            true => json!("no time"),
            false => json!("a time"),
        },
        Value::String(_) if IDS.contains(&key.as_str()) => json!("an id"),
        // Where the chunks of a restore go; its last token is made up.
        Value::String(to) if key == "deliver_subject" && to.starts_with("$JS.SNAPSHOT.RESTORE.") => {
            json!(to.rsplit_once('.').map(|(to, _)| to))
        }
        Value::Number(size) if SIZES.contains(&key.as_str()) => json!(size.as_u64().is_some_and(|size| size > 0)),
        // The rest of the text is the JSON parser's.
        Value::String(text) if key == "description" && text.starts_with("invalid JSON") => json!("invalid JSON"),
        Value::String(text) if text.starts_with("consumer's stream identity") => json!("another stream"),
        Value::String(block) if key == "hdrs" => header_lines(block),
        _ => normal(value),
    };
    (key, value)
}

/// The lines of a header block, sorted: the client sends headers in any order.
fn header_lines(block: &str) -> Value {
    let block = STANDARD.decode(block).expect("base64");
    let mut lines: Vec<_> = String::from_utf8_lossy(&block).lines().map(str::to_owned).collect();
    lines.sort();
    json!(lines)
}

/// How two answers differ.
pub fn differences(ours: &Value, theirs: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), ours, theirs, &mut found);
    found
}

fn walk(path: String, ours: &Value, theirs: &Value, found: &mut Vec<Difference>) {
    match (ours, theirs) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (ours, theirs)) in a.iter().zip(b).enumerate() {
                walk(format!("{path}[{at}]"), ours, theirs, found);
            }
        }
        _ if ours == theirs => {}
        // Codes and text of an error are one thing.
        (Value::Object(a), Value::Object(_)) if a.contains_key("err_code") => {
            found.push(Difference { path, ours: ours.clone(), theirs: theirs.clone() });
        }
        (Value::Object(a), Value::Object(b)) => walk_fields(&path, a, b, found),
        _ => found.push(Difference { path, ours: ours.clone(), theirs: theirs.clone() }),
    }
}

fn walk_fields(path: &str, ours: &Map<String, Value>, theirs: &Map<String, Value>, found: &mut Vec<Difference>) {
    // An answer beside an error differs in everything; once is enough.
    if ours.contains_key("error") != theirs.contains_key("error") {
        let show = |fields: &Map<String, Value>| fields.get("error").cloned().unwrap_or_else(|| json!("(no error)"));
        return found.push(Difference { path: format!("{path}.error"), ours: show(ours), theirs: show(theirs) });
    }
    let absent = json!("(absent)");
    let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
    for key in keys {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(path, ours.get(key).unwrap_or(&absent), theirs.get(key).unwrap_or(&absent), found);
    }
}
