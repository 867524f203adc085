//! Users and what they may do: `users`, `permissions`, `auth_callout`.

use super::super::{Entry, Kind, Value};
use super::reader::{Findings, duration_text, go_duration, set};
use toml::{Table, Value as Toml};

/// `users` of `authorization` or of an account.
pub(super) fn users(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let items = findings.array(entry)?;
    Some(Toml::Array(items.iter().filter_map(|item| user(&entry.key, item, findings)).map(Toml::Table).collect()))
}

fn user(key: &str, value: &Value, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map_of(key, value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "nkey" => set(&mut table, "nkey", findings.text(e)),
            "user" | "username" => set(&mut table, "user", findings.text(e)),
            "pass" | "password" => set(&mut table, "password", findings.text(e)),
            "permission" | "permissions" | "authorization" => {
                set(&mut table, "permissions", permissions(e, findings));
            }
            "allowed_connection_types" | "connection_types" | "clients" => {
                set(&mut table, "allowed_connection_types", connection_types(e, findings));
            }
            "proxy_required" => proxy_required(e, findings),
            _ => findings.unknown(e, "a user"),
        }
    }
    match (table.contains_key("nkey"), table.contains_key("user"), table.contains_key("password")) {
        (false, false, _) => findings.error(&value.at, "a user needs `user` or `nkey`"),
        (true, true, _) | (true, _, true) => findings.error(&value.at, "a user with an nkey has no name and password"),
        _ => return Some(table),
    }
    None
}

/// A user that may only come through a trusted proxy would otherwise get in without it.
pub(super) fn proxy_required(entry: &Entry, findings: &mut Findings) {
    if findings.boolean(entry) == Some(true) {
        findings.refuse(entry, "leafd knows no trusted proxies");
    }
}

fn connection_types(entry: &Entry, findings: &mut Findings) -> Option<Vec<String>> {
    const KNOWN: [&str; 7] = ["STANDARD", "WEBSOCKET", "LEAFNODE", "LEAFNODE_WS", "MQTT", "MQTT_WS", "IN_PROCESS"];
    let types: Vec<String> = findings.texts(entry)?.iter().map(|text| text.to_ascii_uppercase()).collect();
    for unknown in types.iter().filter(|text| !KNOWN.contains(&text.as_str())) {
        findings.error(&entry.value.at, format!("{unknown:?} is no connection type; known are {}", KNOWN.join(", ")));
    }
    types.iter().all(|text| KNOWN.contains(&text.as_str())).then_some(types)
}

/// `permissions`, in either of nats-server's forms.
pub(super) fn permissions(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "pub" | "publish" | "import" => set(&mut table, "publish", subjects(e, findings)),
            "sub" | "subscribe" | "export" => set(&mut table, "subscribe", subjects(e, findings)),
            "publish_allow_responses" | "allow_responses" => {
                set(&mut table, "allow_responses", allow_responses(e, findings));
            }
            _ => findings.unknown(e, "`permissions`"),
        }
    }
    Some(table)
}

/// `None` where nothing is restricted: an empty map or list.
fn subjects(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let Kind::Map(map) = &entry.value.kind else {
        return findings.texts(entry).filter(|list| !list.is_empty()).map(Toml::from);
    };
    let mut table = Table::new();
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            key @ ("allow" | "deny") => {
                set(&mut table, key, findings.texts(e).filter(|list| !list.is_empty()));
            }
            _ => findings.unknown(e, "permissions of subjects, which has only `allow` and `deny`"),
        }
    }
    (!table.is_empty()).then_some(Toml::Table(table))
}

fn allow_responses(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let map = match &entry.value.kind {
        Kind::Bool(granted) => return Some(Toml::Boolean(*granted)),
        _ => findings.map(entry)?,
    };
    let mut table = Table::new();
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "max" | "max_msgs" | "max_messages" | "max_responses" => {
                set(&mut table, "max", findings.integer(e).filter(|max| *max != 0));
            }
            "expires" | "expiration" | "ttl" => set(&mut table, "expires", expires(e, findings)),
            _ => findings.unknown(e, "`allow_responses`"),
        }
    }
    Some(Toml::Table(table))
}

/// Zero is the default, a negative time never ends.
fn expires(entry: &Entry, findings: &mut Findings) -> Option<String> {
    let text = findings.text(entry)?;
    match go_duration(&text) {
        Some((true, _)) => Some("36500d".into()),
        Some((false, time)) => (!time.is_zero()).then(|| duration_text(time)),
        None => {
            findings.error(&entry.value.at, format!("`{}`: {text:?} is no duration such as \"1m\"", entry.key));
            None
        }
    }
}

/// `auth_callout`.
pub(super) fn auth_callout(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "issuer" => set(&mut table, "issuer", findings.text(e)),
            "account" | "acc" => set(&mut table, "account", findings.text(e)),
            "auth_users" | "users" => set(&mut table, "auth_users", findings.texts(e)),
            "xkey" | "key" => set(&mut table, "xkey", findings.text(e)),
            "allowed_accounts" => set(&mut table, "allowed_accounts", findings.texts(e)),
            _ => findings.unknown(e, "`auth_callout`"),
        }
    }
    for needed in ["issuer", "auth_users"] {
        if !table.contains_key(needed) {
            findings.error(&entry.at, format!("`{}` needs `{needed}`", entry.key));
            return None;
        }
    }
    Some(table)
}
