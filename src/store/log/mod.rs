//! A log: what is staged, what is committed, and the answers to questions about both.

mod at_hand;
mod contents;
mod front;
mod index_mend;
mod limits;
mod look_up;
mod options;
mod removal;
mod staging;
mod state;
mod subject_ends;
mod sync;

pub use at_hand::Later;
pub use options::{CommitObserver, Limits, LogOptions, LogState, Purge, Storage, Sync};
pub(super) use staging::{Entry, Staged};
pub(super) use state::State;
pub(super) use sync::Unsynced;

use self::contents::Tail;
use super::StoreError;
use super::commit::Shared;
use super::io::Place;
use super::quarantine::Quarantine;
use super::reader::Reader;
use super::segment::Segment;
use super::subjects::Subjects;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A handle on a log.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub id: String,
    pub place: Place,
    pub storage: Storage,
    pub shared: Arc<Shared>,
    pub observer: OnceLock<Arc<dyn CommitObserver>>,
    pub quarantine: Quarantine,
    /// Held while segments are written anew.
    pub compacting: Mutex<()>,
    tail: Mutex<Tail>,
    state: Mutex<State>,
}

impl Inner {
    pub fn new(id: &str, place: Place, storage: Storage, shared: Arc<Shared>, state: State) -> Arc<Inner> {
        Arc::new(Inner {
            id: id.to_owned(),
            place,
            storage,
            tail: Mutex::default(),
            shared,
            observer: OnceLock::new(),
            quarantine: Quarantine::default(),
            compacting: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sequences from `first` to `last`, if there are any, turned out damaged: whoever observes the log is told once.
    pub fn declare_damage(&self, first: u64, last: u64) {
        if self.quarantine.add(&self.id, first, last)
            && let Some(observer) = self.observer.get()
        {
            observer.damaged(first, last);
        }
    }

    /// Has the commit thread look at this log; call without the state's lock.
    pub fn queue(self: &Arc<Self>) {
        self.shared.enqueue(self.clone());
    }
}

impl Log {
    /// Sets who is told of commits, and of damage, also of what was found before; the first one stays.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        if self.0.observer.set(observer.clone()).is_ok() {
            self.damaged().iter().for_each(|range| observer.damaged(*range.start(), *range.end()));
        }
    }

    /// Has the commit thread look at the log. Under its lock, so that a barrier asked for later comes behind it.
    pub(super) fn queue(&self, state: &mut State) {
        if !std::mem::replace(&mut state.queued, true) {
            self.0.queue();
        }
    }

    /// Asks the index. Should that fail the commit thread is woken, which makes what could not be read anew.
    fn noted<T>(
        &self,
        state: &mut State,
        ask: impl FnOnce(&mut Subjects) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = ask(&mut state.subjects);
        if answer.is_err() {
            self.queue(state);
        }
        answer
    }

    /// Sequences that turned out damaged: they are left out wherever records are read.
    pub fn damaged(&self) -> Vec<RangeInclusive<u64>> {
        self.0.quarantine.ranges()
    }

    /// A reader of what is committed, from the first record on.
    pub fn reader(&self) -> Reader {
        Reader::new(self.0.clone())
    }

    /// Ends it, with its files as they are: it takes no more, and has nothing any more.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let unsynced = {
            let mut state = self.0.state();
            state.deleted = true;
            let again = state.written_again();
            let last = state.segments.back().filter(|_| state.unsynced.is_any());
            let last = last.map(|segment| (segment.file.clone(), again));
            state.segments.clear();
            state.subjects = Subjects::new(self.0.shared.budget.clone());
            last
        };
        drop(self.0.compacting.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = |error| StoreError::io("sync", &self.0.place.dir, error);
        unsynced.map_or(Ok(()), |(file, again)| sync::sync(&file, again).map_err(failed))
    }

    pub(super) fn delete(&self, segments: Vec<Segment>) {
        for segment in segments {
            if let Err(error) = self.0.place.disk.remove(&segment.path) {
                tracing::warn!("cannot delete {}: {error}", segment.path.display());
            }
            self.0.shared.tables().forget(segment.serial);
            if segment.indexed {
                let mut state = self.0.state();
                state.checkpoint.since += segment.len;
                state.checkpoint.gone.push(segment.base);
            }
        }
    }
}
