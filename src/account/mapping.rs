//! Subject mappings of an account: what clients and leafs publish on one subject goes to another, or is spread over several
//! by weight (nats-server's `AddWeightedMappings` and `selectMappedSubject` in `accounts.go`).
//!
//! An account without mappings costs its publishers one branch. With mappings each publisher remembers what becomes of its
//! subjects as long as that is always the same; what is weighted or random is drawn for each message.

use super::sharing::stand_in;
use super::{Account, RouteCache, Subscription};
use crate::subject::{Transform, TransformError, is_literal, is_valid, is_valid_literal, matches, placeholders};
use std::cmp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// All the weights of a mapping's destinations.
const FULL: u8 = 100;

/// The mappings of one account, narrower sources before wider ones: of several that take a subject the first has it.
/// (nats-server takes them in the order in which its configuration's map gives them, which is no order.)
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    mappings: Vec<Mapping>,
}

#[derive(Clone, Debug)]
struct Mapping {
    source: Box<str>,
    /// With the sum of the weights up to and including this one, growing; less than 100 at the last: the rest is lost.
    destinations: Vec<(u8, Transform)>,
}

/// Why a mapping is not valid; the texts are nats-server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The source is no subject, or source and destination do not fit.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A destination stands twice.
    #[error("duplicate entry for {0:?}")]
    Duplicate(String),
    /// A weight is above 100.
    #[error("individual weights need to be <= 100")]
    Weight,
    /// The weights are more than 100 together.
    #[error("total weight needs to be <= 100")]
    TotalWeight,
}

/// What becomes of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It stays.
    Same,
    /// It becomes this one.
    To(Arc<str>),
    /// The message is lost, as the weights leave room for that.
    Lost,
}

impl Mapped {
    /// Where a message on `subject` goes, if anywhere.
    pub fn of<'a>(&'a self, subject: &'a str) -> Option<&'a str> {
        match self {
            Mapped::Same => Some(subject),
            Mapped::To(to) => Some(to),
            Mapped::Lost => None,
        }
    }
}

impl Mappings {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mappings.is_empty()
    }

    /// The subjects that are mapped.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.mappings.iter().map(|mapping| &*mapping.source)
    }

    /// Maps `source` to `destinations`, each with its weight in percent. What is missing to 100 stays on the source's own
    /// subject, unless the source is a destination itself: then it is lost. A mapping of the same source is replaced.
    pub fn add<'a>(
        &mut self,
        source: &str,
        destinations: impl IntoIterator<Item = (&'a str, u8)>,
    ) -> Result<(), MappingError> {
        if !is_valid(source) {
            return Err(TransformError::BadSubject.into());
        }
        let mut total = 0u8;
        let mut weighted: Vec<(u8, Transform)> = Vec::new();
        for (destination, weight) in destinations {
            if weighted.iter().any(|(_, seen)| seen.destination() == destination) {
                return Err(MappingError::Duplicate(destination.to_owned()));
            }
            if weight > FULL {
                return Err(MappingError::Weight);
            }
            total += weight;
            if total > FULL {
                return Err(MappingError::TotalWeight);
            }
            weighted.push((weight, Transform::validated(source, destination)?));
        }
        if total < FULL && !weighted.iter().any(|(_, to)| to.destination() == source) {
            weighted.push((FULL - total, Transform::new(source, &placeholders(source))?));
        }
        weighted.retain(|(weight, _)| *weight > 0);
        weighted.iter_mut().fold(0, |sum, (weight, _)| {
            *weight += sum;
            *weight
        });
        self.mappings.retain(|mapping| &*mapping.source != source);
        let at = self.mappings.partition_point(|mapping| narrower(&mapping.source, source).is_lt());
        self.mappings.insert(at, Mapping { source: source.into(), destinations: weighted });
        Ok(())
    }

    /// What becomes of the literal `subject`, drawn where that is a matter of weights.
    pub fn map(&self, subject: &str) -> Mapped {
        let Some(mapping) = self.find(subject) else { return Mapped::Same };
        let drawn = match &mapping.destinations[..] {
            [(FULL, _)] => 0,
            _ => fastrand::u8(..FULL),
        };
        let Some((_, transform)) = mapping.destinations.iter().find(|(weight, _)| drawn < *weight) else {
            return Mapped::Lost;
        };
        rewritten(transform, subject).map_or(Mapped::Lost, Mapped::To)
    }

    /// What becomes of `subject` each time; `None` if it is to be drawn.
    fn lasting(&self, subject: &str) -> Option<Arc<str>> {
        match self.find(subject) {
            None => Some(subject.into()),
            Some(Mapping { destinations, .. }) => match &destinations[..] {
                [(FULL, transform)] if transform.is_deterministic() => rewritten(transform, subject),
                _ => None,
            },
        }
    }

    fn find(&self, subject: &str) -> Option<&Mapping> {
        let literal = is_literal(subject);
        self.mappings.iter().find(|mapping| literal && matches(&mapping.source, subject))
    }
}

