//! The checks of messages in batches: each is held against what is stored and against those before it in its batch
//! (`server/jetstream_batching.go`, `checkMsgHeadersPreClusteredProposal`, whose order this is).

use crate::account::Message;
use crate::jetstream::config::{Discard, limit};
use crate::jetstream::counter::{Counted, Held};
use crate::jetstream::desk::{Desk, Surroundings};
use crate::jetstream::error::ApiError;
use crate::jetstream::headers::{self, Ttl, Wishes};
use crate::jetstream::publish::{bad, check_counter, check_size};
use crate::jetstream::schedule;
use crate::store::Record;
use std::collections::{HashMap, HashSet};

/// What the messages of a batch have said so far.
#[derive(Default)]
pub(super) struct Checks {
    ids: HashSet<Box<str>>,
    /// How many messages of each subject.
    subjects: HashMap<Box<str>, u64>,
    /// Last sequences of subjects that were expected.
    expected: HashMap<Box<str>, u64>,
    counters: HashMap<Box<str>, Held>,
    msgs: u64,
    bytes: u64,
}

/// Headers and body of a message, where they are not stored as they came.
pub(super) struct Rewritten {
    pub headers: Option<Vec<u8>>,
    pub payload: Option<String>,
}

/// Why a message of a batch is not stored.
pub(super) enum Fault {
    /// It was stored before, under this sequence; or stands in the batch before (0).
    Duplicate(u64),
    Refused(ApiError),
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Fault::Refused(error)
    }
}

fn constant() -> ApiError {
    bad(10164, "wrong last sequence")
}

