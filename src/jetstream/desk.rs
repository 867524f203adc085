//! Where a stream takes in messages: the checks of a publish in nats-server's order, the hand-over to the log, and the
//! queue of those who wait for the commit. Everything in here happens under the stream's one lock and never waits.

use super::config::{Discard, Retention, StreamConfig, limit};
use super::dedup::{Dedup, MAX_IDS};
use super::error::ApiError;
use super::headers::{self, Wishes};
use super::usage::Usage;
use crate::account::Message;
use crate::store::{Log, Record};
use std::collections::VecDeque;
use std::sync::Arc;

/// Publishes that may wait for the disk at once; more are refused, so that a stuck disk does not fill the memory.
const MAX_PENDING: usize = 1 << 18;
const MAX_HEADERS: usize = u16::MAX as usize;

/// State of a stream's intake.
pub(super) struct Desk {
    pub config: Arc<StreamConfig>,
    /// Last sequence given, staged included.
    pub last_seq: u64,
    /// Message id of the last message; empty if it had none.
    pub last_msg_id: String,
    pub dedup: Dedup,
    /// No more than what the log holds; brought up to date when a limit seems to be reached.
    msgs: u64,
    bytes: u64,
    pending: VecDeque<Pending>,
    /// Reply subjects of `pending`, one after the other.
    replies: VecDeque<u8>,
    /// A failed commit was noticed here before the store told of it.
    undone: bool,
    pub closed: bool,
}

/// A publish that waits for the commit of `seq`.
pub(super) struct Pending {
    pub seq: u64,
    pub reply_len: usize,
    pub kind: Kind,
}

/// What is to be done at the commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stored,
    /// It was stored before, under this sequence.
    Duplicate(u64),
    /// Everything before it goes: on this subject, or on all.
    Rollup(Option<Box<str>>),
    /// No consumer is interested: it goes at once.
    Unwanted,
}

/// What the publisher is told at once.
pub(super) enum Verdict {
    /// Nothing yet: the commit brings the answer.
    Waits,
    Duplicate(u64),
    Refused(ApiError),
}

/// Answers that are due, in their order.
#[derive(Default)]
pub(super) struct Due {
    pub entries: Vec<Pending>,
    pub replies: Vec<u8>,
}

/// What surrounds the desk.
pub(super) struct Surroundings<'a> {
    pub log: &'a Log,
    pub usage: &'a Usage,
    /// Nanoseconds on a clock that never goes back.
    pub now: i64,
    /// Whether some consumer wants the message (retention by interest).
    pub wanted: bool,
}

impl Desk {
    pub fn new(config: Arc<StreamConfig>, last_seq: u64) -> Self {
        let dedup = Dedup::new(config.duplicate_window, MAX_IDS);
        Desk {
            config,
            last_seq,
            last_msg_id: String::new(),
            dedup,
            msgs: u64::MAX,
            bytes: u64::MAX,
            pending: VecDeque::new(),
            replies: VecDeque::new(),
            undone: false,
            closed: false,
        }
    }

