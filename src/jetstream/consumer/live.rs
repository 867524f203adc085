//! One consumer that runs: its configuration and delivery state under one lock, which is never held while messages are
//! read, routed or made durable. Acks and pull requests enter on the publisher's task, change the state and schedule the
//! consumer; what is to be sent leaves from the delivery threads (see `run`).

use super::ack::Verb;
use super::advisory::{self, Advisory};
use super::backlog::Backlog;
use super::config::{AckPolicy, ConsumerConfig, Timestamp};
use super::context::{Filter, StreamContext, locked};
use super::deliver::Slot;
use super::pace::Pace;
use super::pull::{Ask, Statuses, Waiting};
use super::push::Push;
use super::state::{Acked, Delivery, Exhausted, Rules, Ticks};
use super::status::Status;
use super::validate::Retention;
use crate::jetstream::level::requires_too_much;
use crate::protocol::headers;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Statuses that wait to be sent at most; more pull requests are refused without an answer.
const MAX_STATUSES: usize = 4096;

/// Double acks that wait for their answer at most; more are counted, but not answered.
const MAX_CONFIRM: usize = 1 << 16;

/// A consumer.
pub struct Consumer {
    /// Unique within the process.
    pub(super) key: u64,
    pub(super) name: Box<str>,
    pub(super) created: Timestamp,
    pub(super) context: Arc<StreamContext>,
    /// `$JS.ACK.<stream>.<consumer>.`
    pub(super) ack_prefix: Box<str>,
    /// Messages are pushed rather than pulled; that never changes.
    pub(super) push: bool,
    pub(super) slot: Slot,
    pub(super) live: Mutex<Live>,
    /// It stands in the list of those that wait for the next commit.
    pub(super) waits: AtomicBool,
}

/// What the consumer's lock protects.
pub struct Live {
    pub(super) config: Arc<ConsumerConfig>,
    pub(super) filter: Arc<Filter>,
    pub(super) delivery: Delivery,
    pub(super) backlog: Backlog,
    pub(super) mode: Mode,
    /// Statuses to be sent by the next run.
    pub(super) statuses: Statuses,
    /// When the last message was delivered and the last ack came, if any did.
    pub(super) last_delivered: Option<Ticks>,
    pub(super) last_acked: Option<Ticks>,
    /// Something changed since the state was last made durable.
    pub(super) dirty: bool,
    /// Those who wait to hear that their ack is durable.
    pub(super) confirm: Vec<Box<str>>,
    /// Messages that may leave the stream once their acks are durable (interest and work-queue retention).
    pub(super) settled: Vec<u64>,
    /// Nothing is delivered before this: a receiver cannot keep up, or the pace does not allow it.
    pub(super) slow_until: Ticks,
    pub(super) pace: Pace,
    /// Nothing is delivered before this: the consumer is paused; 0 if it is not.
    pub(super) paused_until: Ticks,
    pub(super) closed: bool,
}

/// How messages leave.
pub enum Mode {
    /// On request.
    Pull(Waiting),
    /// To the deliver subject.
    Push(Push),
}

