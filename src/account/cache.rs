//! A publisher's own small cache of routing results.

use super::router::Routes;
use foldhash::fast::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

const FIRST_SLOTS: usize = 16;
const MAX_SLOTS: usize = 1024;

/// Remembers for the subjects a publisher uses which subscriptions they reach. It is direct-mapped, so it is bounded and
/// needs no eviction order; a subject enters when it is seen a second time, so that one-off subjects (inboxes) do not
/// push out lasting ones. A change of the account's generation number makes every entry stale.
#[derive(Default)]
pub struct RouteCache {
    slots: Vec<Slot>,
    hasher: RandomState,
}

#[derive(Default)]
struct Slot {
    seen: u64,
    generation: u64,
    entry: Option<(Box<str>, Arc<Routes>)>,
}

impl RouteCache {
    /// The routes of `subject` at `generation`; `compute` is asked on a miss.
    pub(super) fn get(&mut self, subject: &str, generation: u64, compute: impl FnOnce() -> Routes) -> Arc<Routes> {
        if self.slots.is_empty() {
            self.slots.resize_with(FIRST_SLOTS, Slot::default);
        }
        let hash = self.hasher.hash_one(subject);
        let mask = self.slots.len() - 1;
        let slot = &mut self.slots[hash as usize & mask];
        match &slot.entry {
            Some((cached, routes)) if slot.generation == generation && **cached == *subject => return routes.clone(),
            _ => {}
        }
        let routes = Arc::new(compute());
        if slot.seen != hash {
            slot.seen = hash;
        } else {
            let contended = slot.generation == generation && slot.entry.as_ref().is_some_and(|(s, _)| **s != *subject);
            match &mut slot.entry {
                Some((cached, old)) if **cached == *subject => *old = routes.clone(),
                entry => *entry = Some((subject.into(), routes.clone())),
            }
            slot.generation = generation;
            if contended && self.slots.len() < MAX_SLOTS {
                self.grow();
            }
        }
        routes
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
