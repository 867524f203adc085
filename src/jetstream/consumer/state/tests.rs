//! The state machine against a naive model that keeps one entry per message and looks at all of them each time.

use super::super::persist;
use super::*;
use proptest::prelude::*;

const WAIT: Ticks = 1000;

fn rules(ack: AckPolicy) -> Rules {
    Rules { ack, waits: vec![WAIT], max_deliver: Some(3), max_ack_pending: Some(5) }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Is {
    New,
    Pending { deliveries: u64, deadline: Ticks, queued: bool },
    Acked,
    Exhausted,
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    Deliver(usize),
    Ack(u64),
    Nak(u64, Option<Ticks>),
    Progress(u64),
    Wait(Ticks),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..4).prop_map(Step::Publish),
        6 => (1usize..4).prop_map(Step::Deliver),
        5 => (1u64..30).prop_map(Step::Ack),
        2 => ((1u64..30), prop::option::of(1u64..3000)).prop_map(|(s, d)| Step::Nak(s, d)),
        1 => (1u64..30).prop_map(Step::Progress),
        2 => (1u64..1500).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// One entry per message of the stream, from sequence 1.
struct Model {
    messages: Vec<Is>,
    next: u64,
    now: Ticks,
    last_consumer: u64,
}

impl Model {
    fn pending(&self) -> usize {
        self.messages.iter().filter(|m| matches!(m, Is::Pending { .. })).count()
    }

    fn at(&mut self, seq: u64) -> Option<&mut Is> {
        self.messages.get_mut(seq as usize - 1)
    }

    fn deliver(&mut self, state: &mut Delivery, count: usize) {
        let mut due = Vec::new();
        state.peek_redeliveries(count, &mut due);
        for seq in &due {
            let (number, deliveries) = state.redeliver(*seq, self.now).expect("queued");
            let now = self.now;
            match self.at(*seq).expect("of the stream") {
                Is::Pending { deliveries: before, deadline, queued } => {
                    assert!(*queued, "{seq} delivered again though it was not due");
                    *before += 1;
                    assert_eq!(deliveries, *before, "count of {seq}");
                    (*deadline, *queued) = (now + WAIT, false);
                }
                other => panic!("{seq} delivered again though {other:?}"),
            }
            assert!(number > self.last_consumer);
            self.last_consumer = number;
        }
        if due.is_empty() {
            for _ in 0..count.min(state.room()) {
                if self.next > self.messages.len() as u64 {
                    break;
                }
                let (seq, deadline) = (self.next, self.now + WAIT);
                assert_eq!(state.next(), seq);
                self.last_consumer = state.deliver(seq, self.now);
                *self.at(seq).expect("of the stream") = Is::Pending { deliveries: 1, deadline, queued: false };
                self.next += 1;
            }
        }
    }

    fn expire(&mut self) -> Vec<Exhausted> {
        let mut exhausted = Vec::new();
        for (at, message) in self.messages.iter_mut().enumerate() {
            match message {
                Is::Pending { deliveries, deadline, queued: false } if *deadline <= self.now => {
                    if *deliveries >= 3 {
                        exhausted.push(Exhausted { stream_seq: at as u64 + 1, deliveries: *deliveries });
                        *message = Is::Exhausted;
                    } else {
                        *message = Is::Pending { deliveries: *deliveries, deadline: *deadline, queued: true };
                    }
                }
                _ => {}
            }
        }
        exhausted
    }

    fn check(&self, state: &Delivery) {
        assert_eq!(state.ack_pending(), self.pending());
        assert_eq!(state.pending.len(), self.pending());
        let queued = self.messages.iter().filter(|m| matches!(m, Is::Pending { queued: true, .. })).count();
        assert_eq!(state.redeliveries(), queued);
        assert_eq!(state.room(), 5usize.saturating_sub(self.pending()));
        let floor = state.floor().stream;
        for (at, message) in self.messages.iter().enumerate() {
            let seq = at as u64 + 1;
            match message {
                Is::Pending { .. } => assert!(seq > floor, "{seq} is pending below the ack floor {floor}"),
                Is::New => assert!(seq > floor, "{seq} is below the ack floor {floor} and was never delivered"),
                Is::Acked | Is::Exhausted => {}
            }
            assert_eq!(state.needs(seq), *message != Is::Acked, "need of {seq} that is {message:?}");
        }
        if self.pending() == 0 {
            assert_eq!(state.floor(), state.delivered());
        }
        assert!(state.floor().consumer <= state.delivered().consumer);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn explicit_acks_behave_as_the_naive_model(steps in prop::collection::vec(step(), 1..120)) {
        let mut state = Delivery::new(rules(AckPolicy::Explicit), 1);
        let mut model = Model { messages: Vec::new(), next: 1, now: 0, last_consumer: 0 };
        for step in steps {
            match step {
                Step::Publish(n) => model.messages.extend((0..n).map(|_| Is::New)),
                Step::Deliver(n) => model.deliver(&mut state, n),
                Step::Ack(seq) => {
                    let mut removed = Vec::new();
                    let outcome = state.ack(seq, 0, &mut removed);
                    let next = model.next;
                    match model.at(seq) {
                        Some(message @ (Is::Pending { .. } | Is::Exhausted)) => {
                            *message = Is::Acked;
                            prop_assert_eq!(outcome, Acked::Counted);
                            prop_assert_eq!(removed, vec![seq]);
                        }
                        _ => prop_assert_eq!(outcome, if seq < next { Acked::Again } else { Acked::Ignored }),
                    }
                }
                Step::Nak(seq, delay) => {
                    let mut exhausted = Vec::new();
                    let known = state.nak(seq, delay, model.now, &mut exhausted);
                    let now = model.now;
                    match model.at(seq) {
                        Some(message @ Is::Pending { .. }) => {
                            prop_assert!(known);
                            let Is::Pending { deliveries, deadline, queued } = *message else { unreachable!() };
                            *message = match delay {
                                Some(delay) => Is::Pending { deliveries, deadline: now + delay, queued: false },
                                None if deliveries >= 3 && !queued => Is::Exhausted,
                                None => Is::Pending { deliveries, deadline, queued: true },
                            };
                            prop_assert_eq!(exhausted.len(), usize::from(*message == Is::Exhausted));
                        }
                        _ => prop_assert!(!known),
                    }
                }
                Step::Progress(seq) => {
                    state.progress(seq, model.now);
                    let now = model.now;
                    if let Some(Is::Pending { deadline, .. }) = model.at(seq) {
                        *deadline = now + WAIT;
                    }
                }
                Step::Wait(time) => {
                    model.now += time;
                    let mut exhausted = Vec::new();
                    state.expire(model.now, &mut exhausted);
                    prop_assert_eq!(exhausted, model.expire());
                }
                Step::Restart => {
                    let stored = persist::encode(&state, model.now);
                    state = persist::decode(&stored, rules(AckPolicy::Explicit), model.now).expect("just written");
                    // Stored to the millisecond, which is longer than all waits here: everything is due at once.
                    for message in &mut model.messages {
                        if let Is::Pending { deadline, queued, .. } = message {
                            (*deadline, *queued) = (model.now, false);
                        }
                    }
                }
            }
            model.check(&state);
        }
    }

    #[test]
    fn ack_all_settles_everything_below(
        deliveries in 1u64..40, acks in prop::collection::vec(1u64..60, 1..10),
    ) {
        let mut state = Delivery::new(Rules { max_ack_pending: None, ..rules(AckPolicy::All) }, 1);
        for seq in 1..=deliveries {
            state.deliver(seq, 0);
        }
        let mut highest = 0;
        for ack in acks {
            let mut removed = Vec::new();
            state.ack(ack, ack, &mut removed);
            if ack <= deliveries {
                prop_assert_eq!(removed, (highest + 1..=ack.max(highest)).collect::<Vec<_>>());
                highest = highest.max(ack);
            }
            prop_assert_eq!(state.floor(), Pair { consumer: highest, stream: highest });
            prop_assert_eq!(state.ack_pending() as u64, deliveries - highest);
        }
    }
}

#[test]
fn backoff_lengthens_with_each_redelivery() {
    let mut state = Delivery::new(Rules { waits: vec![10, 100], max_deliver: None, ..rules(AckPolicy::Explicit) }, 1);
    state.deliver(1, 0);
    let mut none = Vec::new();
    for (due, expected) in [(10, 2), (110, 3), (210, 4)] {
        assert!(!state.expire(due - 1, &mut none), "before {due}");
        assert!(state.expire(due, &mut none));
        assert_eq!(state.redeliver(1, due).map(|(_, deliveries)| deliveries), Some(expected));
    }
}

#[test]
fn picks_come_first_and_then_what_follows() {
    let mut state = Delivery::new(rules(AckPolicy::None), 1);
    state.set_picks(VecDeque::from([3, 7]), 9);
    assert_eq!(state.next(), 3);
    state.deliver(3, 0);
    assert_eq!(state.next(), 7);
    state.deliver(7, 0);
    assert_eq!(state.next(), 10);
}

#[test]
fn a_delivery_that_reached_nobody_does_not_count() {
    let mut state = Delivery::new(rules(AckPolicy::Explicit), 1);
    state.deliver(1, 0);
    state.undeliver(1);
    assert_eq!(state.redeliver(1, 0), Some((2, 1)));
    assert_eq!(state.num_redelivered(), 0);
}

#[test]
fn messages_that_leave_the_stream_are_forgotten() {
    let mut state = Delivery::new(rules(AckPolicy::Explicit), 1);
    for seq in 1..=4 {
        state.deliver(seq, 0);
    }
    state.forget_below(3);
    assert_eq!((state.ack_pending(), state.floor().stream), (2, 2));
    assert!(state.forget(4).is_some());
    state.forget_below(20);
    assert_eq!((state.ack_pending(), state.next()), (0, 20));
}
