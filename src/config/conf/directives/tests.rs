use super::super::parse_str;
use super::{Findings, to_toml};
use crate::config::Config;
use serde::Deserialize;
use toml::{Table, Value as Toml};

fn read(text: &str) -> (Table, Findings) {
    to_toml(&parse_str(text).expect("is in the language"))
}

fn config(table: Table) -> Config {
    Config::deserialize(Toml::Table(table)).expect("leafd's keys")
}

/// That `conf` is, without a word, what `toml` is on top of nats-server's defaults; and that what is written of it is read
/// as the same.
#[track_caller]
fn same(conf: &str, toml: &str) {
    let (table, findings) = read(conf);
    let told: Vec<_> = findings.errors.iter().chain(&findings.warnings).map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new(), "{conf}");
    let mut expected = super::nats_server_defaults();
    crate::config::overlay(&mut expected, &toml.parse::<Table>().expect("TOML"));
    let written: Table = toml::to_string_pretty(&table).expect("is written").parse().expect("is read");
    assert_eq!(config(table.clone()), config(written), "{conf}");
    assert_eq!(config(table), config(expected), "{conf}");
}

fn errors(conf: &str) -> String {
    read(conf).1.errors.iter().map(|e| format!("{e}\n")).collect()
}

fn warnings(conf: &str) -> String {
    let (_, findings) = read(conf);
    assert!(findings.errors.is_empty(), "{conf}: {:?}", findings.errors);
    findings.warnings.iter().map(|e| format!("{e}\n")).collect()
}

#[test]
fn an_empty_file_has_the_defaults_of_nats_server() {
    same("", "");
    let config = config(read("").0);
    assert_eq!((&*config.listen.host, config.listen.port, config.jetstream.enabled), ("0.0.0.0", 4222, false));
}

#[test]
fn the_server_and_its_limits() {
    same(
        "port: -1; server_name: gw1, store_dir = '/d'\ndebug: true\ntrace = off\nlogtime: false\nlog_file /l; pid_file: \"/p\"
         ports_file_dir: /t\nmax_payload: 64KB\nmax_control_line 2048; max_pending = 1MB; max_connections: 0\nmax_subs 10
         ping_interval: '30s'; ping_max: 3, write_deadline: 2s\nlame_duck_duration: '1m', lame_duck_grace_period '500ms'",
        "server_name = 'gw1'\ndata_dir = '/d'\npid_file = '/p'\nports_file_dir = '/t'\nlisten.port = 0\n
         [log]\nlevel = 'debug'\ntime = false\nfile = '/l'\n
         [limits]\nmax_payload = '64KB'\nmax_control_line = 2048\nmax_pending = '1MB'\nmax_connections = 4294967295\n
         max_subscriptions = 10\nping_interval = '30s'\nping_max = 3\nwrite_deadline = '2s'\n
         lame_duck_duration = '1m'\nlame_duck_grace_period = '500ms'",
    );
    same(
        "listen: '[::1]:4333'\nDEBUG: true, Trace: true",
        "[listen]\nhost = '::1'\nport = 4333\n[log]\nlevel = 'trace'",
    );
    same("net: 10.0.0.1\nport: 0", "listen.host = '10.0.0.1'");
    same("PORT_OF_MINE: 4333\nport: $PORT_OF_MINE", "listen.port = 4333");
}

