//! `$JS.API.STREAM.{CREATE,UPDATE,INFO,NAMES,LIST,DELETE,PURGE}`.

use super::json;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::error::ApiError;
use crate::jetstream::info::{ClusterInfo, StreamInfo};
use crate::jetstream::manager::JetStream;
use crate::jetstream::validate;
use crate::store::Purge;
use crate::subject;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const MAX_NAMES: usize = 1024;
const MAX_LISTED: usize = 256;
/// Subjects in one answer to INFO (nats-server's `JSMaxSubjectDetails`).
const MAX_SUBJECTS: usize = 100_000;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct InfoRequest {
    offset: i64,
    deleted_details: bool,
    subjects_filter: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListRequest {
    offset: i64,
    subject: String,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeRequest {
    seq: u64,
    filter: String,
    keep: u64,
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    info: StreamInfo,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    did_create: bool,
}

#[derive(Serialize)]
struct Page<T> {
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct Listed<T> {
    streams: Option<Vec<T>>,
    /// Those that could not be opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// The same with the reasons.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    offline: BTreeMap<String, String>,
}

/// Answers the verb; blocks while the disk is waited for. `None`: there is no such verb.
pub(super) fn answer(jetstream: &JetStream, verb: &str, name: &str, payload: &[u8]) -> Option<Vec<u8>> {
    Some(match verb {
        "CREATE" => json::envelope("stream_create_response", make(jetstream, name, payload, true)),
        "UPDATE" => json::envelope("stream_update_response", make(jetstream, name, payload, false)),
        "INFO" => json::envelope("stream_info_response", info(jetstream, name, payload)),
        "NAMES" => {
            let mut outcome = list(jetstream, payload, MAX_NAMES, |_, stream| stream.name().to_owned());
            // Go's nil slice, which is what nats-server has when there are none.
            if let Ok(page) = &mut outcome {
                page.body.streams.take_if(|names| names.is_empty());
            }
            json::envelope("stream_names_response", outcome)
        }
        "LIST" => {
            let committed = jetstream.store().barrier();
            jetstream.streams().iter().for_each(|stream| stream.consumers().catch_up());
            // Where the disk takes nothing more, what it has is told of.
            let _ = committed.wait();
            let mut outcome = list(jetstream, payload, MAX_LISTED, |jetstream, stream| jetstream.info(stream));
            if let Ok(page) = &mut outcome
                && page.offset == 0
            {
                page.body.offline.clone_from(&jetstream.offline());
                page.body.missing = page.body.offline.keys().cloned().collect();
            }
            json::envelope("stream_list_response", outcome)
        }
        "DELETE" => json::envelope("stream_delete_response", delete(jetstream, name, payload)),
        "PURGE" => {
            let outcome = purge(jetstream, name, payload);
            json::envelope("stream_purge_response", outcome)
        }
        _ => return None,
    })
}

fn make(jetstream: &JetStream, name: &str, payload: &[u8], new: bool) -> Result<Made, ApiError> {
    let mut value = json::object(payload)?;
    let pedantic = value.as_object_mut().and_then(|fields| fields.remove("pedantic"));
    let pedantic = pedantic.map_or(Ok(false), json::typed)?;
    let config: StreamConfig = json::typed(value)?;
    if !new {
        jetstream.check(&mut config.clone(), pedantic)?;
    }
    if config.name != name {
        return Err(ApiError::new(400, 10056, "stream name in subject does not match request"));
    }
    if new {
        validate::check_path(name)?;
    }
    let stream = if new { jetstream.create(config, pedantic)? } else { jetstream.update(config, pedantic)? };
    let failed = |error| {
        if new {
            ApiError::new(500, 10049, format!("error creating store for stream: {error}"))
        } else {
            ApiError::not_updated(error)
        }
    };
    jetstream.store().barrier().wait().map_err(failed)?;
    let mut info = jetstream.info(&stream).with_server_metadata();
    if new {
        info.domain = None;
    }
    Ok(Made { info, did_create: new })
}

fn info(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<Page<StreamInfo>, ApiError> {
    let request: InfoRequest = json::paging(payload)?;
    let stream = jetstream.find(name)?;
    // Where the disk takes nothing more, what it has is told of.
    let _ = stream.catch_up();
    let mut info = jetstream.info(&stream).with_server_metadata();
    info.cluster = Some(ClusterInfo { leader: jetstream.options().server_name.clone() });
    if request.deleted_details {
        info.state.deleted = Some(deleted(&stream, &info)?).filter(|deleted| !deleted.is_empty());
    }
    if request.subjects_filter.is_empty() {
        return Ok(Page { total: 0, offset: 0, limit: 0, body: info });
    }
    let offset = usize::try_from(request.offset).unwrap_or(0);
    let (mut total, mut page) = (0, BTreeMap::new());
    let passed = stream.log().each_subject::<()>(&request.subjects_filter, |subject, info| {
        if total >= offset && page.len() < MAX_SUBJECTS {
            page.insert(Box::<str>::from(subject), info.count);
        }
        total += 1;
        ControlFlow::Continue(())
    });
    passed.map_err(ApiError::general)?;
    if total == 0 {
        return Ok(Page { total: 0, offset: 0, limit: 0, body: info });
    }
    info.state.subjects = Some(page).filter(|page| !page.is_empty());
    Ok(Page { total, offset, limit: MAX_SUBJECTS, body: info })
}

/// The sequences that are gone between first and last, at most [`MAX_SUBJECTS`] of them.
fn deleted(stream: &crate::jetstream::Stream, info: &StreamInfo) -> Result<Vec<u64>, ApiError> {
    let mut gone = Vec::new();
    if info.state.num_deleted == 0 {
        return Ok(gone);
    }
    let mut reader = stream.log().reader();
    let mut expected = info.state.first_seq;
    reader.seek(expected);
    while let Some(stored) = reader.next(&|_| true).map_err(ApiError::general)? {
        gone.extend((expected..stored.seq).take(MAX_SUBJECTS - gone.len()));
        expected = stored.seq + 1;
    }
    gone.extend((expected..=info.state.last_seq).take(MAX_SUBJECTS - gone.len()));
    Ok(gone)
}

fn list<T>(
    jetstream: &JetStream,
    payload: &[u8],
    limit: usize,
    show: impl Fn(&JetStream, &crate::jetstream::Stream) -> T,
) -> Result<Page<Listed<T>>, ApiError> {
    let request: ListRequest = json::paging(payload)?;
    let mut streams = jetstream.streams();
    if !request.subject.is_empty() {
        streams.retain(|stream| stream.config().subjects.iter().any(|s| subject::overlap(s, &request.subject)));
    }
    let (total, offset) = (streams.len(), usize::try_from(request.offset).unwrap_or(0).min(streams.len()));
    let streams = streams.iter().skip(offset).take(limit).map(|stream| show(jetstream, stream)).collect();
    Ok(Page {
        total,
        offset,
        limit,
        body: Listed { streams: Some(streams), missing: Vec::new(), offline: BTreeMap::new() },
    })
}

fn delete(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<serde_json::Value, ApiError> {
    json::expect_empty(payload)?;
    jetstream.delete_stream(name)?;
    jetstream.store().barrier().wait().map_err(ApiError::general)?;
    Ok(json!({ "success": true }))
}

fn purge(jetstream: &JetStream, name: &str, payload: &[u8]) -> Result<serde_json::Value, ApiError> {
    let request: PurgeRequest = json::paging(payload)?;
    if request.seq > 0 && request.keep > 0 {
        return Err(ApiError::bad_request());
    }
    let stream = jetstream.find(name)?;
    let config = stream.config();
    if config.sealed {
        return Err(ApiError::new(400, 10109, "invalid operation on sealed stream"));
    }
    if config.deny_purge {
        return Err(ApiError::new(500, 10110, "stream purge not permitted"));
    }
    // A purge takes what is committed: have that be all that the asker knows of.
    stream.catch_up().map_err(ApiError::general)?;
    let purge = Purge {
        filter: Some(request.filter).filter(|filter| !filter.is_empty()),
        below_seq: Some(request.seq).filter(|seq| *seq > 0),
        keep: Some(request.keep).filter(|keep| *keep > 0),
    };
    stream.keep_positions().map_err(ApiError::general)?;
    let purged = stream.purge(&purge).map_err(|error| ApiError::new(500, 10110, error.to_string()))?;
    jetstream.store().barrier().wait().map_err(ApiError::general)?;
    Ok(json!({ "success": true, "purged": purged }))
}
