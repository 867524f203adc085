//! The delivery threads: a run queue and a timer heap. Reading messages from disk blocks, so consumers never run on the
//! workers of the runtime. A consumer is scheduled by a commit, an ack, a pull request or a timer; it does a bounded amount
//! of work and goes to the end of the queue if there is more. One that is idle costs nothing.

use super::state::Ticks;
use super::timers::Timers;
use crate::account::RouteCache;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Wake-ups are rounded up to this, so that timers close together share one.
const RESOLUTION: Ticks = 1_000_000;

/// The monotonic clock: nanoseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Clock(Instant::now())
    }

    /// The time.
    pub fn now(&self) -> Ticks {
        Ticks::try_from(self.0.elapsed().as_nanos()).unwrap_or(Ticks::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

/// Something that runs on the delivery threads, on one of them at a time.
pub trait Work: Send + Sync {
    /// Its place in the schedule.
    fn slot(&self) -> &Slot;
    /// Does a bounded amount of work.
    fn run(self: Arc<Self>, now: Ticks, scratch: &mut Scratch) -> After;
}

/// When to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// As soon as the others had their turn.
    pub again: bool,
    /// At this time at the latest; [`Ticks::MAX`]: when scheduled.
    pub at: Ticks,
}

/// What a delivery thread keeps between runs.
#[derive(Default)]
pub struct Scratch {
    /// Where subjects lead.
    pub routes: RouteCache,
    /// Places of the consumers that ran last.
    pub positions: super::position::Positions,
    /// Buffers of the runs.
    pub buffers: super::run::Buffers,
}

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
/// Scheduled again while it runs.
const AGAIN: u8 = 3;

/// The scheduling state of one [`Work`].
pub struct Slot {
    state: AtomicU8,
    /// The earliest time in the timer heap.
    armed: AtomicU64,
}

impl Default for Slot {
    fn default() -> Self {
        Slot { state: AtomicU8::new(IDLE), armed: AtomicU64::new(Ticks::MAX) }
    }
}

/// The threads.
pub struct Deliverer {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A handle to schedule with.
#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    clock: Clock,
    inner: Mutex<Inner>,
    wake: Condvar,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Arc<dyn Work>>,
    timers: Timers,
    sleeping: usize,
    /// One sleeping thread watches the timers, the others only the queue.
    watched: bool,
    stop: bool,
}

impl Deliverer {
    /// Starts `threads` threads. If called on a runtime, they may spawn tasks on it.
    pub fn start(threads: usize, clock: Clock) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { clock, inner: Mutex::default(), wake: Condvar::new() });
        let deliverer = Deliverer { shared: shared.clone(), threads: Mutex::default() };
        let runtime = tokio::runtime::Handle::try_current().ok();
        for _ in 0..threads.max(1) {
            let (shared, runtime) = (shared.clone(), runtime.clone());
            let thread = std::thread::Builder::new().name("leafd-deliver".into()).spawn(move || {
                let _entered = runtime.as_ref().map(|runtime| runtime.enter());
                shared.work();
            })?;
            deliverer.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(deliverer)
    }

    /// A handle to schedule with.
    pub fn scheduler(&self) -> Scheduler {
        Scheduler(self.shared.clone())
    }

    /// Ends the threads when each has finished the run it is in. Returns at once if called again.
    pub fn stop(&self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a delivery thread ended by a panic");
            }
        }
        let mut inner = self.shared.lock();
        inner.queue.clear();
        inner.timers = Timers::default();
    }
}

impl Scheduler {
    /// The time of the delivery threads.
    pub fn now(&self) -> Ticks {
        self.0.clock.now()
    }

    /// Has `work` run as soon as a thread is free.
    pub fn schedule<W: Work + 'static>(&self, work: &Arc<W>) {
        if mark_scheduled(work.slot()) {
            self.0.lock().push(work.clone(), &self.0.wake);
        }
    }

    /// Has all of `works` run.
    pub fn schedule_all<W: Work + 'static>(&self, works: Vec<Arc<W>>) {
        let mut inner = None;
        for work in works {
            if mark_scheduled(work.slot()) {
                inner.get_or_insert_with(|| self.0.lock()).push(work, &self.0.wake);
            }
        }
    }
}

/// Returns whether the work must be put into the queue.
fn mark_scheduled(slot: &Slot) -> bool {
    let update = |state| match state {
        IDLE => Some(QUEUED),
        RUNNING => Some(AGAIN),
        _ => None,
    };
    slot.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, update) == Ok(IDLE)
}

