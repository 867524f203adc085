//! A hub that answers to questions and to no message, as a node that has lost sight of the stream's leader, or to neither.

use super::*;

/// Runs a machine with one message to send for `time` against a hub that says `result` to it, or nothing; how often the link is
/// dialled anew.
fn redials(time: Duration, result: Option<AckResult>) -> u64 {
    let mut machine = Machine::new(Settings::default(), Cursor::default(), 1, 7);
    let (mut now, mut redials, mut session) = (Duration::ZERO, 0, 1);
    let mut events = VecDeque::from([Event::LinkUp(session)]);
    while now < time {
        let mut actions = Vec::new();
        match events.pop_front() {
            Some(event) => machine.handle(now, event, &mut actions),
            None => {
                now = machine.deadline().expect("it waits for something").max(now + Duration::from_millis(1));
                machine.handle(now, Event::Tick, &mut actions);
            }
        }
        for action in actions {
            match action {
                Action::AskHub { run } => {
                    let answer = HubAnswer::Held { last: None, lost: false, local_first: 1 };
                    events.push_back(Event::Answer { run, answer });
                }
                Action::AskPosition { run, seq } => events.push_back(Event::Position { run, seq, last: None }),
                Action::Redial => {
                    (redials, session) = (redials + 1, session + 1);
                    events.extend([Event::LinkDown, Event::LinkUp(session)]);
                }
                _ => {}
            }
        }
        if let Some(order) = machine.next_order(now) {
            events.push_back(Event::Sent { seq: order.seq, bytes: 100 });
            events.extend(result.clone().map(|result| Event::Ack { run: order.run, seq: order.seq, result }));
        }
    }
    assert_eq!(machine.counters().watchdog, redials);
    redials
}

#[test]
fn a_hub_that_is_heard_and_takes_no_message_is_dialled_anew_more_and_more_rarely() {
    assert_eq!(redials(Duration::from_secs(50), None), 0);
    assert_eq!(redials(Duration::from_secs(90), None), 1);
    let day = redials(Duration::from_secs(86_400), None);
    assert!((20..40).contains(&day), "{day} times a day");
}

#[test]
fn one_that_refuses_what_is_sent_keeps_its_link() {
    assert_eq!(redials(Duration::from_secs(3600), Some(AckResult::Temporary)), 0);
}

/// Whether a machine with one message to send has sent it after a day without an answer to its questions.
fn sends_unasked(cursor: Cursor) -> bool {
    let mut machine = Machine::new(Settings::default(), cursor, 1, 7);
    let (mut now, mut actions) = (Duration::ZERO, Vec::new());
    machine.handle(now, Event::LinkUp(1), &mut actions);
    while now < Duration::from_secs(86_400) && machine.next_order(now).is_none() {
        now = machine.deadline().expect("it waits for something").max(now + Duration::from_millis(1));
        machine.handle(now, Event::Tick, &mut actions);
    }
    machine.next_order(now).is_some()
}

#[test]
fn a_hub_that_has_told_once_is_asked_until_it_tells_again() {
    assert!(sends_unasked(Cursor::default()), "one that never told may not be asked");
    assert!(!sends_unasked(Cursor { told: true, ..Cursor::default() }), "what was sent before may be there");
}
