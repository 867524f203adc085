use super::*;
use crate::account::{Inbox, LocalClient, Message};
use crate::subject::{Transform, matches, placeholders, wildcards};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Accounts that share what a test says, by name.
struct World {
    accounts: BTreeMap<String, Arc<Account>>,
    shares: BTreeMap<String, Shares>,
}

fn public(subject: &str) -> StreamExport {
    StreamExport { subject: subject.into(), access: Access::Public }
}

fn service(subject: &str, response: ResponseType) -> ServiceExport {
    ServiceExport {
        subject: subject.into(),
        access: Access::Public,
        response,
        threshold: RESPONSE_THRESHOLD,
        traced: false,
    }
}

fn import(account: &str, subject: &str, to: &str) -> Import {
    Import { account: account.into(), subject: subject.into(), to: to.into(), ..Import::default() }
}

impl World {
    fn new(names: &[&str]) -> Self {
        World {
            accounts: names.iter().map(|name| ((*name).to_owned(), Account::new(name))).collect(),
            shares: names.iter().map(|name| ((*name).to_owned(), Shares::default())).collect(),
        }
    }

    fn of(&mut self, name: &str) -> &mut Shares {
        self.shares.get_mut(name).expect("known")
    }

    fn share(&self) {
        assert_eq!(share(&self.shares, |name| self.accounts[name].clone()), []);
    }

    fn client(&self, name: &str) -> LocalClient {
        LocalClient::new(self.accounts[name].clone())
    }

