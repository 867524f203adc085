//! From text to the tree: the structure of maps, arrays and top level, variables and includes.

use super::cursor::{Cursor, is_blank, is_newline, is_separator};
use super::scalar::{self, Scalar};
use super::{ConfError, Entry, Kind, MAX_DEPTH, MAX_FILE_SIZE, MAX_FILES, MAX_INCLUDE_DEPTH, MAX_VALUES};
use super::{Map, Place, Value};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Reads a file and what it includes.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_file(path: &Path) -> Result<Value, ConfError> {
    let mut shared = Shared::new(&process_environment);
    let map = file(path, &mut shared, &Place { file: path.into(), line: 1, column: 1 })?;
    Ok(Value { kind: Kind::Map(map), at: Place { file: path.into(), line: 1, column: 1 } })
}

/// Reads a text; what it includes is looked for in the working directory.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse_str(text: &str) -> Result<Value, ConfError> {
    parse_with(text, &process_environment)
}

/// As [`parse_str`], with an environment of the caller's choice.
pub(super) fn parse_with(text: &str, environment: &Environment<'_>) -> Result<Value, ConfError> {
    let path: Arc<Path> = Path::new("").into();
    let map = Parser::new(text, path.clone(), &mut Shared::new(environment)).top()?;
    Ok(Value { kind: Kind::Map(map), at: Place { file: path, line: 1, column: 1 } })
}

/// Looks up environment variables.
pub(super) type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

fn process_environment(name: &str) -> Option<String> {
    // `std::env::var` would panic on names that no variable can have.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}

/// What the parsers of a file, of its includes and of environment variables have in common.
struct Shared<'e> {
    environment: &'e Environment<'e>,
    /// Environment variables that are being read, against cycles.
    variables: Vec<String>,
    /// Files that are being read, against cycles.
    files: Vec<PathBuf>,
    files_read: usize,
    values: usize,
}

impl<'e> Shared<'e> {
    fn new(environment: &'e Environment<'e>) -> Self {
        Shared { environment, variables: Vec::new(), files: Vec::new(), files_read: 0, values: 0 }
    }
}

/// Reads one file; errors in opening it stand at `from`, the place that names it.
fn file(path: &Path, shared: &mut Shared<'_>, from: &Place) -> Result<Map, ConfError> {
    let error = |message: String| ConfError { place: from.clone(), message };
    let cannot = |e: std::io::Error| error(format!("{} cannot be read: {e}", path.display()));
    let real = std::fs::canonicalize(path).map_err(cannot)?;
    if shared.files.contains(&real) {
        return Err(error(format!("{} includes itself", path.display())));
    }
    if shared.files.len() > MAX_INCLUDE_DEPTH || shared.files_read >= MAX_FILES {
        return Err(error(format!("too many includes: at most {MAX_INCLUDE_DEPTH} deep and {MAX_FILES} in all")));
    }
    // Not by its metadata: a device has no length.
    let mut bytes = Vec::new();
    std::fs::File::open(&real).and_then(|file| file.take(MAX_FILE_SIZE + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_SIZE {
        return Err(error(format!("{} is larger than {MAX_FILE_SIZE} bytes", path.display())));
    }
    shared.files.push(real);
    shared.files_read += 1;
    // A comment may be in any encoding; a value that is not UTF-8 is refused when it is read.
    let map = Parser::new(&String::from_utf8_lossy(&bytes), path.into(), shared).top();
    shared.files.pop();
    map
}

/// The reader of one text.
struct Parser<'a, 's, 'e> {
    cursor: Cursor<'a>,
    /// The maps that are open, innermost last: where variables are looked up.
    scopes: Vec<Map>,
    folder: PathBuf,
    shared: &'s mut Shared<'e>,
}

/// What follows a key.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// The top level, or a block of it in `{ }`.
    Top,
    /// A map that is a value.
    Map,
}

impl<'a, 's, 'e> Parser<'a, 's, 'e> {
    fn new(text: &'a str, file: Arc<Path>, shared: &'s mut Shared<'e>) -> Self {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Parser { cursor: Cursor::new(text, file), scopes: vec![Map::default()], folder, shared }
    }

    /// Reads to the end of the text.
    fn top(mut self) -> Result<Map, ConfError> {
        loop {
            self.cursor.skip_lines();
            match self.cursor.peek() {
                None => return Ok(self.scopes.pop().unwrap_or_default()),
                Some('{') => self.block(1)?,
                // What is left of JSON after its last value.
                Some('}') => {
                    self.cursor.bump();
                    self.cursor.take_while(char::is_whitespace);
                    if self.cursor.peek().is_some() {
                        return Err(self.cursor.error("there is more after the closing '}' of the configuration"));
                    }
                }
                Some(_) => {
                    self.entry(Within::Top, 0)?;
                    self.cursor.take_while(is_blank);
                    match self.cursor.peek() {
                        None => {}
                        Some(c) if is_newline(c) || matches!(c, ';' | ',' | '}') => drop(self.cursor.bump()),
                        Some(_) if self.cursor.skip_comment() => {}
                        _ => return Err(self.cursor.expected("a new line, ';' or a comment after a value")),
                    }
                }
            }
        }
    }

