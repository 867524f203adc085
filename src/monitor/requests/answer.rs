//! Answers: the server's name around what it has to say (nats-server `ServerAPIResponse`), compressed where that is asked for.

use crate::auth::Outcome;
use crate::events::{Events, ServerInfo, encode};
use serde::Serialize;

#[derive(Serialize)]
struct Envelope<T> {
    server: ServerInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
}

#[derive(Serialize)]
struct ApiError {
    code: u16,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
}

/// Says `data` on `reply`; `asked` are the headers of the request.
pub(super) fn data<T: Serialize>(events: &Events, reply: &str, asked: &[u8], data: Option<T>) {
    let json = json(&Envelope { server: events.server(), data, error: None });
    let (headers, payload) = encode(asked, json);
    events.answer(reply, headers, &payload);
}

/// Says why there is no answer. Of a page that failed, as in nats-server, `data` is there, and null.
pub(super) fn error(events: &Events, reply: &str, code: u16, description: String, null: bool) {
    let error = Some(ApiError { code, description });
    events.answer(reply, &[], &json(&Envelope { server: events.server(), data: null.then_some(()), error }));
}

/// Says what came of an order about accounts by JWT (nats-server `ServerAPIClaimUpdateResponse`).
pub(super) fn outcome(events: &Events, reply: &str, outcome: &Outcome) {
    #[derive(Serialize)]
    struct Told<'a> {
        server: ServerInfo,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Status<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Failure<'a>>,
    }
    #[derive(Serialize)]
    struct Status<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        account: &'a str,
        code: u16,
        message: &'a str,
    }
    #[derive(Serialize)]
    struct Failure<'a> {
        #[serde(skip_serializing_if = "str::is_empty")]
        account: &'a str,
        code: u16,
        description: String,
    }
    let Outcome { account, message, .. } = outcome;
    let (data, error) = match &outcome.error {
        None => (Some(Status { account, code: 200, message }), None),
        Some(why) => (None, Some(Failure { account, code: 500, description: format!("{message} - {why}") })),
    };
    events.answer(reply, &[], &json(&Told { server: events.server(), data, error }));
}

/// Says that too many ask.
pub(super) fn busy(events: &Events, reply: &str) {
    if !reply.is_empty() {
        error(events, reply, 503, "too many requests are waiting; ask again later".into(), false);
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Structs of strings and numbers always serialise.
    serde_json::to_vec(value).unwrap_or_default()
}
