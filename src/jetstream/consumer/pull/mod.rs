//! Pull requests: read from the payload of `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>` ([`Ask`]), and queued until
//! messages, their expiry or the end of the stream answers them. Messages go to the requests in turn, one each, as in
//! nats-server (`server/consumer.go`, `nextWaiting`, `processWaiting`), unless a client is pinned ([`pin`]).

mod ask;
pub mod pin;

use super::advisory::Advisory;
use super::config::{ConsumerConfig, PriorityPolicy};
use super::state::Ticks;
use super::status::Status;
pub use ask::{Ask, Load, Member, Priority};
use pin::{Admission, Pin};
use std::collections::VecDeque;
use std::sync::Arc;

/// A full queue looks at most this often for requests that nobody listens for any more, nanoseconds.
const SWEEP: Ticks = 100_000_000;

/// One request that waits.
#[derive(Debug)]
struct Request {
    reply: Arc<str>,
    left: u64,
    delivered: u64,
    bytes: Option<u64>,
    expires: Option<Ticks>,
    no_wait: bool,
    heartbeat: Option<Ticks>,
    beat_at: Ticks,
    priority: Priority,
    member: Option<Member>,
    /// The round in which it was last looked who listens on the reply subject.
    looked: u64,
    /// Bytes that they take in that round.
    room: usize,
}

/// The requests that wait, first come first.
#[derive(Debug)]
pub struct Waiting {
    requests: VecDeque<Request>,
    max: usize,
    /// Nothing expires and no sign of life is due before this.
    due: Ticks,
    one_shots: usize,
    round: u64,
    last_used: Ticks,
    /// When requests without listeners were last looked for.
    swept_at: Ticks,
    /// Where one client has all messages.
    pin: Option<Pin>,
}

/// A request that takes the next message.
#[derive(Debug)]
pub struct Taken {
    /// Where the message goes.
    pub reply: Arc<str>,
    /// The batch is complete with this message although so many bytes were left.
    pub bytes_left: Option<u64>,
    /// The id of the pinned client, where there is one.
    pub pin: Option<Arc<str>>,
}

/// Tells whether anybody subscribes to a subject.
pub type Interest<'a> = &'a dyn Fn(&str) -> bool;

/// Tells how many bytes those who subscribe to a subject take now; `None` if nobody does.
pub type Room<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// Statuses to be sent, with their subjects.
pub type Statuses = Vec<(Arc<str>, Status)>;

impl Waiting {
    /// An empty queue with room for `max` requests.
    pub fn new(max: usize, now: Ticks) -> Self {
        let requests = VecDeque::new();
        Waiting { requests, max, due: Ticks::MAX, one_shots: 0, round: 0, last_used: now, swept_at: 0, pin: None }
    }

    /// Pins a client, or none, as `config` has it.
    pub fn set_pinning(&mut self, config: &ConsumerConfig) {
        let ttl = Ticks::try_from(config.pinned_ttl).unwrap_or(0);
        match &mut self.pin {
            _ if config.priority_policy != PriorityPolicy::PinnedClient => self.pin = None,
            Some(pin) => pin.set_ttl(ttl),
            None => self.pin = Some(Pin::new(ttl)),
        }
    }

    /// Who is pinned, if anybody may be.
    pub fn pin(&self) -> Option<&Pin> {
        self.pin.as_ref()
    }

    /// An operator wants another client of `group` to be pinned.
    pub fn unpin(&mut self, group: &str) {
        self.pin.iter_mut().for_each(|pin| pin.unpin(group));
    }

    /// Unpins a client that has been silent for too long.
    pub fn expire_pin(&mut self, now: Ticks) {
        self.pin.iter_mut().for_each(|pin| pin.expire(now));
    }