    fn refused(&self) -> String {
        check(&self.shares).expect_err("wrong").iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

fn publish(client: &LocalClient, subject: &str, reply: &str, payload: &str) -> usize {
    client.publish(&Message { subject, reply, headers: b"", payload: payload.as_bytes() })
}

fn subjects_of(inbox: &mut Inbox) -> Vec<String> {
    std::iter::from_fn(|| inbox.try_next()).map(|message| message.subject.to_string()).collect()
}

#[test]
fn streams_come_under_their_subject_here_to_whoever_overlaps_them() {
    let mut world = World::new(&["A", "B"]);
    world.of("A").streams = vec![public("events.>"), public("one.*.two.*"), public("literal")];
    world.of("B").stream_imports = vec![
        Import { prefix: "from.a".into(), ..import("A", "events.>", "") },
        import("A", "one.*.two.*", "two.$2.one.{{wildcard(1)}}"),
        import("A", "literal", "other.name"),
    ];
    let (a, b) = (world.client("A"), world.client("B"));
    let mut early = b.subscribe("from.a.events.*", 16);
    world.share();
    let mut all = b.subscribe(">", 16);
    let mut narrow = b.subscribe("*.*.events.x", 16);
    let mut swapped = b.subscribe("two.y.>", 16);
    let mut named = b.subscribe("other.name", 16);
    let mut none = b.subscribe("events.x", 16);
    for subject in ["events.x", "events.x.y", "one.x.two.y", "one.x.two.z", "literal"] {
        publish(&a, subject, "", "");
    }
    assert_eq!(subjects_of(&mut early), ["from.a.events.x"]);
    assert_eq!(
        subjects_of(&mut all),
        ["from.a.events.x", "from.a.events.x.y", "two.y.one.x", "two.z.one.x", "other.name"]
    );
    assert_eq!(subjects_of(&mut narrow), ["from.a.events.x"]);
    assert_eq!(subjects_of(&mut swapped), ["two.y.one.x"]);
    assert_eq!(subjects_of(&mut named), ["other.name"]);
    assert!(subjects_of(&mut none).is_empty());
    drop((early, all, narrow, swapped, named, none));
    assert_eq!(world.accounts["A"].subscriptions(), 0);
    // Nothing goes the other way.
    let mut back = a.subscribe(">", 16);
    publish(&b, "from.a.events.x", "", "");
    assert!(subjects_of(&mut back).is_empty());
}

#[test]
fn a_limit_counts_what_comes_by_an_import() {
    let mut world = World::new(&["A", "B"]);
    world.of("A").streams = vec![public("x")];
    world.of("B").stream_imports = vec![import("A", "x", "")];
    world.share();
    let (a, b) = (world.client("A"), world.client("B"));
    let mut inbox = b.subscribe("x", 16);
    let sub = world.accounts["B"].all_subscriptions().remove(0);
    sub.limit_to(2);
    for _ in 0..3 {
        publish(&a, "x", "", "");
    }
    assert_eq!(subjects_of(&mut inbox).len(), 2);
    assert_eq!(world.accounts["A"].subscriptions(), 0);
}

/// A requester in A and a service in B, imported as `help.*`; what the service gets, and the requester's inbox.
fn asked(response: ResponseType) -> (World, LocalClient, Inbox, LocalClient, Inbox) {
    let mut world = World::new(&["A", "B"]);
    world.of("B").services = vec![service("svc.*.v1", response)];
    world.of("A").service_imports = vec![import("B", "svc.*.v1", "help.*")];
    world.share();
    let (a, b) = (world.client("A"), world.client("B"));
    let (requests, answers) = (b.subscribe("svc.>", 16), a.subscribe("inbox.>", 16));
    (world, a, answers, b, requests)
}

#[test]
fn a_request_crosses_and_its_answer_comes_back_once() {
    let (world, a, mut answers, b, mut requests) = asked(ResponseType::Singleton);
    assert_eq!(publish(&a, "help.me", "inbox.1", "?"), 1);
    let request = requests.try_next().expect("a request");
    assert_eq!(&*request.subject, "svc.me.v1");
    assert!(request.reply.starts_with("_R_.") && request.reply.len() == 17, "{}", request.reply);
    assert_eq!(&request.headers[..], b"NATS/1.0\r\nNats-Request-Info: {\"acc\":\"A\"}\r\n\r\n");
    assert_eq!(publish(&b, &request.reply, "", "!"), 1);
    assert_eq!(publish(&b, &request.reply, "", "again"), 0);
    let answer = answers.try_next().expect("an answer");
    assert_eq!((&*answer.subject, &answer.payload[..]), ("inbox.1", &b"!"[..]));
    assert!(answers.try_next().is_none());
    assert_eq!(world.accounts["B"].sharing.replies.len(), 0);
}

#[test]
fn a_stream_of_answers_ends_with_an_empty_one_or_with_the_interest() {
    let (world, a, mut answers, b, mut requests) = asked(ResponseType::Stream);
    for last in ["", "lost"] {
        publish(&a, "help.me", "inbox.2", "?");
        let reply = requests.try_next().expect("a request").reply;
        for payload in ["1", "2", last] {
            if payload == "lost" {
                answers = a.subscribe("elsewhere", 1);
                assert_eq!(publish(&b, &reply, "", payload), 0);
            } else {
                assert_eq!(publish(&b, &reply, "", payload), 1);
            }
        }
        assert_eq!(publish(&b, &reply, "", "late"), 0);
    }
    assert!(subjects_of(&mut answers).is_empty());
    assert_eq!(world.accounts["B"].sharing.replies.len(), 0);
}

#[test]
fn nobody_there_is_nobody_here() {
    let (world, a, _answers, _b, requests) = asked(ResponseType::Singleton);
    drop(requests);
    assert_eq!(publish(&a, "help.me", "inbox.1", "?"), 0);
    assert_eq!(world.accounts["B"].sharing.replies.len(), 0);
    assert!(world.accounts["A"].has_interest("help.me", None));
}

#[test]
fn a_request_goes_on_through_a_third_account_but_not_round() {
    let mut world = World::new(&["A", "B", "C"]);
    world.of("C").services = vec![service("deep", ResponseType::Singleton)];
    world.of("B").services = vec![service("mid", ResponseType::Singleton)];
    world.of("B").service_imports = vec![import("C", "deep", "mid")];
    world.of("A").service_imports = vec![import("B", "mid", "near")];
    world.share();
    let (a, c) = (world.client("A"), world.client("C"));
    let (mut answers, mut requests) = (a.subscribe("in", 4), c.subscribe("deep", 4));
    assert_eq!(publish(&a, "near", "in", "?"), 1);
    let request = requests.try_next().expect("a request");
    let info = String::from_utf8_lossy(&request.headers).into_owned();
    assert!(info.contains(r#"{"acc":"A","svc":"B"}"#), "{info}");
    assert_eq!(publish(&c, &request.reply, "", "!"), 1);
    assert_eq!(subjects_of(&mut answers), ["in"]);
    // A circle of different subjects is not refused, as nats-server does not; a request goes round it once.
    world.of("A").services = vec![service("near", ResponseType::Singleton)];
    world.of("C").service_imports = vec![import("A", "near", "deep")];
    world.share();
    assert_eq!(publish(&a, "near", "in", "?"), 1);
    drop(requests);
    assert_eq!(publish(&a, "near", "in", "?"), 0);
}

#[test]
fn circles_are_refused() {
    let mut world = World::new(&["A", "B", "C"]);
    for (name, of) in [("A", "B"), ("B", "C"), ("C", "A")] {
        world.of(name).services = vec![service("help", ResponseType::Singleton)];
        world.of(name).service_imports = vec![import(of, "help", "")];
    }
    assert_eq!(world.refused(), "account C: service import \"help\": import forms a cycle");
    let mut world = World::new(&["A", "B"]);
    for (name, of) in [("A", "B"), ("B", "A")] {
        world.of(name).streams = vec![public("news.>")];
        world.of(name).stream_imports = vec![import(of, "news.>", "")];
    }
    assert_eq!(world.refused(), "account B: stream import \"news.>\": import forms a cycle");
}

#[test]
fn what_came_as_a_request_is_not_exported_as_a_stream() {
    let mut world = World::new(&["A", "B"]);
    world.of("B").services = vec![service("both", ResponseType::Singleton)];
    world.of("B").streams = vec![public("both")];
    world.of("A").service_imports = vec![import("B", "both", "ask")];
    world.of("A").stream_imports = vec![import("B", "both", "seen")];
    world.share();
    let (a, b) = (world.client("A"), world.client("B"));
    let mut seen = a.subscribe("seen", 4);
    assert_eq!(publish(&a, "ask", "", "?"), 0);
    publish(&b, "both", "", "");
    assert_eq!(subjects_of(&mut seen), ["seen"]);
}

#[test]
fn what_is_not_right_is_named() {
    let mut world = World::new(&["A", "B"]);
    let only = |subject: &str, access| StreamExport { subject: subject.into(), access };
    world.of("A").streams = vec![
        only("private.>", Access::Accounts(vec!["C".into()])),
        only("closed", Access::Accounts(vec![])),
        only("by.*.token", Access::Token(2)),
        only("not.a.token", Access::Token(2)),
        public("open.>"),
        public("a..b"),
    ];
    world.of("B").stream_imports = vec![
        import("A", "private.x", ""),
        import("A", "closed", ""),
        import("A", "by.B.token", ""),
        import("A", "by.A.token", ""),
        import("A", "open.x", ""),
        import("A", "open.x", "y"),
        Import { prefix: "*".into(), ..import("A", "open.y", "") },
        import("A", "open.*", "open.$2"),
        import("X", "open.x", ""),
    ];
    world.of("B").service_imports = vec![import("A", "open.x", "")];
    assert_eq!(
        world.refused().lines().collect::<Vec<_>>(),
        [
            r#"account A: stream export "private.>": "C" account not defined"#,
            r#"account A: stream export "not.a.token": account_token_position 2: the subject has no * there"#,
            r#"account A: stream export "a..b": invalid subject"#,
            r#"account B: stream import "private.x": stream import not authorized"#,
            r#"account B: stream import "closed": stream import not authorized"#,
            r#"account B: stream import "by.A.token": stream import not authorized"#,
            r#"account B: stream import "open.x": stream import already exists"#,
            r#"account B: stream import "open.y": stream import prefix can not contain wildcard tokens"#,
            r#"account B: stream import "open.*": failed to create mapping transform from "open.*" to "open.$2": invalid mapping destination: wildcard index out of range in $2: [2]"#,
            r#"account B: stream import "open.x": "X" account not defined"#,
            r#"account B: service import "open.x": service import not authorized"#,
        ]
    );
}

#[test]
fn what_is_no_longer_shared_is_gone() {
    let mut world = World::new(&["A", "B"]);
    world.of("A").streams = vec![public("x")];
    world.of("A").services = vec![service("s", ResponseType::Singleton)];
    world.of("B").stream_imports = vec![import("A", "x", "")];
    world.of("B").service_imports = vec![import("A", "s", "")];
    world.share();
    let (a, b) = (world.client("A"), world.client("B"));
    let (mut inbox, _requests) = (b.subscribe("x", 4), a.subscribe("s", 4));
    assert_eq!((publish(&a, "x", "", ""), publish(&b, "s", "", "")), (1, 1));
    world.share();
    assert_eq!((publish(&a, "x", "", ""), publish(&b, "s", "", "")), (1, 1));
    *world.of("B") = Shares::default();
    world.share();
    assert_eq!((publish(&a, "x", "", ""), publish(&b, "s", "", "")), (0, 0));
    assert_eq!(subjects_of(&mut inbox).len(), 2);
}

proptest! {
    /// Whoever overlaps an import gets each message that it selects under its subject here, once, and no other.
    #[test]
    fn imports_deliver_what_a_subscription_selects(
        from in "(a|b|\\*)(\\.(a|b|\\*)){0,2}(\\.>)?",
        to in prop_oneof![Just(""), Just("to."), Just("a."), Just("a.b.")],
        turned in any::<bool>(),
        filter in "(a|b|to|\\*|>)|(a|b|to|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?",
        subjects in proptest::collection::vec("(a|b|c)(\\.(a|b|c)){0,3}", 1..12),
    ) {
        let stars = from.split('.').filter(|token| *token == "*").count();
        let mut here = placeholders(&from);
        if turned && stars == 2 {
            here = here.replace("$1", "$x").replace("$2", "$1").replace("$x", "$2");
        }
        let here = format!("{to}{here}");
        let mut world = World::new(&["A", "B"]);
        world.of("A").streams = vec![public(&from)];
        world.of("B").stream_imports = vec![import("A", &from, if to.is_empty() && !turned { "" } else { &here })];
        world.share();
        let (a, b) = (world.client("A"), world.client("B"));
        let mut inbox = b.subscribe(&filter, 64);
        let transform = Transform::new(&from, &here).expect("valid");
        let mut want = Vec::new();
        for subject in &subjects {
            publish(&a, subject, "", "");
            want.extend(transform.apply(subject).filter(|here| matches(&filter, here)));
        }
        prop_assert_eq!(subjects_of(&mut inbox), want, "{} -> {} for {}", from, wildcards(&here), filter);
    }
}
