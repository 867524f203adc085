//! The subject index: a trie of tokens, from subjects (with wildcards) to entries.
//!
//! One hash table per level holds the literal tokens; `*` and `>` have their own branches, so that a look-up visits at
//! most two branches a level. Entries of one subject are kept sorted by key, so that adding (keys only grow) is a push and
//! removing is a binary search, also where thousands share one subject.

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
    literal: HashTable<(Box<str>, Box<Node<T>>)>,
    star: Option<Box<Node<T>>>,
    full: Option<Box<Node<T>>>,
    entries: Vec<(u64, T)>,
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

impl<T> Default for Node<T> {
    fn default() -> Self {
        Node { literal: HashTable::new(), star: None, full: None, entries: Vec::new() }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.star.is_none() && self.full.is_none() && self.entries.is_empty()
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
            node = match token {
                "*" => node.star.get_or_insert_default(),
                ">" => node.full.get_or_insert_default(),
                _ => {
                    let hasher = &self.hasher;
                    &mut node
                        .literal
                        .entry(hasher.hash_one(token), |(t, _)| &**t == token, |(t, _)| hasher.hash_one(&**t))
                        .or_insert_with(|| (token.into(), Box::default()))
                        .into_mut()
                        .1
                }
            };
        }
        match node.entries.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => node.entries[at].1 = entry,
            Err(at) => {
                node.entries.insert(at, (key, entry));
                self.len += 1;
            }
        }
    }

    /// Removes the entry with `key` under `subject` and gives it back; branches left empty go with it.
    pub fn remove(&mut self, subject: &str, key: u64) -> Option<T> {
        let removed = Self::remove_from(&mut self.root, &self.hasher, subject, key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    fn remove_from(node: &mut Node<T>, hasher: &RandomState, rest: &str, key: u64) -> Option<T> {
        if rest.is_empty() {
            let at = node.entries.binary_search_by_key(&key, |(k, _)| *k).ok()?;
            let (_, entry) = node.entries.remove(at);
            if node.entries.len() * 4 < node.entries.capacity() {
                node.entries.shrink_to_fit();
            }
            return Some(entry);
        }
        let (token, rest) = rest.split_once('.').unwrap_or((rest, ""));
        match token {
            "*" | ">" => {
                let branch = if token == "*" { &mut node.star } else { &mut node.full };
                let child = branch.as_mut()?;
                let removed = Self::remove_from(child, hasher, rest, key);
                if child.is_empty() {
                    *branch = None;
                }
                removed
            }
            _ => {
                let mut slot = node.literal.find_entry(hasher.hash_one(token), |(t, _)| &**t == token).ok()?;
                let removed = Self::remove_from(&mut slot.get_mut().1, hasher, rest, key);
                if slot.get().1.is_empty() {
                    slot.remove();
                }
                removed
            }
        }
    }

    /// Passes every entry whose subject selects the literal `subject` to `found`. A subject with an empty token is
    /// selected by none, not even by wildcards (nats-server `sublist.go`, `match`).
    pub fn lookup(&self, subject: &str, found: &mut impl Matches<T>) {
        if subject.split('.').any(str::is_empty) {
            return;
        }
        Self::walk(&self.root, &self.hasher, Some(subject), found);
    }

    /// Passes every entry to `found`, in no order.
    pub fn for_each(&self, found: &mut impl Matches<T>) {
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            node.entries.iter().for_each(|(_, e)| found.found(e));
            open.extend(node.literal.iter().map(|(_, child)| &**child));
            open.extend(node.star.as_deref());
            open.extend(node.full.as_deref());
        }
    }

    fn walk(node: &Node<T>, hasher: &RandomState, rest: Option<&str>, found: &mut impl Matches<T>) {
        let Some(rest) = rest else {
            node.entries.iter().for_each(|(_, e)| found.found(e));
            return;
        };
        if let Some(full) = &node.full {
            full.entries.iter().for_each(|(_, e)| found.found(e));
        }
        let (token, rest) = match memchr::memchr(b'.', rest.as_bytes()) {
            Some(dot) => (&rest[..dot], Some(&rest[dot + 1..])),
            None => (rest, None),
        };
        if let Some(star) = &node.star {
            Self::walk(star, hasher, rest, found);
        }
        if !node.literal.is_empty()
            && let Some((_, child)) = node.literal.find(hasher.hash_one(token), |(t, _)| &**t == token)
        {
            Self::walk(child, hasher, rest, found);
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
