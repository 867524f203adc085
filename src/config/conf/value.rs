//! The tree that a configuration file becomes.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a file; lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The value itself.
    pub kind: Kind,
    /// Where it begins; of what a variable stands for, where the variable is used.
    pub at: Place,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `{ key: value }`.
    Map(Map),
    /// `[ value, value ]`.
    Array(Vec<Value>),
    /// Raw, quoted or block.
    String(String),
    /// With its unit applied.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// `true`, `yes`, `on`, `false`, `no`, `off`.
    Bool(bool),
    /// `2016-05-04T18:53:41Z`.
    DateTime(time::OffsetDateTime),
}

impl Kind {
    /// As a message names it.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Map(_) => "a map",
            Kind::Array(_) => "an array",
            Kind::String(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Float(_) => "a float",
            Kind::Bool(_) => "a boolean",
            Kind::DateTime(_) => "a date",
        }
    }
}

impl Value {
    /// How many values this is, itself included.
    pub(super) fn count(&self) -> usize {
        match &self.kind {
            Kind::Map(map) => 1 + map.iter().map(|entry| entry.value.count()).sum::<usize>(),
            Kind::Array(items) => 1 + items.iter().map(Value::count).sum::<usize>(),
            _ => 1,
        }
    }

    /// The deepest nesting below this value.
    pub(super) fn depth(&self) -> usize {
        match &self.kind {
            Kind::Map(map) => 1 + map.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            Kind::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where the key stands.
    pub at: Place,
    /// What it is set to.
    pub value: Value,
    /// Whether a variable referred to it: such a key may have any name.
    pub used: bool,
}

/// Keys in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl Map {
    /// Sets a key; as in nats-server the last of several counts.
    pub(super) fn insert(&mut self, entry: Entry) {
        match self.index.get(&entry.key) {
            Some(&at) => self.entries[at] = entry,
            None => {
                self.index.insert(entry.key.clone(), self.entries.len());
                self.entries.push(entry);
            }
        }
    }

    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.index.get(key).map(|&at| &self.entries[at])
    }

    /// The value of `key`, which a variable refers to.
    pub(super) fn refer(&mut self, key: &str) -> Option<&Value> {
        let entry = &mut self.entries[*self.index.get(key)?];
        entry.used = true;
        Some(&entry.value)
    }

    /// All entries.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl IntoIterator for Map {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
