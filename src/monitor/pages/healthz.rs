//! `/healthz`: whether the server does its work; 200 if so, else why not (nats-server `monitor.go`, `healthz`).

use crate::jetstream::JetStream;
use crate::monitor::query::{BadQuery, Query};
use crate::monitor::sources::Sources;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How it is.
#[derive(Default, Serialize)]
pub(in crate::monitor) struct Health {
    status: &'static str,
    /// As of HTTP, where the answer does not come by that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<String>,
    error: String,
}

/// What is asked for (nats-server `HealthzOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(in crate::monitor) struct Options {
    js_enabled: bool,
    /// Only whether JetStream is on.
    js_enabled_only: bool,
    /// Not even that.
    js_server_only: bool,
    /// Of a cluster, only its leader: of a single server nothing else than without.
    js_meta_only: bool,
    account: String,
    stream: String,
    consumer: String,
    /// All that is wrong, not only the first of it.
    details: bool,
}

impl Options {
    /// Those of a URL, of the same names.
    pub fn read(query: &Query) -> Result<Options, BadQuery> {
        Ok(Options {
            js_enabled: query.flag("js-enabled")?,
            js_enabled_only: query.flag("js-enabled-only")?,
            js_server_only: query.flag("js-server-only")?,
            js_meta_only: query.flag("js-meta-only")?,
            account: query.text("account").to_owned(),
            stream: query.text("stream").to_owned(),
            consumer: query.text("consumer").to_owned(),
            details: query.flag("details")?,
        })
    }
}

/// The server's health, with its status.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Health {
    let Options { account, stream, consumer, .. } = options;
    for (given, needed, name, what) in
        [(stream, account, "account", "stream"), (consumer, stream, "stream", "consumer")]
    {
        if !given.is_empty() && needed.is_empty() {
            let error = format!("{name:?} must not be empty when checking {what} health");
            let trouble = Trouble { kind: "BAD_REQUEST", error, ..Trouble::default() };
            return answer(400, "error", vec![trouble], options.details);
        }
    }
    let no_streams = sources.jetstreams().is_empty();
    if options.js_server_only || no_streams || options.js_enabled_only || options.js_enabled {
        return answer(200, "ok", Vec::new(), options.details);
    }
    if let Some(missing) = missing(options, sources) {
        return answer(404, "unavailable", vec![missing], options.details);
    }
    let troubles = troubles(options, sources);
    let status = if troubles.is_empty() { 200 } else { 503 };
    answer(status, "unavailable", troubles, options.details)
}

/// The account, stream or consumer asked for, if it is not there.
fn missing(options: &Options, sources: &Sources) -> Option<Trouble> {
    let Options { account, stream, consumer, .. } = options;
    if account.is_empty() {
        return None;
    }
    let mut trouble = Trouble { account: Some(account.clone()), ..Trouble::default() };
    let Some(jetstream) = sources.jetstreams.of(account) else {
        let error = format!("JetStream account {account:?} not found");
        return Some(Trouble { kind: "ACCOUNT", error, ..trouble });
    };
    if stream.is_empty() || jetstream.offline().contains_key(stream) {
        return None;
    }
    trouble.stream = Some(stream.clone());
    let Some(found) = jetstream.stream(stream) else {
        let error = format!("JetStream stream {stream:?} not found on account {account:?}");
        return Some(Trouble { kind: "STREAM", error, ..trouble });
    };
    if consumer.is_empty() || found.consumers().get(consumer).is_some() {
        return None;
    }
    let error = format!("JetStream consumer {consumer:?} not found for stream {stream:?} on account {account:?}");
    Some(Trouble { kind: "CONSUMER", consumer: Some(consumer.clone()), error, ..trouble })
}

fn troubles(options: &Options, sources: &Sources) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    if let Some(error) = sources.store.stats().error {
        let error = format!("JetStream cannot write to disk: {error}");
        troubles.push(Trouble { kind: "JETSTREAM", error, ..Trouble::default() });
    }
    let asked = |name: &str, wanted: &str| wanted.is_empty() || wanted == name;
    let of = |jetstream: &Arc<JetStream>| asked(jetstream.account().name(), &options.account);
    for jetstream in sources.jetstreams().into_iter().filter(of) {
        let account = jetstream.account().name();
        for stream in jetstream.offline().keys().filter(|stream| asked(stream, &options.stream)) {
            troubles.push(Trouble {
                kind: "STREAM",
                account: Some(account.to_owned()),
                stream: Some(stream.clone()),
                error: format!("JetStream stream '{account} > {stream}' could not be recovered"),
                ..Trouble::default()
            });
        }
    }
    troubles
}

fn answer(status: u16, word: &'static str, mut troubles: Vec<Trouble>, details: bool) -> Health {
    let status_code = Some(status);
    match (troubles.is_empty(), details) {
        (true, _) => Health { status: "ok", status_code, ..Health::default() },
        (false, true) => Health { status: "error", status_code, errors: troubles, ..Health::default() },
        (false, false) => {
            Health { status: word, status_code, error: Some(troubles.swap_remove(0).error), ..Health::default() }
        }
    }
}
