//! Values with units, as people write them: `"10s"`, `"250ms"`, `"1.5h"`; `"64MB"`, `"4KiB"`, `4096`.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;

/// A length of time: a string with unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`; several may follow each other, as in `1h30m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub std::time::Duration);

/// A number of bytes: an integer, or a string with unit (`B`, `KB`, `MB`, `GB`, `TB`, also `KiB` and so on). As in
/// nats-server, all of them count in steps of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// An amount of memory: a [`ByteSize`], or a string such as `"75%"`, a part of what the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths, 1 to 100.
    Percent(u8),
}

/// Bytes a second: a string such as `"50kbit/s"` (steps of 1000), `"6KB/s"` or `"1.5MB/s"` (steps of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// Splits a leading decimal number (with fraction) from what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

impl Duration {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Duration> {
        let mut rest = text.trim();
        let mut total = 0.0;
        while !rest.is_empty() {
            let (n, after) = number(rest)?;
            let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(end);
            total += n * match unit {
                "ns" => 1e-9,
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
            rest = next.trim_start();
        }
        (!text.trim().is_empty()).then_some(())?;
        std::time::Duration::try_from_secs_f64(total).ok().map(Duration)
    }
}

impl ByteSize {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<ByteSize> {
        let (n, unit) = number(text.trim())?;
        let power = match unit.to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
            "" => 0,
            "K" => 1,
            "M" => 2,
            "G" => 3,
            "T" => 4,
            _ => return None,
        };
        let bytes = n * 1024f64.powi(power);
        (bytes < u64::MAX as f64).then_some(ByteSize(bytes as u64))
    }

    /// As the machine's word.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl MemorySize {
    /// In bytes, on a machine that has `all`.
    pub fn of(self, all: u64) -> u64 {
        match self {
            MemorySize::Bytes(size) => size.0,
            MemorySize::Percent(percent) => (u128::from(all) * u128::from(percent) / 100) as u64,
        }
    }

    fn parse(text: &str) -> Option<MemorySize> {
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(MemorySize::Percent)
            }
            None => ByteSize::parse(text).map(MemorySize::Bytes),
        }
    }
}

impl Rate {
    /// Reads the written form.
    pub fn parse(text: &str) -> Option<Rate> {
        let amount = text.trim().strip_suffix("/s")?.trim_end();
        if let Some(bits) = amount.strip_suffix("bit") {
            let (n, prefix) = number(bits)?;
            let power = match prefix {
                "" => 0,
                "k" | "K" => 1,
                "M" => 2,
                "G" => 3,
                _ => return None,
            };
            return Some(Rate((n * 1000f64.powi(power) / 8.0) as u64));
        }
        ByteSize::parse(amount).map(|bytes| Rate(bytes.0))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut n, mut unit) = (self.0 as f64, "B");
        for next in ["KB", "MB", "GB", "TB"] {
            if n < 1024.0 {
                break;
            }
            (n, unit) = (n / 1024.0, next);
        }
        if n.fract() == 0.0 { write!(f, "{n} {unit}") } else { write!(f, "{n:.1} {unit}") }
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with unit, such as \"10s\" or \"250ms\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                Duration::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Written)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let expected = "a rate, such as \"50kbit/s\" or \"6KB/s\"";
        Rate::parse(&text).ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as 4096 or \"64MB\"")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<ByteSize, E> {
                u64::try_from(n).map(ByteSize).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(n))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl<'de> Deserialize<'de> for MemorySize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = MemorySize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, such as 4096 or \"64MB\", or a part of the memory, \"1%\" to \"100%\"")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<MemorySize, E> {
                let bytes = u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))?;
                Ok(MemorySize::Bytes(ByteSize(bytes)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<MemorySize, E> {
                MemorySize::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("10s", 10_000), ("250ms", 250), ("1h30m", 5_400_000), ("1.5s", 1500), ("2 m", 120_000)]
        {
            assert_eq!(Duration::parse(text), Some(Duration(std::time::Duration::from_millis(millis))), "{text}");
        }
        for bad in ["", "10", "s", "10 fortnights", "-1s"] {
            assert_eq!(Duration::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rates() {
        for (text, bytes) in
            [("50kbit/s", 6250), ("6KB/s", 6144), ("1.5 Mbit/s", 187_500), ("800bit/s", 100), ("9/s", 9)]
        {
            assert_eq!(Rate::parse(text), Some(Rate(bytes)), "{text}");
        }
        for bad in ["", "50kbit", "6KB", "x/s", "1Tbit/s"] {
            assert_eq!(Rate::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_of_the_memory() {
        for (text, bytes) in [("64MB", 64 << 20), ("75%", 3 << 20), ("100%", 4 << 20)] {
            assert_eq!(MemorySize::parse(text).map(|size| size.of(4 << 20)), Some(bytes), "{text}");
        }
        assert_eq!(MemorySize::Percent(100).of(u64::MAX), u64::MAX);
        for bad in ["", "%", "0%", "101%", "-1%", "75%%", "MB"] {
            assert_eq!(MemorySize::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4KB", 4096), ("1MiB", 1 << 20), ("1.5 GB", 3 << 29), ("7b", 7)] {
            assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "MB", "4 XB", "99999999999TB"] {
            assert_eq!(ByteSize::parse(bad), None, "{bad}");
        }
        assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GB");
    }
}
