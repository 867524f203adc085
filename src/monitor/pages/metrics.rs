//! `/metrics`: the state of everything in Prometheus' text format, from what `leafd status` shows.

use crate::monitor::process;
use crate::monitor::sources::Sources;
use crate::system::http::Response;
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A number that only grows since the start, or one that goes up and down.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}
use Kind::{Counter, Gauge};

/// Where a number stands in the status, and how it is called: name, kind and what it says.
type Metric = (&'static str, &'static str, Kind, &'static str);

const STORE: [Metric; 12] = [
    ("commits", "leafd_store_commits_total", Counter, "Commit rounds that wrote something."),
    ("syncs", "leafd_store_syncs_total", Counter, "Calls of fdatasync."),
    ("bytes_written", "leafd_store_written_bytes_total", Counter, "Bytes of records written."),
    ("bytes_compacted", "leafd_store_compacted_bytes_total", Counter, "Of those, by compaction."),
    ("bytes_freed", "leafd_store_freed_bytes_total", Counter, "Bytes that compaction gave back to the file system."),
    ("records", "leafd_store_records_total", Counter, "Records committed."),
    ("failures", "leafd_store_failures_total", Counter, "Commits that failed."),
    ("index_bytes", "leafd_store_index_bytes", Gauge, "Memory that the subjects of all streams take."),
    ("index_max_bytes", "leafd_store_index_max_bytes", Gauge, "Memory that they may take (memory.max)."),
    ("index_cold_subjects", "leafd_store_index_cold_subjects", Gauge, "Subjects that do not fit into it, on disk."),
    ("index_cold_bytes", "leafd_store_index_cold_bytes", Gauge, "Bytes of disk that they take."),
    (
        "subjects_refused",
        "leafd_store_subjects_refused_total",
        Counter,
        "Messages refused as not even the place of another subject on disk fits into it.",
    ),
];

const STREAM: [Metric; 5] = [
    ("messages", "leafd_stream_messages", Gauge, "Messages stored."),
    ("bytes", "leafd_stream_bytes", Gauge, "Bytes stored."),
    ("first_seq", "leafd_stream_first_sequence", Gauge, "First sequence."),
    ("last_seq", "leafd_stream_last_sequence", Gauge, "Last sequence."),
    ("consumer_count", "leafd_stream_consumers", Gauge, "Consumers."),
];

const CONSUMER: [Metric; 4] = [
    ("num_pending", "leafd_consumer_pending_messages", Gauge, "Messages not yet delivered."),
    ("num_ack_pending", "leafd_consumer_ack_pending_messages", Gauge, "Messages delivered and not acknowledged."),
    ("num_redelivered", "leafd_consumer_redelivered_messages", Gauge, "Of these, delivered more than once."),
    ("num_waiting", "leafd_consumer_waiting_pulls", Gauge, "Pull requests that wait."),
];

const LINK: [Metric; 10] = [
    ("up", "leafd_link_up", Gauge, "Whether messages can cross."),
    ("rtt_seconds", "leafd_link_round_trip_seconds", Gauge, "Last round trip."),
    ("sent", "leafd_link_sent_messages_total", Counter, "Messages sent, live and by uplinks."),
    ("sent_bytes", "leafd_link_sent_bytes_total", Counter, "Their bytes of headers and payload."),
    ("received", "leafd_link_received_messages_total", Counter, "Messages received."),
    ("received_bytes", "leafd_link_received_bytes_total", Counter, "Their bytes of headers and payload."),
    ("reconnects", "leafd_link_reconnects_total", Counter, "Connections after the first."),
    ("dropped", "leafd_link_dropped_messages_total", Counter, "Live messages not sent, as too much waited."),
    ("refused", "leafd_link_refused_messages_total", Counter, "Messages that the import list does not allow."),
    ("waiting_bytes", "leafd_link_waiting_bytes", Gauge, "Bytes that wait to be sent."),
];

const UPLINK: [Metric; 23] = [
    ("backlog_messages", "leafd_uplink_backlog_messages", Gauge, "Messages that the hub has yet to confirm."),
    ("backlog_bytes", "leafd_uplink_backlog_bytes", Gauge, "Their size on disk."),
    ("oldest_age", "leafd_uplink_oldest_age_seconds", Gauge, "Age of the oldest of them."),
    ("in_flight", "leafd_uplink_in_flight_messages", Gauge, "Messages in flight."),
    ("last_ack_seq", "leafd_uplink_confirmed_sequence", Gauge, "Last local sequence that the hub confirmed."),
    ("delivered", "leafd_uplink_delivered_messages_total", Counter, "Messages confirmed."),
    ("duplicates", "leafd_uplink_duplicate_messages_total", Counter, "Of those, what the hub already had."),
    ("resends", "leafd_uplink_resent_messages_total", Counter, "Messages sent more than once."),
    ("dead_letters", "leafd_uplink_dead_letters_total", Counter, "Messages that the hub refused for good."),
    ("gaps", "leafd_uplink_gap_messages_total", Counter, "Messages damaged, deleted or dropped before."),
    ("hub_lost", "leafd_uplink_hub_lost_messages_total", Counter, "Confirmed messages that the hub has lost."),
    ("rate", "leafd_uplink_rate_messages", Gauge, "Messages confirmed a second, over half a minute."),
    ("eta", "leafd_uplink_eta_seconds", Gauge, "Until the backlog has crossed at that rate."),
    ("bytes", "leafd_uplink_bytes_total", Counter, "Bytes that crossed for it, both ways, as compressed."),
    ("byte_rate", "leafd_uplink_rate_bytes", Gauge, "Bytes that crossed a second, over half a minute."),
    ("link_rate", "leafd_uplink_link_rate_bytes", Gauge, "What the link drains, bytes a second."),
    ("bytes_today", "leafd_uplink_bytes_today", Gauge, "Of these, today's."),
    ("bytes_this_month", "leafd_uplink_bytes_this_month", Gauge, "This calendar month's."),
    ("batches", "leafd_uplink_batches_total", Counter, "Atomic batches stored by the hub."),
    ("gaps_declared", "leafd_uplink_gaps_declared_total", Counter, "Gaps that the hub is told of."),
    ("thinned", "leafd_uplink_thinned_messages_total", Counter, "Messages dropped to thin a full stream."),
    ("reconciliations", "leafd_uplink_reconciliations_total", Counter, "Times the hub was asked where it stands."),
    ("watchdog", "leafd_uplink_watchdog_total", Counter, "Times nothing went on while the link was up."),
];

const ORIGIN: [Metric; 11] = [
    ("up", "leafd_origin_up", Gauge, "Whether the origin of a mirror or source is heard."),
    ("backlog_messages", "leafd_origin_backlog_messages", Gauge, "Messages that are still to come."),
    ("backlog_bytes", "leafd_origin_backlog_bytes", Gauge, "Their bytes, as large as those that came."),
    ("oldest_age", "leafd_origin_oldest_age_seconds", Gauge, "Age of the oldest of them at most."),
    ("rate", "leafd_origin_rate_messages", Gauge, "Messages that came a second, over half a minute."),
    ("eta", "leafd_origin_eta_seconds", Gauge, "Until the backlog is here at that rate."),
    ("heard_age", "leafd_origin_heard_age_seconds", Gauge, "Since the origin was last heard of."),
    ("received", "leafd_origin_received_messages_total", Counter, "Messages that came."),
    ("gaps", "leafd_origin_gap_messages_total", Counter, "Messages that the origin had no longer."),
    ("retries", "leafd_origin_retries_total", Counter, "Times that it began anew."),
    ("remade", "leafd_origin_remade_total", Counter, "Times that it was another stream of its name."),
];

const ADAPTER: [Metric; 9] = [
    ("ok", "leafd_adapter_up", Gauge, "Whether its device or broker is there and the store takes what it brings."),
    ("received", "leafd_adapter_received_readings_total", Counter, "Readings that came."),
    ("bytes", "leafd_adapter_received_bytes_total", Counter, "Their bytes."),
    ("waiting", "leafd_adapter_waiting_readings", Gauge, "Readings on their way to the disk."),
    ("stored", "leafd_adapter_stored_readings_total", Counter, "Readings that are on disk."),
    ("retries", "leafd_adapter_retries_total", Counter, "Times that the store refused a reading for a while."),
    ("dropped", "leafd_adapter_dropped_readings_total", Counter, "Readings that could not be used."),
    ("commands", "leafd_adapter_commands_total", Counter, "Commands carried out."),
    ("reconnects", "leafd_adapter_reconnects_total", Counter, "Times that the device or broker was lost."),
];

/// No options.
pub(super) async fn page(sources: &Sources) -> Response {
    // Absent only while the daemon ends.
    let status = sources.status().await.unwrap_or_default();
    let body = tokio::task::block_in_place(|| text(sources, &status)).into_bytes();
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Response { status: 200, content_type, headers: Vec::new(), body }
}

fn text(sources: &Sources, status: &Value) -> String {
    let mut out = String::new();
    let info = [("version", env!("CARGO_PKG_VERSION")), ("server_name", &sources.server_name)];
    metric(&mut out, "leafd_info", Gauge, "Version and name.", [(labels(&info), 1.0)]);
    server(&mut out, sources);
    family(&mut out, &STORE, &[(String::new(), &status["store"])]);
    streams(&mut out, sources);
    let named = |list: &'static str, label| -> Vec<_> {
        let items = status[list].as_array().map_or(&[][..], |items| items);
        items.iter().map(|item| (labels(&[(label, item["name"].as_str().unwrap_or_default())]), item)).collect()
    };
    family(&mut out, &LINK, &named("links", "link"));
    family(&mut out, &UPLINK, &named("uplinks", "uplink"));
    let classes = class_bytes(&status["uplinks"]);
    let help = "Bytes that crossed for the uplinks of a class, both ways, as compressed.";
    metric(&mut out, "leafd_uplink_class_bytes_total", Counter, help, classes);
    let origins = status["origins"].as_array().map_or(&[][..], |origins| origins);
    let of = |origin: &Value| {
        labels(&["stream", "origin", "kind"].map(|label| (label, origin[label].as_str().unwrap_or_default())))
    };
    family(&mut out, &ORIGIN, &origins.iter().map(|origin| (of(origin), origin)).collect::<Vec<_>>());
    family(&mut out, &ADAPTER, &named("adapters", "adapter"));
    out
}

