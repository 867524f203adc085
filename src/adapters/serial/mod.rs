//! Serial devices: each frame becomes a reading, and messages on the command subject are written to the device.

use super::AdapterContext;
use super::intake::{Intake, MAX_BATCH, Reading};
use super::pipeline::framing::Newline;
use super::pipeline::subject;
use super::status::Health;
use crate::account::{Inbox, LocalClient, Message, OwnedMessage};
use crate::config::adapter::{Parity, SerialConfig};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio_serial::{DataBits, SerialPortBuilderExt, SerialStream, StopBits};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Commands that may wait.
const MAX_COMMANDS: usize = 64;
/// How long a device may take to accept a command.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// Runs until told to end.
pub(super) async fn run(
    config: SerialConfig,
    context: AdapterContext,
    health: Arc<Health>,
    mut ends: watch::Receiver<bool>,
) {
    let client = LocalClient::new(context.account.clone());
    let mut commands = config
        .command
        .as_ref()
        .map(|command| client.subscribe(&subject::fill(command, &config.name, ""), MAX_COMMANDS));
    let mut intake = Intake::new(context.account, health.clone(), ends.clone());
    let mut pause = FIRST_PAUSE;
    while !*ends.borrow() {
        let reason = match open(&config) {
            Ok(port) => {
                health.set("ok");
                pause = FIRST_PAUSE;
                let (reader, mut writer) = tokio::io::split(port);
                let reason = tokio::select! {
                    reason = read(&config, reader, &mut intake, &health) => reason,
                    reason = write(&config, &mut writer, commands.as_mut(), &client, &health) => reason,
                    _ = ends.wait_for(|end| *end) => return,
                };
                health.add(&health.reconnects, 1);
                reason
            }
            Err(error) => error.to_string(),
        };
        health.set(&format!("{} is not usable ({reason}); trying again", config.port));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = refuse(commands.as_mut(), &client) => {}
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

/// Reads until the device is lost or the adapter ends; the device waits while the store does.
async fn read(config: &SerialConfig, mut port: ReadHalf<SerialStream>, intake: &mut Intake, health: &Health) -> String {
    let subject = subject::fill(&config.subject, &config.name, "");
    let mut framer = Newline::new(config.max_length);
    // By which a reading is recognised that has to be published again because its acknowledgement was late.
    let run = format!("serial:{}:{:016x}", config.name, fastrand::u64(..));
    let mut count = 0u64;
    let mut buffer = [0; 4096];
    loop {
        let read = match port.read(&mut buffer).await {
            Ok(0) => return "it was closed".to_owned(),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return e.to_string(),
        };
        let mut frames = Vec::new();
        framer.push(&buffer[..read], &mut frames);
        health.add(&health.dropped, framer.take_dropped());
        let readings: Vec<Reading> = frames
            .into_iter()
            .map(|payload| {
                count += 1;
                Reading { subject: subject.clone(), payload, id: Some(format!("{run}:{count}")) }
            })
            .collect();
        for batch in readings.chunks(MAX_BATCH) {
            if intake.store(batch).await.is_err() {
                return "ending".to_owned();
            }
        }
    }
}

/// Writes commands until the device is lost.
async fn write(
    config: &SerialConfig,
    port: &mut WriteHalf<SerialStream>,
    commands: Option<&mut Inbox>,
    client: &LocalClient,
    health: &Health,
) -> String {
    let Some(commands) = commands else { return std::future::pending().await };
    loop {
        let Some(command) = commands.next().await else { return std::future::pending().await };
        if command.payload.len() > config.max_length || command.payload.contains(&b'\n') {
            let bound = config.max_length;
            answer(client, &command, &format!("-ERR a command is one line of at most {bound} bytes"));
            continue;
        }
        let mut line = command.payload.to_vec();
        line.push(b'\n');
        let written = tokio::time::timeout(WRITE_LIMIT, async {
            port.write_all(&line).await?;
            port.flush().await
        });
        let error = match written.await {
            Ok(Ok(())) => {
                health.add(&health.commands, 1);
                answer(client, &command, "+OK");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not take the command".to_owned(),
        };
        answer(client, &command, &format!("-ERR {}: {error}", config.port));
        return error;
    }
}

/// Answers commands for a device that is not there.
async fn refuse(commands: Option<&mut Inbox>, client: &LocalClient) {
    let Some(commands) = commands else { return std::future::pending().await };
    while let Some(command) = commands.next().await {
        answer(client, &command, "-ERR the device is not there");
    }
}

fn answer(client: &LocalClient, command: &OwnedMessage, text: &str) {
    if !command.reply.is_empty() {
        client.publish(&Message { subject: &command.reply, reply: "", headers: b"", payload: text.as_bytes() });
    }
}