impl Inner {
    fn push(&mut self, work: Arc<dyn Work>, wake: &Condvar) {
        self.queue.push_back(work);
        if self.sleeping > 0 {
            wake.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(work) = self.next() {
            work.slot().state.store(RUNNING, Ordering::Release);
            let after = work.clone().run(self.clock.now(), &mut scratch);
            self.finish(work, after);
        }
    }

    /// Waits for the next work; `None` when the threads end.
    fn next(&self) -> Option<Arc<dyn Work>> {
        let mut inner = self.lock();
        loop {
            if inner.stop {
                return None;
            }
            let due = inner.timers.next();
            if due.is_some_and(|at| at <= self.clock.now()) {
                self.fire(&mut inner);
            }
            if let Some(work) = inner.queue.pop_front() {
                // Somebody else must watch the timers, or help with what else is queued.
                let unwatched = !inner.watched && inner.timers.next().is_some();
                if inner.sleeping > 0 && (unwatched || !inner.queue.is_empty()) {
                    self.wake.notify_one();
                }
                return Some(work);
            }
            inner.sleeping += 1;
            inner = match inner.timers.next() {
                Some(at) if !inner.watched => {
                    inner.watched = true;
                    let wait = Duration::from_nanos(at.saturating_sub(self.clock.now()));
                    let (mut inner, _) = self.wake.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner);
                    inner.watched = false;
                    inner
                }
                _ => self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
            inner.sleeping -= 1;
        }
    }

    /// Queues everything whose time has come.
    fn fire(&self, inner: &mut Inner) {
        let now = self.clock.now();
        while let Some((at, work)) = inner.timers.pop_due(now) {
            let slot = work.slot();
            if slot.armed.compare_exchange(at, Ticks::MAX, Ordering::AcqRel, Ordering::Acquire).is_ok()
                && mark_scheduled(slot)
            {
                inner.queue.push_back(work);
            }
        }
    }

    fn finish(&self, work: Arc<dyn Work>, after: After) {
        let slot = work.slot();
        let mut inner = None;
        if after.at != Ticks::MAX {
            let at = after.at.div_ceil(RESOLUTION).saturating_mul(RESOLUTION);
            if slot.armed.fetch_min(at, Ordering::AcqRel) > at {
                let inner = inner.get_or_insert_with(|| self.lock());
                let first = inner.timers.next().is_none_or(|next| at < next);
                inner.timers.arm(at, &work);
                // The thread that watches the timers sleeps too long now.
                if first && inner.watched {
                    self.wake.notify_all();
                }
            }
        }
        let idle =
            !after.again && slot.state.compare_exchange(RUNNING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !idle {
            slot.state.store(QUEUED, Ordering::Release);
            inner.get_or_insert_with(|| self.lock()).push(work, &self.wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    struct Counter {
        slot: Slot,
        runs: AtomicUsize,
        more: usize,
        at: Ticks,
        told: mpsc::Sender<usize>,
    }

    impl Work for Counter {
        fn slot(&self) -> &Slot {
            &self.slot
        }

        fn run(self: Arc<Self>, _: Ticks, _: &mut Scratch) -> After {
            let runs = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
            let _ = self.told.send(runs);
            After { again: runs < self.more, at: if runs == self.more { self.at } else { Ticks::MAX } }
        }
    }

    fn counter(more: usize, at: Ticks) -> (Arc<Counter>, mpsc::Receiver<usize>) {
        let (told, runs) = mpsc::channel();
        let slot = Slot::default();
        (Arc::new(Counter { slot, runs: AtomicUsize::new(0), more, at, told }), runs)
    }

    #[test]
    fn work_runs_until_it_is_done_and_again_by_its_timer() {
        for threads in [1, 3] {
            let deliverer = Deliverer::start(threads, Clock::new()).expect("threads");
            let (work, runs) = counter(3, 20_000_000);
            deliverer.scheduler().schedule(&work);
            for expected in 1..=4 {
                assert_eq!(runs.recv_timeout(Duration::from_secs(5)), Ok(expected));
            }
            deliverer.stop();
            assert_eq!(work.runs.load(Ordering::Relaxed), 4);
        }
    }

    #[test]
    fn much_work_runs_fairly() {
        let deliverer = Deliverer::start(1, Clock::new()).expect("threads");
        let (busy, busy_runs) = counter(100_000, Ticks::MAX);
        let (quick, quick_runs) = counter(1, Ticks::MAX);
        let scheduler = deliverer.scheduler();
        scheduler.schedule(&busy);
        busy_runs.recv_timeout(Duration::from_secs(5)).expect("runs");
        scheduler.schedule_all(vec![quick.clone(), quick]);
        assert_eq!(quick_runs.recv_timeout(Duration::from_secs(5)), Ok(1));
        deliverer.stop();
        assert!(busy.runs.load(Ordering::Relaxed) < 100_000, "the busy one ran alone");
    }
}
