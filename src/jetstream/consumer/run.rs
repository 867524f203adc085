//! One run of a consumer on a delivery thread: plan under its lock how much is wanted, read that much without the lock,
//! decide under the lock which message goes to whom, and route without the lock. Whatever changed in between (acks, new
//! requests, purges) is seen by the second look; what could not be handed out is read again by the next run.

use super::advisory::Advisory;
use super::backlog::Backlog;
use super::config::{AckPolicy, Timestamp};
use super::context::locked;
use super::deliver::{After, Scratch, Slot, Work};
use super::live::{Consumer, Live, Mode, paused_until};
use super::pull::{Load, Statuses};
use super::push::Push;
use super::read::{Found, Item, Plan, with_header};
use super::state::{Pair, Ticks};
use super::status::Status;
use super::validate::Retention;
use crate::account::{Batch, Message};
use crate::jetstream::info::ApiTime;
use crate::protocol::number;
use crate::store::Stored;
use std::sync::Arc;

/// Messages of one run at most, so that other consumers have their turn.
const MAX_MESSAGES: usize = 256;
/// Bytes of one run at most; one message may exceed it.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Rest while those who would get a message take no more.
const FULL_REST: Ticks = 5_000_000;
/// Rest after the store could not be read.
const ERROR_REST: Ticks = 1_000_000_000;

/// Buffers that a delivery thread uses for every run.
#[derive(Default)]
pub struct Buffers {
    pub(super) items: Vec<Item>,
    outs: Vec<Out>,
    ack: Vec<u8>,
    header: Vec<u8>,
    pub(super) due: Vec<u64>,
}

enum Out {
    Message { item: usize, to: Arc<str>, number: u64, deliveries: u64, pending: u64, pin: Option<Arc<str>> },
    Status { to: Arc<str>, status: Status },
}

/// What the second look left to do.
#[derive(Default)]
struct Verdict {
    again: bool,
    at: Ticks,
    /// It has something to do when more is committed.
    waits: bool,
    /// There are requests and messages, but not enough of these for any of those.
    blocked: bool,
    /// Some of these requests come from where no more is taken for now.
    full: bool,
    /// The state has changed since it was stored, and the writer does not know.
    note: bool,
    /// What is to be told of pinned clients.
    news: Vec<Advisory>,
}

impl Work for Consumer {
    fn slot(&self) -> &Slot {
        &self.slot
    }

    fn run(self: Arc<Self>, now: Ticks, scratch: &mut Scratch) -> After {
        let Scratch { buffers, positions, .. } = scratch;
        buffers.items.clear();
        buffers.outs.clear();
        let pushed = self.look_for_interest(now);
        let Some(plan) = self.plan(now, buffers) else {
            return After { again: false, at: Ticks::MAX };
        };
        let committed = self.context.log.committed();
        let found = self.read(&plan, buffers, positions);
        let mut verdict = self.assign(now, &plan, &found, pushed.as_ref(), buffers);
        if verdict.note {
            self.context.acks.note(&self, false);
        }
        verdict.news.drain(..).for_each(|advisory| self.tell(&advisory));
        self.send(now, scratch, &mut verdict);
        if found.failed {
            verdict = Verdict { at: now + ERROR_REST, ..Verdict::default() };
        }
        if verdict.waits {
            // What was committed between reading the end and standing in the list woke nobody.
            self.context.wait_for_commit(&self);
            verdict.again |= found.end.is_some_and(|end| self.context.log.committed() > end)
                || verdict.blocked && self.context.log.committed() > committed;
        }
        After { again: verdict.again, at: verdict.at }
    }
}

impl Consumer {
    /// Push: notes whether anybody listens, and says where messages go, and how many bytes of them.
    fn look_for_interest(&self, now: Ticks) -> Option<(Arc<str>, usize)> {
        if !self.push {
            return None;
        }
        let config = self.config();
        let room = self.context.room(&config.deliver_subject);
        locked(&self.live, |live| {
            if let Mode::Push(push) = &mut live.mode {
                push.set_active(room.is_some(), now);
            }
            if room == Some(0) {
                live.slow_until = live.slow_until.max(now + FULL_REST);
            }
        });
        Some((config.deliver_subject.as_str().into(), room.unwrap_or(0)))
    }

