//! The status as people read it.

use serde_json::Value;
use std::fmt::Write;

/// Renders the answer of the control socket, a line for each part and one for each thing within it.
pub fn render(status: &Value) -> String {
    let mut out = String::new();
    let process = &status["process"];
    let _ = writeln!(
        out,
        "leafd {} \"{}\", process {}, up {}, {} of memory",
        text(&process["version"]),
        text(&status["server_name"]),
        process["pid"],
        duration(process["uptime"].as_f64()),
        bytes(&process["rss"])
    );
    let clients = &status["clients"];
    let _ = writeln!(
        out,
        "clients   {}: {} connected, {} subscriptions, {} slow consumers",
        text(&clients["address"]),
        clients["connections"],
        clients["subscriptions"],
        clients["slow_consumers"]
    );
    let store = &status["store"];
    let _ = writeln!(
        out,
        "store     {}: {} records in {} commits, {} written{}",
        text(&status["data_dir"]),
        store["records"],
        store["commits"],
        bytes(&store["bytes_written"]),
        store["error"].as_str().map(|e| format!("; FAILING: {e}")).unwrap_or_default()
    );
    for stream in list(&status["streams"]) {
        let state = &stream["state"];
        let _ = writeln!(
            out,
            "stream    {}: {} messages, {}, {} to {}{}",
            text(&stream["name"]),
            state["messages"],
            bytes(&state["bytes"]),
            state["first_seq"],
            state["last_seq"],
            stream["sync"]
                .as_str()
                .filter(|sync| sync.starts_with("every"))
                .map_or_else(String::new, |sync| format!("; on disk {sync}"))
        );
    }
    for link in list(&status["links"]) {
        link_lines(&mut out, link);
    }
    for leaf in list(&status["leafs"]) {
        let user = leaf["user"].as_str().map(|user| format!(" as {user}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "leaf      {} at {}{user}, account {}: {} sent, {} received, {} dropped, {} refused",
            text(&leaf["name"]),
            text(&leaf["address"]),
            text(&leaf["account"]),
            leaf["sent"],
            leaf["received"],
            leaf["dropped"],
            leaf["refused"]
        );
    }
    for uplink in list(&status["uplinks"]) {
        uplink_lines(&mut out, uplink);
    }
    for origin in list(&status["origins"]) {
        origin_lines(&mut out, origin);
    }
    for adapter in list(&status["adapters"]) {
        let _ = writeln!(out, "adapter   {}", fields(adapter, &["kind", "name", "state"]));
    }
    out
}

fn link_lines(out: &mut String, link: &Value) {
    let name = text(&link["name"]);
    let _ = match link["up"].as_bool() {
        Some(true) => writeln!(
            out,
            "link      {name}: up, to {} {} at {}; round trip {:.1} ms",
            text(&link["hub_name"]),
            text(&link["hub_version"]),
            text(&link["hub_url"]),
            link["rtt_ms"].as_f64().unwrap_or(0.0)
        ),
        _ => writeln!(out, "link      {name}: DOWN: {}", text(&link["reason"])),
    };
    let _ = writeln!(
        out,
        "          {} sent, {} received, {} dropped, {} reconnects",
        link["sent"], link["received"], link["dropped"], link["reconnects"]
    );
}

fn origin_lines(out: &mut String, origin: &Value) {
    let _ = writeln!(
        out,
        "{:<9} {} of {}: {}{}",
        text(&origin["kind"]),
        text(&origin["stream"]),
        text(&origin["origin"]),
        text(&origin["state"]),
        origin["error"].as_str().map(|error| format!(": {error}")).unwrap_or_default()
    );
    let _ = writeln!(
        out,
        "          backlog {} messages, {}, oldest {}{}; last heard {} ago, at sequence {}; {} received, {} gaps, {} retries",
        origin["backlog_messages"],
        bytes(&origin["backlog_bytes"]),
        duration(origin["oldest_age"].as_f64()),
        origin["eta"].as_f64().map(|eta| format!(", done in {}", duration(Some(eta)))).unwrap_or_default(),
        duration(origin["heard_age"].as_f64()),
        origin["last_seq"],
        origin["received"],
        origin["gaps"],
        origin["retries"]
    );
}

fn uplink_lines(out: &mut String, uplink: &Value) {
    let _ = writeln!(
        out,
        "uplink    {}: {}; link {}",
        text(&uplink["name"]),
        text(&uplink["state"]),
        text(&uplink["link"])
    );
    let _ = writeln!(
        out,
        "          backlog {} messages, {}, oldest {}{}; last hub ack {} at sequence {}",
        uplink["backlog_messages"],
        bytes(&uplink["backlog_bytes"]),
        duration(uplink["oldest_age"].as_f64()),
        uplink["eta"].as_f64().map(|eta| format!(", done in {}", duration(Some(eta)))).unwrap_or_default(),
        uplink["last_ack_time"].as_str().unwrap_or("never"),
        uplink["last_ack_seq"]
    );
    let _ = writeln!(
        out,
        "          {} delivered, {} duplicates, {} resends, {} dead letters, {} gaps; exactly once: {}",
        uplink["delivered"],
        uplink["duplicates"],
        uplink["resends"],
        uplink["dead_letters"],
        uplink["gaps"],
        text(&uplink["exactly_once"])
    );
    let _ = writeln!(
        out,
        "          {}, {:.1} messages a second; {} today, {} this month; {} thinned, {} gaps declared, {} stalls",
        text(&uplink["class"]),
        uplink["rate"].as_f64().unwrap_or(0.0),
        bytes(&uplink["bytes_today"]),
        bytes(&uplink["bytes_this_month"]),
        uplink["thinned"].as_u64().unwrap_or(0),
        uplink["gaps_declared"].as_u64().unwrap_or(0),
        uplink["watchdog"].as_u64().unwrap_or(0)
    );
    if let Some(refusal) = uplink["refusal"].as_str() {
        let _ = writeln!(out, "          the hub refuses: {refusal}");
    }
    if let Some(advice) = uplink["advice"].as_str() {
        let _ = writeln!(out, "          {advice}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], |v| v)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// The `first` fields by their values, then every other one that is a string or a number and not zero, by name.
fn fields(value: &Value, first: &[&str]) -> String {
    let plain = |v: &Value| match v {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    let mut parts: Vec<String> = first.iter().filter(|f| !value[**f].is_null()).map(|f| plain(&value[*f])).collect();
    for (name, field) in value.as_object().into_iter().flatten() {
        let shown = matches!(field, Value::String(s) if !s.is_empty()) || field.as_f64().is_some_and(|n| n != 0.0);
        if shown && !first.contains(&name.as_str()) {
            parts.push(format!("{name} {}", plain(field)));
        }
    }
    parts.join(", ")
}

fn bytes(value: &Value) -> String {
    crate::config::units::ByteSize(value.as_u64().unwrap_or(0)).to_string()
}

fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "none".to_owned(),
        Some(s) if s < 60.0 => format!("{s:.1}s"),
        Some(s) if s < 3600.0 => format!("{}m{}s", s as u64 / 60, s as u64 % 60),
        Some(s) => format!("{}h{}m", s as u64 / 3600, s as u64 % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn shows_what_an_operator_asks_first() {
        let text = super::render(&serde_json::json!({
            "server_name": "gw1", "data_dir": "/d",
            "process": { "version": "0.1.0", "pid": 7, "uptime": 3725, "rss": 4 << 20 },
            "clients": { "address": "127.0.0.1:4222", "connections": 2, "subscriptions": 5, "slow_consumers": 0 },
            "store": { "records": 9, "commits": 3, "bytes_written": 2048, "error": "disk full" },
            "streams": [{ "name": "S", "sync": "every 10s", "state": { "messages": 4, "bytes": 10, "first_seq": 1, "last_seq": 4 } }],
            "links": [
                { "name": "hub", "up": false, "reason": "refused", "sent": 1, "received": 2, "dropped": 0, "reconnects": 0 },
                { "name": "b", "up": true, "hub_name": "h", "hub_version": "2.15.1", "hub_url": "tls://h:7422", "rtt_ms": 1.25,
                  "sent": 1, "received": 2, "dropped": 0, "reconnects": 0 },
            ],
            "leafs": [{ "name": "plc1", "address": "127.0.0.1:9", "user": "line", "account": "$G", "sent": 1, "received": 2,
                "dropped": 0, "refused": 3 }],
            "adapters": [{ "kind": "serial", "name": "s", "state": "ok", "stored": 5, "dropped": 0 }],
            "uplinks": [{ "name": "t", "state": "waiting", "link": "down", "backlog_messages": 12, "backlog_bytes": 4096,
                "oldest_age": 75.5, "last_ack_seq": 3, "delivered": 3, "duplicates": 0, "resends": 0, "dead_letters": 0,
                "gaps": 0, "exactly_once": "yes", "class": "bulk", "rate": 2.5, "eta": 4.8, "bytes_today": 3 << 20 }],
        }));
        for want in [
            "up 1h2m",
            "FAILING: disk full",
            "stream    S: 4 messages, 10 B, 1 to 4; on disk every 10s",
            "hub: DOWN: refused",
            "b: up, to h 2.15.1 at tls://h:7422",
            "leaf      plc1 at 127.0.0.1:9 as line, account $G: 1 sent, 2 received, 0 dropped, 3 refused",
            "serial, s, ok, stored 5",
            "backlog 12 messages, 4 KB, oldest 1m15s, done in 4.8s;",
            "bulk, 2.5 messages a second; 3 MB today, 0 B this month",
            "last hub ack never",
        ] {
            assert!(text.contains(want), "{want} is not in\n{text}");
        }
    }
}
