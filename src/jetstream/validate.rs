//! Defaults and checks of a stream's configuration, in nats-server's order and with its codes and texts
//! (`server/stream.go`, `checkStreamCfg`, `configUpdateCheck`).

use super::config::{Discard, PersistMode, Retention, StorageType, StreamConfig};
use super::consumer::status::GoDuration;
use super::error::ApiError;
use super::origin::{self, Find};
use super::server_limits::ServerLimits;
use crate::subject::{self, Transform, TransformError};

const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 4 << 10;
const MAX_METADATA: usize = 128 << 10;
const MAX_REPLICAS: i64 = 5;
const DUPLICATE_WINDOW: i64 = 120_000_000_000;
const SHORTEST: i64 = 100_000_000;
const SECOND: i64 = 1_000_000_000;

/// Fills in defaults and checks a configuration, with what the server allows and those of the other streams that `find`
/// knows. With `pedantic`, values that would be corrected are refused.
pub fn check(config: &mut StreamConfig, pedantic: bool, server: &ServerLimits, find: Find<'_>) -> Result<(), ApiError> {
    check_names(config)?;
    set_limits(config, pedantic)?;
    check_times(config, pedantic, server)?;
    if config.deny_purge && config.allow_rollup_hdrs {
        return Err(ApiError::config("roll-ups require the purge permission"));
    }
    check_features(config, pedantic)?;
    origin::check(config, pedantic, find)?;
    check_subjects(config)?;
    check_transform(config)?;
    check_republish(config, pedantic)?;
    if config.placement.as_ref().is_some_and(|placement| *placement == Default::default()) {
        config.placement = None;
    }
    if config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return Err(ApiError::config("preferred server not permitted in placement"));
    }
    if config.num_replicas > 1 {
        return Err(ApiError::new(500, 10074, "replicas > 1 not supported in non-clustered mode"));
    }
    config.set_static_metadata();
    Ok(())
}

