//! Mirrors and sources: a task for each origin reads the other stream through a push consumer and hands what comes to the
//! stream it belongs to. The origin is reached by the JetStream API alone, so it may be on the other side of a leaf link
//! (`external.api`, as in `$JS.hub.API`).
//!
//! ```text
//! session: make a consumer from the last sequence on, or reset the one to read through ─> messages in order ─> Stream::take_mirrored | take_sourced
//!     └─ a gap, silence, an error: the session ends, and another begins after a while
//! ```
//!
//! Where to go on is what the stream holds itself: a mirror keeps the origin's sequences, and a sourced message has a
//! header that names its own (`server/stream.go`, `setupMirrorConsumer`, `processInboundSourceMsg`).

mod intake;
mod message;
mod position;
mod request;
mod sync;

use super::error::ApiError;
use super::origin::{ExternalStream, SourceConsumer, StreamSource};
use super::stream::Stream;
use crate::account::{Inbox, LocalClient, Message};
use crate::protocol::headers;
use crate::store::StoreError;
use crate::subject::Transform;
pub(super) use intake::Followers;
pub(super) use message::index_name;
use message::{Arrived, parse};
use position::Position;
pub(super) use position::forget;
use request::Told;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
pub use sync::SyncStatus;
use tokio::task::JoinHandle;

/// Messages of the origin that may wait here; what does not fit is asked for again.
const QUEUE: usize = 1 << 16;
/// An origin that says nothing for so long is asked anew; it sends a sign of life every second.
const SILENCE: Duration = Duration::from_secs(10);
/// How often at most the position of a source is kept beside its messages.
const KEEP: Duration = Duration::from_secs(5);
/// Between two sessions, at least and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A mirror that lags by fewer messages may answer for its origin (nats-server's `dgetCaughtUpThresh`).
const CAUGHT_UP: u64 = 10;

/// What `STREAM.INFO` tells of a mirror or source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceInfo {
    /// The origin's name.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<ExternalStream>,
    /// Messages that are still to come.
    lag: u64,
    /// Of a source, the origin's last message that was taken; 0: none yet.
    #[serde(skip_serializing_if = "is_zero")]
    seq: u64,
    /// Nanoseconds since it was last heard of; -1: never.
    active: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ApiError>,
    #[serde(skip_serializing_if = "String::is_empty")]
    filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_transforms: Vec<super::config::SubjectTransform>,
    /// The consumer that is read through, which nats-server tells with the configuration alone.
    #[serde(skip)]
    pub consumer: Option<SourceConsumer>,
}

fn is_zero(seq: &u64) -> bool {
    *seq == 0
}

/// The task of one origin; ends when dropped.
pub(super) struct Follower {
    origin: Arc<Origin>,
    task: JoinHandle<()>,
}

struct Origin {
    /// The stream here.
    stream: String,
    source: StreamSource,
    mirror: bool,
    transforms: Vec<Transform>,
    progress: Mutex<Progress>,
    /// Of a source; held while a message is stored, so that it agrees with what the stream holds.
    position: Mutex<Position>,
}

#[derive(Default)]
struct Progress {
    lag: u64,
    heard: Option<Instant>,
    error: Option<ApiError>,
    /// It did not tell what it is when it was asked last.
    mute: bool,
    /// The stream here refuses what comes, by its limits or as the disk does not take it.
    stuck: bool,
    /// It was found to end before what came from it.
    ends_before: bool,
    /// The origin's sequence before the first that may come.
    behind: u64,
    /// Stays so: an origin that is busy is always a little ahead.
    caught_up: bool,
    counts: sync::Counts,
}

impl Progress {
    fn lags_by(&mut self, lag: u64) {
        self.lag = lag;
        self.caught_up |= lag < CAUGHT_UP;
    }
}

impl Follower {
    /// Follows `source` for `stream`; within a runtime.
    pub fn start(stream: &Arc<Stream>, source: &StreamSource, mirror: bool) -> Self {
        let transforms = source.subject_transforms.iter();
        let origin = Arc::new(Origin {
            stream: stream.name().to_owned(),
            source: source.clone(),
            mirror,
            // Checked with the configuration.
            transforms: transforms.filter_map(|t| Transform::new(&t.source, &t.destination).ok()).collect(),
            progress: Mutex::default(),
            position: Mutex::default(),
        });
        let (weak, followed, client) =
            (Arc::downgrade(stream), origin.clone(), LocalClient::new(stream.account().clone()));
        let task = tokio::spawn(async move {
            tokio::select! {
                () = follow(weak, followed.clone()) => {}
                () = followed.answer_questions(&client) => {}
            }
        });
        Follower { origin, task }
    }

