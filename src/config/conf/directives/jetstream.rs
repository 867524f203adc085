//! `jetstream` of the server.

use super::super::{Entry, Kind};
use super::reader::{Findings, set};
use toml::Table;

/// The block, into `[jetstream]` and `data_dir` of `table`.
pub(super) fn jetstream(entry: &Entry, table: &mut Table, findings: &mut Findings) -> Option<()> {
    let map = match &entry.value.kind {
        Kind::Bool(enabled) => {
            set(table, "jetstream.enabled", Some(*enabled));
            return None;
        }
        Kind::String(text) => {
            match &*text.to_ascii_lowercase() {
                "enabled" | "enable" => set(table, "jetstream.enabled", Some(true)),
                "disabled" | "disable" => set(table, "jetstream.enabled", Some(false)),
                _ => findings.error(&entry.value.at, "`jetstream` must be enabled, disabled or a map"),
            }
            return None;
        }
        _ => findings.map(entry)?,
    };
    set(table, "jetstream.enabled", Some(true));
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "enable" | "enabled" => set(table, "jetstream.enabled", findings.boolean(e)),
            "store" | "store_dir" | "storedir" => match table.contains_key("data_dir") {
                true => findings.error(&e.at, "`store_dir` is set twice"),
                false => set(table, "data_dir", findings.text(e)),
            },
            "domain" => set(table, "jetstream.domain", findings.text(e)),
            "max_memory_store" | "max_mem_store" | "max_mem" => {
                set(table, "jetstream.max_memory", findings.size(e));
            }
            "max_file_store" | "max_file" => set(table, "jetstream.max_file", findings.size(e)),
            // Only what is published to streams with `persist_mode: async` waits for it here.
            "sync" | "sync_interval" => {
                if !matches!(&e.value.kind, Kind::String(text) if text.eq_ignore_ascii_case("always")) {
                    set(table, "jetstream.sync_interval", findings.duration(e));
                }
            }
            "key" | "ek" | "encryption_key" => set(table, "store.encryption.key", findings.text(e)),
            "prev_key" | "prev_ek" | "prev_encryption_key" => {
                set(table, "store.encryption.previous_key", findings.text(e));
            }
            "cipher" => match findings.text(e).map(|name| name.to_ascii_lowercase()).as_deref() {
                Some("chacha" | "chachapoly") => set(table, "store.encryption.cipher", Some("chacha20-poly1305")),
                Some("aes") => set(table, "store.encryption.cipher", Some("aes-256-gcm")),
                Some(_) => findings.error(&e.at, "`cipher` is \"chacha\" or \"aes\""),
                None => {}
            },
            "tpm" => findings.refuse(e, "give the key as a systemd credential, which a TPM can seal"),
            "limits" => limits(e, table, findings),
            "strict" => {
                if findings.boolean(e) == Some(false) {
                    findings.ignore(e, "requests are always read strictly");
                }
            }
            "unique_tag" | "max_outstanding_catchup" | "meta_compact" | "meta_compact_size" | "meta_compact_sync" => {
                findings.ignore(e, "it only concerns clusters");
            }
            "max_buffered_size"
            | "max_buffered_msgs"
            | "request_queue_limit"
            | "info_queue_limit"
            | "max_concurrent_io"
            | "extension_hint" => findings.ignore(e, "leafd bounds its queues itself"),
            _ => findings.unknown(e, "`jetstream`"),
        }
    }
    Some(())
}

fn limits(entry: &Entry, table: &mut Table, findings: &mut Findings) {
    let Some(map) = findings.map(entry) else { return };
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "max_ha_assets" => findings.ignore(e, "it only concerns clusters"),
            key @ ("max_ack_pending" | "max_request_batch") => {
                set(table, &format!("jetstream.limits.{key}"), findings.bound(e));
            }
            "duplicate_window" => set(table, "jetstream.limits.duplicate_window", findings.go_duration(e)),
            // 0 is the default there, and less any number.
            "default_max_consumers" => {
                let most = findings.integer(e).filter(|most| *most != 0);
                set(table, "jetstream.limits.default_max_consumers", most.map(|most| most.max(0)));
            }
            "batch" => batch(e, table, findings),
            _ => findings.unknown(e, "`limits` of `jetstream`"),
        }
    }
}

fn batch(entry: &Entry, table: &mut Table, findings: &mut Findings) {
    let Some(map) = findings.map(entry) else { return };
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            key @ ("max_inflight_per_stream" | "max_inflight_total" | "max_msgs") => {
                set(table, &format!("jetstream.limits.batch.{key}"), findings.bound(e));
            }
            "timeout" => set(table, "jetstream.limits.batch.timeout", findings.go_duration(e)),
            _ => findings.unknown(e, "`batch` of `limits` of `jetstream`"),
        }
    }
}