/// What `transform` makes of `subject`, if that can be published to.
fn rewritten(transform: &Transform, subject: &str) -> Option<Arc<str>> {
    transform.rewrite(subject).filter(|to| is_valid_literal(to)).map(Into::into)
}

/// The mappings in force in an account.
#[derive(Default)]
pub(super) struct InForce {
    /// 0: there are none. Otherwise another number for each set.
    generation: AtomicU64,
    set: RwLock<Set>,
}

#[derive(Default)]
struct Set {
    count: u64,
    mappings: Mappings,
    /// Stand for the interest in each source, for leafs: they must send what is mapped here.
    interest: Vec<Arc<Subscription>>,
}

impl InForce {
    /// Calls `each` with what stands for the interest in the sources.
    pub(super) fn for_each_interest(&self, each: impl FnMut(&Arc<Subscription>)) {
        self.set.read().unwrap_or_else(PoisonError::into_inner).interest.iter().for_each(each);
    }
}

impl Account {
    /// Puts `mappings` in force in place of those there were.
    pub fn set_mappings(&self, mappings: Mappings) {
        let interest: Vec<_> = mappings.sources().map(|source| Arc::new(stand_in(source))).collect();
        self.with_watchers(|watchers| {
            let mut set = self.mappings.set.write().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut set.interest, interest);
            for (_, watcher) in watchers {
                set.interest.iter().for_each(|sub| watcher.added(sub));
                before.iter().for_each(|sub| watcher.removed(sub));
            }
            set.count += 1;
            let generation = if mappings.is_empty() { 0 } else { set.count };
            set.mappings = mappings;
            self.mappings.generation.store(generation, Ordering::Release);
        });
    }

    /// What becomes of a literal `subject` that a client or a leaf publishes to.
    pub fn map(&self, subject: &str, cache: &mut RouteCache) -> Mapped {
        let generation = self.mappings.generation.load(Ordering::Acquire);
        if generation == 0 {
            return Mapped::Same;
        }
        let set = || self.mappings.set.read().unwrap_or_else(PoisonError::into_inner);
        match &*cache.mapped.get(subject, generation, || set().mappings.lasting(subject)) {
            None => set().mappings.map(subject),
            Some(to) if **to == *subject => Mapped::Same,
            Some(to) => Mapped::To(to.clone()),
        }
    }
}

