//! Where the messages of a mirror, or of a stream with sources, come from: the configuration, with nats-server's JSON
//! names, and its checks in nats-server's order (`server/stream.go`, `checkStreamCfg`).

use super::config::{StreamConfig, SubjectTransform};
use super::consumer::config::Timestamp;
use super::consumer::validate::is_valid_name;
use super::error::ApiError;
use super::follow::index_name;
use crate::subject::{self, Transform, TransformError};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Another stream that messages come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSource {
    /// Its name.
    pub name: String,
    /// From which sequence on; 0: from the first.
    #[serde(skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    /// From which time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<Timestamp>,
    /// Only messages on matching subjects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// Filters, each with what becomes of the subjects that it selects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
    /// How to reach a stream of another domain or account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalStream>,
    /// A durable consumer of the origin to read through, acknowledged by flow control (ADR-60).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<SourceConsumer>,
}

/// How to reach a stream of another domain or account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalStream {
    /// What its API's subjects begin with, as in `$JS.hub.API`.
    pub api: String,
    /// What subjects begin with that its consumers deliver to; empty: no prefix.
    pub deliver: String,
}

/// A durable consumer that messages are read through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConsumer {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it delivers to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Finds the configuration of a stream of this account.
pub(super) type Find<'a> = &'a dyn Fn(&str) -> Option<StreamConfig>;

/// What a mirror or source must not be, in numbers of nats-server's errors.
struct Codes {
    what: &'static str,
    consumer: u16,
    several: u16,
    filter: u16,
    destination: u16,
    overlap: u16,
}

const MIRROR: Codes =
    Codes { what: "mirror", consumer: 10213, several: 10150, filter: 10151, destination: 10154, overlap: 10152 };
const SOURCE: Codes =
    Codes { what: "source", consumer: 10215, several: 10144, filter: 10145, destination: 10146, overlap: 10147 };

fn bad(code: u16, text: impl Into<String>) -> ApiError {
    ApiError::new(400, code, text)
}

/// Checks a stream's mirror and sources.
pub(super) fn check(config: &mut StreamConfig, pedantic: bool, find: Find<'_>) -> Result<(), ApiError> {
    if let Some(mirror) = config.mirror.clone() {
        check_mirror(config, &mirror)?;
        if mirror.external.is_none() {
            if !is_valid_name(&mirror.name) {
                return Err(bad(10142, "mirrored stream name is invalid"));
            }
            if let Some(origin) = find(&mirror.name) {
                if too_small(config, &origin) {
                    return Err(bad(10030, "stream mirror must have max message size >= source"));
                }
                if pedantic && config.mirror_direct != origin.allow_direct {
                    return Err(ApiError::pedantic("origin stream has direct get set, mirror has it disabled"));
                }
                config.mirror_direct = origin.allow_direct;
            }
        }
    }
    check_sources(config, find)?;
    check_prefixes(config, find)?;
    check_cycles(config, find)
}

fn too_small(config: &StreamConfig, origin: &StreamConfig) -> bool {
    config.max_msg_size > 0 && origin.max_msg_size > 0 && config.max_msg_size < origin.max_msg_size
}

fn check_mirror(config: &StreamConfig, mirror: &StreamSource) -> Result<(), ApiError> {
    for (wrong, code, text) in [
        (config.first_seq > 0, 10143, "stream mirrors can not have first sequence configured"),
        (!config.subjects.is_empty(), 10034, "stream mirrors can not contain subjects"),
        (!config.sources.is_empty(), 10031, "stream mirrors can not also contain other sources"),
        (config.allow_msg_counter, 10173, "stream mirrors can not also calculate counters"),
        (config.allow_atomic, 10198, "stream mirrors can not also use atomic publishing"),
        (config.allow_batched, 10209, "stream mirrors can not also use batch publishing"),
        (config.allow_msg_schedules, 10186, "stream mirrors can not also schedule messages"),
    ] {
        if wrong {
            return Err(bad(code, text));
        }
    }
    check_consumer(mirror, &MIRROR)?;
    if !mirror.filter_subject.is_empty() && !mirror.subject_transforms.is_empty() {
        return Err(several(&MIRROR));
    }
    if config.subject_delete_marker_ttl > 0 {
        return Err(ApiError::config("subject delete markers forbidden on mirrors"));
    }
    check_transforms(mirror, &MIRROR, subject::overlap)
}

