use super::*;
use crate::jetstream::consumer::config::PriorityPolicy;

fn ready(_: &str) -> Option<usize> {
    Some(usize::MAX)
}

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
    let mut next = || waiting.take(1, Load::default(), 0, &ready, &mut out).map(|taken| taken.reply.to_string());
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
    let mut served = || waiting.take(1, Load::default(), 0, &ready, &mut out).map(|taken| taken.reply.to_string());
    let order: Vec<String> = std::iter::from_fn(&mut served).collect();
    assert_eq!(order, ["early", "next", "early", "late"]);

    let mut waiting = Waiting::new(9, 0);
    let overflow = ask(r#"{"batch":1,"group":"g","min_pending":10}"#, PriorityPolicy::Overflow).expect("valid");
    waiting.add(&overflow, "overflow", 0, &yes);
    waiting.begin_round();
    let mut taken = |pending| waiting.take(1, Load { pending, ack_pending: 0 }, 0, &ready, &mut out).is_some();
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
    let taken = waiting.take(50, Load::default(), 0, &ready, &mut out).expect("b takes it");
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
    let taken =
        waiting.take(1, Load::default(), 0, &|subject| (subject == "here").then_some(usize::MAX), &mut Statuses::new());
    assert_eq!(taken.map(|taken| taken.reply.to_string()), Some("here".into()));
    assert!(waiting.is_empty());
}

#[test]
fn who_had_to_wait_for_room_keeps_its_priority() {
    let config = ConsumerConfig {
        priority_policy: PriorityPolicy::Prioritized,
        priority_groups: vec!["g".into()],
        ..ConsumerConfig::default()
    };
    let mut waiting = Waiting::new(9, 0);
    for (reply, level) in [("far", 0), ("near", 1), ("nearer", 1)] {
        let payload = format!(r#"{{"batch":2,"group":"g","priority":{level}}}"#);
        waiting.add(&Ask::parse(payload.as_bytes(), &config).expect("valid"), reply, 0, &yes);
    }
    let far_is_full = |subject: &str| Some(if subject == "far" { 0 } else { usize::MAX });
    let mut served = |room: Room<'_>| {
        waiting.begin_round();
        waiting.take(1, Load::default(), 0, room, &mut Statuses::new()).map(|taken| taken.reply.to_string())
    };
    assert_eq!([served(&far_is_full), served(&ready)], [Some("near".into()), Some("far".into())]);
}

#[test]
fn a_request_from_where_no_more_is_taken_waits_and_the_others_are_served() {
    let mut waiting = Waiting::new(9, 0);
    waiting.add(&ask("1"), "far", 0, &yes);
    waiting.add(&ask("1"), "near", 0, &yes);
    let far_is_full = |subject: &str| Some(if subject == "far" { 0 } else { usize::MAX });
    let mut served = |room: Room<'_>| {
        waiting.begin_round();
        let taken = waiting.take(1, Load::default(), 0, room, &mut Statuses::new());
        (taken.map(|taken| taken.reply.to_string()), waiting.wait_for_room())
    };
    assert_eq!(served(&far_is_full), (Some("near".into()), true));
    assert_eq!(served(&far_is_full), (None, true));
    assert_eq!(served(&ready), (Some("far".into()), false));
}
