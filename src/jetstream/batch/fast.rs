//! Fast batches (`server/stream.go`, `processJetStreamFastBatchMsg`; `server/jetstream_batching.go`): each message is stored
//! by itself, and its reply subject says where it stands: `<inbox>.<batch>.<flow>.<gaps>.<sequence>.<operation>.$FI`. The
//! publisher hears of every so many that are on disk, by which it is slowed down, and gets one PubAck at the end.

use super::check::{Checks, Fault, Rewritten};
use super::inflight::Share;
use super::{Batches, MAX_ID};
use crate::account::{Message, OwnedMessage};
use crate::jetstream::desk::{Desk, Due, InFast, Pending, Surroundings, Verdict};
use crate::jetstream::error::ApiError;
use crate::jetstream::headers;
use crate::jetstream::level;
use crate::jetstream::publish::bad;
use crate::store::Record;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the reply subjects of fast batches end with.
const SUFFIX: &str = ".$FI";
/// Messages between two acknowledgements at most, of all batches of a stream together.
const MAX_FLOW: u16 = 500;

/// A batch that has not ended. Sequences are those within the batch unless something else is said.
pub(super) struct FastBatch {
    /// When its last message came.
    pub heard: i64,
    /// The last one that came.
    last: u64,
    /// The last one on disk.
    done: u64,
    /// The last one that was acknowledged.
    told: u64,
    /// The stream's sequence of the last one on disk.
    stored: u64,
    /// On their way to disk.
    pending: u32,
    /// Acknowledged every so many.
    every: u16,
    /// The most that the publisher wants.
    most: u16,
    gaps_are_fine: bool,
    /// It ends when all of it is on disk.
    ends: bool,
    /// Reply subject of what ended it without being stored: that is where the PubAck goes.
    ended_by: Option<Box<str>>,
    _share: Share,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Start,
    Append,
    Commit,
    CommitBefore,
    Ping,
}

/// What a reply subject says.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    id: &'a str,
    flow: u16,
    gaps_are_fine: bool,
    seq: u64,
    operation: Operation,
}

/// Whether a reply is that of a message in a fast batch.
pub(in crate::jetstream) fn is_fast(reply: &str) -> bool {
    reply.len() > SUFFIX.len() && reply.ends_with(SUFFIX)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse(reply: &str) -> Option<Place<'_>> {
    let mut tokens = reply.strip_suffix(SUFFIX)?.rsplitn(6, '.');
    let operation = match tokens.next().and_then(number)? {
        0 => Operation::Start,
        1 => Operation::Append,
        2 => Operation::Commit,
        3 => Operation::CommitBefore,
        4 => Operation::Ping,
        _ => return None,
    };
    let seq = tokens.next().and_then(number).filter(|seq| *seq > 0 && *seq < u64::MAX)?;
    let fits = match operation {
        Operation::Start => seq == 1,
        Operation::Append | Operation::CommitBefore => seq > 1,
        Operation::Commit | Operation::Ping => true,
    };
    let gaps_are_fine = match tokens.next()? {
        "ok" => true,
        "fail" => false,
        _ => return None,
    };
    let flow = match tokens.next()?.parse::<i64>() {
        Ok(flow @ 1..) => u16::try_from(flow).unwrap_or(u16::MAX),
        _ => 10,
    };
    let id = tokens.next()?;
    tokens.next()?;
    fits.then_some(Place { id, flow, gaps_are_fine, seq, operation })
}

fn say(out: &mut Due, reply: &str, body: &Value) {
    let (subject, payload) = (reply.into(), body.to_string().into());
    out.copies.push(OwnedMessage { subject, payload, ..OwnedMessage::default() });
}

impl FastBatch {
    fn acknowledge(&self, upto: u64, reply: &str, out: &mut Due) {
        say(out, reply, &json!({"type": "ack", "seq": upto, "msgs": self.every}));
    }

