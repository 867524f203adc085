//! Defaults and checks of a consumer's configuration, in nats-server's order and with its codes and texts
//! (`server/consumer.go`, `setConsumerConfigDefaults`, `checkConsumerCfg`, `checkNewConsumerConfig`).

use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy};
use crate::subject;

const DEFAULT_ACK_WAIT: i64 = 30_000_000_000;
const DEFAULT_MAX_WAITING: i64 = 512;
const DEFAULT_MAX_ACK_PENDING: i64 = 1000;
/// How long an ephemeral consumer may be unused when it says nothing else, nanoseconds.
pub const DEFAULT_INACTIVE_THRESHOLD: i64 = 5_000_000_000;
/// How long a pinned client may be silent when the consumer says nothing else, nanoseconds.
const DEFAULT_PINNED_TTL: i64 = 120_000_000_000;
/// How often a consumer that is acknowledged by flow control gives a sign of life, nanoseconds.
const SOURCE_HEARTBEAT: i64 = 1_000_000_000;
const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 4 << 10;
const MAX_METADATA: usize = 128 << 10;
const MILLISECOND: i64 = 1_000_000;

/// Why a consumer request is refused. Code and text are those of nats-server's `errors.json`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// HTTP-like code.
    pub code: u16,
    /// nats-server's `err_code`.
    pub err_code: u16,
    /// What the client is shown.
    pub text: String,
}

/// A refusal with the given codes.
pub fn refuse(code: u16, err_code: u16, text: impl Into<String>) -> Refusal {
    Refusal { code, err_code, text: text.into() }
}

fn bad(err_code: u16, text: impl Into<String>) -> Refusal {
    refuse(400, err_code, text)
}

/// What a consumer must know of its stream's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamRules {
    /// The stream's subjects.
    pub subjects: Vec<String>,
    /// Acknowledged messages leave the stream.
    pub retention: Retention,
    /// Consumers at most; 0 or less: any number.
    pub max_consumers: i64,
    /// The stream's `consumer_limits.max_ack_pending`; 0: none.
    pub max_ack_pending: i64,
    /// The account's limits are of streams with other numbers of replicas.
    pub untiered: bool,
    /// The account's; 0 or less: none.
    pub account_max_ack_pending: i64,
    /// The server's; 0: none.
    pub server_max_ack_pending: i64,
    /// Most that the server lets a pull consumer give to one request; 0: any number.
    pub max_request_batch: i64,
    /// The stream's `consumer_limits.inactive_threshold`, nanoseconds; 0: none.
    pub inactive_threshold: i64,
}

/// When messages leave a stream, as far as consumers matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// By the stream's limits alone.
    #[default]
    Limits,
    /// When all consumers that match them have acknowledged.
    Interest,
    /// When one consumer has acknowledged.
    WorkQueue,
}

/// Fills in what the request left open. With `pedantic`, values that would be corrected are refused.
pub fn set_defaults(config: &mut ConsumerConfig, stream: &StreamRules, pedantic: bool) -> Result<(), Refusal> {
    let pedant = |text: &str| bad(10157, format!("pedantic mode: {text}"));
    if config.max_deliver == 0 || config.max_deliver < -1 {
        if pedantic && config.max_deliver < -1 {
            return Err(pedant("max_deliver must be set to -1"));
        }
        config.max_deliver = -1;
    }
    if config.max_ack_pending < -1 {
        if pedantic {
            return Err(pedant("max_ack_pending must be set to -1"));
        }
        config.max_ack_pending = -1;
    }
    for (value, name) in [
        (&mut config.max_waiting, "max_waiting"),
        (&mut config.max_request_batch, "max_batch"),
        (&mut config.max_request_expires, "max_expires"),
        (&mut config.max_request_max_bytes, "max_bytes"),
        (&mut config.heartbeat, "idle_heartbeat"),
        (&mut config.inactive_threshold, "inactive_threshold"),
        (&mut config.pinned_ttl, "priority_timeout"),
    ] {
        if *value < 0 {
            if pedantic {
                return Err(pedant(&format!("{name} must not be negative")));
            }
            *value = 0;
        }
    }
    if !config.is_push() && config.max_waiting == 0 {
        config.max_waiting = DEFAULT_MAX_WAITING;
    }
    if config.ack_wait == 0 && matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All) {
        config.ack_wait = DEFAULT_ACK_WAIT;
    }
    if let Some(first) = config.backoff.first() {
        if pedantic && config.ack_wait != *first {
            return Err(pedant("first backoff value has to equal batch AckWait"));
        }
        config.ack_wait = *first;
    }
    if config.max_ack_pending == 0 {
        if pedantic && stream.max_ack_pending > 0 {
            return Err(pedant("max_ack_pending must be set if it's configured in stream limits"));
        }
        config.max_ack_pending = stream.max_ack_pending;
    }
    if config.inactive_threshold == 0 {
        if pedantic && stream.inactive_threshold > 0 {
            return Err(pedant("inactive_threshold must be set if it's configured in stream limits"));
        }
        config.inactive_threshold = stream.inactive_threshold;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        let limits = [DEFAULT_MAX_ACK_PENDING, stream.server_max_ack_pending, stream.account_max_ack_pending];
        let least = limits.into_iter().filter(|most| *most > 0).min();
        config.max_ack_pending = least.unwrap_or(DEFAULT_MAX_ACK_PENDING);
    }
    if !config.is_push() && config.max_request_batch == 0 && stream.max_request_batch > 0 {
        if pedantic {
            return Err(pedant("max_request_batch must be set if it's JetStream limits are set"));
        }
        config.max_request_batch = stream.max_request_batch;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.pinned_ttl == 0 {
        config.pinned_ttl = DEFAULT_PINNED_TTL;
    }
    if config.ack_policy == AckPolicy::FlowControl && !pedantic {
        (config.flow_control, config.heartbeat) = (true, SOURCE_HEARTBEAT);
    }
    Ok(())
}

