//! nats-server's own configuration language, as its `conf/lex.go` and `conf/parse.go` read it: maps, arrays, both
//! separators, comments, raw, quoted and block strings, units, variables, environment and includes.
//!
//! [`parse_file`] turns a file into a [`Value`] tree in which each key and value knows its place. What the keys mean
//! is the business of the directives; here is only the language. Where nats-server's reader is lax without anybody
//! relying on it (a key without a value inside a map, an unknown unit, a NUL byte), this one says so.

mod cursor;
pub(super) mod digest;
mod directives;
mod parse;
mod scalar;
#[cfg(test)]
mod tests;
mod value;

pub use directives::{Findings, nats_server_defaults, to_toml};
pub use parse::{parse_file, parse_str};
pub use value::{Entry, Kind, Map, Place, Value};

/// Deepest nesting of maps, arrays and blocks.
pub const MAX_DEPTH: usize = 64;
/// Deepest nesting of includes.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// Files that one configuration may consist of; the same file included twice counts twice.
pub const MAX_FILES: usize = 1024;
/// Largest file, in bytes.
pub const MAX_FILE_SIZE: u64 = 16 << 20;
/// Values in the tree, those that variables repeat included.
pub const MAX_VALUES: usize = 4_000_000;

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfError {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}
