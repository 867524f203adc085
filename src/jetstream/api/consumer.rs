//! `$JS.API.CONSUMER.>`: consumers are made, changed, listed and removed (`server/jetstream_api.go`). Pull requests do not
//! come this way; they go straight to the consumer (`consumer::inlet`).

use crate::jetstream::consumer::validate::refuse;
use crate::jetstream::consumer::{Consumer, ConsumerInfo, Consumers, CreateRequest, Refusal};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

const MAX_NAMES: usize = 1024;
const MAX_LISTED: usize = 256;

/// Finds a stream's consumers by the stream's name.
pub type Streams<'a> = &'a (dyn Fn(&str) -> Option<Arc<Consumers>> + Sync);

#[derive(Serialize)]
struct Envelope<T: Serialize> {
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiFault>,
    #[serde(flatten)]
    body: Option<T>,
}

#[derive(Serialize)]
struct ApiFault {
    code: u16,
    err_code: u16,
    description: String,
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

/// Answers the request on `$JS.API.CONSUMER.<rest>`, when what it changed is durable. `None`: no answer is due from here.
pub async fn answer(rest: &str, payload: &[u8], streams: Streams<'_>) -> Option<Vec<u8>> {
    let (verb, args) = rest.split_once('.')?;
    let tokens: Vec<&str> = args.split('.').collect();
    Some(match (verb, tokens.as_slice()) {
        ("CREATE", [stream, name @ ..]) => {
            let (name, filter) = name.split_first().map_or(("", String::new()), |(name, rest)| (*name, rest.join(".")));
            envelope("create", create(stream, name, &filter, false, payload, streams).await)
        }
        ("DURABLE", ["CREATE", stream, name]) => {
            envelope("create", create(stream, name, "", true, payload, streams).await)
        }
        ("DURABLE", ["CREATE", ..]) => {
            let text = "consumer expected to be durable but no durable name set in subject";
            envelope::<Done>("create", Err(refuse(400, 10016, text)))
        }
        ("INFO", [stream, name]) => {
            let found = check_empty(payload).and_then(|()| find(stream, name, streams));
            envelope("info", found.map(|consumer| consumer.info()))
        }
        ("NAMES", [stream]) => envelope("names", names(stream, payload, streams)),
        ("LIST", [stream]) => envelope("list", list(stream, payload, streams)),
        ("DELETE", [stream, name]) => envelope("delete", delete(stream, name, payload, streams).await),
        ("MSG", _) => return None,
        ("LEADER", ["STEPDOWN", ..]) => {
            envelope::<Done>("leader_stepdown", Err(refuse(503, 10010, "JetStream clustering support required")))
        }
        ("PAUSE" | "UNPIN" | "RESET", [stream, name]) => {
            let outcome = find(stream, name, streams).and_then(|_| {
                Err(refuse(500, 10051, format!("consumer {} is not supported by leafd yet", verb.to_lowercase())))
            });
            envelope::<Done>(&verb.to_lowercase(), outcome)
        }
        _ => return None,
    })
}

fn envelope<T: Serialize>(verb: &str, outcome: Result<T, Refusal>) -> Vec<u8> {
    let r#type = format!("io.nats.jetstream.api.v1.consumer_{verb}_response");
    let (error, body) = match outcome {
        Ok(body) => (None, Some(body)),
        Err(refusal) => {
            (Some(ApiFault { code: refusal.code, err_code: refusal.err_code, description: refusal.text }), None)
        }
    };
    serde_json::to_vec(&Envelope { r#type, error, body }).unwrap_or_default()
}

async fn create(
    stream: &str,
    name: &str,
    filter: &str,
    durable: bool,
    payload: &[u8],
    streams: Streams<'_>,
) -> Result<ConsumerInfo, Refusal> {
    let mut request = parse_create(payload)?;
    let config = &mut request.config;
    if request.stream_name != stream {
        return Err(refuse(400, 10056, "stream name in subject does not match request"));
    }
    if name.contains(['\\', '/']) {
        return Err(refuse(400, 10127, "Consumer name can not contain path separators"));
    }
    if durable && !config.is_durable() {
        return Err(refuse(400, 10018, "consumer expected to be durable but a durable name was not set"));
    }
    if name.is_empty() && config.is_durable() {
        return Err(refuse(400, 10020, "consumer expected to be ephemeral but a durable name was set in request"));
    }
    if config.is_durable() && config.durable != name {
        return Err(refuse(400, 10017, "consumer name in subject does not match durable name in request"));
    }
    if !name.is_empty() {
        name.clone_into(&mut config.name);
    }
    if !filter.is_empty() && !config.filter_subjects.is_empty() {
        return Err(refuse(400, 10137, "consumer with multiple subject filters cannot use subject based API"));
    }
    if !filter.is_empty() && config.filter_subject != filter {
        let text = "Consumer create request did not match filtered subject from create subject";
        return Err(refuse(400, 10131, text));
    }
    if config.num_replicas > 1 {
        return Err(refuse(500, 10074, "replicas > 1 not supported in non-clustered mode"));
    }
    let created = consumers(stream, streams)?.create(request.config, request.action, request.pedantic)?;
    if let Some(commit) = created.commit {
        commit.await.map_err(|error| refuse(500, 10104, format!("error creating store for consumer: {error}")))?;
    }
    Ok(created.consumer.info())
}

/// Reads a create request as Go does: `null` is the same as absent, unknown fields are refused by name.
fn parse_create(payload: &[u8]) -> Result<CreateRequest, Refusal> {
    let invalid = |text: String| refuse(400, 10025, format!("invalid JSON: {text}"));
    let mut value: Value = serde_json::from_slice(payload).map_err(|error| invalid(error.to_string()))?;
    drop_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => invalid(format!("json: unknown field {field:?}")),
            None => invalid(text),
        }
    })
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

fn consumers(stream: &str, streams: Streams<'_>) -> Result<Arc<Consumers>, Refusal> {
    streams(stream).ok_or_else(|| refuse(404, 10059, "stream not found"))
}

fn find(stream: &str, name: &str, streams: Streams<'_>) -> Result<Arc<Consumer>, Refusal> {
    consumers(stream, streams)?.get(name).ok_or_else(|| refuse(404, 10014, "consumer not found"))
}

fn names(stream: &str, payload: &[u8], streams: Streams<'_>) -> Result<Page<String>, Refusal> {
    page(payload, MAX_NAMES, consumers(stream, streams)?.list(), |consumer| consumer.name().to_owned())
}

fn list(stream: &str, payload: &[u8], streams: Streams<'_>) -> Result<Page<ConsumerInfo>, Refusal> {
    page(payload, MAX_LISTED, consumers(stream, streams)?.list(), |consumer| consumer.info())
}

fn page<T>(
    payload: &[u8],
    limit: usize,
    all: Vec<Arc<Consumer>>,
    show: impl Fn(&Arc<Consumer>) -> T,
) -> Result<Page<T>, Refusal> {
    let wanted = match payload.trim_ascii_start().first() {
        Some(b'{' | b'[') => {
            let request: Value = serde_json::from_slice(payload)
                .map_err(|error| refuse(400, 10025, format!("invalid JSON: {error}")))?;
            request["offset"].as_u64().unwrap_or(0) as usize
        }
        _ => 0,
    };
    let (total, offset) = (all.len(), wanted.min(all.len()));
    let consumers = all.iter().skip(offset).take(limit).map(show).collect();
    Ok(Page { total, offset, limit, consumers })
}

fn check_empty(payload: &[u8]) -> Result<(), Refusal> {
    match payload.trim_ascii() {
        b"" | b"{}" | b"null" => Ok(()),
        _ => Err(refuse(400, 10038, "expected an empty request payload")),
    }
}

async fn delete(stream: &str, name: &str, payload: &[u8], streams: Streams<'_>) -> Result<Done, Refusal> {
    check_empty(payload)?;
    let commit = consumers(stream, streams)?.delete(name).ok_or_else(|| refuse(404, 10014, "consumer not found"))?;
    commit.await.map_err(|error| refuse(500, 10051, error.to_string()))?;
    Ok(Done { success: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn code(rest: &str, payload: &str) -> u64 {
        let answer = answer(rest, payload.as_bytes(), &|_| None).await.expect("an answer");
        let json: Value = serde_json::from_slice(&answer).expect("JSON");
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
        assert_eq!(answer("MSG.NEXT.S.c", b"", &|_| None).await, None);
    }
}
