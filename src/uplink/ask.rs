//! Questions to the hub: each is a request to its JetStream API whose answer comes back through the uplink's inbox.

use super::answer::{self, Api, AtHub};
use super::link::{HubLink, SendError};
use super::machine::{Cursor, HubAnswer};
use super::message::Ids;
use crate::account::{Message, OwnedMessage};
use crate::subject::is_subset;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

type Waiting = HashMap<u64, oneshot::Sender<OwnedMessage>>;

/// Sends questions and hands out their answers. Bounded by who asks: one question per subject filter at a time.
pub struct Questions {
    link: Arc<dyn HubLink>,
    inbox: String,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The question may not cross the link.
    NotAllowed,
    /// The link did not take it, or nothing came back in time.
    Silence,
}

/// A question under way; forgotten when dropped.
struct Pending<'a> {
    questions: &'a Questions,
    id: u64,
    answer: oneshot::Receiver<OwnedMessage>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.questions.waiting().remove(&self.id);
    }
}

impl Questions {
    /// Questions through `link`, answered at `<inbox>.q.<id>`.
    pub fn new(link: Arc<dyn HubLink>, inbox: &str) -> Self {
        Questions { link, inbox: inbox.to_owned(), waiting: Mutex::default(), next: AtomicU64::new(1) }
    }

    /// Hands the answer to question `id` to whoever waits for it.
    pub fn answered(&self, id: u64, answer: OwnedMessage) {
        if let Some(waiting) = self.waiting().remove(&id) {
            // Nobody waits any more: the answer came too late.
            let _ = waiting.send(answer);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, subject: &str, body: &str) -> Result<Pending<'_>, NoAnswer> {
        if !self.link.permits_publish(subject) {
            return Err(NoAnswer::NotAllowed);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(id, sender);
        let pending = Pending { questions: self, id, answer };
        let reply = format!("{}.q.{id}", self.inbox);
        match self.link.publish(&Message { subject, reply: &reply, headers: b"", payload: body.as_bytes() }) {
            Ok(()) => Ok(pending),
            Err(SendError::NotAllowed) => Err(NoAnswer::NotAllowed),
            Err(SendError::Down | SendError::Full | SendError::TooLarge) => Err(NoAnswer::Silence),
        }
    }
}

impl Pending<'_> {
    async fn answer(mut self, limit: Duration) -> Result<OwnedMessage, NoAnswer> {
        match tokio::time::timeout(limit, &mut self.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(NoAnswer::Silence),
        }
    }
}

/// Where the hub keeps the messages: its stream, once known, and the stream's JetStream domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubStream {
    /// The stream's name.
    pub stream: Option<String>,
    /// The domain; `None` is the hub's default API.
    pub domain: Option<String>,
}

impl HubStream {
    fn api(&self, verb: &str) -> String {
        match &self.domain {
            Some(domain) => format!("$JS.{domain}.API.{verb}"),
            None => format!("$JS.API.{verb}"),
        }
    }
}

/// One reconciliation.
pub struct Survey {
    /// Through which to ask.
    pub questions: Arc<Questions>,
    /// Whose messages.
    pub ids: Ids,
    /// Whom.
    pub hub: HubStream,
    /// The uplink's subject filters.
    pub filters: Arc<[String]>,
    /// What the hub is expected to hold at least.
    pub cursor: Cursor,
    /// First sequence of the local stream.
    pub local_first: u64,
    /// Longest wait for each answer.
    pub limit: Duration,
}

/// The outcome of a [`Survey`].
pub struct Surveyed {
    /// For the machine.
    pub answer: HubAnswer,
    /// The hub's stream if this told it.
    pub stream: Option<String>,
    /// Why the hub cannot tell, for the status.
    pub refusal: Option<String>,
    /// The last message of each filter that has one, as subject and position, whoever sent it.
    pub last: Vec<(Box<str>, u64)>,
}

