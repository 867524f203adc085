//! Answers that are no pages: who a user is, and how many subscribe to a subject.

use super::site::Site;
use crate::account::{Account, Subscription, TargetKind};
use crate::auth::{Permissions, SubjectPermission};
use crate::protocol::headers;
use crate::subject;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who asks, as an import tells it (nats-server `ClientInfo`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Requester {
    acc: String,
    svc: String,
    id: u64,
}

impl Requester {
    fn of(block: &[u8]) -> Option<Requester> {
        serde_json::from_str(headers::get(block, "Nats-Request-Info")?).ok()
    }
}

/// Who a user is and what it may do (nats-server `UserInfo`).
#[derive(Serialize)]
pub(super) struct UserInfo {
    user: String,
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<UserPermissions>,
    /// Nanoseconds, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
}

#[derive(Serialize)]
struct UserPermissions {
    publish: SubjectPermission,
    subscribe: SubjectPermission,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Responses>,
}

#[derive(Serialize)]
struct Responses {
    /// -1: no limit.
    max: i64,
    /// Nanoseconds; -1: no limit.
    ttl: i64,
}

impl UserPermissions {
    fn of(permissions: &Permissions) -> UserPermissions {
        let named = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        let written =
            |list: &SubjectPermission| SubjectPermission { allow: named(&list.allow), deny: named(&list.deny) };
        let lists = permissions.lists();
        let signed = |number: u128| i64::try_from(number).unwrap_or(i64::MAX);
        UserPermissions {
            publish: written(&lists.publish),
            subscribe: written(&lists.subscribe),
            responses: lists.responses.map(|responses| Responses {
                max: responses.max.map_or(-1, |max| signed(max.into())),
                ttl: responses.expires.map_or(-1, |ttl| signed(ttl.as_nanos())),
            }),
        }
    }
}

/// Who sent a request with these headers; `None` if they do not tell.
pub(super) fn user(site: &Site, block: &[u8]) -> Option<UserInfo> {
    let requester = Requester::of(block)?;
    let session = site.sources.clients.session(requester.id);
    let account_name =
        if site.sources.registry.get(&requester.acc).is_some() { requester.acc.clone() } else { String::new() };
    let mut info =
        UserInfo { user: String::new(), account: requester.acc, account_name, permissions: None, expires: None };
    if let Some((session, left)) = session {
        info.user = session.user.to_string();
        info.permissions = session.permissions.as_deref().map(UserPermissions::of);
        info.expires = left.map(|left| left.as_secs() * 1_000_000_000).filter(|left| *left > 0);
    }
    Some(info)
}

/// How many clients and leafs of the asking account subscribe to what `payload` names: a subject, and perhaps a queue
/// group after a blank.
pub(super) fn subscribers(site: &Site, block: &[u8], payload: &[u8]) -> Option<usize> {
    let requester = Requester::of(block);
    let name = requester.as_ref().map(|r| if r.svc.is_empty() { &r.acc } else { &r.svc });
    let account: Arc<Account> = match name {
        Some(name) => site.sources.registry.get(name)?,
        None => site.events.account().clone(),
    };
    let text = String::from_utf8_lossy(payload);
    let mut words = text.trim().split(' ');
    Some(count(&account, words.next().unwrap_or_default(), words.next()))
}

/// The same of the account that `payload` names, as servers ask it of each other (nats-server `accNumSubsReq`), if
/// anybody is connected to it.
pub(super) fn account_subscribers(site: &Site, payload: &[u8]) -> Option<usize> {
    #[derive(Deserialize)]
    struct Asked {
        acc: String,
        #[serde(default)]
        subject: String,
        /// In base64.
        #[serde(default)]
        queue: Option<String>,
    }
    let asked: Asked = serde_json::from_slice(payload).ok()?;
    let account = site.sources.registry.get(&asked.acc)?;
    if account.clients() == 0 && !account.has_leafs() {
        return None;
    }
    let queue = asked.queue.map(|queue| STANDARD.decode(queue)).transpose().ok()?;
    let queue = queue.map(String::from_utf8).transpose().ok()?;
    Some(count(&account, &asked.subject, queue.as_deref()))
}

fn count(account: &Account, wanted: &str, queue: Option<&str>) -> usize {
    let fits = |sub: &Arc<Subscription>| {
        sub.target.kind() != TargetKind::Local
            && (queue.is_none() || sub.queue() == queue)
            && match subject::is_literal(wanted) {
                true => subject::matches(sub.subject(), wanted),
                false => subject::is_subset(sub.subject(), wanted),
            }
    };
    account.list_subscriptions().iter().filter(|sub| fits(sub)).count()
}
