//! `$JS.API.DIRECT.GET.<stream>[.<subject>]`: single messages as they are stored, for streams that allow it; key-value
//! clients read this way. A thread of its own answers, because it reads from disk.

use super::read;
use crate::account::{Account, Batch, Message, Origin, RouteCache, Subscription, Target, TargetId, TargetKind};
use crate::jetstream::stream::Stream;
use crate::protocol::headers::HeadersBuilder;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Requests that may wait; beyond that they are refused.
const QUEUE: usize = 4096;

struct Request {
    stream: Arc<Stream>,
    reply: Box<str>,
    /// The last message on this subject, if the subject of the request named one.
    subject: Option<Box<str>>,
    payload: Bytes,
}

/// Serves direct gets; the thread ends when the last stream's subscription is gone and this is dropped.
pub(super) struct Server {
    account: Arc<Account>,
    origin: Origin,
    sender: SyncSender<Request>,
    subs: Mutex<HashMap<String, Vec<Arc<Subscription>>>>,
}

impl Server {
    pub fn start(account: Arc<Account>, origin: Origin) -> std::io::Result<Self> {
        let (sender, requests) = sync_channel(QUEUE);
        let router = account.clone();
        std::thread::Builder::new().name("leafd-direct".into()).spawn(move || run(&router, origin, &requests))?;
        Ok(Server { account, origin, sender, subs: Mutex::default() })
    }

    /// Listens for `stream` if it allows direct gets, or no more.
    pub fn serve(&self, stream: &Arc<Stream>, prefixes: &[String]) {
        let name = stream.name();
        if !stream.config().allow_direct {
            return self.end(name);
        }
        let mut subs = self.subs.lock().unwrap_or_else(PoisonError::into_inner);
        if subs.contains_key(name) {
            return;
        }
        let inlet: Arc<dyn Target> = Arc::new(Inlet {
            id: TargetId::next(),
            origin: self.origin,
            stream: Arc::downgrade(stream),
            sender: self.sender.clone(),
        });
        let mut added = Vec::new();
        for subject in
            prefixes.iter().flat_map(|p| [format!("{p}DIRECT.GET.{name}"), format!("{p}DIRECT.GET.{name}.>")])
        {
            let sub = Arc::new(Subscription::new(&subject, None, "", inlet.clone()));
            self.account.subscribe(sub.clone());
            added.push(sub);
        }
        subs.insert(name.to_owned(), added);
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
    sender: SyncSender<Request>,
}

impl Target for Inlet {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, sub: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        let Some(stream) = self.stream.upgrade().filter(|_| !message.reply.is_empty()) else { return };
        // What the subscription's `>` stands for is the subject that is asked for.
        let subject = sub.subject.strip_suffix('>').and_then(|prefix| message.subject.strip_prefix(prefix));
        let account = stream.account().clone();
        let request = Request {
            stream,
            reply: message.reply.into(),
            subject: subject.map(Into::into),
            payload: Bytes::copy_from_slice(message.payload),
        };
        if self.sender.try_send(request).is_err() {
            let headers = HeadersBuilder::with_status(429, "Too Many Requests").build();
            let answer = Message { subject: message.reply, reply: "", headers: &headers, payload: &[] };
            account.route(self.origin, &answer, &mut RouteCache::default(), batch);
        }
    }
}

/// Answers until nobody can ask any more. What waits together is flushed together.
fn run(account: &Account, origin: Origin, requests: &Receiver<Request>) {
    let (mut cache, mut batch) = (RouteCache::default(), Batch::default());
    while let Ok(first) = requests.recv() {
        let mut next = Ok(first);
        while let Ok(request) = next {
            let mut send = |headers: &[u8], payload: &[u8]| {
                let message = Message { subject: &request.reply, reply: "", headers, payload };
                account.route(origin, &message, &mut cache, &mut batch);
            };
            read::answer(&request.stream, request.subject.as_deref(), &request.payload, &mut send);
            next = requests.try_recv();
            if matches!(next, Err(TryRecvError::Empty | TryRecvError::Disconnected)) || batch.touched().len() >= 64 {
                batch.flush();
            }
        }
    }
}
