//! `/healthz`: whether the server does its work; 200 if so, else why not.

use super::json_response;
use crate::monitor::query::{BadQuery, Query};
use crate::monitor::sources::Sources;
use crate::system::http::Response;
use serde::Serialize;

#[derive(Default, Serialize)]
struct Health {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Trouble>,
}

#[derive(Default, Serialize)]
struct Trouble {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    error: String,
}

/// Options `js-server-only`, `js-enabled-only`, `js-enabled` and `details`, and `account`, `stream` and `consumer`, of which
/// one needs the other.
pub(super) fn page(query: &Query, sources: &Sources) -> Result<Response, BadQuery> {
    let (server_only, details) = (query.flag("js-server-only")?, query.flag("details")?);
    let enabled_only = query.flag("js-enabled-only")? | query.flag("js-enabled")? | query.flag("js-meta-only")?;
    for (given, needed, what) in [("stream", "account", "stream"), ("consumer", "stream", "consumer")] {
        if !query.text(given).is_empty() && query.text(needed).is_empty() {
            let error = format!("{needed:?} must not be empty when checking {what} health");
            let trouble = Trouble { kind: "BAD_REQUEST", error, ..Trouble::default() };
            return Ok(answer(400, "error", vec![trouble], details));
        }
    }
    let troubles = if server_only || enabled_only { Vec::new() } else { troubles(sources) };
    let status = if troubles.is_empty() { 200 } else { 503 };
    Ok(answer(status, "unavailable", troubles, details))
}

fn troubles(sources: &Sources) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some(error) = sources.store.stats().error {
        let error = format!("JetStream cannot write to disk: {error}");
        troubles.push(Trouble { kind: "JETSTREAM", error, ..Trouble::default() });
    }
    for jetstream in &sources.jetstreams {
        let account = jetstream.account().name();
        for stream in jetstream.offline().keys() {
            troubles.push(Trouble {
                kind: "STREAM",
                account: Some(account.to_owned()),
                stream: Some(stream.clone()),
                error: format!("JetStream stream '{account} > {stream}' could not be recovered"),
            });
        }
    }
    troubles
}

fn answer(status: u16, word: &'static str, mut troubles: Vec<Trouble>, details: bool) -> Response {
    let health = match (troubles.is_empty(), details) {
        (true, _) => Health { status: "ok", ..Health::default() },
        (false, true) => Health { status: "error", errors: troubles, ..Health::default() },
        (false, false) => Health { status: word, error: Some(troubles.swap_remove(0).error), ..Health::default() },
    };
    json_response(status, &health)
}
