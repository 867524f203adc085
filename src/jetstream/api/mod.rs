//! The JetStream API: requests on `$JS.API.>` and `$JS.<domain>.API.>`, answered in nats-server's shapes
//! (`server/jetstream_api.go`).
//!
//! ```text
//! request ─> Inlet (copies, bounded queue) ─> one task, in order ─> stream | message | consumer ─> answer by the router
//! direct get ─> direct::Inlet, at once if the disk is not waited for; else bounded queue ─> a thread of its own
//! ```

mod absent;
mod audit;
/// `$JS.API.CONSUMER.>`.
pub mod consumer;
mod direct;
mod json;
mod level;
mod message;
mod read;
mod snapshot;
mod stream;

pub use absent::Absent;

use super::error::ApiError;
use super::level::requires_too_much;
use super::manager::JetStream;
use super::stream::Stream;
use crate::account::{
    Account, Batch, Message, Origin, OwnedMessage, RouteCache, Subscription, Target, TargetId, TargetKind,
};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;

/// Requests that may wait (nats-server's `JSDefaultRequestQueueLimit`); beyond that they are refused.
const QUEUE: usize = 10_000;

/// What is served; other subjects below `$JS.API` have nobody who listens.
const SUBJECTS: [&str; 12] = [
    "INFO",
    "STREAM.>",
    "CONSUMER.CREATE.>",
    "CONSUMER.DURABLE.>",
    "CONSUMER.NAMES.*",
    "CONSUMER.LIST.*",
    "CONSUMER.INFO.*.*",
    "CONSUMER.DELETE.*.*",
    "CONSUMER.LEADER.STEPDOWN.*.*",
    "CONSUMER.PAUSE.*.*",
    "CONSUMER.UNPIN.*.*",
    "CONSUMER.RESET.*.*",
];

/// The running API; ends when dropped.
pub(super) struct Api {
    account: Arc<Account>,
    prefixes: Vec<String>,
    subs: Vec<Arc<Subscription>>,
    direct: direct::Server,
}

impl Api {
    /// Starts the task on the current runtime.
    pub fn start(jetstream: &Arc<JetStream>) -> std::io::Result<Self> {
        let account = jetstream.account().clone();
        let mut prefixes = vec!["$JS.API.".to_owned()];
        if let Some(domain) = jetstream.options().domain.name() {
            prefixes.push(format!("$JS.{domain}.API."));
        }
        let (sender, requests) = mpsc::channel(QUEUE);
        let refused = Arc::new(AtomicU64::new(0));
        let inlet: Arc<dyn Target> = Arc::new(Inlet {
            id: TargetId::next(),
            account: account.clone(),
            origin: jetstream.origin(),
            sender,
            refused: refused.clone(),
        });
        let mut subs = Vec::new();
        for (at, prefix) in prefixes.iter().enumerate() {
            let spaces: &[&str] = if at == 0 { &[] } else { &["$KV.>", "$OBJ.>"] };
            for subject in SUBJECTS.iter().chain(spaces) {
                let sub = Arc::new(Subscription::new(&format!("{prefix}{subject}"), None, "", inlet.clone()));
                account.subscribe(sub.clone());
                subs.push(sub);
            }
        }
        tokio::spawn(serve(Arc::downgrade(jetstream), requests, refused));
        Ok(Api { direct: direct::Server::start(account.clone(), jetstream.origin())?, account, prefixes, subs })
    }

    /// Answers direct gets of `stream` if it allows them, or no more.
    pub fn serve_direct(&self, stream: &Arc<Stream>) {
        self.direct.serve(stream, &self.prefixes);
    }

    /// The stream is gone.
    pub fn end_direct(&self, stream: &str) {
        self.direct.end(stream);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.subs.iter().for_each(|sub| self.account.unsubscribe(sub));
    }
}

/// A request, and the connection from which it comes, where it is known.
struct Request {
    message: OwnedMessage,
    by: Option<TargetId>,
}

/// Takes requests in.
struct Inlet {
    id: TargetId,
    account: Arc<Account>,
    origin: Origin,
    sender: mpsc::Sender<Request>,
    /// Those that it refused and nobody was told of yet.
    refused: Arc<AtomicU64>,
}

impl Target for Inlet {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        let mut cache = RouteCache::default();
        // Clients that speak to a domain publish into its buckets through this prefix.
        if let Some((_, subject)) = message.subject.split_once(".API.$") {
            let subject = format!("${subject}");
            self.account.route(self.origin, &Message { subject: &subject, ..*message }, &mut cache, batch);
            return;
        }
        if self.sender.try_send(Request { message: message.to_owned(), by: batch.publisher() }).is_ok() {
            return;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        if !message.reply.is_empty() {
            let error = ApiError::new(429, 10167, "too many requests");
            let payload = json::envelope::<()>("system_overloaded", Err(error));
            let answer = Message { subject: message.reply, reply: "", headers: &[], payload: &payload };
            self.account.route(self.origin, &answer, &mut cache, batch);
        }
    }
}

