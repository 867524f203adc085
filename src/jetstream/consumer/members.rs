//! The consumers of a stream by name, and by the subjects that they want: a message concerns few of them, also where there are
//! ten thousand.

use super::context::Filter;
use super::live::Consumer;
use crate::subject::{self, Index};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The consumers of a stream. Bounded by its `max_consumers`.
#[derive(Default)]
pub struct Members {
    by_name: BTreeMap<Box<str>, Arc<Consumer>>,
    /// Each under all its filters; while these are changed, under the old and the new ones.
    by_filter: Index<Arc<Consumer>>,
    /// Those by which other streams follow this one.
    followers: usize,
}

impl Members {
    /// Adds one of a new name.
    pub fn insert(&mut self, consumer: &Arc<Consumer>) {
        self.by_name.insert(consumer.name().into(), consumer.clone());
        self.followers += usize::from(consumer.config().direct);
        self.want(consumer, &consumer.filter());
    }

    /// Removes the one of that name.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Consumer>> {
        let consumer = self.by_name.remove(name)?;
        self.followers -= usize::from(consumer.config().direct);
        self.forget(&consumer, &consumer.filter());
        Some(consumer)
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        self.by_name.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// How many there are, followers left out.
    pub fn count(&self) -> usize {
        self.by_name.len() - self.followers
    }

    /// Those that may want a message on `subject`: all that do, and perhaps one whose filters are being changed.
    pub fn concerned(&self, subject: &str) -> Vec<Arc<Consumer>> {
        if !subject::is_valid(subject) {
            return self.all().cloned().collect();
        }
        let mut found = Vec::new();
        self.by_filter.lookup(subject, &mut |consumer: &Arc<Consumer>| found.push(consumer.clone()));
        found
    }

    /// `consumer` may want what passes `filter`, too.
    pub fn want(&mut self, consumer: &Arc<Consumer>, filter: &Filter) {
        if self.get(consumer.name()).is_some_and(|member| Arc::ptr_eq(member, consumer)) {
            for pattern in filter.patterns() {
                self.by_filter.insert(pattern, consumer.key, consumer.clone());
            }
        }
    }

    /// `consumer` has gone, or has another filter now: what passes `filter` alone does not concern it.
    pub fn forget(&mut self, consumer: &Arc<Consumer>, filter: &Filter) {
        let current = consumer.filter();
        for pattern in filter.patterns().into_iter().chain(current.patterns()) {
            self.by_filter.remove(pattern, consumer.key);
        }
        self.want(consumer, &current);
    }
}
