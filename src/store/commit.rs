//! The commit thread: writes what all logs have staged, syncs, and releases whoever waits.
//!
//! One round takes everything that is there: a write per log, a sync per log, one for the state log. While it syncs, the
//! next round's records gather, so batches grow with the load, and with no load nothing waits for anything but the disk.

use super::dir::{self, Lock};
use super::io::{Disk, DiskFile, MemoryDisk, Place, RealDisk};
use super::log::{Inner, Log, LogOptions, Staged, Storage, Sync};
use super::record;
use super::segment::Segment;
use super::tombstones::Tomb;
use super::{StateLog, StoreError, recovery};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::oneshot;

/// How often ages are checked and interval-synced logs are synced, while there are any.
const TICK: Duration = Duration::from_secs(1);
/// Staging buffers up to this size are kept for the next round.
const KEEP_CAPACITY: usize = 4 << 20;

/// How the store behaves.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// A segment is sealed when it would grow beyond this, bytes.
    pub segment_bytes: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { segment_bytes: 16 << 20 }
    }
}

/// Counters of the store.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct StoreStats {
    /// Commit rounds that wrote something.
    pub commits: u64,
    /// Calls of fdatasync.
    pub syncs: u64,
    /// Bytes of records written.
    pub bytes_written: u64,
    /// Records committed.
    pub records: u64,
    /// Commits that failed.
    pub failures: u64,
    /// The last failure, until a commit works again.
    pub error: Option<String>,
}

/// The store of one data directory; a handle.
#[derive(Clone)]
pub struct Store(Arc<StoreInner>);

struct StoreInner {
    shared: Arc<Shared>,
    state: Arc<StateLog>,
    place: Place,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: Option<Lock>,
}

/// What logs and the commit thread share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    closed: AtomicBool,
    logs: Mutex<HashMap<String, Weak<Inner>>>,
    segment_bytes: u64,
    commits: AtomicU64,
    syncs: AtomicU64,
    bytes_written: AtomicU64,
    records: AtomicU64,
    failures: AtomicU64,
    error: Mutex<Option<String>>,
}

#[derive(Default)]
struct Queue {
    logs: Vec<Arc<Inner>>,
    state: bool,
    tickets: Vec<Ticket>,
    stop: bool,
    /// The commit thread has ended.
    finished: bool,
}

/// Resolves when what it was given for is durable, or cannot be made so. It may be dropped.
pub struct Commit(oneshot::Receiver<Result<(), StoreError>>);

/// The other end of a [`Commit`].
pub(super) struct Ticket(oneshot::Sender<Result<(), StoreError>>);

pub(super) fn ticket() -> (Ticket, Commit) {
    let (sender, receiver) = oneshot::channel();
    (Ticket(sender), Commit(receiver))
}

impl Ticket {
    pub fn resolve(self, result: Result<(), StoreError>) {
        let _ = self.0.send(result);
    }
}

impl Commit {
    /// Waits on a thread that may block; never call it within the async runtime.
    pub fn wait(self) -> Result<(), StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or(Err(StoreError::Closed)))
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<String, Weak<Inner>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enqueue(&self, log: Arc<Inner>) {
        self.queue().logs.push(log);
        self.wake.notify_one();
    }

    /// Has the state log committed; `false` if the commit thread has ended.
    pub fn enqueue_state(&self) -> bool {
        let mut queue = self.queue();
        queue.state = true;
        self.wake.notify_one();
        !queue.finished
    }

    /// Logs that have something to commit, without waiting.
    fn rest(&self) -> Option<Vec<Arc<Inner>>> {
        let logs = std::mem::take(&mut self.queue().logs);
        (!logs.is_empty()).then_some(logs)
    }

    /// Nothing more is committed: whoever waits is told, and so is whoever comes later.
    fn finish(&self) {
        let tickets = {
            let mut queue = self.queue();
            queue.finished = true;
            std::mem::take(&mut queue.tickets)
        };
        tickets.into_iter().for_each(|ticket| ticket.resolve(Err(StoreError::Closed)));
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Nanoseconds since 1970.
    pub fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Waits for work; `None` when a tick is due without any.
    fn next(&self, ticking: bool) -> Option<Queue> {
        let mut queue = self.queue();
        loop {
            if !queue.logs.is_empty() || queue.state || !queue.tickets.is_empty() || queue.stop {
                let stop = queue.stop;
                let taken = std::mem::take(&mut *queue);
                queue.stop = stop;
                return Some(Queue { stop, ..taken });
            }
            if !ticking {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (guard, timeout) = self.wake.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner);
            queue = guard;
            if timeout.timed_out() {
                return None;
            }
        }
    }

    fn report(&self, result: &Result<(), StoreError>) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if error.take().is_some() {
                    tracing::info!("the store works again");
                }
            }
            Err(e) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if error.is_none() {
                    tracing::error!("the store cannot write: {e}; nothing is acknowledged until it works again");
                }
                *error = Some(e.to_string());
            }
        }
    }
}

