//! One leaf connection that is up, as either side has it: a target of the peer's interest, and the announcer of ours.
//!
//! The reading side hands the peer's operations to [`Peer::subscribe`], [`Peer::unsubscribe`] and [`Peer::message`];
//! the router calls `deliver` for what the peer wants. All writing goes through the connection's bounded
//! [`Outbound`] buffer, so that order is kept: the interest in a reply subject is announced before the request is sent.

use super::interest::{Announced, HUB_SID, Key, LOOP_PREFIX, Watcher};
use super::permissions::Filter;
use super::status::LeafConnection;
use super::stored_share::StoredShare;
use crate::account::{Account, Batch, Message, Origin, Party, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::auth::SubjectPermission;
use crate::protocol::leaf::push_message;
use crate::server::outbound::Outbound;
use crate::subject::{is_valid, is_valid_literal};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// Most subscriptions that a peer may hold with us; more are refused with a log line.
const MAX_SUBSCRIPTIONS: usize = 1 << 20;

type Interest = HashMap<Key, Wanted>;

/// One piece of the peer's interest: how many members its queue group has there, and the narrowed subscriptions that stand
/// for it.
struct Wanted {
    weight: u32,
    subs: Vec<Arc<Subscription>>,
}

/// What may cross, in both directions.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Messages that we may send, and interest of the peer that we take.
    pub send: Filter,
    /// Interest that we announce.
    pub announce: Filter,
    /// Messages that we take.
    pub receive: Filter,
    /// What the peer itself allows us to send, for [`Peer::send_direct`].
    pub peer_export: SubjectPermission,
}

/// What the two sides are to each other.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// The other side is a hub.
    pub peer_is_hub: bool,
    /// The other side is not told what leaf nodes want.
    pub isolated: bool,
}

/// Counters of one connection, messages and their bytes.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sent.
    pub sent: AtomicU64,
    /// Bytes of headers and payload sent.
    pub sent_bytes: AtomicU64,
    /// Received.
    pub received: AtomicU64,
    /// Bytes of headers and payload received.
    pub received_bytes: AtomicU64,
    /// Not sent because too much was waiting, or because the peer takes no message of that size.
    pub dropped: AtomicU64,
    /// Received against the permissions, and not taken.
    pub refused: AtomicU64,
}

/// A leaf connection that is up.
pub struct Peer {
    /// Its id in the account.
    pub id: TargetId,
    /// Whether the other side is a hub, as against a leaf that connected to us.
    pub peer_is_hub: bool,
    /// Whether the other side is not told what leaf nodes want.
    pub isolated: bool,
    /// The outbound buffer.
    pub out: Arc<Outbound>,
    /// Told when [`Outbound::flush`] has to be called by the connection's task.
    pub flush_soon: Notify,
    account: Arc<Account>,
    rules: RwLock<Arc<Rules>>,
    announced: Mutex<Announced>,
    /// The peer's interest, as it named it.
    subs: Mutex<Interest>,
    /// Bytes that may wait before live traffic is dropped.
    max_live: usize,
    /// What may wait of what consumers deliver.
    stored: Mutex<StoredShare>,
    /// The largest message that the peer takes.
    pub max_payload: AtomicUsize,
    /// The other server's name, and whether it traces messages that it gets from us.
    pub remote: OnceLock<(String, bool)>,
    counters: Arc<Counters>,
    /// When it came.
    since: (SystemTime, Instant),
    /// Milliseconds after that when the peer last sent a message or a change of its interest.
    active: AtomicU64,
}

/// Why [`Peer::send_direct`] did not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The peer does not allow the subject.
    NotAllowed,
    /// Too much is waiting.
    Full,
    /// Larger than the peer takes.
    TooLarge,
}

impl Peer {
    /// The connection `id`, whose `out` is being written by its task; [`Peer::start`] makes it part of the account.
    pub fn new(
        id: TargetId,
        account: Arc<Account>,
        out: Arc<Outbound>,
        side: Side,
        max_live: usize,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Peer {
            id,
            peer_is_hub: side.peer_is_hub,
            isolated: side.isolated,
            out,
            flush_soon: Notify::new(),
            account,
            rules: RwLock::default(),
            announced: Mutex::default(),
            subs: Mutex::default(),
            max_live,
            // Well before anything is dropped.
            stored: Mutex::new(StoredShare::new(max_live / 2)),
            max_payload: AtomicUsize::new(usize::MAX),
            remote: OnceLock::new(),
            counters,
            since: (SystemTime::now(), Instant::now()),
            active: AtomicU64::new(0),
        })
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn announced(&self) -> MutexGuard<'_, Announced> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `rules` in force: announces interest under them for the first time, or what has changed, and narrows the
    /// peer's interest anew. `loop_subject` is our own loop detection subject.
    pub fn start(self: &Arc<Self>, rules: Rules, loop_subject: &str) {
        let filter = rules.announce.clone();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.account.unwatch(self.id);
        let before = self.announced().restart(filter);
        self.account.watch(self.id, Arc::new(Watcher(Arc::downgrade(self))));
        {
            let mut announced = self.announced();
            announced.change(loop_subject, None, true, 1, &mut Vec::new());
            let lines = announced.resume(&before);
            // Under the lock, so that no later change overtakes it.
            self.append(|out| out.extend_from_slice(&lines));
        }
        let wanted: Vec<_> = self.subs().iter().map(|(key, wanted)| (key.clone(), wanted.weight)).collect();
        for ((subject, queue), weight) in wanted {
            self.unsubscribe(&subject, queue.as_deref());
            self.subscribe(&subject, queue.as_deref(), weight);
        }
    }

