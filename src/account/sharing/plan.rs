//! From what accounts export and want to import to the imports in force: who may, what collides, what would go in circles.
//! Exports are taken first, then stream imports, then service imports, so that the order of the accounts does not matter.

use super::service::ServiceImport;
use super::stream::StreamImport;
use super::{Access, Import, ServiceExport, StreamExport};
use crate::account::{Account, Sampled};
use crate::subject::{Transform, TransformError, is_literal, is_subset, is_valid, overlap, placeholders, wildcards};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many accounts a search for cycles goes through (nats-server's `MaxAccountCycleSearchDepth`).
const MAX_DEPTH: usize = 1024;

/// What one account exports and imports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Messages that others may receive.
    pub streams: Vec<StreamExport>,
    /// Requests that others may make.
    pub services: Vec<ServiceExport>,
    /// Messages of others.
    pub stream_imports: Vec<Import>,
    /// Requests to others.
    pub service_imports: Vec<Import>,
    /// Which of its messages are traced.
    pub sampled: Option<Sampled>,
}

/// An export or import that is not right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account {account}: {kind} {subject:?}: {reason}")]
pub struct ShareError {
    /// Whose it is.
    pub account: String,
    /// `stream export`, `service export`, `stream import` or `service import`.
    pub kind: &'static str,
    /// The exporter's subject.
    pub subject: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an export or import; the texts are nats-server's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No subject that can be subscribed to.
    #[error("invalid subject")]
    InvalidSubject,
    /// The account position is not that of a `*` of the export.
    #[error("account_token_position {0}: the subject has no * there")]
    NoToken(usize),
    /// It names an account that is not there.
    #[error("{0:?} account not defined")]
    UnknownAccount(String),
    /// Not exported, or not to this account.
    #[error("stream import not authorized")]
    StreamNotAuthorized,
    /// Not exported, or not to this account.
    #[error("service import not authorized")]
    ServiceNotAuthorized,
    /// The prefix has wildcards or is no subject.
    #[error("stream import prefix can not contain wildcard tokens")]
    BadPrefix,
    /// The same stream is imported twice.
    #[error("stream import already exists")]
    Duplicate,
    /// A service of the same account is imported under that subject already.
    #[error(
        "duplicate service import subject {from:?}, previously used in import for account {account:?}, subject {to:?}"
    )]
    DuplicateService {
        /// Subject here.
        from: String,
        /// The exporting account.
        account: String,
        /// Subject there.
        to: String,
    },
    /// Messages would go round.
    #[error("import forms a cycle")]
    Cycle,
    /// More accounts in a row than are searched.
    #[error("search cycle depth exhausted")]
    Depth,
    /// The subjects of the two sides do not fit each other.
    #[error("failed to create mapping transform from {from:?} to {to:?}: {error}")]
    Transform {
        /// Subject here.
        from: String,
        /// Subject there.
        to: String,
        /// Why not.
        error: TransformError,
    },
}

/// Has each account share what stands in `shares` under its name, in place of what it shared before; `account` gives the
/// account of a name. One that shall share nothing any more stands there with nothing. What is wrong is left out, and the
/// rest put in force: accounts of different owners do not depend on each other. Returns what was left out.
pub fn share(shares: &BTreeMap<String, Shares>, account: impl Fn(&str) -> Arc<Account>) -> Vec<ShareError> {
    let (plan, wrong) = Plan::draft(shares);
    if wrong.is_empty() {
        plan.put_all_in_force(&account);
        return wrong;
    }
    let mut shares = shares.clone();
    let (exports, _): (Vec<ShareError>, Vec<_>) = wrong.into_iter().partition(|error| error.kind.ends_with("export"));
    for (name, own) in &mut shares {
        let is_wrong = |kind: &str, subject: &str| {
            exports.iter().any(|e| e.account == *name && e.kind == kind && e.subject == subject)
        };
        own.streams.retain(|export| !is_wrong("stream export", &export.subject));
        own.services.retain(|export| !is_wrong("service export", &export.subject));
    }
    let (plan, imports) = Plan::draft(&shares);
    plan.put_all_in_force(&account);
    exports.into_iter().chain(imports).collect()
}

/// Says what is wrong with `shares`, without any account.
///
/// # Errors
/// All that is wrong.
pub fn check(shares: &BTreeMap<String, Shares>) -> Result<(), Vec<ShareError>> {
    Plan::new(shares).map(|_| ())
}

/// An import that was found right.
#[derive(Clone, Debug)]
struct Planned {
    account: String,
    /// Subject there, wildcards as such.
    subject: String,
    /// Subject here, wildcards as such.
    to: String,
    /// For a stream from there to here, for a service from here to there; `None` where the subject stays, or has no wildcard.
    transform: Option<Transform>,
    /// Whether a service is told who asks.
    share: bool,
    /// Whether traces of a stream's messages go on here.
    traced: bool,
}

