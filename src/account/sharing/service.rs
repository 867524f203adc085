//! Service imports: what is published to an import's subject is a request in the exporting account, and what is published
//! there to its reply subject is an answer in the requester's account (nats-server's `processServiceImport`).

use super::replies::Terms;
use super::{ImportView, RESPONSE_THRESHOLD, ResponseType, ServiceExport, request_info};
use crate::account::router::Passage;
use crate::account::{Account, Batch, Message, RouteCache, Subscription, Target, TargetId, TargetKind, untraced};
use crate::subject::Transform;
use serde_json::Map;
use std::borrow::Cow;
use std::sync::{Arc, Mutex, Weak};

/// Reply subjects of consumers' messages, which must stay: acknowledgements are imported under them.
const ACK_PREFIX: &str = "$JS.ACK.";

/// A service import in force.
pub(in crate::account) struct ServiceImport {
    /// The importing account.
    importer: Weak<Account>,
    exporter: Weak<Account>,
    /// Subject here.
    from: Box<str>,
    /// Subject there.
    to: Box<str>,
    /// From here to there; `None` where the subject stays, or has no wildcard there.
    transform: Option<Transform>,
    terms: Arc<Terms>,
    /// Whether traces go on there.
    traced: bool,
    /// Whether the service is told which connection asks.
    shares: bool,
    /// Whether it is told all of it.
    describes: bool,
    /// Of the exporting account, for all requests.
    cache: Mutex<RouteCache>,
}

/// An import or an answer that a message came through on its way.
#[derive(Clone, Copy)]
pub(in crate::account) struct Hop<'a> {
    export: &'a str,
    /// The import tells all of who asks.
    describes: bool,
    previous: Option<&'a Hop<'a>>,
}

impl Hop<'_> {
    fn came_through(&self, export: &str) -> bool {
        self.export == export || self.previous.is_some_and(|hop| hop.came_through(export))
    }
}

impl ServiceImport {
    pub(super) fn new(
        importer: &Arc<Account>,
        exporter: &Arc<Account>,
        from: &str,
        to: &str,
        transform: Option<Transform>,
        export: Option<&ServiceExport>,
    ) -> Self {
        let name = exporter.name();
        let terms = Terms {
            export: export.map_or_else(|| format!("{name} {to}"), |e| format!("{name} {}", e.subject)).into(),
            response: export.map_or(ResponseType::Singleton, |e| e.response),
            threshold: export.map_or(RESPONSE_THRESHOLD, |e| e.threshold),
        };
        ServiceImport {
            importer: Arc::downgrade(importer),
            exporter: Arc::downgrade(exporter),
            from: from.into(),
            to: to.into(),
            transform,
            terms: Arc::new(terms),
            traced: export.is_some_and(|export| export.traced),
            shares: false,
            describes: false,
            cache: Mutex::default(),
        }
    }

    /// For monitoring.
    pub(super) fn view(&self) -> ImportView {
        ImportView {
            is_stream: false,
            account: self.exporter.upgrade().map(|account| account.name().to_owned()).unwrap_or_default(),
            subject: self.to.to_string(),
            to: self.from.to_string(),
            shares: self.shares || self.describes,
        }
    }

    /// One that tells the service all of who asks (`share`).
    pub(super) fn describing(self) -> Self {
        ServiceImport { describes: true, ..self }
    }

    /// One that tells the service which connection asks.
    pub(super) fn sharing(self) -> Self {
        ServiceImport { shares: true, ..self }
    }

    /// Subject here.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Stands for the interest in the import, for leafs: they must send what is requested.
    pub fn interest(&self) -> Subscription {
        stand_in(&self.from)
    }

