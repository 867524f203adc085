//! The thread that removes what rollups replace: it reads from disk, which the commit thread must not wait for.

use super::stream::Stream;
use crate::store::Purge;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// Jobs that may wait; beyond that the commit thread does them itself.
const QUEUE: usize = 1024;

/// What is left to do for a committed message before it is acknowledged.
pub(super) struct Job {
    pub stream: Arc<Stream>,
    pub seq: u64,
    pub reply: Box<str>,
    /// What goes; `None`: the message itself.
    pub purge: Option<Purge>,
}

/// A handle on the thread, which ends with the last handle.
pub(super) struct Upkeep(SyncSender<Job>);

impl Upkeep {
    pub fn start() -> std::io::Result<Self> {
        let (sender, jobs) = sync_channel::<Job>(QUEUE);
        std::thread::Builder::new()
            .name("leafd-upkeep".into())
            .spawn(move || jobs.into_iter().for_each(|job| job.finish()))?;
        Ok(Upkeep(sender))
    }

    pub fn run(&self, job: Job) {
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.0.try_send(job) {
            job.finish();
        }
    }
}

impl Job {
    fn finish(self) {
        self.stream.finish(self.seq, &self.reply, self.purge.as_ref());
    }
}
