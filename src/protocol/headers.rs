//! Header blocks: `NATS/1.0[ status[ description]]\r\n`, then `Key: value\r\n` lines, then an empty line (ADR-4).
//!
//! Names are case-sensitive, as in nats-server's `getHeader`; values have the blanks around them removed.

use super::number;

/// What a header block begins with.
pub const VERSION: &str = "NATS/1.0";

/// The value of the first header called `name`.
pub fn get<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    if block.is_empty() {
        return None;
    }
    iter(block).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// All headers in their order. Lines that are no header (or no UTF-8) are passed over.
pub fn iter(block: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut lines = block.split(|b| *b == b'\n');
    lines.next();
    lines.filter_map(|line| {
        let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).ok()?;
        let (key, value) = line.split_once(':')?;
        Some((key, value.trim_matches([' ', '\t'])))
    })
}

/// The status code of the first line, as in `NATS/1.0 503`.
pub fn status(block: &[u8]) -> Option<u16> {
    let rest = block.strip_prefix(b"NATS/1.0 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// Builds a header block.
#[derive(Clone, Debug)]
pub struct HeadersBuilder {
    block: Vec<u8>,
}

impl Default for HeadersBuilder {
    fn default() -> Self {
        HeadersBuilder { block: b"NATS/1.0\r\n".to_vec() }
    }
}

impl HeadersBuilder {
    /// A block without status.
    pub fn new() -> Self {
        Self::default()
    }

    /// A block whose first line carries a status, e.g. `404` and `No Messages`; the description may be empty.
    pub fn with_status(code: u16, description: &str) -> Self {
        let blank = if description.is_empty() { "" } else { " " };
        HeadersBuilder { block: format!("NATS/1.0 {code}{blank}{description}\r\n").into_bytes() }
    }

    /// Makes room for so many bytes more.
    pub fn reserve(mut self, bytes: usize) -> Self {
        self.block.reserve(bytes);
        self
    }

    /// Appends a header. Line ends within the value would forge further headers, so they become blanks.
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.block.extend_from_slice(name.as_bytes());
        self.block.extend_from_slice(b": ");
        match memchr::memchr2(b'\r', b'\n', value.as_bytes()) {
            None => self.block.extend_from_slice(value.as_bytes()),
            Some(_) => self.block.extend(value.bytes().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b })),
        }
        self.block.extend_from_slice(b"\r\n");
        self
    }

    /// Appends a header whose value is a number.
    pub fn add_number(mut self, name: &str, value: u64) -> Self {
        self.block.extend_from_slice(name.as_bytes());
        self.block.extend_from_slice(b": ");
        number::push(&mut self.block, value);
        self.block.extend_from_slice(b"\r\n");
        self
    }

    /// Appends every header of `block` for which `keep` says so.
    pub fn copy(mut self, block: &[u8], keep: impl Fn(&str) -> bool) -> Self {
        for (name, value) in iter(block).filter(|(name, _)| keep(name)) {
            self = self.add(name, value);
        }
        self
    }

    /// The finished block.
    pub fn build(mut self) -> Vec<u8> {
        self.block.extend_from_slice(b"\r\n");
        self.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_builds() {
        let block =
            HeadersBuilder::new().add("Nats-Msg-Id", "a:1").add("K", "v\r\nForged: x").add_number("N", 7).build();
        assert_eq!(get(&block, "Nats-Msg-Id"), Some("a:1"));
        assert_eq!(get(&block, "nats-msg-id"), None);
        assert_eq!(get(&block, "Forged"), None);
        assert_eq!(get(&block, "N"), Some("7"));
        assert_eq!(iter(&block).count(), 3);
        assert_eq!(status(&block), None);
    }

    #[test]
    fn statuses() {
        let block = HeadersBuilder::with_status(404, "No Messages").add("A", "b").build();
        assert_eq!(status(&block), Some(404));
        assert_eq!(get(&block, "A"), Some("b"));
        assert_eq!(HeadersBuilder::with_status(503, "").build(), b"NATS/1.0 503\r\n\r\n");
        assert_eq!(status(b"NATS/1.0 \xff\xff\xff"), None);
    }
}
