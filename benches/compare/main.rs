//! leafd beside nats-server, in turn on the same machine: `cargo bench --bench compare`.
//!
//! `core`, `stream`, `get`, `leaf`, `scale` or `churn` behind `--` measures that part alone; all but `churn` are measured without one.
//! `catch-up` is the part of `leaf` about a backlog.
//! Each figure is the median of several rounds, in each of which all rivals run one after the other; ratios are of medians.
//! `LEAFD_BIN` and `NATS_SERVER` name other binaries; `ROUNDS` another number of rounds than three.

mod client;
mod core;
mod get;
mod leaf;
mod scale;
mod server;
mod stream;
mod wire;

use server::{Rival, Server};
use std::collections::BTreeMap;
use std::time::Duration;

const RIVALS: [Rival; 3] = [Rival::Leafd, Rival::Nats, Rival::NatsAlways];

/// Figures by row and rival.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    figures: BTreeMap<(String, u8), Vec<f64>>,
}

struct Row {
    name: String,
    budget: &'static str,
}

impl Table {
    fn add(&mut self, name: &str, rival: Rival, figure: f64, budget: &'static str) {
        if !self.rows.iter().any(|row| row.name == name) {
            self.rows.push(Row { name: name.to_owned(), budget });
        }
        self.figures.entry((name.to_owned(), rival as u8)).or_default().push(figure);
    }

    fn median(&self, name: &str, rival: Rival) -> Option<f64> {
        let mut figures = self.figures.get(&(name.to_owned(), rival as u8))?.clone();
        figures.sort_by(f64::total_cmp);
        Some(figures[figures.len() / 2])
    }

    fn print(&self) {
        let show = |f: Option<f64>| match f {
            None => "-".to_owned(),
            Some(f) if f >= 1000.0 => format!("{f:.0}"),
            Some(f) => format!("{f:.2}"),
        };
        println!("| what | leafd | nats-server | always | leafd / nats-server | leafd / always | budget |");
        println!("|---|---|---|---|---|---|---|");
        for row in &self.rows {
            let [ours, nats, always] = RIVALS.map(|rival| self.median(&row.name, rival));
            let ratio = |other: Option<f64>| show(ours.zip(other).map(|(a, b)| a / b));
            let (to_nats, to_always) = (ratio(nats), ratio(always));
            println!(
                "| {} | {} | {} | {} | {to_nats} | {to_always} | {} |",
                row.name,
                show(ours),
                show(nats),
                show(always),
                row.budget
            );
        }
    }
}

fn measure_core(table: &mut Table, rival: Rival) {
    let server = Server::start(rival);
    // As it stays: leafd lets go of what only its start has used.
    std::thread::sleep(Duration::from_secs(10));
    table.add("idle RSS, kB", rival, server.rss() as f64, "6,000 kB");
    let shapes = [
        ("1:1", 1, 1, false, 1_000_000),
        ("1:8", 1, 8, false, 300_000),
        ("queue 1:4", 1, 4, true, 600_000),
        ("4:4", 4, 4, false, 600_000),
    ];
    for (shape, publishers, subscribers, queue, count) in shapes {
        let routed = core::routed(&server, publishers, subscribers, queue, count);
        table.add(&format!("routed {shape}, messages/s"), rival, routed.rate, ">= 2");
        table.add(&format!("routed {shape}, CPU us/delivery"), rival, routed.cpu, "<= 0.4");
    }
    let (p50, p99) = core::requests(&server, 10_000);
    table.add("request p50, us", rival, p50, "<= 0.8");
    table.add("request p99, us", rival, p99, "");
    table.add("RSS after load, kB", rival, server.rss() as f64, "");
}

fn measure_stream(table: &mut Table, rival: Rival) {
    let server = Server::start(rival);
    let slow = rival == Rival::NatsAlways;
    for (window, count, budget) in [
        (1, 3_000, ">= 1.5 always"),
        (64, 60_000, ">= 0.65, >= 20 always"),
        (256, 200_000, ">= 1.3, >= 40 always"),
        (1024, 300_000, ">= 1.3, >= 40 always"),
    ] {
        let name = format!("S{window}");
        stream::create(&server, &name);
        let count = if slow { count.min(10_000) } else { count };
        let published = stream::publish(&server, &name, count, window);
        table.add(&format!("acks/s, {window} in flight"), rival, published.rate, budget);
        table.add(
            &format!("bytes written per message, {window} in flight"),
            rival,
            published.written,
            if window >= 64 { "<= 256 bytes" } else { "" },
        );
        table.add(&format!("CPU us/ack, {window} in flight"), rival, published.cpu, "");
    }
    if !slow {
        table.add("pull with acks, messages/s", rival, stream::pull(&server, "S256", 200_000), ">= 2");
        table.add("replay (push), messages/s", rival, stream::replay(&server, "S256", 200_000), ">= 2");
    }
    table.add("bytes written in an idle hour", rival, stream::idle(&server), "");
}

fn measure_get(table: &mut Table, rival: Rival) {
    let server = Server::start(rival);
    let keys = 10_000;
    get::fill(&server, keys, 128);
    for (window, count) in [(1, 20_000), (64, 200_000)] {
        let got = get::gets(&server, keys, count, window);
        table.add(&format!("key-value gets/s, {window} in flight"), rival, got.rate, ">= 2");
        table.add(&format!("CPU us/get, {window} in flight"), rival, got.cpu, "<= 0.5");
        if window == 1 {
            table.add("key-value get p50, us", rival, got.p50, "<= 0.8");
        }
    }
}