    /// Acknowledges what is on disk, if that is enough by now; `batches` are open on the stream. Whether it did.
    fn flow(&mut self, reply: &str, batches: usize, out: &mut Due) -> bool {
        let every = u64::from(self.every);
        let steps = self.done.saturating_sub(self.told) / every;
        if steps == 0 {
            return false;
        }
        self.told += steps * every;
        let share = usize::from(MAX_FLOW) / batches.max(1);
        let most = u16::try_from(share).unwrap_or(MAX_FLOW).clamp(1, self.most);
        self.every = match self.every {
            every if every < most => every.saturating_mul(2).min(most),
            every if every > most => (every / 2).max(most),
            every => every,
        };
        self.acknowledge(self.told, reply, out);
        true
    }

    /// Nothing is on its way: what came is as good as stored.
    fn settle(&mut self) {
        if self.pending == 0 {
            self.done = self.last;
        }
    }

    /// Ends it at the word of `reply`, as soon as all of it is on disk; gives the answer if that is so.
    fn end(&mut self, id: &str, reply: &str) -> Option<Verdict> {
        self.ends = true;
        if self.last == self.done {
            return Some(Verdict::Acked(self.stored, answer(id, self.last)));
        }
        self.ended_by.get_or_insert_with(|| reply.into());
        None
    }
}

fn answer(id: &str, count: u64) -> Box<str> {
    format!(",\"batch\":{},\"count\":{count}", Value::from(id)).into()
}

/// What becomes of a batch with a message.
enum Then {
    Stays(Verdict),
    Over(Result<Verdict, ApiError>),
}

impl Then {
    fn end(batch: &mut FastBatch, id: &str, reply: &str) -> Then {
        match batch.end(id, reply) {
            Some(verdict) => Then::Over(Ok(verdict)),
            None => Then::Stays(Verdict::Waits),
        }
    }
}

impl Desk {
    /// Takes in a message of a fast batch.
    pub(in crate::jetstream) fn publish_fast(
        &mut self,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        out: &mut Due,
    ) -> Result<Verdict, ApiError> {
        self.check_batches_allowed(message, around)?;
        if !self.config.allow_batched {
            return Err(bad(10205, "batch publish is disabled"));
        }
        let place = parse(message.reply).ok_or_else(|| bad(10206, "batch publish pattern is invalid"))?;
        if place.id.len() > MAX_ID {
            return Err(bad(10207, "batch publish ID is invalid"));
        }
        let (id, mut batch) = match self.batches.fast.remove_entry(place.id) {
            Some(known) => known,
            None => (place.id.into(), self.begin_fast(&place, around)?),
        };
        batch.heard = around.now;
        match self.take_fast(&id, &mut batch, &place, message, around, out) {
            Then::Stays(verdict) => {
                self.batches.fast.insert(id, batch);
                Ok(verdict)
            }
            Then::Over(result) => result,
        }
    }

    fn begin_fast(&self, place: &Place<'_>, around: &Surroundings<'_>) -> Result<FastBatch, ApiError> {
        if place.seq != 1 || place.operation == Operation::Ping {
            return Err(bad(10208, "batch publish ID unknown"));
        }
        let too_many = || ApiError::new(429, 10211, "batch publish too many inflight");
        let open = self.batches.fast.len();
        let share = around.usage.inflight().fast(open).ok_or_else(too_many)?;
        let most = place.flow;
        Ok(FastBatch {
            heard: around.now,
            last: 0,
            done: 0,
            told: 0,
            stored: 0,
            pending: 0,
            every: if open > 0 { 1 } else { most.min(MAX_FLOW) },
            most,
            gaps_are_fine: place.gaps_are_fine,
            ends: false,
            ended_by: None,
            _share: share,
        })
    }