    /// `{ }` around the whole text, as in JSON: its keys are those of the top level.
    fn block(&mut self, depth: usize) -> Result<(), ConfError> {
        self.check_depth(depth)?;
        self.cursor.bump();
        loop {
            self.cursor.skip_lines();
            match self.cursor.peek() {
                None => return Ok(()),
                Some('}') => {
                    self.cursor.bump();
                    return Ok(());
                }
                Some('{') => {
                    self.block(depth + 1)?;
                    self.cursor.skip_lines();
                    if matches!(self.cursor.peek(), Some(';' | ',')) {
                        self.cursor.bump();
                    }
                }
                Some(_) => {
                    self.entry(Within::Top, depth)?;
                    self.end_of_entry("'}'")?;
                }
            }
        }
    }

    /// After an entry in `{ }`: a separator, or what ends the map, which is left.
    fn end_of_entry(&mut self, end: &str) -> Result<(), ConfError> {
        self.cursor.take_while(is_blank);
        match self.cursor.peek() {
            Some('}') => {}
            Some(c) if is_newline(c) || matches!(c, ';' | ',') => drop(self.cursor.bump()),
            _ if self.cursor.skip_comment() => {}
            _ => return Err(self.cursor.expected(&format!("',', ';', a new line or {end} after a value"))),
        }
        Ok(())
    }

