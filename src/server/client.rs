//! A client as the router sees it: the target of its subscriptions.

use super::outbound::Outbound;
use super::tls::TlsSession;
use crate::account::{Account, Batch, Message, Subscription, Target, TargetId, TargetKind};
use crate::protocol::number;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A connected client.
pub(super) struct Client {
    pub id: TargetId,
    pub out: Arc<Outbound>,
    pub account: Arc<Account>,
    /// What its TLS handshake came to, the certificates it showed among it.
    pub tls: Option<TlsSession>,
    /// Whether it understands HMSG (`headers` in CONNECT).
    pub headers: AtomicBool,
    subs: Mutex<HashMap<Box<str>, Arc<Subscription>, RandomState>>,
    pub in_msgs: AtomicU64,
    /// Signs of life other than messages.
    pub pongs: AtomicU64,
    pub in_bytes: AtomicU64,
    pub out_msgs: AtomicU64,
}

impl Client {
    pub fn new(id: TargetId, out: Arc<Outbound>, account: Arc<Account>, tls: Option<TlsSession>) -> Arc<Self> {
        Arc::new(Client {
            id,
            out,
            account,
            tls,
            headers: AtomicBool::new(false),
            subs: Mutex::default(),
            in_msgs: AtomicU64::new(0),
            pongs: AtomicU64::new(0),
            in_bytes: AtomicU64::new(0),
            out_msgs: AtomicU64::new(0),
        })
    }

    fn subs(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Subscription>, RandomState>> {
        self.subs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `SUB`; a sid that is in use already is left as it is, as nats-server does.
    pub fn subscribe(self: &Arc<Self>, subject: &str, queue: Option<&str>, sid: &str) {
        let sub = Arc::new(Subscription::new(subject, queue, sid, self.clone()));
        if self.subs().try_insert(sid.into(), sub.clone()).is_ok() {
            self.account.subscribe(sub);
        }
    }

    /// `UNSUB sid [max]`.
    pub fn unsubscribe(&self, sid: &str, max: Option<u64>) {
        let Some(sub) = self.subs().get(sid).cloned() else { return };
        match max {
            Some(max) if max > 0 && !sub.limit_to(max) => {}
            _ => self.forget(&sub),
        }
    }

    fn forget(&self, sub: &Arc<Subscription>) {
        self.subs().remove(&*sub.sid);
        self.account.unsubscribe(sub);
    }

    /// Ends every subscription: the connection is gone.
    pub fn close(&self) {
        let subs = std::mem::take(&mut *self.subs());
        for sub in subs.values() {
            self.account.unsubscribe(sub);
        }
    }

    /// Tells the requester that nobody listens on `subject`, if it has a subscription for `reply`.
    pub fn no_responders(&self, subject: &str, reply: &str) {
        let sid = self.subs().values().find(|s| crate::subject::matches(&s.subject, reply)).map(|s| s.sid.clone());
        let Some(sid) = sid else { return };
        let block = format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
        self.out.send(format!("HMSG {reply} {sid} {0} {0}\r\n{block}\r\n", block.len()).as_bytes());
    }
}

impl Target for Client {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Client
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
        let touch = self.out.append(|out| {
            out.reserve(message.size() + message.subject.len() + message.reply.len() + sub.sid.len() + 40);
            out.extend_from_slice(if headers.is_empty() { b"MSG " } else { b"HMSG " });
            out.extend_from_slice(message.subject.as_bytes());
            out.push(b' ');
            out.extend_from_slice(sub.sid.as_bytes());
            out.push(b' ');
            if !message.reply.is_empty() {
                out.extend_from_slice(message.reply.as_bytes());
                out.push(b' ');
            }
            if !headers.is_empty() {
                number::push(out, headers.len() as u64);
                out.push(b' ');
            }
            number::push(out, (headers.len() + message.payload.len()) as u64);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(headers);
            out.extend_from_slice(message.payload);
            out.extend_from_slice(b"\r\n");
        });
        self.out_msgs.fetch_add(1, Ordering::Relaxed);
        if touch {
            batch.touch(this);
        }
        // The last message of a limited subscription (`UNSUB sid max`): the account drops it after this call.
        if sub.is_used_up() {
            self.subs().remove(&*sub.sid);
        }
    }

    fn flush(&self) {
        self.out.flush();
    }

    fn congestion(&self) -> Option<Arc<Notify>> {
        self.out.congestion()
    }
}
