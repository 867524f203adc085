//! Where a new consumer starts (`server/consumer.go`, `selectStartingSeqNo`).

use super::config::{ConsumerConfig, DeliverPolicy};
use super::context::Filter;
use super::state::{Delivery, Rules};
use crate::store::{Log, StoreError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// The delivery state of a new consumer of `log`.
pub fn select(config: &ConsumerConfig, filter: &Filter, log: &Log) -> Delivery {
    let state = log.state();
    // An empty stream says nothing of where it will begin; its next sequence does.
    let after_last = state.last_seq + 1;
    let first = if state.msgs == 0 { after_last } else { state.first_seq.max(1) };
    let start = match config.deliver_policy {
        DeliverPolicy::All | DeliverPolicy::LastPerSubject => first,
        DeliverPolicy::Last => {
            let last = match filter {
                Filter::All => Some(state.last_seq),
                _ => filter.patterns().into_iter().filter_map(|pattern| last_of(pattern, log)).max(),
            };
            last.filter(|last| *last > 0).unwrap_or(after_last)
        }
        DeliverPolicy::New => after_last,
        DeliverPolicy::ByStartSequence => config.opt_start_seq,
        DeliverPolicy::ByStartTime => {
            let time = config.opt_start_time.map_or(0, |time| time.0);
            log.seq_at(time).min(after_last)
        }
    };
    let start = start.max(first).max(1);
    if config.deliver_policy != DeliverPolicy::LastPerSubject {
        return Delivery::new(Rules::of(config), start);
    }
    let picks = last_per_subject(filter, log, first, state.last_seq);
    let mut delivery = Delivery::new(Rules::of(config), picks.front().copied().unwrap_or(start));
    delivery.set_picks(picks, state.last_seq);
    delivery
}

/// The last message of each subject that passes `filter`, as far as it lies between `from` and `upto`, in the order of
/// the stream.
pub fn last_per_subject(filter: &Filter, log: &Log, from: u64, upto: u64) -> VecDeque<u64> {
    let mut picks = Vec::new();
    let mut pick = || {
        picks.clear();
        for pattern in filter.patterns() {
            log.each_subject::<()>(pattern, |_, info| {
                picks.extend((from..=upto).contains(&info.last).then_some(info.last));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    };
    twice(log, &mut pick);
    picks.sort_unstable();
    picks.into()
}

fn last_of(pattern: &str, log: &Log) -> Option<u64> {
    twice(log, &mut || log.last_for(pattern)).flatten()
}

/// Asks the index once more if it could not be read, as it is made anew from the segments. Where these cannot be read either, there
/// is nothing to be delivered.
fn twice<T>(log: &Log, ask: &mut dyn FnMut() -> Result<T, StoreError>) -> Option<T> {
    let again = ask().or_else(|_| {
        log.mend_index();
        ask()
    });
    again.inspect_err(|error| tracing::error!("where a consumer begins is not known: {error}")).ok()
}
