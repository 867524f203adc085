//! What the system account is told of clients.

use super::client::Client;
use super::listener::Shared;
use super::outbound::CloseReason;
use super::snapshot::ClientSnapshot;
use crate::account::{Describe, TargetId};
use crate::events::{ClientInfo, Ended, MsgBytes};
use serde_json::{Map, Value};
use std::time::SystemTime;

impl Shared {
    /// `client` was let in.
    pub fn tell_connected(&self, client: &Client) {
        let account = client.session().account.clone();
        self.events.connected(account.name(), || ClientInfo { rtt: None, ..info(&client.snapshot(0)) });
    }

    /// `client` is turned away for `reason`; it has no account yet.
    pub fn tell_refused(&self, client: &Client, reason: &CloseReason) {
        self.events.refused(self.accounts.global(), || ended(client, reason));
    }

    /// `client` has ended, or is about to.
    pub fn tell_disconnected(&self, client: &Client, reason: &CloseReason) {
        let account = client.session().account.clone();
        self.events.disconnected(account.name(), || ended(client, reason));
    }
}

impl Describe for Shared {
    fn describe(&self, id: TargetId) -> Option<Map<String, Value>> {
        let client = self.registry.client(id.get())?.snapshot(0);
        let labels = client.labels.as_deref();
        let name_tag = labels.map(|labels| labels.user_name.clone()).unwrap_or_default();
        // With a bearer's JWT the service could pass for who asks; nats-server hands it on.
        let jwt = client.jwt.clone().filter(|_| labels.is_some_and(|labels| !labels.bearer));
        let info = ClientInfo { name_tag, jwt, ..info(&client) };
        let Ok(Value::Object(mut info)) = serde_json::to_value(info) else { return None };
        info.insert("server".to_owned(), self.options.server_name.clone().into());
        Some(info)
    }
}

fn info(client: &ClientSnapshot) -> ClientInfo {
    let labels = client.labels.as_deref();
    ClientInfo {
        start: Some(client.started),
        host: client.address.ip().to_string(),
        id: client.cid,
        acc: client.account.clone(),
        user: client.user.clone(),
        name: client.name.clone(),
        lang: client.lang.clone(),
        version: client.version.clone(),
        rtt: client.rtt,
        stop: None,
        jwt: client.jwt.clone(),
        issuer_key: labels.map(|labels| labels.issuer_key.clone()).unwrap_or_default(),
        tags: labels.map(|labels| labels.tags.clone()).unwrap_or_default(),
        name_tag: labels.map_or(&client.account, |labels| &labels.account_name).clone(),
        kind: "Client",
        client_type: if client.websocket { "websocket" } else { "nats" },
    }
}

fn ended(client: &Client, reason: &CloseReason) -> Ended {
    let client = client.snapshot(0);
    let totals = client.totals;
    Ended {
        client: ClientInfo { stop: Some(SystemTime::now()), ..info(&client) },
        sent: MsgBytes { msgs: totals.in_msgs, bytes: totals.in_bytes },
        received: MsgBytes { msgs: totals.out_msgs, bytes: totals.out_bytes },
        reason: reason.to_string(),
    }
}
