//! Reading the value of a directive: its type is checked, and what is wrong is noted with its place.

use super::super::{ConfError, Entry, Kind, Map, Place, Value};
use std::time::Duration;
use toml::{Table, Value as Toml};

/// What there is to say about a file.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why it cannot be used.
    pub errors: Vec<ConfError>,
    /// What it asks for and does not get.
    pub warnings: Vec<ConfError>,
    /// Whether clients without TLS are let in too; TLS itself may be asked for by flags alone.
    pub allow_non_tls: bool,
}

impl Findings {
    pub(super) fn error(&mut self, at: &Place, message: impl Into<String>) {
        self.errors.push(ConfError { place: at.clone(), message: message.into() });
    }

    /// A directive that leafd cannot honour, and that is no use to leave out quietly.
    pub(super) fn refuse(&mut self, entry: &Entry, why: &str) {
        self.error(&entry.at, format!("`{}` is not supported: {why}", entry.key));
    }

    /// A directive that leafd does without, and that weakens nothing.
    pub(super) fn ignore(&mut self, entry: &Entry, why: &str) {
        let message = format!("`{}` is ignored: {why}", entry.key);
        self.warnings.push(ConfError { place: entry.at.clone(), message });
    }

    /// A key that nothing knows; one that only serves as a variable may have any name.
    pub(super) fn unknown(&mut self, entry: &Entry, block: &str) {
        if !entry.used {
            self.error(&entry.at, format!("unknown field `{}` in {block}", entry.key));
        }
    }

    fn wrong_type<T>(&mut self, key: &str, value: &Value, wanted: &str) -> Option<T> {
        self.error(&value.at, format!("`{key}` must be {wanted}, not {}", value.kind.name()));
        None
    }

    pub(super) fn text(&mut self, entry: &Entry) -> Option<String> {
        self.text_of(&entry.key, &entry.value)
    }

    pub(super) fn text_of(&mut self, key: &str, value: &Value) -> Option<String> {
        match &value.kind {
            Kind::String(text) => Some(text.clone()),
            _ => self.wrong_type(key, value, "a string"),
        }
    }

    /// One string, or several.
    pub(super) fn texts(&mut self, entry: &Entry) -> Option<Vec<String>> {
        match &entry.value.kind {
            Kind::String(text) => Some(vec![text.clone()]),
            Kind::Array(items) => items.iter().map(|item| self.text_of(&entry.key, item)).collect(),
            _ => self.wrong_type(&entry.key, &entry.value, "a string or an array of strings"),
        }
    }

    pub(super) fn boolean(&mut self, entry: &Entry) -> Option<bool> {
        match entry.value.kind {
            Kind::Bool(value) => Some(value),
            _ => self.wrong_type(&entry.key, &entry.value, "a boolean"),
        }
    }

    pub(super) fn integer(&mut self, entry: &Entry) -> Option<i64> {
        match entry.value.kind {
            Kind::Integer(number) => Some(number),
            _ => self.wrong_type(&entry.key, &entry.value, "an integer"),
        }
    }

    /// An integer from 0; `None` for a negative one, which stands for "no bound" in nats-server.
    pub(super) fn bound(&mut self, entry: &Entry) -> Option<i64> {
        self.integer(entry).filter(|number| *number >= 0)
    }

    /// As [`Findings::bound`], in bytes; text with K, M, G or T counts in steps of 1024 (`getStorageSize`).
    pub(super) fn size(&mut self, entry: &Entry) -> Option<i64> {
        let Kind::String(text) = &entry.value.kind else { return self.bound(entry) };
        let unit = text.chars().last().and_then(|unit| "KMGT".find(unit));
        let size = unit.and_then(|unit| {
            let number: i64 = text.get(..text.len() - 1)?.parse().ok()?;
            number.checked_mul(1 << (10 * (unit + 1)))
        });
        if size.is_none() {
            self.error(&entry.value.at, format!("`{}`: {text:?} is no size such as 100M or \"10G\"", entry.key));
        }
        size.filter(|number| *number >= 0)
    }

