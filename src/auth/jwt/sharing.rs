//! What account JWTs say of sharing: exports, imports with their activations, and mappings (nats-io/jwt `exports.go`,
//! `imports.go`, `activation_claims.go`; nats-server `accounts.go`, `updateAccountClaimsWithRefresh`, `checkActivation`).

use super::claims::{AccountClaims, null_as_default};
use super::{Claims, Kind};
use crate::account::StreamExport;
use crate::account::{Access, Import, Mappings, RESPONSE_THRESHOLD, ResponseType, Sampled, ServiceExport, Shares};
use crate::subject::{is_subset, is_valid_literal};
use nkeys::KeyPairType;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shared {
    /// Messages.
    Stream,
    /// Requests.
    Service,
}

/// Something that others may import.
#[derive(Clone, Debug, Deserialize)]
pub struct ExportClaims {
    /// Its subjects.
    #[serde(default)]
    pub subject: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Shared,
    /// Whether importers need an activation.
    #[serde(default)]
    pub token_req: bool,
    /// Accounts, or `*` for all, and the second since 1970 up to which their activations are void.
    #[serde(default, deserialize_with = "null_as_default")]
    pub revocations: BTreeMap<String, i64>,
    /// `Singleton`, `Stream` or `Chunked`; empty: the first.
    #[serde(default)]
    pub response_type: String,
    /// Nanoseconds; 0: the default.
    #[serde(default)]
    pub response_threshold: i64,
    /// Token that is the importer's key, counted from 1; 0: none.
    #[serde(default)]
    pub account_token_position: usize,
    /// Whether traces of requests go on here.
    #[serde(default)]
    pub allow_trace: bool,
    /// How the latency of a service would be sampled, which it is not.
    #[serde(default)]
    pub service_latency: Option<serde::de::IgnoredAny>,
}

/// Something of another account.
#[derive(Clone, Debug, Deserialize)]
pub struct ImportClaims {
    /// Of a stream: the exporter's subject. Of a service without `local_subject`: the importer's.
    #[serde(default)]
    pub subject: String,
    /// The exporting account.
    #[serde(default)]
    pub account: String,
    /// The activation.
    #[serde(default)]
    pub token: String,
    /// Of a stream: a prefix here. Of a service: the exporter's subject.
    #[serde(default)]
    pub to: String,
    /// Subject here, in place of `to`.
    #[serde(default)]
    pub local_subject: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Shared,
    /// Whether a service is told more of the requester.
    #[serde(default)]
    pub share: bool,
    /// Whether traces of a stream's messages go on here.
    #[serde(default)]
    pub allow_trace: bool,
}

/// One destination of a mapping.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct MappingClaims {
    /// Subject.
    pub subject: String,
    /// Percent; 0: 100.
    pub weight: u8,
    /// Cluster to which it applies; a single server is in none.
    pub cluster: String,
}

impl MappingClaims {
    /// Percent.
    pub fn weight(&self) -> u8 {
        if self.weight == 0 { 100 } else { self.weight }
    }
}

/// The right to import, which the exporter has given.
#[derive(Clone, Debug, Deserialize)]
pub struct ActivationClaims {
    /// Of what.
    #[serde(default)]
    pub subject: String,
    /// What it is.
    pub kind: Shared,
    /// The exporter, where one of its signing keys has signed.
    #[serde(default)]
    pub issuer_account: String,
}

impl Kind for ActivationClaims {
    const TYPE: &'static str = "activation";
    const ISSUERS: &'static [KeyPairType] = &[KeyPairType::Account, KeyPairType::Operator];
}

impl ImportClaims {
    /// Subject in the exporting account.
    pub fn there(&self) -> &str {
        match (self.kind, &*self.local_subject, &*self.to) {
            (Shared::Service, "", to) if !to.is_empty() => to,
            _ => &self.subject,
        }
    }

