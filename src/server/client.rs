//! A client as the router sees it: the target of its subscriptions.

use super::label::Label;
use super::outbound::Outbound;
use super::snapshot::About;
use super::tls::TlsSession;
use super::trace;
use crate::account::{Batch, Message, Party, Subscription, Target, TargetId, TargetKind};
use crate::auth::{Replies, Session};
use crate::protocol::number;
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A connected client.
pub(super) struct Client {
    pub id: TargetId,
    pub out: Arc<Outbound>,
    /// Who it is; before CONNECT the account is the default one.
    session: RwLock<Arc<Session>>,
    /// Until when it may stay.
    expires: Mutex<Option<Instant>>,
    /// Whether `replies` is kept.
    answers: AtomicBool,
    replies: Mutex<Option<Replies>>,
    /// What its TLS handshake came to, the certificates it showed among it.
    pub tls: Option<TlsSession>,
    /// Whether it understands HMSG (`headers` in CONNECT).
    pub headers: AtomicBool,
    subs: Mutex<Subs>,
    pub in_msgs: AtomicU64,
    /// Signs of life other than messages.
    pub pongs: AtomicU64,
    pub in_bytes: AtomicU64,
    /// For monitoring.
    pub about: About,
}

/// A client's subscriptions by sid.
type Subs = HashSet<BySid, RandomState>;

/// A subscription that is known by its sid, without a copy of it.
struct BySid(Arc<Subscription>);

impl Borrow<str> for BySid {
    fn borrow(&self) -> &str {
        self.0.sid()
    }
}

impl Hash for BySid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sid().hash(state);
    }
}

impl PartialEq for BySid {
    fn eq(&self, other: &Self) -> bool {
        self.0.sid() == other.0.sid()
    }
}

impl Eq for BySid {}

impl Client {
    pub fn new(
        id: TargetId,
        out: Arc<Outbound>,
        session: Arc<Session>,
        tls: Option<TlsSession>,
        about: About,
    ) -> Arc<Self> {
        Arc::new(Client {
            id,
            out,
            session: RwLock::new(session),
            expires: Mutex::default(),
            answers: AtomicBool::new(false),
            replies: Mutex::default(),
            tls,
            headers: AtomicBool::new(false),
            subs: Mutex::default(),
            in_msgs: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            in_bytes: AtomicU64::new(0),
            about,
        })
    }

    fn subs(&self) -> MutexGuard<'_, Subs> {
        self.subs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How lines in the log name it.
    pub fn label(&self) -> Label<'_> {
        Label(self)
    }

    /// Sends a protocol line.
    pub fn tell(&self, line: &[u8]) {
        self.tell_at_once(&[line]);
    }

    /// Sends protocol lines in one write, for clients that expect to read them together.
    pub fn tell_at_once(&self, lines: &[&[u8]]) {
        if trace::on() {
            lines.iter().for_each(|line| trace::outbound(self.label(), line));
        }
        if self.out.append(|out| lines.iter().for_each(|line| out.extend_from_slice(line))) {
            self.out.flush();
        }
    }

    /// Its subscriptions.
    pub fn list_subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.subs().iter().map(|BySid(sub)| sub.clone()).collect()
    }

    /// Who it is now.
    pub fn session(&self) -> Arc<Session> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long it may still stay; `None`: as long as it likes.
    pub fn time_left(&self) -> Option<Duration> {
        let expires = *self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        expires.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Makes it somebody else, or the same with other permissions. Its subscriptions stay where they are.
    pub fn become_user(&self, session: Arc<Session>) {
        let limit = session.permissions.as_ref().and_then(|p| p.responses());
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        match limit {
            Some(limit) if replies.as_ref().is_some_and(|r| r.limit() == limit) => {}
            _ => *replies = limit.map(|limit| Replies::new(limit, Instant::now())),
        }
        self.answers.store(replies.is_some(), Ordering::Release);
        drop(replies);
        let expires = session.ends.map(|(left, _)| Instant::now() + left);
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner) = expires;
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Whether a request that was delivered may be answered on `subject`; counts the answer.
    pub fn may_answer(&self, subject: &str) -> bool {
        let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.as_mut().is_some_and(|replies| replies.answer(subject, Instant::now()))
    }

    /// Notes that an answer on `reply` is asked for, if there is no permission for it anyway.
    fn asked(&self, reply: &str) {
        let session = self.session();
        if session.permissions.as_ref().is_some_and(|p| !p.may_publish(reply)) {
            let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
            replies.iter_mut().for_each(|replies| replies.asked(reply, Instant::now()));
        }
    }

    /// Ends the subscriptions that its permissions do not allow any more; returns them.
    pub fn prune(&self) -> Vec<Arc<Subscription>> {
        let session = self.session();
        let Some(permissions) = &session.permissions else {
            self.subs().iter().for_each(|BySid(sub)| sub.set_filtered(false));
            return Vec::new();
        };
        let mut denied = Vec::new();
        for BySid(sub) in self.subs().iter() {
            let queue = sub.queue();
            match permissions.may_subscribe(sub.subject(), queue) {
                true => sub.set_filtered(permissions.needs_filter(sub.subject(), queue)),
                false => denied.push(sub.clone()),
            }
        }
        denied.iter().for_each(|sub| self.forget(sub));
        denied
    }

    /// `SUB`; a sid that is in use already is left as it is, as nats-server does.
    pub fn subscribe(self: &Arc<Self>, subject: &str, queue: Option<&str>, sid: &str) {
        let sub = Arc::new(Subscription::new(subject, queue, sid, self.clone()));
        let session = self.session();
        sub.set_filtered(session.permissions.as_ref().is_some_and(|p| p.needs_filter(subject, queue)));
        if self.subs().insert(BySid(sub.clone())) {
            session.account.subscribe(sub);
        }
    }

    /// How many subscriptions it has.
    pub fn subscriptions(&self) -> usize {
        self.subs().len()
    }

    /// `UNSUB sid [max]`.
    pub fn unsubscribe(&self, sid: &str, max: Option<u64>) {
        let Some(sub) = self.subs().get(sid).map(|BySid(sub)| sub.clone()) else { return };
        match max {
            Some(max) if max > 0 && !sub.limit_to(max) => {}
            _ => self.forget(&sub),
        }
    }

    fn forget(&self, sub: &Arc<Subscription>) {
        self.subs().remove(sub.sid());
        self.session().account.unsubscribe(sub);
        // What it got goes out before the answer to a PING that follows: who drains a subscription awaits no more then.
        self.out.settle_all();
        self.trace_end(sub);
    }

    /// Ends every subscription: the connection is gone, or becomes another user's.
    pub fn close(&self) {
        let subs = std::mem::take(&mut *self.subs());
        let account = &self.session().account;
        for BySid(sub) in &subs {
            account.unsubscribe(sub);
            self.trace_end(sub);
        }
        self.out.settle_all();
    }

    fn trace_end(&self, sub: &Subscription) {
        if trace::on() {
            trace::ended(self.label(), sub.sid());
        }
    }

    /// Tells the requester that nobody listens on `subject`, if it has a subscription for `reply`.
    pub fn no_responders(&self, subject: &str, reply: &str) {
        let found = self.subs().iter().find(|s| crate::subject::matches(s.0.subject(), reply)).map(|s| s.0.clone());
        let Some(sub) = found else { return };
        let block = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
        self.tell(format!("HMSG {reply} {1} {0} {0}\r\n{block}\r\n", block.len(), sub.sid()).as_bytes());
    }
}

