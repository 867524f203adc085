//! `$JS.API.CONSUMER.>`: consumers are made, changed, listed and removed (`server/jetstream_api.go`). Pull requests do not
//! come this way; they go straight to the consumer (`consumer::inlet`).

use super::{Answer, json};
use crate::account::OwnedMessage;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::consumer::reset::Reset;
use crate::jetstream::consumer::{Consumer, ConsumerInfo, Consumers, CreateRequest, validate};
use crate::jetstream::error::ApiError;
use crate::jetstream::info::ApiTime;
use crate::protocol::headers::{self, HeadersBuilder};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const MAX_NAMES: usize = 1024;
const MAX_LISTED: usize = 256;
/// The header that tells a stream from an earlier one of the same name: in a request the one that is expected, in the
/// answer the one that it is.
const IDENTITY: &str = "Nats-Stream-Identity";

/// Finds a stream's consumers by the stream's name.
pub type Streams<'a> = &'a (dyn Fn(&str) -> Option<Arc<Consumers>> + Sync);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ListRequest {
    offset: i64,
}

#[derive(Serialize)]
struct Page<T> {
    total: usize,
    offset: usize,
    limit: usize,
    consumers: Vec<T>,
}

#[derive(Serialize)]
struct Done {
    success: bool,
}

/// Answers the request on `$JS.API.CONSUMER.<rest>`, when what it changed is durable. `None`: no answer is due from here;
/// empty: there is nobody to answer it.
pub async fn answer(rest: &str, request: &OwnedMessage, streams: Streams<'_>) -> Option<Answer> {
    let payload = &request.payload;
    let (verb, args) = rest.split_once('.')?;
    let tokens: Vec<&str> = args.split('.').collect();
    let known = headers::get(&request.headers, IDENTITY);
    let mut identity = None;
    let payload = match (verb, tokens.as_slice()) {
        ("CREATE", [stream, name @ ..]) => {
            let (name, filter) = name.split_first().map_or(("", String::new()), |(name, rest)| (*name, rest.join(".")));
            let place = Place { stream, name, filter: &filter, durable: false };
            envelope("create", create(&place, payload, known, streams, &mut identity).await)
        }
        ("DURABLE", ["CREATE", stream, name]) => {
            let place = Place { stream, name, filter: "", durable: true };
            envelope("create", create(&place, payload, known, streams, &mut identity).await)
        }
        ("DURABLE", ["CREATE", ..]) => {
            let text = "consumer expected to be durable but no durable name set in subject";
            envelope::<Done>("create", Err(ApiError::new(400, 10016, text)))
        }
        ("INFO", [stream, name]) => {
            let found = json::expect_empty(payload).and_then(|()| find(stream, name, streams));
            if let Some(commit) = found.as_ref().ok().and_then(|consumer| consumer.unsettled()) {
                // Where the disk takes nothing more, what it has is counted.
                let _ = commit.await;
            }
            envelope("info", found.map(|consumer| consumer.info().with_server_metadata()))
        }
        ("NAMES", [stream]) => envelope("names", names(stream, payload, streams)),
        ("LIST", [stream]) => envelope("list", list(stream, payload, streams).await),
        ("DELETE", [stream, name]) => envelope("delete", delete(stream, name, payload, streams).await),
        ("MSG", _) => return None,
        ("LEADER", ["STEPDOWN", ..]) => {
            envelope::<Done>("leader_stepdown", Err(ApiError::new(503, 10010, "JetStream clustering support required")))
        }
        ("UNPIN", [stream, name]) => envelope("unpin", unpin(stream, name, payload, streams)),
        // As if nobody had subscribed, which is how it is in nats-server.
        ("RESET", [stream, name]) => match find(stream, name, streams) {
            Ok(consumer) => {
                identity = known.and_then(|_| streams(stream)).map(|consumers| consumers.identity().to_owned());
                envelope("reset", reset(&consumer, payload).await)
            }
            Err(_) => Vec::new(),
        },
        ("PAUSE", [stream, name]) => envelope("pause", pause(stream, name, payload, streams).await),
        _ => return None,
    };
    let headers = identity.map(|identity| HeadersBuilder::new().add(IDENTITY, &identity).build());
    Some(Answer { headers: headers.unwrap_or_default(), ..Answer::from(payload) })
}

fn envelope<T: Serialize>(verb: &str, outcome: Result<T, ApiError>) -> Vec<u8> {
    json::envelope(&format!("consumer_{verb}_response"), outcome)
}

/// What the subject of a request to make a consumer says.
struct Place<'a> {
    stream: &'a str,
    name: &'a str,
    filter: &'a str,
    durable: bool,
}