struct Plan<'a> {
    shares: &'a BTreeMap<String, Shares>,
    streams: BTreeMap<&'a str, Vec<Planned>>,
    services: BTreeMap<&'a str, Vec<Planned>>,
}

impl<'a> Plan<'a> {
    fn new(shares: &'a BTreeMap<String, Shares>) -> Result<Self, Vec<ShareError>> {
        let (plan, errors) = Plan::draft(shares);
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    /// The plan of what is right, and what is wrong.
    fn draft(shares: &'a BTreeMap<String, Shares>) -> (Self, Vec<ShareError>) {
        let mut plan = Plan { shares, streams: BTreeMap::new(), services: BTreeMap::new() };
        let mut errors = Vec::new();
        let mut note = |account: &str, kind, subject: &str, result: Result<(), Reason>| {
            if let Err(reason) = result {
                errors.push(ShareError { account: account.to_owned(), kind, subject: subject.to_owned(), reason });
            }
        };
        for (name, own) in shares {
            for export in &own.streams {
                note(name, "stream export", &export.subject, plan.check_export(&export.subject, &export.access));
            }
            for export in &own.services {
                note(name, "service export", &export.subject, plan.check_export(&export.subject, &export.access));
            }
        }
        for (name, own) in shares {
            for import in &own.stream_imports {
                note(name, "stream import", &import.subject, plan.add_stream(name, import));
            }
        }
        for (name, own) in shares {
            for import in &own.service_imports {
                note(name, "service import", &import.subject, plan.add_service(name, import));
            }
        }
        (plan, errors)
    }

    fn put_all_in_force(&self, account: &impl Fn(&str) -> Arc<Account>) {
        self.shares.keys().for_each(|name| self.put_in_force(name, account));
    }

    fn put_in_force(&self, name: &str, account: impl Fn(&str) -> Arc<Account>) {
        let importer = account(name);
        let streams = self.streams.get(name).into_iter().flatten().map(|import| {
            Arc::new(StreamImport::new(
                &account(&import.account),
                &import.subject,
                &import.to,
                import.transform.clone(),
                import.traced,
            ))
        });
        let services = self.services.get(name).into_iter().flatten().map(|import| {
            let export = self.service_export(&import.account, &import.subject);
            let (from, to, transform) = (&import.to, &import.subject, import.transform.clone());
            let exporter = account(&import.account);
            let service = ServiceImport::new(&importer, &exporter, from, to, transform, export);
            Arc::new(if import.share { service.describing() } else { service })
        });
        let exports = self.shares.get(name).is_some_and(|shares| !shares.services.is_empty());
        importer.set_sampled(self.shares.get(name).and_then(|shares| shares.sampled.clone()));
        importer.set_imports(streams.collect(), services.collect(), exports);
    }

    fn check_export(&self, subject: &str, access: &Access) -> Result<(), Reason> {
        match access {
            _ if !is_valid(subject) => Err(Reason::InvalidSubject),
            Access::Token(at) if *at == 0 || subject.split('.').nth(at - 1) != Some("*") => Err(Reason::NoToken(*at)),
            Access::Accounts(names) => match names.iter().find(|name| !self.shares.contains_key(*name)) {
                Some(name) => Err(Reason::UnknownAccount(name.clone())),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn exporter(&self, name: &str) -> Result<&'a Shares, Reason> {
        self.shares.get(name).ok_or_else(|| Reason::UnknownAccount(name.to_owned()))
    }

    /// The export of `account` that covers `subject`.
    fn service_export(&self, account: &str, subject: &str) -> Option<&'a ServiceExport> {
        covering(&self.shares.get(account)?.services, subject, |export| &export.subject)
    }

    fn add_stream(&mut self, name: &'a str, import: &Import) -> Result<(), Reason> {
        let exporter = self.exporter(&import.account)?;
        let subject = &import.subject;
        let export = covering(&exporter.streams, subject, |export| &export.subject);
        if !is_valid(subject) || !export.is_some_and(|e| e.access.allows(name, import, *subject == e.subject)) {
            return Err(Reason::StreamNotAuthorized);
        }
        let to = match (&*import.prefix, &*import.to) {
            ("", "") => subject.clone(),
            ("", to) => to.to_owned(),
            (prefix, _) if !is_literal(prefix) => return Err(Reason::BadPrefix),
            (prefix, _) => format!("{}.{subject}", prefix.strip_suffix('.').unwrap_or(prefix)),
        };
        if !is_valid(&wildcards(&to)) {
            return Err(Reason::InvalidSubject);
        }
        for subject in [&to, subject] {
            self.stream_cycle(&import.account, subject, &mut BTreeSet::from([name]))?;
        }
        let mut planned = Planned {
            account: import.account.clone(),
            subject: subject.clone(),
            to: wildcards(&to),
            transform: None,
            share: false,
            traced: import.traced,
        };
        if !is_literal(subject) && to != *subject {
            let error = |error| Reason::Transform { from: subject.clone(), to: to.clone(), error };
            planned.transform = Some(Transform::strict(subject, &placeholders(&to)).map_err(error)?);
        }
        let own = self.streams.entry(name).or_default();
        if own.iter().any(|other| other.account == import.account && other.subject == *subject) {
            return Err(Reason::Duplicate);
        }
        own.push(planned);
        Ok(())
    }

    fn add_service(&mut self, name: &'a str, import: &Import) -> Result<(), Reason> {
        self.exporter(&import.account)?;
        let there = &import.subject;
        let here = if import.to.is_empty() { there } else { &import.to };
        if !is_valid(here) || !is_valid(there) {
            return Err(Reason::InvalidSubject);
        }
        let export = self.service_export(&import.account, there);
        if !export.is_some_and(|e| e.access.allows(name, import, *there == e.subject)) {
            return Err(Reason::ServiceNotAuthorized);
        }
        let mut planned = Planned {
            account: import.account.clone(),
            subject: there.clone(),
            to: here.clone(),
            transform: None,
            share: import.share,
            traced: false,
        };
        if !is_literal(there) {
            planned.to = wildcards(here);
        }
        self.service_cycle(&import.account, &planned.to, &mut BTreeSet::from([name]))?;
        if !is_literal(there) && here != there {
            let error = |error| Reason::Transform { from: here.clone(), to: there.clone(), error };
            // The other way round, as `$1` on our side stands for a wildcard of the other.
            let back = Transform::strict(there, &placeholders(here)).map_err(error)?;
            planned.transform = back.reverse();
        }
        let own = self.services.entry(name).or_default();
        if let Some(other) = own.iter().find(|other| other.account == import.account && other.to == planned.to) {
            return Err(Reason::DuplicateService {
                from: here.clone(),
                account: other.account.clone(),
                to: other.subject.clone(),
            });
        }
        own.push(planned);
        Ok(())
    }

    /// Whether what is requested of `account` on `from` comes to an account that was `visited`.
    fn service_cycle<'b>(
        &'b self,
        account: &'b str,
        from: &str,
        visited: &mut BTreeSet<&'b str>,
    ) -> Result<(), Reason> {
        if visited.len() >= MAX_DEPTH {
            return Err(Reason::Depth);
        }
        for import in self.services.get(account).into_iter().flatten().filter(|i| overlap(from, &i.subject)) {
            if visited.contains(&*import.account) {
                return Err(Reason::Cycle);
            }
            visited.insert(account);
            let narrower = if is_subset(&import.to, from) { &import.to } else { from };
            self.service_cycle(&import.account, narrower, visited)?;
        }
        Ok(())
    }

    /// Whether the messages that `account` exports on `to` come from an account that was `visited`.
    fn stream_cycle<'b>(&'b self, account: &'b str, to: &str, visited: &mut BTreeSet<&'b str>) -> Result<(), Reason> {
        if visited.len() >= MAX_DEPTH {
            return Err(Reason::Depth);
        }
        let exports = self.shares.get(account).map(|shares| &shares.streams);
        if !exports.into_iter().flatten().any(|export| is_subset(to, &export.subject)) {
            return Ok(());
        }
        for import in self.streams.get(account).into_iter().flatten().filter(|i| overlap(to, &i.to)) {
            if visited.contains(&*import.account) {
                return Err(Reason::Cycle);
            }
            visited.insert(account);
            let narrower = if is_subset(&import.to, to) { &import.to } else { to };
            self.stream_cycle(&import.account, narrower, visited)?;
        }
        Ok(())
    }
}

impl Access {
    /// Whether the account `name` may have `import`, whose subject may be `exactly` the export's.
    fn allows(&self, name: &str, import: &Import, exactly: bool) -> bool {
        let subject = &import.subject;
        match self {
            Access::Activation => import.activated,
            Access::Public => true,
            Access::Accounts(names) => names.iter().any(|allowed| allowed == name),
            Access::Token(at) => !exactly && at.checked_sub(1).and_then(|at| subject.split('.').nth(at)) == Some(name),
        }
    }
}

/// The export of exactly `subject`, else one that covers it.
fn covering<'e, E>(exports: &'e [E], subject: &str, of: impl Fn(&E) -> &str) -> Option<&'e E> {
    let exact = exports.iter().find(|export| of(export) == subject);
    exact.or_else(|| exports.iter().find(|export| is_subset(subject, of(export))))
}
