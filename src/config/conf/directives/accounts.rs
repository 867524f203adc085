//! `accounts`: what each shares, may use, and who belongs to it.

use super::super::{Entry, Kind, Value};
use super::mappings::mappings;
use super::reader::{Findings, set};
use super::users::{permissions, users};
use toml::{Table, Value as Toml};

/// The block as leafd's `[accounts]`.
pub(super) fn accounts(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    if let Kind::Array(_) = entry.value.kind {
        for name in findings.texts(entry)? {
            reserved(&name, entry, findings);
            table.insert(name, Table::new().into());
        }
        return Some(table);
    }
    for e in findings.map(entry)?.iter().filter(|e| !e.used) {
        reserved(&e.key, e, findings);
        if let Some(account) = account(e, findings) {
            table.insert(e.key.clone(), account.into());
        }
    }
    Some(table)
}

fn reserved(name: &str, entry: &Entry, findings: &mut Findings) {
    if name == "$G" {
        findings.error(&entry.at, "\"$G\" is a reserved account");
    }
}

fn account(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "nkey" => set(&mut table, "nkey", findings.text(e)),
            "imports" => set(&mut table, "imports", list(e, findings, import)),
            "exports" => set(&mut table, "exports", list(e, findings, export)),
            "jetstream" => set(&mut table, "jetstream", jetstream(e, findings)),
            "users" => set(&mut table, "users", users(e, findings)),
            "default_permissions" => set(&mut table, "default_permissions", permissions(e, findings)),
            "mappings" | "maps" => set(&mut table, "mappings", mappings(e, findings)),
            "limits" => set(&mut table, "limits", limits(e, findings)),
            "msg_trace" | "trace_dest" => set(&mut table, "msg_trace", msg_trace(e, findings)),
            _ => findings.unknown(e, "an account"),
        }
    }
    Some(table)
}

fn list(entry: &Entry, findings: &mut Findings, one: fn(&Value, &mut Findings) -> Option<Table>) -> Option<Toml> {
    let items = findings.array(entry)?;
    Some(Toml::Array(items.iter().filter_map(|item| one(item, findings)).map(Toml::Table).collect()))
}

/// A destination, or a map with `dest` and `sampling`, which is a percentage in figures, with `%` or without.
fn msg_trace(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    if let Kind::String(dest) = &entry.value.kind {
        set(&mut table, "dest", Some(dest.as_str()));
        return Some(table);
    }
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "dest" => set(&mut table, "dest", findings.text(e)),
            "sampling" => set(&mut table, "sampling", sampling(e, findings)),
            _ => findings.unknown(e, "`msg_trace`"),
        }
    }
    if !table.contains_key("dest") {
        findings.ignore(entry, "a sampling without a destination");
        return None;
    }
    Some(table)
}

fn sampling(entry: &Entry, findings: &mut Findings) -> Option<i64> {
    let percent = match &entry.value.kind {
        Kind::Integer(percent) => Some(*percent),
        Kind::String(text) => text.trim().strip_suffix('%').unwrap_or(text.trim()).trim().parse().ok(),
        _ => None,
    };
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    if percent.is_none() {
        findings.error(&entry.value.at, "`sampling` is a percentage from 1 to 100");
    }
    percent
}

fn limits(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        let key = match &*e.key.to_ascii_lowercase() {
            "max_connections" | "max_conn" => "max_connections",
            "max_subscriptions" | "max_subs" => "max_subscriptions",
            "max_payload" | "max_pay" => "max_payload",
            "max_leafnodes" | "max_leafs" => "max_leafnodes",
            _ => {
                findings.unknown(e, "`limits`");
                continue;
            }
        };
        set(&mut table, key, findings.bound(e));
    }
    Some(table)
}