/// Makes a consumer; `known` is the identity that the stream is expected to have. Tells it where others source from here.
async fn create(
    place: &Place<'_>,
    payload: &[u8],
    known: Option<&str>,
    streams: Streams<'_>,
    identity: &mut Option<String>,
) -> Result<ConsumerInfo, ApiError> {
    let Place { stream, name, filter, durable } = *place;
    let mut request: CreateRequest = json::optional(payload)?;
    let config = &mut request.config;
    if request.stream_name != stream {
        return Err(ApiError::new(400, 10056, "stream name in subject does not match request"));
    }
    if name.contains(['\\', '/']) {
        return Err(ApiError::new(400, 10127, "Consumer name can not contain path separators"));
    }
    if durable && !config.is_durable() {
        return Err(ApiError::new(400, 10018, "consumer expected to be durable but a durable name was not set"));
    }
    if name.is_empty() && config.is_durable() {
        return Err(ApiError::new(
            400,
            10020,
            "consumer expected to be ephemeral but a durable name was set in request",
        ));
    }
    if config.is_durable() && config.durable != name {
        return Err(ApiError::new(400, 10017, "consumer name in subject does not match durable name in request"));
    }
    if !name.is_empty() {
        name.clone_into(&mut config.name);
    }
    if !filter.is_empty() && !config.filter_subjects.is_empty() {
        return Err(ApiError::new(400, 10137, "consumer with multiple subject filters cannot use subject based API"));
    }
    if !filter.is_empty() && config.filter_subject != filter {
        let text = "Consumer create request did not match filtered subject from create subject";
        return Err(ApiError::new(400, 10131, text));
    }
    if config.num_replicas > 1 {
        return Err(ApiError::new(500, 10074, "replicas > 1 not supported in non-clustered mode"));
    }
    let consumers = consumers(stream, streams)?;
    let sourced = request.config.direct || request.config.sourcing;
    if sourced && known.is_some_and(|known| !known.is_empty() && known != consumers.identity()) {
        let text = format!("consumer's stream identity does not match: {}", consumers.identity());
        return Err(ApiError::new(400, 10225, text));
    }
    let created = consumers.create(request.config, request.action, request.pedantic)?;
    if let Some(commit) = created.commit.or_else(|| created.consumer.unsettled()) {
        commit
            .await
            .map_err(|error| ApiError::new(500, 10012, format!("error creating store for consumer: {error}")))?;
    }
    *identity = sourced.then(|| consumers.identity().to_owned());
    Ok(created.consumer.info().with_server_metadata())
}

fn consumers(stream: &str, streams: Streams<'_>) -> Result<Arc<Consumers>, ApiError> {
    streams(stream).ok_or_else(|| ApiError::new(404, 10059, "stream not found"))
}

fn find(stream: &str, name: &str, streams: Streams<'_>) -> Result<Arc<Consumer>, ApiError> {
    consumers(stream, streams)?.get(name).ok_or_else(not_found)
}

fn not_found() -> ApiError {
    ApiError::new(404, 10014, "consumer not found")
}

fn names(stream: &str, payload: &[u8], streams: Streams<'_>) -> Result<Page<String>, ApiError> {
    page(payload, MAX_NAMES, || consumers(stream, streams), |consumer| consumer.name().to_owned())
}

async fn list(stream: &str, payload: &[u8], streams: Streams<'_>) -> Result<Page<ConsumerInfo>, ApiError> {
    if let Some(consumers) = streams(stream) {
        let _ = consumers.barrier().await;
    }
    page(payload, MAX_LISTED, || consumers(stream, streams), |consumer| consumer.info())
}

fn page<T>(
    payload: &[u8],
    limit: usize,
    find: impl Fn() -> Result<Arc<Consumers>, ApiError>,
    show: impl Fn(&Arc<Consumer>) -> T,
) -> Result<Page<T>, ApiError> {
    let request: ListRequest = json::paging(payload)?;
    let all = find()?.list();
    let total = all.len();
    let offset = usize::try_from(request.offset).unwrap_or(0).min(total);
    let consumers = all.iter().skip(offset).take(limit).map(show).collect();
    Ok(Page { total, offset, limit, consumers })
}

