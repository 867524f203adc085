//! Subject and wildcard rules, and the index from subjects to whatever subscribed to them.
//!
//! A subject is tokens joined by `.`; `*` stands for one token and a final `>` for one or more. The rules are those of
//! nats-server's `sublist.go` (`IsValidSubject`, `SubjectsCollide`, `subjectIsSubsetMatch`).

mod index;
mod list;
mod transform;
mod transform_function;

pub use index::{Index, Matches};
pub use list::{InvalidEntry, Selection, SubjectList};
pub use transform::{Transform, TransformError, placeholders, wildcards};

/// Whether `subject` may be subscribed to: no empty token, no white space, `>` only at the end.
pub fn is_valid(subject: &str) -> bool {
    // Byte by byte, as every new subject of a publisher comes through here.
    let bytes = subject.as_bytes();
    let mut token = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if at == token || bytes[token..at] == *b">" => return false,
            b'.' => token = at + 1,
            b' ' | b'\t' | b'\r' | b'\n' | 0x0c => return false,
            _ => {}
        }
    }
    token < bytes.len()
}

/// Whether some token of `subject` is empty, or there is none.
fn has_empty_token(subject: &str) -> bool {
    let bytes = subject.as_bytes();
    let at_end = |end: Option<&u8>| end.is_none_or(|byte| *byte == b'.');
    at_end(bytes.first()) || at_end(bytes.last()) || bytes.windows(2).any(|pair| pair == b"..")
}

/// Whether `subject` has no wildcard token (it need not be valid otherwise).
pub fn is_literal(subject: &str) -> bool {
    !subject.bytes().any(|b| b == b'*' || b == b'>') || !subject.split('.').any(|t| t == "*" || t == ">")
}

/// Whether `subject` may be published to: valid and without wildcards.
pub fn is_valid_literal(subject: &str) -> bool {
    is_valid(subject) && is_literal(subject)
}

/// Whether the literal subject `literal` is selected by `filter`.
pub fn matches(filter: &str, literal: &str) -> bool {
    let mut tokens = literal.split('.');
    for want in filter.split('.') {
        if want == ">" {
            return tokens.next().is_some();
        }
        match tokens.next() {
            Some(have) if want == "*" || want == have => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether every subject that `inner` selects is also selected by `outer`; either may have wildcards.
pub fn is_subset(inner: &str, outer: &str) -> bool {
    let mut ins = inner.split('.');
    for want in outer.split('.') {
        if want == ">" {
            return ins.next().is_some();
        }
        match ins.next() {
            Some(">") | None => return false,
            Some(have) if want == "*" || want == have => {}
            Some(_) => return false,
        }
    }
    ins.next().is_none()
}

/// Whether some literal subject is selected by both `a` and `b`.
pub fn overlap(a: &str, b: &str) -> bool {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(x), Some(y)) if x == "*" || y == "*" || x == y => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn validity_follows_nats_server() {
        for ok in ["a", "a.b", "*", ">", "a.*.c", "a.>", "a*", "a.b>c", "$JS.API.INFO", "ü.b"] {
            assert!(is_valid(ok), "{ok}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a b", ">.a", "a.>.b", "a\tb", "a\r\n"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        assert!(is_literal("a*.b>"));
        assert!(!is_literal("a.*"));
        assert!(!is_valid_literal("a.>"));
    }

    proptest! {
        #[test]
        fn validity_is_that_of_the_tokens(subject in "[a.> \\n*]{0,8}") {
            let tokens: Vec<&str> = subject.split('.').collect();
            let whole = |token: &&str| !token.is_empty() && !token.contains([' ', '\n']);
            let valid = tokens.iter().all(whole) && tokens.iter().rev().skip(1).all(|token| *token != ">");
            prop_assert_eq!(is_valid(&subject), valid);
            prop_assert_eq!(has_empty_token(&subject), tokens.contains(&""));
        }
    }

    #[test]
    fn matching() {
        for (filter, literal, want) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            (">", "a", true),
            ("*.*", "a", false),
        ] {
            assert_eq!(matches(filter, literal), want, "{filter} {literal}");
        }
    }

    #[test]
    fn subsets_and_overlaps() {
        assert!(is_subset("a.b", "a.*"));
        assert!(is_subset("a.*", "a.>"));
        assert!(is_subset("a.>", "a.>"));
        assert!(!is_subset("a.>", "a.*"));
        assert!(!is_subset("a.*", "a.b"));
        assert!(overlap("a.*", "*.b"));
        assert!(overlap("a.>", "a.b.c"));
        assert!(!overlap("a.>", "a"));
        assert!(!overlap("a.b", "a.c"));
    }
}
