//! What users may do.

use super::play::{Both, login};

const TOML: &str = r#"
[authorization]
users = [
  { user = "all", password = "pw" },
  { user = "lists", password = "pw", permissions = { publish = { allow = ["a.>", "b.*", "_INBOX.>"], deny = ["a.no.>"] }, subscribe = { allow = ["a.>", "s.*", "_INBOX.>"], deny = ["a.no.*", "s.no"] } } },
  { user = "queue", password = "pw", permissions = { subscribe = { allow = ["foo", "foo v1", "foo v2.>", "bar.> *"], deny = ["bar.x bad.*", "foo prod"] } } },
  { user = "wide", password = "pw", permissions = { subscribe = { deny = ["deep.secret", "d.*.no"] } } },
  { user = "service", password = "pw", permissions = { subscribe = "req.>", allow_responses = true } },
  { user = "three", password = "pw", permissions = { publish = "log.>", subscribe = "req.>", allow_responses = { max = 3, expires = "1h" } } },
  { user = "brief", password = "pw", permissions = { subscribe = "req.>", allow_responses = { max = -1, expires = "1ms" } } },
  { user = "mute", password = "pw", permissions = { publish = { deny = ">" } } },
]
"#;

const CONF: &str = r#"
authorization { users = [
  { user: all, password: pw }
  { user: lists, password: pw, permissions: { publish: { allow: ["a.>", "b.*", "_INBOX.>"], deny: ["a.no.>"] }, subscribe: { allow: ["a.>", "s.*", "_INBOX.>"], deny: ["a.no.*", "s.no"] } } }
  { user: queue, password: pw, permissions: { subscribe: { allow: ["foo", "foo v1", "foo v2.>", "bar.> *"], deny: ["bar.x bad.*", "foo prod"] } } }
  { user: wide, password: pw, permissions: { subscribe: { deny: ["deep.secret", "d.*.no"] } } }
  { user: service, password: pw, permissions: { subscribe: "req.>", allow_responses: true } }
  { user: three, password: pw, permissions: { publish: "log.>", subscribe: "req.>", allow_responses: { max: 3, expires: "1h" } } }
  { user: brief, password: pw, permissions: { subscribe: "req.>", allow_responses: { max: -1, expires: "1ms" } } }
  { user: mute, password: pw, permissions: { publish: { deny: ">" } } }
] }
"#;

fn publish(subject: &str) -> String {
    format!("PUB {subject} 1\r\nx\r\n")
}

#[tokio::test]
async fn publishes_and_subscriptions_within_the_lists() {
    let Some(both) = Both::start(TOML, CONF).await else { return };
    let subjects = ["a.x", "a.no.x", "a", "b.x", "b.x.y", "b", "c", "_INBOX.1.2", "a.no", "$JS.API.INFO"];
    let publishes: String = subjects.iter().chain(&subjects).map(|subject| publish(subject)).collect();
    let mut lines = vec![("lists", login("lists", "pw")), ("lists", publishes), ("mute", login("mute", "pw"))];
    lines.push(("mute", publish("a") + &publish("a.b")));
    // Not `s.>`, which nats-server takes for allowed by `s.*`.
    let patterns = ["a.x", "a.*", "a.>", "a.no.x", "a.no.*", "a.no.>", "a.no.x.y", ">", "*", "*.x", "s.*", "s.no"];
    for (sid, pattern) in patterns.iter().enumerate() {
        lines.push(("lists", format!("SUB {pattern} {sid}\r\n")));
        lines.push(("lists", format!("SUB {pattern} q {sid}0\r\n")));
    }
    lines.push(("lists", "SUB a..b 90\r\nSUB c..d 91\r\n".into()));
    lines.push((
        "lists",
        "CONNECT {\"user\":\"lists\",\"pass\":\"pw\"}\r\nSUB c 1\r\nSUB a.x 2\r\nPUB c 0\r\n\r\n".into(),
    ));
    let answers = both.play(&lines).await;
    let violation = "-ERR 'Permissions Violation for Publish to \"a.no.x\"'\r\n";
    assert_eq!(answers[1].matches(violation).count(), 2, "{answers:?}");
    assert!(answers[3].contains("for Publish to \"a.b\""), "{answers:?}");
}

