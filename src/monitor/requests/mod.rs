//! Requests in the system account: the pages of monitoring, and what an operator may have the server do (nats-server
//! `events.go`). A subscription for each subject puts requests into one bounded queue, which one task answers in turn.

mod answer;
mod claims;
mod filter;
mod info;
mod service;
mod site;

pub(super) use site::Site;

use crate::account::{Batch, Message, OwnedMessage, Subscription, Target, TargetId, TargetKind};
use crate::events::Events;
use service::Service;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Requests that may wait; what comes above that is refused.
const MAX_WAITING: usize = 256;

/// A request that waits.
struct Asked {
    service: Service,
    message: OwnedMessage,
}

/// Where the requests of one service come in.
struct Entrance {
    id: TargetId,
    service: Service,
    queue: mpsc::Sender<Asked>,
    events: Arc<Events>,
}

impl Target for Entrance {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, _: &mut Batch) {
        let asked = Asked { service: self.service, message: message.to_owned() };
        if let Err(refused) = self.queue.try_send(asked) {
            answer::busy(&self.events, &refused.into_inner().message.reply);
        }
    }
}

/// Answers requests until `ending`.
pub(super) async fn run(site: Site, mut ending: watch::Receiver<bool>) {
    let (queue, mut asked) = mpsc::channel(MAX_WAITING);
    let events = site.events.clone();
    let mut subscriptions = Vec::new();
    for (subject, service) in service::subjects(&site.sources.server_id, site.sources.resolver.keeps()) {
        let (queue, events) = (queue.clone(), events.clone());
        let entrance = Arc::new(Entrance { id: TargetId::next(), service, queue, events });
        let subscription = Arc::new(Subscription::new(&subject, service.queue(), "", entrance));
        site.events.account().subscribe(subscription.clone());
        subscriptions.push(subscription);
    }
    let work = async {
        while let Some(Asked { service, message }) = asked.recv().await {
            site.answer(service, &message, asked.len()).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = ending.wait_for(|end| *end) => {}
    }
    for subscription in subscriptions {
        events.account().unsubscribe(&subscription);
    }
}