/// What features ask of each other.
fn check_features(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    let refused = |text: &str| Err(ApiError::config(text));
    let discards_new = config.discard == Discard::New;
    if config.allow_msg_counter {
        if discards_new {
            return refused("counter stream cannot use discard new");
        }
        if config.allow_msg_ttl {
            return refused("counter stream cannot use message TTLs");
        }
        if config.allow_msg_schedules {
            return refused("counter stream cannot use message schedules");
        }
        if config.retention != Retention::Limits {
            return refused("counter stream can only use limits retention");
        }
    }
    if config.discard_new_per_subject {
        if !discards_new {
            return refused("discard new per subject requires discard new policy to be set");
        }
        if config.max_msgs_per_subject <= 0 {
            return refused("discard new per subject requires max msgs per subject > 0");
        }
    }
    if config.subject_delete_marker_ttl < 0 {
        return refused("subject delete marker TTL must not be negative");
    }
    if config.subject_delete_marker_ttl > 0 {
        if config.subject_delete_marker_ttl < SECOND {
            return refused("subject delete marker TTL must be at least 1 second");
        }
        if pedantic && !config.allow_msg_ttl {
            return refused("subject delete marker cannot be set if message TTLs are disabled");
        }
        config.allow_msg_ttl = true;
        if !config.allow_rollup_hdrs {
            if pedantic {
                return refused("subject delete marker cannot be set if roll-ups are disabled");
            }
            (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
        }
    }
    if config.allow_msg_schedules {
        if discards_new {
            return refused("message scheduling cannot use discard new");
        }
        if !config.allow_rollup_hdrs {
            if pedantic {
                return refused("message scheduling cannot be set if roll-ups are disabled");
            }
            (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
        }
    }
    if config.persist_mode == PersistMode::Async {
        if config.storage != StorageType::File {
            return refused("async persist mode is only supported on file storage");
        }
        if config.num_replicas > 1 {
            return refused("async persist mode is not supported on replicated streams");
        }
        if config.allow_atomic {
            return refused("async persist mode is not supported with atomic batch publish");
        }
    }
    Ok(())
}

fn check_transform(config: &StreamConfig) -> Result<(), ApiError> {
    let Some(transform) = &config.subject_transform else { return Ok(()) };
    if !transform.source.is_empty() && !subject::is_valid(&transform.source) {
        let text = format!("stream transform source: {} {}", TransformError::BadSubject, transform.source);
        return Err(ApiError::new(400, 10155, text));
    }
    let checked = origin::validate_mapping(transform);
    checked.map_err(|error| ApiError::new(400, 10156, format!("stream transform: {error}")))
}

fn check_republish(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    let Some(republish) = &mut config.republish else { return Ok(()) };
    if republish.source.is_empty() {
        if pedantic {
            return Err(ApiError::pedantic("republish source can not be empty"));
        }
        republish.source.push('>');
    }
    // Everything to everything means what the transform makes of it, if that is a change for all that is captured.
    if let (Some(transform), [only]) = (&config.subject_transform, config.subjects.as_slice())
        && republish.source == ">"
        && republish.destination == ">"
        && transform.source == *only
    {
        if pedantic {
            return Err(ApiError::pedantic("implicit republish based on subject transform"));
        }
        republish.source.clone_from(&transform.destination);
        republish.destination.clone_from(&transform.destination);
    }
    if config.subjects.iter().any(|own| subject::overlap(&republish.destination, own)) {
        return Err(ApiError::config("stream configuration for republish destination forms a cycle"));
    }
    if Transform::new(&republish.source, &republish.destination).is_err() {
        let (from, to) = (&republish.source, &republish.destination);
        let text = format!("stream configuration for republish with transform from '{from}' to '{to}' not valid");
        return Err(ApiError::config(text));
    }
    Ok(())
}

/// Checks the name of a stream to be, as it stands in the subject of a request.
///
/// # Errors
/// Part of it would be a folder.
pub(super) fn check_path(name: &str) -> Result<(), ApiError> {
    match name.contains(['\\', '/']) {
        true => Err(ApiError::new(400, 10128, "Stream name can not contain path separators")),
        false => Ok(()),
    }
}

fn check_names(config: &StreamConfig) -> Result<(), ApiError> {
    if !super::consumer::validate::is_valid_name(&config.name) {
        let text = r"stream name is required and can not contain '.', '*', '>', '\', '/'";
        return Err(ApiError::config(text));
    }
    if config.name.len() > MAX_NAME {
        return Err(ApiError::config(format!("stream name is too long, maximum allowed is {MAX_NAME}")));
    }
    if config.description.len() > MAX_DESCRIPTION {
        let text = format!("stream description is too long, maximum allowed is {MAX_DESCRIPTION}");
        return Err(ApiError::config(text));
    }
    if config.metadata.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_METADATA {
        return Err(ApiError::config(format!("stream metadata exceeds maximum size of {MAX_METADATA} bytes")));
    }
    Ok(())
}

fn set_limits(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    if config.num_replicas > MAX_REPLICAS {
        return Err(ApiError::config(format!("maximum replicas is {MAX_REPLICAS}")));
    }
    if config.num_replicas < 0 {
        return Err(ApiError::new(400, 10133, "replicas count cannot be negative"));
    }
    for (value, name) in [
        (&mut config.max_msgs, "max_msgs"),
        (&mut config.max_msgs_per_subject, "max_msgs_per_subject"),
        (&mut config.max_bytes, "max_bytes"),
        (&mut config.max_consumers, "max_consumers"),
    ] {
        if *value < -1 && pedantic {
            return Err(ApiError::pedantic(&format!("{name} must be set to -1")));
        }
        if *value <= 0 {
            *value = -1;
        }
    }
    if config.max_msg_size < -1 && pedantic {
        return Err(ApiError::pedantic("max_msg_size must be set to -1"));
    }
    if config.max_msg_size <= 0 {
        config.max_msg_size = -1;
    }
    Ok(())
}

fn check_times(config: &mut StreamConfig, pedantic: bool, server: &ServerLimits) -> Result<(), ApiError> {
    if config.max_age < 0 {
        return Err(ApiError::config("max age can not be negative"));
    }
    if config.max_age != 0 && config.max_age < SHORTEST {
        return Err(ApiError::config("max age needs to be >= 100ms"));
    }
    let captures = config.mirror.is_none() && config.sources.is_empty();
    let most = server.max_duplicate_window;
    if config.duplicate_window == 0 && captures {
        config.duplicate_window = DUPLICATE_WINDOW;
        if most > 0 && most < DUPLICATE_WINDOW {
            if pedantic {
                return Err(ApiError::pedantic("duplicate window limits are higher than current limits"));
            }
            config.duplicate_window = most;
        }
        if config.max_age != 0 && config.max_age < config.duplicate_window {
            if pedantic {
                return Err(ApiError::pedantic("duplicate window cannot be bigger than max age"));
            }
            config.duplicate_window = config.max_age;
        }
    }
    if config.duplicate_window < 0 {
        return Err(ApiError::config("duplicates window can not be negative"));
    }
    if config.max_age != 0 && config.duplicate_window > config.max_age {
        return Err(ApiError::config("duplicates window can not be larger then max age"));
    }
    if most > 0 && config.duplicate_window > most {
        let text = format!("duplicates window can not be larger then server limit of {}", GoDuration(most));
        return Err(ApiError::config(text));
    }
    if config.duplicate_window > 0 && config.duplicate_window < SHORTEST {
        return Err(ApiError::config("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    for (at, wanted) in config.subjects.iter().enumerate() {
        if !subject::is_valid(wanted) {
            return Err(ApiError::config("invalid subject"));
        }
        if wanted == ">" && !config.no_ack {
            return Err(ApiError::config("capturing all subjects requires no-ack to be true"));
        }
        if wanted == ">" && config.num_replicas != 1 {
            return Err(ApiError::config("capturing all subjects requires replicas of 1"));
        }
        if !config.no_ack {
            let reserved = ["$JS.>", "$JSC.>", "$NRG.>"].iter().any(|space| subject::overlap(wanted, space));
            if reserved && !subject::is_subset(wanted, "$JS.EVENT.>") {
                let text = "subjects that overlap with jetstream api require no-ack to be true";
                return Err(ApiError::config(text));
            }
            if subject::overlap(wanted, "$SYS.>") && !subject::is_subset(wanted, "$SYS.ACCOUNT.>") {
                let text = "subjects that overlap with system api require no-ack to be true";
                return Err(ApiError::config(text));
            }
        }
        if let Some(other) = config.subjects[at + 1..].iter().find(|other| subject::overlap(other, wanted)) {
            return Err(ApiError::config(format!("subject {wanted:?} overlaps with {other:?}")));
        }
    }
    Ok(())
}

/// Checks what an update changes, and adjusts a stream that is being sealed. `new` has passed [`check`].
pub fn check_update(old: &StreamConfig, new: &mut StreamConfig) -> Result<(), ApiError> {
    let refused = |text: &str| Err(ApiError::config(text));
    if new.name != old.name {
        return refused("stream configuration name must match original");
    }
    if new.storage != old.storage {
        return refused("stream configuration update can not change storage type");
    }
    if new.retention != old.retention && [old.retention, new.retention].contains(&Retention::WorkQueue) {
        return refused("stream configuration update can not change retention policy to/from workqueue");
    }
    if old.sealed && !new.sealed {
        return refused("stream configuration update can not unseal a sealed stream");
    }
    if old.deny_delete && !new.deny_delete {
        return refused("stream configuration update can not cancel deny message deletes");
    }
    if old.deny_purge && !new.deny_purge {
        return refused("stream configuration update can not cancel deny purge");
    }
    if new.mirror.is_some() && new.mirror != old.mirror {
        return Err(ApiError::new(400, 10055, "stream mirror configuration can not be updated"));
    }
    if old.allow_msg_ttl && !new.allow_msg_ttl {
        return refused("message TTL status can not be disabled");
    }
    if old.allow_msg_counter != new.allow_msg_counter {
        return refused("stream configuration update can not change message counter setting");
    }
    if old.allow_msg_schedules && !new.allow_msg_schedules {
        return refused("message schedules can not be disabled");
    }
    if old.persist_mode != new.persist_mode {
        return refused("stream configuration update can not change persist mode");
    }
    if new.sealed {
        new.max_age = 0;
        new.discard = Discard::New;
        (new.deny_delete, new.deny_purge, new.allow_rollup_hdrs) = (true, true, false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> StreamConfig {
        StreamConfig { name: "S".into(), subjects: vec!["s.>".into()], ..StreamConfig::default() }
    }

    fn refusal(mut config: StreamConfig) -> Option<(u16, String)> {
        check(&mut config, false, &ServerLimits::default(), &|_| None)
            .err()
            .map(|error| (error.err_code, error.description))
    }

    #[test]
    fn defaults_are_those_of_nats_server() {
        let mut config = StreamConfig { name: "S".into(), max_age: 1_000_000_000, ..StreamConfig::default() };
        check(&mut config, false, &ServerLimits::default(), &|_| None).expect("valid");
        assert_eq!((config.subjects.as_slice(), config.max_msgs, config.num_replicas), (&["S".to_owned()][..], -1, 1));
        assert_eq!(config.duplicate_window, 1_000_000_000);
    }

    #[test]
    fn each_mistake_has_its_text() {
        let subjects = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        for (config, code, text) in [
            (StreamConfig { name: "a.b".into(), ..base() }, 10052, "stream name is required"),
            (StreamConfig { num_replicas: 3, ..base() }, 10074, "replicas > 1"),
            (StreamConfig { num_replicas: -1, ..base() }, 10133, "replicas count"),
            (StreamConfig { max_age: 5, ..base() }, 10052, "max age needs"),
            (StreamConfig { subjects: subjects(&[">"]), ..base() }, 10052, "capturing all"),
            (StreamConfig { subjects: subjects(&["a", "a"]), ..base() }, 10052, "subject \"a\" overlaps"),
            (StreamConfig { subjects: subjects(&["a.*", "a.b"]), ..base() }, 10052, "subject \"a.*\" overlaps"),
            (
                StreamConfig { subjects: subjects(&["$JS.API.x"]), ..base() },
                10052,
                "subjects that overlap with jetstream",
            ),
            (
                StreamConfig { mirror: Some(super::super::origin::StreamSource::default()), ..base() },
                10034,
                "stream mirrors can not contain subjects",
            ),
            (StreamConfig { discard_new_per_subject: true, ..base() }, 10052, "discard new per subject requires"),
        ] {
            let found = refusal(config).expect(text);
            assert!(found.0 == code && found.1.starts_with(text), "{found:?} instead of {text}");
        }
    }

    #[test]
    fn what_is_denied_stays_denied() {
        let mut old = StreamConfig { deny_delete: true, ..base() };
        check(&mut old, false, &ServerLimits::default(), &|_| None).expect("valid");
        let mut new = StreamConfig { deny_delete: false, ..old.clone() };
        assert!(check_update(&old, &mut new).is_err());
        let mut sealed = StreamConfig { sealed: true, ..old.clone() };
        check_update(&old, &mut sealed).expect("may be sealed");
        assert!(sealed.deny_purge && sealed.discard == Discard::New);
    }
}
