//! leafd beside nats-server, in turn on the same machine: `cargo bench --bench compare`.
//!
//! Each figure is the median of several rounds, in each of which all rivals run one after the other; ratios are of medians.
//! `LEAFD_BIN` and `NATS_SERVER` name other binaries; `ROUNDS` another number of rounds than three.

mod client;
mod core;
mod server;
mod stream;

use server::{Rival, Server};
use std::collections::BTreeMap;

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
}

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut table = Table::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for rival in [Rival::Leafd, Rival::Nats] {
            measure_core(&mut table, rival);
        }
        for rival in RIVALS {
            measure_stream(&mut table, rival);
        }
    }
    table.print();
}
