//! `[accounts.NAME]` and `[mappings]`: who shares subjects with whom.

use super::auth::{PermissionsConfig, UserConfig};
use super::units::{ByteSize, Duration};
use crate::account::Mappings;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rewrites of subjects: from a subject, wildcards allowed, to its destinations.
pub type MappingsConfig = BTreeMap<String, Mapping>;

/// The mappings that a table asks for; every source that is wrong, with what is wrong about it.
pub fn mappings(config: &MappingsConfig) -> Result<Mappings, Vec<String>> {
    let mut mappings = Mappings::default();
    let mut errors = Vec::new();
    for (source, Mapping(destinations)) in config {
        let everywhere = destinations.iter().filter(|to| to.cluster.is_none());
        if let Err(error) = mappings.add(source, everywhere.map(|to| (&*to.destination, to.weight))) {
            errors.push(format!("mapping of {source:?}: {error}"));
        }
    }
    if errors.is_empty() { Ok(mappings) } else { Err(errors) }
}

/// `[accounts.NAME]`: subjects of one account are invisible in the others, except for what is exported and imported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountConfig {
    /// Its users.
    pub users: Vec<UserConfig>,
    /// The account's public nkey (`A...`), by which activations name it.
    pub nkey: Option<String>,
    /// Whether it has streams, and how much they may take. Default: `false`; `$G` has them where no account names it.
    pub jetstream: AccountJetStream,
    /// What others may use.
    pub exports: Vec<ExportConfig>,
    /// What it uses of others.
    pub imports: Vec<ImportConfig>,
    /// Rewrites of subjects that its clients publish to.
    pub mappings: MappingsConfig,
    /// What users may do who have no permissions of their own.
    pub default_permissions: Option<PermissionsConfig>,
    /// Bounds.
    pub limits: AccountLimits,
    /// Traces of messages that come with the header `traceparent` of other tracing systems. Default: none.
    pub msg_trace: Option<MessageTraceConfig>,
}

/// `msg_trace` of an account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageTraceConfig {
    /// Subject in the account on which they are told.
    pub dest: String,
    /// Percent of the messages that are traced. Default: 100.
    #[serde(default = "full_weight")]
    pub sampling: u8,
}

impl MessageTraceConfig {
    /// Whether it can be taken.
    pub fn is_valid(&self) -> bool {
        crate::subject::is_valid_literal(&self.dest) && (1..=100).contains(&self.sampling)
    }
}

/// `limits` of an account; absent: no bound but the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountLimits {
    /// Connections at a time.
    pub max_connections: Option<u64>,
    /// Subscriptions of each connection.
    pub max_subscriptions: Option<u64>,
    /// Largest message.
    pub max_payload: Option<ByteSize>,
    /// Leaf connections at a time.
    pub max_leafnodes: Option<u64>,
}

/// `jetstream` of an account: `true`, `false`, or its bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "AccountJetStreamText")]
pub struct AccountJetStream {
    /// Whether it has streams.
    pub enabled: bool,
    /// Its bounds; `None`: the server's.
    pub limits: Option<JetStreamLimits>,
}

/// Bounds of an account's streams; absent: the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JetStreamLimits {
    /// Most that its memory-backed streams may take.
    pub max_memory: Option<ByteSize>,
    /// Most that its file-backed streams may take.
    pub max_file: Option<ByteSize>,
    /// Streams.
    pub max_streams: Option<u64>,
    /// Consumers of each stream.
    pub max_consumers: Option<u64>,
    /// Most that one stream in memory may ask for as its `max_bytes`.
    pub memory_max_stream_bytes: Option<ByteSize>,
    /// Most that one file-backed stream may ask for as its `max_bytes`.
    pub file_max_stream_bytes: Option<ByteSize>,
    /// Whether each stream must have `max_bytes`.
    pub max_bytes_required: bool,
    /// Most that may be pending at one consumer.
    pub max_ack_pending: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "jetstream is true, false or a table of limits (max_memory, max_file, max_streams, ...)")]
enum AccountJetStreamText {
    Flag(bool),
    Limits(JetStreamLimits),
}

impl From<AccountJetStreamText> for AccountJetStream {
    fn from(text: AccountJetStreamText) -> Self {
        match text {
            AccountJetStreamText::Flag(enabled) => AccountJetStream { enabled, limits: None },
            AccountJetStreamText::Limits(limits) => AccountJetStream { enabled: true, limits: Some(limits) },
        }
    }
}

/// Something that others may import: `stream` or `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// Subjects of messages that others may receive.
    pub stream: Option<String>,
    /// Subjects of requests that others may make.
    pub service: Option<String>,
    /// Who may import it; absent: all.
    pub accounts: Option<Vec<String>>,
    /// How many responses a service gives. Default: one.
    pub response_type: ResponseType,
    /// Time after which a missing response is given up.
    pub response_threshold: Option<Duration>,
    /// Token of the subject, counted from 1, that must be the importing account.
    pub account_token_position: Option<u32>,
    /// Whether traces of requests to a service go on in this account. Default: false.
    pub allow_trace: bool,
}

/// How many responses a service gives to one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResponseType {
    /// One message.
    #[default]
    Singleton,
    /// Messages until the requester has enough.
    Stream,
    /// One message in pieces; an empty one ends it.
    Chunked,
}

/// Something of another account: `stream` or `service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportConfig {
    /// Messages of another account.
    pub stream: Option<ImportSource>,
    /// Requests to another account.
    pub service: Option<ImportSource>,
    /// Token before the subject of a stream's messages here.
    pub prefix: Option<String>,
    /// Subject here.
    pub to: Option<String>,
    /// Whether the requester's account and user are told to the service.
    pub share: bool,
    /// Whether traces of a stream's messages go on in this account. Default: false.
    pub allow_trace: bool,
}

/// Where an import comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSource {
    /// The exporting account.
    pub account: String,
    /// Subject there.
    pub subject: String,
}

/// Destination of a mapping: a subject with transforms, or several with their weights.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "MappingText")]
pub struct Mapping(pub Vec<MappingDestination>);

/// One destination of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingDestination {
    /// Subject, with transforms such as `{{wildcard(1)}}`.
    pub destination: String,
    /// Share in percent, `0` to `100`. Default: 100.
    #[serde(default = "full_weight")]
    pub weight: u8,
    /// Cluster to which it applies. A single server is in none, so that such a destination is left out.
    #[serde(default)]
    pub cluster: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a mapping is a subject, or a list of { destination = SUBJECT, weight = PERCENT }")]
enum MappingText {
    One(String),
    Table(MappingDestination),
    Weighted(Vec<MappingDestination>),
}

impl From<MappingText> for Mapping {
    fn from(text: MappingText) -> Self {
        Mapping(match text {
            MappingText::One(destination) => {
                vec![MappingDestination { destination, weight: full_weight(), cluster: None }]
            }
            MappingText::Table(destination) => vec![destination],
            MappingText::Weighted(destinations) => destinations,
        })
    }
}

fn full_weight() -> u8 {
    100
}