#[tokio::test]
async fn queue_groups_by_name() {
    let Some(both) = Both::start(TOML, CONF).await else { return };
    let mut lines = vec![("queue", login("queue", "pw"))];
    for (sid, sub) in [
        "foo",
        "foo v1",
        "foo v2.a",
        "foo v2",
        "foo v3",
        "foo prod",
        "bar.x",
        "bar.x q",
        "bar.x q.r",
        "bar.x bad.1",
        "bar.> bad.1",
        "bar.> q",
        "bar.*",
        "foo _sys_",
    ]
    .iter()
    .enumerate()
    {
        lines.push(("queue", format!("SUB {sub} {sid}\r\n")));
    }
    lines.push(("all", login("all", "pw")));
    lines.push(("all", publish("foo") + &publish("bar.x") + &publish("bar.y")));
    let answers = both.play(&lines).await;
    let denied = "-ERR 'Permissions Violation for Subscription to \"foo\" using queue \"v3\"'\r\n";
    assert_eq!(answers[5], denied, "{answers:?}");
    assert_eq!(answers[1], "", "{answers:?}");
}

#[tokio::test]
async fn what_is_denied_is_kept_from_wide_subscriptions() {
    let Some(both) = Both::start(TOML, CONF).await else { return };
    let mut lines = vec![("wide", login("wide", "pw"))];
    lines.push(("wide", "SUB > 1\r\nSUB d.*.* 2\r\nSUB deep.secret 3\r\nSUB d.1.> q 4\r\nSUB d.1.no q 5\r\n".into()));
    lines.push(("all", login("all", "pw")));
    for subject in ["deep.secret", "deep.known", "d.1.no", "d.1.yes", "d.1.no.more"] {
        lines.push(("all", publish(subject)));
        lines.push(("wide", String::new()));
    }
    // Nobody gets it: whoever asked is told so.
    lines.push(("all", "SUB r 9\r\nPUB deep.secret r 0\r\n\r\n".into()));
    let mut sorted: Vec<String> = Vec::new();
    for address in both.addresses() {
        let mut all = super::play::Raw::connect(address).await;
        let mut wide = super::play::Raw::connect(address).await;
        all.say(&login("all", "pw")).await;
        wide.say(&login("wide", "pw")).await;
        let mut heard =
            wide.say("SUB > 1\r\nSUB d.*.* 2\r\nSUB deep.secret 3\r\nSUB d.1.> q 4\r\nSUB d.1.no q 5\r\n").await;
        all.say("SUB r 9\r\n").await;
        for subject in ["deep.secret", "deep.known", "d.1.no", "d.1.yes", "d.1.no.more"] {
            all.say(&publish(subject)).await;
            // Which of several subscriptions comes first is not said.
            let got = wide.say("").await;
            let mut messages: Vec<&str> = got.split("MSG ").collect();
            messages.sort_unstable();
            heard += &messages.join("MSG ");
        }
        heard += &all.say("PUB deep.secret r 0\r\n\r\n").await;
        sorted.push(heard);
    }
    assert_eq!(sorted[0], sorted[1], "first ours, then nats-server's");
    assert!(sorted[0].contains("deep.known") && !sorted[0].contains("MSG deep.secret"), "{sorted:?}");
    assert!(sorted[0].contains("NATS/1.0 503"), "{sorted:?}");
}

#[tokio::test]
async fn requests_may_be_answered() {
    let Some(both) = Both::start(TOML, CONF).await else { return };
    let mut lines = vec![("all", login("all", "pw")), ("all", "SUB back.> 1\r\n".into())];
    for user in ["service", "three"] {
        lines.push((user, login(user, "pw")));
        lines.push((user, "SUB req.* 1\r\n".into()));
        lines.push(("all", format!("PUB req.x back.{user} 1\r\nx\r\n")));
        lines.push((user, String::new()));
        lines.push((user, publish(&format!("back.{user}")) + &publish("back.other") + &publish("log.x")));
        lines.push((user, publish(&format!("back.{user}")).repeat(4)));
        lines.push(("all", String::new()));
        lines.push((user, "UNSUB 1\r\n".into()));
    }
    let answers = both.play(&lines).await;
    assert_eq!(answers[6].matches("-ERR").count(), 2, "{answers:?}");
    assert_eq!(answers[7].matches("-ERR").count(), 4, "{answers:?}");
    assert_eq!(answers[8].matches("MSG back.service").count(), 1, "{answers:?}");
    assert_eq!(answers[16].matches("MSG back.three").count(), 3, "{answers:?}");
}
