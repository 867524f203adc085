//! Subject transforms: from subjects that a source selects to a destination made of their tokens.
//!
//! A destination token is literal, or takes from the source's wildcards: `$1` and `{{wildcard(1)}}` (the first one's
//! token), `{{partition(n)}}` (a bucket for the whole subject) and `{{partition(n,1,2)}}` (for those wildcards),
//! `{{split(1,-)}}`, `{{splitfromleft(1,3)}}`, `{{splitfromright(1,3)}}`, `{{slicefromleft(1,3)}}`,
//! `{{slicefromright(1,3)}}`, `{{left(1,3)}}`, `{{right(1,3)}}` and `{{random(n)}}`. A final `>` of both carries the rest over.
//! The grammar, the results and the errors are those of nats-server's `subject_transform.go`.

use super::matches;
use super::transform_function::Function;

/// How subjects selected by a source become other subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    source: Box<str>,
    destination: Box<str>,
    steps: Box<[Step]>,
    /// Where in a subject the tokens begin that the source's final `>` stands for.
    rest: Option<usize>,
}

/// One token of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Literal(Box<str>),
    Compute(Function),
}

/// Why a transform is not valid; the texts are nats-server's (`errors.go`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// The source or the destination is no subject, the destination has `*`, or only one of them ends in `>`.
    #[error("invalid subject")]
    BadSubject,
    /// The destination has an empty token, `>` before its end, or white space outside of function calls.
    #[error("invalid mapping destination: invalid transform")]
    InvalidTransform,
    /// A function takes a wildcard that the source does not have.
    #[error("invalid mapping destination: wildcard index out of range in {0}")]
    IndexOutOfRange(String),
    /// A function by that name does not exist.
    #[error("invalid mapping destination: unknown function in {0}")]
    UnknownFunction(String),
    /// A function needs more arguments.
    #[error("invalid mapping destination: not enough arguments passed to the function in {0}")]
    NotEnoughArguments(String),
    /// A function takes fewer arguments.
    #[error("invalid mapping destination: too many arguments passed to the function in {0}")]
    TooManyArguments(String),
    /// An argument is no number, out of range, or a separator that cannot stand in a token.
    #[error("invalid mapping destination: function argument is invalid or in the wrong format in {0}")]
    InvalidArgument(String),
    /// A transform that must be reversible takes each wildcard of its source.
    #[error("invalid mapping destination: not using all of the token wildcard(s) in {0}")]
    NotUsingAllWildcards(String),
    /// A transform that must be reversible only moves tokens.
    #[error(
        "invalid mapping destination: the only mapping function allowed for import transforms is {{{{Wildcard()}}}} in {0}"
    )]
    NotReversible(String),
}

impl Transform {
    /// A transform from the subjects that `source` selects (all, if it is empty) to `destination`; an empty destination
    /// leaves subjects as they are.
    pub fn new(source: &str, destination: &str) -> Result<Self, TransformError> {
        Self::build(source, destination, false)
    }

    /// As [`Transform::new`], but one that can be reversed: it may only move tokens and has to use each wildcard. Imports
    /// need that.
    pub fn strict(source: &str, destination: &str) -> Result<Self, TransformError> {
        Self::build(source, destination, true)
    }

    /// As [`Transform::new`], with the destination held to be a subject as nats-server holds those of its configuration
    /// and of streams (`ValidateMapping` in `sublist.go`).
    pub fn validated(source: &str, destination: &str) -> Result<Self, TransformError> {
        let mut full = false;
        for token in destination.split('.').filter(|_| !destination.is_empty()) {
            let call = token.len() > 4 && token.starts_with("{{") && token.ends_with("}}");
            if token.is_empty() || full || !call && token.contains(['\t', '\n', '\x0c', '\r', ' ']) {
                return Err(TransformError::InvalidTransform);
            }
            full = token == ">";
        }
        Self::new(source, destination)
    }

