//! `[limits]`, and what other tables share with it.

use crate::config::LimitsConfig;
use crate::config::units::{ByteSize, Duration};

/// The most that `max_payload` may be, as in nats-server (`MAX_PAYLOAD_MAX_SIZE` in `server/const.go`).
const MAX_PAYLOAD: ByteSize = ByteSize(64 << 20);

pub(super) fn check(limits: &LimitsConfig, errors: &mut Vec<String>) {
    for (key, size) in [
        ("max_payload", limits.max_payload),
        ("max_control_line", limits.max_control_line),
        ("max_pending", limits.max_pending),
    ] {
        if size.0 == 0 {
            errors.push(format!("limits.{key} must be at least 1"));
        }
    }
    if limits.max_payload > MAX_PAYLOAD {
        errors.push(format!("limits.max_payload is {}; at most {MAX_PAYLOAD} are possible", limits.max_payload));
    }
    if limits.max_payload > limits.max_pending {
        errors.push("limits.max_payload is above limits.max_pending: such a message could never be delivered".into());
    }
    if limits.max_connections == 0 {
        errors.push("limits.max_connections must be at least 1".into());
    }
    if limits.ping_max == 0 {
        errors.push("limits.ping_max must be at least 1".into());
    }
    positive("limits.ping_interval", limits.ping_interval, errors);
    positive("limits.write_deadline", limits.write_deadline, errors);
}

/// A time that cannot be zero.
pub(super) fn positive(what: &str, duration: Duration, errors: &mut Vec<String>) {
    if duration.0.is_zero() {
        errors.push(format!("{what} must be longer than 0"));
    }
}
