//! What may cross a leaf connection: the operator's lists, narrowed by what the other side allows.
//!
//! A [`Filter`] answers for one direction. Interest is narrowed before it is announced (a local `>` under the import list
//! `cmd.>` is announced as `cmd.>`), and every message is checked once more before it is sent, so that a nats-server hub,
//! which closes a connection on a violation, never sees one.

use crate::auth::{SubjectPermission, bare};
use crate::subject::{is_literal, is_subset, is_valid, matches};
use serde::Serialize;

/// Most subjects in an effective list; a peer that sends more is cut to these.
const MAX_SUBJECTS: usize = 4096;

/// What may cross in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// Subjects that may cross.
    pub allow: Vec<Box<str>>,
    /// Reply subjects, which cross only to interest that lies wholly within them.
    pub replies: Vec<Box<str>>,
    /// What never crosses.
    pub deny: Vec<Box<str>>,
}

impl Filter {
    /// `lists` and the subjects below `reply_prefixes`, both narrowed by what the peer allows, without `deny`.
    pub fn new(lists: &[String], reply_prefixes: &[String], deny: &[String], peer: Option<&SubjectPermission>) -> Self {
        let replies: Vec<String> = reply_prefixes.iter().map(|p| format!("{p}.>")).collect();
        let peer_allow = peer.and_then(|p| p.allow.as_deref());
        let narrowed = |own: &[String]| {
            let mut out = Vec::new();
            for subject in own.iter().filter(|s| is_valid(s)) {
                match peer_allow {
                    None => add(&mut out, subject.as_str().into()),
                    Some(allow) => {
                        allow.iter().filter_map(|a| intersect(subject, bare(a))).for_each(|s| add(&mut out, s))
                    }
                }
            }
            out
        };
        let peer_deny = peer.iter().flat_map(|p| p.deny.iter().flatten()).map(|d| bare(d));
        let mut denied = Vec::new();
        deny.iter()
            .map(String::as_str)
            .chain(peer_deny)
            .filter(|d| is_valid(d))
            .for_each(|d| add(&mut denied, d.into()));
        Filter { allow: narrowed(lists), replies: narrowed(&replies), deny: denied }
    }

    /// Whether a message on `subject`, which selects nothing but itself, may cross.
    pub fn allows(&self, subject: &str) -> bool {
        self.allow.iter().chain(&self.replies).any(|a| matches(a, subject))
            && !self.deny.iter().any(|d| matches(d, subject))
    }

    /// Whether some of the subjects that `subject` selects may not cross.
    pub fn denies_part_of(&self, subject: &str) -> bool {
        self.deny.iter().any(|deny| intersect(subject, deny).is_some())
    }

    /// The parts of the interest in `subject` that may cross.
    pub fn narrow(&self, subject: &str) -> Vec<Box<str>> {
        let mut parts = Vec::new();
        for allow in &self.allow {
            if let Some(part) = intersect(subject, allow) {
                add(&mut parts, part);
            }
        }
        for reply in self.replies.iter().filter(|r| is_subset(subject, r) || (is_literal(r) && subject == &***r)) {
            add(&mut parts, if is_subset(subject, reply) { subject.into() } else { reply.clone() });
        }
        parts.retain(|part| !self.deny.iter().any(|d| is_subset(part, d)));
        parts
    }
}

/// Adds `subject` unless the list covers it; drops what it covers.
fn add(list: &mut Vec<Box<str>>, subject: Box<str>) {
    if list.iter().any(|have| **have == *subject || is_subset(&subject, have)) || list.len() >= MAX_SUBJECTS {
        return;
    }
    list.retain(|have| !is_subset(have, &subject));
    list.push(subject);
}

/// The subjects that both select, if there are any; a single pattern always describes them.
pub fn intersect(a: &str, b: &str) -> Option<Box<str>> {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    let mut out: Vec<&str> = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(out.join(".").into()),
            (Some(">"), Some(rest)) => {
                out.push(rest);
                out.extend(right);
                return Some(out.join(".").into());
            }
            (Some(rest), Some(">")) => {
                out.push(rest);
                out.extend(left);
                return Some(out.join(".").into());
            }
            (Some("*"), Some(token)) | (Some(token), Some("*")) => out.push(token),
            (Some(x), Some(y)) if x == y => out.push(x),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn intersections() {
        for (a, b, want) in [
            (">", "a.b", Some("a.b")),
            ("a.*", "*.b", Some("a.b")),
            ("a.>", "a.*.c", Some("a.*.c")),
            ("a.>", "*.>", Some("a.>")),
            ("a.>", "a", None),
            ("a.b", "a.c", None),
            ("*.b.>", "a.*.c", Some("a.b.c")),
        ] {
            assert_eq!(intersect(a, b).as_deref(), want, "{a} {b}");
            assert_eq!(intersect(b, a).as_deref(), want, "{b} {a}");
        }
    }

    #[test]
    fn interest_is_narrowed_to_what_both_allow() {
        let hub = SubjectPermission {
            allow: Some(strings(&["p.gw1.>", "_INBOX.>"])),
            deny: Some(strings(&["p.gw1.secret.>"])),
        };
        let filter = Filter::new(
            &strings(&["p.*.cmd.>", "q.>", "p.gw1.secret.x"]),
            &strings(&["_INBOX", "_R_"]),
            &strings(&["$JS.API.>"]),
            Some(&hub),
        );
        assert_eq!(filter.narrow(">"), [Box::from("p.gw1.cmd.>")]);
        assert_eq!(filter.narrow("p.gw1.cmd.x"), [Box::from("p.gw1.cmd.x")]);
        assert_eq!(filter.narrow("_INBOX.abc.*"), [Box::from("_INBOX.abc.*")]);
        assert!(filter.narrow("_R_.x").is_empty() && filter.narrow("q.x").is_empty());
        assert!(filter.narrow("p.gw1.secret.x").is_empty());
        assert!(filter.allows("p.gw1.cmd.x") && !filter.allows("p.gw2.cmd.x") && !filter.allows("p.gw1.secret.x"));
        assert!(
            filter.denies_part_of("p.>")
                && filter.denies_part_of("*.*.secret.x")
                && !filter.denies_part_of("p.gw1.cmd.>")
        );
        assert!(Filter::new(&[], &[], &[], None).narrow(">").is_empty());
    }
}
