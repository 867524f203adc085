//! Whether a stream captures a subject: asked of the JetStream API, and remembered until a stream changes.

use crate::account::{Account, Inbox, LocalClient, RequestError};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long the API may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is believed though no stream was heard to change.
const BELIEF: Duration = Duration::from_secs(10);
/// Most subjects remembered.
const MAX_SUBJECTS: usize = 4096;

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
    error: Option<serde::de::IgnoredAny>,
}

/// What is known of subjects and streams.
pub(super) struct Captures {
    client: LocalClient,
    changes: Inbox,
    known: HashMap<String, (bool, Instant)>,
}

impl Captures {
    pub fn new(account: Arc<Account>) -> Captures {
        let client = LocalClient::new(account);
        let changes = client.subscribe("$JS.EVENT.ADVISORY.STREAM.>", 1);
        Captures { client, changes, known: HashMap::new() }
    }

    /// Whether some stream captures `subject`; an error in the operator's words if that cannot be told now.
    pub async fn ask(&mut self, subject: &str) -> Result<bool, String> {
        if self.changes.try_next().is_some() {
            while self.changes.try_next().is_some() {}
            self.forget();
        }
        let before = self.known.get(subject).copied();
        if let Some((captured, since)) = before
            && since.elapsed() < BELIEF
        {
            return Ok(captured);
        }
        let ask = serde_json::json!({ "subject": subject }).to_string();
        let answer = self.client.request("$JS.API.STREAM.NAMES", b"", ask.as_bytes(), PATIENCE).await;
        let captured = match answer {
            Ok(answer) => match serde_json::from_slice::<Names>(&answer.payload) {
                Ok(Names { error: None, streams }) => streams.is_some_and(|streams| !streams.is_empty()),
                _ => return Err("it does not say which streams there are".to_owned()),
            },
            // Without JetStream there is no stream.
            Err(RequestError::NoResponders(_)) => false,
            Err(RequestError::TimedOut(_)) => return Err("it does not answer".to_owned()),
        };
        if !captured && before.is_none_or(|(before, _)| before) {
            tracing::warn!("no stream captures {subject}: readings on it are delivered live only, and not stored");
        }
        if self.known.len() >= MAX_SUBJECTS {
            self.forget();
        }
        self.known.insert(subject.to_owned(), (captured, Instant::now()));
        Ok(captured)
    }

    /// Asks anew from here on: a stream has changed, or does not answer as one should.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}