/// The bytes of all uplinks by their class.
fn class_bytes(uplinks: &Value) -> Vec<(String, f64)> {
    let mut classes = BTreeMap::<&str, f64>::new();
    for uplink in uplinks.as_array().into_iter().flatten() {
        let (class, bytes) =
            (uplink["class"].as_str().unwrap_or_default(), uplink["bytes"].as_f64().unwrap_or_default());
        *classes.entry(class).or_default() += bytes;
    }
    classes.into_iter().map(|(class, bytes)| (labels(&[("class", class)]), bytes)).collect()
}

fn server(out: &mut String, sources: &Sources) {
    let (clients, totals) = (sources.clients.status(), sources.clients.totals());
    let uptime = sources.since.elapsed().as_secs_f64();
    for (name, kind, help, value) in [
        ("leafd_uptime_seconds", Gauge, "Since the start.", uptime),
        ("leafd_memory_bytes", Gauge, "Resident memory.", process::rss().unwrap_or(0) as f64),
        ("leafd_clients", Gauge, "Clients connected.", clients.connections as f64),
        ("leafd_clients_total", Counter, "Clients since the start.", clients.total_connections as f64),
        ("leafd_subscriptions", Gauge, "Subscriptions, ours included.", clients.subscriptions as f64),
        ("leafd_slow_consumers_total", Counter, "Clients cut off as they did not read.", clients.slow_consumers as f64),
        ("leafd_stale_connections_total", Counter, "Clients given up as they did not answer.", totals.stale as f64),
        ("leafd_in_messages_total", Counter, "Messages from clients.", totals.in_msgs as f64),
        ("leafd_in_bytes_total", Counter, "Their bytes of headers and payload.", totals.in_bytes as f64),
        ("leafd_out_messages_total", Counter, "Messages to clients.", totals.out_msgs as f64),
        ("leafd_out_bytes_total", Counter, "Their bytes of headers and payload.", totals.out_bytes as f64),
        ("leafd_leafs", Gauge, "Leaf connections that are up.", sources.leaf_connections().len() as f64),
    ] {
        metric(out, name, kind, help, [(String::new(), value)]);
    }
}

