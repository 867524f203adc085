//! Commands to a serial device: one line each, answered once the device has taken it.

use crate::account::{Account, Inbox, LocalClient};
use crate::adapters::command::{answer, note_dropped};
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
    client: LocalClient,
    /// `None`: the device takes none.
    inbox: Option<Inbox>,
    dropped: u64,
    max_length: usize,
    port: String,
    health: Arc<Health>,
}

impl Commands {
    pub fn new(config: &SerialConfig, account: Arc<Account>, health: Arc<Health>) -> Commands {
        let client = LocalClient::new(account);
        let subject = config.command.as_ref().map(|command| subject::fill(command, &config.name, ""));
        let inbox = subject.map(|subject| client.subscribe(&subject, MAX_COMMANDS));
        Commands { client, inbox, dropped: 0, max_length: config.max_length, port: config.port.clone(), health }
    }

    /// Writes commands until the device is lost; why.
    pub async fn write(&mut self, mut port: WriteHalf<SerialStream>) -> String {
        let Some(inbox) = &mut self.inbox else { return std::future::pending().await };
        loop {
            let Some(command) = inbox.next().await else { return std::future::pending().await };
            note_dropped(inbox, &mut self.dropped, &self.health);
            if command.payload.len() > self.max_length || command.payload.contains(&b'\n') {
                let text = format!("a command is one line of at most {} bytes", self.max_length);
                answer(&self.client, &command, Err(&text), &self.health);
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
                    answer(&self.client, &command, Ok(()), &self.health);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not take the command".to_owned(),
            };
            answer(&self.client, &command, Err(&format!("{}: {error}", self.port)), &self.health);
            return error;
        }
    }

    /// Answers commands that cannot be carried out now; never returns.
    pub async fn refuse(&mut self, reason: &str) {
        let Some(inbox) = &mut self.inbox else { return std::future::pending().await };
        while let Some(command) = inbox.next().await {
            note_dropped(inbox, &mut self.dropped, &self.health);
            answer(&self.client, &command, Err(reason), &self.health);
        }
    }
}
