//! `mappings`: rewrites of subjects, of an account or of `$G`.

use super::super::{Entry, Kind, Value};
use super::reader::{Findings, set};
use toml::{Table, Value as Toml};

/// The block as leafd's `[mappings]`.
pub(super) fn mappings(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        let target = match &e.value.kind {
            Kind::String(subject) => Some(Toml::from(subject.as_str())),
            Kind::Array(items) => {
                let all: Option<Vec<Toml>> = items.iter().map(|item| destination(item, findings)).collect();
                all.map(Toml::Array)
            }
            _ => destination(&e.value, findings),
        };
        if let Some(target) = target {
            table.insert(e.key.clone(), target);
        }
    }
    Some(table)
}

fn destination(value: &Value, findings: &mut Findings) -> Option<Toml> {
    let mut table = Table::new();
    for e in findings.map_of("mappings", value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "dest" | "destination" => set(&mut table, "destination", findings.text(e)),
            "weight" => set(&mut table, "weight", weight(e, findings)),
            "cluster" => set(&mut table, "cluster", findings.text(e)),
            _ => findings.error(&e.at, format!("unknown field `{}` in a mapping", e.key)),
        }
    }
    for needed in ["destination", "weight"] {
        if !table.contains_key(needed) {
            findings.error(&value.at, format!("a mapping needs its `{needed}`"));
            return None;
        }
    }
    Some(Toml::Table(table))
}

/// Percent, with or without the sign.
fn weight(entry: &Entry, findings: &mut Findings) -> Option<i64> {
    let weight = match &entry.value.kind {
        Kind::String(text) => text.strip_suffix('%').unwrap_or(text).parse().ok(),
        Kind::Integer(number) => Some(*number),
        _ => None,
    };
    let weight = weight.filter(|weight| (0..=100).contains(weight));
    if weight.is_none() {
        findings.error(&entry.value.at, "`weight` must be a number from 0 to 100, or a percentage");
    }
    weight
}
