//! `/accountz` and `/accstatz`: accounts, and what crossed in each.

use super::subsz::Sublist;
use crate::leaf::LeafConnection;
use crate::monitor::query::{BadQuery, Query};
use crate::monitor::sources::Sources;
use crate::monitor::text;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Accountz {
    server_id: String,
    now: String,
    system_account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<AccountDetail>,
}

#[derive(Serialize)]
struct AccountDetail {
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
    name_tag: String,
    sublist_stats: Sublist,
}

/// Option `acc`.
pub(super) fn page(query: &Query, sources: &Sources) -> Result<Accountz, BadQuery> {
    let name = query.text("acc");
    let system = sources.system_account();
    let mut answer = Accountz {
        server_id: sources.server_id.clone(),
        now: sources.now(),
        system_account: system.to_owned(),
        accounts: Vec::new(),
        account_detail: None,
    };
    if name.is_empty() {
        answer.accounts = sources.accounts().iter().map(|account| account.name().to_owned()).collect();
        return Ok(answer);
    }
    let account = sources.accounts().into_iter().find(|account| account.name() == name);
    let account = account.ok_or_else(|| BadQuery(format!("Account {name} does not exist")))?;
    answer.account_detail = Some(AccountDetail {
        account_name: name.to_owned(),
        update_time: text::time(sources.started),
        is_system: system == name,
        expired: false,
        complete: true,
        jetstream_enabled: sources.jetstreams.iter().any(|jetstream| jetstream.account().name() == name),
        leafnode_connections: sources.leaf_connections().iter().filter(|leaf| leaf.account == name).count(),
        client_connections: sources.clients.accounts().get(name).map_or(0, |clients| clients.connections),
        subscriptions: account.subscriptions(),
        name_tag: name.to_owned(),
        sublist_stats: Sublist::of(&[account]),
    });
    Ok(answer)
}

#[derive(Serialize)]
pub(super) struct Accstatz {
    server_id: String,
    now: String,
    account_statz: Vec<AccountStat>,
}

#[derive(Serialize)]
struct AccountStat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    /// By the server, to clients and leafs.
    sent: Traffic,
    received: Traffic,
    slow_consumers: u64,
}

#[derive(Serialize)]
struct Traffic {
    msgs: u64,
    bytes: u64,
    gateways: Crossed,
    routes: Crossed,
    leafs: Crossed,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Crossed {
    msgs: u64,
    bytes: u64,
}

impl Traffic {
    fn new(clients: Crossed, leafs: Crossed) -> Traffic {
        let nothing = Crossed::default();
        let (msgs, bytes) = (clients.msgs + leafs.msgs, clients.bytes + leafs.bytes);
        Traffic { msgs, bytes, gateways: nothing, routes: nothing, leafs }
    }
}

/// Option `unused`: accounts without a connection as well.
pub(super) fn statistics(query: &Query, sources: &Sources) -> Result<Accstatz, BadQuery> {
    let unused = query.flag("unused")?;
    let (clients, leafs) = (sources.clients.accounts(), sources.leaf_connections());
    let mut account_statz = Vec::new();
    for account in sources.accounts() {
        let name = account.name();
        let clients = clients.get(name).copied().unwrap_or_default();
        let leafs: Vec<_> = leafs.iter().filter(|leaf| leaf.account == name).collect();
        let connections = clients.connections + leafs.len();
        if connections == 0 && !unused {
            continue;
        }
        let sum = |value: fn(&LeafConnection) -> u64| leafs.iter().map(|leaf| value(leaf)).sum();
        let totals = clients.totals;
        account_statz.push(AccountStat {
            acc: name.to_owned(),
            name: name.to_owned(),
            conns: clients.connections,
            leafnodes: leafs.len(),
            total_conns: connections,
            num_subscriptions: account.subscriptions(),
            sent: Traffic::new(
                Crossed { msgs: totals.out_msgs, bytes: totals.out_bytes },
                Crossed { msgs: sum(|leaf| leaf.sent), bytes: sum(|leaf| leaf.sent_bytes) },
            ),
            received: Traffic::new(
                Crossed { msgs: totals.in_msgs, bytes: totals.in_bytes },
                Crossed { msgs: sum(|leaf| leaf.received), bytes: sum(|leaf| leaf.received_bytes) },
            ),
            slow_consumers: totals.slow,
        });
    }
    Ok(Accstatz { server_id: sources.server_id.clone(), now: sources.now(), account_statz })
}