    /// A key with its value, or an include.
    fn entry(&mut self, within: Within, depth: usize) -> Result<(), ConfError> {
        let at = self.cursor.place();
        let key = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => scalar::quoted(&mut self.cursor, quote)?,
            Some(c) if is_separator(c) => return Err(self.cursor.expected("a key")),
            _ => {
                let start = self.cursor.offset();
                self.cursor.bump();
                self.cursor.take_while(|c| !c.is_whitespace() && !is_separator(c));
                let key = self.cursor.since(start);
                if key.eq_ignore_ascii_case("include") && self.cursor.peek().is_some_and(char::is_whitespace) {
                    return self.include(at);
                }
                key.to_owned()
            }
        };
        self.check_text(&key, &at)?;
        self.cursor.take_while(char::is_whitespace);
        let missing = |at: &Place| ConfError { place: at.clone(), message: format!("'{key}' has no value") };
        if self.cursor.peek().is_some_and(is_separator) {
            self.cursor.bump();
            match within {
                Within::Map => self.cursor.take_while(char::is_whitespace),
                Within::Top => self.cursor.take_while(is_blank),
            };
        }
        match (self.cursor.peek(), within) {
            (None, _) | (Some('}' | ','), Within::Map) => return Err(missing(&at)),
            _ => {}
        }
        let value = self.value(depth)?;
        self.insert(Entry { key, at, value, used: false });
        Ok(())
    }

    fn insert(&mut self, entry: Entry) {
        if let Some(map) = self.scopes.last_mut() {
            map.insert(entry);
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, ConfError> {
        let at = self.cursor.place();
        let kind = match self.cursor.peek() {
            Some('[') => Kind::Array(self.array(depth + 1)?),
            Some('{') => Kind::Map(self.map(depth + 1)?),
            _ => match scalar::read(&mut self.cursor)? {
                Scalar::Variable(name) => return self.variable(&name, at, depth),
                Scalar::String(text) => {
                    self.check_text(&text, &at)?;
                    Kind::String(text)
                }
                Scalar::Integer(number) => Kind::Integer(number),
                Scalar::Float(number) => Kind::Float(number),
                Scalar::Bool(value) => Kind::Bool(value),
                Scalar::DateTime(value) => Kind::DateTime(value),
            },
        };
        self.count(1, &at)?;
        Ok(Value { kind, at })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, ConfError> {
        self.check_depth(depth)?;
        self.cursor.bump();
        let mut items = Vec::new();
        loop {
            self.cursor.skip_lines();
            match self.cursor.peek() {
                Some(']') => break,
                None | Some(',' | '/') => return Err(self.cursor.expected("a value or ']'")),
                Some(_) => items.push(self.value(depth)?),
            }
            self.cursor.take_while(is_blank);
            match self.cursor.peek() {
                Some(']') => break,
                Some(c) if c == ',' || is_newline(c) => drop(self.cursor.bump()),
                _ if self.cursor.skip_comment() => {}
                _ => return Err(self.cursor.expected("',', a new line or ']' after a value")),
            }
        }
        self.cursor.bump();
        Ok(items)
    }

    fn map(&mut self, depth: usize) -> Result<Map, ConfError> {
        self.check_depth(depth)?;
        self.cursor.bump();
        self.scopes.push(Map::default());
        loop {
            self.cursor.skip_lines();
            match self.cursor.peek() {
                Some('}') => break,
                None | Some(']') => return Err(self.cursor.expected("a key or '}'")),
                Some(_) => {
                    self.entry(Within::Map, depth)?;
                    self.end_of_entry("'}'")?;
                }
            }
        }
        self.cursor.bump();
        Ok(self.scopes.pop().unwrap_or_default())
    }

    /// After `include`: the path of a file, relative to the folder of this one, whose keys belong here.
    fn include(&mut self, at: Place) -> Result<(), ConfError> {
        self.cursor.take_while(is_blank);
        let path = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => scalar::quoted(&mut self.cursor, quote)?,
            Some(c) if is_newline(c) || c.is_ascii_digit() || matches!(c, '[' | '{' | '(' | '-' | '\\') => {
                return Err(self.cursor.expected("the path of the file to include"));
            }
            _ => {
                let end = |c| is_newline(c) || is_blank(c) || matches!(c, ';' | '}' | '\'');
                let path = self.cursor.take_while(|c| !end(c)).to_owned();
                if self.cursor.peek() == Some('\'') {
                    self.cursor.bump();
                }
                path
            }
        };
        self.check_text(&path, &at)?;
        // As nats-server joins them: an absolute path is below the folder too.
        let below = Path::new(&path).components().filter(|c| !matches!(c, Component::RootDir | Component::Prefix(_)));
        let path = below.fold(self.folder.clone(), |path, part| path.join(part));
        for entry in file(&path, self.shared, &at)? {
            self.insert(entry);
        }
        Ok(())
    }

    /// What `$name` stands for: a key of an open map, innermost first, else an environment variable.
    fn variable(&mut self, name: &str, at: Place, depth: usize) -> Result<Value, ConfError> {
        // A bcrypt hash needs no quotes.
        if name.starts_with("2a$") {
            self.count(1, &at)?;
            return Ok(Value { kind: Kind::String(format!("${name}")), at });
        }
        let error = |message: String| ConfError { place: at.clone(), message };
        let found = match self.scopes.iter_mut().rev().find_map(|map| map.refer(name).cloned()) {
            Some(value) => value,
            None => {
                if self.shared.variables.iter().any(|open| open == name) {
                    return Err(error(format!("the variable ${name} refers to itself")));
                }
                if self.shared.variables.len() >= MAX_INCLUDE_DEPTH {
                    return Err(error(format!("variables refer to each other more than {MAX_INCLUDE_DEPTH} deep")));
                }
                let text = (self.shared.environment)(name)
                    .ok_or_else(|| error(format!("the variable ${name} is neither a key nor in the environment")))?;
                self.shared.variables.push(name.to_owned());
                let read = environment_value(&text, self.shared);
                self.shared.variables.pop();
                read.map_err(|e| error(format!("the environment variable {name} cannot be read: {}", e.message)))?
            }
        };
        self.count(found.count(), &at)?;
        if found.depth() + depth > MAX_DEPTH {
            return Err(error(format!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Value { at, ..found })
    }

    fn count(&mut self, values: usize, at: &Place) -> Result<(), ConfError> {
        self.shared.values += values;
        match self.shared.values > MAX_VALUES {
            true => Err(ConfError { place: at.clone(), message: format!("more than {MAX_VALUES} values") }),
            false => Ok(()),
        }
    }

    fn check_depth(&self, depth: usize) -> Result<(), ConfError> {
        match depth > MAX_DEPTH {
            true => Err(self.cursor.error(format!("nested more than {MAX_DEPTH} deep"))),
            false => Ok(()),
        }
    }

    /// Refuses what no key or value can mean.
    fn check_text(&self, text: &str, at: &Place) -> Result<(), ConfError> {
        let message = match text {
            _ if text.contains('\0') => "this contains a NUL byte",
            _ if text.contains(char::REPLACEMENT_CHARACTER) => "this is not UTF-8",
            _ => return Ok(()),
        };
        Err(ConfError { place: at.clone(), message: message.into() })
    }
}

/// An environment variable is read as a value would be.
fn environment_value(text: &str, shared: &mut Shared<'_>) -> Result<Value, ConfError> {
    const KEY: &str = "value";
    let text = format!("{KEY}={text}");
    let map = Parser::new(&text, Path::new("").into(), shared).top()?;
    match map.get(KEY) {
        Some(entry) => Ok(entry.value.clone()),
        None => Err(ConfError {
            place: Place { file: Path::new("").into(), line: 1, column: 1 },
            message: "it is empty".into(),
        }),
    }
}
