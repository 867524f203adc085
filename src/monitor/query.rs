//! Options of a page: what stands behind the question mark (nats-server `monitor.go`, `decodeBool` and its like).

/// An option that cannot be understood, in nats-server's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadQuery(pub String);

/// The options of one request.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Of what stands behind the question mark; the first of several values counts.
    pub fn parse(query: &str) -> Query {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    /// A text; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// A flag; `false` if it is not there.
    pub fn flag(&self, name: &str) -> Result<bool, BadQuery> {
        match self.text(name) {
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            other => Err(BadQuery(format!(
                "Error decoding boolean for '{name}': strconv.ParseBool: parsing {other:?}: invalid syntax"
            ))),
        }
    }

    /// A whole number; 0 if it is not there.
    pub fn number(&self, name: &str) -> Result<i64, BadQuery> {
        let text = self.text(name);
        match text.parse::<i64>() {
            _ if text.is_empty() => Ok(0),
            Ok(number) => Ok(number),
            Err(_) => Err(BadQuery(format!(
                "Error decoding int for '{name}': strconv.Atoi: parsing {text:?}: invalid syntax"
            ))),
        }
    }

    /// A connection's number; `None` if it is not there or 0.
    pub fn id(&self, name: &str) -> Result<Option<u64>, BadQuery> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(|id| Some(id).filter(|id| *id > 0)).map_err(|_| {
                BadQuery(format!(
                    "Error decoding uint64 for '{name}': strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }
}

/// Percent-encoding undone; what is not valid stays as it is.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'+', ..) => out.push(b' '),
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `number`, or 0 for a negative one, which means the same to every page.
pub(super) fn natural(number: i64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// The part of a list of `len` that `offset` and `limit` name; a `limit` of 0 is 1024, as nats-server's.
pub(super) fn window(len: usize, offset: usize, limit: usize) -> std::ops::Range<usize> {
    let from = offset.min(len);
    from..from + default_limit(limit).min(len - from)
}

/// `limit` as told back.
pub(super) fn default_limit(limit: usize) -> usize {
    if limit == 0 { 1024 } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn options_and_their_errors() {
        let q = Query::parse("subs=1&acc=%24G&limit=-1&offset=7&cid=x&auth=maybe&name=a+b%2");
        assert_eq!((q.flag("subs"), q.flag("missing")), (Ok(true), Ok(false)));
        assert_eq!((q.text("acc"), q.text("name")), ("$G", "a b%2"));
        assert_eq!((q.number("limit"), q.number("offset"), q.number("missing")), (Ok(-1), Ok(7), Ok(0)));
        let text = |e: BadQuery| e.to_string();
        assert_eq!(
            q.flag("auth").map_err(text),
            Err("Error decoding boolean for 'auth': strconv.ParseBool: parsing \"maybe\": invalid syntax".into())
        );
        assert_eq!(
            q.id("cid").map_err(text),
            Err("Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"x\": invalid syntax".into())
        );
        assert_eq!((window(5, 9, 0), window(5, 1, 2), window(5, 0, 0)), (5..5, 1..3, 0..5));
    }

    proptest! {
        #[test]
        fn any_text_is_decoded(text: String) {
            let _ = Query::parse(&text);
        }
    }
}