    /// How it stands with its origin.
    pub fn sync(&self) -> SyncStatus {
        self.origin.sync()
    }

    /// The origin's sequence before the first that may come.
    pub fn behind(&self) -> u64 {
        self.origin.progress().behind
    }

    /// Whether there was once nearly nothing left to come.
    pub fn has_caught_up(&self) -> bool {
        self.origin.progress().caught_up
    }

    /// How far it has come.
    pub fn info(&self) -> SourceInfo {
        let source = &self.origin.source;
        let seq = if self.origin.mirror { 0 } else { self.origin.position().seq };
        let progress = self.origin.progress();
        SourceInfo {
            name: source.name.clone(),
            external: source.external.clone(),
            lag: progress.lag,
            seq,
            active: progress.heard.map_or(-1, |at| i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX)),
            error: progress.error.clone(),
            filter_subject: source.filter_subject.clone(),
            subject_transforms: source.subject_transforms.clone(),
            consumer: source.consumer.clone(),
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
        origin.tell(&client);
        wait = if began.elapsed() > SILENCE { RETRY.0 } else { (wait * 2).min(RETRY.1) };
        let origin_api = request::info_subject(&origin.source);
        let pause = |wait: Duration| tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0));
        tokio::select! {
            () = pause(wait) => {}
            // The link to the origin is up again.
            () = client.heard_anew(&origin_api) => {
                wait = RETRY.0;
                pause(wait).await;
            }
        }
    }
}

/// Reads from one consumer until something is missing. `next` is the sequence to go on from, once it is known.
async fn session(
    stream: &Weak<Stream>,
    origin: &Origin,
    client: &LocalClient,
    next: &mut Option<u64>,
) -> Result<(), ApiError> {
    let rollbacks = stream.upgrade().map_or(0, |stream| stream.log().rollbacks());
    if origin.position().rollbacks != rollbacks {
        // Something that was taken in did not get to the disk.
        *next = None;
    }
    let from = match (origin.mirror, *next) {
        (false, Some(next)) => next,
        _ => {
            let (stream, source, mirror) = (stream.clone(), origin.source.clone(), origin.mirror);
            let found = tokio::task::spawn_blocking(move || match stream.upgrade() {
                Some(stream) if mirror => Ok(stream.mirrored(&source)),
                Some(stream) => stream.position_of(&source),
                None => Ok(Position::default()),
            });
            let found = found.await.map_err(ApiError::general)?.map_err(ApiError::general)?;
            let mut position = origin.position();
            *position = found.clone();
            position.rollbacks = rollbacks;
            found.seq + 1
        }
    };
    *next = Some(from);
    // The last message of the origin that is stored here, or need not be.
    let (mut inbox, last, identity) = match &origin.source.consumer {
        Some(consumer) => {
            // It delivers as soon as somebody listens, which is not before it begins again.
            let (behind, identity) =
                request::reset_consumer(client, &origin.source, origin.mirror, &consumer.name).await?;
            (client.subscribe(&consumer.deliver_subject, QUEUE), behind.max(from.saturating_sub(1)), identity)
        }
        None => {
            let (deliver, inbox) = request::open(client, &origin.source, origin.mirror, QUEUE);
            let known = origin.position().identity.clone();
            let made = request::make_consumer(client, &origin.source, origin.mirror, from, &deliver, &known).await;
            if made.as_ref().is_err_and(|error| error.err_code == request::OTHER_STREAM) {
                return remade(stream, origin, next);
            }
            let made = made?;
            {
                let mut progress = origin.progress();
                progress.lags_by(made.pending);
                progress.behind = made.behind;
            }
            (inbox, from.saturating_sub(1), made.identity)
        }
    };
    // An origin that does not tell with its consumer what it is may do so if asked, as may one that was too short; what it
    // delivers waits meanwhile.
    let asks = {
        let progress = origin.progress();
        identity.is_none() && !progress.mute || progress.ends_before
    };
    let told = if asks { ask(origin, client).await } else { None };
    if let Some(identity) = identity.or_else(|| told.as_ref().map(|told| told.identity.clone())) {
        let other = |known: &str| !known.is_empty() && known != identity;
        if last > 0 && other(&origin.position().identity) {
            return remade(stream, origin, next);
        }
        origin.position().is_of(identity);
        keep(stream, origin);
    }
    told.map_or(Ok(()), |told| reaches(origin, &told, last))?;
    {
        let mut progress = origin.progress();
        (progress.heard, progress.error) = (Some(Instant::now()), None);
        progress.counts.begins(last);
    }
    origin.tell(client);
    let later = async {
        match asks {
            true => Ok(()),
            false => ask(origin, client).await.map_or(Ok(()), |told| reaches(origin, &told, last)),
        }
    };
    tokio::select! {
        result = read(stream, origin, client, &mut inbox, last, next) => result,
        // Reading goes on beside it: an origin need not tell, and on a slow link it takes its time.
        Err(error) = later => Err(error),
    }
}

