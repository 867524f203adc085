//! The directives at the top of the file.

use super::super::{Entry, Kind, Map};
use super::reader::{Findings, set};
use super::{accounts, jetstream, leaf, mappings, nats_server_defaults, resolver, tls, users, websocket};
use toml::{Table, Value as Toml};

/// What is only known when all directives have been read.
#[derive(Default)]
struct Later<'e> {
    leafnodes: Option<&'e Entry>,
    http: Http,
}

/// Monitoring: where, and whether with TLS.
#[derive(Default)]
struct Http {
    host: Option<String>,
    port: Option<i64>,
    tls_port: Option<i64>,
}

/// All of them, into `table`.
pub(super) fn directives(map: &Map, table: &mut Table, findings: &mut Findings) {
    *table = nats_server_defaults();
    let mut later = Later::default();
    for entry in map.iter() {
        let done = server(entry, table, findings)
            || access(entry, table, findings)
            || limits(entry, table, findings)
            || listeners(entry, table, &mut later, findings)
            || not_here(entry, findings);
        if !done {
            findings.unknown(entry, "the configuration");
        }
    }
    if let Some(entry) = later.leafnodes {
        let leaf = leaf::leafnodes(entry, findings);
        set(table, "leaf", leaf);
    }
    if findings.allow_non_tls && table.contains_key("tls") {
        set(table, "tls.allow_non_tls", Some(true));
    }
    monitoring(map, later.http, table, findings);
}

/// Name, files and logging.
fn server(e: &Entry, table: &mut Table, findings: &mut Findings) -> bool {
    match &*e.key.to_ascii_lowercase() {
        "server_name" => set(table, "server_name", findings.text(e)),
        "store_dir" | "storedir" => match table.contains_key("data_dir") {
            true => findings.error(&e.at, "`store_dir` is set twice"),
            false => set(table, "data_dir", findings.text(e)),
        },
        "jetstream" => drop(jetstream::jetstream(e, table, findings)),
        "debug" => log_level(e, "debug", table, findings),
        "trace" | "trace_verbose" | "trace_headers" => log_level(e, "trace", table, findings),
        "logfile" | "log_file" => set(table, "log.file", findings.text(e)),
        "pidfile" | "pid_file" => set(table, "pid_file", findings.text(e)),
        "ports_file_dir" => set(table, "ports_file_dir", findings.text(e)),
        "logtime" => set(table, "log.time", findings.boolean(e)),
        "logtime_utc" => {
            if findings.boolean(e) == Some(false) {
                findings.ignore(e, "the time in log lines is UTC");
            }
        }
        "logfile_size_limit" | "log_size_limit" | "logfile_max_num" | "log_max_num" => {
            findings.ignore(e, "leafd does not rotate its log; let logrotate do it and send SIGUSR1");
        }
        "syslog" | "remote_syslog" => findings.ignore(e, "leafd logs to stderr, a file or the journal"),
        _ => return false,
    }
    true
}

/// Sets the level unless a finer one is set.
fn log_level(entry: &Entry, level: &str, table: &mut Table, findings: &mut Findings) {
    if findings.boolean(entry) != Some(true) {
        return;
    }
    let now = table.get("log").and_then(|log| log.get("level")).and_then(Toml::as_str);
    if now != Some("trace") {
        set(table, "log.level", Some(level));
    }
}

