//! Mirrors and sources: a task for each origin reads the other stream through a push consumer and hands what comes to the
//! stream it belongs to. The origin is reached by the JetStream API alone, so it may be on the other side of a leaf link
//! (`external.api`, as in `$JS.hub.API`).
//!
//! ```text
//! session: make a consumer from the last sequence on ─> messages in order ─> Stream::take_mirrored | take_sourced
//!     └─ a gap, silence, an error: the session ends, and another begins after a while
//! ```
//!
//! Where to go on is what the stream holds itself: a mirror keeps the origin's sequences, and a sourced message has a
//! header that names its own (`server/stream.go`, `setupMirrorConsumer`, `processInboundSourceMsg`).

mod intake;
mod message;
mod request;

use super::error::ApiError;
use super::origin::{ExternalStream, StreamSource};
use super::stream::Stream;
use crate::account::{Inbox, LocalClient, Message};
use crate::protocol::headers;
use crate::subject::Transform;
pub(super) use intake::Followers;
pub(super) use message::source_header;
use message::{Arrived, parse};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Messages of the origin that may wait here; what does not fit is asked for again.
const QUEUE: usize = 1 << 16;
/// An origin that says nothing for so long is asked anew; it sends a sign of life every second.
const SILENCE: Duration = Duration::from_secs(10);
/// Between two sessions, at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What `STREAM.INFO` tells of a mirror or source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceInfo {
    /// The origin's name.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<ExternalStream>,
    /// Messages that are still to come.
    lag: u64,
    /// Nanoseconds since it was last heard of; -1: never.
    active: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(skip_serializing_if = "String::is_empty")]
    filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_transforms: Vec<super::config::SubjectTransform>,
}

/// The task of one origin; ends when dropped.
pub(super) struct Follower {
    origin: Arc<Origin>,
    task: JoinHandle<()>,
}

struct Origin {
    source: StreamSource,
    mirror: bool,
    transforms: Vec<Transform>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    lag: u64,
    heard: Option<Instant>,
    error: Option<ApiError>,
}

impl Follower {
    /// Follows `source` for `stream`; within a runtime.
    pub fn start(stream: &Arc<Stream>, source: &StreamSource, mirror: bool) -> Self {
        let transforms = source.subject_transforms.iter();
        let origin = Arc::new(Origin {
            source: source.clone(),
            mirror,
            // Checked with the configuration.
            transforms: transforms.filter_map(|t| Transform::new(&t.source, &t.destination).ok()).collect(),
            progress: Mutex::default(),
        });
        let task = tokio::spawn(follow(Arc::downgrade(stream), origin.clone()));
        Follower { origin, task }
    }

    /// How far it has come.
    pub fn info(&self) -> SourceInfo {
        let source = &self.origin.source;
        let progress = self.origin.progress();
        SourceInfo {
            name: source.name.clone(),
            external: source.external.clone(),
            lag: progress.lag,
            active: progress.heard.map_or(-1, |at| i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX)),
            error: progress.error.clone(),
            filter_subject: source.filter_subject.clone(),
            subject_transforms: source.subject_transforms.clone(),
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One session after the other, until the stream is gone.
async fn follow(stream: Weak<Stream>, origin: Arc<Origin>) {
    let mut wait = RETRY.0;
    let mut next = None;
    loop {
        let Some(client) = stream.upgrade().map(|stream| LocalClient::new(stream.account().clone())) else { return };
        let began = Instant::now();
        match session(&stream, &origin, &client, &mut next).await {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, origin = origin.source.name, "a mirror or source begins again");
                origin.progress().error = Some(error);
            }
        }
        wait = if began.elapsed() > SILENCE { RETRY.0 } else { (wait * 2).min(RETRY.1) };
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// Reads from one consumer until something is missing. `next` is the sequence to go on from, once it is known.
async fn session(
    stream: &Weak<Stream>,
    origin: &Origin,
    client: &LocalClient,
    next: &mut Option<u64>,
) -> Result<(), ApiError> {
    let from = match (origin.mirror, *next) {
        (false, Some(next)) => next,
        _ => {
            let (stream, source, mirror) = (stream.clone(), origin.source.clone(), origin.mirror);
            let found = tokio::task::spawn_blocking(move || {
                stream.upgrade().map_or(Ok(1), |stream| stream.resume_from(&source, mirror))
            });
            found.await.map_err(ApiError::general)?.map_err(ApiError::general)?
        }
    };
    *next = Some(from);
    let (deliver, mut inbox) = request::open(client, &origin.source, origin.mirror, QUEUE);
    request::make_consumer(client, &origin.source, origin.mirror, from, &deliver).await?;
    {
        let mut progress = origin.progress();
        (progress.heard, progress.error) = (Some(Instant::now()), None);
    }
    read(stream, origin, client, &mut inbox, next).await
}

async fn read(
    stream: &Weak<Stream>,
    origin: &Origin,
    client: &LocalClient,
    inbox: &mut Inbox,
    next: &mut Option<u64>,
) -> Result<(), ApiError> {
    let mut delivered = 0;
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, inbox.next()).await {
        origin.progress().heard = Some(Instant::now());
        if headers::status(&message.headers) == Some(100) {
            let stalled = headers::get(&message.headers, "Nats-Consumer-Stalled").unwrap_or_default();
            let ask = if message.reply.is_empty() { stalled } else { &message.reply };
            if !ask.is_empty() {
                client.publish(&Message { subject: ask, reply: "", headers: &[], payload: &[] });
            }
            let last = headers::get(&message.headers, "Nats-Last-Consumer").and_then(|last| last.parse::<u64>().ok());
            if last.is_some_and(|last| last > 0 && last != delivered) {
                return Ok(());
            }
            continue;
        }
        let Some(arrived) = parse(&message) else { continue };
        if arrived.deliveries > 1 || arrived.consumer_seq != delivered + 1 {
            return Ok(());
        }
        delivered = arrived.consumer_seq;
        let Some(stream) = stream.upgrade() else { return Ok(()) };
        store(&stream, origin, &arrived)?;
        *next = Some(arrived.stream_seq + 1);
        origin.progress().lag = arrived.pending;
    }
    Ok(())
}

fn store(stream: &Stream, origin: &Origin, arrived: &Arrived<'_>) -> Result<(), ApiError> {
    let transformed = origin.transforms.iter().find_map(|transform| transform.apply(arrived.subject));
    let subject = transformed.as_deref().unwrap_or(arrived.subject);
    let headers = message::kept_headers(arrived.headers, origin.mirror);
    if origin.mirror {
        let message = Message { subject, reply: "", headers: &headers, payload: arrived.payload };
        return stream.take_mirrored(arrived.stream_seq, arrived.time, &message);
    }
    let headers = message::with_source(&headers, &origin.source, arrived);
    stream.take_sourced(&Message { subject, reply: "", headers: &headers, payload: arrived.payload })
}

impl Origin {
    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
