//! Where acks, answers to flow control and pull requests for the consumers of one stream come in: one subscription for
//! each kind, so that a consumer that comes or goes does not change the account's subject index.

use super::ack;
use super::context::StreamContext;
use crate::account::{Batch, Message, RouteCache, Subscription, Target, TargetId, TargetKind};
use std::sync::{Arc, Weak};

#[derive(Clone, Copy)]
enum Kind {
    Ack,
    Flow,
    Next,
}

struct Inlet {
    id: TargetId,
    kind: Kind,
    context: Weak<StreamContext>,
}

/// Subscribes for the stream of `context`. The subscriptions must be taken back when the stream ends.
pub fn open(context: &Arc<StreamContext>) -> Vec<Arc<Subscription>> {
    let stream = &context.stream;
    let mut subjects = vec![
        (Kind::Ack, format!("$JS.ACK.{stream}.>")),
        (Kind::Flow, format!("$JS.FC.{stream}.>")),
        (Kind::Next, format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*")),
    ];
    if let Some(domain) = context.domain.name() {
        subjects.push((Kind::Next, format!("$JS.{domain}.API.CONSUMER.MSG.NEXT.{stream}.*")));
    }
    let subscribe = |(kind, subject): (Kind, String)| {
        let target = Arc::new(Inlet { id: TargetId::next(), kind, context: Arc::downgrade(context) });
        let subscription = Arc::new(Subscription::new(&subject, None, "", target));
        context.account.subscribe(subscription.clone());
        subscription
    };
    subjects.into_iter().map(subscribe).collect()
}

impl Target for Inlet {
    fn id(&self) -> TargetId {
        self.id
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    fn deliver(&self, _: &Arc<dyn Target>, _: &Subscription, _: &[&str], message: &Message<'_>, batch: &mut Batch) {
        let Some(context) = self.context.upgrade() else { return };
        match self.kind {
            Kind::Ack => {
                let (Some(ack), Some(verb)) = (ack::parse_subject(message.subject), ack::parse_verb(message.payload))
                else {
                    return;
                };
                if let Some(consumer) = context.member(ack.consumer)
                    && !consumer.acknowledge(ack.stream_seq, ack.consumer_seq, ack.delivered, verb, message.reply)
                {
                    nobody(&context, message, batch);
                }
            }
            Kind::Flow => {
                if let Some(consumer) = message.subject.split('.').nth(3).and_then(|name| context.member(name)) {
                    consumer.flow_answer(message.subject, message.headers);
                }
            }
            Kind::Next => {
                let name = message.subject.rsplit('.').next().unwrap_or_default();
                match context.member(name) {
                    Some(consumer) => consumer.request(message.headers, message.payload, message.reply),
                    None => nobody(&context, message, batch),
                }
            }
        }
    }
}

/// Answers as if nobody had subscribed, which is how it is in nats-server.
fn nobody(context: &StreamContext, message: &Message<'_>, batch: &mut Batch) {
    if message.reply.is_empty() {
        return;
    }
    let headers = format!("NATS/1.0 503\r\nNats-Subject: {}\r\n\r\n", message.subject);
    let answer = Message { subject: message.reply, reply: "", headers: headers.as_bytes(), payload: &[] };
    context.account.route(context.origin, &answer, &mut RouteCache::default(), batch);
}