    /// What is to be told of clients that were pinned and unpinned.
    pub fn news(&mut self) -> Vec<Advisory> {
        self.pin.as_mut().map_or_else(Vec::new, Pin::news)
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Messages wanted by all requests together.
    pub fn wanted(&self) -> u64 {
        self.requests.iter().fold(0, |sum, request| sum.saturating_add(request.left))
    }

    /// When a request last came or was last served.
    pub fn last_used(&self) -> Ticks {
        self.last_used
    }

    /// Counts as used at `now`.
    pub fn touch(&mut self, now: Ticks) {
        self.last_used = now;
    }

    /// Queues a request. When the queue is full, those that nobody listens for go first; a request that does not fit is
    /// answered, except if it asks for signs of life: their absence tells it, and an answer would make it ask again at
    /// once.
    pub fn add(&mut self, ask: &Ask, reply: &str, now: Ticks, interest: Interest<'_>) -> Option<Status> {
        if self.pin.as_mut().is_some_and(|pin| !pin.heard(ask.member.as_ref(), now)) {
            return Some(Status::OtherPin);
        }
        self.last_used = now;
        if self.requests.len() >= self.max {
            if now >= self.swept_at.saturating_add(SWEEP) {
                self.swept_at = now;
                self.drop_without_interest(interest);
            }
            if self.requests.len() >= self.max {
                return ask.heartbeat.is_none().then_some(Status::MaxWaiting);
            }
        }
        let expires = ask.expires.map(|wait| now.saturating_add(wait));
        let beat_at = ask.heartbeat.map_or(Ticks::MAX, |wait| now.saturating_add(wait));
        self.due = self.due.min(beat_at).min(expires.unwrap_or(Ticks::MAX));
        self.one_shots += usize::from(ask.no_wait);
        self.insert(Request {
            reply: reply.into(),
            left: ask.batch,
            delivered: 0,
            bytes: ask.max_bytes,
            expires,
            no_wait: ask.no_wait,
            heartbeat: ask.heartbeat,
            beat_at,
            priority: ask.priority,
            member: ask.member.clone(),
            looked: 0,
            room: 0,
        });
        None
    }

    /// Behind all that are served before it; without priorities that is the end.
    fn insert(&mut self, request: Request) {
        let level = request.priority.level;
        let at = self.requests.iter().rposition(|other| other.priority.level <= level).map_or(0, |at| at + 1);
        self.requests.insert(at, request);
    }

    /// Whether a request was passed over in this round as those who listen for its messages take no more for now.
    pub fn wait_for_room(&self) -> bool {
        self.requests.iter().any(|request| request.room == 0 && request.looked == self.round)
    }

    /// Begins a round of deliveries, within which it is looked once per request who listens.
    pub fn begin_round(&mut self) {
        if self.wait_for_room() {
            // Those that were passed over for that stand behind requests which are to be served after them.
            self.requests.make_contiguous().sort_by_key(|request| request.priority.level);
        }
        self.round += 1;
    }

    /// The request that takes the next message, of `size` bytes. Requests that it is too large for, that have expired or
    /// that nobody listens for are removed on the way; those whose listeners take no more for now are passed over.
    pub fn take(&mut self, size: u64, load: Load, now: Ticks, room: Room<'_>, out: &mut Statuses) -> Option<Taken> {
        let mut passed_over = 0;
        while let Some(request) = self.requests.front_mut() {
            if request.expires.is_some_and(|at| now >= at) {
                let (messages, bytes) = (request.left, request.bytes.unwrap_or(0));
                out.push((request.reply.clone(), Status::Timeout { messages, bytes }));
                self.pop();
                continue;
            }
            if request.looked != self.round {
                let Some(room) = room(&request.reply) else {
                    self.pop();
                    continue;
                };
                (request.looked, request.room) = (self.round, room);
            }
            let admission = match &mut self.pin {
                _ if request.room == 0 => Admission::Later,
                Some(pin) => pin.admit(request.member.as_mut(), now),
                None if request.priority.admits(load) => Admission::Yes,
                None => Admission::Later,
            };
            if admission == Admission::Never {
                let (messages, bytes) = (request.left, request.bytes.unwrap_or(0));
                out.push((request.reply.clone(), Status::WrongPin { messages, bytes }));
                self.pop();
                continue;
            }
            if admission == Admission::Later {
                self.requests.rotate_left(1);
                passed_over += 1;
                if passed_over >= self.requests.len() {
                    return None;
                }
                continue;
            }
            if let Some(bytes) = &mut request.bytes {
                if size > *bytes {
                    let status = Status::TooLarge { messages: request.left, bytes: *bytes };
                    out.push((request.reply.clone(), status));
                    if admission == Admission::Pinned {
                        self.pin.iter_mut().for_each(Pin::release);
                    }
                    self.pop();
                    continue;
                }
                *bytes -= size;
                if *bytes == 0 {
                    request.left = 1;
                }
            }
            request.left -= 1;
            request.delivered += 1;
            request.room = request.room.saturating_sub(usize::try_from(size).unwrap_or(usize::MAX));
            self.last_used = now;
            if let Some(wait) = request.heartbeat {
                request.beat_at = now.saturating_add(wait);
            }
            let reply = request.reply.clone();
            let pin = self.pin.as_ref().and_then(|pin| pin.id().cloned());
            if request.left == 0 {
                let bytes_left = request.bytes.filter(|bytes| *bytes > 0);
                self.pop();
                return Some(Taken { reply, bytes_left, pin });
            }
            if self.requests.len() > 1
                && let Some(request) = self.requests.pop_front()
            {
                self.insert(request);
            }
            return Some(Taken { reply, bytes_left: None, pin });
        }
        None
    }

    /// Ends what has expired and, at the end of the stream (`end`), what does not wait; sends the signs of life that are
    /// due, with `beat` as their content.
    pub fn tick(&mut self, now: Ticks, end: bool, beat: &Status, out: &mut Statuses) {
        let one_shots = end && self.one_shots > 0;
        if now < self.due && !one_shots {
            return;
        }
        let mut due = Ticks::MAX;
        let mut ended = 0;
        self.requests.retain_mut(|request| {
            let status = if request.expires.is_some_and(|at| now >= at) {
                Status::Timeout { messages: request.left, bytes: request.bytes.unwrap_or(0) }
            } else if end && request.no_wait && (request.expires.is_none() || request.delivered > 0) {
                Status::NoMessages
            } else {
                if now >= request.beat_at {
                    out.push((request.reply.clone(), beat.clone()));
                    request.beat_at = request.heartbeat.map_or(Ticks::MAX, |wait| now.saturating_add(wait));
                }
                due = due.min(request.beat_at).min(request.expires.unwrap_or(Ticks::MAX));
                return true;
            };
            out.push((request.reply.clone(), status));
            ended += usize::from(request.no_wait);
            false
        });
        self.one_shots -= ended;
        self.due = due;
    }

    /// Nothing is to be done before this; [`Ticks::MAX`] if nothing ever is.
    pub fn due(&self) -> Ticks {
        let requests = if self.requests.is_empty() { Ticks::MAX } else { self.due };
        requests.min(self.pin.as_ref().map_or(Ticks::MAX, Pin::due))
    }

    /// Removes the requests that nobody listens for.
    pub fn drop_without_interest(&mut self, interest: Interest<'_>) {
        self.requests.retain(|request| interest(&request.reply));
        self.one_shots = self.requests.iter().filter(|request| request.no_wait).count();
    }

    /// Removes the requests with this reply subject: a delivery to it reached nobody.
    pub fn drop_reply(&mut self, reply: &str) {
        self.drop_without_interest(&|subject| subject != reply);
    }

    /// Ends every request with `status`.
    pub fn end_all(&mut self, status: &Status, out: &mut Statuses) {
        out.extend(self.requests.drain(..).map(|request| (request.reply, status.clone())));
        self.one_shots = 0;
    }

    /// Ends every request as the server ends.
    pub fn shut_down(&mut self, out: &mut Statuses) {
        out.extend(self.requests.drain(..).map(|request| {
            let (messages, bytes) = (request.left, request.bytes.unwrap_or(0));
            (request.reply, Status::ServerShutdown { messages, bytes })
        }));
        self.one_shots = 0;
    }

    fn pop(&mut self) {
        if let Some(request) = self.requests.pop_front() {
            self.one_shots -= usize::from(request.no_wait);
        }
    }
}

#[cfg(test)]
mod tests;
