//! Where a stream takes in messages: its state, and the queue of those who wait for the commit. What is done with one
//! message is in `publish`. Everything happens under the stream's one lock and never waits.

use super::batch::Batches;
use super::config::StreamConfig;
use super::dedup::{Dedup, MAX_IDS};
use super::error::ApiError;
use super::expiry::Deadline;
use super::republish::Republisher;
use super::schedule::Note;
use super::stream::Line;
use super::usage::Usage;
use crate::account::OwnedMessage;
use crate::store::Log;
use crate::subject::Transform;
use std::collections::VecDeque;
use std::sync::Arc;

/// State of a stream's intake.
pub(super) struct Desk {
    pub config: Arc<StreamConfig>,
    /// Last sequence given, staged included.
    pub last_seq: u64,
    /// Message id of the last message; empty if it had none.
    pub last_msg_id: String,
    pub dedup: Dedup,
    /// No more than what the log holds; brought up to date when a limit seems to be reached.
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    pub(super) pending: VecDeque<Pending>,
    /// Reply subjects of `pending`, one after the other.
    replies: VecDeque<u8>,
    /// Messages for elsewhere, with the sequences whose commit they wait for.
    pub(super) copies: VecDeque<(u64, OwnedMessage)>,
    /// Messages with a time to live, until their commit.
    pub(super) deadlines: VecDeque<Deadline>,
    pub(super) transform: Option<Transform>,
    pub(super) republisher: Option<Republisher>,
    /// What messages say of schedules, until their commit.
    pub(super) scheduled: VecDeque<(u64, Note)>,
    pub(super) batches: Batches,
    /// A failed commit was noticed here before the store told of it.
    pub(super) undone: bool,
    pub closed: bool,
    /// Publishes that wait for room.
    pub line: Line,
}

/// A publish that waits for the commit of `seq`.
pub(super) struct Pending {
    pub seq: u64,
    pub reply_len: usize,
    /// What the answer says beside the sequence, as `,"val":"3"`.
    pub answer: Box<str>,
    pub kind: Kind,
    /// Where it stands in a fast batch.
    pub fast: Option<Box<InFast>>,
    /// It is not answered by itself.
    pub mute: bool,
}

/// A message of a fast batch.
pub(super) struct InFast {
    pub id: Arc<str>,
    /// Its sequence within the batch.
    pub seq: u64,
    /// Where the answer goes, if not to the message's own reply subject.
    pub reply: Option<Box<str>>,
}

/// What is to be done at the commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stored,
    /// It was stored before, under this sequence.
    Duplicate(u64),
    /// Everything before it goes, on these subjects, or (`None`) on all; and if no consumer is interested, it goes itself.
    Replaces {
        filters: Vec<Option<Box<str>>>,
        itself: bool,
    },
    /// The last message of a batch, answered when what the others replace is gone.
    Last,
}

/// What the publisher is told at once.
pub(super) enum Verdict {
    /// Nothing yet: the commit brings the answer, if there is to be one.
    Waits,
    Refused(ApiError),
    /// There is no room, but acknowledgements may be about to make some.
    Full(ApiError),
    /// It is on disk already: its sequence, and what the answer says beside it.
    Acked(u64, Box<str>),
    /// Part of a batch: it is in hand, and stored when the batch is committed.
    InHand,
}

/// Answers that are due, in their order.
#[derive(Default)]
pub(super) struct Due {
    pub entries: Vec<Pending>,
    pub replies: Vec<u8>,
    pub copies: Vec<OwnedMessage>,
    pub deadlines: Vec<Deadline>,
    pub scheduled: Vec<Note>,
}

/// What surrounds the desk.
pub(super) struct Surroundings<'a> {
    pub log: &'a Log,
    pub usage: &'a Arc<Usage>,
    pub domain: Option<&'a str>,
    /// Nanoseconds on a clock that never goes back.
    pub now: i64,
    /// Whether some consumer wants messages on a subject (asked for retention by interest).
    pub wanted: &'a dyn Fn(&str) -> bool,
}