/// Who may connect and what they see.
fn access(e: &Entry, table: &mut Table, findings: &mut Findings) -> bool {
    match &*e.key.to_ascii_lowercase() {
        "authorization" => authorization(e, table, findings),
        "accounts" => set(table, "accounts", accounts::accounts(e, findings)),
        "mappings" | "maps" => set(table, "mappings", mappings::mappings(e, findings)),
        "no_auth_user" => set(table, "authorization.no_auth_user", findings.text(e)),
        "system_account" | "system" => set(table, "authorization.system_account", findings.text(e)),
        "operator" | "operators" | "roots" | "root" | "root_operators" | "root_operator" => {
            set(table, "authorization.operator", findings.texts(e));
        }
        "trusted" | "trusted_keys" => set(table, "authorization.trusted_keys", findings.texts(e)),
        "resolver" | "account_resolver" | "accounts_resolver" => {
            set(table, "authorization.resolver", resolver::resolver(e, findings));
        }
        "resolver_preload" => {
            let Some(map) = findings.map(e) else { return true };
            let jwts: Table =
                map.iter().filter_map(|e| Some((e.key.clone(), Toml::String(findings.text(e)?)))).collect();
            set(table, "authorization.resolver_preload", Some(jwts));
        }
        "resolver_tls" => findings.refuse(e, "accounts are not fetched over HTTPS"),
        "resolver_pinned_accounts" => {
            set(table, "authorization.resolver_pinned_accounts", findings.texts(e));
        }
        "default_sentinel" => set(table, "authorization.default_sentinel", findings.text(e)),
        "no_system_account" | "no_system" | "no_sys_acc" => findings.ignore(e, "the system account is always there"),
        _ => return false,
    }
    true
}

fn authorization(entry: &Entry, table: &mut Table, findings: &mut Findings) {
    let Some(map) = findings.map(entry) else { return };
    let mut auth = Table::new();
    for e in map.iter() {
        match &*e.key.to_ascii_lowercase() {
            "user" | "username" => set(&mut auth, "user", findings.text(e)),
            "pass" | "password" => set(&mut auth, "password", findings.text(e)),
            "token" => set(&mut auth, "token", findings.text(e)),
            "timeout" => set(&mut auth, "timeout", findings.timeout(e)),
            "users" => set(&mut auth, "users", users::users(e, findings)),
            "default_permission" | "default_permissions" | "permissions" => {
                set(&mut auth, "default_permissions", users::permissions(e, findings));
            }
            "auth_callout" | "auth_hook" => set(&mut auth, "auth_callout", users::auth_callout(e, findings)),
            "proxy_required" => users::proxy_required(e, findings),
            _ => findings.unknown(e, "`authorization`"),
        }
    }
    // A variable may well be called PASS, which nats-server takes for the directive too, to no effect beside `users`.
    if auth.contains_key("users") && !auth.contains_key("user") {
        auth.remove("password");
    }
    let one = auth.contains_key("user") || auth.contains_key("password");
    for (both, message) in [
        (one && auth.contains_key("token"), "there is either a user with a password, or a token"),
        (one && auth.contains_key("users"), "there is either a single user, or `users`"),
        (auth.contains_key("token") && auth.contains_key("users"), "there is either a token, or `users`"),
    ] {
        if both {
            findings.error(&entry.at, message);
        }
    }
    for (key, value) in auth {
        set(table, &format!("authorization.{key}"), Some(value));
    }
}

/// What a client may use.
fn limits(e: &Entry, table: &mut Table, findings: &mut Findings) -> bool {
    match &*e.key.to_ascii_lowercase() {
        key @ ("max_control_line" | "max_payload" | "max_pending" | "ping_max") => {
            set(table, &format!("limits.{key}"), findings.bound(e).filter(|number| *number > 0));
        }
        // Zero and below: no bound.
        "max_connections" | "max_conn" => {
            let number = findings.integer(e).map(|number| if number > 0 { number } else { i64::from(u32::MAX) });
            set(table, "limits.max_connections", number);
        }
        "max_subscriptions" | "max_subs" => set(table, "limits.max_subscriptions", findings.bound(e)),
        key @ ("ping_interval" | "write_deadline") => set(table, &format!("limits.{key}"), findings.duration(e)),
        key @ ("lame_duck_duration" | "lame_duck_grace_period") => {
            set(table, &format!("limits.{key}"), findings.go_duration(e));
        }
        "write_timeout" => findings.ignore(e, "a client that takes nothing within `write_deadline` is cut off"),
        "max_sub_tokens" | "max_subscription_tokens" => {
            findings.refuse(e, "the tokens of a subscription are not limited on their own");
        }
        "max_closed_clients" | "max_traced_msg_len" | "connect_error_reports" | "reconnect_error_reports" => {
            findings.ignore(e, "leafd chooses it itself");
        }
        "no_fast_producer_stall" => findings.ignore(e, "leafd has its own way with slow consumers"),
        "disable_sublist_cache" | "no_sublist_cache" => findings.ignore(e, "leafd has its own cache"),
        _ => return false,
    }
    true
}

