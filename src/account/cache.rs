//! A publisher's own small cache of what it found out about the subjects it uses.

use super::router::Routes;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;

const FIRST_SLOTS: usize = 16;
const MAX_SLOTS: usize = 1024;

/// What one publisher remembers: which subscriptions its subjects reach, and what the account's mappings make of them.
#[derive(Default)]
pub struct RouteCache {
    pub(super) routes: SubjectCache<Arc<Routes>>,
    /// `None`: must be drawn each time.
    pub(super) mapped: SubjectCache<Option<Arc<str>>>,
}

/// Remembers one value for each of the subjects a publisher uses. It is direct-mapped, so it is bounded and needs no
/// eviction order; a subject enters when it is seen a second time, so that one-off subjects (inboxes) do not push out
/// lasting ones. A change of the generation number makes every entry stale.
pub(super) struct SubjectCache<V> {
    /// None before the second question, as many a publisher has only one.
    slots: Vec<Slot<V>>,
    asked: bool,
    hasher: RandomState,
}

struct Slot<V> {
    seen: u64,
    generation: u64,
    entry: Option<(Box<str>, V)>,
}

impl<V> Default for SubjectCache<V> {
    fn default() -> Self {
        SubjectCache { slots: Vec::new(), asked: false, hasher: RandomState::default() }
    }
}

impl<V> Default for Slot<V> {
    fn default() -> Self {
        Slot { seen: 0, generation: 0, entry: None }
    }
}

/// A value that is kept, or that is not yet worth it.
pub(super) enum Found<'a, V> {
    Kept(&'a V),
    Passing(V),
}

impl<V> Deref for Found<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        match self {
            Found::Kept(value) => value,
            Found::Passing(value) => value,
        }
    }
}

impl<V> Slot<V> {
    fn holds(&self, subject: &str, generation: u64) -> bool {
        self.generation == generation && self.entry.as_ref().is_some_and(|(cached, _)| **cached == *subject)
    }
}

impl<V: Clone> SubjectCache<V> {
    /// The value of `subject` at `generation`; `compute` is asked on a miss.
    pub(super) fn get(&mut self, subject: &str, generation: u64, compute: impl FnOnce() -> V) -> Found<'_, V> {
        if self.slots.is_empty() {
            if !std::mem::replace(&mut self.asked, true) {
                return Found::Passing(compute());
            }
            self.slots.resize_with(FIRST_SLOTS, Slot::default);
        }
        let hash = self.hasher.hash_one(subject);
        let mask = self.slots.len() - 1;
        let at = hash as usize & mask;
        if self.slots[at].holds(subject, generation) {
            return Found::Kept(self.slots[at].entry.as_ref().map(|(_, value)| value).expect("it holds it"));
        }
        let value = compute();
        let slot = &mut self.slots[at];
        if slot.seen != hash {
            slot.seen = hash;
        } else {
            let contended = slot.generation == generation && slot.entry.as_ref().is_some_and(|(s, _)| **s != *subject);
            match &mut slot.entry {
                Some((cached, old)) if **cached == *subject => *old = value.clone(),
                entry => *entry = Some((subject.into(), value.clone())),
            }
            slot.generation = generation;
            if contended && self.slots.len() < MAX_SLOTS {
                self.grow();
            }
        }
        Found::Passing(value)
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 4;
        let old = std::mem::take(&mut self.slots);
        self.slots.resize_with(size, Slot::default);
        for slot in old {
            if let Some((subject, _)) = &slot.entry {
                let at = self.hasher.hash_one(&**subject) as usize & (size - 1);
                self.slots[at] = slot;
            }
        }
    }
}