impl Target for Client {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Client
    }

    fn party(&self) -> Option<Party> {
        Some(Party::Client { name: self.about.name() })
    }

    fn deliver(
        &self,
        this: &Arc<dyn Target>,
        sub: &Subscription,
        _: &[&str],
        message: &Message<'_>,
        batch: &mut Batch,
    ) {
        let headers =
            if message.headers.is_empty() || !self.headers.load(Ordering::Relaxed) { &[][..] } else { message.headers };
        // Before the message: its answer may be here before this call returns.
        if self.answers.load(Ordering::Acquire) && !message.reply.is_empty() {
            self.asked(message.reply);
        }
        let size = headers.len() + message.payload.len();
        let write = |out: &mut Vec<u8>| {
            let start = out.len();
            out.reserve(message.size() + message.subject.len() + message.reply.len() + sub.sid().len() + 40);
            out.extend_from_slice(if headers.is_empty() { b"MSG " } else { b"HMSG " });
            out.extend_from_slice(message.subject.as_bytes());
            out.push(b' ');
            out.extend_from_slice(sub.sid().as_bytes());
            out.push(b' ');
            if !message.reply.is_empty() {
                out.extend_from_slice(message.reply.as_bytes());
                out.push(b' ');
            }
            if !headers.is_empty() {
                number::push(out, headers.len() as u64);
                out.push(b' ');
            }
            number::push(out, size as u64);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(headers);
            out.extend_from_slice(message.payload);
            out.extend_from_slice(b"\r\n");
            if trace::on() {
                trace::outbound(self.label(), &out[start..]);
            }
        };
        let touch = match batch.publisher() {
            Some(publisher) if publisher != self.id => self.out.append_from(publisher, size, write),
            // What a client sends to itself keeps its place among its other answers.
            _ => self.out.append_message(size, write),
        };
        if touch {
            batch.touch(this);
        }
        // The last message of a limited subscription (`UNSUB sid max`): the account drops it after this call.
        if sub.is_used_up() {
            self.subs().remove(sub.sid());
            self.trace_end(sub);
        }
    }

    fn accepts(&self, sub: &Subscription, subject: &str) -> bool {
        let session = self.session();
        session.permissions.as_ref().is_none_or(|p| p.may_receive(subject, sub.queue()))
    }

    fn settle(&self, publisher: TargetId) {
        self.out.settle(publisher);
    }

    fn flush(&self) {
        self.out.flush();
    }

    fn congestion(&self) -> Option<Arc<Notify>> {
        self.out.congestion()
    }
}