    /// The first look: what is wanted. `None` if the consumer is gone, or goes now because nobody has used it for long.
    fn plan(self: &Arc<Self>, now: Ticks, buffers: &mut Buffers) -> Option<Plan> {
        let mut exhausted = Vec::new();
        let (mut unused, mut resumed) = (false, false);
        buffers.due.clear();
        let plan = locked(&self.live, |live| {
            if live.closed {
                return None;
            }
            if Self::inactive_at(live).is_some_and(|at| now >= at) {
                match &mut live.mode {
                    Mode::Pull(waiting) => {
                        waiting.drop_without_interest(&|subject| self.context.has_interest(subject));
                        if waiting.is_empty() { unused = true } else { waiting.touch(now) }
                    }
                    Mode::Push(_) => unused = true,
                }
            }
            live.delivery.expire(now, &mut exhausted);
            if let Mode::Pull(waiting) = &mut live.mode {
                waiting.expire_pin(now);
            }
            if now >= live.slow_until {
                live.slow_until = 0;
            }
            if live.paused_until > 0 && now >= live.paused_until {
                live.paused_until = paused_until(&live.config, now);
                resumed = live.paused_until == 0;
            }
            let wanted = if live.rests() { 0 } else { live.wanted() };
            live.delivery.peek_redeliveries(wanted, &mut buffers.due);
            let new = (wanted - buffers.due.len()).min(live.delivery.room());
            let picks = live.delivery.picks();
            Some(Plan {
                filter: live.filter.clone(),
                headers_only: live.config.headers_only,
                picks: picks.iter().copied().take(new).collect(),
                next: live.delivery.next(),
                new,
                resume: live.delivery.resume,
                picks_left: picks.len() as u64,
                backlog: live.backlog,
            })
        });
        self.tell_exhausted(&exhausted);
        if resumed {
            self.tell_paused();
        }
        if unused {
            self.context.remove(&self.name);
            return None;
        }
        plan
    }

    /// Publishes that it has been paused, or goes on.
    pub(super) fn tell_paused(&self) {
        let until = self.config().pause_until;
        let paused = until.is_some_and(|until| until > Timestamp::now());
        self.tell(&Advisory::Paused { paused, pause_until: ApiTime(until.map_or(0, |until| until.0)) });
    }

    /// The second look: hands messages to requests or to the deliver subject, and says what is left to do.
    fn assign(
        self: &Arc<Self>,
        now: Ticks,
        plan: &Plan,
        found: &Found,
        pushed: Option<&(Arc<str>, usize)>,
        buffers: &mut Buffers,
    ) -> Verdict {
        let (deliver_to, mut room) = pushed.map_or((None, 0), |(to, room)| (Some(to), *room));
        let room_of = |subject: &str| self.context.room(subject);
        let settles = self.context.rules().retention != Retention::Limits;
        locked(&self.live, |live| {
            let Buffers { items, outs, .. } = buffers;
            let mut statuses = std::mem::take(&mut live.statuses);
            put_statuses(outs, &mut statuses);
            if !Arc::ptr_eq(&plan.filter, &live.filter) {
                // The consumer was changed while this was read for its old filter.
                return Verdict { again: true, at: live.due(), ..Verdict::default() };
            }
            if let Mode::Pull(waiting) = &mut live.mode {
                waiting.begin_round();
            }
            let mut verdict = Verdict { at: Ticks::MAX, ..Verdict::default() };
            let mut pending = found.pending;
            let (mut handed_out, mut delivered, mut changed, mut new) = (true, false, false, 0);
            let picking = !live.delivery.picks().is_empty();
            for (index, item) in items.iter().enumerate() {
                let Some(stored) = &item.stored else {
                    live.gone(item.seq, item.redelivery);
                    changed = true;
                    continue;
                };
                let current = match item.redelivery {
                    true => live.delivery.is_queued(item.seq),
                    false => item.seq >= live.delivery.next(),
                };
                if !current {
                    continue;
                }
                let ahead = if item.redelivery { pending } else { pending.saturating_sub(1) };
                let size = self.size(live, item, stored, ahead);
                let at = live.pace.allows_at(now, stored.time, size);
                if at > now {
                    (handed_out, live.slow_until) = (false, at);
                    break;
                }
                let (to, bytes_left, pin) = match (&mut live.mode, deliver_to) {
                    (Mode::Pull(waiting), _) => {
                        let load = Load { pending: ahead + 1, ack_pending: live.delivery.ack_pending() as u64 };
                        let taken = waiting.take(size as u64, load, now, &room_of, &mut statuses);
                        put_statuses(outs, &mut statuses);
                        verdict.blocked = taken.is_none() && !waiting.is_empty();
                        verdict.full = verdict.blocked && waiting.wait_for_room();
                        match taken {
                            Some(taken) => (taken.reply, taken.bytes_left, taken.pin),
                            None => {
                                handed_out = false;
                                break;
                            }
                        }
                    }
                    (Mode::Push(push), Some(to)) if push.is_open() && room > 0 => (to.clone(), None, None),
                    (Mode::Push(_), _) => {
                        handed_out = false;
                        break;
                    }
                };
                let (number, deliveries) = match item.redelivery {
                    true => match live.delivery.redeliver(item.seq, now) {
                        Some(again) => again,
                        None => continue,
                    },
                    false => (live.delivery.deliver(item.seq, now), 1),
                };
                live.pace.sent(now, stored.time, size);
                room = room.saturating_sub(size);
                pending = ahead;
                delivered = true;
                new += u64::from(!item.redelivery);
                if settles && live.config.ack_policy == AckPolicy::None {
                    live.settled.push(item.seq);
                }
                outs.push(Out::Message { item: index, to: to.clone(), number, deliveries, pending, pin });
                if let Some(bytes) = bytes_left {
                    let status = Status::BatchCompleted { bytes };
                    outs.push(Out::Status { to: to.clone(), status });
                }
                let last = live.config.ack_policy == AckPolicy::FlowControl && live.delivery.room() == 0;
                if let Mode::Push(push) = &mut live.mode
                    && push.delivered(size, last, now)
                {
                    let status = self.flow_request(push);
                    outs.push(Out::Status { to, status });
                }
            }
            if delivered {
                changed = true;
                live.last_delivered = Some(now);
            }
            let end = found.end.filter(|_| handed_out && !found.failed);
            live.backlog = found.backlog;
            if let Some(end) = end {
                live.delivery.skip_to(end + 1);
                live.backlog = Backlog::none_before(live.delivery.next());
                live.pace.caught_up(live.delivery.next());
            } else if !picking {
                live.backlog.delivered(new, live.delivery.next());
            }
            verdict.note = changed && !std::mem::replace(&mut live.dirty, true);
            let stalled = live.delivery.room() == 0;
            let at_end = end.is_some() && live.delivery.redeliveries() == 0 && !stalled;
            // For those who do not wait, what nobody may take is as good as nothing.
            // Nor does one that has something wait for acks any longer than to the next sign of life, as at nats-server.
            let nothing_left = at_end || verdict.blocked && !verdict.full || stalled && live.due() <= now;
            self.tick(live, now, nothing_left, deliver_to, &mut statuses);
            put_statuses(outs, &mut statuses);
            let wanted = !live.rests() && live.wanted() > 0;
            verdict.again =
                wanted && !verdict.blocked && (live.delivery.redeliveries() > 0 || end.is_none() && !stalled);
            verdict.waits = live.wanted() > 0 && (end.is_some() || verdict.blocked);
            verdict.at = if verdict.full { live.due().min(now + FULL_REST) } else { live.due() };
            if let Mode::Pull(waiting) = &mut live.mode {
                verdict.news = waiting.news();
            }
            verdict
        })
    }

