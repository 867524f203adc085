//! `leafnodes`: the listener for leaf nodes, and the hubs that are dialled.

use super::super::{Entry, Kind, Value};
use super::reader::{Findings, set};
use super::{tls, users};
use crate::config::compression::Compression;
use crate::config::percent;
use crate::config::proxy::ProxyConfig;
use serde::Deserialize;
use toml::{Table, Value as Toml};

/// The block as leafd's `[leaf]`.
pub(super) fn leafnodes(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let (mut leaf, mut listen) = (Table::new(), Table::new());
    let (mut reconnect, mut port) = (None, None);
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "listen" => {
                let (host, number) = findings.listen(e);
                set(&mut listen, "host", host);
                port = number;
            }
            "port" => port = findings.port(e),
            "host" | "net" => set(&mut listen, "host", findings.text(e)),
            "authorization" => authorization(e, &mut listen, findings),
            "tls" => set(&mut listen, "tls", listener_tls(e, findings)),
            "remotes" => set(&mut leaf, "remote", remotes(e, findings)),
            "reconnect" | "reconnect_delay" | "reconnect_interval" => reconnect = findings.duration(e),
            "dial_timeout" => findings.ignore(e, "leafd bounds dialling itself"),
            "leafnode_advertise" | "advertise" | "no_advertise" => findings.ignore(e, "no addresses are advertised"),
            "min_version" | "minimum_version" => findings.ignore(e, "leaf nodes of any version are let in"),
            "compression" => set(&mut listen, "compression", compression(e, findings)),
            "isolate_leafnode_interest" | "isolate" => set(&mut listen, "isolate", findings.boolean(e)),
            "write_deadline" | "write_timeout" => findings.ignore(e, "a leaf node that reads too slowly is cut off"),
            _ => findings.unknown(e, "`leafnodes`"),
        }
    }
    if let (Some(reconnect), Some(Toml::Array(remotes))) = (reconnect, leaf.get_mut("remote")) {
        for remote in remotes.iter_mut().filter_map(Toml::as_table_mut) {
            set(remote, "reconnect.max", Some(reconnect.as_str()));
            set(remote, "reconnect.min", Some(reconnect.as_str()));
        }
    }
    if let Some(port) = port {
        listen.entry("host").or_insert_with(|| "0.0.0.0".into());
        set(&mut listen, "port", Some(port));
        set(&mut leaf, "listen", Some(listen));
    }
    Some(leaf)
}

fn listener_tls(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let all = tls::listener(entry, findings)?;
    let mut table = Table::new();
    let verify = ["verify", "verify_and_map"].iter().any(|key| all.get(*key).and_then(Toml::as_bool) == Some(true));
    for (key, value) in all {
        match &*key {
            "cert_file" | "key_file" => drop(table.insert(key, value)),
            "ca_file" if verify => drop(table.insert(key, value)),
            "handshake_first" => match value.as_bool() {
                Some(_) => drop(table.insert(key, value)),
                None => findings.error(&entry.at, "`handshake_first` of leaf nodes is true or false"),
            },
            "verify_and_map" if value.as_bool() == Some(true) => {
                findings.error(&entry.at, "`verify_and_map` is not supported for leaf nodes: list `users`");
            }
            _ => {}
        }
    }
    if verify && !table.contains_key("ca_file") {
        findings.error(&entry.at, "`verify` of leaf nodes needs a `ca_file`");
    }
    Some(table)
}

fn authorization(entry: &Entry, listen: &mut Table, findings: &mut Findings) {
    let (mut single, mut list) = (Table::new(), Vec::new());
    let Some(map) = findings.map(entry) else { return };
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "user" | "username" => set(&mut single, "user", findings.text(e)),
            "pass" | "password" => set(&mut single, "password", findings.text(e)),
            "users" => {
                for item in findings.array(e).unwrap_or_default() {
                    list.extend(user(&e.key, item, findings));
                }
            }
            "account" => set(listen, "account", findings.text(e)),
            "nkey" => set(listen, "nkey", findings.text(e)),
            "timeout" => findings.ignore(e, "leafd bounds it itself"),
            "proxy_required" => users::proxy_required(e, findings),
            _ => findings.unknown(e, "`authorization` of `leafnodes`"),
        }
    }
    if !single.is_empty() {
        list.extend(complete(single, entry, findings));
    }
    if !list.is_empty() {
        set(listen, "users", Some(list.into_iter().map(Toml::Table).collect::<Vec<_>>()));
    }
}

