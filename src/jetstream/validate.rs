//! Defaults and checks of a stream's configuration, in nats-server's order and with its codes and texts
//! (`server/stream.go`, `checkStreamCfg`, `configUpdateCheck`).

use super::config::{Compression, Discard, PersistMode, Retention, StreamConfig};
use super::error::ApiError;
use crate::subject;

const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 4 << 10;
const MAX_METADATA: usize = 128 << 10;
const MAX_REPLICAS: i64 = 5;
const DUPLICATE_WINDOW: i64 = 120_000_000_000;
const SHORTEST: i64 = 100_000_000;

/// Fills in defaults and checks a configuration by itself. With `pedantic`, values that would be corrected are refused.
pub fn check(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    check_names(config)?;
    set_limits(config, pedantic)?;
    check_times(config, pedantic)?;
    if config.deny_purge && config.allow_rollup_hdrs {
        return Err(ApiError::config("roll-ups require the purge permission"));
    }
    if config.discard_new_per_subject {
        if config.discard != Discard::New {
            return Err(ApiError::config("discard new per subject requires discard new policy to be set"));
        }
        if config.max_msgs_per_subject <= 0 {
            return Err(ApiError::config("discard new per subject requires max msgs per subject > 0"));
        }
    }
    check_supported(config)?;
    check_subjects(config)?;
    if config.num_replicas > 1 {
        return Err(ApiError::new(500, 10074, "replicas > 1 not supported in non-clustered mode"));
    }
    if config.placement.as_ref().is_some_and(|p| p.as_object().is_some_and(|fields| fields.is_empty())) {
        config.placement = None;
    }
    config.set_static_metadata();
    Ok(())
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
        (&mut config.max_msg_size, "max_msg_size"),
        (&mut config.max_consumers, "max_consumers"),
    ] {
        if *value < -1 && pedantic {
            return Err(ApiError::pedantic(&format!("{name} must be set to -1")));
        }
        if *value <= 0 {
            *value = -1;
        }
    }
    Ok(())
}

fn check_times(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.max_age < 0 {
        return Err(ApiError::config("max age can not be negative"));
    }
    if config.max_age != 0 && config.max_age < SHORTEST {
        return Err(ApiError::config("max age needs to be >= 100ms"));
    }
    if config.duplicate_window == 0 {
        config.duplicate_window = DUPLICATE_WINDOW;
        if config.max_age != 0 && config.max_age < DUPLICATE_WINDOW {
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
    if config.duplicate_window < SHORTEST {
        return Err(ApiError::config("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

/// What nats-server does and leafd does not do yet is refused by name rather than ignored.
fn check_supported(config: &StreamConfig) -> Result<(), ApiError> {
    for (wanted, what) in [
        (config.mirror.is_some(), "mirror"),
        (!config.sources.is_empty(), "sources"),
        (config.compression != Compression::None, "compression s2"),
        (config.subject_transform.is_some(), "subject_transform"),
        (config.republish.is_some(), "republish"),
        (config.subject_delete_marker_ttl != 0, "subject_delete_marker_ttl"),
        (config.allow_msg_counter, "allow_msg_counter"),
        (config.allow_atomic, "allow_atomic"),
        (config.allow_msg_schedules, "allow_msg_schedules"),
        (config.persist_mode == PersistMode::Async, "persist_mode async"),
        (config.allow_batched, "allow_batched"),
    ] {
        if wanted {
            return Err(ApiError::not_supported(what));
        }
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        config.subjects.push(config.name.clone());
        return Ok(());
    }
    for (at, wanted) in config.subjects.iter().enumerate() {
        if !subject::is_valid(wanted) {
            return Err(ApiError::config("invalid subject"));
        }
        if config.subjects[..at].contains(wanted) {
            return Err(ApiError::config("duplicate subjects detected"));
        }
        if wanted == ">" && !config.no_ack {
            return Err(ApiError::config("capturing all subjects requires no-ack to be true"));
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
        if let Some(other) =
            config.subjects[at + 1..].iter().find(|other| *other != wanted && subject::overlap(other, wanted))
        {
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
        check(&mut config, false).err().map(|error| (error.err_code, error.description))
    }

    #[test]
    fn defaults_are_those_of_nats_server() {
        let mut config = StreamConfig { name: "S".into(), max_age: 1_000_000_000, ..StreamConfig::default() };
        check(&mut config, false).expect("valid");
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
            (StreamConfig { subjects: subjects(&["a", "a"]), ..base() }, 10052, "duplicate subjects"),
            (StreamConfig { subjects: subjects(&["a.*", "a.b"]), ..base() }, 10052, "subject \"a.*\" overlaps"),
            (
                StreamConfig { subjects: subjects(&["$JS.API.x"]), ..base() },
                10052,
                "subjects that overlap with jetstream",
            ),
            (
                StreamConfig { mirror: Some(serde_json::json!({"name": "O"})), ..base() },
                10052,
                "mirror is not supported",
            ),
            (StreamConfig { compression: Compression::S2, ..base() }, 10052, "compression s2 is not"),
            (StreamConfig { discard_new_per_subject: true, ..base() }, 10052, "discard new per subject requires"),
        ] {
            let found = refusal(config).expect(text);
            assert!(found.0 == code && found.1.starts_with(text), "{found:?} instead of {text}");
        }
    }

    #[test]
    fn what_is_denied_stays_denied() {
        let mut old = StreamConfig { deny_delete: true, ..base() };
        check(&mut old, false).expect("valid");
        let mut new = StreamConfig { deny_delete: false, ..old.clone() };
        assert!(check_update(&old, &mut new).is_err());
        let mut sealed = StreamConfig { sealed: true, ..old.clone() };
        check_update(&old, &mut sealed).expect("may be sealed");
        assert!(sealed.deny_purge && sealed.discard == Discard::New);
    }
}
