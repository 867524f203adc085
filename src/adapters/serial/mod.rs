//! Serial devices: each frame becomes a reading, and messages on the command subject are written to the device.
//!
//! The device cannot wait: what it sends while the store takes nothing is kept up to [`MAX_WAITING`] readings, and beyond
//! that dropped and counted.

mod command;

use super::AdapterContext;
use super::intake::{Intake, MAX_BATCH, Reading};
use super::pipeline::framing::Newline;
use super::pipeline::subject;
use super::status::Health;
use crate::config::adapter::{Parity, SerialConfig};
use command::Commands;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::sync::{mpsc, watch};
use tokio_serial::{DataBits, SerialPortBuilderExt, SerialStream, StopBits};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Readings that may wait for the store.
const MAX_WAITING: usize = 4096;

/// Runs until told to end, and until what was read before that is on disk or cannot be had there.
pub(super) async fn run(
    config: SerialConfig,
    context: AdapterContext,
    health: Arc<Health>,
    ends: watch::Receiver<bool>,
) {
    let (arrived, arrivals) = mpsc::channel(MAX_WAITING);
    let commands = Commands::new(&config, &context, health.clone());
    let intake = Intake::new(context.account, health.clone(), ends.clone());
    // `keep_open` ends first and closes the queue, which `store` then empties.
    tokio::join!(keep_open(&config, arrived, commands, &health, ends), store(arrivals, intake, &health));
}

/// Keeps the device open; returns when told to end.
async fn keep_open(
    config: &SerialConfig,
    arrived: mpsc::Sender<Reading>,
    mut commands: Commands,
    health: &Health,
    mut ends: watch::Receiver<bool>,
) {
    let mut source = Source::new(config, arrived);
    let mut pause = FIRST_PAUSE;
    while !*ends.borrow() {
        let reason = match open(config) {
            Ok(port) => {
                health.source(None);
                pause = FIRST_PAUSE;
                let (reader, writer) = tokio::io::split(port);
                let reason = tokio::select! {
                    reason = source.read(reader, health) => reason,
                    reason = commands.write(writer) => reason,
                    _ = ends.wait_for(|end| *end) => return,
                };
                health.add(&health.reconnects, 1);
                reason
            }
            Err(error) => error.to_string(),
        };
        health.source(Some(&format!("{} is not usable ({reason}); trying again", config.port)));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = commands.refuse("the device is not there") => {}
            _ = ends.wait_for(|end| *end) => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open(config: &SerialConfig) -> tokio_serial::Result<SerialStream> {
    let data_bits = match config.data_bits {
        5 => DataBits::Five,
        6 => DataBits::Six,
        7 => DataBits::Seven,
        _ => DataBits::Eight,
    };
    let parity = match config.parity {
        Parity::None => tokio_serial::Parity::None,
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
    };
    let stop_bits = if config.stop_bits == 2 { StopBits::Two } else { StopBits::One };
    tokio_serial::new(&config.port, config.baud)
        .data_bits(data_bits)
        .parity(parity)
        .stop_bits(stop_bits)
        .open_native_async()
}

/// Turns bytes into readings.
struct Source {
    subject: String,
    max_length: usize,
    /// By which a reading is recognised that has to be published again because its acknowledgement was late.
    run: String,
    count: u64,
    arrived: mpsc::Sender<Reading>,
}

impl Source {
    fn new(config: &SerialConfig, arrived: mpsc::Sender<Reading>) -> Source {
        Source {
            subject: subject::fill(&config.subject, &config.name, ""),
            max_length: config.max_length,
            run: format!("serial:{}:{:016x}", config.name, fastrand::u64(..)),
            count: 0,
            arrived,
        }
    }

    /// Reads until the device is lost; why.
    async fn read(&mut self, mut port: ReadHalf<SerialStream>, health: &Health) -> String {
        let mut framer = Newline::new(self.max_length);
        let mut frames = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let read = match port.read(&mut buffer).await {
                Ok(0) => return "it was closed".to_owned(),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return e.to_string(),
            };
            framer.push(&buffer[..read], &mut frames);
            health.add(&health.dropped, framer.take_dropped());
            for payload in frames.drain(..) {
                self.count += 1;
                health.receive(payload.len());
                let id = format!("{}:{}", self.run, self.count);
                if self.arrived.try_send(Reading { subject: self.subject.clone(), payload, id }).is_err() {
                    health.add(&health.dropped, 1);
                }
            }
        }
    }
}

/// Stores what has arrived, until no more can come.
async fn store(mut arrivals: mpsc::Receiver<Reading>, mut intake: Intake, health: &Health) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while arrivals.recv_many(&mut batch, MAX_BATCH).await > 0 {
        if intake.store(&batch).await.is_err() {
            let lost = batch.len() + arrivals.len();
            return health.add(&health.dropped, lost as u64);
        }
        batch.clear();
    }
}