/// What `pause_until` was set to, and how long that is from now on, nanoseconds.
#[derive(Serialize)]
struct Paused {
    paused: bool,
    pause_until: ApiTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause_remaining: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PauseRequest {
    pause_until: Option<Timestamp>,
}

async fn pause(stream: &str, name: &str, payload: &[u8], streams: Streams<'_>) -> Result<Paused, ApiError> {
    let request: PauseRequest = json::paging(payload)?;
    let until = request.pause_until.filter(|until| *until != Timestamp::ZERO);
    let created = consumers(stream, streams)?.pause(name, until).ok_or_else(not_found)?;
    if let Some(commit) = created {
        let failed = |error| ApiError::new(500, 10104, format!("error creating store for consumer: {error}"));
        commit.await.map_err(failed)?;
    }
    let remaining = until.map(|until| until.0.saturating_sub(Timestamp::now().0)).filter(|left| *left > 0);
    Ok(Paused {
        paused: remaining.is_some(),
        pause_until: ApiTime(until.map_or(0, |until| until.0)),
        pause_remaining: remaining,
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UnpinRequest {
    group: String,
}

/// An answer that says nothing but its type.
#[derive(Serialize)]
struct Nothing {}

fn unpin(stream: &str, name: &str, payload: &[u8], streams: Streams<'_>) -> Result<Nothing, ApiError> {
    let request: UnpinRequest = json::required(payload)?;
    if request.group.is_empty() {
        return Err(ApiError::new(400, 10025, "invalid JSON: consumer group not specified"));
    }
    validate::check_group_name(&request.group)?;
    match find(stream, name, streams)?.unpin(&request.group) {
        true => Ok(Nothing {}),
        false => Err(ApiError::new(400, 10160, "Provided priority group does not exist for this consumer")),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResetRequest {
    seq: u64,
}

#[derive(Serialize)]
struct ResetDone {
    #[serde(flatten)]
    info: ConsumerInfo,
    reset_seq: u64,
}

async fn reset(consumer: &Arc<Consumer>, payload: &[u8]) -> Result<ResetDone, ApiError> {
    let request: ResetRequest = if payload.is_empty() { ResetRequest::default() } else { json::required(payload)? };
    let invalid = |reason: &str| ApiError::new(400, 10204, format!("invalid reset: {reason}"));
    let Reset { seq, commit } = consumer.reset(request.seq).map_err(invalid)?;
    if let Some(commit) = commit {
        commit.await.map_err(ApiError::general)?;
    }
    Ok(ResetDone { info: consumer.info().with_server_metadata(), reset_seq: seq })
}

async fn delete(stream: &str, name: &str, payload: &[u8], streams: Streams<'_>) -> Result<Done, ApiError> {
    json::expect_empty(payload)?;
    let commit = consumers(stream, streams)?.delete(name).ok_or_else(not_found)?;
    commit.await.map_err(|error| ApiError::new(500, 10051, error.to_string()))?;
    Ok(Done { success: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(rest: &str, payload: &str) -> u64 {
        let request = OwnedMessage { payload: payload.to_owned().into(), ..OwnedMessage::default() };
        let answer = answer(rest, &request, &|_| None).await.expect("an answer");
        let json: serde_json::Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert!(json["type"].as_str().is_some_and(|kind| kind.starts_with("io.nats.jetstream.api.v1.consumer_")));
        json["error"]["err_code"].as_u64().expect("an error")
    }

    #[tokio::test]
    async fn requests_that_contradict_their_subject_have_their_codes() {
        for (rest, payload, expected) in [
            ("CREATE.S", "{", 10025),
            ("CREATE.S", r#"{"stream_name":"S","config":{"nonsense":1}}"#, 10025),
            ("CREATE.S", r#"{"stream_name":"T"}"#, 10056),
            ("CREATE.S", r#"{"stream_name":"S","config":{"durable_name":"d"}}"#, 10020),
            ("CREATE.S.x", r#"{"stream_name":"S","config":{"durable_name":"d"}}"#, 10017),
            ("CREATE.S.d.a.b", r#"{"stream_name":"S","config":{"filter_subject":"a.c"}}"#, 10131),
            ("CREATE.S.d.a.b", r#"{"stream_name":"S","config":{"filter_subjects":["a.b","c"]}}"#, 10137),
            ("CREATE.S.d", r#"{"stream_name":"S","config":{"num_replicas":3}}"#, 10074),
            ("CREATE.S.d", r#"{"stream_name":"S","config":{"ack_wait":null}}"#, 10059),
            ("DURABLE.CREATE.S.d", r#"{"stream_name":"S"}"#, 10018),
            ("DURABLE.CREATE.S", "{}", 10016),
            ("INFO.S.c", "", 10059),
            ("INFO.S.c", "{\"a\":1}", 10038),
            ("NAMES.S", "", 10059),
            ("LIST.S", "", 10059),
            ("DELETE.S.c", "x", 10038),
            ("DELETE.S.c", "", 10059),
            ("PAUSE.S.c", "", 10059),
            ("LEADER.STEPDOWN.S.c", "", 10010),
        ] {
            assert_eq!(code(rest, payload).await, expected, "{rest} {payload}");
        }
    }

    #[tokio::test]
    async fn pull_requests_are_left_to_the_consumers() {
        assert!(answer("MSG.NEXT.S.c", &OwnedMessage::default(), &|_| None).await.is_none());
    }
}