fn complete(user: Table, entry: &Entry, findings: &mut Findings) -> Option<Table> {
    if user.len() < 2 {
        findings.error(&entry.at, "a leaf node's user needs `user` and `password`");
        return None;
    }
    Some(user)
}

fn user(key: &str, value: &Value, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map_of(key, value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "user" | "username" => set(&mut table, "user", findings.text(e)),
            "pass" | "password" => set(&mut table, "password", findings.text(e)),
            "account" => set(&mut table, "account", findings.text(e)),
            "proxy_required" => users::proxy_required(e, findings),
            _ => findings.unknown(e, "a leaf node's user"),
        }
    }
    if !table.contains_key("user") || !table.contains_key("password") {
        findings.error(&value.at, "a leaf node's user needs `user` and `password`");
        return None;
    }
    Some(table)
}

fn remotes(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let mut remotes = Vec::new();
    for item in findings.array(entry)? {
        if let Some(mut remote) = remote(&entry.key, item, findings) {
            let name = match remotes.len() {
                0 => "hub".to_owned(),
                n => format!("hub-{}", n + 1),
            };
            set(&mut remote, "name", Some(name));
            remotes.push(Toml::Table(remote));
        }
    }
    Some(Toml::Array(remotes))
}

/// One remote; `None` if it is wrong or disabled.
fn remote(key: &str, value: &Value, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    let (mut disabled, mut discover) = (false, true);
    for e in findings.map_of(key, value)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "url" | "urls" => urls(e, &mut table, findings),
            "account" | "local" => set(&mut table, "account", findings.text(e)),
            "creds" | "credentials" => set(&mut table, "creds", findings.text(e).map(|path| expand_path(&path))),
            "nkey" | "seed" => set(&mut table, "nkey", findings.text(e)),
            "tls" => set(&mut table, "tls", tls::remote(e, findings)),
            "disabled" => disabled = findings.boolean(e).unwrap_or_default(),
            "ignore_discovered_servers" => discover = !findings.boolean(e).unwrap_or_default(),
            "deny_imports" | "deny_import" => set(&mut table, "deny_import", findings.texts(e)),
            "deny_exports" | "deny_export" => set(&mut table, "deny_export", findings.texts(e)),
            "proxy" => set(&mut table, "proxy", proxy(e, findings)),
            "hub" => set(&mut table, "hub", findings.boolean(e)),
            "compression" => set(&mut table, "compression", compression(e, findings)),
            "no_randomize" | "dont_randomize" => set(&mut table, "no_randomize", findings.boolean(e)),
            "first_info_timeout" => set(&mut table, "first_info_timeout", findings.duration(e)),
            "dial_timeout" => set(&mut table, "dial_timeout", findings.duration(e)),
            "ws_compress" | "ws_compression" | "websocket_compress" | "websocket_compression" => {
                set(&mut table, "websocket.compression", findings.boolean(e));
            }
            "ws_no_masking" | "websocket_no_masking" => set(&mut table, "websocket.no_masking", findings.boolean(e)),
            "jetstream_cluster_migrate" | "js_cluster_migrate" => findings.ignore(e, "a single server has no cluster"),
            "isolate_leafnode_interest" | "isolate" => set(&mut table, "isolate", findings.boolean(e)),
            "request_isolation" => set(&mut table, "request_isolation", findings.boolean(e)),
            _ => findings.unknown(e, "a remote"),
        }
    }
    if !table.contains_key("urls") {
        findings.error(&value.at, "a remote needs its `urls`");
        return None;
    }
    for key in ["export", "import"] {
        set(&mut table, key, Some(vec![">"]));
    }
    set(&mut table, "discover", Some(discover));
    (!disabled).then_some(table)
}

