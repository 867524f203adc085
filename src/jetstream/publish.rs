//! What a stream does with one message: nats-server's checks in their order (`server/stream.go`,
//! `processJetStreamMsgWithBatch`), then the hand-over to the log.

use super::config::{Discard, Retention, StreamConfig, limit};
use super::consumer::config::Timestamp;
use super::counter::{self, Held};
use super::desk::{Desk, Due, Kind, Surroundings, Verdict};
use super::error::ApiError;
use super::expiry::Deadline;
use super::headers::{self, Ttl, Wishes};
use super::schedule;
use crate::account::Message;
use crate::protocol::headers::HeadersBuilder;
use crate::store::{Log, Record, StoreError, SubjectInfo};

/// Publishes that may wait for the disk at once; more are refused, so that a stuck disk does not fill the memory.
const MAX_PENDING: usize = 1 << 18;
const MAX_HEADERS: usize = u16::MAX as usize;

pub(super) fn bad(code: u16, text: impl Into<String>) -> ApiError {
    ApiError::new(400, code, text)
}

/// What is known of a message that is about to be stored.
pub(super) struct Ready {
    pub ttl: Ttl,
    /// Its headers, if they are to be others than those it came with.
    pub headers: Option<Vec<u8>>,
    /// Some consumer wants it.
    pub wanted: bool,
    /// The last sequence of its subject, if it is to be published again.
    pub before: u64,
    /// Bytes.
    pub size: u64,
}

/// A message that has passed the checks.
struct Order<'a> {
    message: &'a Message<'a>,
    reply: &'a str,
    wishes: &'a Wishes<'a>,
    /// What the answer says beside the sequence.
    answer: Box<str>,
    /// Sequence and time, if they are given.
    place: Option<(u64, i64)>,
    /// Of what follows an origin: how often the log has dropped staged messages, as far as it knows.
    in_turn: Option<u64>,
}

impl Desk {
    /// Takes in one message. `failed` gets those who turn out to wait for a commit that failed.
    pub fn publish(&mut self, message: &Message<'_>, around: &Surroundings<'_>, failed: &mut Due) -> Verdict {
        let transformed = self.transform.as_ref().and_then(|transform| transform.apply(message.subject));
        let subject = transformed.as_deref().unwrap_or(message.subject);
        self.publish_as_it_is(&Message { subject, ..*message }, around, failed)
    }

    /// The same for a message whose subject is not to be transformed.
    pub fn publish_as_it_is(&mut self, message: &Message<'_>, around: &Surroundings<'_>, failed: &mut Due) -> Verdict {
        let published = match super::batch::is_fast(message.reply) {
            true => self.publish_fast(message, around, failed),
            false => self.try_publish(message, around, failed),
        };
        match published {
            Ok(verdict) => verdict,
            Err(error) => Verdict::Refused(error),
        }
    }

    fn try_publish(
        &mut self,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        failed: &mut Due,
    ) -> Result<Verdict, ApiError> {
        let config = self.config.clone();
        let reply = if config.no_ack { "" } else { message.reply };
        let wishes = if message.headers.is_empty() { Wishes::default() } else { headers::parse(message.headers) };
        if !wishes.batch_id.is_empty() {
            return self.publish_atomic(wishes.batch_id, message, around, failed);
        }
        if config.sealed {
            return Err(bad(10109, "invalid operation on sealed stream"));
        }
        check_size(&config, message)?;
        let mut replaced = None;
        if !message.headers.is_empty() {
            check_counter(&config, &wishes, message)?;
            self.check_expectations(&wishes, message, around)?;
            replaced = schedule::check(&config, &wishes, message.subject, message.headers, around.log)?;
            let original = if wishes.msg_id.is_empty() { None } else { self.dedup.find(wishes.msg_id, around.now) };
            if let Some(seq) = original {
                return Ok(self.duplicate(seq, reply, around.log));
            }
            self.check_last_id_and_rollup(&wishes)?;
        }
        let message = &Message { headers: replaced.as_deref().unwrap_or(message.headers), ..*message };
        let wishes = if replaced.is_some() { headers::parse(message.headers) } else { wishes };
        if !config.allow_msg_counter {
            let order = Order { message, reply, wishes: &wishes, answer: Box::default(), place: None, in_turn: None };
            return self.store(order, around, failed);
        }
        if wishes.incr.is_empty() {
            return Err(bad(10169, "message counter increment is missing"));
        }
        let counted = Held::of(message.subject, around.log)?.add(wishes.incr, message.headers)?;
        let headers = counted.headers.as_deref().unwrap_or(message.headers);
        let message = Message { headers, payload: counted.payload.as_bytes(), ..*message };
        check_size(&config, &message)?;
        let order =
            Order { message: &message, reply, wishes: &wishes, answer: counted.answer, place: None, in_turn: None };
        self.store(order, around, failed)
    }