#[test]
fn jetstream_in_each_form() {
    same("jetstream: enabled", "jetstream.enabled = true");
    same("jetstream {}", "jetstream.enabled = true");
    same("jetstream: false", "");
    same(
        "jetstream { store_dir: /d, max_mem: 64MiB, max_file_store: \"2G\"; domain = hub, sync_interval: always }",
        "data_dir = '/d'\n[jetstream]\nenabled = true\nmax_memory = '64MB'\nmax_file = '2GB'\ndomain = 'hub'",
    );
    same(
        "jetstream { limits { max_ack_pending: 5, max_request_batch: 6, duplicate_window: \"1m\", default_max_consumers: -1, batch { max_inflight_per_stream: 1, max_inflight_total: 2, max_msgs: 3, timeout: \"4s\" } } }",
        "[jetstream]\nenabled = true\n[jetstream.limits]\nmax_ack_pending = 5\nmax_request_batch = 6\nduplicate_window = '1m'\ndefault_max_consumers = 0\nbatch = { max_inflight_per_stream = 1, max_inflight_total = 2, max_msgs = 3, timeout = '4s' }",
    );
    same(
        "jetstream { key: new, prev_key: old, cipher: AES }",
        "[jetstream]\nenabled = true\n[store.encryption]\nkey = 'new'\nprevious_key = 'old'\ncipher = 'aes-256-gcm'",
    );
    assert!(errors("jetstream { cipher: rot13 }").contains("`cipher` is \"chacha\" or \"aes\""));
    assert!(errors("jetstream { tpm {} }").starts_with(":1:13: `tpm` is not supported"));
    assert!(errors("store_dir: /a\njetstream { store_dir: /b }").contains(":2:13: `store_dir` is set twice"));
    assert!(warnings("write_deadline: 2").contains(":1:17: `write_deadline`: a number without a unit"));
    same("jetstream { sync_interval: \"1m\" }", "[jetstream]\nenabled = true\nsync_interval = '1m'");
}

#[test]
fn users_and_permissions() {
    same(
        "authorization { user: a, pass: $2a$11$xyz, timeout: 1.5 }",
        "[authorization]\nuser = 'a'\npassword = '$2a$11$xyz'\ntimeout = '1500ms'",
    );
    same("authorization: { token: 's3cr3t', timeout: \"2s\" }", "[authorization]\ntoken = 's3cr3t'\ntimeout = '2s'");
    same(
        "authorization {
           default_permissions = { publish: 'a.>', subscribe: [b, 'c q'] }
           ADMIN = { publish = '>', subscribe = {} }
           users = [
             { user: u, password: p, permissions: $ADMIN, allowed_connection_types: [standard, 'WEBSOCKET'] }
             { nkey: UABC, permissions: { pub: { allow: x, deny: [y, z] }, sub: [], allow_responses: { max: 5, expires: '1m' } } }
             { user: w, password: q, permissions { allow_responses: true } }
           ]
         }
         no_auth_user: u, system_account: S",
        "[authorization]\nno_auth_user = 'u'\nsystem_account = 'S'\n
         default_permissions = { publish = ['a.>'], subscribe = ['b', 'c q'] }\n
         [[authorization.users]]\nuser = 'u'\npassword = 'p'\npermissions = { publish = ['>'] }\n
         allowed_connection_types = ['STANDARD', 'WEBSOCKET']\n
         [[authorization.users]]\nnkey = 'UABC'\n
         permissions = { publish = { allow = ['x'], deny = ['y', 'z'] }, allow_responses = { max = 5, expires = '1m' } }\n
         [[authorization.users]]\nuser = 'w'\npassword = 'q'\npermissions = { allow_responses = true }",
    );
    same(
        "authorization { PASS: $2a$04$x, users = [{ user: u, password: $PASS }] }",
        "[[authorization.users]]\nuser = 'u'\npassword = '$2a$04$x'",
    );
    same(
        "operator: OJWT, resolver { type: full, dir: /jwt, allow_delete: true, hard_delete: false, limit: 9 }\ndefault_sentinel: U
         resolver_pinned_accounts: [A1, A2]",
        "[authorization]\noperator = ['OJWT']\ndefault_sentinel = 'U'\nresolver_pinned_accounts = ['A1', 'A2']\n
         resolver = { dir = '/jwt', allow_delete = true, hard_delete = false, limit = 9 }",
    );
    same(
        "operator: OJWT, resolver: MEMORY\nresolver_preload { AKEY: AJWT }\ntrusted_keys: [O1]",
        "[authorization]\noperator = ['OJWT']\ntrusted_keys = ['O1']\nresolver_preload = { AKEY = 'AJWT' }",
    );
    same(
        "authorization { auth_callout { issuer: AI, users: [a], account: A, xkey: X, allowed_accounts: [B] } }",
        "[authorization.auth_callout]\nissuer = 'AI'\nauth_users = ['a']\naccount = 'A'\nxkey = 'X'\nallowed_accounts = ['B']",
    );
    for (text, wanted) in [
        ("authorization { user: a, token: b }", ":1:1: there is either a user with a password, or a token"),
        ("authorization { users = [{ password: b }] }", ":1:26: a user needs `user` or `nkey`"),
        ("authorization { users = [{ nkey: U, user: b }] }", "no name and password"),
        ("authorization { users = [{ user: u, proxy_required: true }] }", "`proxy_required` is not supported"),
        ("authorization { users = [{ user: u, clients: CARRIER_PIGEON }] }", "no connection type"),
        ("resolver: URL(http://x)", ":1:1: `resolver` is not supported"),
        ("resolver { type: cache, dir: x }", "`resolver` is not supported"),
        ("resolver { type: full }", "dir has no value"),
        ("resolver { type: full, dir: x, hard_delete: true }", "hard_delete has no effect without delete"),
        ("resolver { type: full, dir: x, ttl: 1m }", "FULL does not accept ttl"),
    ] {
        assert!(errors(text).contains(wanted), "{text}: {}", errors(text));
    }
}

