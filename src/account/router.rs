//! The router of one account: subscriptions in, messages out.

use super::{Batch, InterestWatcher, Message, RouteCache, Subscription, TargetId, TargetKind};
use crate::subject::Index;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// An account: a subject space of its own.
pub struct Account {
    name: Box<str>,
    index: RwLock<Index<Arc<Subscription>>>,
    /// Grows with each change of the index; read without a lock by every [`RouteCache`].
    generation: AtomicU64,
    watchers: Mutex<Vec<(TargetId, Arc<dyn InterestWatcher>)>>,
}

/// Who publishes.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The publishing target.
    pub id: TargetId,
    /// Whether its own subscriptions get the message too (`echo` in CONNECT). Never for a leaf.
    pub echo: bool,
}

/// Where one subject's messages go, worked out once per change of interest.
#[derive(Default)]
pub(super) struct Routes {
    plain: Vec<Arc<Subscription>>,
    leafs: Vec<Arc<Subscription>>,
    groups: Vec<Group>,
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
        match &sub.queue {
            None if leaf => {
                // One message per leaf, however many of its subjects match.
                if !self.leafs.iter().any(|s| s.target.id() == sub.target.id()) {
                    self.leafs.push(sub.clone());
                }
            }
            None => self.plain.push(sub.clone()),
            Some(queue) => {
                let group = match self.groups.iter_mut().position(|g| g.name == *queue) {
                    Some(at) => &mut self.groups[at],
                    None => {
                        self.groups.push(Group { name: queue.clone(), local: Vec::new(), leafs: Vec::new() });
                        self.groups.last_mut().expect("just pushed")
                    }
                };
                if leaf { group.leafs.push(sub.clone()) } else { group.local.push(sub.clone()) }
            }
        }
    }
}

impl Account {
    /// An empty account.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Account {
            name: name.into(),
            index: RwLock::default(),
            generation: AtomicU64::new(1),
            watchers: Mutex::default(),
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

    /// Adds a subscription, whose subject must be valid; from its return on messages are delivered to it.
    pub fn subscribe(&self, sub: Arc<Subscription>) {
        debug_assert!(crate::subject::is_valid(&sub.subject));
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.insert(&sub.subject, sub.key, sub.clone());
        self.generation.fetch_add(1, Ordering::Release);
        for (_, watcher) in self.watchers().iter() {
            watcher.added(&sub);
        }
    }

    /// Removes a subscription; unknown ones are ignored.
    pub fn unsubscribe(&self, sub: &Subscription) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.remove(&sub.subject, sub.key).is_some() {
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
        self.watchers().push((id, watcher));
    }

    /// Ends the watch registered under `id`.
    pub fn unwatch(&self, id: TargetId) {
        self.watchers().retain(|(w, _)| *w != id);
    }

    /// Whether anybody but `except` would get a message on the literal `subject`.
    pub fn has_interest(&self, subject: &str, except: Option<TargetId>) -> bool {
        let mut any = false;
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.lookup(subject, &mut |sub: &Arc<Subscription>| any |= Some(sub.target.id()) != except);
        any
    }

    /// Delivers `message` to everybody who wants it. Returns how many deliveries were made; 0 means nobody listens.
    ///
    /// Of each queue group one member gets it: a local one if there is any, else one behind a leaf link.
    pub fn route(&self, origin: Origin, message: &Message<'_>, cache: &mut RouteCache, batch: &mut Batch) -> usize {
        self.route_to(origin, message.subject, message, None, cache, batch)
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
        self.route_to(origin, to, message, None, cache, batch)
    }

    /// As [`Account::route`], but of the queue groups only those in `queues` are served: the sending leaf has chosen
    /// them for us (`LMSG subject + reply q1 q2`).
    pub fn route_queues(
        &self,
        origin: Origin,
        message: &Message<'_>,
        queues: &[&str],
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) -> usize {
        self.route_to(origin, message.subject, message, Some(queues), cache, batch)
    }

