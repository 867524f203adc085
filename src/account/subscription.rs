//! Subscriptions, the targets they deliver to, and the batch that flushes touched targets once.

use super::Message;
use super::trace::{Exported, Party, Trace};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// Identifies a target (and the publisher on the same connection) within the process; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(u64);

impl TargetId {
    /// A new id.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        TargetId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number, as shown in monitoring (`cid`).
    pub fn get(self) -> u64 {
        self.0
    }
}

/// What kind of party a target is; it decides how queue groups choose and what crosses a leaf link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// A client on a socket.
    Client,
    /// A leaf link to or from another server.
    Leaf,
    /// A part of this process: stream, API, adapter, uplink.
    Local,
}

/// Whatever a subscription delivers to.
pub trait Target: Send + Sync {
    /// The id that this target's own publishes carry as their origin.
    fn id(&self) -> TargetId;

    /// What kind of party this is.
    fn kind(&self) -> TargetKind;

    /// Takes one message. Called on the publisher's task: must not block, and copies what it keeps.
    ///
    /// `queues` names the queue groups for which this target was chosen: empty for a plain delivery, one name for a
    /// local queue member; a leaf gets all its groups in one call, beside its plain interest (`sub.queue` is `None`) or
    /// without it. `this` is the target itself, for [`Batch::touch`].
    fn deliver(
        &self,
        this: &Arc<dyn Target>,
        sub: &Subscription,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    );

    /// Whether it may have a message on `subject` by this subscription; asked only where
    /// [`Subscription::set_filtered`] says so. A wildcard may be subscribed to by somebody who may not see all of it.
    fn accepts(&self, _sub: &Subscription, _subject: &str) -> bool {
        true
    }

    /// Set while much waits to be sent, near the limit where the target would be cut off: the publisher should wait a
    /// moment, and is told by this when there is room again.
    fn congestion(&self) -> Option<Arc<Notify>> {
        None
    }

    /// Bytes that those who deliver what is stored may add to what waits to be sent, 0 if they should wait. Publishers need not ask.
    fn room(&self) -> usize {
        if self.congestion().is_some() { 0 } else { usize::MAX }
    }

    /// How traces name it; `None` where they do not.
    fn party(&self) -> Option<Party> {
        None
    }

    /// How traces name the other account into which it takes a message on `subject`, if it does.
    fn exported(&self, _subject: &str) -> Option<Exported> {
        None
    }

    /// Gives what `publisher` has delivered its place before whatever anybody delivers from now on. Called for all targets
    /// of a batch before the first of them is flushed: who answers what it got is not ahead of that elsewhere.
    fn settle(&self, _publisher: TargetId) {}

    /// Sends what [`Target::deliver`] has gathered. Called once at the end of each batch that touched the target.
    fn flush(&self) {}
}

/// One subscription. There may be a million of them: what it is made of is kept together and small.
pub struct Subscription {
    /// Unique within the process, growing.
    pub(super) key: u64,
    /// Subject, queue group and sid, one behind the other.
    text: Box<str>,
    subject_len: u32,
    /// 0: none.
    queue_len: u32,
    /// Who gets the messages.
    pub target: Arc<dyn Target>,
    weight: u32,
    filtered: AtomicBool,
    closed: AtomicBool,
    shadow: bool,
    delivered: AtomicU64,
    limit: AtomicU64,
}

impl Subscription {
    /// A subscription; nothing is delivered before [`super::Account::subscribe`] has it.
    pub fn new(subject: &str, queue: Option<&str>, sid: &str, target: Arc<dyn Target>) -> Self {
        Self::weighted(subject, queue, sid, target, 1)
    }

