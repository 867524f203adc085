//! Where the reader stands in the text.

use super::{ConfError, Place};
use std::path::Path;
use std::sync::Arc;

/// A position in a text, with its line and column.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    column: u32,
    file: Arc<Path>,
}

/// Space within a line.
pub(super) fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// End of a line.
pub(super) fn is_newline(c: char) -> bool {
    c == '\n' || c == '\r'
}

/// What may stand between a key and its value.
pub(super) fn is_separator(c: char) -> bool {
    c == '=' || c == ':'
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str, file: Arc<Path>) -> Self {
        Cursor { text, at: 0, line: 1, column: 1, file }
    }

    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// The character after the next.
    pub(super) fn peek_second(&self) -> Option<char> {
        self.text[self.at..].chars().nth(1)
    }

    /// Takes the next character.
    pub(super) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(c)
    }

    /// Takes characters as long as `wanted`; returns them.
    pub(super) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        &self.text[start..self.at]
    }

    /// Offset of the next character.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The text from `start` to here.
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Skips space and comments of any number of lines.
    pub(super) fn skip_lines(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.skip_comment() {
                return;
            }
        }
    }

    /// Skips a comment up to the end of its line; `false` if there is none.
    pub(super) fn skip_comment(&mut self) -> bool {
        let comment = match self.peek() {
            Some('#') => true,
            Some('/') => self.peek_second() == Some('/'),
            _ => false,
        };
        if comment {
            self.take_while(|c| !is_newline(c));
        }
        comment
    }

    /// Where the next character stands.
    pub(super) fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line, column: self.column }
    }

    /// An error here.
    pub(super) fn error(&self, message: impl Into<String>) -> ConfError {
        ConfError { place: self.place(), message: message.into() }
    }

    /// "expected `wanted`, but got ..." here.
    pub(super) fn expected(&self, wanted: &str) -> ConfError {
        match self.peek() {
            Some(c) if is_newline(c) => self.error(format!("expected {wanted}, but the line ends")),
            Some(c) => self.error(format!("expected {wanted}, but got '{c}'")),
            None => self.error(format!("expected {wanted}, but the file ends")),
        }
    }
}
