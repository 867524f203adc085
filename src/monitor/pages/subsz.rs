//! `/subsz`: subscriptions.

use crate::account::{Account, Subscription};
use crate::monitor::query::{BadQuery, Query, default_limit, natural, window};
use crate::monitor::sources::Sources;
use crate::monitor::text;
use crate::server::SubscriptionSnapshot;
use crate::subject;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize)]
pub(in crate::monitor) struct Subsz {
    server_id: String,
    now: String,
    #[serde(flatten)]
    sublist: Sublist,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<SubscriptionDetail>>,
}

/// One subscription.
#[derive(Serialize)]
pub(super) struct SubscriptionDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_tag: Option<String>,
    subject: String,
    #[serde(rename = "qgroup", skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    sid: String,
    msgs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    cid: u64,
}

impl SubscriptionDetail {
    /// Without `account` where that is clear from what it stands below.
    pub fn of(sub: SubscriptionSnapshot, account: Option<&str>) -> SubscriptionDetail {
        SubscriptionDetail {
            account: account.map(str::to_owned),
            account_tag: account.map(str::to_owned),
            subject: sub.subject,
            queue: sub.queue,
            sid: sub.sid,
            msgs: sub.delivered,
            max: Some(sub.limit).filter(|limit| *limit > 0),
            cid: sub.cid,
        }
    }
}

/// Of the subject index. What would cost time per message is not counted and 0.
#[derive(Default, Serialize)]
pub(super) struct Sublist {
    num_subscriptions: usize,
    num_cache: u64,
    num_inserts: u64,
    num_removes: u64,
    num_matches: u64,
    #[serde(serialize_with = "text::number")]
    cache_hit_rate: f64,
    max_fanout: u64,
    #[serde(serialize_with = "text::number")]
    avg_fanout: f64,
}

impl Sublist {
    /// Over all of `accounts`.
    pub fn of(accounts: &[Arc<Account>]) -> Sublist {
        let mut all = Sublist::default();
        for account in accounts {
            let (subscriptions, inserts) = (account.subscriptions(), account.inserts());
            all.num_subscriptions += subscriptions;
            all.num_inserts += inserts;
            all.num_removes += inserts.saturating_sub(subscriptions as u64);
        }
        all
    }
}

/// What is asked for (nats-server `SubszOptions`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::monitor) struct Options {
    offset: i64,
    limit: i64,
    /// With the subscriptions themselves.
    pub subscriptions: bool,
    /// Only of this account.
    pub account: String,
    /// Only those that match this subject.
    test: String,
}

impl Options {
    /// Those of a URL: `subs`, `test`, `acc`, `offset` and `limit`.
    pub fn read(query: &Query) -> Result<Options, BadQuery> {
        Ok(Options {
            offset: query.number("offset")?,
            limit: query.number("limit")?,
            subscriptions: query.flag("subs")?,
            account: query.text("acc").to_owned(),
            test: query.text("test").to_owned(),
        })
    }
}

/// Subscriptions of all accounts, or of one.
pub(in crate::monitor) fn page(options: &Options, sources: &Sources) -> Result<Subsz, BadQuery> {
    let (offset, limit) = (natural(options.offset), natural(options.limit));
    let (test, name) = (&*options.test, &*options.account);
    if !test.is_empty() && !subject::is_valid_literal(test) {
        return Err(BadQuery(format!("invalid test subject, must be valid publish subject: {test}")));
    }
    let mut accounts = sources.accounts();
    accounts.retain(|account| name.is_empty() || account.name() == name);
    let mut answer = Subsz {
        server_id: sources.server_id.clone(),
        now: sources.now(),
        sublist: Sublist::of(&accounts),
        total: 0,
        offset,
        limit: default_limit(limit),
        subscriptions_list: None,
    };
    if options.subscriptions {
        // Only those that are shown are copied.
        let mut found: Vec<(&Arc<Account>, Arc<Subscription>)> = Vec::new();
        for account in &accounts {
            let all = account.list_subscriptions();
            let tested = all.into_iter().filter(|sub| test.is_empty() || subject::matches(sub.subject(), test));
            found.extend(tested.map(|sub| (account, sub)));
        }
        answer.total = found.len();
        let shown = &found[window(found.len(), offset, limit)];
        let info = |(account, sub): &(&Arc<Account>, Arc<Subscription>)| {
            SubscriptionDetail::of(SubscriptionSnapshot::of(sub), Some(account.name()))
        };
        answer.subscriptions_list = Some(shown.iter().map(info).collect()).filter(|list: &Vec<_>| !list.is_empty());
    }
    Ok(answer)
}
