//! `[[uplink]]` and `[wan]`.

use super::limits;
use crate::account::GLOBAL_ACCOUNT;
use crate::config::Config;
use crate::config::units::{ByteSize, Rate};
use crate::config::uplink::{DrainOrder, OnFull};
use crate::subject;

/// What no uplink may take in. Replies are its own acknowledgements too: it would store and forward those for ever.
const RESERVED: [(&str, &str); 6] = [
    ("_INBOX.>", "where replies go"),
    ("_R_.>", "where replies to other accounts go"),
    ("$JS.>", "which is JetStream's own"),
    ("$JSC.>", "which is JetStream's own"),
    ("$NRG.>", "which is JetStream's own"),
    ("$SYS.>", "which is the system's own"),
];
/// What it may take in of that.
const OPEN: [&str; 2] = ["$JS.EVENT.>", "$SYS.ACCOUNT.>"];

pub(super) fn check(config: &Config, errors: &mut Vec<String>) {
    let wan = &config.wan;
    traffic("[wan]", wan.rate, &[("daily", wan.daily), ("monthly", wan.monthly), ("burst", wan.burst)], errors);
    for (at, uplink) in config.uplink.iter().enumerate() {
        let what = format!("[[uplink]] {:?}", uplink.name);
        let origins = [!uplink.subjects.is_empty(), uplink.kv.is_some(), uplink.object.is_some()];
        if origins.iter().filter(|set| **set).count() != 1 {
            errors.push(format!("{what}: needs one of subjects, kv and object"));
        }
        if uplink.kv.iter().chain(&uplink.object).any(|name| !bucket(name)) {
            errors.push(format!("{what}: a bucket is a name of letters, digits, '-' and '_'"));
        }
        if uplink.subjects.is_empty() && (uplink.gap_subject.is_some() || uplink.on_full != OnFull::Reject) {
            errors.push(format!(
                "{what}: on_full and gap_subject mean nothing with a bucket, which has limits of its own"
            ));
        }
        if uplink.order != DrainOrder::Oldest && uplink.subjects.is_empty() {
            errors.push(format!("{what}: a bucket's changes have an order of their own; order has to be \"oldest\""));
        }
        if uplink.order != DrainOrder::Oldest && uplink.on_full == OnFull::Thin {
            errors.push(format!("{what}: on_full = \"thin\" needs order = \"oldest\""));
        }
        super::subjects(&format!("{what} subjects"), &uplink.subjects, errors);
        for subject in &uplink.subjects {
            if OPEN.iter().any(|open| subject::is_subset(subject, open)) {
                continue;
            }
            if let Some((own, whose)) = RESERVED.iter().find(|(own, _)| subject::overlap(subject, own)) {
                errors.push(format!("{what} subjects: {subject:?} takes in {own}, {whose}; name what is to be stored"));
            }
        }
        if config.remote_of(uplink).is_none() {
            errors.push(match &uplink.remote {
                Some(name) => format!("{what}: there is no [[leaf.remote]] named {name:?}"),
                None => format!("{what}: remote is needed, as there is not exactly one [[leaf.remote]]"),
            });
        }
        if let Some(remote) = config.remote_of(uplink).filter(|remote| remote.account != GLOBAL_ACCOUNT) {
            errors.push(format!(
                "{what}: its remote {:?} is of account {:?}; an uplink needs one of {GLOBAL_ACCOUNT}",
                remote.name, remote.account
            ));
        }
        if !config.jetstream.enabled {
            errors.push(format!("{what}: needs [jetstream] enabled = true"));
        }
        if uplink.window == 0 {
            errors.push(format!("{what}: window must be at least 1"));
        }
        let limits = [("daily", uplink.daily), ("monthly", uplink.monthly), ("burst", uplink.burst)];
        traffic(&what, uplink.rate, &limits, errors);
        if uplink.keep_every < 2 {
            errors.push(format!("{what}: keep_every is at least 2"));
        }
        if uplink.gap_subject.as_ref().is_some_and(|gap| !subject::is_valid_literal(gap)) {
            errors.push(format!("{what}: gap_subject is a subject without wildcards"));
        }
        let captured = uplink.captured();
        if uplink.batch > 1000 {
            errors.push(format!("{what}: batch is at most 1000, which is what the hub takes"));
        }
        limits::positive(&format!("{what} status_interval"), uplink.status_interval, errors);
        if uplink.status_bucket.as_ref().is_some_and(|name| !bucket(name)) {
            errors.push(format!("{what}: status_bucket is a name of letters, digits, '-' and '_'"));
        }
        limits::positive(&format!("{what} ack_timeout"), uplink.ack_timeout, errors);
        for (at, a) in captured.iter().enumerate() {
            if let Some(b) = captured[..at].iter().find(|b| subject::overlap(a, b)) {
                errors.push(format!("{what}: {a:?} overlaps {b:?}; a message may match only one of them"));
            }
        }
        for other in &config.uplink[..at] {
            if other.stream() == uplink.stream() {
                errors.push(format!(
                    "{what}: its stream would be {}, as that of [[uplink]] {:?}",
                    uplink.stream(),
                    other.name
                ));
            }
            let others = other.captured();
            for (a, b) in captured.iter().flat_map(|a| others.iter().map(move |b| (a, b))) {
                if subject::overlap(a, b) {
                    errors.push(format!("{what}: {a:?} overlaps {b:?} of [[uplink]] {:?}", other.name));
                }
            }
        }
    }
}

/// Whether a key-value bucket or an object store may be called `name`.
pub(super) fn bucket(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// Limits that would let nothing through, or have no effect.
fn traffic(what: &str, rate: Option<Rate>, limits: &[(&str, Option<ByteSize>)], errors: &mut Vec<String>) {
    if rate.is_some_and(|rate| rate.0 == 0) {
        errors.push(format!("{what} rate must be at least a byte a second"));
    }
    for (key, limit) in limits {
        if limit.is_some_and(|limit| limit.0 == 0) {
            errors.push(format!("{what} {key} must be at least 1; without it there is no limit"));
        }
        if *key == "burst" && limit.is_some() && rate.is_none() {
            errors.push(format!("{what} burst means nothing without rate"));
        }
    }
}
