//! `/leafz`: leaf nodes that connect to us, and hubs that we have dialled.

use crate::monitor::query::{BadQuery, Query};
use crate::monitor::sources::Sources;
use crate::monitor::text::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Serialize)]
pub(in crate::monitor) struct Leafz {
    server_id: String,
    now: String,
    leafnodes: usize,
    leafs: Vec<Leaf>,
}

#[derive(Serialize)]
struct Leaf {
    id: u64,
    name: String,
    /// Whether we are its spoke, not its hub.
    is_spoke: bool,
    account: String,
    ip: String,
    port: u16,
    rtt: String,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    compression: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<String>>,
}

/// What is asked for (nats-server `LeafzOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct Options {
    /// With what they subscribe to.
    subscriptions: bool,
    /// Only of this account.
    pub account: String,
}

impl Options {
    /// Those of a URL: `subs` and `acc`.
    pub fn read(query: &Query) -> Result<Options, BadQuery> {
        Ok(Options { subscriptions: query.flag("subs")?, account: query.text("acc").to_owned() })
    }
}

/// Leaf connections of all accounts, or of one.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Leafz {
    let (subs, account) = (options.subscriptions, &*options.account);
    let leafs: Vec<Leaf> = sources
        .leaf_connections()
        .into_iter()
        .filter(|leaf| account.is_empty() || leaf.account == account)
        .map(|leaf| Leaf {
            id: leaf.id,
            name: leaf.name,
            is_spoke: leaf.is_spoke,
            account: leaf.account,
            ip: leaf.address.map(|address| address.ip().to_string()).unwrap_or_default(),
            port: leaf.address.map(|address| address.port()).unwrap_or_default(),
            rtt: duration(leaf.rtt.unwrap_or(Duration::ZERO)),
            in_msgs: leaf.received,
            out_msgs: leaf.sent,
            in_bytes: leaf.received_bytes,
            out_bytes: leaf.sent_bytes,
            subscriptions: leaf.subscriptions.len(),
            compression: leaf.compression,
            subscriptions_list: (subs && !leaf.subscriptions.is_empty()).then_some(leaf.subscriptions),
        })
        .collect();
    Leafz { server_id: sources.server_id.clone(), now: sources.now(), leafnodes: leafs.len(), leafs }
}
