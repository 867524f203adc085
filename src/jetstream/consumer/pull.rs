//! Pull requests: read from the payload of `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`, checked against the
//! consumer's limits, and queued until messages, their expiry or the end of the stream answers them. Messages go to the
//! requests in turn, one each, as in nats-server (`server/consumer.go`, `nextWaiting`, `processWaiting`).

use super::config::{ConsumerConfig, PriorityPolicy};
use super::state::Ticks;
use super::status::Status;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// A full queue looks at most this often for requests that nobody listens for any more, nanoseconds.
const SWEEP: Ticks = 100_000_000;

/// What a pull request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Messages wanted, at least 1.
    pub batch: u64,
    /// Bytes wanted at most.
    pub max_bytes: Option<u64>,
    /// Nanoseconds after which it ends.
    pub expires: Option<Ticks>,
    /// It ends when nothing more is there.
    pub no_wait: bool,
    /// Nanoseconds of silence after which a sign of life is due.
    pub heartbeat: Option<Ticks>,
    /// Whether it is served before or only after others.
    pub priority: Priority,
}

/// What a request of a priority group asks for (ADR-42).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Priority {
    /// Overflow: it is served only when so many messages are left to deliver; 0: that does not matter.
    pub min_pending: u64,
    /// Overflow: or when so many are not acknowledged; 0: that does not matter.
    pub min_ack_pending: u64,
    /// Prioritized: requests with a lower number are served first.
    pub level: u8,
}

/// What a consumer has to do still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Messages left to deliver, the next one included.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub ack_pending: u64,
}

impl Priority {
    fn admits(&self, load: Load) -> bool {
        let reached = |least: u64, have: u64| least > 0 && have >= least;
        self.min_pending == 0 && self.min_ack_pending == 0
            || reached(self.min_pending, load.pending)
            || reached(self.min_ack_pending, load.ack_pending)
    }
}

/// The JSON form. async-nats sends `null` for what is not asked for.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Json<'a> {
    expires: Option<i64>,
    batch: Option<i64>,
    max_bytes: Option<i64>,
    no_wait: Option<bool>,
    idle_heartbeat: Option<i64>,
    min_pending: Option<i64>,
    min_ack_pending: Option<i64>,
    #[serde(borrow)]
    group: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<std::borrow::Cow<'a, str>>,
    priority: Option<i64>,
}

impl Ask {
    /// Reads the payload: empty for one message, a number, or JSON; and checks it against the limits of `config`.
    pub fn parse(payload: &[u8], config: &ConsumerConfig) -> Result<Ask, Status> {
        let text = payload.trim_ascii();
        let bad = |reason: &str| Status::BadRequest(reason.to_owned());
        let json = match text.first() {
            Some(b'{') => serde_json::from_slice(text).map_err(|error| Status::BadRequest(error.to_string()))?,
            _ => {
                let batch = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
                Json { batch: Some(batch), ..Json::default() }
            }
        };
        let or_zero = |field: Option<i64>| field.unwrap_or(0);
        let (batch, max_bytes) = (or_zero(json.batch), or_zero(json.max_bytes));
        let (expires, heartbeat) = (or_zero(json.expires), or_zero(json.idle_heartbeat));
        if heartbeat > 0 && heartbeat.saturating_mul(2) > expires {
            return Err(bad("heartbeat value too large"));
        }
        if config.max_request_batch > 0 && batch > config.max_request_batch {
            return Err(Status::MaxRequestBatch(config.max_request_batch));
        }
        if config.max_request_expires > 0 && expires > config.max_request_expires {
            return Err(Status::MaxRequestExpires(config.max_request_expires));
        }
        if config.max_request_max_bytes > 0 && max_bytes > config.max_request_max_bytes {
            return Err(Status::MaxRequestMaxBytes(config.max_request_max_bytes));
        }
        let policy = config.priority_policy;
        let (min_pending, min_ack_pending) = (or_zero(json.min_pending), or_zero(json.min_ack_pending));
        if (min_pending != 0 || min_ack_pending != 0) && policy != PriorityPolicy::Overflow {
            return Err(bad("Not a Overflow Priority consumer"));
        }
        if json.id.is_some_and(|id| !id.is_empty()) {
            return Err(bad("Not a Pinned Client Priority consumer"));
        }
        if !(0..=9).contains(&or_zero(json.priority)) {
            return Err(bad("Priority must be between 0 and 9"));
        }
        // A request in JSON belongs to a group, where there are any.
        if policy != PriorityPolicy::None && text.first() == Some(&b'{') {
            match json.group.as_deref().unwrap_or_default() {
                "" => return Err(bad("Priority Group missing")),
                group if !config.priority_groups.iter().any(|known| known == group) => {
                    return Err(bad("Invalid Priority Group"));
                }
                _ => {}
            }
        }
        let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
        Ok(Ask {
            batch: positive(batch).unwrap_or(1),
            max_bytes: positive(max_bytes),
            expires: (expires != 0).then_some(expires.max(0) as u64),
            no_wait: json.no_wait.unwrap_or(false),
            heartbeat: positive(heartbeat),
            priority: Priority {
                min_pending: positive(min_pending).unwrap_or(0),
                min_ack_pending: positive(min_ack_pending).unwrap_or(0),
                level: match policy {
                    PriorityPolicy::Prioritized => or_zero(json.priority) as u8,
                    _ => 0,
                },
            },
        })
    }
}

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
    /// The round in which the reply subject was last seen to have a subscriber.
    seen: u64,
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
}