    /// Routes what was decided. A message that reached nobody is due again.
    fn send(&self, now: Ticks, scratch: &mut Scratch, verdict: &mut Verdict) {
        let Scratch { routes, buffers, .. } = scratch;
        let Buffers { items, outs, ack, header, .. } = buffers;
        let context = &self.context;
        let mut batch = Batch::default();
        let mut missed: Vec<(u64, Arc<str>)> = Vec::new();
        for out in outs.drain(..) {
            match out {
                Out::Message { item, to, number, deliveries, pending, pin } => {
                    let Some(stored) = &items[item].stored else { continue };
                    let reply = write_ack_subject(
                        ack,
                        &self.ack_prefix,
                        [deliveries, stored.seq, number, stored.time.max(0) as u64, pending],
                    );
                    let headers = match pin {
                        Some(id) => {
                            with_header(header, &stored.headers, "Nats-Pin-Id", &id);
                            &**header
                        }
                        None => &stored.headers,
                    };
                    let message = Message { subject: &stored.subject, reply, headers, payload: &stored.payload };
                    if context.account.route_as(context.origin, &to, &message, routes, &mut batch) == 0 {
                        missed.push((stored.seq, to));
                    }
                }
                Out::Status { to, status } => {
                    header.clear();
                    status.write(header);
                    let message = Message { subject: &to, reply: status.reply(), headers: header, payload: &[] };
                    context.account.route(context.origin, &message, routes, &mut batch);
                }
            }
        }
        items.clear();
        batch.flush();
        if missed.is_empty() {
            return;
        }
        locked(&self.live, |live| {
            for (seq, to) in missed.iter().rev() {
                live.delivery.undeliver(*seq);
                match &mut live.mode {
                    Mode::Pull(waiting) => waiting.drop_reply(to),
                    Mode::Push(push) => {
                        push.set_active(false, now);
                    }
                }
            }
            verdict.again = live.wanted() > 0;
            verdict.at = verdict.at.min(live.due());
        });
    }

