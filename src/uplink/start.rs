//! From an `[[uplink]]` table to a running uplink: the local streams, and the parts connected.

use super::link::HubLink;
use super::local::LocalStream;
use super::machine::Settings;
use super::stored::StoredStream;
use super::traffic::{Limits, Traffic};
use super::{Bucket, Options, Uplink, cursor};
use crate::account::Account;
use crate::config::uplink::{OnFull, UplinkConfig};
use crate::jetstream::config::{Discard, StorageType, StreamConfig};
use crate::jetstream::{JetStream, Stream};
use crate::store::Store;
use crate::subject;
use std::sync::Arc;
use tokio::sync::watch;

/// Most bytes of dead letters; the oldest go first.
const DEAD_BYTES: i64 = 64 << 20;
/// Most messages in flight, whatever is configured: each holds a place in the ack inbox.
const MOST_IN_FLIGHT: usize = 4096;
/// Bytes in flight for each message of the window.
const BYTES_PER_MESSAGE: u64 = 16 * 1024;

/// What an uplink needs of the daemon.
pub struct Surroundings {
    /// The gateway's name.
    pub gateway: String,
    /// The account whose subjects it captures.
    pub account: Arc<Account>,
    /// Its streams.
    pub jetstream: Arc<JetStream>,
    /// Where they and the cursor lie.
    pub store: Store,
    /// All that is sent.
    pub traffic: Arc<Traffic>,
}

/// Why an uplink could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The local stream cannot be had.
    #[error("uplink {name}: cannot have the local stream {stream}: {words}")]
    Stream {
        /// The uplink.
        name: String,
        /// The stream.
        stream: String,
        /// JetStream's words.
        words: String,
    },
}

