//! What a user may publish and subscribe to (nats-server `client.go`: `setPermissions`, `canSubscribe`, `pubAllowed`).
//!
//! [`Permissions`] are made once per user and shared by its connections; a connection's [`PublishGate`] remembers the
//! answers for the subjects it publishes to, so that a publish costs one hash look-up.

use crate::subject::{InvalidEntry, SubjectList, is_literal, matches};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Answers that a connection remembers.
const MAX_CACHED: usize = 1024;

/// A permission list as nats-server writes it in INFO, in JWTs and in user information (`SubjectPermission`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubjectPermission {
    /// Absent: everything that is not denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Takes precedence over `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
}

impl SubjectPermission {
    /// Whether the literal `subject` is allowed, queue groups in the list left aside.
    pub fn allows(&self, subject: &str) -> bool {
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(|a| matches(bare(a), subject)))
            && !self.deny.iter().flatten().any(|d| matches(bare(d), subject))
    }
}

/// The subject of a list entry, which may carry a queue group after a blank.
pub fn bare(entry: &str) -> &str {
    entry.split([' ', '\t']).next().unwrap_or_default()
}

/// How far a user may answer requests on reply subjects that it has no permission for otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimit {
    /// Messages per request; `None` has no limit.
    pub max: Option<u64>,
    /// How long after the request; `None` has no limit.
    pub expires: Option<Duration>,
}

impl Default for ResponseLimit {
    /// One message within two minutes, as nats-server.
    fn default() -> Self {
        ResponseLimit { max: Some(1), expires: Some(Duration::from_secs(120)) }
    }
}

/// Permissions as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PermissionLists {
    /// Subjects of publishes; entries have no queue group.
    pub publish: SubjectPermission,
    /// Subjects of subscriptions, with or without queue groups.
    pub subscribe: SubjectPermission,
    /// Answers to requests. Where it is set and `publish` allows nothing by name, nothing else may be published.
    pub responses: Option<ResponseLimit>,
}

/// Permissions made ready for checks.
#[derive(Clone)]
pub struct Permissions {
    publish_allow: Option<SubjectList>,
    publish_deny: SubjectList,
    subscribe_allow: Option<SubjectList>,
    subscribe_deny: SubjectList,
    responses: Option<ResponseLimit>,
    lists: PermissionLists,
}

impl Permissions {
    /// Makes `lists` ready.
    ///
    /// # Errors
    /// The first entry that is not valid.
    pub fn new(lists: &PermissionLists) -> Result<Arc<Self>, InvalidEntry> {
        let (publish, subscribe) = (&lists.publish, &lists.subscribe);
        let nothing = Vec::new();
        let publish_allow = match (&publish.allow, lists.responses) {
            (None, Some(_)) => Some(&nothing),
            (allow, _) => allow.as_ref(),
        };
        for entry in publish_allow.into_iter().chain(&publish.deny).flatten() {
            if bare(entry.trim()).len() != entry.trim().len() {
                return Err(InvalidEntry(entry.clone()));
            }
        }
        // An empty list of subscriptions allows all of them, one of publishes none: so does nats-server.
        let subscribe_allow = subscribe.allow.as_ref().filter(|allow| !allow.is_empty());
        Ok(Arc::new(Permissions {
            publish_allow: publish_allow.map(|allow| SubjectList::new(allow)).transpose()?,
            publish_deny: SubjectList::new(publish.deny.as_deref().unwrap_or_default())?,
            subscribe_allow: subscribe_allow.map(|allow| SubjectList::new(allow)).transpose()?,
            subscribe_deny: SubjectList::new(subscribe.deny.as_deref().unwrap_or_default())?,
            responses: lists.responses,
            lists: lists.clone(),
        }))
    }

    /// As `base`, which allows everything if it is `None`, but nothing may be published on `subject`.
    ///
    /// # Errors
    /// `subject` is none.
    pub fn without_publish(base: Option<&Permissions>, subject: &str) -> Result<Arc<Self>, InvalidEntry> {
        let mut permissions = match base {
            Some(base) => base.clone(),
            None => Permissions {
                publish_allow: None,
                publish_deny: SubjectList::default(),
                subscribe_allow: None,
                subscribe_deny: SubjectList::default(),
                responses: None,
                lists: PermissionLists::default(),
            },
        };
        permissions.publish_deny.add(subject)?;
        permissions.lists.publish.deny.get_or_insert_default().push(subject.to_owned());
        Ok(Arc::new(permissions))
    }

    /// Whether the lists allow a publish on `subject`; answers to requests come on top of it.
    pub fn may_publish(&self, subject: &str) -> bool {
        self.publish_allow.as_ref().is_none_or(|allow| allow.select(subject, None).plain)
            && !self.publish_deny.select(subject, None).plain
    }