    pub(super) fn map<'e>(&mut self, entry: &'e Entry) -> Option<&'e Map> {
        self.map_of(&entry.key, &entry.value)
    }

    pub(super) fn map_of<'e>(&mut self, key: &str, value: &'e Value) -> Option<&'e Map> {
        match &value.kind {
            Kind::Map(map) => Some(map),
            _ => self.wrong_type(key, value, "a map"),
        }
    }

    pub(super) fn array<'e>(&mut self, entry: &'e Entry) -> Option<&'e [Value]> {
        match &entry.value.kind {
            Kind::Array(items) => Some(items),
            _ => self.wrong_type(&entry.key, &entry.value, "an array"),
        }
    }

    /// A duration in Go's form, or, as in old files, a number of seconds.
    pub(super) fn duration(&mut self, entry: &Entry) -> Option<String> {
        if let Kind::Integer(_) = entry.value.kind {
            let message = format!("`{}`: a number without a unit counts in seconds; write \"10s\"", entry.key);
            self.warnings.push(ConfError { place: entry.value.at.clone(), message });
        }
        self.timeout(entry)
    }

    /// As [`Findings::duration`], where a number of seconds is the ordinary form.
    pub(super) fn timeout(&mut self, entry: &Entry) -> Option<String> {
        let seconds = match &entry.value.kind {
            Kind::String(_) => return self.go_duration(entry),
            Kind::Integer(seconds) => *seconds as f64,
            Kind::Float(seconds) => *seconds,
            _ => return self.wrong_type(&entry.key, &entry.value, "a duration such as \"10s\""),
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Some(duration_text(duration)),
            Err(_) => {
                self.error(&entry.value.at, format!("`{}`: {seconds} is no number of seconds", entry.key));
                None
            }
        }
    }

    /// A duration in Go's form, and nothing else.
    pub(super) fn go_duration(&mut self, entry: &Entry) -> Option<String> {
        let text = self.text(entry)?;
        match go_duration(&text) {
            Some((false, duration)) => Some(duration_text(duration)),
            _ => {
                self.error(&entry.value.at, format!("`{}`: {text:?} is no duration such as \"10s\"", entry.key));
                None
            }
        }
    }

    /// A port to listen on: -1 lets the kernel choose, 0 is nats-server's default.
    pub(super) fn port(&mut self, entry: &Entry) -> Option<i64> {
        let number = self.integer(entry)?;
        self.port_number(&entry.key, &entry.value, number)
    }

    fn port_number(&mut self, key: &str, value: &Value, number: i64) -> Option<i64> {
        match number {
            -1 => Some(0),
            0 => None,
            1..=65535 => Some(number),
            _ => {
                self.error(&value.at, format!("`{key}`: {number} is no port; use 1 to 65535, or -1 for any"));
                None
            }
        }
    }

    /// `host:port`, or only a port.
    pub(super) fn listen(&mut self, entry: &Entry) -> (Option<String>, Option<i64>) {
        let (host, number) = match &entry.value.kind {
            Kind::Integer(number) => (None, *number),
            Kind::String(text) => match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<i64>())) {
                Some((host, Ok(number))) => {
                    let host = host.trim_start_matches('[').trim_end_matches(']');
                    (Some(host.to_owned()).filter(|host| !host.is_empty()), number)
                }
                _ => {
                    self.error(&entry.value.at, format!("`{}`: {text:?} is no HOST:PORT", entry.key));
                    return (None, None);
                }
            },
            _ => {
                return (None, self.wrong_type(&entry.key, &entry.value, "a port or HOST:PORT"));
            }
        };
        (host, self.port_number(&entry.key, &entry.value, number))
    }
}

/// Reads Go's `time.ParseDuration`: whether it is negative, and how long.
pub(super) fn go_duration(text: &str) -> Option<(bool, Duration)> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some((false, Duration::ZERO));
    }
    let rest = rest.replace(['µ', 'μ'], "u");
    if rest.contains(['d', ' ']) {
        return None;
    }
    crate::config::units::Duration::parse(&rest).map(|duration| (negative, duration.0))
}

/// As the TOML writes it, in the largest unit that is exact.
pub(super) fn duration_text(duration: Duration) -> String {
    match duration.as_nanos() {
        n if n % 1_000_000_000 == 0 => format!("{}s", n / 1_000_000_000),
        n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{}us", n / 1_000),
        n => format!("{n}ns"),
    }
}

/// Sets `path` (`table.key`) if there is a value.
pub(super) fn set(table: &mut Table, path: &str, value: Option<impl Into<Toml>>) {
    let Some(value) = value else { return };
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value.into())),
        Some((first, rest)) => {
            if let Toml::Table(inner) = table.entry(first).or_insert_with(|| Table::new().into()) {
                set(inner, rest, Some(value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_in_go() {
        for (text, expected) in [("1h30m", "5400s"), ("1.5s", "1500ms"), ("0", "0s"), ("3µs", "3us"), ("7ns", "7ns")] {
            let (negative, duration) = go_duration(text).expect(text);
            assert_eq!((negative, &*duration_text(duration)), (false, expected), "{text}");
        }
        assert!(go_duration("-1m").expect("negative").0);
        for wrong in ["", "5", "1d", "1 s", "x"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
