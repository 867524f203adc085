//! `$JS.API.STREAM.{SNAPSHOT,RESTORE}`: the answers to the requests; what follows them is in `snapshot`.

use super::{Answer, json};
use crate::jetstream::config::StreamConfig;
use crate::jetstream::error::ApiError;
use crate::jetstream::manager::JetStream;
use crate::jetstream::snapshot::{Backup, BackupRequest, Restore};
use crate::jetstream::stream::Stream;
use crate::jetstream::validate;
use crate::subject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::runtime::Handle;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestoreRequest {
    #[serde(default)]
    config: StreamConfig,
    /// The numbers, which the backup itself tells again but for those made before 2.15.
    #[serde(default)]
    state: Value,
}

/// What is told of a stream before its backup is sent.
#[derive(Serialize)]
struct Begun<'a> {
    config: &'a StreamConfig,
    state: Value,
}

/// Answers `who` asks, and says what is to be done then. Blocks.
pub(super) fn answer(jetstream: &Arc<JetStream>, verb: &str, name: &str, payload: &[u8], who: Value) -> Answer {
    match verb {
        "SNAPSHOT" => {
            let kind = "stream_snapshot_response";
            match back_up(jetstream, name, payload) {
                Ok(backup) => {
                    let info = backup.info();
                    let state = serde_json::to_value(&info.state).unwrap_or_default();
                    let begun = Begun { config: &info.config, state };
                    let answer = json::envelope(kind, Ok(begun));
                    let owner = jetstream.clone();
                    Answer { then: Some(Box::new(move || start(owner, backup, who))), ..Answer::from(answer) }
                }
                Err(error) => Answer::from(json::envelope::<()>(kind, Err(error))),
            }
        }
        _ => {
            let kind = "stream_restore_response";
            match restore(jetstream, name, payload) {
                Ok(restore) => {
                    let subject = json!({ "deliver_subject": restore.subject() });
                    let owner = jetstream.clone();
                    let then = move || drop(tokio::spawn(restore.run(owner, who, restored)));
                    Answer { then: Some(Box::new(then)), ..Answer::from(json::envelope(kind, Ok(subject))) }
                }
                Err(error) => Answer::from(json::envelope::<()>(kind, Err(error))),
            }
        }
    }
}

fn start(jetstream: Arc<JetStream>, backup: Backup, who: Value) {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || backup.send(&jetstream, &who, &runtime));
}

fn back_up(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<Backup, ApiError> {
    if json::is_empty(payload) {
        return Err(ApiError::bad_request());
    }
    let stream = jetstream.find(name)?;
    let request: BackupRequest = json::optional(payload)?;
    if !subject::is_valid_literal(&request.deliver_subject) {
        return Err(ApiError::new(400, 10015, "deliver subject not valid"));
    }
    jetstream.store().barrier().wait().map_err(ApiError::general)?;
    let info = jetstream.info(&stream);
    Ok(Backup::new(stream, info, request))
}

fn restore(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<Restore, ApiError> {
    if json::is_empty(payload) {
        return Err(ApiError::bad_request());
    }
    let RestoreRequest { mut config, state } = json::optional(payload)?;
    if config.name.is_empty() {
        name.clone_into(&mut config.name);
    }
    if config.name != name {
        return Err(ApiError::new(400, 10056, "stream name in subject does not match request"));
    }
    validate::check_path(name)?;
    jetstream.may_restore(&mut config)?;
    Ok(Restore::new(jetstream, config, state["first_seq"].as_u64().unwrap_or(0)))
}

/// The answer to the last chunk.
fn restored(jetstream: &JetStream, outcome: Result<Arc<Stream>, ApiError>) -> Vec<u8> {
    let outcome = outcome.map(|stream| jetstream.info(&stream).with_server_metadata());
    json::envelope("stream_create_response", outcome)
}
