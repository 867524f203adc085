//! One file as TOML, and everything about it that a [`Config`] does not take, each with its place and a hint.

use super::Config;
use serde::Deserialize;
use std::path::Path;
use toml::Table;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

type Entry<'i> = (toml::Spanned<std::borrow::Cow<'i, str>>, toml::Spanned<DeValue<'i>>);

/// Tables that only hold tables: what is wrong with one of those does not hide what is wrong with the next.
const HOLDERS: [&str; 3] = ["accounts", "adapter", "leaf"];

/// The file as it stands, and as what it says by itself.
///
/// # Errors
/// It cannot be read, is no TOML, or does not fit: the first finding of every table, and of every entry of a list of
/// tables.
pub(super) fn read(file: &Path) -> Result<(Table, Config), Vec<String>> {
    let text = text(file).map_err(|e| vec![e])?;
    let explain = |error| explain(file, &text, &error);
    let table = toml::from_str::<Table>(&text).map_err(|e| vec![explain(e)])?;
    match toml::from_str::<Config>(&text) {
        Ok(config) => Ok((table, config)),
        Err(first) => {
            let first = explain(first);
            let mut found: Vec<String> = misfits(&text).into_iter().map(explain).collect();
            if !found.contains(&first) {
                found.insert(0, first);
            }
            Err(found)
        }
    }
}

/// The content of a file.
pub(super) fn text(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))
}

/// An error with its place in the file.
pub(super) fn explain(file: &Path, text: &str, error: &Error) -> String {
    let (line, column) = place(text, error.span().map_or(0, |s| s.start));
    format!("{}:{line}:{column}: {}", file.display(), hint(error.message()))
}

/// What is wrong with each table by itself, in the order of the file.
fn misfits(text: &str) -> Vec<Error> {
    // It has been parsed before.
    let Ok(table) = DeTable::parse(text) else { return Vec::new() };
    let span = table.span();
    let mut errors: Vec<Error> = pieces(table.into_inner(), true)
        .into_iter()
        .filter_map(|piece| Config::deserialize(Deserializer::from(toml::Spanned::new(span.clone(), piece))).err())
        .collect();
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    errors
}

/// `table` cut into tables with one entry each; a list of tables into one of each of its tables.
fn pieces<'i>(table: DeTable<'i>, top: bool) -> Vec<DeTable<'i>> {
    let mut pieces = Vec::new();
    for (key, value) in table {
        let (span, holder) = (value.span(), top && HOLDERS.contains(&&**key.get_ref()));
        let mut push = |value: DeValue<'i>| {
            let entry: Entry<'i> = (key.clone(), toml::Spanned::new(span.clone(), value));
            pieces.push(DeTable::from_iter([entry]));
        };
        match value.into_inner() {
            DeValue::Array(list) => list.into_iter().for_each(|one| push(DeValue::Array(DeArray::from_iter([one])))),
            DeValue::Table(inner) if holder => {
                self::pieces(inner, false).into_iter().map(DeValue::Table).for_each(push)
            }
            value => push(value),
        }
    }
    pieces
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1)
}

/// Adds the nearest known name to "unknown field `x`, expected one of `a`, `b`".
fn hint(message: &str) -> String {
    let message = message.trim_end();
    let mut names = message.split('`').skip(1).step_by(2);
    match names.next() {
        Some(unknown) if message.starts_with("unknown field") || message.starts_with("unknown variant") => {
            match names.map(|known| (distance(unknown, known), known)).min() {
                Some((near, known)) if near <= known.len().max(3) / 2 => {
                    format!("{}; did you mean `{known}`?", message.replace("field", "key"))
                }
                _ => message.replace("field", "key"),
            }
        }
        _ => message.to_owned(),
    }
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
