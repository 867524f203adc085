//! Makes acks durable: one thread gathers the delivery states that changed and writes them as one batch into the state
//! log. When that is on disk, the commit thread answers those who asked for it (double acks), as it answers publishers, and
//! acknowledged messages may leave the stream. Changes that nobody waits for are coalesced for a tick; what somebody waits
//! for shares the next commit with whatever else is on its way to disk.

use super::context::{StreamContext, locked};
use super::deliver::Clock;
use super::live::Consumer;
use super::persist;
use super::retire;
use super::rounds::{Ended, Rounds};
use crate::account::{Batch, Message, RouteCache};
use crate::store::{Change, Store, StoreError};
use bytes::Bytes;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long changes that nobody waits for are gathered.
const TICK: Duration = Duration::from_millis(100);
/// Larger states are stored less often: this much longer for each pending message.
const TICK_PER_MESSAGE: Duration = Duration::from_micros(10);

/// Batches on their way to disk at most: while one is synced the next gathers, as in the commit thread.
const MAX_IN_FLIGHT: usize = 2;

/// The thread that makes acks durable, and the handle to it.
#[derive(Clone)]
pub struct AckWriter(Arc<Shared>);

struct Shared {
    store: Store,
    clock: Clock,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Held from taking a snapshot until it is in the state log's queue, so that a deletion cannot come in between.
    writing: Mutex<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Messages whose acks are durable, by consumer.
type Settled = Vec<(Arc<Consumer>, Vec<u64>)>;

#[derive(Default)]
struct Inner {
    /// Consumers that changed; each stands here once or twice.
    changed: Vec<Arc<Consumer>>,
    urgent: bool,
    /// When the tick of `changed` ends.
    due: Option<Instant>,
    /// How long the next tick is.
    tick: Duration,
    /// Streams that a consumer has left.
    sweeps: Vec<Arc<StreamContext>>,
    /// Batches on their way to disk.
    in_flight: usize,
    rounds: Rounds,
    /// Rounds whose acks are durable, with the messages that may leave for it.
    settled: Vec<(u64, Settled)>,
    stop: bool,
}

/// What a round has to do.
struct Work {
    round: u64,
    changed: Vec<Arc<Consumer>>,
    sweeps: Vec<Arc<StreamContext>>,
    stop: bool,
}

struct Snapshot {
    consumer: Arc<Consumer>,
    confirm: Vec<Box<str>>,
    settled: Vec<u64>,
}

impl AckWriter {
    /// Starts the thread.
    pub fn start(store: Store, clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            store,
            clock,
            inner: Mutex::new(Inner { tick: TICK, ..Inner::default() }),
            wake: Condvar::new(),
            writing: Mutex::new(()),
            thread: Mutex::new(None),
        });
        let (worker, runtime) = (shared.clone(), tokio::runtime::Handle::try_current().ok());
        let thread = std::thread::Builder::new().name("leafd-acks".into()).spawn(move || {
            let _entered = runtime.as_ref().map(|runtime| runtime.enter());
            Shared::work(&worker);
        })?;
        locked(&shared.thread, |slot| *slot = Some(thread));
        Ok(AckWriter(shared))
    }

    /// Has the state of `consumer`, which has just changed for the first time since it was stored, stored again: within a tick, or at once if somebody waits for it.
    pub fn note(&self, consumer: &Arc<Consumer>, urgent: bool) {
        let mut inner = self.0.lock();
        inner.changed.push(consumer.clone());
        let wake = inner.due.is_none() || urgent && !inner.urgent;
        if inner.due.is_none() {
            inner.due = Some(Instant::now() + inner.tick);
        }
        inner.urgent |= urgent;
        if wake {
            self.0.wake.notify_one();
        }
    }

    /// Somebody waits for what is to be stored.
    pub fn hurry(&self) {
        let mut inner = self.0.lock();
        if !std::mem::replace(&mut inner.urgent, true) {
            inner.due.get_or_insert_with(Instant::now);
            self.0.wake.notify_one();
        }
    }

    /// The end of what is under way, upon which messages that nobody needs any more have left their streams; and, hurried, of what
    /// waits for its tick, if that is `wanted`. `None`: there is nothing to wait for.
    pub fn catch_up(&self, wanted: bool) -> Option<Ended> {
        let mut inner = self.0.lock();
        let next = wanted && !inner.changed.is_empty() || !inner.sweeps.is_empty();
        let ended = inner.rounds.ended(next);
        drop(inner);
        if next {
            self.hurry();
        }
        ended
    }

    /// Writes into the state log with no snapshot of a delivery state under way.
    pub fn write(&self, changes: Vec<Change>) -> crate::store::Commit {
        locked(&self.0.writing, |()| self.0.store.state().write(changes))
    }

    /// Stores the state of `consumer` as it is, ahead of what is gathered; `None` if it is kept in memory.
    pub fn store_now(&self, consumer: &Consumer) -> Option<crate::store::Commit> {
        locked(&self.0.writing, |()| {
            let state = locked(&consumer.live, |live| {
                let stored = !live.closed && !live.config.mem_storage && !live.config.direct;
                stored.then(|| persist::encode(&live.delivery, self.0.clock.now()))
            })?;
            let key = consumer.context.acks_key(&consumer.name);
            Some(self.0.store.state().write(vec![Change::Put(key, Bytes::from(state))]))
        })
    }

    /// Has messages removed that nobody needs any more.
    pub fn sweep(&self, context: &Arc<StreamContext>) {
        let mut inner = self.0.lock();
        if !inner.sweeps.iter().any(|other| Arc::ptr_eq(other, context)) {
            inner.sweeps.push(context.clone());
        }
        inner.urgent = true;
        inner.due.get_or_insert_with(Instant::now);
        self.0.wake.notify_one();
    }

    /// Has the state of a consumer that ends stored, together with whatever else is due.
    pub fn flush(&self, consumer: &Arc<Consumer>) {
        locked(&self.0.writing, |()| {
            if let Some(change) = self.0.snapshot(consumer).0 {
                // Durable at the latest when the store is closed; nobody waits for it.
                drop(self.0.store.state().write(vec![change]));
            }
        });
    }

    /// Stores what has changed and ends the thread.
    pub fn stop(&self) {
        self.0.lock().stop = true;
        self.0.wake.notify_one();
        if let Some(thread) = locked(&self.0.thread, Option::take)
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes acks durable ended by a panic");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(self: &Arc<Self>) {
        loop {
            let stop = match self.next() {
                Some(Work { round, changed, sweeps, stop }) => {
                    self.store_states(round, changed);
                    // Where the server ends, the next start sweeps.
                    sweeps.iter().filter(|_| !stop).for_each(|context| retire::sweep(context));
                    self.lock().rounds.done(round);
                    stop
                }
                None => false,
            };
            let settled = std::mem::take(&mut self.lock().settled);
            for (round, messages) in settled {
                messages.iter().for_each(|(consumer, seqs)| retire::settled(consumer, seqs));
                self.lock().rounds.done(round);
            }
            if stop {
                if let Err(error) = self.store.barrier().wait() {
                    tracing::error!(%error, "the last acks could not be stored");
                }
                self.lock().rounds.finish();
                return;
            }
        }
    }

    /// Waits until there is something to store, or (`None`) stored acks let messages go.
    fn next(&self) -> Option<Work> {
        let mut inner = self.lock();
        loop {
            let wait = inner.due.map(|due| due.saturating_duration_since(Instant::now()));
            let free = inner.in_flight < MAX_IN_FLIGHT;
            if !inner.settled.is_empty() && !inner.stop {
                return None;
            }
            if inner.stop || free && wait.is_some_and(|wait| inner.urgent || wait.is_zero()) {
                (inner.urgent, inner.due) = (false, None);
                inner.in_flight += 1;
                // What is stored, and what is swept.
                let round = inner.rounds.begin(2);
                let (changed, sweeps) = (std::mem::take(&mut inner.changed), std::mem::take(&mut inner.sweeps));
                return Some(Work { round, changed, sweeps, stop: inner.stop });
            }
            inner = match wait.filter(|_| free) {
                None => self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => self.wake.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    fn store_states(self: &Arc<Self>, round: u64, changed: Vec<Arc<Consumer>>) {
        let mut changes = Vec::new();
        let mut snapshots = Vec::new();
        let mut messages = 0u32;
        locked(&self.writing, |()| {
            for consumer in changed {
                messages = messages.saturating_add(pending(&consumer));
                let (change, confirm, settled) = self.snapshot(&consumer);
                changes.extend(change);
                if !settled.is_empty() {
                    changes.extend(consumer.context.beside_acks());
                }
                snapshots.push(Snapshot { consumer, confirm, settled });
            }
            let shared = self.clone();
            let told = move |outcome| shared.stored(round, snapshots, outcome);
            match changes.is_empty() {
                true => told(Ok(())),
                false => self.store.state().write_then(changes, Box::new(told)),
            }
        });
        self.lock().tick = TICK + TICK_PER_MESSAGE * messages;
    }

    /// On the commit thread, unless there was nothing to commit.
    fn stored(&self, round: u64, snapshots: Vec<Snapshot>, outcome: Result<(), StoreError>) {
        let waits = {
            let mut inner = self.lock();
            inner.in_flight -= 1;
            inner.due.is_some()
        };
        if waits {
            self.wake.notify_one();
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "acks could not be stored; they are not confirmed, and are tried again");
            for snapshot in snapshots {
                locked(&snapshot.consumer.live, |live| {
                    live.dirty = true;
                    live.settled.extend(snapshot.settled);
                });
                self.note_again(snapshot.consumer);
            }
            self.lock().rounds.done(round);
            return;
        }
        let (mut routes, mut batch) = (RouteCache::default(), Batch::default());
        let mut settled = Vec::new();
        for snapshot in snapshots {
            let context = &snapshot.consumer.context;
            for reply in &snapshot.confirm {
                let message = Message { subject: reply, reply: "", headers: &[], payload: &[] };
                context.account.route(context.origin, &message, &mut routes, &mut batch);
            }
            if !snapshot.settled.is_empty() {
                settled.push((snapshot.consumer, snapshot.settled));
            }
        }
        batch.flush();
        if settled.is_empty() {
            self.lock().rounds.done(round);
        } else {
            self.lock().settled.push((round, settled));
            self.wake.notify_one();
        }
    }

    /// Takes what must be stored of a consumer, who waits for it, and which messages it settles.
    fn snapshot(&self, consumer: &Consumer) -> (Option<Change>, Vec<Box<str>>, Vec<u64>) {
        let now = self.clock.now();
        let (state, confirm, settled) = locked(&consumer.live, |live| {
            let changed = std::mem::take(&mut live.dirty) && !live.closed;
            let stored = changed && !live.config.mem_storage && !live.config.direct;
            let state = stored.then(|| persist::encode(&live.delivery, now));
            (state, std::mem::take(&mut live.confirm), std::mem::take(&mut live.settled))
        });
        let change = state.map(|state| Change::Put(consumer.context.acks_key(&consumer.name), Bytes::from(state)));
        (change, confirm, settled)
    }

    fn note_again(&self, consumer: Arc<Consumer>) {
        let mut inner = self.lock();
        inner.due = Some(Instant::now() + inner.tick.max(TICK * 10));
        inner.changed.push(consumer);
    }
}

fn pending(consumer: &Consumer) -> u32 {
    locked(&consumer.live, |live| u32::try_from(live.delivery.ack_pending()).unwrap_or(u32::MAX))
}
