//! Times as nats-server writes them.

pub(super) use crate::events::timestamp as time;
use std::time::Duration;

/// Writes a number as Go does, where a whole one has no fraction.
pub(super) fn number<S: serde::Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => serializer.serialize_i64(*number as i64),
        false => serializer.serialize_f64(*number),
    }
}

/// A short duration as Go writes it: `499µs`, `1.5ms`, `2s`; from a minute on it is written in seconds.
pub(super) fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let (unit, name) = match nanos {
        0 => return "0s".into(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    // Go cuts a round trip below a millisecond to whole microseconds, as `getRTT` does.
    let nanos = if unit == 1_000 { nanos / 1_000 * 1_000 } else { nanos };
    let number = format!("{}.{:09}", nanos / unit, nanos % unit * (1_000_000_000 / unit));
    format!("{}{name}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// How long something lasts, as nats-server writes it: `1d2h3m4s`.
pub(super) fn uptime(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (s, m, h, d) = (seconds % 60, seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
    match (d / 365, d, h, m) {
        (0, 0, 0, 0) => format!("{s}s"),
        (0, 0, 0, _) => format!("{m}m{s}s"),
        (0, 0, _, _) => format!("{h}h{m}m{s}s"),
        (0, ..) => format!("{d}d{h}h{m}m{s}s"),
        (years, ..) => format!("{years}y{}d{h}h{m}m{s}s", d % 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    pub(super) fn uptimes_as_nats_server_writes_them() {
        for (seconds, text) in
            [(0, "0s"), (61, "1m1s"), (3_600, "1h0m0s"), (90_061, "1d1h1m1s"), (366 * 86_400, "1y1d0h0m0s")]
        {
            assert_eq!(uptime(Duration::from_secs(seconds)), text);
        }
    }
}
