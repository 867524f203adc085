//! Which of the subjects in order a filter selects, and how far it is to the next one that it may.

/// What a filter says of a subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Selected,
    /// Neither this one nor any before what was put into `next`.
    Not,
    /// Neither this one nor any behind it.
    End,
}

/// The part of a filter before its first wildcard: all that it selects begins with it.
pub(super) fn literal_part(filter: &str) -> &str {
    let mut at = 0;
    for token in filter.split('.') {
        if token == "*" || token == ">" {
            return &filter[..at];
        }
        at = (at + token.len() + 1).min(filter.len());
    }
    filter
}

/// Whether `filter` selects `subject`; if not, `next` is set to what no selected subject behind it sorts before.
pub(super) fn judge(filter: &str, subject: &[u8], next: &mut Vec<u8>) -> Verdict {
    // Where the token begins that is looked at, and where the latest one ends that was taken for a `*`.
    let (mut at, mut star) = (0, None);
    let mut tokens = filter.split('.').peekable();
    while let Some(want) = tokens.next() {
        if at > subject.len() {
            // It has no such token: those that begin with it and have one come behind it. Before its dot there may be others
            // that a `*` takes.
            next.clear();
            next.extend_from_slice(subject);
            next.push(if star == Some(subject.len()) { 0 } else { b'.' });
            return Verdict::Not;
        }
        if want == ">" {
            return Verdict::Selected;
        }
        let have = &subject[at..];
        let end = have.iter().position(|byte| *byte == b'.').map_or(subject.len(), |len| at + len);
        if want == "*" {
            star = Some(end);
        } else if subject[at..end] != *want.as_bytes() {
            next.clear();
            next.extend_from_slice(&subject[..at]);
            next.extend_from_slice(want.as_bytes());
            if tokens.peek().is_some() {
                next.push(b'.');
            }
            // What is wanted is still to come, or it is over for what stands at the latest `*`.
            return if *subject < **next { Verdict::Not } else { pass(subject, star, next) };
        }
        at = end + 1;
    }
    if at > subject.len() { Verdict::Selected } else { pass(subject, star, next) }
}

/// Past all that has the same at the latest `*`, and more behind it.
fn pass(subject: &[u8], star: Option<usize>, next: &mut Vec<u8>) -> Verdict {
    let Some(end) = star else { return Verdict::End };
    next.clear();
    next.extend_from_slice(&subject[..end]);
    // The byte behind the dot. What sorts between the token and its dot was passed before.
    next.push(b'.' + 1);
    Verdict::Not
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_selected_is_passed_over(filter in "(([a-c]|\\*)\\.){0,3}([a-c]|\\*|>)", subjects in proptest::collection::btree_set("([a-c!/]{1,2}\\.){0,4}[a-c!/]{1,2}", 1..60)) {
            for from in &subjects {
                let mut next = Vec::new();
                match judge(&filter, from.as_bytes(), &mut next) {
                    Verdict::Selected => prop_assert!(subject::matches(&filter, from)),
                    Verdict::Not => {
                        prop_assert!(!subject::matches(&filter, from));
                        prop_assert!(*next > *from.as_bytes(), "it goes on");
                        let passed = subjects.iter().filter(|s| *s > from && s.as_bytes() < &*next);
                        for subject in passed {
                            prop_assert!(!subject::matches(&filter, subject), "{filter}: {from} passes {subject}");
                        }
                    }
                    Verdict::End => {
                        for subject in subjects.iter().filter(|s| *s >= from) {
                            prop_assert!(!subject::matches(&filter, subject), "{filter}: {from} ends before {subject}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_literal_part_ends_at_the_first_wildcard() {
        for (filter, part) in
            [("a.b.>", "a.b."), ("a.*.c", "a."), (">", ""), ("a.b", "a.b"), ("*.a", ""), ("a*.b.*", "a*.b.")]
        {
            assert_eq!(literal_part(filter), part, "{filter}");
        }
    }
}