#[test]
fn accounts_and_what_they_share() {
    same("accounts: [A, B]", "accounts = { A = {}, B = {} }");
    same(
        "USERS = [{ user: a, password: b }]
         accounts {
           A {
             users: $USERS, jetstream: enabled, nkey: AX
             exports = [{ stream: 'pub.>' }, { service: req, accounts: [B], response: stream, threshold: 5s, allow_trace: true }]
             msg_trace { dest: t, sampling: '25%' }
             mappings { foo: bar, 'b.*': [{ destination: 'c.{{wildcard(1)}}', weight: 20% }, { dest: d, weight: 80 }] }
             limits { max_conn: 5, max_subs: -1, max_payload: 1K, max_leafnodes: 0 }
             default_permissions { sub: x }
           }
           B {
             jetstream { max_mem: 1M, max_store: 2M, max_streams: 3, max_consumers: -1, max_bytes_required: true, mem_max_stream_bytes: 1K }
             trace_dest: t
             imports = [{ stream: { account: A, subject: 'pub.>' }, prefix: p, allow_trace: on }, { service: { account: A, subject: req }, to: r, share: true }]
           }
         }",
        "[accounts.A]\nusers = [{ user = 'a', password = 'b' }]\njetstream = true\nnkey = 'AX'\n
         exports = [{ stream = 'pub.>' }, { service = 'req', accounts = ['B'], response_type = 'stream', response_threshold = '5s', allow_trace = true }]\n
         msg_trace = { dest = 't', sampling = 25 }\n
         limits = { max_connections = 5, max_payload = 1000, max_leafnodes = 0 }\ndefault_permissions = { subscribe = ['x'] }\n
         [accounts.A.mappings]\nfoo = 'bar'\n
         'b.*' = [{ destination = 'c.{{wildcard(1)}}', weight = 20 }, { destination = 'd', weight = 80 }]\n
         [accounts.B]\n
         jetstream = { max_memory = 1000000, max_file = 2000000, max_streams = 3, max_bytes_required = true, memory_max_stream_bytes = 1000 }\n
         msg_trace = { dest = 't' }\n
         imports = [{ stream = { account = 'A', subject = 'pub.>' }, prefix = 'p', allow_trace = true }, { service = { account = 'A', subject = 'req' }, to = 'r', share = true }]",
    );
    for (text, wanted) in [
        ("accounts { $G {} }", "reserved"),
        ("accounts { A { exports: [{ accounts: [B] }] } }", ":1:26: an export is either"),
        ("accounts { A { imports: [{ stream: { account: B } }] } }", "needs an `account` and a `subject`"),
        ("accounts { A { mappings: { x: { dest: y } } } }", "needs its `weight`"),
        ("accounts { A { mappings: { x: [{ dest: y, weight: 101 }] } } }", "from 0 to 100"),
        ("accounts { A { msg_trace: { dest: t, sampling: 101 } } }", "a percentage from 1 to 100"),
        ("accounts { A { exports: [{ stream: s, allow_trace: true }] } }", "`allow_trace` is only for services"),
        ("accounts { A { limit: {} } }", "unknown field `limit` in an account"),
    ] {
        assert!(errors(text).contains(wanted), "{text}: {}", errors(text));
    }
}