    /// One that stands for `weight` members of a queue group on another server.
    pub fn weighted(subject: &str, queue: Option<&str>, sid: &str, target: Arc<dyn Target>, weight: u32) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let queue = queue.unwrap_or("");
        Subscription {
            key: NEXT.fetch_add(1, Ordering::Relaxed),
            text: [subject, queue, sid].concat().into(),
            subject_len: subject.len() as u32,
            queue_len: queue.len() as u32,
            target,
            weight: weight.max(1),
            filtered: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            shadow: false,
            delivered: AtomicU64::new(0),
            limit: AtomicU64::new(0),
        }
    }

    /// The subject, with wildcards or without.
    pub fn subject(&self) -> &str {
        &self.text[..self.subject_len as usize]
    }

    /// The queue group.
    pub fn queue(&self) -> Option<&str> {
        let from = self.subject_len as usize;
        (self.queue_len > 0).then(|| &self.text[from..from + self.queue_len as usize])
    }

    /// The subscriber's own id of it, as in `MSG subject SID`.
    pub fn sid(&self) -> &str {
        &self.text[self.subject_len as usize + self.queue_len as usize..]
    }

    /// Members of the queue group that it stands for; 1 unless they are on another server.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Whether the target is asked by [`Target::accepts`] before each delivery.
    pub fn set_filtered(&self, filtered: bool) {
        self.filtered.store(filtered, Ordering::Release);
    }

    /// Whether its target takes a message on `subject`.
    pub(super) fn accepts(&self, subject: &str) -> bool {
        !self.filtered.load(Ordering::Acquire) || self.target.accepts(self, subject)
    }

    /// Ends the subscription after `total` deliveries, counted from its start (`UNSUB sid total`). Returns whether that
    /// many have been made already.
    pub fn limit_to(&self, total: u64) -> bool {
        self.limit.store(total, Ordering::Release);
        self.delivered.load(Ordering::Acquire) >= total
    }

    /// After how many deliveries it ends; 0: never.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Counts one delivery; `None` if the subscription is closed or used up, else whether this was the last one.
    pub fn take(&self) -> Option<bool> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let count = self.delivered.fetch_add(1, Ordering::AcqRel) + 1;
        match self.limit.load(Ordering::Acquire) {
            0 => Some(false),
            limit if count > limit => None,
            limit => Some(count == limit),
        }
    }

    /// Whether a limited subscription has had all its deliveries.
    pub fn is_used_up(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        limit != 0 && self.delivered() >= limit
    }

    /// Deliveries so far.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Whether it has been removed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A subscription that stands for one in another account, whose stream import brought it about.
    pub(super) fn new_shadow(subject: &str, queue: Option<&str>, sid: &str, target: Arc<dyn Target>) -> Self {
        Subscription { shadow: true, ..Subscription::new(subject, queue, sid, target) }
    }

    /// Whether it stands for one in another account.
    pub(super) fn is_shadow(&self) -> bool {
        self.shadow
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// The targets touched while one read buffer was routed; each is flushed once, when the batch ends or is dropped.
#[derive(Default)]
pub struct Batch {
    touched: Vec<Arc<dyn Target>>,
    /// So many of them are settled.
    settled: usize,
    pub(super) trace: Option<Box<Trace>>,
    /// Why what is delivered now is not kept, where a trace asks.
    refusal: Option<Box<str>>,
    by: Option<TargetId>,
}

impl Batch {
    /// For what the connection `id` publishes.
    pub fn by(id: TargetId) -> Self {
        let mut batch = Batch::default();
        batch.by = Some(id);
        batch
    }

    /// The connection that publishes, where it is known.
    pub fn publisher(&self) -> Option<TargetId> {
        self.by
    }

    /// Traces what is routed with this batch until the trace is taken back.
    pub fn trace(&mut self, trace: Trace) {
        self.trace = Some(Box::new(trace));
    }

    /// The trace, which ends.
    pub fn take_trace(&mut self) -> Option<Box<Trace>> {
        self.trace.take()
    }

    /// A target does not keep what it was given; only traces tell.
    pub fn refused(&mut self, why: &str) {
        if let Some(refusal) = &mut self.refusal {
            *refusal = why.into();
        }
    }

    pub(super) fn ask_for_refusal(&mut self) {
        self.refusal = Some("".into());
    }

    pub(super) fn take_refusal(&mut self) -> Option<Box<str>> {
        self.refusal.take().filter(|why| !why.is_empty())
    }

    /// Has `target` flushed at the end of this batch. A target calls it from `deliver` when it was clean before.
    pub fn touch(&mut self, target: &Arc<dyn Target>) {
        self.touched.push(target.clone());
    }

    /// The targets touched since the last flush.
    pub fn touched(&self) -> &[Arc<dyn Target>] {
        &self.touched
    }

    /// Gives what has been delivered its place, see [`Target::settle`].
    pub fn settle(&mut self) {
        if let Some(publisher) = self.by {
            self.touched[self.settled..].iter().for_each(|target| target.settle(publisher));
        }
        self.settled = self.touched.len();
    }

    /// Flushes every touched target; the batch can be used again.
    pub fn flush(&mut self) {
        self.settle();
        self.settled = 0;
        for target in self.touched.drain(..) {
            target.flush();
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}