    /// Leaves the account.
    pub fn end(&self) {
        self.account.unwatch(self.id);
        let subs = std::mem::take(&mut *self.subs());
        for sub in subs.values().flat_map(|wanted| &wanted.subs) {
            self.account.unsubscribe(sub);
        }
    }

    fn subs(&self) -> MutexGuard<'_, Interest> {
        self.subs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the peer of one more (or less) subscription of ours. Called under the index's lock, so the connection's task
    /// does the writing.
    pub fn announce(&self, subject: &str, queue: Option<&str>, more: bool, weight: u32) {
        let mut lines = Vec::new();
        let mut announced = self.announced();
        announced.change(subject, queue, more, weight, &mut lines);
        if !lines.is_empty() {
            self.append(|out| out.extend_from_slice(&lines));
        }
    }

    /// A snapshot; the peer's name, address and round trip are the caller's.
    pub fn connection(
        &self,
        name: String,
        address: Option<SocketAddr>,
        rtt: Option<Duration>,
        compression: &'static str,
    ) -> LeafConnection {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LeafConnection {
            id: self.id.get(),
            name,
            is_spoke: self.peer_is_hub,
            account: self.account.name().to_owned(),
            address,
            rtt,
            compression,
            since: (self.since.0, self.last_active()),
            version: String::new(),
            user: String::new(),
            pending: self.out.waiting(),
            sent: count(&self.counters.sent),
            sent_bytes: count(&self.counters.sent_bytes),
            received: count(&self.counters.received),
            received_bytes: count(&self.counters.received_bytes),
            subscriptions: self.subs().keys().map(|(subject, _)| subject.to_string()).collect(),
        }
    }

    /// The peer has sent a message or a change of its interest.
    pub fn was_active(&self, now: Instant) {
        let after = now.saturating_duration_since(self.since.1);
        self.active.store(after.as_millis() as u64, Ordering::Relaxed);
    }

    /// When it last was, or was sent a message.
    fn last_active(&self) -> SystemTime {
        let received = Duration::from_millis(self.active.load(Ordering::Relaxed));
        let sent = self.out.last_message().map_or(received, |at| at.saturating_duration_since(self.since.1));
        self.since.0 + sent.max(received)
    }

    /// Subjects announced to the peer.
    pub fn announced_len(&self) -> usize {
        self.announced().len()
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.out.append(write) {
            self.flush_soon.notify_one();
        }
    }

    /// `LS+`: the peer wants `subject`, with `weight` members in its queue group; what it may not have is left out.
    pub fn subscribe(self: &Arc<Self>, subject: &str, queue: Option<&str>, weight: u32) {
        let key = (Box::from(subject), queue.map(Box::from));
        let (known, full) = {
            let subs = self.subs();
            (subs.get(&key).map(|wanted| wanted.weight), subs.len() >= MAX_SUBSCRIPTIONS)
        };
        if !is_valid(subject) || known == Some(weight) {
            return;
        }
        if known.is_none() && full {
            tracing::warn!(
                "leaf connection {}: more than {MAX_SUBSCRIPTIONS} subscriptions, {subject} is left out",
                self.id.get()
            );
            return;
        }
        let parts =
            if subject.starts_with(LOOP_PREFIX) { vec![subject.into()] } else { self.rules().send.narrow(subject) };
        let sid = if self.peer_is_hub { HUB_SID } else { "leaf" };
        let rules = self.rules();
        let subs: Vec<_> = parts
            .iter()
            .map(|part| {
                let sub = Subscription::weighted(part, queue, sid, self.clone(), weight);
                // Who asks for something within it that may not cross has nobody to answer, and is told.
                sub.set_filtered(rules.send.denies_part_of(part));
                Arc::new(sub)
            })
            .collect();
        let before = self.subs().insert(key, Wanted { weight, subs: subs.clone() });
        for sub in subs {
            self.account.subscribe(sub);
        }
        for sub in before.iter().flat_map(|wanted| &wanted.subs) {
            self.account.unsubscribe(sub);
        }
    }

    /// `LS-`
    pub fn unsubscribe(&self, subject: &str, queue: Option<&str>) {
        let gone = self.subs().remove(&(Box::from(subject), queue.map(Box::from)));
        for sub in gone.iter().flat_map(|wanted| &wanted.subs) {
            self.account.unsubscribe(sub);
        }
    }

