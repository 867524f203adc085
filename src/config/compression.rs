//! `compression` of a leaf connection: nats-server's modes of S2 (`server.go`, `validateAndNormalizeCompressionOption`).

use super::units::Duration as Written;
use serde::Deserialize;
use std::time::Duration;

/// Most thresholds of round trips: one a level.
const MAX_THRESHOLDS: usize = 4;

/// How one side compresses, and whether it does at all. The two sides agree on the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionMode {
    /// Never, and it is not spoken of.
    NotSupported,
    /// Never.
    Off,
    /// If the other side wants to, as it does.
    Accept,
    /// By the round trip: the longer, the better.
    Auto,
    /// At a fixed level.
    Level(CompressionLevel),
}

/// How much is done to make it smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CompressionLevel {
    /// Framed and checksummed only.
    Uncompressed,
    /// The least processor time.
    Fast,
    /// Smaller.
    Better,
    /// The smallest; takes several megabytes of memory.
    Best,
}

impl CompressionLevel {
    /// All of them, the least first.
    pub const ALL: [CompressionLevel; 4] = [Self::Uncompressed, Self::Fast, Self::Better, Self::Best];

    /// Its name in INFO and CONNECT.
    pub fn name(self) -> &'static str {
        CompressionMode::Level(self).name()
    }
}

impl CompressionMode {
    /// Its name in INFO and CONNECT.
    pub fn name(self) -> &'static str {
        match self {
            CompressionMode::NotSupported => "not supported",
            CompressionMode::Off => "off",
            CompressionMode::Accept => "accept",
            CompressionMode::Auto => "s2_auto",
            CompressionMode::Level(CompressionLevel::Uncompressed) => "s2_uncompressed",
            CompressionMode::Level(CompressionLevel::Fast) => "s2_fast",
            CompressionMode::Level(CompressionLevel::Better) => "s2_better",
            CompressionMode::Level(CompressionLevel::Best) => "s2_best",
        }
    }

    /// Reads what people write, as nats-server does.
    pub fn parse(text: &str) -> Option<CompressionMode> {
        Some(match &*text.to_ascii_lowercase() {
            "not supported" | "not_supported" => CompressionMode::NotSupported,
            "off" | "disabled" | "false" => CompressionMode::Off,
            "accept" => CompressionMode::Accept,
            "auto" | "s2_auto" | "on" | "enabled" | "true" => CompressionMode::Auto,
            "s2_uncompressed" => CompressionMode::Level(CompressionLevel::Uncompressed),
            "fast" | "s2_fast" => CompressionMode::Level(CompressionLevel::Fast),
            "better" | "s2_better" => CompressionMode::Level(CompressionLevel::Better),
            "best" | "s2_best" => CompressionMode::Level(CompressionLevel::Best),
            _ => return None,
        })
    }
}

/// `compression`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Text")]
pub struct Compression {
    /// What is done.
    pub mode: CompressionMode,
    /// With [`CompressionMode::Auto`]: up to which round trip each level is used, the least first; zero leaves a level out.
    pub rtt_thresholds: Vec<Duration>,
}

impl Compression {
    /// A mode with the usual thresholds.
    pub fn of(mode: CompressionMode) -> Compression {
        Compression { mode, rtt_thresholds: [10, 50, 100].map(Duration::from_millis).to_vec() }
    }

    /// The level for a round trip (`selectS2AutoModeBasedOnRTT`).
    pub fn level_for(&self, rtt: Duration) -> CompressionLevel {
        let limits = &self.rtt_thresholds;
        let at = limits.iter().position(|limit| rtt <= *limit).unwrap_or(match limits.len() {
            known @ 0..=2 => known.saturating_sub(1),
            _ => 3,
        });
        CompressionLevel::ALL[at.min(3)]
    }
}

impl Default for Compression {
    fn default() -> Self {
        Compression::of(CompressionMode::Auto)
    }
}