/// Checks a configuration that has its defaults.
pub fn check(config: &ConsumerConfig, stream: &StreamRules) -> Result<(), Refusal> {
    let invalid = |text: &str| refuse(500, 10052, text);
    if !config.name.is_empty() && !is_valid_name(&config.name) {
        return Err(invalid(r"consumer name can not contain '.', '*', '>', '\', '/'"));
    }
    if config.is_durable() && !is_valid_name(&config.durable) {
        return Err(invalid(r"consumer durable name can not contain '.', '*', '>', '\', '/'"));
    }
    if config.name.len().max(config.durable.len()) > MAX_NAME {
        return Err(bad(10102, format!("consumer name is too long, maximum allowed is {MAX_NAME}")));
    }
    if config.num_replicas > 1 {
        return Err(bad(10126, "consumer config replica count exceeds parent stream"));
    }
    if config.num_replicas < 0 {
        return Err(bad(10133, "replicas count cannot be negative"));
    }
    if config.backoff.iter().any(|wait| *wait < 0) {
        return Err(bad(10184, "consumer backoff needs to be positive"));
    }
    if config.ack_wait < 0 {
        return Err(bad(10183, "consumer ack wait needs to be positive"));
    }
    check_flow_control(config)?;
    check_max_deliver(config)?;
    if config.description.len() > MAX_DESCRIPTION {
        return Err(bad(10107, format!("consumer description is too long, maximum allowed is {MAX_DESCRIPTION}")));
    }
    if config.is_push() {
        check_push(config, stream)?
    } else {
        check_pull(config, stream)?
    }
    let over = |limit: &i64| *limit > 0 && config.max_ack_pending > *limit;
    let limits = [stream.server_max_ack_pending, stream.account_max_ack_pending, stream.max_ack_pending];
    if let Some(limit) = limits.into_iter().find(over) {
        return Err(bad(10121, format!("consumer max ack pending exceeds system limit of {limit}")));
    }
    if stream.inactive_threshold > 0 && config.inactive_threshold > stream.inactive_threshold {
        let limit = super::status::GoDuration(stream.inactive_threshold);
        return Err(bad(10153, format!("consumer inactive threshold exceeds system limit of {limit}")));
    }
    if config.direct && !config.is_push() {
        return Err(bad(10090, "consumer direct requires a push based consumer"));
    }
    if config.direct && config.is_durable() {
        return Err(bad(10091, "consumer direct requires an ephemeral consumer"));
    }
    check_filters(config)?;
    check_start(config)?;
    let frequency = config.sample_freq.trim_end_matches('%');
    if !config.sample_freq.is_empty() && frequency.parse::<u32>().is_err() {
        return Err(bad(
            10095,
            format!(
                "failed to parse consumer sampling configuration: strconv.Atoi: parsing {frequency:?}: invalid syntax"
            ),
        ));
    }
    if config.flow_control && config.heartbeat == 0 {
        return Err(bad(10108, "consumer with flow control also needs heartbeats"));
    }
    if config.is_durable() && !config.name.is_empty() && config.name != config.durable {
        return Err(bad(10132, "Consumer Durable and Name have to be equal if both are provided"));
    }
    if config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_METADATA {
        return Err(bad(10135, format!("consumer metadata exceeds maximum size of {}KB", MAX_METADATA >> 10)));
    }
    check_priority(config)
}

fn check_max_deliver(config: &ConsumerConfig) -> Result<(), Refusal> {
    let waits = config.backoff.len() as i64;
    if waits > 0 && config.max_deliver != -1 && waits > config.max_deliver {
        return Err(bad(10116, "max deliver is required to be > length of backoff values"));
    }
    Ok(())
}

