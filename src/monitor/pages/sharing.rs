//! What an account shares and maps, as `/accountz` tells it (nats-server `monitor.go`, `ExtExport`, `ExtImport`, `ExtMap`).

use crate::account::{Account, ImportView};
use crate::config::Config;
use crate::config::accounts::{ExportConfig, Mapping, ResponseType};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
pub(super) struct Export {
    subject: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approved_accounts: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Import {
    subject: String,
    account: String,
    /// Of a service its subject here once more, under its old name.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    local_subject: String,
    #[serde(rename = "type")]
    kind: &'static str,
    invalid: bool,
    share: bool,
    tracking: bool,
}

#[derive(Serialize)]
pub(super) struct Destination {
    subject: String,
    weight: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
}

/// What `config` has the account `name` export.
pub(super) fn exports(config: &Config, name: &str) -> Vec<Export> {
    let export = |export: &ExportConfig| {
        let (subject, kind) = match (&export.stream, &export.service) {
            (Some(subject), _) => (subject, "stream"),
            (None, Some(subject)) => (subject, "service"),
            (None, None) => return None,
        };
        let response_type = (kind == "service").then_some(match export.response_type {
            ResponseType::Singleton => "Singleton",
            ResponseType::Stream => "Streamed",
            ResponseType::Chunked => "Chunked",
        });
        let approved_accounts = export.accounts.clone().unwrap_or_default();
        Some(Export { subject: subject.clone(), kind, response_type, approved_accounts })
    };
    config.accounts.get(name).into_iter().flat_map(|account| &account.exports).filter_map(export).collect()
}

/// What `account` imports, what every account asks the system account for among it.
pub(super) fn imports(account: &Account) -> Vec<Import> {
    let import = |view: ImportView| Import {
        subject: view.subject,
        account: view.account,
        to: (!view.is_stream).then(|| view.to.clone()),
        local_subject: view.to,
        kind: if view.is_stream { "stream" } else { "service" },
        invalid: false,
        share: view.shares,
        tracking: false,
    };
    account.imports().into_iter().map(import).collect()
}

/// What `config` has the account `name` map.
pub(super) fn mappings(config: &Config, name: &str) -> BTreeMap<String, Vec<Destination>> {
    let global = (name == crate::account::GLOBAL_ACCOUNT).then_some(&config.mappings);
    let own = config.accounts.get(name).map(|account| &account.mappings);
    let destinations = |mapping: &Mapping| {
        let of = |to: &crate::config::accounts::MappingDestination| Destination {
            subject: to.destination.clone(),
            weight: to.weight,
            cluster: to.cluster.clone(),
        };
        mapping.0.iter().map(of).collect()
    };
    global.into_iter().chain(own).flatten().map(|(from, mapping)| (from.clone(), destinations(mapping))).collect()
}
