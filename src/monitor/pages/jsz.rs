//! `/jsz`: streams and consumers.

use super::varz;
use crate::config::units::ByteSize;
use crate::jetstream::consumer::ConsumerInfo;
use crate::jetstream::{JetStream, ServerLimits, Stream};
use crate::monitor::query::{BadQuery, Query, natural, window};
use crate::monitor::sources::Sources;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize)]
pub(in crate::monitor) struct Jsz {
    #[serde(flatten)]
    stats: JetStreamStats,
    server_id: String,
    now: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    config: JetStreamConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<ServerLimits>,
    streams: usize,
    /// With `raft`: those led here, which are all.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams_leader: Option<usize>,
    consumers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumers_leader: Option<usize>,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_details: Option<Vec<AccountDetail>>,
    total: usize,
}

/// What is used, and asked of the API.
#[derive(Default, Serialize)]
pub(super) struct JetStreamStats {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: usize,
    api: Api,
}

#[derive(Default, Serialize)]
struct Api {
    level: u32,
    total: u64,
    errors: u64,
}

/// What is allowed.
#[derive(Default, Serialize)]
pub(super) struct JetStreamConfig {
    max_memory: u64,
    max_storage: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    store_dir: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sync_always: bool,
    compress_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

/// JetStream of one account.
#[derive(Serialize)]
pub(in crate::monitor) struct AccountDetail {
    name: String,
    id: String,
    #[serde(flatten)]
    stats: JetStreamStats,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_detail: Vec<StreamDetail>,
}

#[derive(Serialize)]
struct StreamDetail {
    name: String,
    created: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    cluster: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    config: Value,
    state: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    consumer_detail: Vec<Value>,
    #[serde(skip_serializing_if = "Value::is_null")]
    mirror: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    sources: Value,
}

/// What is asked for (nats-server `JSzOptions`); what is about clusters changes nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct Options {
    /// Only this one in detail.
    pub account: String,
    /// All accounts in detail.
    accounts: bool,
    /// With their streams.
    streams: bool,
    /// With the consumers of these.
    consumer: bool,
    /// With the configurations of both.
    config: bool,
    /// Of a cluster only its leader answers; we are our own.
    leader_only: bool,
    /// With how many streams and consumers are led here.
    raft: bool,
    offset: i64,
    limit: i64,
}

impl Options {
    /// Those of a URL: `acc`, `accounts`, `streams`, `consumers`, `config`, `offset` and `limit`.
    pub fn read(query: &Query) -> Result<Options, BadQuery> {
        let options = Options {
            account: query.text("acc").to_owned(),
            accounts: query.flag("accounts")?,
            streams: query.flag("streams")?,
            consumer: query.flag("consumers")?,
            config: query.flag("config")?,
            leader_only: query.flag("leader-only")?,
            raft: query.flag("raft")?,
            offset: query.number("offset")?,
            limit: query.number("limit")?,
        };
        for flag in ["direct-consumers", "stream-leader-only"] {
            query.flag(flag)?;
        }
        Ok(options)
    }
}

/// Streams and consumers. Reads from disk.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Result<Jsz, BadQuery> {
    if sources.jetstreams().is_empty() && options.leader_only {
        return Err(BadQuery("filtered response: not leader".into()));
    }
    if sources.jetstreams().is_empty() {
        return Ok(Jsz {
            stats: JetStreamStats::default(),
            server_id: sources.server_id.clone(),
            now: sources.now(),
            disabled: true,
            config: JetStreamConfig::default(),
            limits: None,
            streams: 0,
            streams_leader: None,
            consumers: 0,
            consumers_leader: None,
            messages: 0,
            bytes: 0,
            account_details: None,
            total: 0,
        });
    }
    // Asking for consumers asks for streams, and that for accounts unless one is named.
    let options = &Options { streams: options.streams || options.consumer, ..options.clone() };
    let named = sources.jetstreams.of(&options.account);
    let all = options.accounts || options.streams && options.account.is_empty();
    let listed = match named {
        Some(jetstream) => vec![jetstream],
        None if all => {
            let mut all = sources.jetstreams();
            all.sort_by(|a, b| a.account().name().cmp(b.account().name()));
            match options.limit {
                ..0 => all,
                limit => all[window(all.len(), natural(options.offset), natural(limit))].to_vec(),
            }
        }
        None => Vec::new(),
    };
    let streams: Vec<_> = sources.jetstreams().into_iter().flat_map(|jetstream| jetstream.streams()).collect();
    let states: Vec<_> = streams.iter().map(|stream| stream.log().state()).collect();
    let consumers = streams.iter().map(|stream| stream.consumers().count()).sum();
    let led = |count: usize| Some(count).filter(|count| options.raft && *count > 0);
    let details: Vec<_> = listed.iter().map(|jetstream| account_detail(jetstream, options, sources)).collect();
    Ok(Jsz {
        stats: stats(sources),
        server_id: sources.server_id.clone(),
        now: sources.now(),
        disabled: false,
        config: config(sources),
        limits: limits(sources),
        streams: states.len(),
        streams_leader: led(states.len()),
        consumers,
        consumers_leader: led(consumers),
        messages: states.iter().map(|state| state.msgs).sum(),
        bytes: states.iter().map(|state| state.bytes).sum(),
        account_details: Some(details).filter(|details| !details.is_empty()),
        total: sources.jetstreams().len(),
    })
}