fn measure_leaf(table: &mut Table, rival: Rival) {
    let hub = leaf::hub();
    let port = hub.leaf_port();
    {
        let leaf = leaf::leaf(rival, ([127, 0, 0, 1], port).into(), "off");
        for (name, from, to) in [("leaf to hub", &leaf, &hub), ("hub to leaf", &hub, &leaf)] {
            let crossed = leaf::cross(from, to, &leaf, 1_000_000);
            table.add(&format!("{name}, messages/s"), rival, crossed.rate, "");
            table.add(&format!("{name}, CPU us/message at the leaf"), rival, crossed.cpu, "");
        }
        table.add("request from leaf to hub p50, us", rival, leaf::requests(&leaf, &hub, 10_000), "");
    }
    for mode in ["off", "s2_fast", "s2_better", "s2_best"] {
        let wire = wire::Wire::closed(port);
        wire.open();
        let leaf = leaf::leaf(rival, wire.address, mode);
        let bytes = leaf::weight(&leaf, &hub, &wire, 100_000);
        table.add(&format!("bytes on the wire per reading, {mode}"), rival, bytes, "");
    }
    measure_catch_up(table, rival);
}

/// How long a backlog takes to the hub, and what it costs there.
fn measure_catch_up(table: &mut Table, rival: Rival) {
    for (name, way) in [("mirror", leaf::Way::Mirror), ("source", leaf::Way::Source), ("uplink", leaf::Way::Uplink)] {
        if way != leaf::Way::Uplink || rival == Rival::Leafd {
            let caught_up = leaf::catch_up(rival, way, 1_000_000);
            table.add(&format!("1,000,000 stored messages to the hub by {name}, s"), rival, caught_up.seconds, "");
            table.add(&format!("CPU us/message at the hub, {name}"), rival, caught_up.hub, "");
            table.add(&format!("CPU us/message at the leaf, {name}"), rival, caught_up.leaf, "");
        }
    }
}

fn measure_scale(table: &mut Table, rival: Rival) {
    let server = Server::start(rival);
    table.add("idle wake-ups/s", rival, scale::wakeups(&server, Duration::from_secs(10)), "<= 2");
    table.add("10,000 connections, kB", rival, scale::connections(&server, 10_000), "");
    for count in [100_000, 1_000_000] {
        let server = Server::start(rival);
        let held = scale::subscriptions(&server, count);
        table.add(&format!("{count} subscriptions, kB"), rival, held.rss, "<= 0.33");
        table.add(&format!("{count} subscriptions, subscribed/s"), rival, held.rate, "");
        table.add(&format!("{count} subscriptions, routed/s"), rival, held.routed, "");
    }
    let server = Server::start(rival);
    let stalled = scale::stalled(&server, 1000, 5_000);
    table.add("1000 readers beside a stalled one, deliveries/s", rival, stalled.rate, "");
    table.add("1000 readers beside a stalled one, most kB", rival, stalled.rss, "");
    table.add("request p50 under garbage, us", rival, scale::flooded(&server), "");
    let server = Server::start(rival);
    let (rate, rss) = scale::streams(&server, 1_000);
    table.add("1,000 streams, created/s", rival, rate, "");
    table.add("1,000 streams, kB", rival, rss, "");
    let server = Server::start(rival);
    stream::create(&server, "S");
    let (rate, rss) = scale::consumers(&server, "S", 10_000);
    table.add("10,000 consumers, created/s", rival, rate, "");
    table.add("10,000 consumers, kB", rival, rss, "");
    let server = Server::start(rival);
    let keys = scale::keys(&server, 1_000_000);
    table.add("1,000,000 keys, puts/s", rival, keys.puts, "");
    table.add("1,000,000 keys, kB", rival, keys.rss, "");
    table.add("1,000,000 keys, direct gets/s", rival, keys.gets, ">= 2");
}

/// `MINUTES` (one unless set) of clients that come and go, one rival after the other.
fn measure_churn(table: &mut Table, rival: Rival) {
    let minutes = std::env::var("MINUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let server = Server::start(rival);
    let (rss, rate) = scale::churn(&server, Duration::from_secs(minutes * 60));
    table.add("clients that come and go, kB gained", rival, rss, "0");
    table.add("clients that come and go, each/s", rival, rate, "");
}

fn main() {
    // Cargo adds a flag of its own.
    let part = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let wanted = |name: &str| part.as_deref().is_none_or(|p| p == name);
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut table = Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for rival in [Rival::Leafd, Rival::Nats] {
            if wanted("core") {
                measure_core(&mut table, rival);
            }
            if wanted("get") {
                measure_get(&mut table, rival);
            }
            if wanted("leaf") {
                measure_leaf(&mut table, rival);
            }
            if part.as_deref() == Some("catch-up") {
                measure_catch_up(&mut table, rival);
            }
            if wanted("scale") {
                measure_scale(&mut table, rival);
            }
            if part.as_deref() == Some("churn") {
                measure_churn(&mut table, rival);
            }
        }
        for rival in RIVALS.into_iter().filter(|_| wanted("stream")) {
            measure_stream(&mut table, rival);
        }
    }
    table.print();
}
