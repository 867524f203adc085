//! The thread that removes what rollups replace and what is due: it reads from disk, which the commit thread must not
//! wait for.

use super::damage::Gap;
use super::stream::Stream;
use crate::store::Purge;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Jobs that may wait; beyond that the commit thread does them itself.
const QUEUE: usize = 1024;

/// What is left to do for a committed message before it is acknowledged. Nothing of it waits for a commit.
pub(super) struct Job {
    pub stream: Arc<Stream>,
    pub seq: u64,
    pub reply: Box<str>,
    /// What the answer says beside the sequence.
    pub answer: Box<str>,
    pub removes: Removes,
}

/// What goes with a message that was committed; if nothing does, its answer waits for those before it.
#[derive(Default)]
pub(super) struct Removes {
    /// What it replaces.
    pub purges: Vec<Purge>,
    /// The message itself.
    pub itself: bool,
}

/// What is to be done for a stream; says after how long again.
pub(super) type Task = fn(&Arc<Stream>) -> Option<Duration>;

enum Work {
    Finish(Job),
    /// The stream has lost messages to damage.
    Declare(Gap, Weak<Stream>),
    Call(Call),
}

/// A task and its time.
struct Call {
    at: Instant,
    stream: Weak<Stream>,
    task: Task,
}

/// A handle on the thread, which ends with the last handle.
pub(super) struct Upkeep(SyncSender<Work>);

impl Upkeep {
    pub fn start() -> std::io::Result<Self> {
        let (sender, works) = sync_channel(QUEUE);
        std::thread::Builder::new().name("leafd-upkeep".into()).spawn(move || run(&works))?;
        Ok(Upkeep(sender))
    }

    pub fn run(&self, job: Job) {
        if let Err(TrySendError::Full(Work::Finish(job)) | TrySendError::Disconnected(Work::Finish(job))) =
            self.0.try_send(Work::Finish(job))
        {
            job.finish();
        }
    }

    /// Has the gap declared; if the queue is full, the log's own line has to do.
    pub fn declare(&self, gap: Gap, stream: Weak<Stream>) {
        let _ = self.0.try_send(Work::Declare(gap, stream));
    }

    /// Has `task` done after `delay`; `false` if the queue is full.
    pub fn call(&self, delay: Duration, stream: Weak<Stream>, task: Task) -> bool {
        self.0.try_send(Work::Call(Call { at: Instant::now() + delay, stream, task })).is_ok()
    }
}

fn run(works: &Receiver<Work>) {
    let mut calls: BinaryHeap<Call> = BinaryHeap::new();
    loop {
        let work = match calls.peek() {
            None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(call) => works.recv_timeout(call.at.saturating_duration_since(Instant::now())),
        };
        match work {
            Ok(Work::Finish(job)) => job.finish(),
            Ok(Work::Call(call)) => calls.push(call),
            Ok(Work::Declare(gap, stream)) => stream.upgrade().into_iter().for_each(|stream| stream.declare(gap)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        while calls.peek().is_some_and(|call| call.at <= now) {
            let Some(call) = calls.pop() else { break };
            let again = call.stream.upgrade().and_then(|stream| (call.task)(&stream));
            calls.extend(again.map(|delay| Call { at: Instant::now() + delay, ..call }));
        }
    }
}

impl Ord for Call {
    /// Earliest first in a heap that gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Call {}

impl Job {
    fn finish(self) {
        self.stream.finish(self.seq, self.reply, self.answer, &self.removes);
    }
}