impl Survey {
    /// Asks the hub for the last of our messages. `None` if it stays silent.
    pub async fn run(mut self) -> Option<Surveyed> {
        let learnt = match self.learn_stream().await {
            Ok(stream) => stream,
            Err(outcome) => return outcome,
        };
        let Some(stream) = self.hub.stream.clone() else {
            return Some(Surveyed { answer: HubAnswer::Unknown, stream: None, refusal: None, last: Vec::new() });
        };
        let outcome = |answer, refusal| Some(Surveyed { answer, stream: learnt.clone(), refusal, last: Vec::new() });
        let subject = self.hub.api(&format!("STREAM.MSG.GET.{stream}"));
        let mut pending = Vec::with_capacity(self.filters.len());
        for filter in self.filters.iter() {
            let body = serde_json::json!({ "last_by_subj": filter }).to_string();
            match self.questions.ask(&subject, &body) {
                Ok(question) => pending.push(question),
                Err(NoAnswer::NotAllowed) => return outcome(HubAnswer::Unknown, None),
                Err(NoAnswer::Silence) => return None,
            }
        }
        let mut last: Option<(u64, u64)> = None;
        let mut positions = Vec::new();
        for question in pending {
            match answer::message(&question.answer(self.limit).await.ok()?, &self.ids) {
                Api::Found(AtHub { position, seq, subject }) => {
                    last = last.max(seq.map(|seq| (seq, position)));
                    positions.push((subject, position));
                }
                Api::Nothing => {}
                Api::Unavailable(words) => return outcome(HubAnswer::Temporary, Some(words)),
            }
        }
        let behind = last.map_or(0, |(seq, _)| seq) < self.cursor.held && self.cursor.held_position > 0;
        let confirmed = if behind { self.confirmed(&subject, &stream).await } else { Confirmed::There };
        if let Confirmed::Renamed(stored) = confirmed {
            let words = format!(
                "the hub stores our messages on other subjects ({stored}), so that it cannot be asked for them: exactly once \
                 rests on its duplicate window; take subject_transform or the mapping away there"
            );
            return outcome(HubAnswer::Unknown, Some(words));
        }
        let lost = matches!(confirmed, Confirmed::Lost);
        let answer = HubAnswer::Held { last, lost, local_first: self.local_first };
        Some(Surveyed { answer, stream: learnt, refusal: None, last: positions })
    }

    /// Finds the hub's stream by the first filter where nothing has told it yet. An `Err` ends the survey.
    async fn learn_stream(&mut self) -> Result<Option<String>, Option<Surveyed>> {
        if self.hub.stream.is_some() {
            return Ok(None);
        }
        let body = serde_json::json!({ "subject": self.filters.first() }).to_string();
        let question = match self.questions.ask(&self.hub.api("STREAM.NAMES"), &body) {
            Ok(question) => question,
            Err(NoAnswer::NotAllowed) => return Ok(None),
            Err(NoAnswer::Silence) => return Err(None),
        };
        match answer::stream_name(&question.answer(self.limit).await.map_err(|_| None)?) {
            Api::Found(name) => {
                self.hub.stream = Some(name.clone());
                Ok(Some(name))
            }
            Api::Nothing => Ok(None),
            Api::Unavailable(words) => Err(Some(Surveyed {
                answer: HubAnswer::Temporary,
                stream: None,
                refusal: Some(words),
                last: Vec::new(),
            })),
        }
    }

    /// What became of the last message that the hub has confirmed, where asking for its subject does not find it; no answer is no
    /// proof of anything.
    async fn confirmed(&self, subject: &str, stream: &str) -> Confirmed {
        let body = serde_json::json!({ "seq": self.cursor.held_position }).to_string();
        let Ok(question) = self.questions.ask(subject, &body) else { return Confirmed::There };
        let Ok(answer) = question.answer(self.limit).await else { return Confirmed::There };
        match answer::message(&answer, &self.ids) {
            Api::Found(found) if found.seq != Some(self.cursor.held) => Confirmed::Lost,
            Api::Found(found) if !self.filters.iter().any(|filter| is_subset(&found.subject, filter)) => {
                Confirmed::Renamed(found.subject)
            }
            Api::Found(_) | Api::Unavailable(_) => Confirmed::There,
            Api::Nothing => {
                let Ok(question) = self.questions.ask(&self.hub.api(&format!("STREAM.INFO.{stream}")), "") else {
                    return Confirmed::There;
                };
                let Ok(answer) = question.answer(self.limit).await else { return Confirmed::There };
                match answer::last_position(&answer) {
                    Api::Found(last) if last < self.cursor.held_position => Confirmed::Lost,
                    _ => Confirmed::There,
                }
            }
        }
    }
}

/// What became of a message that the hub has confirmed.
enum Confirmed {
    /// It is there, or was consumed or has expired, or nobody knows.
    There,
    /// The hub's stream was restored or made anew, as [`HubAnswer::Held`] defines it.
    Lost,
    /// It is there on this subject, which is none of ours.
    Renamed(Box<str>),
}

/// The outcome of asking for a subject's position.
pub enum PositionAnswer {
    /// The subject's last message at the hub; `None` if there is none.
    Last(Option<AtHub>),
    /// Not told.
    Refused(String),
}

/// Asks for the last message on `subject`. `None` if the hub stays silent.
pub async fn position(
    questions: Arc<Questions>,
    ids: Ids,
    hub: HubStream,
    subject: Box<str>,
    limit: Duration,
) -> Option<PositionAnswer> {
    let stream = hub.stream.clone()?;
    let body = serde_json::json!({ "last_by_subj": subject }).to_string();
    let question = questions.ask(&hub.api(&format!("STREAM.MSG.GET.{stream}")), &body).ok()?;
    Some(match answer::message(&question.answer(limit).await.ok()?, &ids) {
        Api::Found(last) => PositionAnswer::Last(Some(last)),
        Api::Nothing => PositionAnswer::Last(None),
        Api::Unavailable(words) => PositionAnswer::Refused(words),
    })
}
