//! The sync state of mirrors and sources: for the status, for whoever asks locally, and as events.

use super::{Arrived, Origin, SILENCE};
use crate::account::{LocalClient, Message};
use crate::system::meter::Meter;
use serde::Serialize;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Questions that may wait.
const QUESTIONS: usize = 16;

/// How a mirror or source stands with its origin.
#[derive(Clone, Debug, Serialize)]
pub struct SyncStatus {
    /// The stream here.
    stream: String,
    /// `mirror` or `source`.
    kind: &'static str,
    /// The stream that it follows.
    origin: String,
    /// The API prefix by which the origin is reached; absent: it is here.
    api: Option<String>,
    /// In words.
    state: &'static str,
    /// Whether the origin is heard.
    up: bool,
    /// Why it is not, in the origin's words.
    error: Option<String>,
    /// Messages that are still to come.
    backlog_messages: u64,
    /// Their bytes, if they are as large as those that came; absent before any did.
    backlog_bytes: Option<u64>,
    /// How old, in seconds, the oldest of them is at most: the age of the last that came.
    oldest_age: Option<f64>,
    /// Messages that came a second, over the last half minute.
    rate: Option<f64>,
    /// Seconds until the backlog is here at that rate.
    eta: Option<f64>,
    /// Seconds since the origin was last heard of.
    heard_age: Option<f64>,
    /// The origin's sequence of the last message that is here.
    last_seq: u64,
    /// Messages that came since the start.
    received: u64,
    /// Their bytes.
    bytes: u64,
    /// Messages that a mirror without a filter or transforms lacks, as the origin had them no longer.
    gaps: u64,
    /// Times that it began anew.
    retries: u64,
    /// Times that the origin was another stream of that name than before.
    remade: u64,
}

impl SyncStatus {
    /// `<kind>.<stream>.<origin>`, which tells it from the others here, but for those that read one origin twice.
    pub fn key(&self) -> String {
        format!("{}.{}.{}", self.kind, self.stream, self.origin)
    }

    /// Whether the origin is reached by another API than that of the account here.
    pub fn is_external(&self) -> bool {
        self.api.is_some()
    }

    /// Whether it stands otherwise than `before`, apart from what time alone changes.
    pub fn differs(&self, before: &SyncStatus) -> bool {
        let stands = |status: &SyncStatus| {
            let SyncStatus { up, backlog_messages, last_seq, gaps, remade, .. } = *status;
            (up, backlog_messages, last_seq, gaps, remade)
        };
        stands(self) != stands(before) || (self.state, &self.error) != (before.state, &before.error)
    }
}

/// What is counted since the start.
pub(super) struct Counts {
    start: Instant,
    received: u64,
    bytes: u64,
    gaps: u64,
    sessions: u64,
    remade: u64,
    last_seq: u64,
    /// When the origin stored the last one, UNIX nanoseconds.
    last_time: i64,
    meter: Meter,
    told: Option<Notable>,
}

impl Default for Counts {
    fn default() -> Self {
        let (start, meter) = (Instant::now(), Meter::default());
        Counts {
            start,
            received: 0,
            bytes: 0,
            gaps: 0,
            sessions: 0,
            remade: 0,
            last_seq: 0,
            last_time: 0,
            meter,
            told: None,
        }
    }
}

impl Counts {
    /// A session begins, to go on behind `last`.
    pub(super) fn begins(&mut self, last: u64) {
        self.sessions += 1;
        self.last_seq = last;
    }

    /// The origin is another stream than before.
    pub(super) fn remade(&mut self) {
        self.remade += 1;
    }

    /// A message was stored; `whole`: the origin's sequences have no holes by themselves.
    pub(super) fn arrived(&mut self, message: &Arrived<'_>, whole: bool) {
        if whole {
            self.gaps += message.stream_seq.saturating_sub(self.last_seq + 1);
        }
        self.received += 1;
        self.bytes += (message.subject.len() + message.headers.len() + message.payload.len()) as u64;
        (self.last_seq, self.last_time) = (message.stream_seq, message.time);
        self.meter.note(self.start.elapsed(), self.received);
    }
}

