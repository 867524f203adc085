//! Classes of traffic, and `[wan]`: what all uplinks together may send.

use super::schedule::Schedule;
use super::units::{ByteSize, Rate};
use serde::{Deserialize, Serialize};

/// How urgent an uplink's messages are: of those that share a link, the more urgent go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// What somebody has to know now.
    Alarm,
    /// What is the case: valves, modes, positions.
    State,
    /// Readings.
    #[default]
    Telemetry,
    /// What can wait: files, logs.
    Bulk,
}

impl Class {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Alarm => "alarm",
            Class::State => "state",
            Class::Telemetry => "telemetry",
            Class::Bulk => "bulk",
        }
    }
}

/// Whose midnight begins a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeZone {
    /// Greenwich's.
    #[default]
    Utc,
    /// The machine's, by `$TZ` or /etc/localtime.
    Local,
}

/// `[wan]`: limits of all uplinks together. What is absent is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WanConfig {
    /// Bytes a second, on average.
    pub rate: Option<Rate>,
    /// What may go at once after a pause. Default: what `rate` gives in a second.
    pub burst: Option<ByteSize>,
    /// Bytes a day. The last tenth is for alarms.
    pub daily: Option<ByteSize>,
    /// Bytes a calendar month. The last tenth is for alarms.
    pub monthly: Option<ByteSize>,
    /// When anything may go. Default: always.
    pub schedule: Option<Schedule>,
    /// Whose days, months and times of day these are, and those of the uplinks. Default: UTC.
    pub time: TimeZone,
}
