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

    fn deliver(&self, _: &Arc<dyn Target>, sub: &Subscription, queues: &[&str], message: &Message<'_>, _: &mut Batch) {
        let note = format!("{}@{}>{}", message.subject, sub.subject(), queues.join(","));
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
    assert_eq!(
        bench.account.route_queues(bench.origin, message.subject, &message, &["qb"], &mut bench.cache, &mut batch),
        2
    );
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
fn parts_of_the_process_get_valid_subjects_with_any_tokens() {
    let mut bench = Bench::new();
    let (client, local) = (Probe::new(TargetKind::Client), Probe::new(TargetKind::Local));
    bench.sub(&client, ">", None);
    bench.sub(&local, ">", None);
    assert_eq!(bench.publish("a..b"), 0, "nobody subscribes to what has an empty token");
    assert_eq!(bench.publish("a.*"), 2, "keys are purged by a filter");
    assert_eq!(bench.publish("a.b"), 2);
    assert_eq!(local.take(), ["a.*@>>", "a.b@>>"]);
}

struct Notes(Mutex<Vec<String>>);

impl InterestWatcher for Notes {
    fn added(&self, sub: &Subscription) {
        self.0.lock().expect("not poisoned").push(format!("+{}", sub.subject()));
    }

    fn removed(&self, sub: &Subscription) {
        self.0.lock().expect("not poisoned").push(format!("-{}", sub.subject()));
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
