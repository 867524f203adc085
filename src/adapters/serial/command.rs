//! Commands to a serial device: one line each, answered once the device has taken it.

use crate::account::Inbox;
use crate::adapters::AdapterContext;
use crate::adapters::command::Desk;
use crate::adapters::pipeline::subject;
use crate::adapters::status::Health;
use crate::config::adapter::SerialConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio_serial::SerialStream;

/// Commands that may wait.
const MAX_COMMANDS: usize = 64;
/// How long a device may take to accept a command.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// The commands of one device.
pub(super) struct Commands {
    desk: Desk,
    /// `None`: the device takes none.
    inbox: Option<Inbox>,
    dropped: u64,
    max_length: usize,
    port: String,
}

impl Commands {
    pub fn new(config: &SerialConfig, context: &AdapterContext, health: Arc<Health>) -> Commands {
        let desk = Desk::new(context, health);
        let subject = config.command.as_ref().map(|command| subject::fill(command, &config.name, ""));
        let inbox = subject.map(|subject| desk.client().subscribe(&subject, MAX_COMMANDS));
        Commands { desk, inbox, dropped: 0, max_length: config.max_length, port: config.port.clone() }
    }

    /// Writes commands until the device is lost; why.
    pub async fn write(&mut self, mut port: WriteHalf<SerialStream>) -> String {
        let Some(inbox) = &mut self.inbox else { return std::future::pending().await };
        loop {
            let Some(command) = inbox.next().await else { return std::future::pending().await };
            self.desk.note_dropped(inbox, &mut self.dropped);
            if !self.desk.admits(&command) {
                continue;
            }
            if command.payload.len() > self.max_length || command.payload.contains(&b'\n') {
                let text = format!("a command is one line of at most {} bytes", self.max_length);
                self.desk.answer(&command, Err(&text));
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
                    self.desk.answer(&command, Ok(()));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not take the command".to_owned(),
            };
            self.desk.answer(&command, Err(&format!("{}: {error}", self.port)));
            return error;
        }
    }

    /// Answers commands that cannot be carried out now; never returns.
    pub async fn refuse(&mut self, reason: &str) {
        let Some(inbox) = &mut self.inbox else { return std::future::pending().await };
        while let Some(command) = inbox.next().await {
            self.desk.note_dropped(inbox, &mut self.dropped);
            self.desk.answer(&command, Err(reason));
        }
    }
}
