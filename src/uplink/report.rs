//! The sync state as a product: whoever asks locally is answered, changes are told, and the hub has it in a key-value bucket.

use super::link::HubLink;
use super::traffic::Member;
use super::{Uplink, UplinkStatus, timestamp};
use crate::account::{LocalClient, Message};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Least time between two states told to the hub, so that a link that comes and goes does not fill itself with them.
const PAUSE: Duration = Duration::from_secs(5);
/// Questions that may wait.
const QUESTIONS: usize = 16;

/// Where the state goes at the hub.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// `$KV.<bucket>.<gateway>.uplink.<name>`
    pub subject: String,
    /// How often at most, while nothing but numbers changes.
    pub interval: Duration,
}

/// A status as told: with its time, and in events with what has changed.
#[derive(Serialize)]
struct Report<'a> {
    time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed: Vec<&'static str>,
    #[serde(flatten)]
    status: &'a UplinkStatus,
}

/// What is worth an event when it changes.
#[derive(Default, PartialEq)]
pub(super) struct Notable {
    link: String,
    hub_stream: Option<String>,
    refusal: Option<String>,
    held: Option<&'static str>,
    exactly_once: &'static str,
    dead_letters: u64,
    gaps_declared: u64,
    hub_lost: u64,
    watchdog: u64,
}

impl Notable {
    /// `held` is the limit that keeps it from sending, if one does.
    pub(super) fn of(status: &UplinkStatus, held: Option<&'static str>) -> Notable {
        Notable {
            link: status.link.clone(),
            hub_stream: status.hub_stream.clone(),
            refusal: status.refusal.clone(),
            held,
            exactly_once: status.exactly_once,
            dead_letters: status.dead_letters,
            gaps_declared: status.gaps_declared,
            hub_lost: status.hub_lost,
            watchdog: status.watchdog,
        }
    }

    /// The names of what differs.
    fn changed(&self, before: &Notable) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut note = |name, differs| {
            if differs {
                changed.push(name)
            }
        };
        note("link", self.link != before.link);
        note("hub_stream", self.hub_stream != before.hub_stream);
        note("refusal", self.refusal != before.refusal);
        note("held", self.held != before.held);
        note("exactly_once", self.exactly_once != before.exactly_once);
        note("dead_letters", self.dead_letters != before.dead_letters);
        note("gaps_declared", self.gaps_declared != before.gaps_declared);
        note("hub_lost", self.hub_lost != before.hub_lost);
        note("watchdog", self.watchdog != before.watchdog);
        changed
    }
}

/// Tells the state of `uplink` until `shutdown`.
pub(super) async fn run(
    uplink: Arc<Uplink>,
    client: LocalClient,
    link: Arc<dyn HubLink>,
    member: Arc<Member>,
    bucket: Option<Bucket>,
    mut shutdown: watch::Receiver<bool>,
) {
    let name = uplink.status().name;
    let mut questions = client.subscribe(&format!("$LEAFD.UPLINK.{name}"), QUESTIONS);
    let event_subject = format!("$LEAFD.EVENT.UPLINK.{name}");
    let mut before = Notable::default();
    let mut told: Option<UplinkStatus> = None;
    let mut tell_at = bucket.as_ref().map(|_| Instant::now() + PAUSE);
    let mut told_at = Instant::now();
    loop {
        tokio::select! {
            _ = shutdown.wait_for(|end| *end) => return,
            Some(question) = questions.next() => {
                let body = report(&uplink.status(), Vec::new());
                client.publish(&Message { subject: &question.reply, reply: "", headers: b"", payload: &body });
            }
            () = uplink.shared.changed.notified() => {
                let now = uplink.shared.notable();
                let changed = now.changed(&before);
                before = now;
                if !changed.is_empty() {
                    let body = report(&uplink.status(), changed);
                    client.publish(&Message { subject: &event_subject, reply: "", headers: b"", payload: &body });
                    let soon = (told_at + PAUSE).max(Instant::now());
                    tell_at = tell_at.map(|at| at.min(soon));
                }
            }
            () = tokio::time::sleep_until(tell_at.unwrap_or(told_at)), if tell_at.is_some() => {
                let Some(bucket) = &bucket else { continue };
                (told_at, tell_at) = (Instant::now(), Some(Instant::now() + bucket.interval));
                let status = uplink.status();
                let stands = |status: &UplinkStatus| (status.last_ack_seq, status.backlog_messages, status.state.clone());
                if told.as_ref().is_some_and(|told| stands(told) == stands(&status) && told.link == status.link) {
                    continue;
                }
                let body = report(&status, Vec::new());
                let message = Message { subject: &bucket.subject, reply: "", headers: b"", payload: &body };
                // Not permitted or no link: the next one will do.
                if link.publish(&message).is_ok() {
                    member.told((message.size() + message.subject.len()) as u64);
                    told = Some(status);
                }
            }
        }
    }
}

fn report(status: &UplinkStatus, changed: Vec<&'static str>) -> Vec<u8> {
    // A struct of strings and numbers always serialises.
    serde_json::to_vec(&Report { time: timestamp(), changed, status }).unwrap_or_default()
}