impl Uplink {
    /// Starts the uplink of `config` over `link`, which is called `remote`, on the current runtime. Its local streams are
    /// made or updated first, so that on return its subjects are captured.
    ///
    /// # Errors
    /// A local stream cannot be had.
    pub fn start(
        config: &UplinkConfig,
        around: &Surroundings,
        remote: &str,
        link: Arc<dyn HubLink>,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Arc<Uplink>, StartError> {
        let Surroundings { gateway, account, jetstream, store, traffic } = around;
        let dead_subject = format!("$LEAFD.DEAD.{}", config.dead_stream());
        let dead = have_stream(
            config,
            jetstream,
            StreamConfig {
                name: config.dead_stream(),
                description: format!("what the hub refused of uplink {}", config.name),
                subjects: vec![dead_subject.clone()],
                max_bytes: DEAD_BYTES,
                storage: StorageType::File,
                ..StreamConfig::default()
            },
        )?;
        let captures = !config.subjects.is_empty();
        let stream = if captures { capture(config, jetstream)? } else { bucket(config, jetstream)? };
        // A stream made anew under its name would be another one, which nobody forwards.
        for held in [&dead, &stream] {
            held.hold(format!("[[uplink]] {:?}", config.name));
        }
        let local = StoredStream::new(
            &config.name,
            stream.name(),
            stream.epoch(),
            store.clone(),
            stream.log().clone(),
            stream.committed(),
        );
        let local = if captures { local } else { local.keeping() };
        let window = usize::try_from(config.window).unwrap_or(MOST_IN_FLIGHT).clamp(1, MOST_IN_FLIGHT);
        let options = Options {
            name: config.name.clone(),
            gateway: gateway.clone(),
            filters: config.captured().into(),
            hub_stream: config.hub_stream.clone().filter(|stream| !stream.is_empty()),
            hub_domain: config.hub_domain.clone().filter(|domain| !domain.is_empty()),
            dead_subject,
            gap_subject: config.gap_subject.clone(),
            thin: (config.on_full == OnFull::Thin).then_some((config.keep_every, config.max_bytes.0)),
            order: config.order,
            bucket: config.status_bucket.as_ref().map(|bucket| Bucket {
                subject: format!("$KV.{bucket}.{gateway}.uplink.{}", config.name),
                interval: config.status_interval.0,
            }),
            settings: Settings {
                sparse: !captures,
                window,
                window_bytes: window as u64 * BYTES_PER_MESSAGE,
                ack_timeout: config.ack_timeout.0,
                batch: usize::try_from(config.batch).unwrap_or_default(),
                ..Settings::default()
            },
        };
        let spent = cursor::decode(local.load_cursor(), local.epoch()).spent;
        let limits = Limits {
            rate: config.rate.map(|rate| rate.0),
            burst: config.burst.map(|burst| burst.0),
            daily: config.daily.map(|bytes| bytes.0),
            monthly: config.monthly.map(|bytes| bytes.0),
            schedule: config.schedule.clone(),
        };
        let member = traffic.join(remote, config.class, limits, spent);
        Ok(Uplink::run(options, member, link, Arc::new(local), account.clone(), shutdown))
    }
}

/// Warns of what waits in streams of uplinks that are not in the configuration (any more): nobody forwards it.
pub fn warn_of_leftovers(jetstream: &JetStream) {
    for stream in jetstream.streams() {
        let messages = stream.log().state().msgs;
        if stream.name().starts_with("UPLINK_") && stream.holder().is_none() && messages > 0 {
            tracing::warn!(
                "{} messages wait in stream {}, whose uplink is not in the configuration: they do not reach the hub",
                messages,
                stream.name()
            );
        }
    }
}

/// The stream that captures the uplink's subjects.
fn capture(config: &UplinkConfig, jetstream: &JetStream) -> Result<Arc<Stream>, StartError> {
    have_stream(
        config,
        jetstream,
        StreamConfig {
            name: config.stream(),
            description: format!("waits for the hub: uplink {}", config.name),
            subjects: config.captured(),
            max_bytes: i64::try_from(config.max_bytes.0).unwrap_or(i64::MAX),
            discard: match config.on_full {
                OnFull::Reject => Discard::New,
                OnFull::DropOldest | OnFull::Thin => Discard::Old,
            },
            storage: StorageType::File,
            ..StreamConfig::default()
        },
    )
}

/// The stream of the uplink's bucket as it is, or a new one with the clients' defaults.
fn bucket(config: &UplinkConfig, jetstream: &JetStream) -> Result<Arc<Stream>, StartError> {
    if let Some(stream) = jetstream.stream(&config.stream()) {
        return Ok(stream);
    }
    have_stream(
        config,
        jetstream,
        StreamConfig {
            name: config.stream(),
            subjects: match &config.object {
                Some(bucket) => vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
                None => config.captured(),
            },
            max_msgs_per_subject: if config.kv.is_some() { 1 } else { -1 },
            discard: Discard::New,
            storage: StorageType::File,
            deny_delete: config.kv.is_some(),
            allow_rollup_hdrs: true,
            allow_direct: true,
            ..StreamConfig::default()
        },
    )
}

/// The stream of that configuration: as it is, changed, or new.
fn have_stream(config: &UplinkConfig, jetstream: &JetStream, wanted: StreamConfig) -> Result<Arc<Stream>, StartError> {
    let (name, captured) = (wanted.name.clone(), wanted.subjects.clone());
    let stream = match jetstream.stream(&name) {
        Some(_) => jetstream.update_stream(wanted),
        None => jetstream.create_stream(wanted),
    };
    stream.map_err(|error| {
        let mut words = error.to_string();
        if let Some((other, subject)) = in_the_way(&name, &captured, jetstream) {
            words = format!(
                "the stream {other} stores {subject} already; delete it while this uplink is not in the configuration, \
                 or, if it is this uplink's of a former name, keep that name until the hub has what waits"
            );
        }
        StartError::Stream { name: config.name.clone(), stream: name, words }
    })
}

/// Another stream than `name` that stores some of `subjects`, and what it stores of them.
fn in_the_way(name: &str, subjects: &[String], jetstream: &JetStream) -> Option<(String, String)> {
    jetstream.streams().iter().filter(|stream| stream.name() != name).find_map(|stream| {
        let stream_config = stream.config();
        let stored =
            stream_config.subjects.iter().find(|stored| subjects.iter().any(|s| subject::overlap(s, stored)))?;
        Some((stream.name().to_owned(), stored.clone()))
    })
}