    /// Whether a subscription to `subject` in `queue` is allowed. Where an allow entry for `subject` names a queue
    /// group, only such groups may be joined there.
    pub fn may_subscribe(&self, subject: &str, queue: Option<&str>) -> bool {
        let allowed = self.subscribe_allow.as_ref().is_none_or(|allow| {
            let selection = allow.select_all(subject, queue);
            if queue.is_some() && selection.any_queue { selection.queue } else { selection.plain }
        });
        allowed && !self.subscribe_deny.covers(subject, queue)
    }

    /// Whether a subscription that is allowed may be sent what is denied: a wildcard wider than a deny entry, or a queue
    /// group that may be denied by name. Each delivery to it is then checked with [`Permissions::may_receive`].
    pub fn needs_filter(&self, subject: &str, queue: Option<&str>) -> bool {
        (queue.is_some() || !is_literal(subject)) && self.subscribe_deny.overlaps(subject)
    }

    /// Whether a message on `subject` may be delivered to a subscription in `queue`.
    pub fn may_receive(&self, subject: &str, queue: Option<&str>) -> bool {
        !self.subscribe_deny.covers(subject, queue)
    }

    /// As they were written.
    pub fn lists(&self) -> &PermissionLists {
        &self.lists
    }

    /// How far requests may be answered beside the lists.
    pub fn responses(&self) -> Option<ResponseLimit> {
        self.responses
    }
}

/// A connection's own check of its publishes.
pub struct PublishGate {
    permissions: Arc<Permissions>,
    cache: HashMap<Box<str>, bool, RandomState>,
}

impl PublishGate {
    /// A gate that knows nothing yet.
    pub fn new(permissions: Arc<Permissions>) -> Self {
        PublishGate { permissions, cache: HashMap::default() }
    }

    /// As [`Permissions::may_publish`].
    pub fn may_publish(&mut self, subject: &str) -> bool {
        if let Some(known) = self.cache.get(subject) {
            return *known;
        }
        let allowed = self.permissions.may_publish(subject);
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(subject.into(), allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allow: Option<&[&str]>, deny: &[&str]) -> SubjectPermission {
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        SubjectPermission { allow: allow.map(strings), deny: Some(strings(deny)) }
    }

    fn permissions(publish: SubjectPermission, subscribe: SubjectPermission) -> Arc<Permissions> {
        Permissions::new(&PermissionLists { publish, subscribe, responses: None }).expect("valid")
    }

    #[test]
    fn publishes_are_checked_against_both_lists() {
        let set = permissions(list(Some(&["a.>", "b.*"]), &["a.secret.>"]), SubjectPermission::default());
        let mut gate = PublishGate::new(set);
        for _ in 0..2 {
            for (subject, want) in [("a.x", true), ("a.secret.x", false), ("b.x", true), ("b.x.y", false), ("c", false)]
            {
                assert_eq!(gate.may_publish(subject), want, "{subject}");
            }
        }
        let mut gate = PublishGate::new(permissions(list(None, &["no"]), SubjectPermission::default()));
        for n in 0..3 * MAX_CACHED {
            assert!(gate.may_publish(&format!("s.{n}")) && !gate.may_publish("no"));
        }
        assert!(gate.cache.len() <= MAX_CACHED);
    }

    #[test]
    fn subscriptions_with_queue_groups() {
        let set = permissions(
            SubjectPermission::default(),
            list(Some(&["foo", "foo v1", "foo v2.>", "bar.*", "only q"]), &["bar.no", "bar.* bad"]),
        );
        for (subject, queue, want) in [
            ("foo", None, true),
            ("foo", Some("v1"), true),
            ("foo", Some("v2.x"), true),
            ("foo", Some("v3"), false),
            ("only", None, false),
            ("only", Some("q"), true),
            ("bar.x", Some("any"), true),
            ("bar.x", Some("bad"), false),
            ("bar.no", None, false),
            ("bar.*", None, true),
            ("other", None, false),
        ] {
            assert_eq!(set.may_subscribe(subject, queue), want, "{subject} {queue:?}");
        }
        assert!(!set.may_receive("bar.no", None) && set.may_receive("bar.yes", None));
        assert!(set.needs_filter("bar.*", None) && set.needs_filter("bar.x", Some("q")));
        assert!(!set.needs_filter("foo", None) && !set.needs_filter("bar.x", None));
    }

    #[test]
    fn answers_alone_allow_no_other_publish() {
        let lists = PermissionLists { responses: Some(ResponseLimit::default()), ..Default::default() };
        assert!(!Permissions::new(&lists).expect("valid").may_publish("a"));
    }

    #[test]
    fn an_entry_that_is_not_valid_is_named() {
        for (publish, subscribe) in [
            (list(Some(&["a b"]), &[]), SubjectPermission::default()),
            (list(None, &["a..b"]), SubjectPermission::default()),
            (SubjectPermission::default(), list(Some(&["a b c"]), &[])),
        ] {
            assert!(Permissions::new(&PermissionLists { publish, subscribe, responses: None }).is_err());
        }
    }
}