    /// Ends requests and sends signs of life as they are due.
    fn tick(&self, live: &mut Live, now: Ticks, nothing_left: bool, to: Option<&Arc<str>>, statuses: &mut Statuses) {
        let last =
            Pair { consumer: live.delivery.delivered().consumer, stream: live.delivery.next().saturating_sub(1) };
        match (&mut live.mode, to) {
            (Mode::Pull(waiting), _) => {
                waiting.tick(now, nothing_left, &Status::Heartbeat { last, stalled: None }, statuses);
            }
            (Mode::Push(push), Some(to)) => {
                if !push.beat(now) {
                    return;
                }
                let stalled = push.stalled().map(Into::into);
                statuses.push((to.clone(), Status::Heartbeat { last, stalled }));
                // What was delivered is acknowledged by an answer, which nothing else asks for when no more follows.
                let asks = live.config.ack_policy == AckPolicy::FlowControl && live.delivery.ack_pending() > 0;
                if asks && push.stalled().is_none() {
                    statuses.push((to.clone(), self.flow_request(push)));
                }
            }
            (Mode::Push(_), None) => {}
        }
    }

    /// The size of a delivery as nats-server counts it: subject, reply, headers and body.
    fn size(&self, live: &Live, item: &Item, stored: &Stored, pending: u64) -> usize {
        let redeliveries = live.delivery.redelivered.get(&item.seq).copied().unwrap_or(0);
        let deliveries = if item.redelivery { redeliveries + 2 } else { 1 };
        let numbers =
            [deliveries, stored.seq, live.delivery.delivered().consumer + 1, stored.time.max(0) as u64, pending];
        let ack = self.ack_prefix.len()
            + 4
            + numbers.iter().map(|n| n.checked_ilog10().unwrap_or(0) as usize + 1).sum::<usize>();
        stored.subject.len() + ack + stored.headers.len() + stored.payload.len()
    }

    /// Has `push` wait for an answer to the flow control message that is returned.
    fn flow_request(&self, push: &mut Push) -> Status {
        let reply = format!("$JS.FC.{}.{}.{:08x}", self.context.stream, self.name, fastrand::u32(..));
        push.ask(&reply);
        Status::FlowControl(reply.into())
    }
}

impl Live {
    /// How many messages may be handed out now, redeliveries included.
    fn wanted(&self) -> usize {
        match &self.mode {
            Mode::Pull(waiting) => usize::try_from(waiting.wanted()).unwrap_or(MAX_MESSAGES).min(MAX_MESSAGES),
            Mode::Push(push) if push.is_open() => MAX_MESSAGES,
            Mode::Push(_) => 0,
        }
    }

    /// Whether nothing is to be delivered for now.
    fn rests(&self) -> bool {
        self.slow_until > 0 || self.paused_until > 0
    }

    /// The stream no longer has the message.
    fn gone(&mut self, seq: u64, redelivery: bool) {
        if redelivery {
            self.delivery.forget(seq);
        } else {
            self.delivery.skip_to(seq + 1);
        }
    }

    /// When it must run again at the latest.
    fn due(&self) -> Ticks {
        let mode = match &self.mode {
            Mode::Pull(waiting) => waiting.due(),
            Mode::Push(push) => push.due(),
        };
        let slow = if self.slow_until > 0 && self.wanted() > 0 { self.slow_until } else { Ticks::MAX };
        let paused = if self.paused_until > 0 { self.paused_until } else { Ticks::MAX };
        let inactive = Consumer::inactive_at(self).unwrap_or(Ticks::MAX);
        // What waits for redelivery does so until the pause is over.
        let delivery = if self.paused_until > 0 { Ticks::MAX } else { self.delivery.due() };
        mode.min(delivery).min(inactive).min(slow).min(paused)
    }
}

fn put_statuses(outs: &mut Vec<Out>, statuses: &mut Statuses) {
    outs.extend(statuses.drain(..).map(|(to, status)| Out::Status { to, status }));
}

/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time>.<pending>`
fn write_ack_subject<'a>(out: &'a mut Vec<u8>, prefix: &str, numbers: [u64; 5]) -> &'a str {
    out.clear();
    out.extend_from_slice(prefix.as_bytes());
    for number in numbers {
        number::push(out, number);
        out.push(b'.');
    }
    out.pop();
    // It consists of a string and digits.
    std::str::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_subjects_are_written_and_read_alike() {
        let mut buffer = Vec::new();
        let subject = write_ack_subject(&mut buffer, "$JS.ACK.S.C.", [1, 20, u64::MAX, 0, 7]);
        assert_eq!(subject, format!("$JS.ACK.S.C.1.20.{}.0.7", u64::MAX));
        assert!(super::super::ack::parse_subject(subject).is_some());
    }
}