/// Asks the origin what it is.
async fn ask(origin: &Origin, client: &LocalClient) -> Option<Told> {
    let told = request::find_origin(client, &origin.source).await;
    origin.progress().mute = told.is_none();
    told
}

/// An error if the origin ends before `last`, which came from it: it was restored from a backup, or made anew, and what it takes
/// until it is as long again would not come here.
fn reaches(origin: &Origin, told: &Told, last: u64) -> Result<(), ApiError> {
    let mut progress = origin.progress();
    let before = std::mem::replace(&mut progress.ends_before, told.last < last);
    if told.last >= last {
        return Ok(());
    }
    let text = format!(
        "the origin was made anew or restored: it ends at sequence {}, and {last} came from it already; make this stream anew as well",
        told.last
    );
    let error = ApiError::new(500, if origin.mirror { 10029 } else { 10045 }, text);
    if !before {
        tracing::warn!("{} of {}: {error}", origin.stream, origin.source.name);
    }
    Err(error)
}

/// The origin is another stream than the one that was read. A source begins at its start; what a mirror holds has the sequences
/// that the new messages have.
fn remade(stream: &Weak<Stream>, origin: &Origin, next: &mut Option<u64>) -> Result<(), ApiError> {
    let (name, to) = (&origin.source.name, &origin.stream);
    if origin.mirror {
        let text = "the origin was made anew: its messages are others than those that came from it already; make this stream anew as well";
        let error = ApiError::new(500, 10029, text);
        let mut progress = origin.progress();
        // Found out by each attempt.
        if progress.error.as_ref() != Some(&error) {
            progress.counts.remade();
            tracing::warn!("mirror {to} of {name}: {error}");
        }
        return Err(error);
    }
    origin.progress().counts.remade();
    tracing::warn!("the stream {name}, a source of {to}, was made anew; it is read from its start");
    origin.position().begin_again();
    *next = Some(1);
    keep(stream, origin);
    Ok(())
}

async fn read(
    stream: &Weak<Stream>,
    origin: &Origin,
    client: &LocalClient,
    inbox: &mut Inbox,
    mut last: u64,
    next: &mut Option<u64>,
) -> Result<(), ApiError> {
    let (mut delivered, mut kept) = (0, None::<Instant>);
    let began = Instant::now();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, inbox.next()).await {
        origin.progress().heard = Some(Instant::now());
        if kept.is_none_or(|at| at.elapsed() > KEEP) {
            kept = Some(Instant::now());
            keep(stream, origin);
        }
        if headers::status(&message.headers) == Some(100) {
            let known = origin.position().rollbacks;
            if stream.upgrade().is_some_and(|stream| stream.log().rollbacks() != known) {
                return Err(ApiError::of_store(StoreError::RolledBack));
            }
            origin.tell(client);
            let stalled = headers::get(&message.headers, "Nats-Consumer-Stalled").unwrap_or_default();
            let ask = if message.reply.is_empty() { stalled } else { &message.reply };
            if !ask.is_empty() {
                answer(stream, origin, client, ask, (delivered, last)).await?;
            }
            let heard = headers::get(&message.headers, "Nats-Last-Consumer").and_then(|last| last.parse::<u64>().ok());
            if heard.is_some_and(|heard| heard > 0 && heard != delivered) {
                return Ok(());
            }
            continue;
        }
        let Some(arrived) = parse(&message) else { continue };
        if arrived.deliveries > 1 || arrived.consumer_seq != delivered + 1 {
            return Ok(());
        }
        delivered = arrived.consumer_seq;
        if arrived.stream_seq <= last {
            continue;
        }
        let Some(stream) = stream.upgrade() else { return Ok(()) };
        {
            let mut position = origin.position();
            let here = store(&stream, origin, &position, &arrived).inspect_err(|error| origin.is_stuck(error))?;
            if !origin.mirror {
                position.reached(arrived.stream_seq, here);
                if position.is_long()
                    && let Some(committed) = stream.committed_in_turn(&position)
                {
                    position.is_stored(committed);
                }
            }
        }
        let whole = is_whole(origin, last);
        last = arrived.stream_seq;
        *next = Some(arrived.stream_seq + 1);
        let mut progress = origin.progress();
        progress.lags_by(arrived.pending);
        progress.counts.arrived(&arrived, whole);
        // One message may find room where the next does not.
        if progress.stuck && (arrived.pending == 0 || began.elapsed() > SILENCE) {
            progress.stuck = false;
            tracing::info!("{}: takes messages again", origin.title());
        }
    }
    Ok(())
}