    /// Requests of the exporting account what was published here for `to`. Whether anybody there got it.
    pub fn request(&self, passage: &Passage<'_>, to: &str, message: &Message<'_>, batch: &mut Batch) -> bool {
        if passage.via.is_some_and(|hop| hop.came_through(&self.terms.export)) {
            return false;
        }
        let (Some(importer), Some(exporter)) = (self.importer.upgrade(), self.exporter.upgrade()) else { return false };
        let Some(subject) = self.subject_there(to) else { return false };
        let mapped = exporter.map(&subject, &mut RouteCache::default());
        let Some(subject) = mapped.of(&subject) else { return false };
        let mut only_traced = false;
        if let Some(trace) = &mut batch.trace {
            trace.imported(exporter.name(), to, subject);
            only_traced = trace.only;
        }
        let ends = batch.trace.is_some() && !self.traced;
        if ends && only_traced {
            return false;
        }
        let own_reply = match message.reply {
            "" => None,
            reply if reply.starts_with(ACK_PREFIX) => None,
            reply => match exporter.sharing.replies.expect(&self.importer, reply, &self.terms) {
                Some(own) => Some(own),
                None => {
                    tracing::warn!(
                        "account {}: too many requests wait for an answer; one from {} on {subject} is not made",
                        exporter.name(),
                        importer.name()
                    );
                    return false;
                }
            },
        };
        let id = passage.origin.id;
        let told = match passage.via {
            None if self.describes => importer.describe(id),
            // One that shares behind one that does not adds where the request was made, and no more.
            Some(hop) if self.describes && !hop.describes => {
                let mut told = importer.describe(id);
                told.retain(|key, _| key == "server");
                told
            }
            _ if self.shares => Map::from_iter([("id".to_owned(), id.get().into())]),
            // What was said at a first import stays.
            _ => Map::new(),
        };
        let mut headers = request_info::add(message.headers, importer.name(), told, passage.via.is_some());
        let held = ends.then(|| {
            headers = untraced(&headers);
            batch.trace.take()
        });
        let request = Message {
            subject: if to == message.subject { subject } else { message.subject },
            reply: own_reply.as_deref().unwrap_or(message.reply),
            headers: &headers,
            payload: message.payload,
        };
        let hop = Hop { export: &self.terms.export, describes: self.describes, previous: passage.via };
        let passage = Passage { origin: passage.origin, only: None, via: Some(&hop) };
        // Another request may be under way, on another thread or as the one that led here.
        let reached = match self.cache.try_lock() {
            Ok(mut cache) => exporter.route_on(&passage, subject, &request, &mut cache, batch),
            Err(_) => exporter.route_on(&passage, subject, &request, &mut RouteCache::default(), batch),
        };
        if let Some(trace) = held {
            batch.trace = trace;
        }
        if reached == 0
            && let Some(own) = &own_reply
        {
            exporter.sharing.replies.forget(own);
        }
        reached > 0
    }

    fn subject_there<'a>(&'a self, subject: &'a str) -> Option<Cow<'a, str>> {
        match &self.transform {
            Some(transform) => transform.rewrite(subject).map(Cow::Owned),
            None if self.from == self.to => Some(Cow::Borrowed(subject)),
            None => Some(Cow::Borrowed(&self.to)),
        }
    }
}

impl Account {
    /// Whether somebody listens to the answers on `subject`, a reply subject of ours (nats-server's
    /// `trackDownAccountAndInterest`).
    pub(in crate::account) fn owes_answer(&self, subject: &str) -> bool {
        let replies = &self.sharing.replies;
        let reply = replies.owns(subject).then(|| replies.find(subject)).flatten();
        reply
            .is_some_and(|reply| reply.requester.upgrade().is_some_and(|account| account.has_interest(&reply.to, None)))
    }

    /// Gives what was published here for `to`, a reply subject of ours, to the requester. A message that a consumer delivers
    /// keeps the subject of its own. Whether anybody got it.
    pub(in crate::account) fn answer(
        &self,
        passage: &Passage<'_>,
        to: &str,
        message: &Message<'_>,
        batch: &mut Batch,
    ) -> bool {
        let replies = &self.sharing.replies;
        let Some(reply) = replies.find(to) else { return false };
        let terms = &reply.terms;
        let reached = match reply.requester.upgrade() {
            _ if passage.via.is_some_and(|hop| hop.came_through(&terms.export)) => return false,
            None => 0,
            Some(requester) => {
                // An answer may ask for one in turn.
                let own_reply = match message.reply {
                    "" => None,
                    again if again.starts_with(ACK_PREFIX) => None,
                    again => requester.sharing.replies.expect(self.weak(), again, terms),
                };
                let subject = if to == message.subject { &reply.to } else { message.subject };
                let answer = Message { subject, reply: own_reply.as_deref().unwrap_or(message.reply), ..*message };
                // An answer tells of nobody, and nothing is added where one goes on as a request.
                let hop = Hop { export: &terms.export, describes: true, previous: passage.via };
                let passage = Passage { origin: passage.origin, only: None, via: Some(&hop) };
                let reached = requester.route_on(&passage, &reply.to, &answer, &mut RouteCache::default(), batch);
                if reached == 0
                    && let Some(own) = &own_reply
                {
                    requester.sharing.replies.forget(own);
                }
                reached
            }
        };
        let last = terms.response == ResponseType::Singleton || message.size() == 0;
        if reached == 0 || last {
            replies.forget(to);
        } else {
            replies.prolong(to);
        }
        reached > 0
    }
}

/// A subscription that only stands for interest; nothing is delivered to it.
pub(in crate::account) fn stand_in(subject: &str) -> Subscription {
    Subscription::new(subject, None, "", Arc::new(Nobody(TargetId::next())))
}

struct Nobody(TargetId);

impl Target for Nobody {
    fn id(&self) -> TargetId {
        self.0
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], _: &Message<'_>, _: &mut Batch) {}
}