    fn route_to(
        &self,
        origin: Origin,
        to: &str,
        message: &Message<'_>,
        only: Option<&[&str]>,
        cache: &mut RouteCache,
        batch: &mut Batch,
    ) -> usize {
        let generation = self.generation.load(Ordering::Acquire);
        let routes = cache.get(to, generation, || self.compute(to));
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
        for sub in &routes.plain {
            count += usize::from(self.offer(origin, sub, &[], message, batch));
        }
        if routes.groups.is_empty() {
            for sub in &routes.leafs {
                count += usize::from(self.offer(origin, sub, &[], &to_leafs, batch));
            }
            return count;
        }
        // Groups that no local member could serve, by the leaf subscription chosen for them.
        let mut remote: Vec<(&Arc<Subscription>, &str)> = Vec::new();
        for group in &routes.groups {
            if only.is_some_and(|only| !only.contains(&&*group.name)) {
                continue;
            }
            if self.offer_one(origin, &group.local, &group.name, message, batch) {
                count += 1;
            } else if let Some(sub) = pick(&group.leafs, |s| s.target.id() != origin.id && !s.is_closed()) {
                remote.push((sub, &group.name));
            }
        }
        for sub in &routes.leafs {
            let id = sub.target.id();
            let queues: Vec<&str> = remote.iter().filter(|(s, _)| s.target.id() == id).map(|(_, q)| *q).collect();
            remote.retain(|(s, _)| s.target.id() != id);
            count += usize::from(self.offer(origin, sub, &queues, &to_leafs, batch));
        }
        while let Some((sub, _)) = remote.first().copied() {
            let id = sub.target.id();
            let queues: Vec<&str> = remote.iter().filter(|(s, _)| s.target.id() == id).map(|(_, q)| *q).collect();
            count += usize::from(self.offer(origin, sub, &queues, &to_leafs, batch));
            remote.retain(|(s, _)| s.target.id() != id);
        }
        count
    }