#[test]
fn listeners_and_tls() {
    same(
        "tls { cert_file: c, key_file: k, ca_file: a, verify_and_map: true, timeout: 2, handshake_first: 300ms, min_version: '1.3' }
         allow_non_tls: true\nhttps_port: 8443\nhttp_base_path: /nats",
        "[tls]\ncert_file = 'c'\nkey_file = 'k'\nca_file = 'a'\nverify_and_map = true\ntimeout = '2s'\n
         handshake_first = '300ms'\nmin_version = '1.3'\nallow_non_tls = true\n
         [http]\nhost = '0.0.0.0'\nport = 8443\nbase_path = '/nats'\n
         [http.tls]\ncert_file = 'c'\nkey_file = 'k'\nca_file = 'a'\nverify_and_map = true\ntimeout = '2s'\n
         handshake_first = '300ms'\nmin_version = '1.3'\nallow_non_tls = true",
    );
    same("http: localhost:8222", "[http]\nhost = 'localhost'\nport = 8222");
    same("host: 127.0.0.1\nmonitor_port: -1", "[http]\nhost = '127.0.0.1'\nport = 0\n[listen]\nhost = '127.0.0.1'");
    same(
        "websocket { port: 8080, no_tls: true, compression: true, same_origin: true, allowed_origins: [a, b], jwt_cookie: j, handshake_timeout: 3 }",
        "[websocket]\nhost = '0.0.0.0'\nport = 8080\nno_tls = true\ncompression = true\nsame_origin = true\n
         allowed_origins = ['a', 'b']\njwt_cookie = 'j'\nhandshake_timeout = '3s'",
    );
    same("websocket { no_tls: true }", "");
    for (text, wanted) in [
        ("tls { cert_file: c }", ":1:1: `tls` of a listener needs"),
        ("tls { cert_file: c, key_file: k, pinned_certs: [x] }", "`pinned_certs` is not supported"),
        ("port: 70000", ":1:7: `port`: 70000 is no port"),
        ("listen: nowhere", "no HOST:PORT"),
        ("https_port: 1", "HTTPS needs `tls`"),
    ] {
        assert!(errors(text).contains(wanted), "{text}: {}", errors(text));
    }
}