/// Where clients, leaf nodes and monitors connect.
fn listeners<'e>(e: &'e Entry, table: &mut Table, later: &mut Later<'e>, findings: &mut Findings) -> bool {
    match &*e.key.to_ascii_lowercase() {
        "listen" => {
            let (host, port) = findings.listen(e);
            set(table, "listen.host", host);
            set(table, "listen.port", port);
        }
        "port" => set(table, "listen.port", findings.port(e)),
        "host" | "net" => set(table, "listen.host", findings.text(e)),
        "tls" => set(table, "tls", tls::listener(e, findings)),
        "allow_non_tls" => findings.allow_non_tls = findings.boolean(e).unwrap_or_default(),
        "websocket" | "ws" => set(table, "websocket", websocket::websocket(e, findings)),
        "leaf" | "leafnodes" => later.leafnodes = Some(e),
        "http" => (later.http.host, later.http.port) = findings.listen(e),
        "https" => (later.http.host, later.http.tls_port) = findings.listen(e),
        "http_port" | "monitor_port" => later.http.port = findings.port(e),
        "https_port" => later.http.tls_port = findings.port(e),
        "http_base_path" => set(table, "http.base_path", findings.text(e)),
        "client_advertise" => findings.ignore(e, "no addresses are advertised"),
        _ => return false,
    }
    true
}

/// Completes `[http]`, which is nothing without a port; its host is that of the clients unless it is said.
fn monitoring(map: &Map, http: Http, table: &mut Table, findings: &mut Findings) {
    let Some(port) = http.tls_port.or(http.port) else {
        table.remove("http");
        return;
    };
    if let (Some(_), Some(_), Some(entry)) = (http.port, http.tls_port, map.iter().find(|e| e.key.starts_with("https")))
    {
        findings.error(&entry.at, "monitoring is either over HTTP or over HTTPS");
    }
    let host = http.host.or_else(|| Some(table.get("listen")?.get("host")?.as_str()?.to_owned()));
    set(table, "http.host", host);
    set(table, "http.port", Some(port));
    if http.tls_port.is_some() {
        match table.get("tls").cloned() {
            Some(tls) => set(table, "http.tls", Some(tls)),
            None => {
                if let Some(entry) = map.iter().find(|e| e.key.starts_with("https")) {
                    findings.error(&entry.at, "HTTPS needs `tls` with a certificate");
                }
            }
        }
    }
}

/// What leafd has no part for.
fn not_here(e: &Entry, findings: &mut Findings) -> bool {
    match &*e.key.to_ascii_lowercase() {
        "cluster" if leaf::is_clustered(&e.value) => {
            findings.refuse(e, "leafd is a single server; where one is not enough, its hub is a cluster");
        }
        "cluster" => findings.ignore(e, "leafd is a single server"),
        "gateway" => findings.refuse(e, "leafd is a single server; superclusters are made of nats-server"),
        "mqtt" => findings.refuse(e, "leafd has no MQTT listener; an MQTT broker is read by [[adapter.mqtt]]"),
        "proxy_protocol" => findings.refuse(e, "the header of a proxy would be taken for a client's protocol"),
        "proxies" => findings.refuse(e, "leafd knows no trusted proxies"),
        "default_js_domain" => findings.refuse(e, "the API of another domain is reached by its prefix"),
        "no_header_support" => findings.ignore(e, "headers are always supported"),
        "ocsp" if !matches!(e.value.kind, Kind::Bool(false)) => {
            findings.ignore(e, "certificates are shown without an OCSP response");
        }
        "ocsp" | "ocsp_cache" => {}
        "prof_port" | "prof_block_rate" => findings.ignore(e, "leafd is profiled with perf"),
        "server_tags" | "server_metadata" | "feature_flags" => findings.ignore(e, "leafd has none"),
        _ => return false,
    }
    true
}
