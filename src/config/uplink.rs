//! `[[uplink]]`: what is stored here and forwarded to the hub.

use super::schedule::Schedule;
use super::traffic::Class;
use super::units::{ByteSize, Duration, Rate};
use serde::Deserialize;
use std::time::Duration as StdDuration;

/// One uplink.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkConfig {
    /// Name in status and logs; the local stream is called `UPLINK_<name>`.
    pub name: String,
    /// Subjects that it captures; wildcards are fine. They cross only through the uplink, never as live traffic as well.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Instead of subjects: a local key-value bucket, which is made if it is not there. Its changes are forwarded.
    #[serde(default)]
    pub kv: Option<String>,
    /// Instead of subjects: a local object store, likewise.
    #[serde(default)]
    pub object: Option<String>,
    /// Name of the remote to which it delivers. Default: the only one.
    #[serde(default)]
    pub remote: Option<String>,
    /// The hub's stream. Default: learnt from the first acknowledgement.
    #[serde(default)]
    pub hub_stream: Option<String>,
    /// The hub's JetStream domain. Default: none.
    #[serde(default)]
    pub hub_domain: Option<String>,
    /// Messages that may be on their way unconfirmed. Default: 256.
    #[serde(default = "window")]
    pub window: u32,
    /// Most messages in an atomic batch, where the hub's stream takes those; at most 1000, 0: none. Default: 1000.
    #[serde(default = "batch")]
    pub batch: u32,
    /// How urgent its messages are. Default: telemetry.
    #[serde(default)]
    pub class: Class,
    /// What of a backlog goes first. Default: oldest.
    #[serde(default)]
    pub order: DrainOrder,
    /// Bytes a second, on average. Default: no limit.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What may go at once after a pause. Default: what `rate` gives in a second.
    #[serde(default)]
    pub burst: Option<ByteSize>,
    /// Bytes a day. Default: no limit.
    #[serde(default)]
    pub daily: Option<ByteSize>,
    /// Bytes a calendar month. Default: no limit.
    #[serde(default)]
    pub monthly: Option<ByteSize>,
    /// When it may send. Default: always.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Most that the local stream may hold. Default: 1 GB.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
    /// What happens above that. Default: reject.
    #[serde(default)]
    pub on_full: OnFull,
    /// With `on_full = "thin"`, of how many messages of a subject one stays. Default: 10.
    #[serde(default = "keep_every")]
    pub keep_every: u32,
    /// A subject on which gaps are declared to the hub. Default: they are only counted.
    #[serde(default)]
    pub gap_subject: Option<String>,
    /// A key-value bucket at the hub that is told the state. Default: none.
    #[serde(default)]
    pub status_bucket: Option<String>,
    /// How often at most, while only numbers change. Default: 1m.
    #[serde(default = "status_interval")]
    pub status_interval: Duration,
    /// How long the hub may take to confirm a message. Default: 5s.
    #[serde(default = "ack_timeout")]
    pub ack_timeout: Duration,
}

impl UplinkConfig {
    /// Everything that its local stream captures.
    pub fn captured(&self) -> Vec<String> {
        let kv = self.kv.iter().map(|bucket| format!("$KV.{bucket}.>"));
        let object = self.object.iter().map(|bucket| format!("$O.{bucket}.>"));
        self.subjects.iter().chain(&self.gap_subject).cloned().chain(kv).chain(object).collect()
    }

    /// The name of the local stream.
    pub fn stream(&self) -> String {
        match (&self.kv, &self.object) {
            (Some(bucket), _) => format!("KV_{bucket}"),
            (None, Some(bucket)) => format!("OBJ_{bucket}"),
            (None, None) => format!("UPLINK_{}", self.stem()),
        }
    }

    /// The name of the stream of dead letters.
    pub fn dead_stream(&self) -> String {
        format!("DEAD_{}", self.stem())
    }

    /// The name with whatever a stream's name cannot have replaced.
    fn stem(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.name.chars().map(plain).collect()
    }
}

/// What a full uplink does with a new message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// The publisher gets an error; nothing that was acknowledged is dropped.
    #[default]
    Reject,
    /// The oldest go, confirmed or not; what was not confirmed counts as a gap.
    DropOldest,
    /// From nine tenths on, the oldest are thinned: of `keep_every` messages of a subject one stays. What was thinned counts
    /// as a gap. If that is not enough, the oldest go.
    Thin,
}

/// What of a backlog goes first. Each message crosses once in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainOrder {
    /// The oldest: the hub's stream has all in the order in which it was stored here.
    #[default]
    Oldest,
    /// The newest, then backwards.
    Newest,
    /// What comes from now on; in between the backlog, its oldest first.
    Live,
}

fn window() -> u32 {
    256
}

fn batch() -> u32 {
    1000
}

fn max_bytes() -> ByteSize {
    ByteSize(1 << 30)
}

fn keep_every() -> u32 {
    10
}

pub(super) fn status_interval() -> Duration {
    Duration(StdDuration::from_secs(60))
}

fn ack_timeout() -> Duration {
    Duration(StdDuration::from_secs(5))
}