fn streams(out: &mut String, sources: &Sources) {
    let (mut streams, mut consumers) = (Vec::new(), Vec::new());
    for stream in sources.jetstreams().into_iter().flat_map(|jetstream| jetstream.streams()) {
        let account = ("account", stream.account().name());
        let state = stream.log().state();
        let list = stream.consumers().list();
        let numbers = serde_json::json!({
            "messages": state.msgs,
            "bytes": state.bytes,
            "first_seq": state.first_seq,
            "last_seq": state.last_seq,
            "consumer_count": list.len(),
        });
        streams.push((labels(&[account, ("stream", stream.name())]), numbers));
        for consumer in list {
            let info = consumer.info();
            // A struct of strings and numbers always serialises.
            let numbers = serde_json::to_value(&info).unwrap_or_default();
            consumers.push((labels(&[account, ("stream", stream.name()), ("consumer", &info.name)]), numbers));
        }
    }
    family(out, &STREAM, &streams);
    family(out, &CONSUMER, &consumers);
}

/// The same numbers of each of several things, which are named by labels.
fn family<V: Borrow<Value>>(out: &mut String, metrics: &[Metric], things: &[(String, V)]) {
    for (key, name, kind, help) in metrics {
        let values = things.iter().filter_map(|(labels, thing)| Some((labels.clone(), number(thing.borrow(), key)?)));
        metric(out, name, *kind, help, values);
    }
}

