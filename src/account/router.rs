//! The router of one account: subscriptions in, messages out.

use super::seat::Seats;
use super::sharing::{Hop, ServiceImport, Sharing};
use super::trace::{self, Party, Trace};
use super::{Batch, Describe, InterestWatcher, Message, RouteCache, Subscription, TargetId, TargetKind, mapping};
use crate::subject::Index;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

/// An account: a subject space of its own.
pub struct Account {
    name: Box<str>,
    index: RwLock<Index<Arc<Subscription>>>,
    /// Grows with each change of the index; read without a lock by every [`RouteCache`].
    generation: AtomicU64,
    /// Subscriptions ever added.
    inserts: AtomicU64,
    watchers: Mutex<Vec<(TargetId, Arc<dyn InterestWatcher>)>>,
    pub(super) mappings: mapping::InForce,
    pub(super) sharing: Sharing,
    pub(super) sampling: trace::Sampling,
    /// Who knows its connections.
    pub(super) who: OnceLock<Weak<dyn Describe>>,
    pub(super) clients: Seats,
    /// That connect to us.
    pub(super) leafs: Seats,
    this: Weak<Account>,
}

/// Members behind one leaf connection that count when a queue group chooses.
const MAX_WEIGHT: u32 = 256;

/// Who publishes.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The publishing target.
    pub id: TargetId,
    /// Whether its own subscriptions get the message too (`echo` in CONNECT). Never for a leaf.
    pub echo: bool,
}

/// How a message comes to an account.
#[derive(Clone, Copy)]
pub(super) struct Passage<'a> {
    pub origin: Origin,
    /// The only queue groups that are served, where the sending leaf has chosen them.
    pub only: Option<&'a [&'a str]>,
    /// The service import or answer by which it came from another account.
    pub via: Option<&'a Hop<'a>>,
}

/// Where one subject's messages go, worked out once per change of interest.
#[derive(Default)]
pub(super) struct Routes {
    plain: Vec<Arc<Subscription>>,
    leafs: Vec<Arc<Subscription>>,
    groups: Vec<Group>,
    services: Vec<Arc<ServiceImport>>,
    /// Whether it is the subject of answers to other accounts.
    answers: bool,
}

struct Group {
    name: Box<str>,
    local: Vec<Arc<Subscription>>,
    leafs: Vec<Arc<Subscription>>,
}

impl Routes {
    fn reaches_leafs(&self) -> bool {
        !self.leafs.is_empty() || self.groups.iter().any(|group| !group.leafs.is_empty())
    }

    fn add(&mut self, sub: &Arc<Subscription>) {
        let leaf = sub.target.kind() == TargetKind::Leaf;
        match sub.queue() {
            None if leaf => {
                // One message per leaf, however many of its subjects match.
                if !self.leafs.iter().any(|s| s.target.id() == sub.target.id()) {
                    self.leafs.push(sub.clone());
                }
            }
            None => self.plain.push(sub.clone()),
            Some(queue) => {
                let group = match self.groups.iter_mut().position(|g| *g.name == *queue) {
                    Some(at) => &mut self.groups[at],
                    None => {
                        self.groups.push(Group { name: queue.into(), local: Vec::new(), leafs: Vec::new() });
                        self.groups.last_mut().expect("just pushed")
                    }
                };
                match leaf {
                    // One that stands for more members is chosen more often (nats-server `addNodeToResults`).
                    true => group.leafs.extend((0..sub.weight().min(MAX_WEIGHT)).map(|_| sub.clone())),
                    false => group.local.push(sub.clone()),
                }
            }
        }
    }
}

