//! From where and at what time of day a user may be connected (nats-server `jwt.go`, `validateSrc`, `validateTimes`).

use super::claims::{TimeRange, UserLimits};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// For how long a user with these limits may be connected from `now` on; `Some(None)`: as long as it likes, `None`: not
/// at all.
///
/// Hours are those of UTC, on which gateways run; a user with another time zone is not let in, as leafd carries no data
/// about time zones.
pub fn valid_for(limits: &UserLimits, from: IpAddr, now: SystemTime) -> Option<Option<Duration>> {
    if !limits.src.is_empty() && !limits.src.iter().any(|network| contains(network, from)) {
        return None;
    }
    if limits.times.is_empty() {
        return Some(None);
    }
    if !matches!(&*limits.times_location, "" | "UTC" | "Etc/UTC" | "GMT") {
        tracing::warn!("a user JWT has hours in {:?}; only UTC is known", limits.times_location);
        return None;
    }
    let second = now.duration_since(UNIX_EPOCH).ok()?.as_secs() % DAY;
    let left = limits.times.iter().filter_map(|range| left(range, second)).max()?;
    Some(Some(Duration::from_secs(left)))
}

/// Seconds until the end of `range`, if `second` of the day lies in it.
fn left(range: &TimeRange, second: u64) -> Option<u64> {
    let (start, end) = (second_of_day(&range.start)?, second_of_day(&range.end)?);
    let over_midnight = start > end;
    if second < end && (start < second || over_midnight) {
        Some(end - second)
    } else {
        (over_midnight && start < second).then(|| DAY + end - second)
    }
}

/// `15:04:05` as seconds.
fn second_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok().filter(|_| part.len() <= 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    (parts.next().is_none() && hour < 24 && minute < 60 && second < 60).then(|| hour * 3600 + minute * 60 + second)
}

/// Whether `address` lies in `network` (`10.0.0.0/8`, `fd00::/8`).
fn contains(network: &str, address: IpAddr) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let shift = |width: u32| width.checked_sub(bits);
    match (base, address.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            shift(32).is_some_and(|shift| (u32::from(base) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => shift(128)
            .is_some_and(|shift| (u128::from(base) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(src: &[&str], times: &[(&str, &str)]) -> UserLimits {
        let range = |(start, end): &(&str, &str)| TimeRange { start: (*start).into(), end: (*end).into() };
        UserLimits {
            src: src.iter().map(|s| s.to_string()).collect(),
            times: times.iter().map(range).collect(),
            ..UserLimits::default()
        }
    }

    #[test]
    fn networks() {
        for (network, address, want) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/33", "10.0.0.1", false),
            ("nonsense", "10.0.0.1", false),
        ] {
            assert_eq!(contains(network, address.parse().expect("an address")), want, "{network} {address}");
        }
        let nobody = valid_for(&limits(&["10.0.0.0/8"], &[]), "127.0.0.1".parse().expect("an address"), UNIX_EPOCH);
        assert_eq!(nobody, None);
    }

    #[test]
    fn hours() {
        let at = |hour: u64| UNIX_EPOCH + Duration::from_secs(DAY * 3 + hour * 3600);
        let address = "127.0.0.1".parse().expect("an address");
        let hours = |times: &[(&str, &str)], hour| {
            valid_for(&limits(&[], times), address, at(hour)).map(|left| left.map(|left| left.as_secs() / 3600))
        };
        assert_eq!(hours(&[], 5), Some(None));
        assert_eq!(hours(&[("08:00:00", "17:00:00")], 9), Some(Some(8)));
        assert_eq!(hours(&[("08:00:00", "17:00:00")], 18), None);
        assert_eq!(hours(&[("22:00:00", "06:00:00")], 23), Some(Some(7)));
        assert_eq!(hours(&[("22:00:00", "06:00:00")], 5), Some(Some(1)));
        assert_eq!(hours(&[("22:00:00", "06:00:00")], 12), None);
        assert_eq!(hours(&[("01:00:00", "25:00:00")], 12), None);
        let elsewhere =
            UserLimits { times_location: "Europe/Berlin".into(), ..limits(&[], &[("00:00:00", "23:00:00")]) };
        assert_eq!(valid_for(&elsewhere, address, at(12)), None);
    }
}