/// Checks what a new stream's origins are to be filtered by; nobody does when it changes (`server/stream.go`, `addStream`).
pub(super) fn check_filters(config: &StreamConfig) -> Result<(), ApiError> {
    let origins =
        config.mirror.iter().map(|mirror| (mirror, "mirror")).chain(config.sources.iter().map(|s| (s, "source:")));
    for (origin, what) in origins {
        let filter = &origin.filter_subject;
        if !filter.is_empty() && !subject::is_valid(filter) {
            return Err(ApiError::new(500, 10049, format!("subject filter '{filter}' for the {what} invalid subject")));
        }
    }
    Ok(())
}

fn several(codes: &Codes) -> ApiError {
    let what = codes.what;
    bad(codes.several, format!("{what} with multiple subject transforms cannot also have a single subject filter"))
}

fn check_consumer(source: &StreamSource, codes: &Codes) -> Result<(), ApiError> {
    let Some(consumer) = &source.consumer else { return Ok(()) };
    let started = source.opt_start_seq != 0 || source.opt_start_time.is_some();
    if !is_valid_name(&consumer.name)
        || !subject::is_valid_literal(&consumer.deliver_subject)
        || started
        || !source.filter_subject.is_empty()
    {
        return Err(bad(codes.consumer, format!("stream {} consumer config is invalid", codes.what)));
    }
    Ok(())
}

fn check_transforms(
    source: &StreamSource,
    codes: &Codes,
    collide: impl Fn(&str, &str) -> bool,
) -> Result<(), ApiError> {
    let what = codes.what;
    let all = &source.subject_transforms;
    for (at, transform) in all.iter().enumerate() {
        if !transform.source.is_empty() && !subject::is_valid(&transform.source) {
            let text = format!("{what} transform source: {} {}", TransformError::BadSubject, transform.source);
            return Err(bad(codes.filter, text));
        }
        validate_mapping(transform).map_err(|error| bad(codes.destination, format!("{what} transform: {error}")))?;
        let others = all.iter().enumerate().filter(|(other, _)| *other != at);
        if others.into_iter().any(|(_, other)| collide(&transform.source, &other.source)) {
            let what = if codes.what == "mirror" { "mirror subject" } else { "source" };
            return Err(bad(codes.overlap, format!("{what} filters can not overlap")));
        }
    }
    Ok(())
}

/// Whether the transform is one (`ValidateMapping`).
pub(super) fn validate_mapping(transform: &SubjectTransform) -> Result<(), TransformError> {
    if transform.destination.is_empty() {
        return Ok(());
    }
    Transform::validated(&transform.source, &transform.destination).map(|_| ())
}

fn check_sources(config: &StreamConfig, find: Find<'_>) -> Result<(), ApiError> {
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(bad(10187, "stream source can not also schedule messages"));
    }
    for (at, source) in config.sources.iter().enumerate() {
        if !is_valid_name(&source.name) {
            return Err(bad(10141, "sourced stream name is invalid"));
        }
        if config.sources[..at].iter().any(|other| index_name(other) == index_name(source)) {
            return Err(bad(10140, "duplicate source configuration detected"));
        }
        if !source.filter_subject.is_empty() && !source.subject_transforms.is_empty() {
            return Err(several(&SOURCE));
        }
        check_transforms(source, &SOURCE, subject::is_subset)?;
        check_consumer(source, &SOURCE)?;
        if source.consumer.is_some() && config.sources[..at].iter().any(|other| has_same_consumer(other, source)) {
            return Err(bad(10216, "duplicate stream source consumer detected"));
        }
        if source.external.is_none() && find(&source.name).is_some_and(|origin| too_small(config, &origin)) {
            return Err(bad(10046, "stream source must have max message size >= target"));
        }
    }
    Ok(())
}

