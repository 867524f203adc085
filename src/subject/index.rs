//! The subject index: a trie of tokens, from subjects (with wildcards) to entries.
//!
//! One hash table per level holds the literal tokens; `*` and `>` have their own branches, so that a look-up visits at
//! most two branches a level. Entries of one subject are kept sorted by key, so that adding (keys only grow) is a push and
//! removing is a binary search, also where thousands share one subject. Most nodes are ends with a single entry: such a one
//! takes 48 bytes, its token and its place in the table not counted.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// An index from subjects to entries of type `T`, each known by a key that is unique within the index.
#[derive(Clone)]
pub struct Index<T> {
    root: Node<T>,
    hasher: RandomState,
    len: usize,
}

#[derive(Clone)]
struct Node<T> {
    branches: Option<Box<Branches<T>>>,
    entries: Entries<T>,
}

#[derive(Clone)]
struct Branches<T> {
    literal: HashTable<Box<Child<T>>>,
    star: Option<Box<Node<T>>>,
    full: Option<Box<Node<T>>>,
}

#[derive(Clone)]
struct Child<T> {
    token: Box<str>,
    node: Node<T>,
}

/// What one subject selects, sorted by key.
#[derive(Clone)]
enum Entries<T> {
    One([(u64, T); 1]),
    Many(Vec<(u64, T)>),
}

/// Where [`Index::lookup`] puts what it finds.
pub trait Matches<T> {
    /// One entry whose subject selects the looked-up literal.
    fn found(&mut self, entry: &T);
}

impl<T, F: FnMut(&T)> Matches<T> for F {
    fn found(&mut self, entry: &T) {
        self(entry)
    }
}

impl<T> Entries<T> {
    fn as_slice(&self) -> &[(u64, T)] {
        match self {
            Entries::One(one) => one,
            Entries::Many(many) => many,
        }
    }

    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// Puts `entry` where its key belongs; `false` if it has replaced another one.
    fn insert(&mut self, key: u64, entry: T) -> bool {
        let found = self.as_slice().binary_search_by_key(&key, |(k, _)| *k);
        match (self, found) {
            (Entries::One([(_, old)]), Ok(_)) => {
                *old = entry;
                false
            }
            (Entries::Many(many), Ok(at)) => {
                many[at].1 = entry;
                false
            }
            (this, Err(_)) if this.is_empty() => {
                *this = Entries::One([(key, entry)]);
                true
            }
            (this, Err(at)) => {
                let mut many = match std::mem::take(this) {
                    Entries::One(one) => Vec::from(one),
                    Entries::Many(many) => many,
                };
                many.insert(at, (key, entry));
                *this = Entries::Many(many);
                true
            }
        }
    }

    fn remove(&mut self, key: u64) -> Option<T> {
        let at = self.as_slice().binary_search_by_key(&key, |(k, _)| *k).ok()?;
        match std::mem::take(self) {
            Entries::One([(_, entry)]) => Some(entry),
            Entries::Many(mut many) => {
                let (_, entry) = many.remove(at);
                if many.len() * 4 < many.capacity() {
                    many.shrink_to_fit();
                }
                *self = Entries::Many(many);
                Some(entry)
            }
        }
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Entries::Many(Vec::new())
    }
}

impl<T> Default for Branches<T> {
    fn default() -> Self {
        Branches { literal: HashTable::new(), star: None, full: None }
    }
}

impl<T> Branches<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.star.is_none() && self.full.is_none()
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { branches: None, entries: Entries::default() }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.branches.is_none() && self.entries.is_empty()
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Index { root: Node::default(), hasher: RandomState::default(), len: 0 }
    }
}