/// Whether what lies between `last` and the next message is missing, and not left out because that was asked for.
fn is_whole(origin: &Origin, last: u64) -> bool {
    let StreamSource { filter_subject, subject_transforms, opt_start_seq, opt_start_time, .. } = &origin.source;
    let starts_later = last == 0 && (*opt_start_seq > 1 || opt_start_time.is_some());
    origin.mirror && filter_subject.is_empty() && subject_transforms.is_empty() && !starts_later
}

/// Keeps the position of a source, and which stream a mirror's origin is.
fn keep(stream: &Weak<Stream>, origin: &Origin) {
    let Some(stream) = stream.upgrade() else { return };
    if let Some(change) = stream.keep_position(origin) {
        // Nobody waits for it: until it is on disk the one before it holds.
        drop(stream.store().state().write(vec![change]));
    }
}

/// Answers a flow control message with the last delivery, by its number and its sequence at the origin. Where that is an
/// acknowledgement, which may have the origin remove what it covers, all of it is on disk by then.
async fn answer(
    stream: &Weak<Stream>,
    origin: &Origin,
    client: &LocalClient,
    subject: &str,
    (delivered, last): (u64, u64),
) -> Result<(), ApiError> {
    if origin.source.consumer.is_some() {
        let Some(stored) = stream.upgrade().map(|stream| stream.consumers().barrier()) else { return Ok(()) };
        stored.await.map_err(ApiError::store_failed)?;
    }
    let block = format!("NATS/1.0\r\nNats-Last-Consumer: {delivered}\r\nNats-Last-Stream: {last}\r\n\r\n");
    client.publish(&Message { subject, reply: "", headers: block.as_bytes(), payload: &[] });
    Ok(())
}

/// Hands a message to the stream; gives the last sequence of it that may be on its way to disk by then.
fn store(stream: &Stream, origin: &Origin, position: &Position, arrived: &Arrived<'_>) -> Result<u64, ApiError> {
    let transformed = origin.transforms.iter().find_map(|transform| transform.apply(arrived.subject));
    let subject = transformed.as_deref().unwrap_or(arrived.subject);
    let headers = message::kept_headers(arrived.headers, origin.mirror);
    if origin.mirror {
        let message = Message { subject, reply: "", headers: &headers, payload: arrived.payload };
        return stream.take_mirrored(position.rollbacks, (arrived.stream_seq, arrived.time), &message);
    }
    let headers = message::with_source(&headers, &origin.source, &position.identity, arrived);
    stream
        .take_sourced(position.rollbacks, &Message { subject, reply: "", headers: &headers, payload: arrived.payload })
}

impl Origin {
    /// For the log.
    fn title(&self) -> String {
        let kind = if self.mirror { "mirror" } else { "source" };
        format!("{kind} {} of stream {}", self.source.name, self.stream)
    }

    /// The stream refuses a message of it, which is told once.
    fn is_stuck(&self, error: &ApiError) {
        // What did not get to the disk is read anew.
        let again = *error == ApiError::of_store(StoreError::RolledBack);
        if !again && !std::mem::replace(&mut self.progress().stuck, true) {
            tracing::warn!(
                "{}: the stream does not take the next message, and waits until it does: {error}",
                self.title()
            );
        }
    }

    fn position(&self) -> std::sync::MutexGuard<'_, Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
