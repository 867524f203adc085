//! In-process clients: how adapters, the uplink and the tests of both speak to the router without a socket.

use super::{
    Account, Batch, InterestWatcher, Message, Origin, OwnedMessage, RouteCache, Subscription, Target, TargetId,
    TargetKind,
};
use crate::subject;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// A client inside the process. Publishing is synchronous: on return every target has the message.
pub struct LocalClient {
    account: Arc<Account>,
    origin: Origin,
    cache: Mutex<RouteCache>,
}

/// Messages of one in-process subscription, in a bounded queue; ends the subscription when dropped.
pub struct Inbox {
    account: Arc<Account>,
    sub: Arc<Subscription>,
    messages: mpsc::Receiver<OwnedMessage>,
    dropped: Arc<AtomicU64>,
}

/// Why a request had no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Nobody listens on the subject.
    #[error("nobody listens on {0}")]
    NoResponders(String),
    /// No answer in time.
    #[error("no answer on {0} in time")]
    TimedOut(String),
}

/// Waits for interest in a subject to come; ends the watch when dropped.
struct Coming<'a> {
    account: &'a Account,
    id: TargetId,
    came: Arc<Came>,
}

struct Came {
    subject: Box<str>,
    notify: Notify,
}

impl InterestWatcher for Came {
    fn added(&self, subscription: &Subscription) {
        if subject::matches(subscription.subject(), &self.subject) {
            self.notify.notify_one();
        }
    }

    fn removed(&self, _: &Subscription) {}
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.account.unwatch(self.id);
    }
}

struct Queue {
    id: TargetId,
    sender: mpsc::Sender<OwnedMessage>,
    dropped: Arc<AtomicU64>,
}

impl Target for Queue {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, _: &mut Batch) {
        if self.sender.try_send(message.to_owned()).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LocalClient {
    /// A client of `account`.
    pub fn new(account: Arc<Account>) -> Self {
        LocalClient { account, origin: Origin { id: TargetId::next(), echo: true }, cache: Mutex::default() }
    }

    /// The account it speaks to.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Publishes and flushes; returns how many deliveries were made.
    pub fn publish(&self, message: &Message<'_>) -> usize {
        let mut batch = Batch::default();
        // A target may publish through the same client while it is being delivered to; it then goes without the cache.
        match self.cache.try_lock() {
            Ok(mut cache) => self.account.route(self.origin, message, &mut cache, &mut batch),
            Err(_) => self.account.route(self.origin, message, &mut RouteCache::default(), &mut batch),
        }
    }

    /// Subscribes with room for `capacity` unread messages; what does not fit is dropped and counted.
    pub fn subscribe(&self, subject: &str, capacity: usize) -> Inbox {
        let (sender, messages) = mpsc::channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Arc::new(Queue { id: TargetId::next(), sender, dropped: dropped.clone() });
        let sub = Arc::new(Subscription::new(subject, None, "", queue));
        self.account.subscribe(sub.clone());
        Inbox { account: self.account.clone(), sub, messages, dropped }
    }

    /// Waits until somebody begins to listen on the literal `subject`, beside those who do: a link, for instance, that is up again.
    pub async fn heard_anew(&self, subject: &str) {
        let came = Arc::new(Came { subject: subject.into(), notify: Notify::new() });
        let coming = Coming { account: &self.account, id: TargetId::next(), came };
        self.account.watch_changes(coming.id, coming.came.clone());
        coming.came.notify.notified().await;
    }

    /// Publishes with a reply inbox of its own and waits for one answer, at most `timeout`.
    pub async fn request(
        &self,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
        timeout: Duration,
    ) -> Result<OwnedMessage, RequestError> {
        let reply = new_inbox();
        let mut inbox = self.subscribe(&reply, 1);
        if self.publish(&Message { subject, reply: &reply, headers, payload }) == 0 {
            return Err(RequestError::NoResponders(subject.to_owned()));
        }
        match tokio::time::timeout(timeout, inbox.next()).await {
            Ok(Some(answer)) if answer.payload.is_empty() && answer.headers.starts_with(b"NATS/1.0 503") => {
                Err(RequestError::NoResponders(subject.to_owned()))
            }
            Ok(Some(answer)) => Ok(answer),
            _ => Err(RequestError::TimedOut(subject.to_owned())),
        }
    }
}

/// A new, unguessable reply subject.
pub fn new_inbox() -> String {
    format!("_INBOX.{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl Inbox {
    /// The next message; `None` never comes while the inbox lives.
    pub async fn next(&mut self) -> Option<OwnedMessage> {
        self.messages.recv().await
    }

    /// The next message if one is there.
    pub fn try_next(&mut self) -> Option<OwnedMessage> {
        self.messages.try_recv().ok()
    }

    /// Messages that did not fit.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.account.unsubscribe(&self.sub);
    }
}