    fn take_fast(
        &mut self,
        id: &Arc<str>,
        batch: &mut FastBatch,
        place: &Place<'_>,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        out: &mut Due,
    ) -> Then {
        let open = self.batches.fast.len() + 1;
        if level::requires_too_much(message.headers) {
            return Then::Over(Err(level::required()));
        }
        let gap = |out: &mut Due, from: u64, to: u64| {
            say(out, message.reply, &json!({"type": "gap", "last_seq": from, "seq": to}));
        };
        if place.operation == Operation::Ping {
            let mut silent = false;
            if place.seq > batch.last {
                gap(out, batch.last + 1, place.seq + 1);
                if !batch.gaps_are_fine {
                    if let Some(verdict) = batch.end(id, message.reply) {
                        return Then::Over(Ok(verdict));
                    }
                } else {
                    batch.last = place.seq;
                    batch.settle();
                    silent = batch.flow(message.reply, open, out);
                }
            }
            if !silent {
                batch.acknowledge(batch.told, message.reply, out);
            }
            return Then::Stays(Verdict::Waits);
        }
        if batch.ends {
            // Something went wrong, and the publisher waits for the PubAck.
            return Then::Stays(Verdict::Waits);
        }
        if place.seq != batch.last + 1 {
            gap(out, batch.last + 1, place.seq);
            if !batch.gaps_are_fine || place.seq <= batch.last {
                return Then::end(batch, id, message.reply);
            }
        }
        let ends = matches!(place.operation, Operation::Commit | Operation::CommitBefore);
        batch.last = place.seq;
        if place.operation == Operation::CommitBefore {
            batch.last -= 1;
            batch.settle();
            return Then::end(batch, id, message.reply);
        }
        batch.ends = ends;
        // The first answer says how often there will be one.
        let mut greeting = Due::default();
        if place.seq == 1 && !ends && !self.config.no_ack {
            batch.acknowledge(0, message.reply, &mut greeting);
        }
        let headers = super::without_level(message.headers);
        let message = Message { headers: headers.as_deref().unwrap_or(message.headers), ..*message };
        match self.store_fast(id, batch, place, &message, around, out) {
            Ok(()) => {
                self.copies.extend(greeting.copies.into_iter().map(|greeting| (self.last_seq, greeting)));
                Then::Stays(Verdict::Waits)
            }
            Err(fault) => {
                out.copies.append(&mut greeting.copies);
                self.refuse_fast(id, batch, place, &message, fault, out, around, open)
            }
        }
    }

    fn store_fast(
        &mut self,
        id: &Arc<str>,
        batch: &mut FastBatch,
        place: &Place<'_>,
        message: &Message<'_>,
        around: &Surroundings<'_>,
        out: &mut Due,
    ) -> Result<(), Fault> {
        let wishes = headers::parse(message.headers);
        let Rewritten { headers, payload } = Checks::default().check(self, message, &wishes, around)?;
        if !wishes.expected_last_msg_id.is_empty() && wishes.expected_last_msg_id != self.last_msg_id {
            return Err(bad(10070, format!("wrong last msg ID: {}", self.last_msg_id)).into());
        }
        let message = &Message {
            headers: headers.as_deref().unwrap_or(message.headers),
            payload: payload.as_ref().map_or(message.payload, |payload| payload.as_bytes()),
            ..*message
        };
        let wishes = headers::parse(message.headers);
        let ready = self.make_ready(message, &wishes, around)?;
        let headers = ready.headers.as_deref().unwrap_or(message.headers);
        let record = Record { subject: message.subject, headers, payload: message.payload };
        let seq = around.log.append(&record).map_err(ApiError::of_store)?;
        self.notice_failure(seq, out);
        batch.pending += 1;
        let kind = self.note(seq, &record, &wishes, &ready, around);
        self.wait(seq, message.reply, Box::default(), kind);
        if let Some(pending) = self.pending.back_mut() {
            pending.fast = Some(Box::new(InFast { id: id.clone(), seq: place.seq, reply: None }));
        }
        Ok(())
    }