/// Orders sources so that one comes before all that select more than it does.
fn narrower(a: &str, b: &str) -> cmp::Ordering {
    let rank = |token: &str| match token {
        "*" => 1,
        ">" => 2,
        _ => 0,
    };
    a.split('.').map(|token| (rank(token), token)).cmp(b.split('.').map(|token| (rank(token), token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(list: &[(&str, &[(&str, u8)])]) -> Mappings {
        let mut mappings = Mappings::default();
        for (source, destinations) in list {
            mappings.add(source, destinations.iter().copied()).expect("valid");
        }
        mappings
    }

    fn to(subject: &str) -> Mapped {
        Mapped::To(subject.into())
    }

    #[test]
    fn the_narrowest_source_wins() {
        let mappings = mappings(&[
            (">", &[("all.>", 100)]),
            ("a.*", &[("star.$1", 100)]),
            ("a.b", &[("literal", 100)]),
            ("a.>", &[("rest.>", 100)]),
        ]);
        assert_eq!(mappings.map("a.b"), to("literal"));
        assert_eq!(mappings.map("a.c"), to("star.c"));
        assert_eq!(mappings.map("a.c.d"), to("rest.c.d"));
        assert_eq!(mappings.map("b"), to("all.b"));
        assert_eq!(Mappings::default().map("b"), Mapped::Same);
    }

    /// How often each outcome comes in 10,000 draws.
    fn shares(mappings: &Mappings, subject: &str) -> Vec<(String, u32)> {
        let account = Account::new("A");
        account.set_mappings(mappings.clone());
        let mut counts = std::collections::BTreeMap::new();
        let mut cache = RouteCache::default();
        for _ in 0..10_000 {
            let outcome = match account.map(subject, &mut cache) {
                Mapped::Same => "same".to_owned(),
                Mapped::To(to) => to.to_string(),
                Mapped::Lost => "lost".to_owned(),
            };
            *counts.entry(outcome).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    #[test]
    fn weights_share_and_what_is_missing_stays_or_is_lost() {
        let mappings = mappings(&[
            ("foo.*", &[("bar.$1", 20), ("baz.{{wildcard(1)}}", 30)]),
            ("lossy", &[("lossy", 40), ("other", 10), ("never", 0)]),
        ]);
        let near = |got: Vec<(String, u32)>, want: &[(&str, u32)]| {
            assert_eq!(got.len(), want.len(), "{got:?}");
            for ((have, count), (name, share)) in got.iter().zip(want) {
                assert!(have == name && count.abs_diff(share * 100) < 400, "{got:?}");
            }
        };
        near(shares(&mappings, "foo.x"), &[("bar.x", 20), ("baz.x", 30), ("foo.x", 50)]);
        near(shares(&mappings, "lossy"), &[("lossy", 40), ("lost", 50), ("other", 10)]);
    }

    #[test]
    fn what_is_not_valid_is_told_as_nats_server_tells_it() {
        let mut mappings = Mappings::default();
        for (source, destinations, want) in [
            ("a..b", &[("x", 100)][..], "invalid subject"),
            ("a", &[("x", 101)], "individual weights need to be <= 100"),
            ("a", &[("x", 60), ("y", 60)], "total weight needs to be <= 100"),
            ("a", &[("x", 10), ("x", 20)], "duplicate entry for \"x\""),
            ("a.*", &[("x y.$1", 100)], "invalid mapping destination: invalid transform"),
            ("a.*", &[("x.$2", 100)], "invalid mapping destination: wildcard index out of range in $2: [2]"),
        ] {
            let error = mappings.add(source, destinations.iter().copied()).expect_err(source);
            assert_eq!(error.to_string(), want);
        }
        assert!(mappings.is_empty());
    }

    #[test]
    fn a_new_set_is_not_answered_from_what_was_remembered() {
        let account = Account::new("A");
        let mut cache = RouteCache::default();
        assert_eq!(account.map("a", &mut cache), Mapped::Same);
        account.set_mappings(mappings(&[("a", &[("b", 100)])]));
        for _ in 0..3 {
            assert_eq!(account.map("a", &mut cache), to("b"));
            assert_eq!(account.map("z", &mut cache), Mapped::Same);
        }
        account.set_mappings(mappings(&[("a", &[("c", 100)])]));
        assert_eq!(account.map("a", &mut cache), to("c"));
        account.set_mappings(Mappings::default());
        assert_eq!(account.map("a", &mut cache), Mapped::Same);
    }

    #[test]
    fn what_cannot_be_published_to_is_lost() {
        let mappings = mappings(&[("a.*", &[("{{split(1,-)}}.x", 100)])]);
        assert_eq!(mappings.map("a.b-c"), to("b.c.x"));
        assert_eq!(mappings.map("a.-"), Mapped::Lost);
    }
}