impl Checks {
    /// Checks the next message. Gives what of it is to be stored otherwise.
    pub fn check(
        &mut self,
        desk: &mut Desk,
        message: &Message<'_>,
        wishes: &Wishes<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Rewritten, Fault> {
        let config = desk.config.clone();
        if !message.headers.is_empty() {
            check_size(&config, message)?;
            check_counter(&config, wishes, message)?;
            if !wishes.expected_stream.is_empty() && wishes.expected_stream != config.name {
                return Err(bad(10060, "expected stream does not match").into());
            }
            let ttl = headers::ttl(wishes.ttl);
            if !config.allow_msg_ttl && ttl != Ok(Ttl::Limits) {
                return Err(bad(10166, "per-message TTL is disabled").into());
            }
            ttl?;
            self.check_id(desk, wishes, around)?;
            if !wishes.source.is_empty() {
                return Err(bad(10227, "message stream source header is not allowed").into());
            }
        }
        let (mut headers, mut payload) = (None, None);
        if config.allow_msg_counter {
            let counted = self.count(message, wishes, around)?;
            check_size(&config, &Message { payload: counted.payload.as_bytes(), ..*message })?;
            (headers, payload) = (counted.headers, Some(counted.payload));
        }
        if !message.headers.is_empty() {
            self.check_expectations(desk, message, wishes, around)?;
            let block = headers.as_deref().unwrap_or(message.headers);
            let scheduled = schedule::check(&config, wishes, message.subject, block, around.log)?;
            self.check_rollup(desk, message.subject, wishes, scheduled.is_some())?;
            headers = scheduled.or(headers);
        }
        let record = Record {
            subject: message.subject,
            headers: headers.as_deref().unwrap_or(message.headers),
            payload: payload.as_ref().map_or(message.payload, |payload| payload.as_bytes()),
        };
        let size = record.counted(config.storage.into()) as u64;
        *self.subjects.entry(message.subject.into()).or_default() += 1;
        (self.msgs, self.bytes) = (self.msgs + 1, self.bytes.saturating_add(size));
        if config.discard == Discard::New {
            self.check_room(desk, message.subject, wishes, around)?;
        }
        Ok(Rewritten { headers, payload })
    }

    fn check_id(&mut self, desk: &mut Desk, wishes: &Wishes<'_>, around: &Surroundings<'_>) -> Result<(), Fault> {
        if wishes.msg_id.is_empty() {
            return Ok(());
        }
        if self.ids.contains(wishes.msg_id) {
            return Err(Fault::Duplicate(0));
        }
        if let Some(seq) = desk.dedup.find(wishes.msg_id, around.now) {
            return Err(Fault::Duplicate(seq));
        }
        self.ids.insert(wishes.msg_id.into());
        Ok(())
    }

    fn count(
        &mut self,
        message: &Message<'_>,
        wishes: &Wishes<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Counted, ApiError> {
        if wishes.incr.is_empty() {
            return Err(bad(10169, "message counter increment is missing"));
        }
        let mut held = match self.counters.get(message.subject) {
            Some(held) => held.clone(),
            None => Held::of(message.subject, around.log)?,
        };
        let counted = held.add(wishes.incr, message.headers)?;
        self.counters.insert(message.subject.into(), held);
        Ok(counted)
    }

    fn check_expectations(
        &mut self,
        desk: &Desk,
        message: &Message<'_>,
        wishes: &Wishes<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), ApiError> {
        let wrong = |seq: u64| bad(10071, format!("wrong last sequence: {seq}"));
        if let Some(expected) = headers::sequence(wishes.expected_last_seq) {
            let last = desk.last_seq + self.msgs;
            if expected != last {
                return Err(wrong(last));
            }
            if self.msgs > 0 {
                return Err(constant());
            }
        }
        let Some(expected) = headers::sequence(wishes.expected_subject_seq) else {
            return match wishes.expected_subject.is_empty() {
                true => Ok(()),
                false => Err(bad(10193, "missing sequence for expected last sequence per subject")),
            };
        };
        let subject = if wishes.expected_subject.is_empty() { message.subject } else { wishes.expected_subject };
        if self.subjects.contains_key(subject) {
            return Err(constant());
        }
        let last = match self.expected.get(subject) {
            Some(last) => *last,
            None => around.log.last_for(subject).map_err(ApiError::of_store)?.unwrap_or(0),
        };
        if last != expected {
            return Err(wrong(last));
        }
        self.expected.insert(subject.into(), last);
        Ok(())
    }

    /// A schedule rolls its subject up without being asked to.
    fn check_rollup(&self, desk: &Desk, subject: &str, wishes: &Wishes<'_>, scheduled: bool) -> Result<(), ApiError> {
        let refused = |text: String| Err(ApiError::new(500, 10111, text));
        let rollup = if scheduled { "sub" } else { wishes.rollup };
        if rollup.is_empty() {
            return Ok(());
        }
        if !desk.config.allow_rollup_hdrs || desk.config.deny_purge {
            return refused("rollup not permitted".into());
        }
        match rollup.to_lowercase().as_str() {
            "sub" if self.subjects.contains_key(subject) => refused("batch rollup sub invalid".into()),
            "all" if self.msgs > 0 => refused("batch rollup all invalid".into()),
            "sub" | "all" => Ok(()),
            other => refused(format!("rollup value invalid: {other:?}")),
        }
    }

    fn check_room(
        &self,
        desk: &Desk,
        subject: &str,
        wishes: &Wishes<'_>,
        around: &Surroundings<'_>,
    ) -> Result<(), ApiError> {
        let config = &desk.config;
        let state = around.log.state();
        let full = |have: u64, more: u64, most: Option<u64>| most.is_some_and(|most| have.saturating_add(more) > most);
        if full(state.msgs, self.msgs, limit(config.max_msgs)) {
            return Err(ApiError::store_failed("maximum messages exceeded"));
        }
        if full(state.bytes, self.bytes, limit(config.max_bytes)) {
            return Err(ApiError::store_failed("maximum bytes exceeded"));
        }
        if config.discard_new_per_subject && wishes.rollup.is_empty() {
            let have = around.log.subject_info(subject).map_err(ApiError::of_store)?.map_or(0, |info| info.count);
            let more = self.subjects.get(subject).copied().unwrap_or(0);
            if full(have, more, limit(config.max_msgs_per_subject)) {
                return Err(ApiError::store_failed("maximum messages per subject exceeded"));
            }
        }
        Ok(())
    }
}
