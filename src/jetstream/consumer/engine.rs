//! What all consumers of an account share: the delivery threads, the thread that makes acks durable, and the watch over
//! the interest in deliver subjects.

use super::deliver::{Clock, Deliverer, Scheduler};
use super::interest::PushInterest;
use super::writer::AckWriter;
use crate::account::{Account, Origin, TargetId};
use crate::store::Store;
use std::sync::Arc;

/// Delivery threads at most; they mostly wait for the disk or for receivers.
const MAX_THREADS: usize = 4;

/// Runs consumers. One per account with JetStream.
pub struct Engine {
    account: Arc<Account>,
    store: Store,
    deliverer: Deliverer,
    acks: AckWriter,
    interest: Arc<PushInterest>,
    origin: Origin,
}

impl Engine {
    /// Starts the threads: one for every two processors.
    pub fn start(account: Arc<Account>, store: Store) -> std::io::Result<Arc<Self>> {
        let clock = Clock::new();
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let deliverer = Deliverer::start((processors / 2).clamp(1, MAX_THREADS), clock)?;
        let acks = AckWriter::start(store.clone(), clock)?;
        let interest = PushInterest::new(deliverer.scheduler());
        let origin = Origin { id: TargetId::next(), echo: true };
        account.watch(origin.id, interest.clone());
        Ok(Arc::new(Engine { account, store, deliverer, acks, interest, origin }))
    }

    /// Ends the threads; what was acknowledged is stored before this returns. The streams' consumers must be shut down
    /// before.
    pub fn stop(&self) {
        self.account.unwatch(self.origin.id);
        self.deliverer.stop();
        self.acks.stop();
    }

    /// The account that it serves.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Where configurations and delivery states are kept.
    pub fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn scheduler(&self) -> Scheduler {
        self.deliverer.scheduler()
    }

    pub(super) fn acks(&self) -> &AckWriter {
        &self.acks
    }

    pub(super) fn interest(&self) -> &PushInterest {
        &self.interest
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}