fn check_push(config: &ConsumerConfig, stream: &StreamRules) -> Result<(), Refusal> {
    if !subject::is_literal(&config.deliver_subject) {
        return Err(bad(10079, "consumer deliver subject has wildcards"));
    }
    if !subject::is_valid(&config.deliver_subject) {
        return Err(bad(10112, "invalid push consumer deliver subject"));
    }
    if stream.subjects.iter().any(|filter| subject::matches(filter, &config.deliver_subject)) {
        return Err(bad(10081, "consumer deliver subject forms a cycle"));
    }
    if config.max_waiting != 0 {
        return Err(bad(10080, "consumer in push mode can not set max waiting"));
    }
    if config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None {
        return Err(bad(10082, "consumer requires ack policy for max ack pending"));
    }
    if config.heartbeat > 0 && config.heartbeat < 100 * MILLISECOND {
        return Err(bad(10083, "consumer idle heartbeat needs to be >= 100ms"));
    }
    Ok(())
}

fn check_pull(config: &ConsumerConfig, stream: &StreamRules) -> Result<(), Refusal> {
    if config.ack_policy == AckPolicy::None && stream.retention == Retention::WorkQueue {
        return Err(bad(10084, "consumer in pull mode requires explicit ack policy on workqueue stream"));
    }
    if config.rate_limit_bps > 0 {
        return Err(bad(10086, "consumer in pull mode can not have rate limit set"));
    }
    if config.heartbeat > 0 {
        return Err(bad(10088, "consumer idle heartbeat requires a push based consumer"));
    }
    if config.flow_control {
        return Err(bad(10089, "consumer flow control requires a push based consumer"));
    }
    if config.max_request_expires != 0 && config.max_request_expires < MILLISECOND {
        return Err(bad(10115, "consumer max request expires needs to be >= 1ms"));
    }
    let most = stream.max_request_batch;
    if most > 0 && config.max_request_batch > most {
        return Err(bad(10125, format!("consumer max request batch exceeds server limit of {most}")));
    }
    Ok(())
}

fn check_filters(config: &ConsumerConfig) -> Result<(), Refusal> {
    if !config.filter_subject.is_empty() && !config.filter_subjects.is_empty() {
        return Err(bad(10136, "consumer cannot have both FilterSubject and FilterSubjects specified"));
    }
    let filters = config.filters();
    if filters.iter().any(|filter| filter.is_empty()) {
        return Err(bad(10139, "consumer filter in FilterSubjects cannot be empty"));
    }
    for (at, filter) in filters.iter().enumerate() {
        if !subject::is_valid(filter) {
            return Err(refuse(500, 10052, "invalid subject"));
        }
        if filters.iter().enumerate().any(|(other, outer)| at != other && subject::is_subset(filter, outer)) {
            return Err(bad(10138, "consumer subject filters cannot overlap"));
        }
    }
    Ok(())
}

fn check_start(config: &ConsumerConfig) -> Result<(), Refusal> {
    let policy = match config.deliver_policy {
        DeliverPolicy::All => "all",
        DeliverPolicy::Last => "last",
        DeliverPolicy::LastPerSubject => "last per subject",
        DeliverPolicy::New => "new",
        DeliverPolicy::ByStartSequence => "by start sequence",
        DeliverPolicy::ByStartTime => "by start time",
    };
    let extra = |what: &str| {
        bad(10094, format!("consumer delivery policy is deliver {policy}, but optional start {what} is also set"))
    };
    let missing = |what: &str| {
        bad(10094, format!("consumer delivery policy is deliver {policy}, but optional {what} is not set"))
    };
    let (sequence, time) = (config.opt_start_seq > 0, config.opt_start_time.is_some());
    match config.deliver_policy {
        DeliverPolicy::ByStartSequence if !sequence => Err(missing("start sequence")),
        DeliverPolicy::ByStartSequence if time => Err(extra("time")),
        DeliverPolicy::ByStartTime if !time => Err(missing("start time")),
        DeliverPolicy::ByStartTime if sequence => Err(extra("start sequence")),
        DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => Ok(()),
        _ if sequence => Err(extra("sequence")),
        _ if time => Err(extra("time")),
        DeliverPolicy::LastPerSubject if config.filters().is_empty() => Err(missing("filter subject")),
        _ => Ok(()),
    }
}

