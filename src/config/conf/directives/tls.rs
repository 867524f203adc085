//! `tls` blocks: of the listeners, and of what we dial.

use super::super::Entry;
use super::reader::{Findings, set};
use toml::Table;

/// `tls` of a listener, as leafd's `[tls]`.
pub(super) fn listener(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "cert_file" => set(&mut table, "cert_file", findings.text(e)),
            "key_file" => set(&mut table, "key_file", findings.text(e)),
            "ca_file" => set(&mut table, "ca_file", findings.text(e)),
            "verify" => set(&mut table, "verify", findings.boolean(e)),
            "verify_and_map" => set(&mut table, "verify_and_map", findings.boolean(e)),
            "timeout" => set(&mut table, "timeout", findings.timeout(e)),
            "min_version" => set(&mut table, "min_version", findings.text(e)),
            "handshake_first" | "first" | "immediate" => match findings_handshake_first(e, findings) {
                Some(First::Flag(flag)) => set(&mut table, "handshake_first", Some(flag)),
                Some(First::After(delay)) => set(&mut table, "handshake_first", Some(delay)),
                None => {}
            },
            "certs" | "certificates" => certificates(e, &mut table, findings),
            _ => rest(e, findings),
        }
    }
    if !table.contains_key("cert_file") || !table.contains_key("key_file") {
        findings.error(&entry.at, "`tls` of a listener needs `cert_file` and `key_file`");
        return None;
    }
    Some(table)
}

/// `tls` of a leaf remote.
pub(super) fn remote(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "cert_file" => set(&mut table, "cert_file", findings.text(e)),
            "key_file" => set(&mut table, "key_file", findings.text(e)),
            "ca_file" => set(&mut table, "ca_file", findings.text(e)),
            "handshake_first" | "first" | "immediate" => {
                let first = findings_handshake_first(e, findings);
                set(&mut table, "handshake_first", first.map(|first| !matches!(first, First::Flag(false))));
            }
            "verify" | "verify_and_map" => drop(findings.boolean(e)),
            "timeout" => findings.ignore(e, "leafd bounds the handshake itself"),
            "pinned_certs" => set(&mut table, "pinned_certs", findings.texts(e)),
            "insecure" if findings.boolean(e) == Some(true) => {
                findings.refuse(e, "leafd does not dial a hub whose certificate it does not check; name its `ca_file`");
            }
            _ => rest(e, findings),
        }
    }
    Some(table)
}

enum First {
    Flag(bool),
    After(String),
}

fn findings_handshake_first(entry: &Entry, findings: &mut Findings) -> Option<First> {
    use super::super::Kind;
    let Kind::String(text) = &entry.value.kind else { return findings.boolean(entry).map(First::Flag) };
    match &*text.to_ascii_lowercase() {
        "true" | "on" => Some(First::Flag(true)),
        "false" | "off" => Some(First::Flag(false)),
        "auto" | "auto_fallback" => Some(First::After("auto".into())),
        _ => findings.duration(entry).map(First::After),
    }
}

/// A list of certificates: leafd shows one.
fn certificates(entry: &Entry, table: &mut Table, findings: &mut Findings) {
    let Some(items) = findings.array(entry) else { return };
    let [only] = items else {
        return findings.refuse(entry, "leafd shows one certificate; leave one in the list");
    };
    let Some(map) = findings.map_of(&entry.key, only) else { return };
    for e in map.iter() {
        match &*e.key {
            "cert_file" | "key_file" => set(table, &e.key, findings.text(e)),
            _ => findings.unknown(e, "`certs`"),
        }
    }
}

/// What neither side of leafd does.
fn rest(e: &Entry, findings: &mut Findings) {
    match &*e.key.to_ascii_lowercase() {
        // Of no effect in a listener of nats-server either.
        "insecure" | "allow_insecure_cipher_suites" => drop(findings.boolean(e)),
        "cipher_suites" => findings.ignore(e, "the suites are those of rustls, all of them secure"),
        "curve_preferences" => findings.ignore(e, "the key exchanges are those of rustls"),
        "connection_rate_limit" => findings.ignore(e, "handshakes are not limited in their rate"),
        "verify_cert_and_check_known_urls" => findings.refuse(e, "it only concerns clusters"),
        "pinned_certs" => findings.refuse(e, "certificates cannot be pinned; use a `ca_file` of your own"),
        "cert_store" | "cert_match_by" | "cert_match" | "ca_certs_match" | "cert_match_skip_invalid" => {
            findings.refuse(e, "it is about the certificate store of Windows; use `cert_file` and `key_file`");
        }
        "ocsp_peer" => {
            if !matches!(e.value.kind, super::super::Kind::Bool(false)) {
                findings.refuse(e, "the revocation of client certificates is not checked by OCSP");
            }
        }
        _ => findings.unknown(e, "`tls`"),
    }
}
