//! Reading requests as Go reads them, and the envelope of answers.

use crate::jetstream::error::ApiError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(flatten)]
    body: Option<T>,
    #[serde(flatten)]
    always: Option<Value>,
}

/// The answer of the given kind.
pub(super) fn envelope<T: Serialize>(kind: &str, outcome: Result<T, ApiError>) -> Vec<u8> {
    let (error, body, always) = match outcome {
        Ok(body) => (None, Some(body), None),
        Err(error) => (Some(error), None, beside_error(kind)),
    };
    let kind = format!("io.nats.jetstream.api.v1.{kind}");
    serde_json::to_vec(&Envelope { r#type: &kind, error, body, always }).unwrap_or_default()
}

/// What nats-server writes beside an error too: the fields of its answer that are not left out when they are empty.
fn beside_error(kind: &str) -> Option<Value> {
    match kind {
        "stream_info_response" => Some(json!({ "total": 0, "offset": 0, "limit": 0 })),
        "stream_names_response" => Some(json!({ "total": 0, "offset": 0, "limit": 0, "streams": null })),
        "stream_list_response" => Some(json!({ "total": 0, "offset": 0, "limit": 0, "streams": [] })),
        "stream_purge_response" => Some(json!({ "purged": 0 })),
        "stream_restore_response" => Some(json!({ "deliver_subject": "" })),
        "consumer_names_response" | "consumer_list_response" => {
            Some(json!({ "total": 0, "offset": 0, "limit": 0, "consumers": [] }))
        }
        "consumer_reset_response" => Some(json!({ "reset_seq": 0 })),
        "consumer_pause_response" => Some(json!({ "paused": false, "pause_until": "0001-01-01T00:00:00Z" })),
        _ => None,
    }
}

/// Whether the request says nothing (`isEmptyRequest`).
pub(super) fn is_empty(payload: &[u8]) -> bool {
    payload.is_empty()
        || serde_json::from_slice::<Value>(payload).is_ok_and(|v| v.as_object().is_some_and(serde_json::Map::is_empty))
}

/// Refuses a request that says something.
pub(super) fn expect_empty(payload: &[u8]) -> Result<(), ApiError> {
    match is_empty(payload) {
        true => Ok(()),
        false => Err(ApiError::new(400, 10038, "expected an empty request payload")),
    }
}

fn invalid(text: impl std::fmt::Display) -> ApiError {
    ApiError::new(400, 10025, format!("invalid JSON: {text}"))
}

/// A request as a JSON object in which `null` is the same as absent. Go reads nothing and `null` as a request in which
/// nothing is said; async-nats sends the latter.
pub(super) fn object(payload: &[u8]) -> Result<Value, ApiError> {
    let mut value = match payload.trim_ascii() {
        b"" => Value::Null,
        text => serde_json::from_slice(text).map_err(invalid)?,
    };
    drop_nulls(&mut value);
    match value {
        Value::Null => Ok(Value::Object(serde_json::Map::new())),
        Value::Object(_) => Ok(value),
        _ => Err(invalid("the request is not an object")),
    }
}

/// A request read from its object; unknown fields are refused by name.
pub(super) fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_json::from_value(value).map_err(|error| {
        let text = error.to_string();
        match text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
            Some((field, _)) => invalid(format!("json: unknown field {field:?}")),
            None => invalid(text),
        }
    })
}

/// Refuses a request with other fields than these.
pub(super) fn only(value: Value, fields: &[&str]) -> Result<Value, ApiError> {
    match value.as_object().and_then(|object| object.keys().find(|key| !fields.contains(&key.as_str()))) {
        Some(field) => Err(invalid(format!("json: unknown field {field:?}"))),
        None => Ok(value),
    }
}

/// A request of which any part may be left out.
pub(super) fn optional<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    typed(object(payload)?)
}

/// A request that must be there; fields that are not known are ignored.
pub(super) fn required<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    match payload.trim_ascii() {
        b"" => Err(invalid("unexpected end of JSON input")),
        payload => optional(payload),
    }
}

/// A request that is read only if it looks like one (`isJSONObjectOrArray`).
pub(super) fn paging<T: DeserializeOwned + Default>(payload: &[u8]) -> Result<T, ApiError> {
    match payload.trim_ascii_start().first() {
        Some(b'{' | b'[') => optional(payload),
        _ => Ok(T::default()),
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}