async fn serve(jetstream: Weak<JetStream>, mut requests: mpsc::Receiver<Request>, refused: Arc<AtomicU64>) {
    let mut cache = RouteCache::default();
    while let Some(request) = requests.recv().await {
        let Some(jetstream) = jetstream.upgrade() else { return };
        match refused.swap(0, Ordering::Relaxed) {
            0 => {}
            refused => audit::tell_refused(&jetstream, refused),
        }
        let answered = answer(&jetstream, &request).await;
        // Only now: an answer that tells of requests does not count its own, as in nats-server.
        jetstream.requests.fetch_add(1, Ordering::Relaxed);
        let Some(Answer { mut headers, payload, then }) = answered else { continue };
        if payload.windows(ERROR.len()).take(200).any(|window| window == ERROR) {
            jetstream.errors.fetch_add(1, Ordering::Relaxed);
        }
        let OwnedMessage { subject, reply, .. } = &request.message;
        if !reply.is_empty() {
            if payload.is_empty() {
                headers = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n").into_bytes();
            }
            let message = Message { subject: reply, reply: "", headers: &headers, payload: &payload };
            jetstream.account().route(jetstream.origin(), &message, &mut cache, &mut Batch::default());
        }
        if !payload.is_empty() {
            audit::tell(&jetstream, &request, &payload);
        }
        if let Some(then) = then {
            then();
        }
    }
}

/// An answer, and what is to be done when it is on its way.
pub struct Answer {
    headers: Vec<u8>,
    payload: Vec<u8>,
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl From<Vec<u8>> for Answer {
    fn from(payload: Vec<u8>) -> Self {
        Answer { headers: Vec::new(), payload, then: None }
    }
}

/// How an error stands in an answer, directly behind its type.
const ERROR: &[u8] = b"_response\",\"error\":{";

async fn answer(jetstream: &Arc<JetStream>, request: &Request) -> Option<Answer> {
    let Request { message, .. } = request;
    let (_, rest) = message.subject.split_once(".API.")?;
    if requires_too_much(&message.headers)
        && let Some(refusal) = level::refuse(jetstream, rest, &message.payload)
    {
        return Some(Answer::from(refusal));
    }
    if let Some(rest) = rest.strip_prefix("CONSUMER.") {
        let found = jetstream.clone();
        let streams = move |name: &str| found.stream(name).map(|stream| stream.consumers().clone());
        return consumer::answer(rest, message, &streams).await;
    }
    // All that may read from disk, or waits for it, is done where that holds up nobody.
    let (owned, rest, payload) = (jetstream.clone(), rest.to_owned(), message.payload.clone());
    let who = MOVES.iter().any(|verb| rest.starts_with(verb)).then(|| audit::client(jetstream.account(), request));
    let handled = tokio::task::spawn_blocking(move || handle(&owned, &rest, &payload, who)).await;
    handled.ok().flatten()
}

/// Requests whose advisories say who asked.
const MOVES: [&str; 2] = ["STREAM.SNAPSHOT.", "STREAM.RESTORE."];

fn handle(jetstream: &Arc<JetStream>, rest: &str, payload: &[u8], who: Option<Value>) -> Option<Answer> {
    let tokens: Vec<&str> = rest.split('.').collect();
    if let (["STREAM", verb, name], Some(who)) = (tokens.as_slice(), who) {
        return Some(snapshot::answer(jetstream, verb, name, payload, who));
    }
    let answer = match tokens.as_slice() {
        ["INFO"] => Some(json::envelope("account_info_response", Ok(jetstream.account_info()))),
        ["STREAM", "MSG", verb, name] => message::answer(jetstream, verb, name, payload),
        ["STREAM", "LEADER", "STEPDOWN", _] => Some(of_clusters("stream_leader_stepdown_response")),
        ["STREAM", "PEER", "REMOVE", _] => Some(of_clusters("stream_remove_peer_response")),
        ["STREAM", "PEER", "EVACUATE", _] => Some(of_clusters("stream_evacuate_peer_response")),
        ["STREAM", "CANCEL_MOVE", _] => Some(of_clusters("stream_cancel_move_response")),
        ["STREAM", verb @ ("NAMES" | "LIST")] => stream::answer(jetstream, verb, "", payload),
        ["STREAM", verb, name] => stream::answer(jetstream, verb, name, payload),
        _ => None,
    };
    answer.map(Answer::from)
}

/// The answer to what only a cluster can do.
fn of_clusters(kind: &str) -> Vec<u8> {
    json::envelope::<()>(kind, Err(ApiError::new(503, 10010, "JetStream clustering support required")))
}