/// As it is written: only the mode, or a table.
#[derive(Deserialize)]
#[serde(untagged, expecting = "compression is a mode such as \"s2_auto\", or { mode = ..., rtt_thresholds = [...] }")]
enum Text {
    Flag(bool),
    Mode(String),
    Table(TableText),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableText {
    mode: String,
    #[serde(default)]
    rtt_thresholds: Vec<Written>,
}

impl TryFrom<Text> for Compression {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let (mode, thresholds) = match text {
            Text::Flag(on) => (on.to_string(), Vec::new()),
            Text::Mode(mode) => (mode, Vec::new()),
            Text::Table(table) => (table.mode, table.rtt_thresholds),
        };
        let parsed = CompressionMode::parse(&mode).ok_or_else(|| {
            format!(
                "{mode:?} is no compression mode; use off, accept, s2_auto, s2_uncompressed, s2_fast, s2_better or s2_best"
            )
        })?;
        let mut compression = Compression::of(parsed);
        if parsed == CompressionMode::Auto && !thresholds.is_empty() {
            compression.rtt_thresholds = ordered(thresholds.iter().map(|t| t.0).collect())?;
        }
        Ok(compression)
    }
}

/// Thresholds as they can be used: ascending but for zeros, without zeros at the end.
fn ordered(mut thresholds: Vec<Duration>) -> Result<Vec<Duration>, String> {
    let used: Vec<_> = thresholds.iter().filter(|t| !t.is_zero()).collect();
    if !used.is_sorted() {
        return Err(format!("the rtt_thresholds {thresholds:?} must be in ascending order"));
    }
    let end = thresholds.iter().rposition(|t| !t.is_zero()).map_or(0, |at| at + 1);
    thresholds.truncate(end);
    match thresholds.len() {
        0 => Err("rtt_thresholds needs at least one that is not zero".into()),
        1..=MAX_THRESHOLDS => Ok(thresholds),
        n => Err(format!("{n} rtt_thresholds, and there are {MAX_THRESHOLDS} levels")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CompressionLevel::*;

    fn read(value: &str) -> Result<Compression, String> {
        #[derive(Deserialize)]
        struct Document {
            compression: Compression,
        }
        toml::from_str::<Document>(&format!("compression = {value}")).map(|d| d.compression).map_err(|e| e.to_string())
    }

    #[test]
    fn modes_as_people_write_them() {
        for (text, mode) in [
            ("\"off\"", CompressionMode::Off),
            ("false", CompressionMode::Off),
            ("true", CompressionMode::Auto),
            ("\"S2_Best\"", CompressionMode::Level(Best)),
            ("{ mode = \"fast\" }", CompressionMode::Level(Fast)),
            ("\"accept\"", CompressionMode::Accept),
        ] {
            assert_eq!(read(text).map(|c| c.mode), Ok(mode), "{text}");
        }
        for (text, why) in [
            ("\"zip\"", "no compression mode"),
            ("{ mode = \"auto\", rtt_thresholds = [\"5ms\", \"1ms\"] }", "ascending"),
            ("{ mode = \"auto\", rtt_thresholds = [\"0s\"] }", "at least one"),
            ("{ mode = \"auto\", rtt_thresholds = [\"1s\", \"2s\", \"3s\", \"4s\", \"5s\"] }", "4 levels"),
        ] {
            assert!(read(text).is_err_and(|e| e.contains(why)), "{text}");
        }
    }

    #[test]
    fn levels_by_the_round_trip() {
        let ms = Duration::from_millis;
        let usual = Compression::default();
        for (rtt, level) in [(1, Uncompressed), (10, Uncompressed), (11, Fast), (51, Better), (101, Best)] {
            assert_eq!(usual.level_for(ms(rtt)), level, "{rtt} ms");
        }
        let some =
            read("{ mode = \"auto\", rtt_thresholds = [\"0s\", \"0s\", \"20ms\", \"30ms\", \"0s\"] }").expect("valid");
        for (rtt, level) in [(0, Uncompressed), (1, Better), (21, Best), (31, Best)] {
            assert_eq!(some.level_for(ms(rtt)), level, "{rtt} ms");
        }
        let one = read("{ mode = \"auto\", rtt_thresholds = [\"5ms\"] }").expect("valid");
        assert_eq!(one.level_for(ms(500)), Uncompressed);
    }
}