fn check_priority(config: &ConsumerConfig) -> Result<(), Refusal> {
    if config.priority_policy == PriorityPolicy::None {
        if !config.priority_groups.is_empty() {
            return Err(bad(10196, "consumer can not have priority groups when policy is none"));
        }
        if config.pinned_ttl > 0 {
            return Err(bad(10197, "PinnedTTL cannot be set when PriorityPolicy is none"));
        }
        return Ok(());
    }
    if config.is_push() {
        return Err(bad(10178, "priority groups can not be used with push consumers"));
    }
    if config.priority_groups.is_empty() {
        return Err(bad(10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set"));
    }
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(bad(10161, "Group name cannot be an empty string"));
        }
        check_group_name(group)?;
    }
    Ok(())
}

/// Checks the name of a priority group.
pub fn check_group_name(group: &str) -> Result<(), Refusal> {
    let known = |c: char| c.is_ascii_alphanumeric() || "/_=-".contains(c);
    if group.len() <= 16 && group.chars().all(known) {
        return Ok(());
    }
    let text = "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters";
    Err(bad(10162, text))
}

/// Acks by flow control are for push consumers that ask for it (ADR-60).
fn check_flow_control(config: &ConsumerConfig) -> Result<(), Refusal> {
    if config.ack_policy != AckPolicy::FlowControl {
        return Ok(());
    }
    if !config.is_push() {
        return Err(bad(10218, "flow control ack policy requires a push based consumer"));
    }
    if !config.flow_control {
        return Err(bad(10219, "flow control ack policy requires flow control"));
    }
    if config.heartbeat != SOURCE_HEARTBEAT {
        return Err(refuse(500, 10052, "flow control ack policy heartbeat needs to be 1s"));
    }
    if config.max_ack_pending <= 0 {
        return Err(bad(10220, "flow control ack policy requires max ack pending"));
    }
    if config.ack_wait != 0 || !config.backoff.is_empty() {
        return Err(bad(10221, "flow control ack policy requires unset ack wait"));
    }
    if config.max_deliver > 0 {
        return Err(bad(10222, "flow control ack policy requires unset max deliver"));
    }
    Ok(())
}

/// Checks the rules of a work queue: explicit acks, everything delivered, and each message for one consumer only.
/// `others` are the filters of the stream's other consumers.
pub fn check_work_queue(config: &ConsumerConfig, others: &[Vec<String>]) -> Result<(), Refusal> {
    if !matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::FlowControl) {
        return Err(bad(10098, "workqueue stream requires explicit ack"));
    }
    if config.deliver_policy != DeliverPolicy::All {
        return Err(bad(10101, "consumer must be deliver all on workqueue stream"));
    }
    let filters = config.filters();
    if !others.is_empty() && filters.is_empty() {
        return Err(bad(10099, "multiple non-filtered consumers not allowed on workqueue stream"));
    }
    let unique = others.iter().all(|other| {
        !other.is_empty() && other.iter().all(|theirs| filters.iter().all(|ours| !subject::overlap(ours, theirs)))
    });
    if unique { Ok(()) } else { Err(bad(10100, "filtered consumer not unique on workqueue stream")) }
}

/// Checks what an update changes. `bound` tells whether somebody listens on the old deliver subject.
pub fn check_update(old: &ConsumerConfig, new: &ConsumerConfig, bound: bool) -> Result<(), Refusal> {
    let fixed = |what: &str| Err(refuse(500, 10012, format!("{what} can not be updated")));
    if old.deliver_policy != new.deliver_policy {
        return fixed("deliver policy");
    }
    if old.mem_storage != new.mem_storage {
        return fixed("storage type");
    }
    if old.direct != new.direct {
        return fixed("direct");
    }
    if old.sourcing != new.sourcing {
        return fixed("sourcing");
    }
    if old.opt_start_seq != new.opt_start_seq {
        return fixed("start sequence");
    }
    if old.opt_start_time != new.opt_start_time {
        return fixed("start time");
    }
    if old.ack_policy != new.ack_policy {
        return fixed("ack policy");
    }
    if old.replay_policy != new.replay_policy {
        return fixed("replay policy");
    }
    if old.heartbeat != new.heartbeat {
        return fixed("heart beats");
    }
    if old.flow_control != new.flow_control {
        return fixed("flow control");
    }
    if old.deliver_subject != new.deliver_subject {
        if !old.is_push() {
            return Err(refuse(500, 10012, "can not update pull consumer to push based"));
        }
        if !new.is_push() {
            return Err(refuse(500, 10012, "can not update push consumer to pull based"));
        }
        if bound {
            return Err(bad(10013, "consumer name already in use"));
        }
    }
    if old.max_waiting != new.max_waiting {
        return fixed("max waiting");
    }
    check_max_deliver(new)
}

/// Whether a stream or consumer may be called so: one subject token without path separators.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['.', '*', '>', '\\', '/', ' ', '\t', '\r', '\n', '\x0c'])
}

#[cfg(test)]
mod tests;