    fn offer(
        &self,
        origin: Origin,
        sub: &Arc<Subscription>,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) -> bool {
        if sub.target.id() == origin.id && !origin.echo {
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

    /// Offers to the members from a random one on, until one takes it.
    fn offer_one(
        &self,
        origin: Origin,
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
        back.iter().chain(front).any(|sub| self.offer(origin, sub, &[name], message, batch))
    }

    fn compute(&self, subject: &str) -> Routes {
        let mut routes = Routes::default();
        // Parts of this process (streams above all) may rely on a valid subject; clients get whatever matches. Consumers are
        // created on subjects that end in their filter, wildcards included.
        let valid = crate::subject::is_valid_literal(subject)
            || subject.starts_with("$JS.") && crate::subject::is_valid(subject);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.lookup(subject, &mut |sub: &Arc<Subscription>| {
            if valid || sub.target.kind() == TargetKind::Client {
                routes.add(sub);
            }
        });
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
mod tests {
    use super::*;
    use crate::account::Target;

    /// Notes what it gets as `subject>queues`.
    struct Probe {
        id: TargetId,
        kind: TargetKind,
        got: Mutex<Vec<String>>,
    }

    impl Probe {
        fn new(kind: TargetKind) -> Arc<Self> {
            Arc::new(Probe { id: TargetId::next(), kind, got: Mutex::default() })
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.got.lock().expect("not poisoned"))
        }
    }

    impl Target for Probe {
        fn id(&self) -> TargetId {
            self.id
        }

        fn kind(&self) -> TargetKind {
            self.kind
        }

        fn deliver(
            &self,
            _: &Arc<dyn Target>,
            sub: &Subscription,
            queues: &[&str],
            message: &Message<'_>,
            _: &mut Batch,
        ) {
            let note = format!("{}@{}>{}", message.subject, sub.subject, queues.join(","));
            self.got.lock().expect("not poisoned").push(note);
        }
    }

    struct Bench {
        account: Arc<Account>,
        cache: RouteCache,
        origin: Origin,
    }

    impl Bench {
        fn new() -> Self {
            let origin = Origin { id: TargetId::next(), echo: true };
            Bench { account: Account::new("$G"), cache: RouteCache::default(), origin }
        }

        fn sub(&self, probe: &Arc<Probe>, subject: &str, queue: Option<&str>) -> Arc<Subscription> {
            let sub = Arc::new(Subscription::new(subject, queue, "1", probe.clone()));
            self.account.subscribe(sub.clone());
            sub
        }

        fn publish(&mut self, subject: &str) -> usize {
            let message = Message { subject, reply: "", headers: b"", payload: b"" };
            self.account.route(self.origin, &message, &mut self.cache, &mut Batch::default())
        }
    }

    #[test]
    fn interest_changes_are_seen_at_once_through_the_cache() {
        let mut bench = Bench::new();
        let probe = Probe::new(TargetKind::Client);
        for round in 0..5 {
            assert_eq!(bench.publish("a.b"), 0, "round {round}");
            let sub = bench.sub(&probe, "a.*", None);
            assert_eq!(bench.publish("a.b"), 1);
            assert_eq!(bench.publish("a.b"), 1);
            bench.account.unsubscribe(&sub);
        }
        assert_eq!(probe.take().len(), 10);
        assert_eq!(bench.account.subscriptions(), 0);
    }

    #[test]
    fn many_subjects_share_the_cache_without_mixing() {
        let mut bench = Bench::new();
        let probe = Probe::new(TargetKind::Client);
        for n in 0..3000 {
            bench.sub(&probe, &format!("s.{n}"), None);
        }
        for _ in 0..3 {
            for n in 0..3000 {
                assert_eq!(bench.publish(&format!("s.{n}")), 1);
                assert_eq!(probe.take(), [format!("s.{n}@s.{n}>")]);
            }
        }
    }

    #[test]
    fn a_queue_group_is_served_once_fairly_and_locally_first() {
        let mut bench = Bench::new();
        let members: Vec<_> = (0..4).map(|_| Probe::new(TargetKind::Client)).collect();
        for member in &members {
            bench.sub(member, "work", Some("q"));
        }
        let leaf = Probe::new(TargetKind::Leaf);
        bench.sub(&leaf, "work", Some("q"));
        for _ in 0..1000 {
            assert_eq!(bench.publish("work"), 1);
        }
        for member in &members {
            let share = member.take().len();
            assert!((150..350).contains(&share), "{share}");
        }
        assert!(leaf.take().is_empty());
    }

    #[test]
    fn a_leaf_gets_one_message_with_all_its_groups() {
        let mut bench = Bench::new();
        let (leaf, other) = (Probe::new(TargetKind::Leaf), Probe::new(TargetKind::Leaf));
        bench.sub(&leaf, "a.>", None);
        bench.sub(&leaf, "a.*", None);
        bench.sub(&leaf, "a.b", Some("q1"));
        bench.sub(&other, "a.b", Some("q2"));
        assert_eq!(bench.publish("a.b"), 2);
        let got = leaf.take();
        assert!(got.len() == 1 && got[0].ends_with(">q1"), "{got:?}");
        assert_eq!(other.take(), ["a.b@a.b>q2"]);
        // Its own messages do not come back to it.
        bench.origin = Origin { id: leaf.id, echo: false };
        assert_eq!(bench.publish("a.b"), 1);
        assert!(leaf.take().is_empty());
    }

    #[test]
    fn a_sending_leaf_chooses_the_groups() {
        let mut bench = Bench::new();
        let (a, b, plain) =
            (Probe::new(TargetKind::Client), Probe::new(TargetKind::Client), Probe::new(TargetKind::Client));
        bench.sub(&a, "s", Some("qa"));
        bench.sub(&b, "s", Some("qb"));
        bench.sub(&plain, "s", None);
        let message = Message { subject: "s", reply: "", headers: b"", payload: b"" };
        let mut batch = Batch::default();
        assert_eq!(bench.account.route_queues(bench.origin, &message, &["qb"], &mut bench.cache, &mut batch), 2);
        assert_eq!((a.take().len(), b.take().len(), plain.take().len()), (0, 1, 1));
    }

    #[test]
    fn limited_subscriptions_end_by_themselves() {
        let mut bench = Bench::new();
        let probe = Probe::new(TargetKind::Client);
        let sub = bench.sub(&probe, "a", None);
        assert!(!sub.limit_to(2));
        assert_eq!((bench.publish("a"), bench.publish("a"), bench.publish("a")), (1, 1, 0));
        assert_eq!(bench.account.subscriptions(), 0);
        assert!(sub.is_closed());
    }

    #[test]
    fn parts_of_the_process_get_only_valid_subjects() {
        let mut bench = Bench::new();
        let (client, local) = (Probe::new(TargetKind::Client), Probe::new(TargetKind::Local));
        bench.sub(&client, ">", None);
        bench.sub(&local, ">", None);
        assert_eq!(bench.publish("a..b"), 1);
        assert_eq!(bench.publish("a.*"), 1);
        assert_eq!(bench.publish("a.b"), 2);
        assert_eq!(local.take(), ["a.b@>>"]);
    }

    struct Notes(Mutex<Vec<String>>);

    impl InterestWatcher for Notes {
        fn added(&self, sub: &Subscription) {
            self.0.lock().expect("not poisoned").push(format!("+{}", sub.subject));
        }

        fn removed(&self, sub: &Subscription) {
            self.0.lock().expect("not poisoned").push(format!("-{}", sub.subject));
        }
    }

    #[test]
    fn watchers_hear_of_what_was_there_and_what_changes() {
        let bench = Bench::new();
        let probe = Probe::new(TargetKind::Client);
        let old = bench.sub(&probe, "old.*", None);
        let notes = Arc::new(Notes(Mutex::default()));
        let id = TargetId::next();
        bench.account.watch(id, notes.clone());
        bench.sub(&probe, "new", None);
        bench.account.unsubscribe(&old);
        bench.account.unwatch(id);
        bench.sub(&probe, "unheard", None);
        assert_eq!(*notes.0.lock().expect("not poisoned"), ["+old.*", "+new", "-old.*"]);
    }
}