fn jetstream(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let map = match &entry.value.kind {
        Kind::Bool(enabled) => return Some(Toml::Boolean(*enabled)),
        Kind::String(text) => match &*text.to_ascii_lowercase() {
            "enabled" | "enable" => return Some(Toml::Boolean(true)),
            "disabled" | "disable" => return Some(Toml::Boolean(false)),
            _ => {
                findings.error(&entry.value.at, "`jetstream` must be enabled, disabled or a map");
                return None;
            }
        },
        _ => findings.map(entry)?,
    };
    let mut table = Table::new();
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "max_memory" | "max_mem" | "mem" | "memory" => set(&mut table, "max_memory", findings.bound(e)),
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => set(&mut table, "max_file", findings.bound(e)),
            "max_streams" | "streams" => set(&mut table, "max_streams", findings.bound(e)),
            "max_consumers" | "consumers" => set(&mut table, "max_consumers", findings.bound(e)),
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => {
                set(&mut table, "max_bytes_required", findings.boolean(e));
            }
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => {
                set(&mut table, "memory_max_stream_bytes", findings.bound(e));
            }
            "disk_max_stream_bytes" | "store_max_stream_bytes" => {
                set(&mut table, "file_max_stream_bytes", findings.bound(e));
            }
            "max_ack_pending" => set(&mut table, "max_ack_pending", findings.bound(e)),
            "cluster_traffic" => findings.ignore(e, "a single server has no cluster traffic"),
            _ => findings.unknown(e, "`jetstream` of an account"),
        }
    }
    Some(Toml::Table(table))
}

fn export(value: &Value, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map_of("exports", value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            key @ ("stream" | "service") => set(&mut table, key, findings.text(e)),
            "accounts" => set(&mut table, "accounts", findings.texts(e)),
            "response" | "response_type" => set(&mut table, "response_type", response_type(e, findings)),
            "threshold" | "response_threshold" | "response_max_time" | "response_time" => {
                set(&mut table, "response_threshold", findings.go_duration(e));
            }
            "account_token_position" => {
                set(&mut table, "account_token_position", findings.bound(e).filter(|at| *at > 0));
            }
            "latency" => findings.ignore(e, "the latency of services is not sampled"),
            "allow_trace" => set(&mut table, "allow_trace", findings.boolean(e)),
            _ => findings.unknown(e, "an export"),
        }
    }
    let service = table.contains_key("service");
    if service == table.contains_key("stream") {
        findings.error(&value.at, "an export is either a `stream` or a `service`");
        return None;
    }
    for only in ["response_type", "response_threshold", "allow_trace"] {
        if !service && table.contains_key(only) {
            findings.error(&value.at, format!("`{only}` is only for services"));
        }
    }
    Some(table)
}

fn response_type(entry: &Entry, findings: &mut Findings) -> Option<&'static str> {
    match &*findings.text(entry)?.to_ascii_lowercase() {
        "single" | "singleton" => Some("singleton"),
        "stream" => Some("stream"),
        "chunk" | "chunked" => Some("chunked"),
        _ => {
            findings.error(&entry.value.at, "the response type must be singleton, stream or chunked");
            None
        }
    }
}

fn import(value: &Value, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map_of("imports", value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            key @ ("stream" | "service") => set(&mut table, key, source(e, findings)),
            key @ ("prefix" | "to") => set(&mut table, key, findings.text(e)),
            "share" => set(&mut table, "share", findings.boolean(e)),
            "allow_trace" => set(&mut table, "allow_trace", findings.boolean(e)),
            _ => findings.unknown(e, "an import"),
        }
    }
    if table.contains_key("service") == table.contains_key("stream") {
        findings.error(&value.at, "an import is either a `stream` or a `service`");
        return None;
    }
    if table.contains_key("allow_trace") && table.contains_key("service") {
        findings.error(&value.at, "`allow_trace` is only for imports of streams, and exports of services");
    }
    if table.contains_key("prefix") && table.contains_key("to") {
        findings.error(&value.at, "an import has either a `prefix` or a `to`");
        return None;
    }
    Some(table)
}

fn source(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            key @ ("account" | "subject") => set(&mut table, key, findings.text(e)),
            _ => findings.unknown(e, "an import"),
        }
    }
    if table.len() != 2 {
        findings.error(&entry.at, format!("`{}` needs an `account` and a `subject`", entry.key));
        return None;
    }
    Some(table)
}
