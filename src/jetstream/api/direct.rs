//! `$JS.API.DIRECT.GET.<stream>[.<subject>]`: single messages as they are stored, for streams that allow it; key-value
//! clients read this way. A mirror may answer for its origin as well (`mirror_direct`).
//!
//! A single message that is in memory, or in the page cache, is sent at once, in the asker's own task. What may have to wait for the
//! disk is left to a thread; until that has answered all there is, other requests wait behind it, so that answers keep their order.

use super::read;
use crate::account::{Account, Batch, Message, Origin, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::jetstream::level::requires_too_much;
use crate::jetstream::stream::Stream;
use crate::protocol::headers::HeadersBuilder;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Requests that may wait; beyond that they are refused.
const QUEUE: usize = 4096;
/// The queue group of a stream and those that mirror it (nats-server's `dgetGroup`).
const GROUP: &str = "_sys_";

struct Request {
    stream: Arc<Stream>,
    reply: Box<str>,
    /// The last message on this subject, if the subject of the request named one.
    subject: Option<Box<str>>,
    payload: Bytes,
}

/// The way to the thread.
#[derive(Clone)]
struct Queue {
    sender: SyncSender<Request>,
    /// Requests that the thread has not answered yet.
    waiting: Arc<AtomicUsize>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// Whether there was room for it.
    fn put(&self, request: Request) -> bool {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let taken = self.sender.try_send(request).is_ok();
        if !taken {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        taken
    }
}

/// Serves direct gets; the thread ends when the last stream's subscription is gone and this is dropped.
pub(super) struct Server {
    account: Arc<Account>,
    origin: Origin,
    queue: Queue,
    subs: Mutex<HashMap<String, Vec<Arc<Subscription>>>>,
}

impl Server {
    pub fn start(account: Arc<Account>, origin: Origin) -> std::io::Result<Self> {
        let (sender, requests) = sync_channel(QUEUE);
        let queue = Queue { sender, waiting: Arc::default() };
        let (router, waiting) = (account.clone(), queue.waiting.clone());
        std::thread::Builder::new()
            .name("leafd-direct".into())
            .spawn(move || run(&router, origin, &requests, &waiting))?;
        Ok(Server { account, origin, queue, subs: Mutex::default() })
    }

    /// Listens for what `stream` answers now: under its own name, its origin's, both or none.
    pub fn serve(&self, stream: &Arc<Stream>, prefixes: &[String]) {
        let config = stream.config();
        let own = config.allow_direct.then(|| (stream.name(), false));
        // Under the same name as the origin's it would answer twice.
        let origin =
            config.mirror.as_ref().filter(|origin| config.mirror_direct && own.is_none_or(|own| own.0 != origin.name));
        let origin = origin.map(|origin| (&*origin.name, origin.external.is_none()));
        let mut wanted = Vec::new();
        for (name, when_caught_up) in own.into_iter().chain(origin) {
            for prefix in prefixes {
                wanted.push((format!("{prefix}DIRECT.GET.{name}"), when_caught_up));
                wanted.push((format!("{prefix}DIRECT.GET.{name}.>"), when_caught_up));
            }
        }
        let mut all = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        let subs = all.entry(stream.name().to_owned()).or_default();
        subs.retain(|sub| {
            let stays = wanted.iter().any(|(subject, _)| **subject == *sub.subject());
            if !stays {
                self.account.unsubscribe(sub);
            }
            stays
        });
        for (subject, when_caught_up) in wanted {
            if !subs.iter().any(|sub| *sub.subject() == *subject) {
                let inlet: Arc<dyn Target> = Arc::new(Inlet {
                    id: TargetId::next(),
                    origin: self.origin,
                    stream: Arc::downgrade(stream),
                    queue: self.queue.clone(),
                });
                let sub = Arc::new(Subscription::new(&subject, Some(GROUP), "", inlet));
                sub.set_filtered(when_caught_up);
                self.account.subscribe(sub.clone());
                subs.push(sub);
            }
        }
    }

    /// Listens no more for the stream.
    pub fn end(&self, stream: &str) {
        let subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
        subs.iter().flatten().for_each(|sub| self.account.unsubscribe(sub));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let subs = std::mem::take(&mut *self.subs.lock().unwrap_or_else(PoisonError::into_inner));
        subs.values().flatten().for_each(|sub| self.account.unsubscribe(sub));
    }
}

struct Inlet {
    id: TargetId,
    origin: Origin,
    stream: Weak<Stream>,
    queue: Queue,
}

impl Target for Inlet {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    /// A mirror that lags leaves it to its origin, which is in the same account, to answer.
    fn accepts(&self, _: &Subscription, _: &str) -> bool {
        self.stream.upgrade().is_some_and(|stream| stream.has_caught_up())
    }

    fn deliver(&self, _: &Arc<dyn Target>, sub: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        let Some(stream) = self.stream.upgrade().filter(|_| !message.reply.is_empty()) else { return };
        // What the subscription's `>` stands for is the subject that is asked for.
        let subject = sub.subject().strip_suffix('>').and_then(|prefix| message.subject.strip_prefix(prefix));
        let account = stream.account().clone();
        let from_connection = batch.publisher().is_some();
        let mut send = |headers: &[u8], payload: &[u8]| {
            let answer = Message { subject: message.reply, reply: "", headers, payload };
            account.route(self.origin, &answer, &mut RouteCache::default(), batch);
        };
        let refusal = |code, text| HeadersBuilder::with_status(code, text).build();
        if requires_too_much(message.headers) {
            return send(&refusal(412, "Required Api Level"), &[]);
        }
        // Who is no connection may hold locks that whoever gets the answer needs.
        if from_connection
            && self.queue.is_empty()
            && read::answer_at_hand(&stream, subject, message.payload, &mut send)
        {
            return;
        }
        let request = Request {
            stream,
            reply: message.reply.into(),
            subject: subject.map(Into::into),
            payload: Bytes::copy_from_slice(message.payload),
        };
        if !self.queue.put(request) {
            send(&refusal(429, "Too Many Requests"), &[]);
        }
    }
}

/// Answers until nobody can ask any more. What waits together is flushed together.
fn run(account: &Account, origin: Origin, requests: &Receiver<Request>, waiting: &AtomicUsize) {
    let (mut cache, mut batch) = (RouteCache::default(), Batch::default());
    while let Ok(first) = requests.recv() {
        let mut next = Ok(first);
        while let Ok(request) = next {
            let mut send = |headers: &[u8], payload: &[u8]| {
                let message = Message { subject: &request.reply, reply: "", headers, payload };
                account.route(origin, &message, &mut cache, &mut batch);
            };
            read::answer(&request.stream, request.subject.as_deref(), &request.payload, &mut send);
            waiting.fetch_sub(1, Ordering::AcqRel);
            next = requests.try_recv();
            if matches!(next, Err(TryRecvError::Empty | TryRecvError::Disconnected)) || batch.touched().len() >= 64 {
                batch.flush();
            }
        }
    }
}