impl Account {
    /// An empty account.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new_cyclic(|this| Account {
            name: name.into(),
            index: RwLock::default(),
            generation: AtomicU64::new(1),
            inserts: AtomicU64::new(0),
            watchers: Mutex::default(),
            mappings: mapping::InForce::default(),
            sharing: Sharing::default(),
            sampling: trace::Sampling::default(),
            who: OnceLock::new(),
            clients: Seats::default(),
            leafs: Seats::default(),
            this: this.clone(),
        })
    }

    /// The account's name; `$G` is the default account.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Subscriptions ever added.
    pub fn inserts(&self) -> u64 {
        self.inserts.load(Ordering::Relaxed)
    }

    /// All subscriptions, in no order.
    pub fn list_subscriptions(&self) -> Vec<Arc<Subscription>> {
        let mut all = Vec::new();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.for_each(&mut |sub: &Arc<Subscription>| all.push(sub.clone()));
        all
    }

    /// Adds a subscription, whose subject must be valid; from its return on messages are delivered to it.
    pub fn subscribe(&self, sub: Arc<Subscription>) {
        self.insert(sub.clone());
        self.shadow(&sub);
    }

    /// As [`Account::subscribe`], without those that imports bring about.
    pub(super) fn insert(&self, sub: Arc<Subscription>) {
        debug_assert!(crate::subject::is_valid(sub.subject()));
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.insert(sub.subject(), sub.key, sub.clone());
        self.inserts.fetch_add(1, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
        for (_, watcher) in self.watchers().iter() {
            watcher.added(&sub);
        }
    }

    /// Removes a subscription; unknown ones are ignored.
    pub fn unsubscribe(&self, sub: &Subscription) {
        self.remove(sub);
        self.unshadow(sub);
    }

    /// The opposite of [`Account::insert`].
    pub(super) fn remove(&self, sub: &Subscription) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.remove(sub.subject(), sub.key).is_some() {
            sub.close();
            self.generation.fetch_add(1, Ordering::Release);
            for (_, watcher) in self.watchers().iter() {
                watcher.removed(sub);
            }
        }
    }

    /// Registers a watcher of interest under `id` and tells it all there is.
    pub fn watch(&self, id: TargetId, watcher: Arc<dyn InterestWatcher>) {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.for_each(&mut |sub: &Arc<Subscription>| watcher.added(sub));
        self.mappings.for_each_interest(|sub| watcher.added(sub));
        self.sharing.for_each_interest(|sub| watcher.added(sub));
        self.watchers().push((id, watcher));
    }

    /// Registers a watcher of interest under `id` that is told only of what changes from now on.
    pub fn watch_changes(&self, id: TargetId, watcher: Arc<dyn InterestWatcher>) {
        self.watchers().push((id, watcher));
    }

    /// Whether a leaf connection belongs to it.
    pub fn has_leafs(&self) -> bool {
        !self.watchers().is_empty()
    }

    /// Calls `tell` with the watchers while interest does not change otherwise.
    pub(super) fn with_watchers(&self, tell: impl FnOnce(&[(TargetId, Arc<dyn InterestWatcher>)])) {
        let _index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        tell(&self.watchers());
    }

    /// Ends the watch registered under `id`.
    pub fn unwatch(&self, id: TargetId) {
        self.watchers().retain(|(w, _)| *w != id);
    }

    /// Whether anybody but `except` would get a message on the literal `subject`.
    pub fn has_interest(&self, subject: &str, except: Option<TargetId>) -> bool {
        let mut any = false;
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.lookup(subject, &mut |sub: &Arc<Subscription>| any |= Some(sub.target.id()) != except);
        }
        // Without the index, as another account's is read for an answer that is owed.
        any || !self.sharing.services(subject).is_empty() || self.owes_answer(subject)
    }

    /// Bytes that may be delivered now to the literal `subject` of what is stored ([`Target::room`]): as many as the one takes who
    /// takes most of those who want it. `None` if nobody does.
    pub fn room(&self, subject: &str) -> Option<usize> {
        let mut most = None;
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            index.lookup(subject, &mut |sub: &Arc<Subscription>| {
                if most != Some(usize::MAX) {
                    most = most.max(Some(sub.target.room()));
                }
            });
        }
        most.or_else(|| self.has_interest(subject, None).then_some(usize::MAX))
    }

    /// Whether requests on the literal `subject` are answered by another account, from which it is imported.
    pub fn imports_service(&self, subject: &str) -> bool {
        !self.sharing.services(subject).is_empty()
    }

    /// Whether somebody has subscribed to the literal `subject` itself, not only to a wildcard that takes it in: so it is known
    /// that who asked for messages there listens, as a client that asks has a wildcard for all its answers
    /// (`server/sublist.go`, `RegisterNotification`).
    pub fn has_literal_interest(&self, subject: &str) -> bool {
        let mut any = false;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.lookup(subject, &mut |sub: &Arc<Subscription>| any |= sub.subject() == subject && sub.queue().is_none());
        any
    }

    /// All subscriptions.
    pub(super) fn all_subscriptions(&self) -> Vec<Arc<Subscription>> {
        let mut all = Vec::new();
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.for_each(&mut |sub: &Arc<Subscription>| all.push(sub.clone()));
        all
    }

    /// Has every publisher look anew where its messages go.
    pub(super) fn forget_routes(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn weak(&self) -> &Weak<Account> {
        &self.this
    }

    /// Delivers `message` to everybody who wants it. Returns how many deliveries were made; 0 means nobody listens.
    ///
    /// Of each queue group one member gets it: a local one if there is any, else one behind a leaf link.
    pub fn route(&self, origin: Origin, message: &Message<'_>, cache: &mut RouteCache, batch: &mut Batch) -> usize {
        self.route_on(&Passage { origin, only: None, via: None }, message.subject, message, cache, batch)
    }

    /// As [`Account::route`], but to those who want the subject `to`, who see the message with its own subject: so
    /// consumers deliver stored messages to an inbox. A leaf gets `to` as the subject and `reply@subject` as the reply,
    /// as between nats-servers.
    pub fn route_as(
        &self,
        origin: Origin,
        to: &str,
        message: &Message<'_>,
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) -> usize {
        self.route_on(&Passage { origin, only: None, via: None }, to, message, cache, batch)
    }

    /// As [`Account::route_as`], but of the queue groups only those in `queues` are served: the sending leaf has chosen
    /// them for us (`LMSG subject + reply q1 q2`).
    pub fn route_queues(
        &self,
        origin: Origin,
        to: &str,
        message: &Message<'_>,
        queues: &[&str],
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) -> usize {
        self.route_on(&Passage { origin, only: Some(queues), via: None }, to, message, cache, batch)
    }

    /// Delivers `message` to those who want the subject `to`.
    pub(super) fn route_on(
        &self,
        passage: &Passage<'_>,
        to: &str,
        message: &Message<'_>,
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) -> usize {
        let generation = self.generation.load(Ordering::Acquire);
        let routes = cache.routes.get(to, generation, || Arc::new(self.compute(to)));
        let Passage { origin, only, .. } = *passage;
        let mut count = 0;
        let reply;
        let mut to_leafs = *message;
        if to != message.subject && routes.reaches_leafs() {
            to_leafs.subject = to;
            if !message.reply.is_empty() {
                reply = format!("{}@{}", message.reply, message.subject);
                to_leafs.reply = &reply;
            }
        }
        if routes.answers {
            count += usize::from(self.answer(passage, to, message, batch));
        }
        for service in &routes.services {
            count += usize::from(service.request(passage, to, message, batch));
        }
        for sub in &routes.plain {
            count += usize::from(self.offer(passage, sub, &[], message, batch));
        }
        if routes.groups.is_empty() {
            for sub in &routes.leafs {
                count += usize::from(self.offer(passage, sub, &[], &to_leafs, batch));
            }
            return count;
        }
        // Groups that no local member could serve, by the leaf subscription chosen for them.
        let mut remote: Vec<(&Arc<Subscription>, &str)> = Vec::new();
        for group in &routes.groups {
            if only.is_some_and(|only| !only.contains(&&*group.name)) {
                continue;
            }
            if self.offer_one(passage, &group.local, &group.name, message, batch) {
                count += 1;
            } else if let Some(sub) = pick(&group.leafs, |s| s.target.id() != origin.id && !s.is_closed()) {
                remote.push((sub, &group.name));
            }
        }
        for sub in &routes.leafs {
            let id = sub.target.id();
            let queues: Vec<&str> = remote.iter().filter(|(s, _)| s.target.id() == id).map(|(_, q)| *q).collect();
            remote.retain(|(s, _)| s.target.id() != id);
            count += usize::from(self.offer(passage, sub, &queues, &to_leafs, batch));
        }
        while let Some((sub, _)) = remote.first().copied() {
            let id = sub.target.id();
            let queues: Vec<&str> = remote.iter().filter(|(s, _)| s.target.id() == id).map(|(_, q)| *q).collect();
            count += usize::from(self.offer(passage, sub, &queues, &to_leafs, batch));
            remote.retain(|(s, _)| s.target.id() != id);
        }
        count
    }

    fn offer(
        &self,
        passage: &Passage<'_>,
        sub: &Arc<Subscription>,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) -> bool {
        if batch.trace.is_some() {
            return self.offer_traced(passage, sub, queues, message, batch);
        }
        let origin = passage.origin;
        let echo = sub.target.id() == origin.id && !origin.echo;
        // What came by a service import is not exported again as a stream.
        if echo || passage.via.is_some() && sub.is_shadow() || !sub.accepts(message.subject) {
            return false;
        }
        match sub.take() {
            None => false,
            Some(last) => {
                sub.target.deliver(&sub.target, sub, queues, message, batch);
                if last {
                    self.unsubscribe(sub);
                }
                true
            }
        }
    }

    /// As [`Account::offer`], and notes it in the batch's trace. What is only traced is offered to nobody but servers that
    /// trace it further.
    #[cold]
    fn offer_traced(
        &self,
        passage: &Passage<'_>,
        sub: &Arc<Subscription>,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) -> bool {
        // What the target publishes itself while it takes the message is not part of the trace.
        let Some(mut trace) = batch.trace.take() else { return false };
        let taken = self.offer_noted(passage, sub, queues, message, batch, &mut trace);
        batch.trace = Some(trace);
        taken
    }

    fn offer_noted(
        &self,
        passage: &Passage<'_>,
        sub: &Arc<Subscription>,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
        trace: &mut Trace,
    ) -> bool {
        let party = sub.target.party();
        let exported = sub.target.exported(message.subject);
        if let Some(exported) = &exported {
            if passage.via.is_some() {
                return false;
            }
            trace.exported(&exported.account, &exported.to);
            if !exported.traced {
                return trace.only || self.offer(passage, sub, queues, message, batch);
            }
        }
        let mut headers = None;
        let (mut sends, mut note) = (!trace.only, None);
        if let Some(Party::Leaf { traces, .. }) = &party {
            if sub.target.id() == passage.origin.id {
                return false;
            }
            sends |= traces;
            match (traces, trace.only) {
                (true, _) => headers = Some(trace.next_hop(message.headers)),
                (false, true) => note = Some(trace::NO_TRACE_ONLY),
                (false, false) => note = Some(trace::NO_TRACE),
            }
        }
        let refusal = if sub.target.id() == passage.origin.id && !passage.origin.echo {
            Some(trace::NO_ECHO)
        } else if sub.is_closed() {
            Some(trace::CLOSED)
        } else if !sub.accepts(message.subject) {
            Some(trace::DENIED)
        } else {
            None
        };
        let message = Message { headers: headers.as_deref().unwrap_or(message.headers), ..*message };
        batch.ask_for_refusal();
        let taken = refusal.is_none() && (!sends || self.offer(passage, sub, queues, &message, batch));
        let error = refusal.or(note).map(Box::from).or(batch.take_refusal());
        if let Some(party) = party {
            let account = exported.as_ref().map_or(self.name(), |exported| &exported.account);
            trace.arrived(party, account, sub, message.subject, error);
        }
        taken
    }

    /// Offers to the members from a random one on, until one takes it.
    fn offer_one(
        &self,
        passage: &Passage<'_>,
        members: &[Arc<Subscription>],
        name: &str,
        message: &Message<'_>,
        batch: &mut Batch,
    ) -> bool {
        if members.is_empty() {
            return false;
        }
        let start = fastrand::usize(..members.len());
        let (front, back) = members.split_at(start);
        back.iter().chain(front).any(|sub| self.offer(passage, sub, &[name], message, batch))
    }

    fn compute(&self, subject: &str) -> Routes {
        let mut routes = Routes::default();
        // Parts of this process (streams above all) may rely on a valid subject; clients get whatever matches. Tokens that are
        // wildcards elsewhere may be in it, as at nats-server: filters end requests, and keys are purged by them.
        let valid = crate::subject::is_valid(subject);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.lookup(subject, &mut |sub: &Arc<Subscription>| {
            if valid || sub.target.kind() == TargetKind::Client {
                routes.add(sub);
            }
        });
        if valid {
            routes.services = self.sharing.services(subject);
        }
        routes.answers = self.sharing.replies.owns(subject);
        routes
    }

    fn watchers(&self) -> MutexGuard<'_, Vec<(TargetId, Arc<dyn InterestWatcher>)>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pick(subs: &[Arc<Subscription>], fits: impl Fn(&Subscription) -> bool) -> Option<&Arc<Subscription>> {
    if subs.is_empty() {
        return None;
    }
    let (front, back) = subs.split_at(fastrand::usize(..subs.len()));
    back.iter().chain(front).find(|s| fits(s))
}

#[cfg(test)]
mod tests;
