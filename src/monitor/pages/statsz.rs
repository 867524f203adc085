//! STATSZ: how the server does, as it tells of itself in the system account (nats-server `events.go`, `sendStatsz`).

use super::jsz;
use super::varz::{ByKind, JetStream};
use crate::events::{DataStats, MsgBytes, ServerInfo};
use crate::monitor::sources::Sources;
use crate::monitor::{process, text};
use serde::Serialize;

/// The message.
#[derive(Serialize)]
pub(in crate::monitor) struct Statsz {
    server: ServerInfo,
    statsz: ServerStats,
}

#[derive(Serialize)]
struct ServerStats {
    start: String,
    /// Bytes of resident memory.
    mem: u64,
    cores: usize,
    /// Percent of one processor.
    #[serde(serialize_with = "text::number")]
    cpu: f64,
    connections: usize,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: usize,
    sent: DataStats,
    sent_to_clients: DataStats,
    received: DataStats,
    received_from_clients: DataStats,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "ByKind::is_zero")]
    slow_consumer_stats: ByKind,
    #[serde(skip_serializing_if = "is_zero")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "ByKind::is_zero")]
    stale_connection_stats: ByKind,
    #[serde(skip_serializing_if = "is_zero")]
    stalled_clients: u64,
    active_servers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStream>,
    gomaxprocs: usize,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// As it is now. Reads from disk.
pub(in crate::monitor) fn page(sources: &Sources, server: ServerInfo) -> Statsz {
    let status = sources.clients.status();
    let (totals, crossed) = (sources.clients.totals(), sources.crossed());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let traffic = |msgs, bytes| DataStats::from(MsgBytes { msgs, bytes });
    let jetstream = (!sources.jetstreams().is_empty()).then(|| jsz::varz(sources, jsz::config_without_folder(sources)));
    let statsz = ServerStats {
        start: text::time(sources.started),
        mem: process::rss().unwrap_or(0),
        cores,
        cpu: sources.counters.processor.percent(),
        connections: status.connections,
        total_connections: status.total_connections,
        active_accounts: sources.active_accounts(),
        subscriptions: status.subscriptions,
        sent: traffic(totals.out_msgs + crossed.out_msgs, totals.out_bytes + crossed.out_bytes),
        sent_to_clients: traffic(totals.out_msgs, totals.out_bytes),
        received: traffic(totals.in_msgs + crossed.in_msgs, totals.in_bytes + crossed.in_bytes),
        received_from_clients: traffic(totals.in_msgs, totals.in_bytes),
        slow_consumers: status.slow_consumers,
        slow_consumer_stats: ByKind::clients(status.slow_consumers),
        stale_connections: totals.stale,
        stale_connection_stats: ByKind::clients(totals.stale),
        stalled_clients: totals.stalls,
        active_servers: 1,
        jetstream,
        gomaxprocs: cores,
    };
    Statsz { server, statsz }
}
