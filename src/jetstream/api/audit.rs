//! Advisories about the API itself: each request with its answer (`$JS.EVENT.ADVISORY.API`), for who audits, and those that
//! were refused because too many waited (`server/jetstream_api.go`, `sendJetStreamAPIAuditAdvisory`, `apiDispatch`).

use super::Request;
use crate::account::{Account, Batch, Message, RouteCache};
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::manager::JetStream;
use crate::protocol::headers;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const AUDIT: &str = "$JS.EVENT.ADVISORY.API";
const LIMIT_REACHED: &str = "$JS.EVENT.ADVISORY.API.LIMIT_REACHED";

/// The header with what an import tells of who asks.
const REQUEST_INFO: &str = "Nats-Request-Info";

/// Who asked, as advisories tell it: the connection, or what is told of it by the import through which the request came.
pub(super) fn client(account: &Account, request: &Request) -> Value {
    let mut told = request.by.map(|id| account.describe(id)).unwrap_or_default();
    if told.get("acc").is_some_and(|from| from != account.name()) {
        let info = headers::get(&request.message.headers, REQUEST_INFO);
        told = info.and_then(|info| serde_json::from_str(info).ok()).unwrap_or_default();
        told.insert("svc".to_owned(), account.name().into());
    }
    told.entry("acc").or_insert_with(|| account.name().into());
    // Who has a bearer's JWT can pass for it.
    told.retain(|key, _| key != "jwt" && key != "alts");
    Value::Object(told)
}

/// Tells of a request and its answer if anybody listens.
pub(super) fn tell(jetstream: &JetStream, request: &Request, response: &[u8]) {
    let account = jetstream.account();
    if account.has_interest(AUDIT, None) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut told = json!({
            "client": client(account, request),
            "subject": request.message.subject,
            "response": text(response),
        });
        if !request.message.payload.is_empty() {
            told["request"] = text(&request.message.payload).into();
        }
        publish(jetstream, account, AUDIT, "api_audit", told);
    }
}

/// Tells the system account of so many requests that were refused.
pub(super) fn tell_refused(jetstream: &JetStream, refused: u64) {
    if let Some(system) = jetstream.system()
        && system.has_interest(LIMIT_REACHED, None)
    {
        publish(jetstream, system, LIMIT_REACHED, "api_limit_reached", json!({ "dropped": refused }));
    }
}

fn publish(jetstream: &JetStream, account: &Arc<Account>, subject: &str, kind: &str, told: Value) {
    let mut event = Map::from_iter([
        ("type".to_owned(), format!("io.nats.jetstream.advisory.v1.{kind}").into()),
        ("id".to_owned(), format!("{:016x}{:08x}", fastrand::u64(..), fastrand::u32(..)).into()),
        ("timestamp".to_owned(), serde_json::to_value(Timestamp::now()).unwrap_or_default()),
        ("server".to_owned(), jetstream.options().server_name.clone().into()),
    ]);
    event.extend(jetstream.options().domain.told().map(|domain| ("domain".to_owned(), domain.into())));
    event.extend(told.as_object().cloned().unwrap_or_default());
    let payload = Value::Object(event).to_string();
    let message = Message { subject, reply: "", headers: &[], payload: payload.as_bytes() };
    account.route(jetstream.origin(), &message, &mut RouteCache::default(), &mut Batch::default());
}
