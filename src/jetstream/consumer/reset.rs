//! A consumer that runs begins again at another sequence, or behind what is acknowledged
//! (`server/consumer.go`, `resetStartingSeqLocked`).

use super::config::{ConsumerConfig, DeliverPolicy};
use super::context::{Filter, locked};
use super::live::Consumer;
use super::start;
use super::validate::Retention;
use crate::store::{Commit, Log};
use std::sync::Arc;

/// A consumer that begins again.
pub struct Reset {
    /// The sequence that it begins at.
    pub seq: u64,
    /// Resolves when that is on disk; `None` if it is kept in memory.
    pub commit: Option<Commit>,
}

impl Consumer {
    /// Begins again at `seq`, or behind its ack floor if that is 0. The consumer's numbers begin at 1 again, and nothing
    /// is pending. Fails with nats-server's words where the consumer's deliver policy does not allow the sequence.
    pub fn reset(self: &Arc<Self>, seq: u64) -> Result<Reset, &'static str> {
        let context = &self.context;
        let seq = locked(&self.live, |live| {
            check(seq, &live.config, &context.log)?;
            let seq = if seq == 0 { live.delivery.floor().stream + 1 } else { seq };
            let picking = !live.delivery.picks().is_empty();
            live.delivery.reset(seq);
            if picking {
                let resume = live.delivery.resume;
                live.delivery.set_picks(start::last_per_subject(&live.filter, &context.log, seq, resume), resume);
            }
            (live.last_delivered, live.last_acked) = (None, None);
            // A run that reads now does so for a place that no longer counts; it tells by this.
            live.filter = Arc::new(Filter::clone(&live.filter));
            live.backlog = Default::default();
            Ok::<_, &'static str>(seq)
        })?;
        self.touched();
        let commit = context.acks.store_now(self);
        if context.rules().retention == Retention::Interest {
            context.acks.sweep(context);
        }
        context.scheduler.schedule(self);
        Ok(Reset { seq, commit })
    }
}

fn check(seq: u64, config: &ConsumerConfig, log: &Log) -> Result<(), &'static str> {
    match config.deliver_policy {
        _ if seq == 0 => Ok(()),
        DeliverPolicy::All => Ok(()),
        DeliverPolicy::ByStartSequence if seq < config.opt_start_seq => Err("below start seq"),
        DeliverPolicy::ByStartTime if seq < log.seq_at(config.opt_start_time.map_or(0, |time| time.0)) => {
            Err("below start time")
        }
        DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => Ok(()),
        DeliverPolicy::Last | DeliverPolicy::New | DeliverPolicy::LastPerSubject => Err("not allowed"),
    }
}
