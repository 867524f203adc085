//! What a message must fulfil that is a schedule, or ends one (`server/stream.go`, `processJetStreamMsg`).

use super::pattern;
use crate::jetstream::config::StreamConfig;
use crate::jetstream::consumer::config::Timestamp;
use crate::jetstream::error::ApiError;
use crate::jetstream::headers::{self, Wishes};
use crate::jetstream::publish::bad;
use crate::protocol;
use crate::protocol::headers::HeadersBuilder;
use crate::store::Log;
use crate::subject;

/// Checks a message. Gives its headers if they are to be others: a schedule replaces the one before.
pub(in crate::jetstream) fn check(
    config: &StreamConfig,
    wishes: &Wishes<'_>,
    subject: &str,
    block: &[u8],
    log: &Log,
) -> Result<Option<Vec<u8>>, ApiError> {
    let disabled = || bad(10188, "message schedules is disabled");
    let now = Timestamp::now().0;
    let schedule = pattern::read(wishes.schedule, wishes.schedule_zone, now, now);
    let schedule = schedule.map_err(|error| if config.allow_msg_schedules { error } else { disabled() })?;
    let mut replaced = None;
    if schedule.is_some() {
        if !config.allow_msg_schedules {
            return Err(disabled());
        }
        check_schedule(config, wishes, subject)?;
        if wishes.rollup.is_empty() {
            replaced = Some(HeadersBuilder::new().copy(block, |_| true).add("Nats-Rollup", "sub").build());
        } else if !wishes.rollup.eq_ignore_ascii_case("sub") {
            return Err(bad(10192, "message schedules invalid rollup"));
        }
    }
    check_scheduler(config, wishes, subject, log)?;
    if !wishes.source.is_empty() {
        return Err(bad(10227, "message stream source header is not allowed"));
    }
    Ok(replaced)
}

fn check_schedule(config: &StreamConfig, wishes: &Wishes<'_>, subject: &str) -> Result<(), ApiError> {
    if headers::ttl(wishes.schedule_ttl).is_err() {
        return Err(bad(10191, "message schedules invalid per-message TTL"));
    }
    if !matches!(wishes.schedule_rollup, "" | "sub") {
        return Err(bad(10192, "message schedules invalid rollup"));
    }
    if !wishes.schedule_ttl.is_empty() && !config.allow_msg_ttl {
        return Err(bad(10166, "per-message TTL is disabled"));
    }
    let ours = |subject: &str| config.subjects.iter().any(|own| subject::overlap(own, subject));
    let (target, source) = (wishes.schedule_target, wishes.schedule_source);
    if !subject::is_valid_literal(target) || target == subject {
        return Err(bad(10190, "message schedules target is invalid"));
    }
    let wrong_source = || bad(10203, "message schedules source is invalid");
    if !source.is_empty() && (source == target || source == subject || !subject::is_valid_literal(source)) {
        return Err(wrong_source());
    }
    if !ours(target) {
        return Err(bad(10190, "message schedules target is invalid"));
    }
    if !source.is_empty() && !ours(source) { Err(wrong_source()) } else { Ok(()) }
}

/// Publishers may only end a schedule.
fn check_scheduler(config: &StreamConfig, wishes: &Wishes<'_>, subject: &str, log: &Log) -> Result<(), ApiError> {
    let invalid = || bad(10212, "message schedules invalid scheduler");
    let scheduler = wishes.scheduler;
    if wishes.schedule_next.is_empty() {
        return if scheduler.is_empty() { Ok(()) } else { Err(invalid()) };
    }
    if wishes.schedule_next != "purge" || scheduler == subject || !subject::is_valid_literal(scheduler) {
        return Err(invalid());
    }
    if !config.allow_msg_schedules {
        return Err(bad(10188, "message schedules is disabled"));
    }
    let last = log.last_for(scheduler).map_err(ApiError::of_store)?;
    let last = last.map(|seq| log.read(seq)).transpose().map_err(ApiError::store_failed)?;
    let is_schedule = |block: &[u8]| protocol::headers::get(block, "Nats-Schedule").is_some_and(|p| !p.is_empty());
    match last.flatten() {
        Some(last) if !is_schedule(&last.headers) => Err(invalid()),
        _ => Ok(()),
    }
}
