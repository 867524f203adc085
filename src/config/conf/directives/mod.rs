//! What nats-server's directives mean for leafd: each becomes leafd's own key, is ignored with a warning, or is refused
//! by name. Refused is what nobody may miss without knowing it: what guards access or data, and what would leave clients
//! or other servers outside. The names are those of nats-server's `server/opts.go`.
//!
//! The result is leafd's TOML, so that a file that is read and one that `leafd config convert` wrote are the same.

mod accounts;
mod jetstream;
mod leaf;
mod mappings;
mod reader;
mod resolver;
#[cfg(test)]
mod tests;
mod tls;
mod top;
mod users;
mod websocket;

pub use reader::Findings;

use super::{Kind, Value};
use toml::Table;

/// leafd's configuration for a file of nats-server, with what there is to say about it. It is meant to be used only if
/// there are no errors.
pub fn to_toml(value: &Value) -> (Table, Findings) {
    let (mut table, mut findings) = (Table::new(), Findings::default());
    let Kind::Map(map) = &value.kind else { return (table, findings) };
    top::directives(map, &mut table, &mut findings);
    (table, findings)
}

/// Where nats-server's defaults are not leafd's: all interfaces, no JetStream, how much
/// of the machine's memory streams may take, the form of the log.
pub fn nats_server_defaults() -> Table {
    let mut table = Table::new();
    reader::set(&mut table, "listen.host", Some("0.0.0.0"));
    reader::set(&mut table, "jetstream.enabled", Some(false));
    reader::set(&mut table, "jetstream.max_memory", Some("75%"));
    reader::set(&mut table, "log.format", Some("nats-server"));
    table
}
