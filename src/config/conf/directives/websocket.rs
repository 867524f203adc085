//! `websocket`.

use super::super::Entry;
use super::reader::{Findings, set};
use super::tls;
use toml::Table;

/// The block as leafd's `[websocket]`; `None` without a port, as then nats-server does not listen either.
pub(super) fn websocket(entry: &Entry, findings: &mut Findings) -> Option<Table> {
    let mut table = Table::new();
    for e in findings.map(entry)?.iter() {
        match &*e.key.to_ascii_lowercase() {
            "listen" => {
                let (host, port) = findings.listen(e);
                set(&mut table, "host", host);
                set(&mut table, "port", port);
            }
            "port" => set(&mut table, "port", findings.port(e)),
            "host" | "net" => set(&mut table, "host", findings.text(e)),
            "no_tls" => set(&mut table, "no_tls", findings.boolean(e)),
            "tls" => set(&mut table, "tls", tls::listener(e, findings)),
            "same_origin" => set(&mut table, "same_origin", findings.boolean(e)),
            "allowed_origins" | "allowed_origin" | "allow_origins" | "allow_origin" | "origins" | "origin" => {
                set(&mut table, "allowed_origins", findings.texts(e));
            }
            "handshake_timeout" => set(&mut table, "handshake_timeout", findings.timeout(e)),
            "compress" | "compression" => set(&mut table, "compression", findings.boolean(e)),
            key @ ("jwt_cookie" | "user_cookie" | "pass_cookie" | "token_cookie" | "no_auth_user") => {
                set(&mut table, key, findings.text(e));
            }
            "authorization" | "authentication" => {
                findings.refuse(e, "WebSocket clients have the credentials of the other clients");
            }
            "advertise" => findings.ignore(e, "no addresses are advertised"),
            "headers" => findings.ignore(e, "the answer to the upgrade has no further headers"),
            "ping_interval" => findings.ignore(e, "WebSocket clients are pinged as the others are"),
            _ => findings.unknown(e, "`websocket`"),
        }
    }
    table.contains_key("port").then(|| {
        table.entry("host").or_insert_with(|| "0.0.0.0".into());
        table
    })
}
