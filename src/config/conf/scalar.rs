//! Values that are neither map nor array: strings of all kinds, numbers with units, dates, booleans, variables.

use super::ConfError;
use super::cursor::{Cursor, is_blank, is_newline};

/// What stands in the text, before variables are looked up.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    DateTime(time::OffsetDateTime),
    /// `$NAME`.
    Variable(String),
}

/// Reads one value; the cursor stands on its first character.
pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Scalar, ConfError> {
    match cursor.peek() {
        Some('\'') => quoted(cursor, '\'').map(Scalar::String),
        Some('"') => escaped(cursor).map(Scalar::String),
        Some('(') => block(cursor).map(Scalar::String),
        Some(c) if c.is_ascii_digit() || c == '-' => number(cursor),
        Some('.') => Err(cursor.error("a number must start with a digit, not with '.'")),
        Some(c) if is_newline(c) => Err(cursor.expected("a value")),
        _ => raw(cursor, cursor.offset()),
    }
}

/// Text between two `quote`s, nothing in it interpreted; it may span lines.
pub(super) fn quoted(cursor: &mut Cursor<'_>, quote: char) -> Result<String, ConfError> {
    let start = cursor.place();
    cursor.bump();
    let text = cursor.take_while(|c| c != quote).to_owned();
    match cursor.bump() {
        Some(_) => Ok(text),
        None => Err(ConfError { place: start, message: "this quoted text has no end".into() }),
    }
}

/// A string in double quotes, with escapes.
fn escaped(cursor: &mut Cursor<'_>) -> Result<String, ConfError> {
    let start = cursor.place();
    cursor.bump();
    let mut bytes = Vec::new();
    loop {
        bytes.extend_from_slice(cursor.take_while(|c| c != '"' && c != '\\').as_bytes());
        match cursor.peek() {
            Some('"') => {
                cursor.bump();
                return text(cursor, bytes);
            }
            Some(_) => escape(cursor, &mut bytes)?,
            None => return Err(ConfError { place: start, message: "this quoted text has no end".into() }),
        }
    }
}

/// `\t \n \r \" \\ \xHH`; the cursor stands on the backslash.
fn escape(cursor: &mut Cursor<'_>, bytes: &mut Vec<u8>) -> Result<(), ConfError> {
    cursor.bump();
    let byte = match cursor.peek() {
        Some('t') => b'\t',
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('"') => b'"',
        Some('\\') => b'\\',
        Some('x') => {
            cursor.bump();
            let mut byte = 0;
            for _ in 0..2 {
                let digit = cursor.peek().and_then(|c| c.to_digit(16));
                byte = byte * 16 + digit.ok_or_else(|| cursor.expected("two hexadecimal digits after \\x"))?;
                cursor.bump();
            }
            bytes.push(byte as u8);
            return Ok(());
        }
        _ => return Err(cursor.expected("one of the escapes \\xHH, \\t, \\n, \\r, \\\", \\\\")),
    };
    cursor.bump();
    bytes.push(byte);
    Ok(())
}

fn text(cursor: &Cursor<'_>, bytes: Vec<u8>) -> Result<String, ConfError> {
    String::from_utf8(bytes).map_err(|_| cursor.error("the escapes of this string do not give UTF-8"))
}

/// `(` up to a `)` that stands alone at the start of a line; both line ends belong to the string.
fn block(cursor: &mut Cursor<'_>) -> Result<String, ConfError> {
    let place = cursor.place();
    cursor.bump();
    let start = cursor.offset();
    loop {
        cursor.take_while(|c| c != '\n');
        if cursor.bump().is_none() {
            return Err(ConfError { place, message: "this block has no end: a line with nothing but ')'".into() });
        }
        if cursor.peek() == Some(')') && matches!(cursor.peek_second(), None | Some('\n')) {
            let text = cursor.since(start).to_owned();
            cursor.bump();
            return Ok(text);
        }
    }
}

/// What ends a raw string or a number.
fn ends(c: char) -> bool {
    is_newline(c) || is_blank(c) || matches!(c, ';' | ',' | ']' | '}')
}

