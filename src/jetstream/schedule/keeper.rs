//! What is due when, and giving it.

use super::{Next, Note, notes, pattern};
use crate::account::Message;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::desk::Verdict;
use crate::jetstream::headers;
use crate::jetstream::stream::Stream;
use crate::protocol::headers::HeadersBuilder;
use crate::store::{Purge, StoreError, Stored};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The clock is looked at this often while something is to become due, in case it is set.
const LOOK: Duration = Duration::from_secs(10);
/// What was due and could not be given, or was given and is not yet on disk, is looked at again after this.
const AGAIN: Duration = Duration::from_secs(30);

/// A schedule.
struct Known {
    seq: u64,
    due: Due,
}

/// When it is due: by the wall clock, or by one that nobody sets.
#[derive(Clone, Copy)]
enum Due {
    Wall(i64),
    Steady(Instant),
}

impl Due {
    fn of(at: i64, steady: bool) -> Due {
        match steady {
            true => Due::Steady(Instant::now() + until(at)),
            false => Due::Wall(at),
        }
    }
}

fn until(at: i64) -> Duration {
    Duration::from_nanos(u64::try_from(at.saturating_sub(Timestamp::now().0)).unwrap_or(0))
}

/// The schedules of a stream.
#[derive(Default)]
pub(in crate::jetstream) struct Schedules {
    known: HashMap<Box<str>, Known>,
    wall: BTreeSet<(i64, Box<str>)>,
    steady: BTreeSet<(Instant, Box<str>)>,
    /// The log has been read.
    recovered: bool,
    /// Committed before that.
    early: Vec<Note>,
    /// When the next look is arranged for.
    armed: Option<Instant>,
}

impl Schedules {
    fn note(&mut self, note: Note) {
        match note {
            Note::Begins { subject, seq, next } => self.set(subject, seq, Due::of(next.at, next.steady)),
            Note::Ends(subject) => {
                if let Some(known) = self.known.remove(&subject) {
                    self.leave(known.due, subject);
                }
            }
            Note::Gave(subject, at) => {
                if let Some(known) = self.known.get(&subject) {
                    let steady = matches!(known.due, Due::Steady(_));
                    self.set(subject, known.seq, Due::of(at, steady));
                }
            }
        }
    }

    fn set(&mut self, subject: Box<str>, seq: u64, due: Due) {
        if let Some(old) = self.known.insert(subject.clone(), Known { seq, due }) {
            self.leave(old.due, subject.clone());
        }
        match due {
            Due::Wall(at) => self.wall.insert((at, subject)),
            Due::Steady(at) => self.steady.insert((at, subject)),
        };
    }

    fn leave(&mut self, due: Due, subject: Box<str>) {
        match due {
            Due::Wall(at) => self.wall.remove(&(at, subject)),
            Due::Steady(at) => self.steady.remove(&(at, subject)),
        };
    }

    /// Sequences of what is due now; each is put off until its message is on disk.
    fn take_due(&mut self) -> Vec<u64> {
        let (wall, steady) = (Timestamp::now().0, Instant::now());
        let due: Vec<Box<str>> = (self.wall.iter().take_while(|(at, _)| *at <= wall).map(|(_, subject)| subject))
            .chain(self.steady.iter().take_while(|(at, _)| *at <= steady).map(|(_, subject)| subject))
            .cloned()
            .collect();
        let mut seqs = Vec::with_capacity(due.len());
        let again = i64::try_from(AGAIN.as_nanos()).unwrap_or(i64::MAX);
        for subject in due {
            let Some(Known { seq, due }) = self.known.get(&subject) else { continue };
            let (seq, due) = (*seq, *due);
            seqs.push(seq);
            let later = match due {
                Due::Wall(_) => Due::Wall(wall.saturating_add(again)),
                Due::Steady(_) => Due::Steady(steady + AGAIN),
            };
            self.set(subject, seq, later);
        }
        seqs.sort_unstable();
        seqs
    }

    /// How long nothing is due.
    fn left(&self) -> Option<Duration> {
        let wall = self.wall.first().map(|(at, _)| until(*at).min(LOOK));
        let steady = self.steady.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        wall.into_iter().chain(steady).min()
    }
}

impl Stream {
    /// Messages of schedules, or from them, were committed.
    pub(in crate::jetstream) fn note_schedules(self: &Arc<Self>, notes: impl Iterator<Item = Note>) {
        let mut notes = notes.peekable();
        if notes.peek().is_none() {
            return;
        }
        let mut schedules = self.schedules();
        match schedules.recovered {
            true => notes.for_each(|note| schedules.note(note)),
            false => schedules.early.extend(notes),
        }
        self.arm_schedules(&mut schedules);
    }

    /// Has the schedules looked at, if there may be any.
    pub(in crate::jetstream) fn look_after_schedules(self: &Arc<Self>) {
        if self.config().allow_msg_schedules {
            self.arm_schedules(&mut self.schedules());
        }
    }