impl Desk {
    pub fn new(config: Arc<StreamConfig>, last_seq: u64) -> Self {
        let dedup = Dedup::new(config.duplicate_window, MAX_IDS);
        let mut desk = Desk {
            transform: None,
            republisher: None,
            copies: VecDeque::new(),
            deadlines: VecDeque::new(),
            config: config.clone(),
            last_seq,
            last_msg_id: String::new(),
            dedup,
            msgs: u64::MAX,
            bytes: u64::MAX,
            pending: VecDeque::new(),
            replies: VecDeque::new(),
            scheduled: VecDeque::new(),
            batches: Batches::default(),
            undone: false,
            closed: false,
            line: Line::default(),
        };
        desk.configure(config);
        desk
    }

    /// Obeys another configuration from now on.
    pub fn configure(&mut self, config: Arc<StreamConfig>) {
        self.dedup.set_window(config.duplicate_window);
        // Checked with the configuration: what cannot be built is not there.
        let transform = config.subject_transform.as_ref();
        self.transform = transform.and_then(|t| Transform::new(&t.source, &t.destination).ok());
        self.republisher = Republisher::of(&config);
        self.config = config;
    }

    /// The original may still be on its way to disk; then the answer waits for all that is.
    pub(super) fn duplicate(&mut self, seq: u64, reply: &str, log: &Log) -> Verdict {
        self.duplicate_in_batch(seq, reply, "", log)
    }

    /// The same for a message of a batch, of which `more` tells.
    pub(super) fn duplicate_in_batch(&mut self, seq: u64, reply: &str, more: &str, log: &Log) -> Verdict {
        let answer: Box<str> = format!(",\"duplicate\": true{more}").into();
        if self.pending.is_empty() || log.committed() >= seq {
            return Verdict::Acked(seq, answer);
        }
        self.wait(self.last_seq, reply, answer, Kind::Duplicate(seq));
        Verdict::Waits
    }

    pub(super) fn wait(&mut self, seq: u64, reply: &str, answer: Box<str>, kind: Kind) {
        self.replies.extend(reply.as_bytes());
        let reply_len = reply.len();
        self.pending.push_back(Pending { seq, reply_len, answer, kind, fast: None, mute: false });
    }

    /// Takes out those whose commit has come.
    pub fn take_committed(&mut self, upto: u64, due: &mut Due) {
        let count = self.pending.partition_point(|entry| entry.seq <= upto);
        let bytes: usize = self.pending.iter().take(count).map(|entry| entry.reply_len).sum();
        due.entries.extend(self.pending.drain(..count));
        due.replies.extend(self.replies.drain(..bytes));
        let count = self.copies.partition_point(|(seq, _)| *seq <= upto);
        due.copies.extend(self.copies.drain(..count).map(|(_, copy)| copy));
        self.batches.on_stored(due);
        let count = self.deadlines.partition_point(|deadline| deadline.seq <= upto);
        due.deadlines.extend(self.deadlines.drain(..count));
        let count = self.scheduled.partition_point(|(seq, _)| *seq <= upto);
        due.scheduled.extend(self.scheduled.drain(..count).map(|(_, note)| note));
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

    pub(super) fn take_back(&mut self, from: u64, due: &mut Due) {
        let kept = self.pending.partition_point(|entry| entry.seq < from);
        let bytes: usize = self.pending.iter().take(kept).map(|entry| entry.reply_len).sum();
        due.entries.extend(self.pending.drain(kept..));
        due.replies.extend(self.replies.drain(bytes..));
        self.batches.on_failed(&due.entries);
        self.copies.truncate(self.copies.partition_point(|(seq, _)| *seq < from));
        self.deadlines.truncate(self.deadlines.partition_point(|deadline| deadline.seq < from));
        self.scheduled.truncate(self.scheduled.partition_point(|(seq, _)| *seq < from));
        self.dedup.forget_from(from);
    }

    /// Ends the intake; those who still wait are handed out.
    pub fn close(&mut self, due: &mut Due) {
        self.closed = true;
        self.batches = Batches::default();
        self.take_back(0, due);
    }
}