impl Store {
    /// Opens or creates the store in `dir`, takes its lock, reads the state log and starts the commit thread.
    ///
    /// # Errors
    /// The directory cannot be used: in use, foreign, newer, unreadable.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Store, StoreError> {
        let lock = dir::take(dir)?;
        Self::on_disk(Arc::new(RealDisk), dir, options, Some(lock))
    }

    /// As [`Store::open`] on another disk than the machine's, without a lock.
    pub(super) fn on_disk(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: StoreOptions,
        lock: Option<Lock>,
    ) -> Result<Store, StoreError> {
        let place = Place { disk, dir: dir.to_owned() };
        let streams = dir.join("streams");
        place.disk.create_dir(&streams).map_err(|e| StoreError::io("create", &streams, e))?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            closed: AtomicBool::new(false),
            logs: Mutex::default(),
            segment_bytes: options.segment_bytes,
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            records: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            error: Mutex::default(),
        });
        let state = Arc::new(StateLog::open(place.clone(), shared.clone())?);
        let thread = thread::Builder::new().name("leafd-commit".into()).spawn({
            let (shared, state) = (shared.clone(), state.clone());
            move || run(&shared, &state)
        });
        let thread = thread.map_err(|e| StoreError::io("start the commit thread for", dir, e))?;
        Ok(Store(Arc::new(StoreInner { shared, state, place, thread: Mutex::new(Some(thread)), _lock: lock })))
    }

    /// A new, empty log.
    ///
    /// # Errors
    /// It exists already, or its folder cannot be made.
    pub fn create_log(&self, id: &str, options: LogOptions) -> Result<Log, StoreError> {
        if options.storage == Storage::File && self.log_ids()?.iter().any(|known| known == id) {
            return Err(StoreError::Exists(id.to_owned()));
        }
        let place = self.place_of(id, options.storage);
        let failed = |e| StoreError::io("create", &place.dir, e);
        place.disk.create_dir(&place.dir).map_err(failed)?;
        place.disk.sync_dir(&self.0.place.dir.join("streams")).map_err(failed)?;
        self.load(id, place, options)
    }

    /// An existing log. Memory-backed logs are always empty at first.
    ///
    /// # Errors
    /// It does not exist, or cannot be read.
    pub fn open_log(&self, id: &str, options: LogOptions) -> Result<Log, StoreError> {
        if options.storage == Storage::File && !self.log_ids()?.iter().any(|known| known == id) {
            return Err(StoreError::Missing(id.to_owned()));
        }
        self.load(id, self.place_of(id, options.storage), options)
    }

    fn load(&self, id: &str, place: Place, options: LogOptions) -> Result<Log, StoreError> {
        let shared = self.0.shared.clone();
        let state = recovery::open(&place, id, &options)?;
        let inner = Inner::new(id, place, options.storage, shared.clone(), state);
        shared.logs().insert(id.to_owned(), Arc::downgrade(&inner));
        let log = Log(inner);
        // The limits may have changed, or a power cut may have come before a removal was written.
        if let Some(max) = options.limits.max_msgs_per_subject {
            log.limit_subjects(&log.subjects_above(max), max);
        }
        // Wakes the thread, so that it notices whether the log needs ticks.
        log.set_limits(options.limits);
        Ok(log)
    }

    fn place_of(&self, id: &str, storage: Storage) -> Place {
        let dir = self.0.place.dir.join("streams").join(id);
        match storage {
            Storage::File => Place { disk: self.0.place.disk.clone(), dir },
            Storage::Memory => Place { disk: Arc::new(MemoryDisk), dir },
        }
    }

    /// Deletes a log with all its records; handles of it that are still about take no more.
    ///
    /// # Errors
    /// Its folder cannot be deleted.
    pub fn remove_log(&self, id: &str) -> Result<(), StoreError> {
        let inner = self.0.shared.logs().remove(id).and_then(|weak| weak.upgrade());
        if let Some(inner) = &inner {
            inner.state().deleted = true;
        }
        if inner.is_none_or(|inner| inner.storage == Storage::File) {
            let dir = self.place_of(id, Storage::File).dir;
            match self.0.place.disk.remove_dir(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::io("delete", &dir, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The file-backed logs there are.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn log_ids(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.0.place.dir.join("streams");
        self.0.place.disk.list(&dir).map_err(|e| StoreError::io("list", &dir, e))
    }

    /// The state log.
    pub fn state(&self) -> &StateLog {
        &self.0.state
    }

    /// Resolves when everything staged until now is committed.
    pub fn barrier(&self) -> Commit {
        let (ticket, commit) = ticket();
        let mut queue = self.0.shared.queue();
        if queue.finished {
            ticket.resolve(Err(StoreError::Closed));
        } else {
            queue.tickets.push(ticket);
            self.0.shared.wake.notify_one();
        }
        commit
    }

    /// Counters of now.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.0.shared;
        StoreStats {
            commits: shared.commits.load(Ordering::Relaxed),
            syncs: shared.syncs.load(Ordering::Relaxed),
            bytes_written: shared.bytes_written.load(Ordering::Relaxed),
            records: shared.records.load(Ordering::Relaxed),
            failures: shared.failures.load(Ordering::Relaxed),
            error: shared.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Commits everything and ends the commit thread. Nothing can be staged afterwards.
    pub fn close(&self) {
        self.0.close();
    }
}

impl StoreInner {
    fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.queue().stop = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        self.close();
    }
}

/// What one log has on its way to disk in this round.
struct Round {
    log: Log,
    staged: Arc<Staged>,
    tombs: Vec<Tomb>,
    file: Arc<dyn DiskFile>,
}

fn run(shared: &Shared, state: &StateLog) {
    let mut ticked = Instant::now();
    loop {
        let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
        let ticking = logs.iter().any(|log| {
            let state = log.0.state();
            state.unsynced || state.limits.max_age.is_some() && state.msgs > 0
        });
        drop(logs);
        let work = shared.next(ticking);
        if let Some(mut work) = work {
            let result = round(shared, state, std::mem::take(&mut work.logs));
            work.tickets.into_iter().for_each(|ticket| ticket.resolve(result.clone()));
            if work.stop {
                // What the last round gave rise to, such as removals by limits, goes along.
                while let Some(rest) = shared.rest() {
                    let _ = round(shared, state, rest);
                }
                sync_intervals(shared, Duration::ZERO);
                shared.finish();
                return;
            }
        }
        if ticking && ticked.elapsed() >= TICK {
            ticked = Instant::now();
            sync_intervals(shared, TICK);
            let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
            for log in logs {
                log.expire();
            }
        }
    }
}

/// Commits everything that `logs` and the state log have staged.
fn round(shared: &Shared, state: &StateLog, logs: Vec<Arc<Inner>>) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    let mut rounds = Vec::with_capacity(logs.len());
    for inner in logs {
        let log = Log(inner);
        match write(shared, &log) {
            Ok(round) => rounds.extend(round),
            Err(error) => {
                fail(&log, &error);
                outcome = Err(error);
            }
        }
    }
    let wrote = !rounds.is_empty();
    for round in rounds {
        let result = sync(shared, &round);
        match result {
            Ok(()) => finish(shared, round),
            Err(error) => {
                fail(&round.log, &error);
                outcome = Err(error);
            }
        }
    }
    let state_result = state.commit();
    let outcome = outcome.and(state_result);
    // A round that had nothing to write says nothing about the disk.
    if wrote || outcome.is_err() {
        shared.report(&outcome);
    }
    outcome
}

/// Writes what a log has staged; nothing of it is durable yet.
fn write(shared: &Shared, log: &Log) -> Result<Option<Round>, StoreError> {
    let place = &log.0.place;
    let (staged, tombs, active, base) = {
        let mut state = log.0.state();
        state.queued = false;
        if state.deleted {
            return Ok(None);
        }
        let spare = std::mem::take(&mut state.spare);
        let staged = Arc::new(std::mem::replace(&mut state.staged, spare));
        let tombs = std::mem::take(&mut state.tombs);
        let rotate = state.rotate;
        let room = shared.segment_bytes.saturating_sub(staged.buffer.len() as u64);
        let active = state.segments.back().filter(|s| !rotate && (s.len <= room || s.records == 0));
        let active = active.map(|s| (s.file.clone(), s.len, s.path.clone()));
        let base = staged.entries.first().map(|e| e.seq);
        if base.is_some() {
            state.writing = Some(staged.clone());
        }
        (staged, tombs, active, base)
    };
    if !tombs.is_empty() {
        let mut tombstones = std::mem::take(&mut log.0.state().tombstones);
        let result = tombstones.write(place, &tombs);
        let mut state = log.0.state();
        state.tombstones = tombstones;
        if let Err(error) = result {
            let later = std::mem::replace(&mut state.tombs, tombs);
            state.tombs.extend(later);
            return Err(error);
        }
    }
    let Some(base) = base else {
        let state = log.0.state();
        let file = state.segments.back().map(|s| s.file.clone());
        drop(state);
        return Ok(file.filter(|_| !tombs.is_empty()).map(|file| Round { log: log.clone(), staged, tombs, file }));
    };
    let (file, offset, path) = match active {
        Some(active) => active,
        None => begin_segment(log, base)?,
    };
    let tail = file.size().map_err(|e| StoreError::io("measure", &path, e))?;
    if tail > offset {
        // What a failed write left behind would be read as records after the next power cut.
        file.truncate(offset).map_err(|e| StoreError::io("cut", &path, e))?;
    }
    file.write_at(&staged.buffer, offset).map_err(|e| StoreError::io("write", &path, e))?;
    Ok(Some(Round { log: log.clone(), staged, tombs, file }))
}

/// A new segment whose first record is to be `base`. It is in the books before anything is written to it: should the write
/// fail, the next one goes into the same file, which is then cut first.
fn begin_segment(log: &Log, base: u64) -> Result<(Arc<dyn DiskFile>, u64, PathBuf), StoreError> {
    let place = &log.0.place;
    let unsynced = {
        let state = log.0.state();
        state.segments.back().filter(|_| state.unsynced).map(|s| s.file.clone())
    };
    if let Some(file) = unsynced {
        // An interval-synced log: nobody would sync the sealed segment later.
        file.sync().map_err(|e| StoreError::io("sync", &place.dir, e))?;
    }
    let segment = Segment::create(place, base)?;
    let begun = (segment.file.clone(), segment.len, segment.path.clone());
    let mut state = log.0.state();
    state.segments.push_back(segment);
    state.rotate = false;
    Ok(begun)
}

fn sync(shared: &Shared, round: &Round) -> Result<(), StoreError> {
    let place = &round.log.0.place;
    let due = {
        let state = round.log.0.state();
        match state.sync {
            _ if round.log.0.storage == Storage::Memory => false,
            Sync::Durable => true,
            Sync::Interval(every) => state.synced_at.elapsed() >= every,
        }
    };
    if !round.staged.entries.is_empty() && due {
        round.file.sync().map_err(|e| StoreError::io("sync", &place.dir, e))?;
        shared.syncs.fetch_add(1, Ordering::Relaxed);
    }
    if !round.tombs.is_empty() {
        let tombstones = std::mem::take(&mut round.log.0.state().tombstones);
        let result = tombstones.sync(place);
        round.log.0.state().tombstones = tombstones;
        result?;
        shared.syncs.fetch_add(1, Ordering::Relaxed);
    }
    let mut state = round.log.0.state();
    if due {
        state.synced_at = Instant::now();
    }
    state.unsynced = !due && round.log.0.storage == Storage::File;
    Ok(())
}

/// Takes the written records over into the books and tells the observer.
fn finish(shared: &Shared, round: Round) {
    let Round { log, staged, .. } = round;
    let Some(last) = staged.entries.last().map(|e| e.seq) else { return };
    let (gone, superseded, mut over, max) = {
        let mut guard = log.0.state();
        let state = &mut *guard;
        let (mut superseded, mut over) = (Vec::new(), Vec::new());
        let max = state.limits.max_msgs_per_subject;
        if let Some(segment) = state.segments.back_mut() {
            let offset = segment.len;
            for entry in &staged.entries {
                segment.note(entry.seq, entry.time, offset + entry.at as u64, entry.used);
                match max {
                    Some(1) => superseded.extend(entry.before),
                    Some(max) => {
                        if let Some(subject) = record::subject_of(&staged.buffer[entry.at..])
                            && state.subjects.get(subject).is_some_and(|i| i.count > max)
                        {
                            over.push(Box::from(subject));
                        }
                    }
                    None => {}
                }
            }
        }
        state.committed = last;
        state.writing = None;
        (state.settle(), superseded, over, max)
    };
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared.bytes_written.fetch_add(staged.buffer.len() as u64, Ordering::Relaxed);
    shared.records.fetch_add(staged.entries.len() as u64, Ordering::Relaxed);
    if let Ok(mut spare) = Arc::try_unwrap(staged) {
        spare.buffer.clear();
        spare.entries.clear();
        if spare.buffer.capacity() <= KEEP_CAPACITY {
            log.0.state().spare = spare;
        }
    }
    log.delete(gone);
    if let Some(observer) = log.0.observer.get() {
        observer.committed(last);
    }
    // A subject's record goes only when a later one is on disk, never for one that is merely staged.
    if let Err(error) = log.remove(&superseded) {
        tracing::warn!("{error}");
    }
    if let Some(max) = max {
        over.sort_unstable();
        over.dedup();
        log.limit_subjects(&over, max);
    }
    log.expire();
    compact_tombstones(&log);
}

/// Everything staged is dropped, and whoever waits is told.
fn fail(log: &Log, error: &StoreError) {
    let from = log.0.roll_back();
    if let Some(observer) = log.0.observer.get() {
        observer.failed(from, error);
    }
}

/// Writes the tombstones anew when most of them speak of segments that are gone.
fn compact_tombstones(log: &Log) {
    let (mut tombstones, tombs) = {
        let mut state = log.0.state();
        let live: u64 = state.segments.iter().map(|s| s.removed.count()).sum();
        if !state.tombstones.is_wasteful(live) {
            return;
        }
        let mut tombs = vec![Tomb::below(state.first)];
        for segment in &state.segments {
            for seq in segment.base.max(state.first)..=segment.last {
                if segment.is_removed(seq) {
                    Tomb::push(&mut tombs, seq);
                }
            }
        }
        (std::mem::take(&mut state.tombstones), tombs)
    };
    if let Err(error) = tombstones.rewrite(&log.0.place, &tombs) {
        tracing::warn!("{error}");
    }
    log.0.state().tombstones = tombstones;
}

/// Syncs logs whose last sync is at least `age` older than their interval allows.
fn sync_intervals(shared: &Shared, tick: Duration) {
    let logs: Vec<Log> = shared.logs().values().filter_map(Weak::upgrade).map(Log).collect();
    for log in logs {
        let file = {
            let state = log.0.state();
            let due = match state.sync {
                Sync::Interval(every) => tick.is_zero() || state.synced_at.elapsed() + tick >= every,
                Sync::Durable => false,
            };
            state.segments.back().filter(|_| state.unsynced && due).map(|s| s.file.clone())
        };
        let Some(file) = file else { continue };
        let result = file.sync().map_err(|e| StoreError::io("sync", &log.0.place.dir, e));
        if result.is_ok() {
            let mut state = log.0.state();
            state.unsynced = false;
            state.synced_at = Instant::now();
        }
        shared.report(&result);
    }
}