impl Consumer {
    /// A consumer that does nothing yet.
    pub fn new(
        context: Arc<StreamContext>,
        name: &str,
        created: Timestamp,
        config: ConsumerConfig,
        delivery: Delivery,
    ) -> Arc<Self> {
        let now = context.scheduler.now();
        let push = config.is_push();
        let ack_prefix = format!("$JS.ACK.{}.{name}.", context.stream).into();
        let live = Live {
            filter: Arc::new(Filter::new(&config.filters())),
            delivery,
            backlog: Backlog::default(),
            mode: Mode::new(&config, now),
            statuses: Statuses::new(),
            last_delivered: None,
            last_acked: None,
            dirty: false,
            confirm: Vec::new(),
            settled: Vec::new(),
            slow_until: 0,
            pace: Pace::new(&config, context.log.state().last_seq),
            paused_until: paused_until(&config, now),
            closed: false,
            config: Arc::new(config),
        };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Consumer {
            key: NEXT.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            created,
            context,
            ack_prefix,
            push,
            slot: Slot::default(),
            live: Mutex::new(live),
            waits: AtomicBool::new(false),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it gets.
    pub(super) fn filter(&self) -> Arc<Filter> {
        locked(&self.live, |live| live.filter.clone())
    }

    /// Its configuration.
    pub fn config(&self) -> Arc<ConsumerConfig> {
        locked(&self.live, |live| live.config.clone())
    }

    /// Takes a pull request; its messages and statuses go to `reply`.
    pub fn request(self: &Arc<Self>, headers: &[u8], payload: &[u8], reply: &str) {
        if reply.is_empty() {
            return;
        }
        let now = self.context.scheduler.now();
        let interest = |subject: &str| self.context.has_interest(subject);
        let crowded = locked(&self.live, |live| {
            if live.closed || live.statuses.len() >= MAX_STATUSES {
                return None;
            }
            let refused = match (&mut live.mode, Ask::parse(payload, &live.config)) {
                (Mode::Push(_), _) => Some(Status::PushBased),
                (Mode::Pull(_), _) if requires_too_much(headers) => Some(Status::RequiredLevel),
                (Mode::Pull(_), Err(status)) => Some(status),
                (Mode::Pull(waiting), Ok(ask)) if ask.no_wait && !waiting.is_empty() => return Some(ask),
                (Mode::Pull(waiting), Ok(ask)) => waiting.add(&ask, reply, now, &interest),
            };
            live.statuses.extend(refused.map(|status| (reply.into(), status)));
            None
        });
        if let Some(ask) = crowded {
            // What is left is counted without the lock.
            let left = self.info().num_pending;
            locked(&self.live, |live| {
                if let Mode::Pull(waiting) = &mut live.mode {
                    let left = left + live.delivery.redeliveries() as u64;
                    let refused = match left > 0 && left < waiting.wanted() {
                        true => Some(Status::RequestsPending),
                        false => waiting.add(&ask, reply, now, &interest),
                    };
                    live.statuses.extend(refused.map(|status| (reply.into(), status)));
                }
            });
        }
        self.context.scheduler.schedule(self);
    }

    /// Has another client of the priority group pinned. Returns whether there is such a group.
    pub fn unpin(self: &Arc<Self>, group: &str) -> bool {
        let known = locked(&self.live, |live| {
            let known = live.config.priority_groups.iter().any(|known| known == group);
            if let (true, Mode::Pull(waiting)) = (known, &mut live.mode) {
                waiting.unpin(group);
            }
            known
        });
        self.context.scheduler.schedule(self);
        known
    }

    /// Takes an acknowledgement of delivery `consumer_seq` of the message `stream_seq`, which was its `delivered`th. If
    /// `reply` is not empty, it is answered when the state that results is durable. Whether messages are acknowledged here at
    /// all.
    pub fn acknowledge(
        self: &Arc<Self>,
        stream_seq: u64,
        consumer_seq: u64,
        delivered: u64,
        verb: Verb<'_>,
        reply: &str,
    ) -> bool {
        let now = self.context.scheduler.now();
        let keeps = self.context.rules().retention == Retention::Limits;
        let mut exhausted = Vec::new();
        let (mut told, mut next, mut listens) = (None, None, true);
        let (wake, (first, confirmed)) = locked(&self.live, |live| {
            listens = !matches!(live.config.ack_policy, AckPolicy::None | AckPolicy::FlowControl);
            if live.closed || !listens {
                return (false, (false, false));
            }
            let stalled = live.delivery.room() == 0;
            let mut answer = true;
            match verb {
                Verb::Ack | Verb::Term(_) | Verb::Next(_) => {
                    let sampled = live.config.samples() && !matches!(verb, Verb::Term(_));
                    if let Some(sent) = live.delivery.sent_at(stream_seq).filter(|_| sampled) {
                        let ack_time = i64::try_from(now.saturating_sub(sent)).unwrap_or(i64::MAX);
                        told = Some(Advisory::Acked { consumer_seq, stream_seq, ack_time, deliveries: delivered });
                    }
                    let outcome = live.ack(stream_seq, consumer_seq, now, keeps);
                    answer = outcome != Acked::Ignored;
                    match verb {
                        Verb::Next(payload) => (answer, next) = (false, Some(payload)),
                        Verb::Term(reason) if answer => {
                            let (deliveries, reason) = (delivered, reason.to_owned());
                            told = Some(Advisory::Terminated { consumer_seq, stream_seq, deliveries, reason });
                        }
                        _ => {}
                    }
                }
                Verb::Nak(delay) => {
                    let delay = delay.map(|nanos| Ticks::try_from(nanos).unwrap_or(0));
                    if live.delivery.nak(stream_seq, delay, now, &mut exhausted) {
                        told = Some(Advisory::Nak { consumer_seq, stream_seq, deliveries: delivered });
                    }
                }
                Verb::Progress => live.delivery.progress(stream_seq, now),
            }
            let confirmed = answer && !reply.is_empty() && live.confirm.len() < MAX_CONFIRM;
            if confirmed {
                live.confirm.push(reply.into());
            }
            let first = !std::mem::replace(&mut live.dirty, true);
            let wake = stalled && live.delivery.room() > 0 || live.delivery.redeliveries() > 0;
            (wake || matches!(verb, Verb::Nak(_)), (first, confirmed))
        });
        if first {
            self.context.acks.note(self, confirmed);
        } else if confirmed {
            // The writer knows already that there is something to store; now somebody waits for it.
            self.context.acks.hurry();
        }
        if let Some(advisory) = told {
            self.tell(&advisory);
        }
        self.tell_exhausted(&exhausted);
        match next {
            Some(payload) => self.request(&[], payload, reply),
            None if wake => self.context.scheduler.schedule(self),
            None => {}
        }
        listens
    }

    /// Takes the answer to a flow control message. Where that is how messages are acknowledged, its headers tell the last
    /// one that the receiver has.
    pub fn flow_answer(self: &Arc<Self>, subject: &str, block: &[u8]) {
        let now = self.context.scheduler.now();
        let keeps = self.context.rules().retention == Retention::Limits;
        let number = |name: &str| headers::get(block, name).and_then(|text| text.parse::<u64>().ok());
        let (awaited, changed) = locked(&self.live, |live| {
            let awaited = match &mut live.mode {
                Mode::Push(push) => push.answered(subject),
                Mode::Pull(_) => false,
            };
            let acks = awaited && live.config.ack_policy == AckPolicy::FlowControl;
            let acked = match number("Nats-Last-Stream").filter(|_| acks) {
                Some(stream_seq) => {
                    live.ack(stream_seq, number("Nats-Last-Consumer").unwrap_or(0), now, keeps) == Acked::Counted
                }
                None => false,
            };
            (awaited, acked && !std::mem::replace(&mut live.dirty, true))
        });
        if changed {
            self.context.acks.note(self, false);
        }
        if awaited {
            self.context.scheduler.schedule(self);
        }
    }

    /// Gives it another configuration, which has been checked.
    pub fn update(self: &Arc<Self>, config: ConsumerConfig) {
        let now = self.context.scheduler.now();
        let mut exhausted = Vec::new();
        locked(&self.live, |live| {
            live.delivery.set_rules(Rules::of(&config), now);
            live.filter = Arc::new(Filter::new(&config.filters()));
            live.backlog = Backlog::default();
            if live.config.deliver_subject != config.deliver_subject {
                live.mode = Mode::new(&config, now);
                live.delivery.expire_all(&mut exhausted);
            }
            if let Mode::Pull(waiting) = &mut live.mode {
                waiting.set_pinning(&config);
            }
            live.pace.set_limit(&config);
            live.slow_until = 0;
            live.paused_until = paused_until(&config, now);
            live.config = Arc::new(config);
        });
        self.tell_exhausted(&exhausted);
        self.context.scheduler.schedule(self);
    }

    /// Ends it: those who wait are told so if it is `deleted`, and nothing is stored any more.
    pub fn close(&self, deleted: bool) {
        let mut statuses = Statuses::new();
        locked(&self.live, |live| {
            live.closed = true;
            live.confirm.clear();
            if let (Mode::Pull(waiting), true) = (&mut live.mode, deleted) {
                waiting.end_all(&Status::Deleted, &mut statuses);
            }
        });
        self.answer_all(&statuses);
    }

    /// Ends the pull requests that wait, as the server ends (`server/jetstream.go`, `signalPullConsumers`): clients need not
    /// wait for signs of life that do not come.
    pub fn end_requests(&self) {
        let mut statuses = Statuses::new();
        locked(&self.live, |live| {
            if let Mode::Pull(waiting) = &mut live.mode {
                waiting.shut_down(&mut statuses);
            }
        });
        self.answer_all(&statuses);
    }

    fn answer_all(&self, statuses: &Statuses) {
        let mut header = Vec::new();
        for (reply, status) in statuses {
            header.clear();
            status.write(&mut header);
            self.context.publish(reply, &header, &[]);
        }
    }

    /// The stream begins at `first` now, for whatever reason.
    pub fn trimmed(&self, first: u64) {
        locked(&self.live, |live| {
            live.delivery.forget_below(first);
            live.backlog = Backlog::default();
        });
    }

    /// Nothing more is expected of messages that the stream no longer has.
    pub(super) fn forget_removed(self: &Arc<Self>) {
        let log = &self.context.log;
        let forgotten = locked(&self.live, |live| {
            let gone: Vec<u64> = live.delivery.unsettled().filter(|seq| !log.contains(*seq)).collect();
            for seq in &gone {
                live.delivery.forget(*seq);
            }
            !gone.is_empty()
        });
        if forgotten {
            self.touched();
            self.context.scheduler.schedule(self);
        }
    }

    /// The message was deleted, which is told of if it waited for its ack.
    pub(super) fn deleted(self: &Arc<Self>, stream_seq: u64) {
        let reason = "Unacknowledged message was deleted".to_owned();
        let told = locked(&self.live, |live| {
            let deliveries = live.delivery.deliveries(stream_seq);
            let consumer_seq = live.delivery.forget(stream_seq)?;
            Some(Advisory::Terminated { consumer_seq, stream_seq, deliveries, reason })
        });
        if let Some(advisory) = told {
            self.touched();
            self.tell(&advisory);
            self.context.scheduler.schedule(self);
        }
    }

    /// Whether messages on `subject` are for it.
    pub fn wants(&self, subject: &str) -> bool {
        locked(&self.live, |live| !live.closed && live.filter.matches(subject))
    }

    /// Whether it has a use for the message `seq` on `subject` still. One that has ended has: it goes on with the next
    /// start, and if it was deleted, what it needed is looked for after that.
    pub fn needs(&self, seq: u64, subject: &str) -> bool {
        locked(&self.live, |live| live.filter.matches(subject) && live.delivery.needs(seq))
    }

    /// Marks the state as changed, to be made durable within a tick.
    pub(super) fn touched(self: &Arc<Self>) {
        if locked(&self.live, |live| !std::mem::replace(&mut live.dirty, true)) {
            self.context.acks.note(self, false);
        }
    }

    pub(super) fn tell_exhausted(&self, exhausted: &[Exhausted]) {
        for Exhausted { stream_seq, deliveries } in exhausted.iter().copied() {
            self.tell(&Advisory::MaxDeliveries { stream_seq, deliveries });
        }
    }

    /// Publishes an advisory if anybody listens.
    pub(super) fn tell(&self, advisory: &Advisory) {
        advisory::publish(&self.context, &self.name, advisory);
    }

    /// Whether the stream's last consumer activity is too long ago for it to live on, or when that will be.
    pub(super) fn inactive_at(live: &Live) -> Option<Ticks> {
        let threshold = Ticks::try_from(live.config.inactive_threshold).ok().filter(|nanos| *nanos > 0)?;
        let since = match &live.mode {
            Mode::Pull(waiting) => waiting.last_used(),
            Mode::Push(push) => push.idle_since()?,
        };
        Some(since.saturating_add(threshold))
    }
}

impl Live {
    /// Counts an ack; what it settles may leave the stream, unless that `keeps` messages.
    fn ack(&mut self, stream_seq: u64, consumer_seq: u64, now: Ticks, keeps: bool) -> Acked {
        let outcome = self.delivery.ack(stream_seq, consumer_seq, &mut self.settled);
        if keeps {
            self.settled.clear();
        }
        if outcome == Acked::Counted {
            self.last_acked = Some(now);
        }
        outcome
    }
}

/// A pause is looked at again this often, in case the clock is set; nanoseconds.
const PAUSE_LOOK: i64 = 60_000_000_000;

/// When to look at the consumer's pause again; 0 if it is over or there is none.
pub(super) fn paused_until(config: &ConsumerConfig, now: Ticks) -> Ticks {
    let left = config.pause_until.map_or(0, |until| until.0.saturating_sub(Timestamp::now().0));
    Ticks::try_from(left.min(PAUSE_LOOK)).ok().filter(|left| *left > 0).map_or(0, |left| now.saturating_add(left))
}

impl Mode {
    fn new(config: &ConsumerConfig, now: Ticks) -> Self {
        if config.is_push() {
            Mode::Push(Push::new(config, now))
        } else {
            let mut waiting = Waiting::new(usize::try_from(config.max_waiting).unwrap_or(0), now);
            waiting.set_pinning(config);
            Mode::Pull(waiting)
        }
    }
}
