//! `[[adapter.serial]]` and `[[adapter.mqtt]]`: where readings come from.

use super::secret::Secret;
use serde::Deserialize;

/// `[adapter]`: all adapters by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptersConfig {
    /// Serial devices.
    pub serial: Vec<SerialConfig>,
    /// MQTT brokers.
    pub mqtt: Vec<MqttConfig>,
}

/// One serial device. Each frame it sends becomes a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialConfig {
    /// Name in status and logs.
    pub name: String,
    /// Device file; a `/dev/serial/by-id/` path survives re-plugging.
    pub port: String,
    /// Bits per second. Default: 9600.
    #[serde(default = "baud")]
    pub baud: u32,
    /// 5 to 8. Default: 8.
    #[serde(default = "data_bits")]
    pub data_bits: u8,
    /// Default: none.
    #[serde(default)]
    pub parity: Parity,
    /// 1 or 2. Default: 1.
    #[serde(default = "stop_bits")]
    pub stop_bits: u8,
    /// How frames are told apart. Default: newline.
    #[serde(default)]
    pub framing: Framing,
    /// Longest frame in bytes; a longer one is dropped and counted. Default: 512.
    #[serde(default = "max_length")]
    pub max_length: usize,
    /// Subject of the readings; `{gateway}` and `{name}` are filled in.
    pub subject: String,
    /// Subject whose messages are written to the device. Default: none.
    #[serde(default)]
    pub command: Option<String>,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// No parity bit.
    #[default]
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

/// How frames are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Each ends with a line feed; a carriage return before it is dropped.
    #[default]
    Newline,
}

/// One MQTT broker. Each message of the topics becomes a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// Name in status and logs.
    pub name: String,
    /// `mqtt://host:port`.
    pub url: String,
    /// The session that the broker keeps for us. Default: `leafd-<gateway>-<name>`.
    #[serde(default)]
    pub client_id: Option<String>,
    /// User name.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of `user`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// What to subscribe to.
    pub topics: Vec<MqttTopic>,
    /// Subject of the readings; `{gateway}`, `{name}` and `{topic}` are filled in.
    pub subject: String,
    /// Prefix of subjects whose messages are published to the broker; what follows it becomes the topic. Default: none.
    #[serde(default)]
    pub command: Option<String>,
}

/// One MQTT subscription.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttTopic {
    /// Topic filter, with `+` and `#`.
    pub filter: String,
    /// 0 or 1. At 1 the broker is told of a message's receipt only when it is on disk. Default: 1.
    #[serde(default = "qos")]
    pub qos: u8,
}

fn baud() -> u32 {
    9600
}

fn data_bits() -> u8 {
    8
}

fn stop_bits() -> u8 {
    1
}

fn max_length() -> usize {
    512
}

fn qos() -> u8 {
    1
}