    /// Takes in one message. `failed` gets those who turn out to wait for a commit that failed.
    pub fn publish(&mut self, message: &Message<'_>, around: &Surroundings<'_>, failed: &mut Due) -> Verdict {
        match self.try_publish(message, around, failed) {
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
        if config.sealed {
            return Err(ApiError::new(400, 10109, "invalid operation on sealed stream"));
        }
        let wishes = if message.headers.is_empty() { Wishes::default() } else { headers::parse(message.headers) };
        if !message.headers.is_empty() {
            self.check_expectations(&wishes, message, around)?;
            let original = if wishes.msg_id.is_empty() { None } else { self.dedup.find(wishes.msg_id, around.now) };
            if let Some(seq) = original {
                return Ok(self.duplicate(seq, reply, around.log));
            }
            self.check_last_id_and_rollup(&wishes)?;
        }
        if limit(config.max_msg_size).is_some_and(|most| message.size() as u64 > most) {
            return Err(ApiError::new(400, 10054, "message size exceeds maximum allowed"));
        }
        if message.headers.len() > MAX_HEADERS {
            return Err(ApiError::new(400, 10097, "header size exceeds maximum allowed of 64k"));
        }
        let size = (message.size() + message.subject.len() + 32) as u64;
        if !around.usage.admits(config.storage, size) {
            return Err(ApiError::new(503, 10023, "insufficient resources"));
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(ApiError::new(429, 10167, "too many requests"));
        }
        if config.discard == Discard::New {
            self.check_room(message.subject, size, around.log)?;
        }
        let record = Record { subject: message.subject, headers: message.headers, payload: message.payload };
        let seq = around.log.append(&record).map_err(ApiError::store_failed)?;
        if seq <= self.last_seq {
            // The log went back after a failed commit, and this message got a sequence that others were waiting for.
            self.take_back(seq, failed);
            self.undone = true;
        }
        self.last_seq = seq;
        self.msgs = self.msgs.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        around.usage.add(config.storage, size);
        wishes.msg_id.clone_into(&mut self.last_msg_id);
        if !wishes.msg_id.is_empty() {
            self.dedup.insert(wishes.msg_id, seq, around.now);
        }
        let kind = match wishes.rollup {
            "sub" => Kind::Rollup(Some(message.subject.into())),
            "all" => Kind::Rollup(None),
            _ if !around.wanted => Kind::Unwanted,
            _ => Kind::Stored,
        };
        self.wait(seq, reply, kind);
        Ok(Verdict::Waits)
    }

    fn check_expectations(
        &self,
        wishes: &Wishes<'_>,
        message: &Message<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), ApiError> {
        let wrong = |seq: u64| ApiError::new(400, 10071, format!("wrong last sequence: {seq}"));
        if !wishes.expected_stream.is_empty() && wishes.expected_stream != self.config.name {
            return Err(ApiError::new(400, 10060, "expected stream does not match"));
        }
        if let Some(feature) = wishes.refusal {
            return Err(feature.error());
        }
        if let Some(expected) = wishes.expected_subject_seq {
            let subject = if wishes.expected_subject.is_empty() { message.subject } else { wishes.expected_subject };
            let last = if crate::subject::is_literal(subject) {
                around.log.subject_info(subject).map(|info| info.last)
            } else {
                around.log.last_for(subject)
            };
            let last = last.unwrap_or(0);
            if last != expected {
                return Err(wrong(last));
            }
        } else if !wishes.expected_subject.is_empty() {
            let text = "missing sequence for expected last sequence per subject";
            return Err(ApiError::new(400, 10193, text));
        }
        match wishes.expected_last_seq {
            Some(expected) if expected != self.last_seq => Err(wrong(self.last_seq)),
            _ => Ok(()),
        }
    }

    fn check_last_id_and_rollup(&self, wishes: &Wishes<'_>) -> Result<(), ApiError> {
        if !wishes.expected_last_msg_id.is_empty() && wishes.expected_last_msg_id != self.last_msg_id {
            return Err(ApiError::new(400, 10070, format!("wrong last msg ID: {}", self.last_msg_id)));
        }
        if wishes.rollup.is_empty() {
            return Ok(());
        }
        if !self.config.allow_rollup_hdrs || self.config.deny_purge {
            return Err(ApiError::new(500, 10111, "rollup not permitted"));
        }
        if !["sub", "all"].contains(&wishes.rollup) {
            return Err(ApiError::new(500, 10111, format!("rollup value invalid: {:?}", wishes.rollup)));
        }
        Ok(())
    }

    /// Whether there is room where new messages give way.
    fn check_room(&mut self, subject: &str, size: u64, log: &Log) -> Result<(), ApiError> {
        let config = &self.config;
        let mut replaces = false;
        if let Some(most) = limit(config.max_msgs_per_subject) {
            replaces = log.subject_info(subject).is_some_and(|info| info.count >= most);
            if replaces && config.discard_new_per_subject {
                return Err(ApiError::store_failed("maximum messages per subject exceeded"));
            }
        }
        let (msgs, bytes) = (limit(config.max_msgs), limit(config.max_bytes));
        let full = |have: u64, more: u64, most: Option<u64>| most.is_some_and(|most| have.saturating_add(more) > most);
        if full(self.msgs, 1, msgs) || full(self.bytes, size, bytes) {
            let state = log.state();
            (self.msgs, self.bytes) = (state.msgs, state.bytes);
        }
        if replaces {
            return Ok(());
        }
        if full(self.msgs, 1, msgs) {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if full(self.bytes, size, bytes) {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        Ok(())
    }

    /// The original may still be on its way to disk; then the answer waits for all that is.
    fn duplicate(&mut self, seq: u64, reply: &str, log: &Log) -> Verdict {
        if self.pending.is_empty() || log.committed() >= seq {
            return Verdict::Duplicate(seq);
        }
        self.wait(self.last_seq, reply, Kind::Duplicate(seq));
        Verdict::Waits
    }

    fn wait(&mut self, seq: u64, reply: &str, kind: Kind) {
        self.replies.extend(reply.as_bytes());
        self.pending.push_back(Pending { seq, reply_len: reply.len(), kind });
    }

    /// Takes out those whose commit has come.
    pub fn take_committed(&mut self, upto: u64, due: &mut Due) {
        let count = self.pending.partition_point(|entry| entry.seq <= upto);
        let bytes: usize = self.pending.iter().take(count).map(|entry| entry.reply_len).sum();
        due.entries.extend(self.pending.drain(..count));
        due.replies.extend(self.replies.drain(..bytes));
    }

    /// Takes out those whose commit failed, as the store says. Returns whether they had not been noticed before.
    pub fn take_failed(&mut self, from: u64, due: &mut Due) -> bool {
        if std::mem::take(&mut self.undone) {
            return false;
        }
        self.take_back(from, due);
        self.last_seq = from.saturating_sub(1);
        true
    }

    fn take_back(&mut self, from: u64, due: &mut Due) {
        let kept = self.pending.partition_point(|entry| entry.seq < from);
        let bytes: usize = self.pending.iter().take(kept).map(|entry| entry.reply_len).sum();
        due.entries.extend(self.pending.drain(kept..));
        due.replies.extend(self.replies.drain(bytes..));
        self.dedup.forget_from(from);
    }

    /// Ends the intake; those who still wait are handed out.
    pub fn close(&mut self, due: &mut Due) {
        self.closed = true;
        self.take_back(0, due);
    }

    /// Whether unwanted messages are not kept.
    pub fn keeps_by_interest(&self) -> bool {
        self.config.retention == Retention::Interest
    }
}