    fn build(source: &str, destination: &str, strict: bool) -> Result<Self, TransformError> {
        let source = if source.is_empty() { ">" } else { source };
        let from = Shape::of(source).ok_or(TransformError::BadSubject)?;
        let mut transform = Transform {
            source: source.into(),
            destination: destination.into(),
            steps: Box::default(),
            rest: from.full.then(|| source.split('.').count() - 1),
        };
        if destination.is_empty() {
            return Ok(transform);
        }
        let to = Shape::of(destination).ok_or(TransformError::BadSubject)?;
        if !to.stars.is_empty() || from.full != to.full {
            return Err(TransformError::BadSubject);
        }
        let literal = from.stars.is_empty() && !from.full;
        let mut used = 0;
        let mut steps = Vec::new();
        for token in destination.split('.').filter(|token| *token != ">") {
            steps.push(match Function::parse(token)? {
                None => Step::Literal(token.into()),
                Some(function) if literal => {
                    Step::Compute(function.without_wildcards().ok_or_else(|| out_of_range(token, None))?)
                }
                Some(function) => {
                    if strict && !matches!(function, Function::Wildcard(_)) {
                        return Err(TransformError::NotReversible(token.to_owned()));
                    }
                    used += function.indexes().len();
                    Step::Compute(function.resolve(&from.stars).map_err(|index| out_of_range(token, Some(index)))?)
                }
            });
        }
        if strict && used < from.stars.len() {
            return Err(TransformError::NotUsingAllWildcards(destination.to_owned()));
        }
        transform.steps = steps.into();
        Ok(transform)
    }

    /// The subjects that it takes.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it makes of them.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Whether it makes the same of a subject each time: all do but those with `{{random(n)}}`.
    pub fn is_deterministic(&self) -> bool {
        !self.steps.iter().any(|step| matches!(step, Step::Compute(Function::Random(_))))
    }

    /// What becomes of the literal `subject`: `None` if the source does not select it, or if a function would cut a
    /// character of several bytes in two.
    pub fn apply(&self, subject: &str) -> Option<String> {
        let takes = super::is_literal(subject) && matches(&self.source, subject);
        takes.then(|| self.rewrite(subject)).flatten()
    }

    /// As [`Transform::apply`] for a subject that is known to be selected by the source, or is a wildcard subject within
    /// it. Tokens that it lacks are empty.
    pub fn rewrite(&self, subject: &str) -> Option<String> {
        if self.destination.is_empty() {
            return Some(subject.to_owned());
        }
        let tokens: Vec<&str> = subject.split('.').collect();
        let mut out = Vec::with_capacity(self.destination.len() + subject.len());
        for (n, step) in self.steps.iter().enumerate() {
            if n > 0 {
                out.push(b'.');
            }
            match step {
                Step::Literal(token) => out.extend_from_slice(token.as_bytes()),
                Step::Compute(function) => function.write(subject, &tokens, &mut out),
            }
        }
        let rest = self.rest.and_then(|from| tokens.get(from..)).unwrap_or_default();
        for (n, token) in rest.iter().enumerate() {
            if n > 0 || !self.steps.is_empty() {
                out.push(b'.');
            }
            out.extend_from_slice(token.as_bytes());
        }
        String::from_utf8(out).ok()
    }

    /// The transform back; `None` for one that [`Transform::strict`] would not take.
    pub fn reverse(&self) -> Option<Self> {
        if self.destination.is_empty() {
            return Some(self.clone());
        }
        let source: Vec<&str> = self.source.split('.').collect();
        // Which wildcard of the reverse's source stands at a token of ours.
        let mut back = vec![None; source.len()];
        let mut from = Vec::new();
        let mut stars = 0;
        for step in &self.steps {
            from.push(match step {
                Step::Literal(token) => &**token,
                Step::Compute(Function::Wildcard(at)) => {
                    stars += 1;
                    back.get_mut(*at)?.get_or_insert(stars);
                    "*"
                }
                Step::Compute(_) => return None,
            });
        }
        from.extend(self.rest.map(|_| ">"));
        let mut to = Vec::new();
        for (token, back) in source.iter().zip(back) {
            to.push(match (*token, back) {
                ("*", Some(star)) => format!("${star}"),
                ("*", None) => return None,
                (token, _) => token.to_owned(),
            });
        }
        Self::strict(&from.join("."), &to.join(".")).ok()
    }
}

fn out_of_range(token: &str, index: Option<i64>) -> TransformError {
    TransformError::IndexOutOfRange(match index {
        Some(index) => format!("{token}: [{index}]"),
        None => token.to_owned(),
    })
}

/// `foo.*.*` as a destination that keeps it: `foo.$1.$2`.
pub fn placeholders(subject: &str) -> String {
    let mut star = 0;
    let tokens: Vec<String> = subject
        .split('.')
        .map(|token| match token {
            "*" => {
                star += 1;
                format!("${star}")
            }
            token => token.to_owned(),
        })
        .collect();
    tokens.join(".")
}

/// `foo.$1.$2` as a subject that can be subscribed to: `foo.*.*`.
pub fn wildcards(destination: &str) -> String {
    let tokens: Vec<&str> = destination
        .split('.')
        .map(|token| match Function::parse(token) {
            Ok(Some(Function::Wildcard(index))) if index > 0 => "*",
            _ => token,
        })
        .collect();
    tokens.join(".")
}

