//! Acknowledged messages leave streams that keep them only until then: from a work queue at once, from an interest stream
//! when no other consumer needs them.

use super::context::StreamContext;
use super::live::Consumer;
use super::validate::Retention;
use crate::store::{StoreError, Stored};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The durable acks of `consumer` cover `seqs`: those that nobody needs any more leave the stream.
pub(super) fn settled(consumer: &Arc<Consumer>, seqs: &[u64]) {
    if seqs.is_empty() {
        return;
    }
    let context = &consumer.context;
    let removed = match context.rules().retention {
        Retention::Limits => Ok(()),
        Retention::WorkQueue => context.log.remove(seqs).map(|_| ()),
        Retention::Interest => remove_unneeded(consumer, seqs),
    };
    if let Err(error) = removed {
        let stream = &context.stream;
        tracing::error!(%error, %stream, "acknowledged messages could not be removed; they stay until the next start");
    }
}

/// Removes what nobody needs any more of a stream that keeps messages only until then: after a start, whose last acks may
/// have been stored without the removals that follow them, and after a consumer has gone.
pub(super) fn sweep(context: &StreamContext) {
    let retention = context.rules().retention;
    if retention == Retention::Limits || retention == Retention::WorkQueue && context.members().is_empty() {
        return;
    }
    let mut reader = context.log.reader();
    let mut unneeded = Vec::new();
    let removed = loop {
        match reader.next(&|_| true) {
            Ok(Some(message)) => {
                let concerned = context.members().concerned(&message.subject);
                let mut concerned = concerned.iter().filter(|consumer| consumer.wants(&message.subject)).peekable();
                // A work queue keeps what no consumer was made for yet.
                let kept = retention == Retention::WorkQueue && concerned.peek().is_none();
                if !kept && !concerned.any(|consumer| consumer.needs(message.seq, &message.subject)) {
                    unneeded.push(message.seq);
                }
            }
            // After it the members are not known any more; the next start looks again.
            Ok(None) if context.ended.load(Ordering::SeqCst) => return,
            Ok(None) => break context.log.remove(&unneeded).map(|_| ()),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = removed {
        tracing::error!(%error, stream = %context.stream, "messages that nobody needs could not be removed");
    }
}

fn remove_unneeded(consumer: &Arc<Consumer>, seqs: &[u64]) -> Result<(), StoreError> {
    let context = &consumer.context;
    let alone = context.members().all().all(|other| other.name() == consumer.name());
    let mut unneeded = Vec::with_capacity(seqs.len());
    for seq in seqs {
        // Where nobody else is, nothing has to be read.
        let message = if alone { None } else { context.log.read_sound(*seq)? };
        let needed = |message: Stored| {
            let concerned = context.members().concerned(&message.subject);
            concerned.iter().any(|other| other.name() != consumer.name() && other.needs(*seq, &message.subject))
        };
        if !message.is_some_and(needed) {
            unneeded.push(*seq);
        }
    }
    if context.ended.load(Ordering::SeqCst) {
        // Who needs them is not known any more: the next start looks for what is left over.
        return Ok(());
    }
    context.log.remove(&unneeded).map(|_| ())
}