    /// Takes in a message of the mirror's origin, under its sequence and time there. What is here already is passed over.
    pub fn publish_mirrored(
        &mut self,
        place: (u64, i64),
        in_turn: u64,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        failed: &mut Due,
    ) -> Verdict {
        if place.0 <= self.last_seq {
            // Unless those up to there were dropped, which has not been told here yet.
            let here = place.0 <= around.log.state().last_seq;
            return if here { Verdict::Waits } else { Verdict::Refused(ApiError::of_store(StoreError::RolledBack)) };
        }
        let wishes = self.wishes_from_elsewhere(message.headers);
        let order = Order {
            message,
            reply: "",
            wishes: &wishes,
            answer: Box::default(),
            place: Some(place),
            in_turn: Some(in_turn),
        };
        self.store(order, around, failed).unwrap_or_else(Verdict::Refused)
    }

    /// Takes in a message of a source: its publisher's expectations were met there, only its id counts here.
    pub fn publish_sourced(
        &mut self,
        in_turn: u64,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        failed: &mut Due,
    ) -> Verdict {
        let wishes = self.wishes_from_elsewhere(message.headers);
        if !wishes.msg_id.is_empty() && self.dedup.find(wishes.msg_id, around.now).is_some() {
            return Verdict::Waits;
        }
        let transformed = self.transform.as_ref().and_then(|transform| transform.apply(message.subject));
        let mut message = Message { subject: transformed.as_deref().unwrap_or(message.subject), ..*message };
        let counted = match self.config.allow_msg_counter && !wishes.incr.is_empty() {
            true => Held::of(message.subject, around.log)
                .and_then(|mut held| held.take_in(message.subject, wishes.source, message.headers, message.payload))
                .map(Some),
            false => Ok(None),
        };
        let counted = match counted {
            Ok(counted) => counted,
            Err(error) => return Verdict::Refused(error),
        };
        if let Some(counted) = &counted {
            message.headers = counted.headers.as_deref().unwrap_or(message.headers);
            message.payload = counted.payload.as_bytes();
        }
        let order = Order {
            message: &message,
            reply: "",
            wishes: &wishes,
            answer: Box::default(),
            place: None,
            in_turn: Some(in_turn),
        };
        check_size(&self.config, &message)
            .and_then(|()| self.store(order, around, failed))
            .unwrap_or_else(Verdict::Refused)
    }

    /// Takes in what a schedule gives.
    pub fn publish_scheduled(&mut self, message: &Message<'_>, around: &Surroundings<'_>, failed: &mut Due) -> Verdict {
        let transformed = self.transform.as_ref().and_then(|transform| transform.apply(message.subject));
        let message = Message { subject: transformed.as_deref().unwrap_or(message.subject), ..*message };
        let wishes = headers::parse(message.headers);
        let order =
            Order { message: &message, reply: "", wishes: &wishes, answer: Box::default(), place: None, in_turn: None };
        check_size(&self.config, &message)
            .and_then(|()| self.store(order, around, failed))
            .unwrap_or_else(Verdict::Refused)
    }

