//! The thread that removes what rollups replace and what is due: it reads from disk, which the commit thread must not
//! wait for.

use super::consumer::config::Timestamp;
use super::stream::Stream;
use crate::store::Purge;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Jobs that may wait; beyond that the commit thread does them itself.
const QUEUE: usize = 1024;
/// The clock is looked at this often while something is to become due, in case it is set.
const LOOK: Duration = Duration::from_secs(10);

/// What is left to do for a committed message before it is acknowledged.
pub(super) struct Job {
    pub stream: Arc<Stream>,
    pub seq: u64,
    pub reply: Box<str>,
    /// What goes; `None`: the message itself.
    pub purge: Option<Purge>,
}

enum Work {
    Finish(Job),
    /// The stream has something that is due at this time (nanoseconds since 1970).
    Due(i64, Weak<Stream>),
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

    /// Has [`Stream::expire`] called at `at`; `false` if the queue is full.
    pub fn wake(&self, at: i64, stream: Weak<Stream>) -> bool {
        self.0.try_send(Work::Due(at, stream)).is_ok()
    }
}

/// When to look at a stream.
struct Alarm {
    at: i64,
    stream: Weak<Stream>,
}

fn run(works: &Receiver<Work>) {
    let mut alarms: BinaryHeap<Alarm> = BinaryHeap::new();
    loop {
        let left = alarms.peek().map(|alarm| alarm.at.saturating_sub(Timestamp::now().0));
        let work = match left {
            None => works.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => works.recv_timeout(Duration::from_nanos(u64::try_from(left).unwrap_or(0)).min(LOOK)),
        };
        match work {
            Ok(Work::Finish(job)) => job.finish(),
            Ok(Work::Due(at, stream)) => alarms.push(Alarm { at, stream }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Timestamp::now().0;
        while alarms.peek().is_some_and(|alarm| alarm.at <= now) {
            let Some(stream) = alarms.pop().and_then(|alarm| alarm.stream.upgrade()) else { continue };
            if let Some(at) = stream.expire(now) {
                alarms.push(Alarm { at, stream: Arc::downgrade(&stream) });
            }
        }
    }
}

impl Ord for Alarm {
    /// Earliest first in a heap that gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl Job {
    fn finish(self) {
        self.stream.finish(self.seq, &self.reply, self.purge.as_ref());
    }
}