impl<T> Index<T> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `entry` under `subject`, which must be valid. An entry of the same subject and key is replaced.
    pub fn insert(&mut self, subject: &str, key: u64, entry: T) {
        let mut node = &mut self.root;
        for token in subject.split('.') {
            let branches = node.branches.get_or_insert_default();
            node = match token {
                "*" => branches.star.get_or_insert_default(),
                ">" => branches.full.get_or_insert_default(),
                _ => {
                    let hasher = &self.hasher;
                    let child = branches
                        .literal
                        .entry(hasher.hash_one(token), |c| &*c.token == token, |c| hasher.hash_one(&*c.token))
                        .or_insert_with(|| Box::new(Child { token: token.into(), node: Node::default() }));
                    &mut child.into_mut().node
                }
            };
        }
        self.len += usize::from(node.entries.insert(key, entry));
    }

    /// Removes the entry with `key` under `subject` and gives it back; branches left empty go with it.
    pub fn remove(&mut self, subject: &str, key: u64) -> Option<T> {
        let removed = Self::remove_from(&mut self.root, &self.hasher, subject, key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    fn remove_from(node: &mut Node<T>, hasher: &RandomState, rest: &str, key: u64) -> Option<T> {
        if rest.is_empty() {
            return node.entries.remove(key);
        }
        let (token, rest) = rest.split_once('.').unwrap_or((rest, ""));
        let branches = node.branches.as_mut()?;
        let removed = match token {
            "*" | ">" => {
                let branch = if token == "*" { &mut branches.star } else { &mut branches.full };
                let child = branch.as_mut()?;
                let removed = Self::remove_from(child, hasher, rest, key);
                if child.is_empty() {
                    *branch = None;
                }
                removed
            }
            _ => {
                let mut slot = branches.literal.find_entry(hasher.hash_one(token), |c| &*c.token == token).ok()?;
                let removed = Self::remove_from(&mut slot.get_mut().node, hasher, rest, key);
                if slot.get().node.is_empty() {
                    slot.remove();
                }
                removed
            }
        };
        if branches.is_empty() {
            node.branches = None;
        }
        removed
    }

    /// Passes every entry whose subject selects the literal `subject` to `found`. A subject with an empty token is
    /// selected by none, not even by wildcards (nats-server `sublist.go`, `match`).
    pub fn lookup(&self, subject: &str, found: &mut impl Matches<T>) {
        if super::has_empty_token(subject) {
            return;
        }
        Self::walk(&self.root, &self.hasher, Some(subject), found);
    }

    /// Passes every entry to `found`, in no order.
    pub fn for_each(&self, found: &mut impl Matches<T>) {
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            node.entries.as_slice().iter().for_each(|(_, e)| found.found(e));
            let Some(branches) = &node.branches else { continue };
            open.extend(branches.literal.iter().map(|child| &child.node));
            open.extend(branches.star.as_deref());
            open.extend(branches.full.as_deref());
        }
    }

    fn walk(node: &Node<T>, hasher: &RandomState, rest: Option<&str>, found: &mut impl Matches<T>) {
        let Some(rest) = rest else {
            node.entries.as_slice().iter().for_each(|(_, e)| found.found(e));
            return;
        };
        let Some(branches) = &node.branches else { return };
        if let Some(full) = &branches.full {
            full.entries.as_slice().iter().for_each(|(_, e)| found.found(e));
        }
        let (token, rest) = match memchr::memchr(b'.', rest.as_bytes()) {
            Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
            None => (rest, None),
        };
        if let Some(star) = &branches.star {
            Self::walk(star, hasher, rest, found);
        }
        if !branches.literal.is_empty()
            && let Some(child) = branches.literal.find(hasher.hash_one(token), |c| &*c.token == token)
        {
            Self::walk(&child.node, hasher, rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(index: &Index<u64>, subject: &str) -> Vec<u64> {
        let mut got = Vec::new();
        index.lookup(subject, &mut |e: &u64| got.push(*e));
        got.sort_unstable();
        got
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(
            filters in proptest::collection::vec("(a|b|\\*)(\\.(a|b|c|\\*)){0,3}(\\.>)?", 1..40),
            gone in proptest::collection::vec(any::<bool>(), 40),
            subjects in proptest::collection::vec("(a|b|c)(\\.(a|b|c)){0,4}", 1..40),
        ) {
            let mut index = Index::default();
            for (key, filter) in filters.iter().enumerate() {
                index.insert(filter, key as u64, key as u64);
            }
            let mut left = Vec::new();
            for (key, filter) in filters.iter().enumerate() {
                if gone[key] {
                    prop_assert_eq!(index.remove(filter, key as u64), Some(key as u64));
                } else {
                    left.push((key as u64, filter));
                }
            }
            prop_assert_eq!(index.len(), left.len());
            for subject in &subjects {
                let naive: Vec<u64> =
                    left.iter().filter(|(_, f)| crate::subject::matches(f, subject)).map(|(k, _)| *k).collect();
                prop_assert_eq!(found(&index, subject), naive);
            }
        }
    }

    #[test]
    fn an_end_with_one_entry_is_small() {
        assert_eq!(size_of::<Child<std::sync::Arc<str>>>(), 56);
        assert_eq!(size_of::<Child<std::sync::Arc<u64>>>(), 48);
    }

    #[test]
    fn entries_of_one_subject_are_sorted_and_replaced() {
        let mut index = Index::default();
        for (key, entry) in [(5, 50), (1, 10), (9, 90), (5, 55), (1, 11)] {
            index.insert("a", key, entry);
        }
        assert_eq!((index.len(), found(&index, "a")), (3, vec![11, 55, 90]));
        assert_eq!([5, 5, 9, 1, 1].map(|key| index.remove("a", key)), [Some(55), None, Some(90), Some(11), None]);
        assert!(index.is_empty() && index.root.is_empty());
    }

    #[test]
    fn empty_branches_are_freed() {
        let mut index = Index::default();
        index.insert("a.*.>", 1, 1);
        index.insert("a.b.c", 2, 2);
        assert_eq!(index.remove("a.b", 2), None);
        assert_eq!(index.remove("a.*.>", 1), Some(1));
        assert_eq!(index.remove("a.b.c", 2), Some(2));
        assert!(index.root.is_empty() && index.is_empty());
    }
}