    /// A message of a batch was not stored.
    #[expect(clippy::too_many_arguments, reason = "all of what a message of a batch is")]
    fn refuse_fast(
        &mut self,
        id: &Arc<str>,
        batch: &mut FastBatch,
        place: &Place<'_>,
        message: &Message<'_>,
        fault: Fault,
        out: &mut Due,
        around: &Surroundings<'_>,
        open: usize,
    ) -> Then {
        let ends = std::mem::take(&mut batch.ends);
        let duplicate = matches!(fault, Fault::Duplicate(_));
        if duplicate {
            if batch.pending == 0 {
                batch.done = place.seq;
                batch.flow(message.reply, open, out);
            }
            if !ends {
                return Then::Stays(Verdict::Waits);
            }
        }
        if !batch.gaps_are_fine && batch.last == 1 {
            return Then::Over(match fault {
                Fault::Refused(error) => Err(error),
                Fault::Duplicate(seq) => Ok(self.duplicate_in_batch(seq, message.reply, &answer(id, 1), around.log)),
            });
        }
        if let Fault::Refused(error) = &fault {
            say(out, message.reply, &json!({"type": "err", "seq": place.seq, "error": error}));
        }
        if batch.gaps_are_fine && !ends {
            return Then::Stays(Verdict::Waits);
        }
        if !duplicate {
            batch.last -= 1;
            batch.settle();
        }
        Then::end(batch, id, message.reply)
    }
}

impl Batches {
    /// Messages are on disk: those of fast batches are acknowledged together.
    pub(in crate::jetstream) fn on_stored(&mut self, due: &mut Due) {
        if self.fast.is_empty() {
            return;
        }
        let mut entries = std::mem::take(&mut due.entries);
        let replies = std::mem::take(&mut due.replies);
        let mut at = 0;
        for entry in &mut entries {
            let reply = std::str::from_utf8(&replies[at..at + entry.reply_len]).unwrap_or_default();
            at += entry.reply_len;
            self.stored(entry, reply, due);
        }
        (due.entries, due.replies) = (entries, replies);
    }

    fn stored(&mut self, entry: &mut Pending, reply: &str, out: &mut Due) {
        let Some(mut place) = entry.fast.take() else { return };
        let (id, seq) = (&*place.id, place.seq);
        entry.mute = true;
        let open = self.fast.len();
        let Some(batch) = self.fast.get_mut(id) else { return };
        batch.pending = batch.pending.saturating_sub(1);
        batch.stored = entry.seq;
        batch.done = if batch.pending == 0 { batch.last } else { seq };
        if batch.ends && batch.last == batch.done {
            entry.mute = false;
            entry.answer = answer(id, batch.last);
            let ended = self.fast.remove(id);
            place.reply = ended.and_then(|batch| batch.ended_by);
            entry.fast = Some(place);
        } else {
            batch.flow(reply, open, out);
        }
    }

    /// The disk did not take messages: the batches that they belong to are over.
    pub(in crate::jetstream) fn on_failed(&mut self, entries: &[Pending]) {
        for place in entries.iter().filter_map(|entry| entry.fast.as_ref()) {
            self.fast.remove(&place.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_says_where_the_message_stands() {
        let place = |id, flow, gaps_are_fine, seq, operation| Some(Place { id, flow, gaps_are_fine, seq, operation });
        assert_eq!(parse("_INBOX.x.b.100.ok.1.0.$FI"), place("b", 100, true, 1, Operation::Start));
        assert_eq!(parse("i.b.0.fail.7.3.$FI"), place("b", 10, false, 7, Operation::CommitBefore));
        assert_eq!(parse("i.b.99999.fail.7.4.$FI"), place("b", u16::MAX, false, 7, Operation::Ping));
        for wrong in [
            "b.1.ok.1.0.$FI",
            "i.b.1.ok.2.0.$FI",
            "i.b.1.ok.1.1.$FI",
            "i.b.1.ok.1.3.$FI",
            "i.b.1.ok.0.4.$FI",
            "i.b.1.some.1.0.$FI",
            "i.b.1.ok.1.5.$FI",
            "i.b.1.ok.x.1.$FI",
            "i.b.1.ok.1.-1.$FI",
            ".$FI",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
