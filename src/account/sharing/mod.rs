//! What accounts share: stream exports and imports (messages of another account), service exports and imports (requests to
//! another account, and the answers to them).
//!
//! A stream import gives each subscription that overlaps it a shadow in the exporting account ([`stream`]). A service import
//! takes what is published to its subject over to the exporting account ([`service`]), with a reply subject there
//! (`_R_.ACCOUNT.RANDOM`) from which answers find their way back ([`replies`]). The rules and texts are those of
//! nats-server's `accounts.go`. An account that shares nothing pays one branch for each message and subscription.

mod plan;
mod replies;
mod request_info;
mod service;
mod stream;
mod system;
mod view;

pub use plan::{Reason, ShareError, Shares, check, share};
pub(super) use service::{Hop, ServiceImport, stand_in};
pub use view::ImportView;

use super::{Account, Subscription};
use crate::subject::Index;
use replies::Replies;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use stream::{Shadows, StreamImport};

/// Who may import an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// All accounts.
    #[default]
    Public,
    /// These accounts.
    Accounts(Vec<String>),
    /// Accounts whose import is [`Import::activated`].
    Activation,
    /// The account whose name is this token, counted from 1, of the imported subject.
    Token(usize),
}

/// Messages that others may receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamExport {
    /// Their subjects.
    pub subject: String,
    /// Who may import them.
    pub access: Access,
}

/// How many answers a service gives to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseType {
    /// One.
    #[default]
    Singleton,
    /// Any number, until one is empty, the requester's interest is gone or none comes for the threshold.
    Stream,
    /// One in pieces: as `Stream` on the way.
    Chunked,
}

/// Time without an answer after which none is taken any more, unless set otherwise (nats-server's
/// `DEFAULT_SERVICE_EXPORT_RESPONSE_THRESHOLD`).
pub const RESPONSE_THRESHOLD: Duration = Duration::from_secs(2 * 60);

/// Requests that others may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceExport {
    /// Their subjects.
    pub subject: String,
    /// Who may import it.
    pub access: Access,
    /// How many answers there are.
    pub response: ResponseType,
    /// Time after which no answer is taken any more.
    pub threshold: Duration,
    /// Whether traces of requests go on here.
    pub traced: bool,
}

/// An import as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Import {
    /// The exporting account.
    pub account: String,
    /// Subject there.
    pub subject: String,
    /// Subject here; empty: the same.
    pub to: String,
    /// Token put before the subject of a stream's messages; not with `to`.
    pub prefix: String,
    /// Whether the exporter has given the right to it.
    pub activated: bool,
    /// Whether a service is told who asks, and not only from which account.
    pub share: bool,
    /// Whether traces of a stream's messages go on here.
    pub traced: bool,
}

/// What is in force in an account.
pub(super) struct Sharing {
    /// Whether there are stream imports; read without a lock by each subscription.
    streams: AtomicBool,
    stream_imports: RwLock<Arc<[Arc<StreamImport>]>>,
    shadows: Mutex<Shadows>,
    /// Whether there are service imports; read without a lock where routes are looked up.
    requests: AtomicBool,
    services: RwLock<Services>,
    /// Answers that are expected from this account.
    pub replies: Replies,
}

impl Default for Sharing {
    fn default() -> Self {
        Sharing {
            streams: AtomicBool::new(false),
            stream_imports: RwLock::new(Arc::new([])),
            shadows: Mutex::default(),
            requests: AtomicBool::new(false),
            services: RwLock::default(),
            replies: Replies::default(),
        }
    }
}

#[derive(Default)]
struct Services {
    imports: Index<Arc<ServiceImport>>,
    /// Those of the system account that every account has; leafs are not told of them.
    system: Vec<Arc<ServiceImport>>,
    /// Stand for the interest in what is imported and in answers, for leafs.
    interest: Vec<Arc<Subscription>>,
}

impl Sharing {
    /// Calls `each` with what stands for the interest in services and answers.
    pub fn for_each_interest(&self, each: impl FnMut(&Arc<Subscription>)) {
        self.services.read().unwrap_or_else(PoisonError::into_inner).interest.iter().for_each(each);
    }

    /// The service imports that take `subject`.
    pub fn services(&self, subject: &str) -> Vec<Arc<ServiceImport>> {
        let mut found = Vec::new();
        if self.requests.load(Ordering::Acquire) {
            let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
            services.imports.lookup(subject, &mut |import: &Arc<ServiceImport>| found.push(import.clone()));
        }
        found
    }
}

impl Account {
    /// Puts these imports in force in place of those there were; `exports` says whether others make requests here.
    fn set_imports(&self, streams: Vec<Arc<StreamImport>>, services: Vec<Arc<ServiceImport>>, exports: bool) {
        let mut index = Index::default();
        let mut interest = Vec::new();
        let system = self.sharing.services.read().unwrap_or_else(PoisonError::into_inner).system.clone();
        for (key, import) in system.iter().enumerate() {
            index.insert(import.from(), key as u64, import.clone());
        }
        for (key, import) in (system.len()..).zip(services) {
            interest.push(Arc::new(import.interest()));
            index.insert(import.from(), key as u64, import.clone());
        }
        if exports {
            interest.push(Arc::new(self.sharing.replies.interest()));
        }
        self.with_watchers(|watchers| {
            let mut services = self.sharing.services.write().unwrap_or_else(PoisonError::into_inner);
            for (_, watcher) in watchers {
                interest.iter().for_each(|sub| watcher.added(sub));
                services.interest.iter().for_each(|sub| watcher.removed(sub));
            }
            self.sharing.requests.store(!index.is_empty(), Ordering::Release);
            *services = Services { imports: index, system, interest };
        });
        self.forget_routes();
        let imports = !streams.is_empty();
        *self.sharing.stream_imports.write().unwrap_or_else(PoisonError::into_inner) = streams.into();
        // Set before all are gone through, so that a subscription that is made meanwhile is not forgotten, and reset after.
        self.sharing.streams.fetch_or(imports, Ordering::AcqRel);
        self.refresh_shadows();
        self.sharing.streams.store(imports, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
