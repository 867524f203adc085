//! `resolver`: where account JWTs come from.

use super::super::{Entry, Kind, Map};
use super::reader::{Findings, set};
use toml::Table;

/// A directory of our own (`type: full`), as `[authorization.resolver]`; nothing for the resolver in memory.
pub(super) fn resolver(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let (kind, map) = match &entry.value.kind {
        Kind::Map(map) => (map.get("type").and_then(|e| findings.text(e)), Some(map)),
        _ => (findings.text(entry), None),
    };
    match (&*kind?.trim().to_ascii_uppercase(), map) {
        ("MEM" | "MEMORY", _) => {}
        ("FULL", Some(map)) => return Some(full(entry, map, findings)),
        ("CACHE", Some(_)) => {
            findings.refuse(entry, "leafd keeps all accounts it knows: `type: full`, or `resolver: MEMORY`")
        }
        _ => findings.refuse(entry, "accounts come from memory or a directory: `resolver: MEMORY`, or `type: full`"),
    }
    None
}

fn full(entry: &Entry, map: &Map, findings: &mut Findings) -> Table {
    let mut table = Table::new();
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "type" => {}
            "dir" => set(&mut table, "dir", findings.text(e)),
            key @ ("allow_delete" | "hard_delete") => set(&mut table, key, findings.boolean(e)),
            "limit" => set(&mut table, "limit", findings.bound(e).filter(|limit| *limit > 0)),
            "ttl" => findings.error(&e.at, "FULL does not accept ttl"),
            "interval" => findings.ignore(e, "leafd is a single server, with no other to compare accounts with"),
            "timeout" => findings.ignore(e, "leafd asks no other server for accounts"),
            _ => findings.unknown(e, "`resolver`"),
        }
    }
    if !table.contains_key("dir") {
        findings.error(&entry.at, "dir has no value and needs to point to a directory");
    }
    let is_set = |key: &str| table.get(key).and_then(toml::Value::as_bool) == Some(true);
    if table.contains_key("hard_delete") && !is_set("allow_delete") {
        findings.error(&entry.at, "hard_delete has no effect without delete");
    }
    table
}