/// Whether two sources of the same stream go by the same consumer (`composeCName`).
fn has_same_consumer(a: &StreamSource, b: &StreamSource) -> bool {
    let api = |source: &StreamSource| source.external.as_ref().map(|external| external.api.clone());
    let name = |source: &StreamSource| source.consumer.as_ref().map(|consumer| consumer.name.clone());
    a.name == b.name && api(a) == api(b) && name(a) == name(b)
}

fn check_prefixes(config: &StreamConfig, find: Find<'_>) -> Result<(), ApiError> {
    let origins = || config.mirror.iter().chain(&config.sources);
    let subjects: Vec<String> = origins()
        .filter(|origin| origin.external.is_none())
        .filter_map(|origin| find(&origin.name))
        .flat_map(|origin| origin.subjects)
        .collect();
    for external in origins().filter_map(|origin| origin.external.as_ref()) {
        let prefix = &external.deliver;
        if !prefix.is_empty() && !subject::is_valid_literal(prefix) {
            let text = format!("stream external delivery prefix {prefix} must not contain wildcards");
            return Err(bad(10024, text));
        }
        let overlaps = |own: &&String| subject::overlap(own, &format!("{prefix}.{own}"));
        if let Some(own) = subjects.iter().find(|own| !prefix.is_empty() && overlaps(own)) {
            let text = format!("stream external delivery prefix {prefix} overlaps with stream subject {own}");
            return Err(bad(10022, text));
        }
    }
    for api in origins().filter_map(|origin| origin.external.as_ref()).map(|external| &external.api) {
        if api.is_empty() {
            continue;
        }
        if !subject::is_valid_literal(api) {
            let text = format!("stream external api prefix {api:?} must be a valid subject without wildcards");
            return Err(ApiError::config(text));
        }
        if subject::overlap(api, "$JS.API") {
            let text = format!("stream external api prefix {api} must not overlap with $JS.API");
            return Err(bad(10021, text));
        }
    }
    Ok(())
}

/// A stream must not take from itself, by whatever way. The order is nats-server's (`server/stream.go`), which tells what it takes
/// for a cycle: two mirrors of one stream may be sources, the stream itself beside a mirror of it may not.
fn check_cycles(config: &StreamConfig, find: Find<'_>) -> Result<(), ApiError> {
    let cycle = || ApiError::config("detected cycle");
    let mut visit = VecDeque::from([config.clone()]);
    let mut visited = Vec::new();
    while let Some(config) = visit.pop_front() {
        visited.push(config.name.clone());
        for source in config.sources.iter().filter(|source| source.external.is_none()) {
            let filter = &source.filter_subject;
            if !visited.contains(&source.name) {
                visit.extend(find(&source.name));
            } else if filter.is_empty() || config.subjects.iter().any(|subject| subject::overlap(subject, filter)) {
                return Err(cycle());
            }
        }
        if let Some(mirror) = config.mirror.iter().find(|mirror| mirror.external.is_none()) {
            if visited.contains(&mirror.name) {
                return Err(cycle());
            }
            visit.extend(find(&mirror.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stream(fields: serde_json::Value) -> StreamConfig {
        serde_json::from_value(fields).expect("a configuration")
    }

    #[test]
    fn a_cycle_is_what_nats_server_takes_for_one() {
        let others = [
            stream(json!({"name": "O", "subjects": ["o"]})),
            stream(json!({"name": "M1", "mirror": {"name": "O"}})),
            stream(json!({"name": "M2", "mirror": {"name": "O"}})),
            stream(json!({"name": "BACK", "subjects": ["b"], "sources": [{"name": "NEW"}]})),
        ];
        let find = |name: &str| others.iter().find(|config| config.name == name).cloned();
        let check = |sources: serde_json::Value| {
            check_cycles(&stream(json!({"name": "NEW", "sources": sources})), &find).is_ok()
        };
        assert!(check(json!([{"name": "M1"}, {"name": "M2"}])), "two mirrors of one stream");
        assert!(!check(json!([{"name": "O"}, {"name": "M1"}])), "a stream and its mirror");
        assert!(!check(json!([{"name": "BACK"}])), "one that sources from it");
        assert!(check(json!([{"name": "O"}])));
    }
}