/// Text without quotes that began at `start`: a string, a boolean or a variable. A single quote ends it too.
fn raw(cursor: &mut Cursor<'_>, start: usize) -> Result<Scalar, ConfError> {
    cursor.take_while(|c| !ends(c) && c != '\\' && c != '\'');
    if cursor.peek() != Some('\\') {
        let text = cursor.since(start);
        if cursor.peek() == Some('\'') {
            cursor.bump();
            return Ok(Scalar::String(text.to_owned()));
        }
        return Ok(match (text.to_ascii_lowercase().as_str(), text.strip_prefix('$')) {
            ("true" | "yes" | "on", _) => Scalar::Bool(true),
            ("false" | "no" | "off", _) => Scalar::Bool(false),
            (_, Some(name)) => Scalar::Variable(name.to_owned()),
            _ => Scalar::String(text.to_owned()),
        });
    }
    let mut bytes = cursor.since(start).as_bytes().to_vec();
    while cursor.peek() == Some('\\') {
        escape(cursor, &mut bytes)?;
        bytes.extend_from_slice(cursor.take_while(|c| !ends(c) && c != '\\' && c != '\'').as_bytes());
    }
    if cursor.peek() == Some('\'') {
        cursor.bump();
    }
    text(cursor, bytes).map(Scalar::String)
}

/// A number, or what begins like one: a date, an address, a string.
fn number(cursor: &mut Cursor<'_>) -> Result<Scalar, ConfError> {
    let (start, place) = (cursor.offset(), cursor.place());
    let negative = cursor.peek() == Some('-');
    if negative {
        cursor.bump();
    }
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    if digits.is_empty() {
        return Err(cursor.expected("a digit"));
    }
    let whole = cursor.since(start);
    match cursor.peek() {
        Some('-') if !negative => date(cursor, start),
        Some('.') => fraction(cursor, start),
        Some(c) if "kmgtpe".contains(c.to_ascii_lowercase()) => {
            let unit_start = cursor.offset();
            cursor.bump();
            cursor.take_while(|c| matches!(c, 'b' | 'B' | 'i' | 'I'));
            match cursor.peek() {
                Some(c) if c.is_ascii_digit() => Err(cursor.expected("the end of a number after its unit")),
                Some(c) if !ends(c) => raw(cursor, start),
                _ => integer(whole, cursor.since(unit_start))
                    .map(Scalar::Integer)
                    .map_err(|message| ConfError { place, message }),
            }
        }
        Some(c) if !ends(c) && !negative => raw(cursor, start),
        _ => integer(whole, "").map(Scalar::Integer).map_err(|message| ConfError { place, message }),
    }
}

/// Applies the unit: `k` is a thousand, `kb`, `ki` and `kib` are 1024, and so on.
fn integer(number: &str, unit: &str) -> Result<i64, String> {
    let out_of_range = || format!("the integer '{number}{unit}' is out of range");
    let number_value: i64 = number.parse().map_err(|_| out_of_range())?;
    let unit_lower = unit.to_ascii_lowercase();
    let power = unit_lower.bytes().next().and_then(|c| b"kmgtpe".iter().position(|u| *u == c)).map_or(0, |p| p + 1);
    let base: i64 = match unit_lower.get(1..).unwrap_or("") {
        "" => 1000,
        "b" | "i" | "ib" => 1024,
        _ => {
            return Err(format!("unknown unit '{unit}'; use one of k, kb, ki, kib, m, mb, g, gb, t, tb, p, pb, e, eb"));
        }
    };
    base.checked_pow(power as u32).and_then(|factor| number_value.checked_mul(factor)).ok_or_else(out_of_range)
}

/// After `digits`, on the point: a float, or an address such as `127.0.0.1:4222`.
fn fraction(cursor: &mut Cursor<'_>, start: usize) -> Result<Scalar, ConfError> {
    cursor.bump();
    if cursor.take_while(|c| c.is_ascii_digit()).is_empty() {
        return Err(cursor.expected("a digit after the '.' of a number"));
    }
    if cursor.peek() == Some('.') {
        cursor.take_while(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
        return Ok(Scalar::String(cursor.since(start).to_owned()));
    }
    let text = cursor.since(start);
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Scalar::Float(number)),
        _ => Err(cursor.error(format!("the float '{text}' is out of range"))),
    }
}

/// After `digits`, on the first `-`: `YYYY-MM-DDThh:mm:ssZ`.
fn date(cursor: &mut Cursor<'_>, start: usize) -> Result<Scalar, ConfError> {
    const FORM: &str = "a date and time as in 2016-05-04T18:53:41Z; quote the value if it is a string";
    if cursor.offset() - start != 4 {
        return Err(cursor.expected(FORM));
    }
    for form in "-00-00T00:00:00Z".chars() {
        match cursor.peek() {
            Some(c) if c == form || form == '0' && c.is_ascii_digit() => drop(cursor.bump()),
            _ => return Err(cursor.expected(FORM)),
        }
    }
    time::OffsetDateTime::parse(cursor.since(start), &time::format_description::well_known::Rfc3339)
        .map(Scalar::DateTime)
        .map_err(|_| cursor.error(format!("'{}' is no date", cursor.since(start))))
}