    /// A message from the peer: routed if it may come, counted if not; returns whether it was taken.
    pub fn message(&self, message: &Message<'_>, queues: &[&str], cache: &mut RouteCache, batch: &mut Batch) -> bool {
        let counters = &self.counters;
        // Tokens that are wildcards elsewhere may be in it: a filter ends the request for a consumer.
        if !is_valid(message.subject) || !self.rules().receive.allows(message.subject) {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        counters.received.fetch_add(1, Ordering::Relaxed);
        counters.received_bytes.fetch_add(message.size() as u64, Ordering::Relaxed);
        let mapped = self.account.map(message.subject, cache);
        if let Some(subject) = mapped.of(message.subject) {
            let (shown, reply) = delivery(message.reply).unwrap_or((subject, message.reply));
            let message = Message { subject: shown, reply, ..*message };
            // Without a named group none is ours to serve: the sender has chosen the members.
            self.account.route_queues(Origin { id: self.id, echo: false }, subject, &message, queues, cache, batch);
        }
        true
    }

    /// Sends past the router and the operator's lists, if the peer allows the subject and at most `max_waiting` bytes wait.
    pub fn send_direct(&self, message: &Message<'_>, max_waiting: usize) -> Result<(), NotSent> {
        if !is_valid(message.subject) || !self.rules().peer_export.allows(message.subject) {
            return Err(NotSent::NotAllowed);
        }
        if message.size() > self.max_payload.load(Ordering::Relaxed) {
            return Err(NotSent::TooLarge);
        }
        if self.out.waiting() > max_waiting {
            return Err(NotSent::Full);
        }
        let push = |out: &mut Vec<u8>| {
            push_message(out, message.subject, message.reply, &[], message.headers, message.payload);
        };
        if self.out.append_message(message.size(), push) {
            self.flush_soon.notify_one();
        }
        self.count_sent(message);
        Ok(())
    }

    fn count_sent(&self, message: &Message<'_>) {
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        self.counters.sent_bytes.fetch_add(message.size() as u64, Ordering::Relaxed);
    }
}

/// What a consumer on the other side delivers comes on the subject of its subscriber, and has the message's own behind its
/// reply: `$JS.ACK.<seven tokens>@<subject>`. Subject and reply as the subscriber sees them (nats-server `jsAckDeliverIdx`).
fn delivery(reply: &str) -> Option<(&str, &str)> {
    let tokens = reply.strip_prefix("$JS.ACK.")?;
    // Names of streams and consumers may have an `@` of their own.
    let (numbers, _) = tokens.match_indices('.').nth(5)?;
    let at = reply.len() - tokens.len() + numbers + tokens[numbers..].find('@')?;
    let (ack, subject) = (&reply[..at], &reply[at + 1..]);
    is_valid_literal(subject).then_some((subject, ack))
}

impl Target for Peer {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Leaf
    }

    fn party(&self) -> Option<Party> {
        let (name, traces) = self.remote.get().cloned().unwrap_or_default();
        Some(Party::Leaf { name, traces })
    }

    fn accepts(&self, _: &Subscription, subject: &str) -> bool {
        self.rules().send.allows(subject)
    }

    fn deliver(
        &self,
        this: &Arc<dyn Target>,
        _: &Subscription,
        queues: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) {
        if !self.rules().send.allows(message.subject) {
            return;
        }
        if message.size() > self.max_payload.load(Ordering::Relaxed) || self.out.waiting() > self.max_live {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let touch = self.out.append_message(message.size(), |out| {
            push_message(out, message.subject, message.reply, queues, message.headers, message.payload);
        });
        self.count_sent(message);
        if touch {
            batch.touch(this);
        }
    }

    fn room(&self) -> usize {
        match self.out.closed() {
            None => {
                let mut share = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
                share.left(Instant::now(), self.out.sent_bytes(), self.out.waiting())
            }
            Some(_) => usize::MAX,
        }
    }

    fn flush(&self) {
        self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_carries_its_subject_behind_the_reply() {
        for (reply, want) in [
            ("$JS.ACK.S.C.1.2.3.4.5@a.b", Some(("a.b", "$JS.ACK.S.C.1.2.3.4.5"))),
            ("$JS.ACK.S@x.C@y.1.2.3.4.5@a@b", Some(("a@b", "$JS.ACK.S@x.C@y.1.2.3.4.5"))),
            ("$JS.ACK.D.HASH.S.C.1.2.3.4.5.RND@a", Some(("a", "$JS.ACK.D.HASH.S.C.1.2.3.4.5.RND"))),
            ("$JS.ACK.S.C.1.2.3.4.5", None),
            ("$JS.ACK.S.C.1.2.3.4.5@", None),
            ("$JS.ACK.S.C.1.2.3.4.5@a.*", None),
            ("_INBOX.a@b", None),
            ("", None),
        ] {
            assert_eq!(delivery(reply), want, "{reply}");
        }
    }
}