/// What the wildcards of a subject are. White space is no matter here, as function calls may have it.
struct Shape {
    /// Positions of `*`.
    stars: Vec<usize>,
    /// Ends in `>`.
    full: bool,
}

impl Shape {
    fn of(subject: &str) -> Option<Self> {
        let mut shape = Shape { stars: Vec::new(), full: false };
        for (at, token) in subject.split('.').enumerate() {
            if token.is_empty() || shape.full {
                return None;
            }
            match token {
                "*" => shape.stars.push(at),
                ">" => shape.full = true,
                _ => {}
            }
        }
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn maps(source: &str, destination: &str, subject: &str, want: &str) {
        let transform = Transform::new(source, destination).expect("valid");
        assert_eq!(transform.apply(subject).as_deref(), Some(want), "{source} -> {destination}");
    }

    #[test]
    fn tokens_move() {
        maps("", "prefix.>", "foo", "prefix.foo");
        maps(">", ">", "foo.bar", "foo.bar");
        maps("foo.*", "", "foo.a", "foo.a");
        maps("foo", "bar", "foo", "bar");
        maps("foo.*.bar.*.baz", "req.$2.$1", "foo.A.bar.B.baz", "req.B.A");
        maps("foo.*.bar.*.baz", "req.{{ Wildcard (2) }}.{{wildcard( 1 )}}", "foo.A.bar.B.baz", "req.B.A");
        maps("baz.>", "my.pre.>", "baz.1.2.3", "my.pre.1.2.3");
        maps("a.*.>", "$1.>", "a.b.c.d", "b.c.d");
        maps("foo.*", "foo.$bar.$1", "foo.x", "foo.$bar.x");
        maps("foo.*", "$0.$1", "foo.x", "foo.x");
        assert_eq!(Transform::new("foo.*", "$1").expect("valid").apply("bar.a"), None);
        assert_eq!(Transform::new("foo.*", "$1").expect("valid").apply("foo.*"), None);
    }

    #[test]
    fn functions_compute() {
        maps("*", "{{splitfromleft(1,3)}}", "12345", "123.45");
        maps("*", "{{SplitFromRight(1,3)}}", "12345", "12.345");
        maps("*", "{{SliceFromLeft(1,3)}}", "1234567890", "123.456.789.0");
        maps("*", "{{SliceFromRight(1,3)}}", "1234567890", "1.234.567.890");
        maps("*", "{{slicefromright(1,5)}}", "1234567890", "12345.67890");
        maps("*", "{{split(1,-)}}", "-abc-def--ghi-", "abc.def.ghi");
        maps("*.*", "{{split(2,-)}}.{{splitfromleft(1,2)}}", "foo.-abc-def--ghij-", "abc.def.ghij.fo.o");
        maps("*", "{{right(1,3)}}", "1234", "234");
        maps("*", "{{left(1,1)}}", "1234", "1");
        maps("*", "{{left(1,6)}}", "1234", "1234");
        maps("*", "{{left(1,-1)}}", "1234", "1234");
        maps("*", "x{{wildcard(1)}}", "foo", "x{{wildcard(1)}}");
    }

    #[test]
    fn partitions_are_those_of_nats_server() {
        maps("*", "bar.{{partition(0)}}", "baz", "bar.0");
        maps("*", "bar.{{partition(10, 0)}}", "foo", "bar.3");
        maps("*.*", "bar.{{partition(10)}}", "foo.bar", "bar.6");
        maps("*", "bar.{{partition(10)}}", "qux", "bar.9");
        maps("foo.bar", "baz.{{partition(10)}}", "foo.bar", "baz.6");
        maps("test.subject", "result.{{partition(5)}}", "test.subject", "result.0");
        let random = Transform::new("*", "bar.{{random(6)}}").expect("valid");
        assert!(!random.is_deterministic());
        for _ in 0..100 {
            let got = random.apply("qux").expect("selected");
            assert!(("bar.0"..="bar.5").contains(&got.as_str()) && got.len() == 5, "{got}");
        }
        maps("*", "bar.{{random(0)}}", "qux", "bar.0");
    }

    #[test]
    fn a_cut_character_is_not_delivered() {
        assert_eq!(Transform::new("*", "{{left(1,1)}}").expect("valid").apply("\u{fc}x"), None);
    }

    #[test]
    fn errors_tell_what_nats_server_tells() {
        for (source, destination, strict, want) in [
            ("foo..", "bar", false, "invalid subject"),
            ("foo.*", "bar.*", false, "invalid subject"),
            ("foo.*", "bar.$1.>", false, "invalid subject"),
            ("foo.>", "bar.baz", false, "invalid subject"),
            ("foo.*", "bar.$2", false, "invalid mapping destination: wildcard index out of range in $2: [2]"),
            (
                "foo",
                "bla.{{wildcard(1)}}",
                false,
                "invalid mapping destination: wildcard index out of range in {{wildcard(1)}}",
            ),
            ("foo.*", "x.{{nope(1)}}", false, "invalid mapping destination: unknown function in {{nope(1)}}"),
            (
                "foo.*",
                "x.{{wildcard()}}",
                false,
                "invalid mapping destination: not enough arguments passed to the function in {{wildcard()}}",
            ),
            (
                "foo.*",
                "x.{{wildcard(1,2)}}",
                false,
                "invalid mapping destination: too many arguments passed to the function in {{wildcard(1,2)}}",
            ),
            (
                "foo.*",
                "x.{{partition(2147483648)}}",
                false,
                "invalid mapping destination: function argument is invalid or in the wrong format in \
                 {{partition(2147483648)}}",
            ),
            (
                "foo.*.*",
                "bar.$2",
                true,
                "invalid mapping destination: not using all of the token wildcard(s) in bar.$2",
            ),
            (
                "foo.*",
                "x.{{partition(2,1)}}",
                true,
                "invalid mapping destination: the only mapping function allowed for import transforms is \
                 {{Wildcard()}} in {{partition(2,1)}}",
            ),
        ] {
            let error = Transform::build(source, destination, strict).expect_err(destination);
            assert_eq!(error.to_string(), want, "{source} -> {destination}");
        }
    }

    #[test]
    fn placeholders_keep_a_subject() {
        assert_eq!(placeholders("foo.*.bar.*.>"), "foo.$1.bar.$2.>");
        assert_eq!(wildcards("foo.$1.bar.{{wildcard(2)}}.$x.>"), "foo.*.bar.*.$x.>");
    }

    proptest! {
        #[test]
        fn a_strict_transform_goes_both_ways(
            order in Just(vec![1, 2, 3]).prop_shuffle(),
            full in any::<bool>(),
            tokens in proptest::collection::vec("[a-z]{1,3}", 4),
        ) {
            let tail = if full { ".>" } else { "" };
            let to = format!("to.${}.x.{{{{wildcard({})}}}}.${}{tail}", order[0], order[1], order[2]);
            let transform = Transform::strict(&format!("*.from.*.*{tail}"), &to).expect("valid");
            let mut subject = format!("{}.from.{}.{}", tokens[0], tokens[1], tokens[2]);
            if full {
                subject += &format!(".{}", tokens[3]);
            }
            let there = transform.apply(&subject).expect("selected");
            let back = transform.reverse().expect("reversible");
            prop_assert_eq!(back.apply(&there), Some(subject));
        }

        #[test]
        fn whatever_stands_in_a_destination_nothing_panics(
            destination in "(\\$-?[0-9]{1,3}|\\{\\{ ?[a-zA-Z]{0,14} ?\\([0-9a-z, )(-]{0,8}\\) ?\\}\\}|[a-z{}$]{1,4}|\\PC){1,3}(\\.[$a-z]{1,2}[0-9]{0,2}){0,2}",
            function in "(wildcard|partition|split|splitFromLeft|SliceFromRight|left|random)",
            arguments in "[0-9-]{1,2}(,-?[0-9]{1,10}){0,2}",
            subject in "\\PC{1,8}\\.\\PC{1,8}",
        ) {
            for destination in [destination, format!("{{{{{function}({arguments})}}}}")] {
                for source in ["*.*", "a.b", ">"] {
                    if let Ok(transform) = Transform::new(source, &destination) {
                        let _ = (transform.apply(&subject), transform.rewrite("a"), transform.reverse());
                    }
                }
            }
        }

        #[test]
        fn cutting_loses_nothing(token in "[a-z0-9]{1,20}", length in 0..12u32, cut in "(split|slice)from(left|right)") {
            let got = Transform::new("*", &format!("{{{{{cut}(1,{length})}}}}")).expect("valid").apply(&token);
            let got = got.expect("selected");
            prop_assert_eq!(got.replace('.', ""), token);
            prop_assert!(!got.contains("..") && !got.starts_with('.') && !got.ends_with('.'));
        }
    }
}
