//! What a direct get is answered: one message, a batch, or the last messages of several subjects (ADR-31;
//! `server/stream.go`, `getDirectRequest`, `getDirectMulti`).

use super::json;
use super::message::GetRequest;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::stream::Stream;
use crate::protocol::headers::HeadersBuilder;
use crate::store::{Later, Log, StoreError, Stored};
use crate::subject;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Bytes of one answer when the request sets no limit (nats-server's `max_pending`).
const MAX_BYTES: usize = 64 << 20;
/// Subjects in one answer.
const MAX_SUBJECTS: usize = 1024;

/// Requests up to this length are looked at by those who must not take long.
const SMALL: usize = 1024;

/// Sends a header block and a body to who asked.
pub(super) type Send<'a> = &'a mut dyn FnMut(&[u8], &[u8]);

/// Bytes of the headers that are added to a message, without the names in them.
const DESCRIPTION: usize = 160;

/// A status that ends the request.
type Refusal = (u16, &'static str);

const NOT_FOUND: Refusal = (404, "Message Not Found");
const NO_RESULTS: Refusal = (404, "No Results");
const BAD: Refusal = (408, "Bad Request");

/// Answers a request; `subject` is what its own subject names. Reads from disk.
pub(super) fn answer(stream: &Stream, subject: Option<&str>, payload: &[u8], send: Send<'_>) {
    let outcome = parse(subject, payload).and_then(|request| match request.multi_last.is_empty() {
        true => messages(stream, &request, send),
        false => last_of_several(stream, &request, send),
    });
    if let Err((code, text)) = outcome {
        send(&HeadersBuilder::with_status(code, text).build(), &[]);
    }
}

/// The same for those who must not wait for the disk: `false` if it might have to be waited for, and nothing was sent.
pub(super) fn answer_at_hand(stream: &Stream, subject: Option<&str>, payload: &[u8], send: Send<'_>) -> bool {
    if payload.len() > SMALL {
        return false;
    }
    let outcome = parse(subject, payload).and_then(|request| match request.find_at_hand(stream) {
        Ok(stored) => Ok(Some((stored.ok_or(NOT_FOUND)?, request.no_hdr))),
        Err(Later) => Ok(None),
    });
    match outcome {
        Ok(None) => return false,
        Ok(Some((stored, no_hdr))) => send_one(stream, &stored, no_hdr, send),
        Err((code, text)) => send(&HeadersBuilder::with_status(code, text).build(), &[]),
    }
    true
}

fn send_one(stream: &Stream, stored: &Stored, no_hdr: bool, send: Send<'_>) {
    let headers = if no_hdr { Vec::new() } else { describe(stream, stored).build() };
    send(&headers, &stored.payload);
}

fn parse(subject: Option<&str>, payload: &[u8]) -> Result<GetRequest, Refusal> {
    if subject.is_none() && payload.is_empty() {
        return Err((408, "Empty Request"));
    }
    let mut request = match payload {
        [] => GetRequest::default(),
        _ => json::optional(payload).map_err(|_| (408, "Malformed Request"))?,
    };
    let several = !request.multi_last.is_empty();
    let bounded = request.up_to_seq > 0 || request.up_to_time.is_some();
    if let Some(subject) = subject {
        if !request.is_empty() || several || request.batch != 0 || bounded {
            return Err(BAD);
        }
        subject.clone_into(&mut request.last_by_subj);
    }
    if request.is_empty() && !several {
        return Err((408, "Empty Request"));
    }
    let last = !request.last_by_subj.is_empty();
    if request.is_contradictory()
        || last && (request.batch > 0 || several)
        || several && !request.next_by_subj.is_empty()
        || request.up_to_seq > 0 && request.up_to_time.is_some()
    {
        return Err(BAD);
    }
    Ok(request)
}

/// Bytes of an answer, counted against the request's limit.
struct Budget {
    sent: usize,
    most: usize,
}

impl Budget {
    fn of(request: &GetRequest) -> Self {
        Budget { sent: 0, most: usize::try_from(request.max_bytes).ok().filter(|n| *n > 0).unwrap_or(MAX_BYTES) }
    }

    /// Counts a message in; whether that used the budget up.
    fn spend(&mut self, stored: &Stored) -> bool {
        self.sent += stored.subject.len() + stored.headers.len() + stored.payload.len();
        self.sent >= self.most
    }
}

fn messages(stream: &Stream, request: &GetRequest, send: Send<'_>) -> Result<(), Refusal> {
    let log = stream.log();
    let unreadable = |error: StoreError| report(stream, &error);
    request.catch_up(stream);
    if request.batch == 0 {
        let stored = request.find(log).map_err(unreadable)?.ok_or(NOT_FOUND)?;
        send_one(stream, &stored, request.no_hdr, send);
        return Ok(());
    }
    let filter = if request.next_by_subj.is_empty() { ">" } else { &request.next_by_subj };
    let (mut from, mut last, mut budget) = (request.start(log), 0, Budget::of(request));
    let mut pending = log.count_from(from.max(1), filter);
    let mut reader = log.reader();
    reader.seek(from.max(1));
    for at in 0..request.batch {
        let Some(stored) = reader.next(&|subject| subject::matches(filter, subject)).map_err(unreadable)? else {
            if at == 0 {
                return Err(NOT_FOUND);
            }
            break;
        };
        if request.no_hdr {
            send(&[], &stored.payload);
        } else {
            pending = pending.saturating_sub(1);
            send(&in_batch(describe(stream, &stored), pending, last).build(), &stored.payload);
        }
        (last, from) = (stored.seq, stored.seq + 1);
        if budget.spend(&stored) {
            break;
        }
    }
    if !request.no_hdr {
        pending = log.count_from(from.max(1), filter);
    }
    send(&in_batch(HeadersBuilder::with_status(204, "EOB"), pending, last).build(), &[]);
    Ok(())
}

fn last_of_several(stream: &Stream, request: &GetRequest, send: Send<'_>) -> Result<(), Refusal> {
    let log = stream.log();
    let state = log.state();
    let upto = match request.up_to_time {
        Some(time) => match log.seq_at(time.0) {
            seq if seq <= state.first_seq => return Err(NO_RESULTS),
            seq => seq - 1,
        },
        None if request.up_to_seq == 0 => state.last_seq,
        None => request.up_to_seq,
    };
    let seqs = select(log, request, upto).map_err(|error| report(stream, &error))?;
    match seqs.len() {
        0 => return Err(NO_RESULTS),
        found if found > MAX_SUBJECTS => return Err((413, "Too Many Results")),
        _ => {}
    }
    let (mut last, mut budget, mut pending) = (0, Budget::of(request), seqs.len() as u64);
    for (sent, seq) in (1..).zip(&seqs) {
        // What was replaced meanwhile is no longer the last one.
        let Some(stored) = log.read(*seq).map_err(|error| report(stream, &error))? else { return Err(NOT_FOUND) };
        pending -= 1;
        send(&in_batch(describe(stream, &stored), pending, last).build(), &stored.payload);
        last = stored.seq;
        if budget.spend(&stored) || request.batch > 0 && sent >= request.batch {
            break;
        }
    }
    let end = in_batch(HeadersBuilder::with_status(204, "EOB"), pending, last);
    send(&end.add_number("Nats-UpTo-Sequence", upto).build(), &[]);
    Ok(())
}

/// The last sequence of each subject that is not above `upto`, ascending; at most one more than may be answered.
fn select(log: &Log, request: &GetRequest, upto: u64) -> Result<Vec<u64>, StoreError> {
    let (mut seqs, mut earlier) = (HashMap::<Box<str>, u64>::new(), HashMap::<Box<str>, u64>::new());
    let mut first = u64::MAX;
    for filter in &request.multi_last {
        log.each_subject(filter, |subject, info| {
            if seqs.len() + earlier.len() > MAX_SUBJECTS {
                return ControlFlow::Break(());
            }
            if info.last <= upto {
                seqs.insert(Box::from(subject), info.last);
            } else if info.first <= upto {
                first = first.min(info.first);
                earlier.insert(Box::from(subject), 0);
            }
            ControlFlow::Continue(())
        })?;
    }
    if !earlier.is_empty() {
        let mut reader = log.reader();
        reader.seek(first);
        while let Some(stored) = reader.next(&|subject| earlier.contains_key(subject))? {
            if stored.seq > upto {
                break;
            }
            earlier.insert(stored.subject, stored.seq);
        }
    }
    let all = seqs.into_values().chain(earlier.into_values());
    let mut all: Vec<u64> = all.filter(|seq| *seq > 0 && *seq >= request.seq).collect();
    all.sort_unstable();
    Ok(all)
}

fn describe(stream: &Stream, stored: &Stored) -> HeadersBuilder {
    HeadersBuilder::new()
        .reserve(stored.headers.len() + stream.name().len() + stored.subject.len() + DESCRIPTION)
        .copy(&stored.headers, |_| true)
        .add("Nats-Stream", stream.name())
        .add("Nats-Subject", &stored.subject)
        .add_number("Nats-Sequence", stored.seq)
        .add("Nats-Time-Stamp", &Timestamp(stored.time).text())
}

fn in_batch(headers: HeadersBuilder, pending: u64, last: u64) -> HeadersBuilder {
    headers.add_number("Nats-Num-Pending", pending).add_number("Nats-Last-Sequence", last)
}

fn report(stream: &Stream, error: &StoreError) -> Refusal {
    tracing::error!(%error, stream = stream.name(), "a message could not be read");
    NOT_FOUND
}
