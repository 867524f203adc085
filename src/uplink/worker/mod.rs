//! The uplink's task: feeds the machine with what happens and does what it wants done.
//!
//! Everything slow is a job beside the loop (reading a chunk of the local stream, saving the cursor, asking the hub,
//! storing a dead letter) whose result comes back as an event. The loop sleeps until something happens; a timer runs
//! only while the machine has a deadline or the link is too busy to take more.

mod answers;
mod gaps;
mod line;
mod send;

use super::ask::{self, HubStream, PositionAnswer, Questions, Survey, Surveyed};
use super::cursor::{self, Kept};
use super::gaps::{Gap, Gaps};
use super::link::{HubLink, Session};
use super::local::{Chunk, LocalStream};
use super::machine::{Action, Cursor, Event, Machine};
use super::message::Ids;
use super::order::{self, Planner};
use super::positions::Positions;
use super::thin::Thinning;
use super::traffic::{Held, Member, Usage};
use super::{Options, Shared};
use crate::account::{Inbox, LocalClient};
use gaps::Burials;
use line::{Found, Missing};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// How soon a busy link is looked at again.
const PACE_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes that may cross without being noted on disk; a power cut forgets so many of the budgets.
const UNSAVED_BYTES: u64 = 64 * 1024;
/// Acks taken before the loop looks at anything else.
const ACK_BATCH: usize = 256;
/// See [`crate::leaf::LeafInfo::takes_chains`].
const TAKE_BATCHES: &str = "one message crosses per round trip, as the hub is a cluster of nats-server 2.14 or later, whose replicated \
                            streams do not survive that one of several is refused: set allow_atomic on its stream, then a \
                            backlog crosses in batches";

/// What a job has done.
enum Done {
    Event(Event),
    Read(Result<Chunk, String>),
    Trimmed,
    /// The plan is on disk, or could not be written.
    Planned(bool),
    Declared {
        gap: Gap,
        result: Result<(), String>,
    },
    Thinned {
        thinning: Thinning,
        result: Result<u64, String>,
    },
    Surveyed {
        run: u64,
        surveyed: Option<Surveyed>,
    },
    Positioned {
        run: u64,
        seq: u64,
        subject: Box<str>,
        answer: Option<PositionAnswer>,
    },
}

/// Everything that the task owns.
pub(super) struct Worker {
    options: Options,
    member: Arc<Member>,
    machine: Machine,
    link: Arc<dyn HubLink>,
    local: Arc<dyn LocalStream>,
    client: Arc<LocalClient>,
    inbox: Inbox,
    inbox_prefix: String,
    /// Tells the batches of this process from those of earlier ones.
    nonce: u64,
    /// Bytes and messages since one that asks for an answer.
    unanswered: (u64, usize),
    /// Why the next message may not go yet, and when to look again if nothing arrives before.
    held: Option<(Held, Instant)>,
    /// The run to which the messages on their way belong.
    flying: u64,
    /// Bytes that crossed when the cursor was last saved.
    bytes_saved: u64,
    questions: Arc<Questions>,
    ids: Ids,
    planner: Planner,
    /// The last message that the hub is known to hold, as on disk.
    held_on_disk: u64,
    /// What has places up to here was dropped.
    trimmed: u64,
    hub: HubStream,
    positions: Positions,
    gaps: Gaps,
    declaring: bool,
    gaps_declared: u64,
    burials: Burials,
    /// `None` while it is at work, or not asked for.
    thinning: Option<Thinning>,
    thinned: u64,
    chunk: Chunk,
    reading: bool,
    /// A position is asked for as soon as its message is read.
    unread_position: Option<(u64, u64)>,
    surveying: Option<AbortHandle>,
    jobs: JoinSet<Done>,
    blocked: bool,
    last_ack: u64,
    refusal: Option<String>,
    start: Instant,
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(
        options: Options,
        member: Arc<Member>,
        link: Arc<dyn HubLink>,
        local: Arc<dyn LocalStream>,
        client: LocalClient,
        shared: Arc<Shared>,
    ) -> Self {
        let Kept { cursor, mut hub, gaps, .. } = cursor::decode(local.load_cursor(), local.epoch());
        // What the operator says about the hub goes before what was learnt.
        hub.stream = options.hub_stream.clone().or(hub.stream);
        hub.domain = options.hub_domain.clone().or(hub.domain);
        let plan = order::decode(local.load_plan(), local.epoch());
        let planner = Planner::new(options.order, plan, *local.committed().borrow());
        let ids = Ids::new(&options.gateway, local.name(), local.epoch(), cursor.generation);
        let inbox_prefix = crate::account::new_inbox();
        // Twice the window: what is in flight, and late acks of the run before.
        let inbox = client.subscribe(&format!("{inbox_prefix}.>"), 2 * options.settings.window + 64);
        let thinning = options.thin.map(|(keep, bytes)| Thinning::new(keep, bytes));
        Worker {
            machine: Machine::new(options.settings.clone(), cursor, planner.told(), fastrand::u64(..)),
            ids: ids.in_order(planner.plan().clone()),
            held_on_disk: cursor.held,
            trimmed: planner.plan().first() - 1,
            planner,
            questions: Arc::new(Questions::new(link.clone(), &inbox_prefix)),
            options,
            member,
            link,
            local,
            client: Arc::new(client),
            inbox,
            inbox_prefix,
            nonce: fastrand::u64(..),
            unanswered: (0, 0),
            held: None,
            flying: 0,
            bytes_saved: 0,
            hub,
            positions: Positions::default(),
            gaps,
            declaring: false,
            gaps_declared: 0,
            burials: Burials::default(),
            thinning,
            thinned: 0,
            chunk: Chunk::default(),
            reading: false,
            unread_position: None,
            surveying: None,
            jobs: JoinSet::new(),
            blocked: false,
            last_ack: 0,
            refusal: None,
            start: Instant::now(),
            shared,
        }
    }

