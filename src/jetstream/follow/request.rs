//! The consumer that an origin is read through.

use super::message::hash;
use crate::account::{Inbox, LocalClient};
use crate::jetstream::consumer::CreateRequest;
use crate::jetstream::consumer::config::{AckPolicy, ConsumerConfig, DeliverPolicy};
use crate::jetstream::error::ApiError;
use crate::jetstream::origin::StreamSource;
use crate::protocol::headers::{self, HeadersBuilder};
use serde::Deserialize;
use std::time::Duration;

/// How long the origin's API may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The origin forgets a consumer that nobody has listened to for so long.
const UNUSED: i64 = 10_000_000_000;
/// The origin is not the stream that it was (nats-server's `JSConsumerStreamIdentityMismatchF`).
pub(super) const OTHER_STREAM: u16 = 10225;
const IDENTITY: &str = "Nats-Stream-Identity";
const HEARTBEAT: i64 = 1_000_000_000;
/// Nothing is acknowledged, so nothing is to come again.
const ACK_WAIT: i64 = 22 * 3_600_000_000_000;

#[derive(Deserialize)]
struct Answer {
    error: Option<ApiError>,
    config: Option<Acks>,
    delivered: Option<Delivered>,
    #[serde(default)]
    num_pending: u64,
}

#[derive(Deserialize)]
struct Found {
    created: String,
    state: Held,
}

#[derive(Deserialize)]
struct Held {
    last_seq: u64,
}

#[derive(Deserialize)]
struct Acks {
    ack_policy: AckPolicy,
}

#[derive(Deserialize)]
struct Delivered {
    stream_seq: u64,
}

/// A subject of its own for what the origin delivers, and the queue behind it.
pub(super) fn open(client: &LocalClient, source: &StreamSource, mirror: bool, capacity: usize) -> (String, Inbox) {
    let kind = if mirror { "M" } else { "S" };
    let prefix = source.external.as_ref().map_or("", |external| external.deliver.trim_end_matches('.'));
    let prefix = if prefix.is_empty() { "$JS" } else { prefix };
    let deliver = format!("{prefix}.{kind}.{:016x}", fastrand::u64(..));
    let inbox = client.subscribe(&deliver, capacity);
    (deliver, inbox)
}

/// A consumer that was made.
pub(super) struct Made {
    /// How many messages are to come.
    pub pending: u64,
    /// The sequence before the first that may come.
    pub behind: u64,
    /// What tells the origin from another stream of its name, if it says so (nats-server 2.15).
    pub identity: Option<String>,
}

/// Has the origin deliver from sequence `from` on, if it is the stream that `known` stands for, or that is empty.
pub(super) async fn make_consumer(
    client: &LocalClient,
    source: &StreamSource,
    mirror: bool,
    from: u64,
    deliver: &str,
    known: &str,
) -> Result<Made, ApiError> {
    let failed = |text: String| ApiError::new(500, if mirror { 10029 } else { 10045 }, text);
    let kind = if mirror { "MIRROR" } else { "SOURCE" };
    let mut config = ConsumerConfig {
        name: format!("JS_{kind}_{:016x}", fastrand::u64(..)),
        deliver_subject: deliver.to_owned(),
        ack_policy: AckPolicy::None,
        ack_wait: ACK_WAIT,
        max_deliver: 1,
        heartbeat: HEARTBEAT,
        flow_control: true,
        direct: true,
        inactive_threshold: UNUSED,
        ..ConsumerConfig::default()
    };
    match (from, source.opt_start_time) {
        (0 | 1, Some(time)) => {
            (config.deliver_policy, config.opt_start_time) = (DeliverPolicy::ByStartTime, Some(time));
        }
        _ => {
            let from = if from <= 1 { source.opt_start_seq } else { from };
            if from > 1 {
                (config.deliver_policy, config.opt_start_seq) = (DeliverPolicy::ByStartSequence, from);
            }
        }
    }
    match source.subject_transforms.as_slice() {
        [] => config.filter_subject.clone_from(&source.filter_subject),
        [only] => config.filter_subject.clone_from(&only.source),
        several => config.filter_subjects = several.iter().map(|transform| transform.source.clone()).collect(),
    }
    let mut subject = format!("{}.CONSUMER.CREATE.{}.{}", api(source), source.name, config.name);
    if !config.filter_subject.is_empty() {
        subject = format!("{subject}.{}", config.filter_subject);
    }
    let request = CreateRequest { stream_name: source.name.clone(), config, ..CreateRequest::default() };
    let body = serde_json::to_vec(&request).map_err(ApiError::general)?;
    let block = HeadersBuilder::new().add(IDENTITY, known).build();
    let block = if known.is_empty() { &[] } else { block.as_slice() };
    let message = client.request(&subject, block, &body, ANSWER).await.map_err(|error| failed(error.to_string()))?;
    let answer: Answer = serde_json::from_slice(&message.payload).map_err(|error| failed(error.to_string()))?;
    let identity = headers::get(&message.headers, IDENTITY).map(str::to_owned);
    let behind = answer.delivered.map_or(0, |delivered| delivered.stream_seq);
    answer.error.map_or(Ok(Made { pending: answer.num_pending, behind, identity }), Err)
}