fn proxy(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "url" => set(&mut table, "url", findings.text(e)),
            "username" => set(&mut table, "user", findings.text(e)),
            "password" => set(&mut table, "password", findings.text(e)),
            "timeout" => set(&mut table, "timeout", findings.duration(e)),
            _ => findings.unknown(e, "`proxy`"),
        }
    }
    if let Err(error) = ProxyConfig::deserialize(table.clone()) {
        findings.error(&entry.value.at, format!("`{}`: {}", entry.key, error.message()));
        return None;
    }
    Some(table)
}

/// A mode, or a map of mode and thresholds (`parseCompression`).
fn compression(entry: &Entry, findings: &mut Findings) -> Option<Toml> {
    let mut table = Table::new();
    match &entry.value.kind {
        Kind::String(mode) => set(&mut table, "mode", Some(mode.as_str())),
        Kind::Bool(on) => set(&mut table, "mode", Some(on.to_string())),
        _ => {
            for e in findings.map(entry)?.iter() {
                match &*e.key.to_ascii_lowercase() {
                    "mode" => match e.value.kind {
                        Kind::Bool(on) => set(&mut table, "mode", Some(on.to_string())),
                        _ => set(&mut table, "mode", findings.text(e)),
                    },
                    "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => {
                        set(&mut table, "rtt_thresholds", findings.texts(e));
                    }
                    _ => findings.unknown(e, "`compression`"),
                }
            }
        }
    }
    if let Err(error) = Compression::deserialize(table.clone()) {
        findings.error(&entry.value.at, format!("`{}`: {}", entry.key, error.message()));
        return None;
    }
    Some(Toml::Table(table))
}

/// Addresses; credentials in them become keys of their own, unless each has another.
fn urls(entry: &Entry, table: &mut Table, findings: &mut Findings) {
    let Some(texts) = findings.texts(entry) else { return };
    let (mut urls, mut all) = (Vec::new(), Vec::new());
    for text in &texts {
        let Some((scheme, rest)) = text.split_once("://") else {
            findings.error(&entry.value.at, format!("{text:?} is no URL such as \"tls://hub.example.com:7422\""));
            continue;
        };
        let (credentials, address) = rest.rsplit_once('@').map_or((None, rest), |(c, a)| (Some(c), a));
        all.push(credentials);
        urls.push(format!("{scheme}://{address}"));
    }
    all.dedup();
    match all[..] {
        [Some(credentials)] => match credentials.split_once(':') {
            Some((user, password)) => {
                set(table, "user", Some(percent::decoded(user)));
                set(table, "password", Some(percent::decoded(password)));
            }
            None => set(table, "token", Some(percent::decoded(credentials))),
        },
        [] | [None] => {}
        _ => urls = texts,
    }
    set(table, "urls", Some(urls));
}

/// `~` is the home directory; `$NAME` is taken from the environment (`expandPath`).
fn expand_path(path: &str) -> String {
    let path = match path.strip_prefix('~') {
        Some(rest) => std::env::var("HOME").unwrap_or_default() + rest,
        None => path.to_owned(),
    };
    let mut parts = path.split('/').map(|part| match part.strip_prefix('$') {
        Some(name) if !name.is_empty() => std::env::var(name.trim_matches(['{', '}'])).unwrap_or_default(),
        _ => part.to_owned(),
    });
    let first = parts.next().unwrap_or_default();
    parts.fold(first, |path, part| path + "/" + &part)
}

/// Whether a cluster block makes this server part of one.
pub(super) fn is_clustered(value: &Value) -> bool {
    match &value.kind {
        Kind::Map(map) => map.iter().any(|e| matches!(&*e.key.to_ascii_lowercase(), "listen" | "port" | "routes")),
        _ => true,
    }
}