    /// Runs until `shutdown`; then saves the cursor once more.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut committed = self.local.committed();
        let mut sessions = self.link.sessions();
        // Both may have changed since the worker was made.
        committed.mark_unchanged();
        let session = sessions.borrow_and_update().clone();
        self.session(&session);
        let traffic = self.member.traffic().clone();
        loop {
            let room = traffic.room();
            self.fill();
            while self.go_on() {
                self.fill();
            }
            self.declare();
            self.tell_burials(false);
            self.publish_status();
            let wake = self.wake();
            tokio::select! {
                _ = shutdown.wait_for(|end| *end) => break,
                Ok(()) = sessions.changed() => {
                    let session = sessions.borrow_and_update().clone();
                    self.session(&session);
                }
                Some(message) = self.inbox.next() => {
                    self.incoming(message);
                    for _ in 1..ACK_BATCH {
                        let Some(message) = self.inbox.try_next() else { break };
                        self.incoming(message);
                    }
                }
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.done(done),
                    // A question that a newer one has replaced.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        self.reading = false;
                        self.refused(format!("internal error: {error}"));
                        self.feed(Event::Blocked);
                    }
                },
                Ok(()) = committed.changed() => self.thin(),
                () = room, if self.held.is_some() => {}
                () = tokio::time::sleep_until(wake.unwrap_or(self.start)), if wake.is_some() => {
                    self.blocked = false;
                    self.feed(Event::Tick);
                }
                else => break,
            }
        }
        self.end().await;
    }

    async fn end(mut self) {
        self.jobs.shutdown().await;
        self.tell_burials(true);
        if !self.machine.saved() || self.bytes_saved != self.member.usage().bytes {
            let (local, cursor) = (self.local.clone(), self.encoded(self.machine.cursor()));
            // A cursor that is not saved costs a question to the hub at the next start, nothing more.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || local.save_cursor(cursor)).await {
                tracing::warn!("uplink {}: cannot save the cursor: {error}", self.options.name);
            }
        }
        self.publish_status();
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wake(&self) -> Option<Instant> {
        let deadline = self.machine.deadline().map(|deadline| self.start + deadline);
        let pace = self.blocked.then(|| Instant::now() + PACE_INTERVAL);
        let held = self.held.map(|(_, again)| again);
        let gap = self.gaps.deadline().filter(|_| !self.declaring).map(|deadline| self.start + deadline);
        let burials = self.burials.deadline().map(|deadline| self.start + deadline);
        [deadline, pace, held, gap, burials].into_iter().flatten().min()
    }

    fn session(&mut self, session: &Session) {
        {
            let mut snapshot = self.shared.snapshot();
            if *snapshot.status.link != *session.text {
                snapshot.status.link = session.text.to_string();
                self.shared.changed.notify_one();
            }
        }
        if session.number.is_some() && self.options.hub_domain.is_none() {
            self.hub.domain = self.link.hub_domain().or(self.hub.domain.take());
        }
        match session.number {
            Some(number) => {
                self.machine.chain_messages(self.link.takes_chains());
                self.feed(Event::LinkUp(number));
            }
            None => self.feed(Event::LinkDown),
        }
    }

    fn feed(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.machine.handle(self.now(), event, &mut actions);
        if self.flying != self.machine.run() {
            self.flying = self.machine.run();
            self.member.forget();
        }
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let name = &self.options.name;
        match action {
            Action::AskHub { run } => self.survey(run),
            Action::AskPosition { run, seq } => self.position(run, seq),
            Action::SaveCursor(cursor) => self.save(cursor),
            Action::Trim(upto) => self.trim(upto),
            Action::Redial => {
                tracing::warn!(
                    "uplink {name}: the hub has confirmed and refused nothing for too long; the link is dialled anew"
                );
                self.link.redial();
            }
            Action::Bury { seq, reason } => self.bury(seq, &reason),
            Action::HubLost { from, to, gone } => tracing::warn!(
                "uplink {name}: the hub has lost messages {from} to {to} that it had confirmed (restored from a backup?); \
                 {} are sent again, {gone} are no longer here",
                to + 1 - from - gone
            ),
            Action::LocalLost { local, hub } => {
                tracing::warn!(
                    "uplink {name}: the hub holds our messages up to {hub}, but the local stream ends at {local} \
                     (restored from a backup?); goes on under new message ids"
                );
                let generation = self.machine.cursor().generation;
                let ids = Ids::new(&self.options.gateway, self.local.name(), self.local.epoch(), generation);
                self.ids = ids.in_order(self.planner.plan().clone());
            }
        }
    }

    fn survey(&mut self, run: u64) {
        self.positions.clear();
        self.unread_position = None;
        if let Some(old) = self.surveying.take() {
            old.abort();
        }
        let survey = Survey {
            questions: self.questions.clone(),
            ids: self.ids.clone(),
            hub: self.hub.clone(),
            filters: self.options.filters.clone(),
            cursor: self.machine.cursor(),
            local_first: self.first(),
            limit: self.options.settings.ack_timeout,
        };
        let job = async move { Done::Surveyed { run, surveyed: survey.run().await } };
        self.surveying = Some(self.jobs.spawn(job));
    }

    /// Gets the position of message `seq`'s subject, for which the message must be read first.
    fn position(&mut self, run: u64, seq: u64) {
        let subject = match self.find(seq) {
            Found::Here(message) => message.subject,
            Found::Missing(missing) => return self.gap(seq, missing),
            Found::Unknown => {
                self.unread_position = Some((run, seq));
                return self.read(seq);
            }
        };
        if self.positions.get(&subject).is_some() {
            return self.feed(Event::Position { run, seq, last: None });
        }
        let (questions, ids, hub) = (self.questions.clone(), self.ids.clone(), self.hub.clone());
        let limit = self.options.settings.ack_timeout;
        self.jobs.spawn(async move {
            let answer = ask::position(questions, ids, hub, subject.clone(), limit).await;
            Done::Positioned { run, seq, subject, answer }
        });
    }

    fn encoded(&self, cursor: Cursor) -> bytes::Bytes {
        let (hub, gaps) = (self.hub.clone(), self.gaps.clone());
        cursor::encode(self.local.epoch(), &Kept { cursor, hub, spent: self.member.usage().spent, gaps })
    }

    fn save(&mut self, cursor: Cursor) {
        self.bytes_saved = self.member.usage().bytes;
        let (local, encoded, name) = (self.local.clone(), self.encoded(cursor), self.options.name.clone());
        self.jobs.spawn_blocking(move || match local.save_cursor(encoded) {
            Ok(()) => Done::Event(Event::Saved(cursor)),
            Err(error) => {
                tracing::warn!("uplink {name}: cannot save the cursor: {error}");
                Done::Event(Event::SaveFailed)
            }
        });
    }

    fn publish_status(&mut self) {
        let usage = self.member.usage();
        if usage.bytes > self.bytes_saved + UNSAVED_BYTES {
            self.feed(Event::Unsaved);
        }
        self.machine.link_drains(usage.link_drain);
        self.snapshot(&usage);
    }

    fn snapshot(&self, usage: &Usage) {
        let machine = &self.machine;
        let now = self.shared.start.elapsed();
        let mut snapshot = self.shared.snapshot();
        let before = snapshot.notable();
        snapshot.held = self.held.map(|(held, _)| held);
        snapshot.phase = machine.phase();
        snapshot.cursor = machine.cursor();
        snapshot.plan.clone_from(self.planner.plan());
        let status = &mut snapshot.status;
        status.in_flight = machine.in_flight();
        status.used(usage);
        status.gaps_declared = self.gaps_declared;
        status.thinned = self.thinned;
        status.window = machine.burst();
        let batches = status.batches;
        status.count(machine.counters());
        status.exactly_once = if machine.reconciled() { "yes" } else { "dedup window only" };
        status.hub_stream.clone_from(&self.hub.stream);
        status.hub_domain.clone_from(&self.hub.domain);
        status.refusal.clone_from(&self.refusal);
        if status.batches > batches {
            status.advice = None;
        } else if machine.goes_one_by_one() && status.advice.is_none() {
            tracing::warn!("uplink {}: {TAKE_BATCHES}", self.options.name);
            status.advice = Some(TAKE_BATCHES);
        }
        let last_ack = self.planner.plan().at(self.last_ack).seq;
        if last_ack != status.last_ack_seq {
            status.last_ack_seq = last_ack;
            status.last_ack_time = super::timestamp();
        }
        let (delivered, bytes) = (status.delivered, status.bytes);
        snapshot.messages.note(now, delivered);
        snapshot.bytes.note(now, bytes);
        if snapshot.notable() != before {
            self.shared.changed.notify_one();
        }
    }
}