    fn arm_schedules(self: &Arc<Self>, schedules: &mut Schedules) {
        let left = if schedules.recovered { schedules.left() } else { Some(Duration::ZERO) };
        let Some(left) = left else { return };
        let at = Instant::now() + left;
        if schedules.armed.is_none_or(|armed| at < armed) {
            let called = self.upkeep().call(left, Arc::downgrade(self), Stream::give_scheduled);
            schedules.armed = called.then_some(at);
        }
    }

    /// Gives what is due; says after how long to look again.
    fn give_scheduled(self: &Arc<Self>) -> Option<Duration> {
        if !self.schedules().recovered
            && let Err(error) = self.recover_schedules()
        {
            tracing::error!(%error, stream = self.name(), "the schedules cannot be read; soon again");
            return Some(LOOK);
        }
        let due = self.schedules().take_due();
        for seq in due {
            match self.log().read(seq) {
                Ok(Some(stored)) => self.give(&stored),
                Ok(None) => {
                    let mut schedules = self.schedules();
                    let gone = schedules.known.iter().find(|(_, known)| known.seq == seq).map(|(s, _)| s.clone());
                    gone.into_iter().for_each(|subject| schedules.note(Note::Ends(subject)));
                }
                Err(error) => tracing::error!(%error, stream = self.name(), seq, "a schedule cannot be read"),
            }
        }
        let mut schedules = self.schedules();
        let left = schedules.left();
        let at = left.map(|left| Instant::now() + left);
        if let (Some(armed), Some(at)) = (schedules.armed, at)
            && armed > Instant::now()
            && armed <= at
        {
            return None;
        }
        schedules.armed = at;
        left
    }

    fn recover_schedules(&self) -> Result<(), StoreError> {
        let mut found = Schedules { recovered: true, ..Schedules::default() };
        let mut reader = self.log().reader();
        let mut last = 0;
        while let Some(stored) = reader.next(&|_| true)? {
            let wishes = headers::parse(&stored.headers);
            if wishes.schedule_next == "purge" && found.known.contains_key(wishes.scheduler) {
                // It was given, and then the power went away.
                let filter = Some(wishes.scheduler.to_owned());
                self.log().purge(&Purge { filter, below_seq: Some(stored.seq), keep: None })?;
            }
            notes(&wishes, &stored.subject, stored.seq, stored.time).for_each(|note| found.note(note));
            last = stored.seq;
        }
        let mut schedules = self.schedules();
        let early = std::mem::take(&mut schedules.early);
        // What was committed meanwhile may have been read already; said again it says the same.
        let fresh = early.into_iter().filter(|note| !matches!(note, Note::Begins { seq, .. } if *seq <= last));
        fresh.for_each(|note| found.note(note));
        found.armed = schedules.armed;
        *schedules = found;
        Ok(())
    }

    /// Publishes what a schedule gives now.
    fn give(self: &Arc<Self>, stored: &Stored) {
        let wishes = headers::parse(&stored.headers);
        let now = Timestamp::now().0;
        let Ok(Some(next)) = pattern::read(wishes.schedule, wishes.schedule_zone, now, now) else { return };
        let source = (!wishes.schedule_source.is_empty())
            .then(|| self.log().last_for(wishes.schedule_source).ok().flatten())
            .flatten()
            .and_then(|seq| self.log().read(seq).ok().flatten());
        let content = source.as_ref().unwrap_or(stored);
        let headers = given_headers(content, &stored.subject, &wishes, next);
        let target = wishes.schedule_target;
        let message = Message { subject: target, reply: "", headers: &headers, payload: &content.payload };
        let verdict = self.take_in(|desk, around, failed| desk.publish_scheduled(&message, around, failed));
        if let Some(Verdict::Refused(error) | Verdict::Full(error)) = verdict {
            tracing::warn!(%error, stream = self.name(), schedule = %stored.subject, "what was scheduled is not taken; soon again");
        }
    }
}

/// The headers of a message that a schedule gives.
fn given_headers(content: &Stored, schedule: &str, wishes: &headers::Wishes<'_>, next: Next) -> Vec<u8> {
    let own = ["Nats-Msg-Id", "Nats-TTL", "Nats-Rollup"];
    let keep =
        |name: &str| !name.starts_with("Nats-Schedule") && !name.starts_with("Nats-Expected-") && !own.contains(&name);
    let text = |at: i64| {
        let time = OffsetDateTime::from_unix_timestamp_nanos(at.into()).ok()?;
        time.format(&Rfc3339).ok()
    };
    let next = if next.repeats { text(next.at).unwrap_or_default() } else { "purge".to_owned() };
    let mut headers = HeadersBuilder::new()
        .copy(&content.headers, keep)
        .add("Nats-Scheduler", schedule)
        .add("Nats-Schedule-Next", &next);
    if !wishes.schedule_ttl.is_empty() {
        headers = headers.add("Nats-TTL", wishes.schedule_ttl);
    }
    if !wishes.schedule_rollup.is_empty() {
        headers = headers.add("Nats-Rollup", wishes.schedule_rollup);
    }
    headers.build()
}