#[test]
fn leaf_nodes_and_hubs() {
    same(
        "leafnodes { port: 7422, authorization { users = [{ user: a, password: b }] }, tls { cert_file: c, key_file: k, ca_file: x, verify: true } }",
        "[leaf.listen]\nhost = '0.0.0.0'\nport = 7422\nusers = [{ user = 'a', password = 'b' }]\n
         tls = { cert_file = 'c', key_file = 'k', ca_file = 'x' }",
    );
    same(
        "leafnodes { reconnect: 5s, remotes = [
           { urls: ['tls://u:p%40@h:7422', 'tls://u:p%40@i'], tls { ca_file: a, handshake_first: true } }
           { url: 'nats-leaf://tok@h', disabled: false, ignore_discovered_servers: true, compression: {mode: auto, rtts: [1ms, 2ms]} }
           { url: 'wss://w/x', ws_compression: true, ws_no_masking: true, first_info_timeout: 3s, dial_timeout: 2s,
             tls { pinned_certs: [ab] }, proxy { url: 'http://p:1', username: u, password: x, timeout: 1s } }
           { url: 'tls://gone', disabled: true } ] }",
        "[[leaf.remote]]\nname = 'hub'\nurls = ['tls://h:7422', 'tls://i']\nuser = 'u'\npassword = 'p@'\nexport = ['>']\nimport = ['>']\n
         discover = true\nreconnect = { min = '5s', max = '5s' }\ntls = { ca_file = 'a', handshake_first = true }\n
         [[leaf.remote]]\nname = 'hub-2'\nurls = ['nats-leaf://h']\ntoken = 'tok'\nexport = ['>']\nimport = ['>']\n
         discover = false\nreconnect = { min = '5s', max = '5s' }\n
         compression = { mode = 'auto', rtt_thresholds = ['1ms', '2ms'] }\n
         [[leaf.remote]]\nname = 'hub-3'\nurls = ['wss://w/x']\nexport = ['>']\nimport = ['>']\ndiscover = true\n
         reconnect = { min = '5s', max = '5s' }\nwebsocket = { compression = true, no_masking = true }\n
         first_info_timeout = '3s'\ndial_timeout = '2s'\ntls = { pinned_certs = ['ab'] }\n
         proxy = { url = 'http://p:1', user = 'u', password = 'x', timeout = '1s' }",
    );
    same(
        "leafnodes { port: -1, isolate: true, tls { cert_file: c, key_file: k, handshake_first: true },
           authorization { account: A, users = [{ user: a, password: b, account: B }] }, remotes = [
           { url: 'tls://h', account: A, deny_imports: x, deny_exports: [y, z], hub: true, no_randomize: true,
             isolate: true, request_isolation: true } ] }",
        "[leaf.listen]\nhost = '0.0.0.0'\nport = 0\nisolate = true\naccount = 'A'\n
         tls = { cert_file = 'c', key_file = 'k', handshake_first = true }\n
         users = [{ user = 'a', password = 'b', account = 'B' }]\n
         [[leaf.remote]]\nname = 'hub'\nurls = ['tls://h']\naccount = 'A'\nexport = ['>']\nimport = ['>']\n
         deny_import = ['x']\ndeny_export = ['y', 'z']\nhub = true\nno_randomize = true\nisolate = true\n
         request_isolation = true\ndiscover = true",
    );
    same(
        "leafnodes { port: 1, authorization { nkey: UX, account: A } }",
        "[leaf.listen]\nhost = '0.0.0.0'\nport = 1\nnkey = 'UX'\naccount = 'A'",
    );
    for (text, wanted) in [
        ("leafnodes { remotes = [{ url: 'tls://h', tls { insecure: true } }] }", "`insecure` is not supported"),
        ("leafnodes { remotes = [{ url: 'tls://h', compression: zip }] }", "no compression mode"),
        ("leafnodes { remotes = [{ creds: x }] }", "needs its `urls`"),
    ] {
        assert!(errors(text).contains(wanted), "{text}: {}", errors(text));
    }
}

#[test]
fn what_leafd_has_not_is_refused_or_ignored_by_name() {
    for text in [
        "cluster { port: 6222 }",
        "gateway { name: x }",
        "mqtt { port: 1883 }",
        "proxy_protocol: true",
        "proxies {}",
        "default_js_domain { A: x }",
        "max_sub_tokens: 5",
        "resolver_tls {}",
        "websocket { authorization { user: a } }",
    ] {
        assert!(errors(text).contains("is not supported"), "{text}: {}", errors(text));
    }
    for text in [
        "cluster { name: x }",
        "prof_port: 1",
        "server_tags: [a]",
        "syslog: true",
        "client_advertise: x",
        "ocsp: true",
        "log_size_limit: 1",
        "no_header_support: true",
        "max_traced_msg_len: 5",
        "resolver { type: full, dir: x, interval: 1m }",
        "write_timeout: close",
    ] {
        assert!(warnings(text).contains("is ignored"), "{text}: {}", warnings(text));
    }
    assert_eq!(errors("a: 1\nprot: 4222\nlisten: $a"), ":2:1: unknown field `prot` in the configuration\n");
    assert_eq!(
        errors("port: many\ndebug: 1"),
        ":1:7: `port` must be an integer, not a string\n:2:8: `debug` must be a boolean, not an integer\n"
    );
}