fn number(thing: &Value, key: &str) -> Option<f64> {
    match key {
        "ok" => Some(f64::from(u8::from(thing["state"] == "ok"))),
        "rtt_seconds" => thing["rtt_ms"].as_f64().map(|ms| ms / 1e3),
        key => thing[key].as_f64().or(thing[key].as_bool().map(|flag| f64::from(u8::from(flag)))),
    }
}

fn metric(out: &mut String, name: &str, kind: Kind, help: &str, values: impl IntoIterator<Item = (String, f64)>) {
    let kind = match kind {
        Counter => "counter",
        Gauge => "gauge",
    };
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for (labels, value) in values {
        let _ = writeln!(out, "{name}{labels} {value}");
    }
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_class() {
        let uplink = |class, bytes| serde_json::json!({ "class": class, "bytes": bytes });
        let bytes = class_bytes(&serde_json::json!([uplink("bulk", 5), uplink("alarm", 1), uplink("bulk", 7)]));
        assert_eq!(bytes, [("{class=\"alarm\"}".to_owned(), 1.0), ("{class=\"bulk\"}".to_owned(), 12.0)]);
    }

    #[test]
    fn the_text_format() {
        let thing = serde_json::json!({ "up": true, "rtt_ms": 1.5, "sent": 7 });
        let mut out = String::new();
        family(&mut out, &LINK[..3], &[(labels(&[("link", "a\"b\\c")]), &thing)]);
        assert_eq!(
            out,
            "# HELP leafd_link_up Whether messages can cross.\n# TYPE leafd_link_up gauge\nleafd_link_up{link=\"a\\\"b\\\\c\"} 1\n\
             # HELP leafd_link_round_trip_seconds Last round trip.\n# TYPE leafd_link_round_trip_seconds gauge\nleafd_link_round_trip_seconds{link=\"a\\\"b\\\\c\"} 0.0015\n\
             # HELP leafd_link_sent_messages_total Messages sent, live and by uplinks.\n# TYPE leafd_link_sent_messages_total counter\nleafd_link_sent_messages_total{link=\"a\\\"b\\\\c\"} 7\n"
        );
    }
}
