//! `/accountz` and `/accstatz`: accounts, and what crossed in each.

use super::sharing::{self, Destination, Export, Import};
use super::subsz::Sublist;
use crate::account::Account;
use crate::events::{DataStats, Events, MsgBytes, ServerInfo, Typed};
use crate::leaf::LeafConnection;
use crate::monitor::query::{BadQuery, Query};
use crate::monitor::sources::Sources;
use crate::monitor::text;
use crate::server::AccountTotals;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::SystemTime;

#[derive(Serialize)]
pub(in crate::monitor) struct Accountz {
    server_id: String,
    now: String,
    system_account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<AccountDetail>,
}

/// One account (nats-server `AccountInfo`).
#[derive(Serialize)]
pub(in crate::monitor) struct AccountDetail {
    account_name: String,
    update_time: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<String, Vec<Destination>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<Export>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<Import>,
    name_tag: String,
    sublist_stats: Sublist,
}

/// What is asked for (nats-server `AccountzOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct Options {
    /// Which account; empty: their names.
    account: String,
}

impl Options {
    /// That of a URL: `acc`.
    pub fn read(query: &Query) -> Options {
        Options { account: query.text("acc").to_owned() }
    }
}

/// The accounts, or one in detail.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Result<Accountz, BadQuery> {
    let (mut accounts, mut account_detail) = (Vec::new(), None);
    match &*options.account {
        "" => accounts = sources.accounts().iter().map(|account| account.name().to_owned()).collect(),
        name => account_detail = Some(detail(name, sources)?),
    }
    Ok(Accountz {
        server_id: sources.server_id.clone(),
        now: sources.now(),
        system_account: sources.system_account().to_owned(),
        accounts,
        account_detail,
    })
}

/// The account of that name.
pub(in crate::monitor) fn detail(name: &str, sources: &Sources) -> Result<AccountDetail, BadQuery> {
    let account = sources.registry.get(name);
    let account = account.ok_or_else(|| BadQuery(format!("Account {name} does not exist")))?;
    let (config, _) = sources.config();
    Ok(AccountDetail {
        account_name: name.to_owned(),
        update_time: text::time(sources.started),
        is_system: sources.system_account() == name,
        expired: false,
        complete: true,
        jetstream_enabled: sources.jetstreams.of(name).is_some(),
        leafnode_connections: sources.leaf_connections().iter().filter(|leaf| leaf.account == name).count(),
        client_connections: sources.clients.accounts().get(name).map_or(0, |clients| clients.connections),
        subscriptions: account.subscriptions(),
        mappings: sharing::mappings(&config, name),
        exports: sharing::exports(&config, name),
        imports: sharing::imports(&account),
        name_tag: name.to_owned(),
        sublist_stats: Sublist::of(&[account]),
    })
}

/// What is asked of the statistics (nats-server `AccountStatzOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct StatisticsOptions {
    /// Only of these accounts; empty: of all.
    pub accounts: Vec<String>,
    /// Of those to which nobody is connected as well.
    pub include_unused: bool,
}

impl StatisticsOptions {
    /// Those of a URL: `unused`.
    pub fn read(query: &Query) -> Result<StatisticsOptions, BadQuery> {
        Ok(StatisticsOptions { accounts: Vec::new(), include_unused: query.flag("unused")? })
    }
}

#[derive(Serialize)]
pub(in crate::monitor) struct Accstatz {
    server_id: String,
    now: String,
    pub account_statz: Vec<AccountStat>,
}

/// How much an account has and does (nats-server `AccountStat`).
#[derive(Serialize)]
pub(in crate::monitor) struct AccountStat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    /// Clients and leafs.
    pub total_conns: usize,
    num_subscriptions: usize,
    /// By the server, to clients and leafs.
    sent: DataStats,
    received: DataStats,
    slow_consumers: u64,
}

/// How many connections an account has, as told in the system account (nats-server `AccountNumConns`).
#[derive(Serialize)]
pub(in crate::monitor) struct AccountConnections {
    #[serde(flatten)]
    typed: Typed,
    server: ServerInfo,
    #[serde(flatten)]
    stat: AccountStat,
}

impl AccountConnections {
    /// Of now.
    pub fn new(events: &Events, stat: AccountStat) -> AccountConnections {
        let typed = Typed::new("io.nats.server.advisory.v1.account_connections", SystemTime::now());
        AccountConnections { typed, server: events.server(), stat }
    }
}

/// Messages and bytes that crossed, of leafs among them.
fn traffic(clients: (u64, u64), leafs: (u64, u64)) -> DataStats {
    let nothing = MsgBytes::default();
    DataStats {
        all: MsgBytes { msgs: clients.0 + leafs.0, bytes: clients.1 + leafs.1 },
        gateways: Some(nothing),
        routes: Some(nothing),
        leafs: Some(MsgBytes { msgs: leafs.0, bytes: leafs.1 }),
    }
}

/// Of `account` now.
pub(in crate::monitor) fn stat(sources: &Sources, account: &Account) -> AccountStat {
    stat_among(account, &sources.clients.accounts(), &sources.leaf_connections())
}

fn stat_among(account: &Account, clients: &BTreeMap<String, AccountTotals>, leafs: &[LeafConnection]) -> AccountStat {
    let name = account.name();
    let clients = clients.get(name).copied().unwrap_or_default();
    let leafs: Vec<_> = leafs.iter().filter(|leaf| leaf.account == name).collect();
    let sum = |value: fn(&LeafConnection) -> u64| leafs.iter().map(|leaf| value(leaf)).sum();
    let totals = clients.totals;
    AccountStat {
        acc: name.to_owned(),
        name: name.to_owned(),
        conns: clients.connections,
        leafnodes: leafs.len(),
        total_conns: clients.connections + leafs.len(),
        num_subscriptions: account.subscriptions(),
        sent: traffic((totals.out_msgs, totals.out_bytes), (sum(|leaf| leaf.sent), sum(|leaf| leaf.sent_bytes))),
        received: traffic(
            (totals.in_msgs, totals.in_bytes),
            (sum(|leaf| leaf.received), sum(|leaf| leaf.received_bytes)),
        ),
        slow_consumers: totals.slow,
    }
}

/// Statistics of accounts.
pub(in crate::monitor) fn statistics(options: &StatisticsOptions, sources: &Sources) -> Accstatz {
    let (clients, leafs) = (sources.clients.accounts(), sources.leaf_connections());
    let wanted = |name: &str| options.accounts.is_empty() || options.accounts.iter().any(|one| one == name);
    let accounts = sources.accounts().into_iter().filter(|account| wanted(account.name()));
    let all = accounts.map(|account| stat_among(&account, &clients, &leafs));
    let account_statz = all.filter(|stat| options.include_unused || stat.total_conns > 0).collect();
    Accstatz { server_id: sources.server_id.clone(), now: sources.now(), account_statz }
}