    /// As the accounts take it; `activated` says whether the exporter has given the right to it.
    fn import(&self, activated: bool) -> Import {
        let local = self.local_subject.clone();
        let (to, prefix) = match self.kind {
            _ if !local.is_empty() => (local, String::new()),
            Shared::Stream => (String::new(), self.to.clone()),
            Shared::Service => (self.subject.clone(), String::new()),
        };
        Import {
            account: self.account.clone(),
            subject: self.there().to_owned(),
            to,
            prefix,
            activated,
            share: self.share,
            traced: self.allow_trace,
        }
    }

    /// Until when the activation of `exporter` for the account `importer` holds; `None`: not (any more), `Some(None)`: for
    /// ever.
    fn activation(
        &self,
        importer: &str,
        exporter: &Claims<AccountClaims>,
        now: SystemTime,
    ) -> Option<Option<Duration>> {
        let nats = &exporter.nats;
        let covers = |export: &&ExportClaims| export.kind == self.kind && is_subset(self.there(), &export.subject);
        let exact = nats.exports.iter().find(|e| e.kind == self.kind && e.subject == self.there());
        let export = exact.or_else(|| nats.exports.iter().find(covers))?;
        let token = Claims::<ActivationClaims>::decode(&self.token).ok()?;
        let own = token.nats.issuer_account.is_empty();
        let signed = own && token.issuer == exporter.subject
            || token.nats.issuer_account == exporter.subject
                && (token.issuer == exporter.subject || nats.signing_keys.iter().any(|key| key.key == token.issuer));
        let revoked = |who: &str| export.revocations.get(who).is_some_and(|until| *until >= token.issued_at);
        let holds = signed && token.subject == importer && token.is_current(now) && !revoked(importer) && !revoked("*");
        holds.then(|| token.remaining(now))
    }
}

/// What an account shares, the other accounts being known to `other`, and when an activation in it ends.
pub fn shares<'a>(
    account: &Claims<AccountClaims>,
    other: impl Fn(&str) -> Option<&'a Claims<AccountClaims>>,
    now: SystemTime,
) -> (Shares, Option<Duration>) {
    let trace = &account.nats.trace;
    let percent = u8::try_from(trace.sampling).ok().filter(|percent| (1..=100).contains(percent)).unwrap_or(100);
    let sampled = is_valid_literal(&trace.dest).then(|| Sampled { dest: trace.dest.clone(), percent });
    let mut shares = Shares { sampled, ..Shares::default() };
    for export in &account.nats.exports {
        let access = match (export.account_token_position, export.token_req) {
            (0, false) => Access::Public,
            (0, true) => Access::Activation,
            (position, _) => Access::Token(position),
        };
        let subject = export.subject.clone();
        match export.kind {
            Shared::Stream => shares.streams.push(StreamExport { subject, access }),
            Shared::Service => shares.services.push(ServiceExport {
                subject,
                access,
                response: match &*export.response_type {
                    "Stream" => ResponseType::Stream,
                    "Chunked" => ResponseType::Chunked,
                    _ => ResponseType::Singleton,
                },
                threshold: match u64::try_from(export.response_threshold) {
                    Ok(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds),
                    _ => RESPONSE_THRESHOLD,
                },
                traced: export.allow_trace,
            }),
        }
    }
    let mut change = None;
    for import in &account.nats.imports {
        let exporter = other(&import.account).filter(|_| !import.token.is_empty());
        let until = exporter.and_then(|exporter| import.activation(&account.subject, exporter, now));
        change = [change, until.flatten()].into_iter().flatten().min();
        let list = match import.kind {
            Shared::Stream => &mut shares.stream_imports,
            Shared::Service => &mut shares.service_imports,
        };
        list.push(import.import(until.is_some()));
    }
    (shares, change)
}

/// The mappings of an account; what cannot be mapped is left out, with a line in the log.
pub fn mappings(account: &Claims<AccountClaims>) -> Mappings {
    let mut mappings = Mappings::default();
    for (source, destinations) in &account.nats.mappings {
        let everywhere = destinations.iter().filter(|to| to.cluster.is_empty());
        if let Err(error) = mappings.add(source, everywhere.map(|to| (&*to.subject, to.weight()))) {
            tracing::error!("account {} ({}): mapping of {source:?}: {error}", account.subject, account.name);
        }
    }
    mappings
}