/// What is worth an event when it changes.
#[derive(Clone, PartialEq)]
struct Notable {
    up: bool,
    error: Option<String>,
    caught_up: bool,
    gaps: u64,
    remade: u64,
}

/// An event: the state with its changes.
#[derive(Serialize)]
struct Event<'a> {
    changed: Vec<&'static str>,
    #[serde(flatten)]
    status: &'a SyncStatus,
}

impl Origin {
    /// How it stands.
    pub(super) fn sync(&self) -> SyncStatus {
        let progress = self.progress();
        let counts = &progress.counts;
        let up = progress.error.is_none() && progress.heard.is_some_and(|at| at.elapsed() < SILENCE);
        let lag = progress.lag;
        let rate = counts.meter.rate(counts.start.elapsed(), counts.received);
        SyncStatus {
            stream: self.stream.clone(),
            kind: if self.mirror { "mirror" } else { "source" },
            origin: self.source.name.clone(),
            api: self.source.external.as_ref().map(|external| external.api.clone()),
            state: match (up, &progress.error, lag) {
                (false, Some(_), _) => "trying again",
                (false, None, _) => "nothing is heard of the origin",
                (true, _, 0) => "up to date",
                (true, ..) => "catching up",
            },
            up,
            error: progress.error.as_ref().map(ToString::to_string),
            backlog_messages: lag,
            backlog_bytes: (counts.received > 0).then(|| lag.saturating_mul(counts.bytes / counts.received)),
            oldest_age: (lag > 0 && counts.last_time > 0).then(|| age(counts.last_time)),
            rate,
            eta: rate.filter(|rate| lag > 0 && *rate > 0.0).map(|rate| lag as f64 / rate),
            heard_age: progress.heard.map(|at| at.elapsed().as_secs_f64()),
            last_seq: counts.last_seq,
            received: counts.received,
            bytes: counts.bytes,
            gaps: counts.gaps,
            retries: counts.sessions.saturating_sub(1),
            remade: counts.remade,
        }
    }

    /// Tells on `$LEAFD.EVENT.ORIGIN.<stream>.<origin>` what has changed since the last time, if anything has.
    pub(super) fn tell(&self, client: &LocalClient) {
        let status = self.sync();
        let changed = {
            let mut progress = self.progress();
            let now = Notable {
                up: status.up,
                error: status.error.clone(),
                caught_up: progress.caught_up,
                gaps: status.gaps,
                remade: status.remade,
            };
            let before = progress.counts.told.replace(now.clone());
            now.changed(before.as_ref())
        };
        if changed.is_empty() {
            return;
        }
        let subject = format!("$LEAFD.EVENT.ORIGIN.{}.{}", self.stream, self.source.name);
        // A struct of strings and numbers always serialises.
        let body = serde_json::to_vec(&Event { changed, status: &status }).unwrap_or_default();
        client.publish(&Message { subject: &subject, reply: "", headers: b"", payload: &body });
    }

    /// Answers on `$LEAFD.ORIGIN.<stream>.<origin>`, for ever.
    pub(super) async fn answer_questions(&self, client: &LocalClient) {
        let subject = format!("$LEAFD.ORIGIN.{}.{}", self.stream, self.source.name);
        let mut questions = client.subscribe(&subject, QUESTIONS);
        while let Some(question) = questions.next().await {
            let body = serde_json::to_vec(&self.sync()).unwrap_or_default();
            client.publish(&Message { subject: &question.reply, reply: "", headers: b"", payload: &body });
        }
    }
}

impl Notable {
    /// The names of what differs.
    fn changed(&self, before: Option<&Notable>) -> Vec<&'static str> {
        let none = Notable { up: false, error: None, caught_up: false, gaps: 0, remade: 0 };
        let before = before.unwrap_or(&none);
        let differs = [
            ("up", self.up != before.up),
            ("error", self.error != before.error),
            ("caught_up", self.caught_up != before.caught_up),
            ("gaps", self.gaps != before.gaps),
            ("remade", self.remade != before.remade),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

/// Seconds since `time`, UNIX nanoseconds.
fn age(time: i64) -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.saturating_sub(Duration::from_nanos(u64::try_from(time).unwrap_or(0))).as_secs_f64()
}