/// Of all accounts. Reads from disk.
pub(super) fn stats(sources: &Sources) -> JetStreamStats {
    let mut all = JetStreamStats { accounts: sources.jetstreams().len(), ..JetStreamStats::default() };
    for one in sources.jetstreams().into_iter().map(|jetstream| account_stats(&jetstream)) {
        all.memory += one.memory;
        all.storage += one.storage;
        all.reserved_memory += one.reserved_memory;
        all.reserved_storage += one.reserved_storage;
        all.api.level = one.api.level;
        all.api.total += one.api.total;
        all.api.errors += one.api.errors;
    }
    all
}

fn account_stats(jetstream: &JetStream) -> JetStreamStats {
    let info = jetstream.account_info();
    JetStreamStats {
        memory: info.all.memory,
        storage: info.all.storage,
        reserved_memory: info.all.reserved_memory,
        reserved_storage: info.all.reserved_storage,
        accounts: 0,
        ha_assets: 0,
        api: Api { level: info.api.level, total: info.api.total, errors: info.api.errors },
    }
}

/// As configured.
pub(super) fn config(sources: &Sources) -> JetStreamConfig {
    // No account may have more than the server, and the first has all of it unless it is limited.
    let all = sources.jetstreams();
    let options = || all.iter().map(|jetstream| jetstream.options());
    JetStreamConfig {
        max_memory: options().map(|options| options.max_memory).max().unwrap_or(0),
        max_storage: options().map(|options| options.max_file).max().unwrap_or(0),
        store_dir: sources.config().0.data_dir.display().to_string(),
        // An acknowledgement means that the message is on disk.
        sync_always: true,
        compress_ok: true,
        domain: options().find_map(|options| options.domain.told().map(str::to_owned)),
        strict: true,
    }
}

/// What streams, consumers and batches may be; `None` without JetStream.
fn limits(sources: &Sources) -> Option<ServerLimits> {
    sources.jetstreams().first().map(|jetstream| jetstream.options().limits)
}

/// As configured, without where it lies, which is nobody's business elsewhere.
pub(super) fn config_without_folder(sources: &Sources) -> JetStreamConfig {
    JetStreamConfig { store_dir: String::new(), ..config(sources) }
}

/// Its part of `/varz` and STATSZ. Reads from disk.
pub(super) fn varz(sources: &Sources, config: JetStreamConfig) -> varz::JetStream {
    varz::JetStream { config: Some(config), stats: Some(stats(sources)), limits: limits(sources) }
}

/// JetStream of the account that `options` name.
pub(in crate::monitor) fn account(options: &Options, sources: &Sources) -> Result<AccountDetail, BadQuery> {
    let name = &options.account;
    if sources.jetstreams().is_empty() {
        return Err(BadQuery("jetstream not enabled".into()));
    }
    if sources.registry.get(name).is_none() {
        return Err(BadQuery(format!("account {name:?} not found")));
    }
    let jetstream = sources.jetstreams.of(name);
    let jetstream = jetstream.ok_or_else(|| BadQuery(format!("account {name:?} not jetstream enabled")))?;
    Ok(account_detail(&jetstream, options, sources))
}

fn account_detail(jetstream: &JetStream, options: &Options, sources: &Sources) -> AccountDetail {
    let name = jetstream.account().name().to_owned();
    let (stats, (config, _)) = (account_stats(jetstream), sources.config());
    let limits = config.accounts.get(&name).and_then(|account| account.jetstream.limits.as_ref());
    let limit = |size: Option<ByteSize>| size.map_or(u64::MAX, |size| size.0);
    let streams = if options.streams || options.consumer { jetstream.streams() } else { Vec::new() };
    AccountDetail {
        id: name.clone(),
        name,
        stats: JetStreamStats {
            // Of an account, nats-server tells what it may have.
            reserved_memory: limit(limits.and_then(|limits| limits.max_memory)),
            reserved_storage: limit(limits.and_then(|limits| limits.max_file)),
            api: Api { level: 0, ..stats.api },
            ..stats
        },
        stream_detail: streams.iter().map(|stream| stream_detail(jetstream, stream, options)).collect(),
    }
}

fn stream_detail(jetstream: &JetStream, stream: &Stream, options: &Options) -> StreamDetail {
    // As STREAM.INFO tells it, so that the two never differ.
    let mut info = json(&jetstream.info(stream));
    let mut take = |key: &str| info.get_mut(key).map(Value::take).unwrap_or_default();
    let consumers = if options.consumer { stream.consumers().list() } else { Vec::new() };
    StreamDetail {
        name: stream.name().to_owned(),
        created: take("created"),
        cluster: json!({ "leader": jetstream.options().server_name }),
        config: if options.config { take("config") } else { Value::Null },
        state: take("state"),
        consumer_detail: consumers.iter().map(|consumer| consumer_detail(&consumer.info(), options)).collect(),
        mirror: take("mirror"),
        sources: take("sources"),
    }
}

fn consumer_detail(info: &ConsumerInfo, options: &Options) -> Value {
    let mut info = json(info);
    let Value::Object(fields) = &mut info else { return info };
    if !options.config {
        fields.remove("config");
    } else if let Some(Value::Object(metadata)) = fields.get_mut("config").and_then(|config| config.get_mut("metadata"))
    {
        // What CONSUMER.INFO adds about the server.
        metadata.retain(|key, _| !matches!(key.as_str(), "_nats.level" | "_nats.ver"));
    }
    info
}

fn json(value: &impl Serialize) -> Value {
    // Structs of strings and numbers always serialise.
    serde_json::to_value(value).unwrap_or_default()
}