/// The origin, as it tells of itself.
pub(super) struct Told {
    /// What tells it from another stream of its name: what nats-server 2.15 makes of the time at which it was made
    /// (`stream.identity`).
    pub identity: String,
    /// Its last sequence.
    pub last: u64,
}

/// What the origin tells of itself, which it need not.
pub(super) async fn find_origin(client: &LocalClient, source: &StreamSource) -> Option<Told> {
    let answer = client.request(&info_subject(source), &[], b"", ANSWER).await.ok()?;
    let found: Found = serde_json::from_slice(&answer.payload).ok()?;
    Some(Told { identity: hash(&found.created), last: found.state.last_seq })
}

/// Has the origin's consumer `name`, which is there already, deliver again what was not acknowledged. Returns the sequence
/// behind which it goes on, and what tells the origin from another stream of its name, if it says so.
pub(super) async fn reset_consumer(
    client: &LocalClient,
    source: &StreamSource,
    mirror: bool,
    name: &str,
) -> Result<(u64, Option<String>), ApiError> {
    let failed = |text: String| ApiError::new(500, if mirror { 10029 } else { 10045 }, text);
    let subject = format!("{}.CONSUMER.RESET.{}.{name}", api(source), source.name);
    // That the header is there asks for the identity.
    let block = HeadersBuilder::new().add(IDENTITY, "").build();
    let message = client.request(&subject, &block, b"", ANSWER).await.map_err(|error| failed(error.to_string()))?;
    let answer: Answer = serde_json::from_slice(&message.payload).map_err(|error| failed(error.to_string()))?;
    if let Some(error) = answer.error {
        return Err(error);
    }
    let identity = headers::get(&message.headers, IDENTITY).map(str::to_owned);
    match (answer.config, answer.delivered) {
        (Some(Acks { ack_policy: AckPolicy::FlowControl }), Some(Delivered { stream_seq })) => {
            Ok((stream_seq, identity))
        }
        _ if mirror => Err(ApiError::new(400, 10214, "stream mirror consumer requires flow control ack policy")),
        _ => Err(ApiError::new(400, 10217, "stream source consumer requires flow control ack policy")),
    }
}

/// What is asked of the origin's stream, and a link to the origin therefore listens on.
pub(super) fn info_subject(source: &StreamSource) -> String {
    format!("{}.STREAM.INFO.{}", api(source), source.name)
}

fn api(source: &StreamSource) -> &str {
    let api = source.external.as_ref().map_or("", |external| external.api.trim_end_matches('.'));
    if api.is_empty() { "$JS.API" } else { api }
}