    /// What a message asks for that another stream has stored already, as far as this one allows it.
    fn wishes_from_elsewhere<'a>(&self, block: &'a [u8]) -> Wishes<'a> {
        let mut wishes = headers::parse(block);
        if !self.config.allow_rollup_hdrs || self.config.deny_purge {
            wishes.rollup = "";
        }
        if !self.config.allow_msg_ttl {
            wishes.ttl = "";
        }
        wishes
    }

    /// Checks whether there is room, and hands the message to the log.
    fn store(&mut self, order: Order<'_>, around: &Surroundings<'_>, failed: &mut Due) -> Result<Verdict, ApiError> {
        let Order { message, reply, wishes, answer, place, in_turn } = order;
        let ready = self.make_ready(message, wishes, around)?;
        if self.config.discard == Discard::New
            && let Err(full) = self.check_room(message.subject, wishes, ready.size, around.log)
        {
            return match self.config.retention {
                Retention::Limits => Err(full),
                Retention::Interest | Retention::WorkQueue => Ok(Verdict::Full(full)),
            };
        }
        let headers = ready.headers.as_deref().unwrap_or(message.headers);
        let record = Record { subject: message.subject, headers, payload: message.payload };
        let stored = match in_turn {
            Some(known) => around.log.append_in_turn(known, place, &record),
            None => around.log.append(&record),
        };
        let seq = stored.map_err(ApiError::of_store)?;
        self.notice_failure(seq, failed);
        let kind = self.note(seq, &record, wishes, &ready, around);
        self.wait(seq, reply, answer, kind);
        Ok(Verdict::Waits)
    }

    /// Checks whether the account has room for a message, and looks up what is to be known of it before it is stored.
    pub(super) fn make_ready(
        &self,
        message: &Message<'_>,
        wishes: &Wishes<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Ready, ApiError> {
        let config = &self.config;
        if self.pending.len() >= MAX_PENDING {
            return Err(ApiError::new(429, 10167, "too many requests"));
        }
        let (ttl, headers) = at_least_as_long_as_markers(config, headers::ttl(wishes.ttl)?, message.headers);
        let block = headers.as_deref().unwrap_or(message.headers);
        let record = Record { subject: message.subject, headers: block, payload: message.payload };
        let size = record.counted(config.storage.into()) as u64;
        around.usage.admit(config.storage, size)?;
        let wanted = config.retention != Retention::Interest || (around.wanted)(message.subject);
        let before = match &self.republisher {
            Some(_) => around.log.subject_info(message.subject).map_err(ApiError::of_store)?,
            None => None,
        };
        Ok(Ready { ttl, headers, wanted, before: before.map_or(0, |info| info.last), size })
    }

    /// If the log went back after a failed commit, the message got a sequence that others were waiting for.
    pub(super) fn notice_failure(&mut self, seq: u64, failed: &mut Due) {
        if seq <= self.last_seq {
            self.take_back(seq, failed);
            self.undone = true;
        }
    }

    /// Takes note of a message that the log has staged as `seq`; says what is to be done at its commit.
    pub(super) fn note(
        &mut self,
        seq: u64,
        record: &Record<'_>,
        wishes: &Wishes<'_>,
        ready: &Ready,
        around: &Surroundings<'_>,
    ) -> Kind {
        self.last_seq = seq;
        self.msgs = self.msgs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(ready.size);
        around.usage.add(self.config.storage, ready.size);
        wishes.msg_id.clone_into(&mut self.last_msg_id);
        if !wishes.msg_id.is_empty() {
            self.dedup.insert(wishes.msg_id, seq, around.now);
        }
        if let Some(republisher) = self.republisher.as_ref().filter(|_| ready.wanted) {
            let copy = republisher.copy(record, seq, ready.before);
            self.copies.extend(copy.map(|copy| (seq, copy)));
        }
        if let Ttl::Seconds(seconds) = ready.ttl {
            self.deadlines.push_back(Deadline::after(seq, seconds));
        }
        if self.config.allow_msg_schedules {
            let notes = schedule::notes(wishes, record.subject, seq, Timestamp::now().0);
            self.scheduled.extend(notes.map(|note| (seq, note)));
        }
        let mut replaced = Vec::new();
        match wishes.rollup {
            "" => {}
            sub if sub.eq_ignore_ascii_case("sub") => replaced.push(Some(record.subject.into())),
            _ => replaced.push(None),
        }
        if wishes.schedule_next == "purge" && self.config.allow_msg_schedules {
            replaced.push(Some(wishes.scheduler.into()));
        }
        match ready.wanted {
            true if replaced.is_empty() => Kind::Stored,
            wanted => Kind::Replaces { filters: replaced, itself: !wanted },
        }
    }

    fn check_expectations(
        &self,
        wishes: &Wishes<'_>,
        message: &Message<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), ApiError> {
        let wrong = |seq: u64| bad(10071, format!("wrong last sequence: {seq}"));
        if !wishes.expected_stream.is_empty() && wishes.expected_stream != self.config.name {
            return Err(bad(10060, "expected stream does not match"));
        }
        // What is no TTL at all is refused later, as one that is invalid.
        if !self.config.allow_msg_ttl && !matches!(headers::ttl(wishes.ttl), Ok(Ttl::Limits) | Err(_)) {
            return Err(bad(10166, "per-message TTL is disabled"));
        }
        if let Some(expected) = headers::sequence(wishes.expected_subject_seq) {
            let subject = if wishes.expected_subject.is_empty() { message.subject } else { wishes.expected_subject };
            let last = around.log.last_for(subject).map_err(ApiError::of_store)?.unwrap_or(0);
            if last != expected {
                return Err(wrong(last));
            }
        } else if !wishes.expected_subject.is_empty() {
            return Err(bad(10193, "missing sequence for expected last sequence per subject"));
        }
        match headers::sequence(wishes.expected_last_seq) {
            Some(expected) if expected != self.last_seq => Err(wrong(self.last_seq)),
            _ => Ok(()),
        }
    }

    fn check_last_id_and_rollup(&self, wishes: &Wishes<'_>) -> Result<(), ApiError> {
        if !wishes.expected_last_msg_id.is_empty() && wishes.expected_last_msg_id != self.last_msg_id {
            return Err(bad(10070, format!("wrong last msg ID: {}", self.last_msg_id)));
        }
        if wishes.rollup.is_empty() {
            return Ok(());
        }
        if !self.config.allow_rollup_hdrs || self.config.deny_purge {
            return Err(ApiError::new(500, 10111, "rollup not permitted"));
        }
        let rollup = wishes.rollup.to_lowercase();
        if !["sub", "all"].contains(&rollup.as_str()) {
            return Err(ApiError::new(500, 10111, format!("rollup value invalid: {rollup:?}")));
        }
        Ok(())
    }

    /// Whether there is room where new messages give way.
    fn check_room(&mut self, subject: &str, wishes: &Wishes<'_>, size: u64, log: &Log) -> Result<(), ApiError> {
        let config = &self.config;
        let mut replaced = None;
        if let Some(most) = limit(config.max_msgs_per_subject) {
            replaced = log.subject_info(subject).map_err(ApiError::of_store)?.filter(|info| info.count >= most);
            if replaced.is_some() && config.discard_new_per_subject && wishes.rollup.is_empty() {
                return Err(ApiError::store_failed("maximum messages per subject exceeded"));
            }
        }
        let (msgs, bytes) = (limit(config.max_msgs), limit(config.max_bytes));
        let full = |have: u64, more: u64, most: Option<u64>| most.is_some_and(|most| have.saturating_add(more) > most);
        if full(self.msgs, 1, msgs) || full(self.bytes, size, bytes) {
            let state = log.state();
            (self.msgs, self.bytes) = (state.msgs, state.bytes);
        }
        if replaced.is_none() && full(self.msgs, 1, msgs) {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        // The one that gives way makes room for as many bytes as it has.
        let storage = config.storage.into();
        let gives_way = |info: SubjectInfo| -> bool {
            let stored = log.read_sound(info.first).ok().flatten();
            stored.is_some_and(|stored| stored.record().counted(storage) as u64 >= size)
        };
        if full(self.bytes, size, bytes) && !replaced.is_some_and(gives_way) {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }
}

pub(super) fn check_size(config: &StreamConfig, message: &Message<'_>) -> Result<(), ApiError> {
    if limit(config.max_msg_size).is_some_and(|most| message.size() as u64 > most) {
        return Err(bad(10054, "message size exceeds maximum allowed"));
    }
    if message.headers.len() > MAX_HEADERS {
        return Err(bad(10097, "header size exceeds maximum allowed of 64k"));
    }
    Ok(())
}

pub(super) fn check_counter(config: &StreamConfig, wishes: &Wishes<'_>, message: &Message<'_>) -> Result<(), ApiError> {
    if wishes.incr.is_empty() {
        return Ok(());
    }
    let invalid = || bad(10171, "message counter increment is invalid");
    counter::parse(wishes.incr).ok_or_else(invalid)?;
    if !config.allow_msg_counter {
        return Err(bad(10168, "message counters is disabled"));
    }
    if !message.payload.is_empty() {
        return Err(bad(10170, "message counter has payload"));
    }
    let others = [
        wishes.rollup,
        wishes.expected_stream,
        wishes.expected_last_msg_id,
        wishes.expected_subject,
        wishes.expected_last_seq,
        wishes.expected_subject_seq,
    ];
    if others.iter().any(|other| !other.is_empty()) { Err(invalid()) } else { Ok(()) }
}

/// A message must not be gone before the marker of an earlier one of its subject, or that would be missed; where the
/// subject has one message only there is no earlier one. With the headers that then say so.
fn at_least_as_long_as_markers(config: &StreamConfig, ttl: Ttl, block: &[u8]) -> (Ttl, Option<Vec<u8>>) {
    let least = config.subject_delete_marker_ttl / 1_000_000_000;
    match ttl {
        Ttl::Seconds(seconds) if seconds < least && config.max_msgs_per_subject != 1 => {
            let headers = HeadersBuilder::new().copy(block, |name| name != "Nats-TTL");
            (Ttl::Seconds(least), Some(headers.add("Nats-TTL", &least.to_string()).build()))
        }
        _ => (ttl, None),
    }
}