/// A request that takes the next message.
#[derive(Debug)]
pub struct Taken {
    /// Where the message goes.
    pub reply: Arc<str>,
    /// The batch is complete with this message although so many bytes were left.
    pub bytes_left: Option<u64>,
}

/// Tells whether anybody subscribes to a subject.
pub type Interest<'a> = &'a dyn Fn(&str) -> bool;

/// Statuses to be sent, with their subjects.
pub type Statuses = Vec<(Arc<str>, Status)>;

impl Waiting {
    /// An empty queue with room for `max` requests.
    pub fn new(max: usize, now: Ticks) -> Self {
        Waiting { requests: VecDeque::new(), max, due: Ticks::MAX, one_shots: 0, round: 0, last_used: now, swept_at: 0 }
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
            seen: 0,
        });
        None
    }

    /// Behind all that are served before it; without priorities that is the end.
    fn insert(&mut self, request: Request) {
        let level = request.priority.level;
        let at = self.requests.iter().rposition(|other| other.priority.level <= level).map_or(0, |at| at + 1);
        self.requests.insert(at, request);
    }

    /// Begins a round of deliveries, within which interest is looked up once per request.
    pub fn begin_round(&mut self) {
        self.round += 1;
    }

    /// The request that takes the next message, of `size` bytes. Requests that it is too large for, that have expired or
    /// that nobody listens for are removed on the way.
    pub fn take(
        &mut self,
        size: u64,
        load: Load,
        now: Ticks,
        interest: Interest<'_>,
        out: &mut Statuses,
    ) -> Option<Taken> {
        let mut passed_over = 0;
        while let Some(request) = self.requests.front_mut() {
            if request.expires.is_some_and(|at| now >= at) {
                let (messages, bytes) = (request.left, request.bytes.unwrap_or(0));
                out.push((request.reply.clone(), Status::Timeout { messages, bytes }));
                self.pop();
                continue;
            }
            if request.seen != self.round {
                if !interest(&request.reply) {
                    self.pop();
                    continue;
                }
                request.seen = self.round;
            }
            if !request.priority.admits(load) {
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
            self.last_used = now;
            if let Some(wait) = request.heartbeat {
                request.beat_at = now.saturating_add(wait);
            }
            let reply = request.reply.clone();
            if request.left == 0 {
                let bytes_left = request.bytes.filter(|bytes| *bytes > 0);
                self.pop();
                return Some(Taken { reply, bytes_left });
            }
            if self.requests.len() > 1
                && let Some(request) = self.requests.pop_front()
            {
                self.insert(request);
            }
            return Some(Taken { reply, bytes_left: None });
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
        if self.requests.is_empty() { Ticks::MAX } else { self.due }
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

    fn pop(&mut self) {
        if let Some(request) = self.requests.pop_front() {
            self.one_shots -= usize::from(request.no_wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(_: &str) -> bool {
        true
    }

    fn ask(payload: &str) -> Ask {
        Ask::parse(payload.as_bytes(), &ConsumerConfig::default()).expect("valid")
    }

    #[test]
    fn payloads_are_read_in_all_three_forms() {
        assert_eq!(ask(""), Ask { batch: 1, ..Ask::default() });
        assert_eq!(ask("25").batch, 25);
        let full = ask(r#"{"batch":10,"expires":5000,"max_bytes":64,"no_wait":true,"idle_heartbeat":2500}"#);
        let expected = Ask {
            batch: 10,
            max_bytes: Some(64),
            expires: Some(5000),
            no_wait: true,
            heartbeat: Some(2500),
            ..Ask::default()
        };
        assert_eq!(full, expected);
        let rust = r#"{"batch":7,"no_wait":true,"max_bytes":0,"min_pending":null,"min_ack_pending":null,"group":null}"#;
        assert_eq!(ask(rust), Ask { batch: 7, no_wait: true, ..Ask::default() });
    }

    #[test]
    fn limits_are_answered_in_the_words_of_nats_server() {
        let config = ConsumerConfig { max_request_batch: 5, max_request_expires: 1_000, ..ConsumerConfig::default() };
        let refused = |payload: &str| Ask::parse(payload.as_bytes(), &config).expect_err("refused");
        assert_eq!(refused("6"), Status::MaxRequestBatch(5));
        assert_eq!(refused(r#"{"expires":1001}"#), Status::MaxRequestExpires(1_000));
        assert_eq!(
            refused(r#"{"expires":1000,"idle_heartbeat":600}"#),
            Status::BadRequest("heartbeat value too large".into())
        );
        assert!(matches!(refused("{"), Status::BadRequest(_)));
    }

    #[test]
    fn requests_are_served_in_turn() {
        let mut waiting = Waiting::new(2, 0);
        let mut out = Statuses::new();
        assert_eq!(waiting.add(&ask("2"), "a", 0, &yes), None);
        assert_eq!(waiting.add(&ask("1"), "b", 0, &yes), None);
        assert_eq!(waiting.add(&ask("1"), "c", 0, &yes), Some(Status::MaxWaiting));
        waiting.begin_round();
        let mut next = || waiting.take(1, Load::default(), 0, &yes, &mut out).map(|taken| taken.reply.to_string());
        assert_eq!([next(), next(), next(), next()], [Some("a".into()), Some("b".into()), Some("a".into()), None]);
    }

    #[test]
    fn priorities_decide_who_is_served() {
        let groups = |policy| ConsumerConfig {
            priority_policy: policy,
            priority_groups: vec!["g".into()],
            ..ConsumerConfig::default()
        };
        let ask = |payload: &str, policy| Ask::parse(payload.as_bytes(), &groups(policy));
        let mut out = Statuses::new();
        let mut waiting = Waiting::new(9, 0);
        for (payload, reply) in [
            (r#"{"batch":1,"group":"g","priority":2}"#, "late"),
            (r#"{"batch":2,"group":"g","priority":1}"#, "early"),
            (r#"{"batch":1,"group":"g","priority":1}"#, "next"),
        ] {
            waiting.add(&ask(payload, PriorityPolicy::Prioritized).expect("valid"), reply, 0, &yes);
        }
        waiting.begin_round();
        let mut served = || waiting.take(1, Load::default(), 0, &yes, &mut out).map(|taken| taken.reply.to_string());
        let order: Vec<String> = std::iter::from_fn(&mut served).collect();
        assert_eq!(order, ["early", "next", "early", "late"]);

        let mut waiting = Waiting::new(9, 0);
        let overflow = ask(r#"{"batch":1,"group":"g","min_pending":10}"#, PriorityPolicy::Overflow).expect("valid");
        waiting.add(&overflow, "overflow", 0, &yes);
        waiting.begin_round();
        let mut taken = |pending| waiting.take(1, Load { pending, ack_pending: 0 }, 0, &yes, &mut out).is_some();
        assert_eq!([taken(9), taken(10)], [false, true]);

        let refused = |payload, policy| ask(payload, policy).expect_err("refused");
        let bad = |text: &str| Status::BadRequest(text.to_owned());
        assert_eq!(refused(r#"{"batch":1}"#, PriorityPolicy::Overflow), bad("Priority Group missing"));
        assert_eq!(refused(r#"{"group":"x"}"#, PriorityPolicy::Overflow), bad("Invalid Priority Group"));
        assert_eq!(
            refused(r#"{"group":"g","min_pending":1}"#, PriorityPolicy::Prioritized),
            bad("Not a Overflow Priority consumer")
        );
    }

    #[test]
    fn a_message_too_large_ends_the_request_and_left_bytes_are_told() {
        let mut waiting = Waiting::new(9, 0);
        let mut out = Statuses::new();
        waiting.add(&ask(r#"{"batch":2,"max_bytes":10}"#), "a", 0, &yes);
        waiting.add(&ask(r#"{"batch":1,"max_bytes":100}"#), "b", 0, &yes);
        waiting.begin_round();
        let taken = waiting.take(50, Load::default(), 0, &yes, &mut out).expect("b takes it");
        assert_eq!((&*taken.reply, taken.bytes_left), ("b", Some(50)));
        assert_eq!(out, [("a".into(), Status::TooLarge { messages: 2, bytes: 10 })]);
    }

    #[test]
    fn expiry_signs_of_life_and_the_end_of_the_stream_answer() {
        let mut waiting = Waiting::new(9, 0);
        let mut out = Statuses::new();
        let beat = Status::Heartbeat { last: Default::default(), stalled: None };
        waiting.add(&ask(r#"{"batch":3,"expires":100,"idle_heartbeat":40}"#), "a", 0, &yes);
        waiting.add(&ask(r#"{"no_wait":true}"#), "b", 0, &yes);
        assert_eq!(waiting.due(), 40);
        waiting.tick(10, true, &beat, &mut out);
        assert_eq!(out, [("b".into(), Status::NoMessages)]);
        out.clear();
        waiting.tick(40, true, &beat, &mut out);
        assert_eq!(out, [("a".into(), beat.clone())]);
        out.clear();
        waiting.tick(100, false, &beat, &mut out);
        assert_eq!(out, [("a".into(), Status::Timeout { messages: 3, bytes: 0 })]);
        assert_eq!((waiting.len(), waiting.due()), (0, Ticks::MAX));
    }

    #[test]
    fn a_request_that_nobody_listens_for_is_dropped() {
        let mut waiting = Waiting::new(9, 0);
        waiting.add(&ask("1"), "gone", 0, &yes);
        waiting.add(&ask("1"), "here", 0, &yes);
        waiting.begin_round();
        let taken = waiting.take(1, Load::default(), 0, &|subject| subject == "here", &mut Statuses::new());
        assert_eq!(taken.map(|taken| taken.reply.to_string()), Some("here".into()));
        assert!(waiting.is_empty());
    }
}
