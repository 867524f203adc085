use super::*;

fn pull() -> ConsumerConfig {
    ConsumerConfig { durable: "d".into(), ack_policy: AckPolicy::Explicit, ..ConsumerConfig::default() }
}

fn outcome(mut config: ConsumerConfig) -> Result<ConsumerConfig, u16> {
    let stream = StreamRules { subjects: vec!["a.>".into()], ..StreamRules::default() };
    set_defaults(&mut config, &stream, false).map_err(|r| r.err_code)?;
    check(&config, &stream).map_err(|r| r.err_code)?;
    Ok(config)
}

#[test]
fn defaults_are_those_of_nats_server() {
    let config = outcome(pull()).expect("valid");
    assert_eq!((config.max_deliver, config.ack_wait, config.max_waiting), (-1, DEFAULT_ACK_WAIT, 512));
    assert_eq!(config.max_ack_pending, 1000);
}

#[test]
fn each_mistake_has_its_code() {
    let push = |subject: &str| ConsumerConfig { deliver_subject: subject.into(), ..pull() };
    for (config, code) in [
        (ConsumerConfig { durable: "a.b".into(), ..pull() }, 10052),
        (ConsumerConfig { num_replicas: 3, ..pull() }, 10126),
        (ConsumerConfig { backoff: vec![1, 2, 3], max_deliver: 2, ..pull() }, 10116),
        (push("d.*"), 10079),
        (push("a.b"), 10081),
        (ConsumerConfig { max_waiting: 5, ..push("d") }, 10080),
        (ConsumerConfig { heartbeat: MILLISECOND, ..push("d") }, 10083),
        (ConsumerConfig { flow_control: true, ..push("d") }, 10108),
        (ConsumerConfig { heartbeat: 1, ..pull() }, 10088),
        (ConsumerConfig { filter_subject: "a".into(), filter_subjects: vec!["b".into()], ..pull() }, 10136),
        (ConsumerConfig { filter_subjects: vec!["a.b".into(), "a.*".into()], ..pull() }, 10138),
        (ConsumerConfig { filter_subjects: vec![String::new()], ..pull() }, 10139),
        (ConsumerConfig { opt_start_seq: 4, ..pull() }, 10094),
        (ConsumerConfig { deliver_policy: DeliverPolicy::ByStartTime, ..pull() }, 10094),
        (ConsumerConfig { deliver_policy: DeliverPolicy::LastPerSubject, ..pull() }, 10094),
        (ConsumerConfig { name: "e".into(), ..pull() }, 10132),
        (ConsumerConfig { sample_freq: "lots".into(), ..pull() }, 10095),
        (ConsumerConfig { ack_policy: AckPolicy::FlowControl, ..pull() }, 10218),
        (ConsumerConfig { ack_policy: AckPolicy::FlowControl, ack_wait: 1, ..push("d") }, 10221),
    ] {
        assert_eq!(outcome(config.clone()), Err(code), "{config:?}");
    }
}

#[test]
fn a_work_queue_gives_each_message_to_one_consumer() {
    let filtered = |filter: &str| ConsumerConfig { filter_subject: filter.into(), ..pull() };
    let code = |config: &ConsumerConfig, others: &[&str]| {
        let others: Vec<Vec<String>> = others.iter().map(|f| vec![f.to_string()]).collect();
        check_work_queue(config, &others).err().map(|r| r.err_code)
    };
    assert_eq!(code(&filtered("a.1"), &["a.2"]), None);
    assert_eq!(code(&filtered("a.*"), &["a.2"]), Some(10100));
    assert_eq!(code(&pull(), &["a.2"]), Some(10099));
    assert_eq!(check_work_queue(&filtered("a"), &[vec![]]).err().map(|r| r.err_code), Some(10100));
}

#[test]
fn updates_keep_what_must_not_change() {
    let refused = |new: ConsumerConfig| check_update(&pull(), &new, false).err().map(|r| r.text);
    assert_eq!(refused(ConsumerConfig { description: "new".into(), ..pull() }), None);
    assert_eq!(
        refused(ConsumerConfig { deliver_subject: "x".into(), ..pull() }).as_deref(),
        Some("can not update pull consumer to push based")
    );
    assert_eq!(
        refused(ConsumerConfig { ack_policy: AckPolicy::All, ..pull() }).as_deref(),
        Some("ack policy can not be updated")
    );
}
