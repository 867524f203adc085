//! What one segment holds, without headers and payloads: the sequence, subject and size of each record. Made by reading the
//! segment, or from its index file; held only while it is looked at.

use super::SubjectInfo;
use super::log::Storage;
use super::record::COUNTED;
use super::scanner::{Item, Scanner};
use super::varint::{self, Cursor};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::io;

/// A record of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub seq: u64,
    /// Number of its subject in the table.
    pub subject: u32,
    /// Bytes that it counts.
    pub size: u32,
}

/// The records of a segment, removed ones included, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// All subjects in a row, by first appearance, and where each ends.
    names: String,
    ends: Vec<usize>,
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads the records of a log in `storage` that `scanner` comes across; damage is passed over.
    pub fn scan(scanner: Scanner, storage: Storage) -> io::Result<Table> {
        let mut builder = Builder::default();
        builder.scan(scanner, storage)?;
        Ok(builder.finish())
    }

    /// Bytes it takes, about.
    pub fn memory(&self) -> usize {
        self.names.capacity() + self.ends.capacity() * size_of::<usize>() + self.rows.capacity() * size_of::<Row>()
    }

    pub fn subject(&self, number: u32) -> &str {
        let at = number as usize;
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.names[from..self.ends[at]]
    }

    /// Number of a subject, if it is there.
    pub fn number_of(&self, subject: &str) -> Option<u32> {
        self.subjects().position(|s| s == subject).map(|n| n as u32)
    }

    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|n| self.subject(n as u32))
    }

    /// For each subject whether `chosen` says so.
    pub fn select(&self, chosen: impl Fn(&str) -> bool) -> Vec<bool> {
        self.subjects().map(chosen).collect()
    }

    /// Of each subject the first, last and number of the records that are `chosen`, and their bytes.
    pub fn summarize(&self, chosen: impl Fn(u64) -> bool) -> impl Iterator<Item = (&str, SubjectInfo, u64)> {
        let mut found = vec![(SubjectInfo { first: 0, last: 0, count: 0 }, 0); self.ends.len()];
        for row in self.rows.iter().filter(|row| chosen(row.seq)) {
            let (info, bytes) = &mut found[row.subject as usize];
            if info.count == 0 {
                info.first = row.seq;
            }
            (info.last, info.count) = (row.seq, info.count + 1);
            *bytes += u64::from(row.size);
        }
        let found = found.into_iter().enumerate().filter(|(_, (info, _))| info.count > 0);
        found.map(|(n, (info, bytes))| (self.subject(n as u32), info, bytes))
    }

    /// The rows from `seq` on.
    pub fn from(&self, seq: u64) -> &[Row] {
        &self.rows[self.rows.partition_point(|row| row.seq < seq)..]
    }

    fn add_subject(&mut self, name: &str) -> u32 {
        self.names.push_str(name);
        self.ends.push(self.names.len());
        (self.ends.len() - 1) as u32
    }

    /// Appends the subjects, then for each row how many sequences are left out before it, its subject (0 for one that
    /// appears for the first time), and by how much its size differs from the one before.
    pub fn encode(&self, base: u64, out: &mut Vec<u8>) {
        varint::put(out, self.ends.len() as u64);
        let mut before = "";
        for name in self.subjects() {
            varint::put_name(out, before, name);
            before = name;
        }
        varint::put(out, self.rows.len() as u64);
        let (mut next, mut size, mut seen) = (base, 0, 0);
        for row in &self.rows {
            varint::put(out, row.seq - next);
            let new = row.subject == seen;
            seen += u32::from(new);
            varint::put(out, if new { 0 } else { u64::from(row.subject) + 1 });
            varint::put_signed(out, i64::from(row.size) - size);
            (next, size) = (row.seq + 1, i64::from(row.size));
        }
    }

    /// Reads what [`Table::encode`] wrote; `None` if it is anything else.
    pub fn decode(base: u64, body: &[u8]) -> Option<Table> {
        let mut cursor = Cursor(body);
        let mut table = Table::default();
        let mut name = String::new();
        for _ in 0..cursor.number()? {
            cursor.name(&mut name)?;
            table.add_subject(&name);
        }
        let (mut next, mut size, mut seen) = (base, 0i64, 0);
        for _ in 0..cursor.number()? {
            let seq = next.checked_add(cursor.number()?)?;
            let subject = match cursor.number()? {
                0 => {
                    seen += 1;
                    seen - 1
                }
                n => u32::try_from(n - 1).ok()?,
            };
            size = size.checked_add(cursor.signed()?)?;
            if subject as usize >= table.ends.len() || size < COUNTED as i64 {
                return None;
            }
            table.rows.push(Row { seq, subject, size: u32::try_from(size).ok()? });
            next = seq.checked_add(1)?;
        }
        cursor.0.is_empty().then_some(table)
    }
}

/// Makes a table of the records of a segment, given in order.
#[derive(Default)]
pub(super) struct Builder {
    table: Table,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Builder {
    pub fn push(&mut self, seq: u64, subject: &str, size: usize) {
        let hash = self.hasher.hash_one(subject);
        let found = self.numbers.find(hash, |n| self.table.subject(*n) == subject).copied();
        let number = found.unwrap_or_else(|| {
            let number = self.table.add_subject(subject);
            let (table, hasher) = (&self.table, &self.hasher);
            self.numbers.insert_unique(hash, number, |n| hasher.hash_one(table.subject(*n)));
            number
        });
        self.table.rows.push(Row { seq, subject: number, size: size as u32 });
    }

    /// Adds the records that `scanner` comes across.
    pub fn scan(&mut self, mut scanner: Scanner, storage: Storage) -> io::Result<()> {
        while let Some(item) = scanner.next()? {
            if let Item::Record(view, _) = item {
                self.push(view.seq, view.subject, view.counted(storage));
            }
        }
        Ok(())
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn finish(self) -> Table {
        self.table
    }
}
