//! Stream exports and imports.

use super::common::Leafd;
use super::play::{Both, Raw};
use super::{accounts, of};

fn publish(subjects: &[&str]) -> String {
    subjects.iter().map(|subject| format!("PUB {subject} 1\r\nx\r\n")).collect()
}

#[tokio::test]
async fn messages_come_under_the_subjects_of_the_importer() {
    let (toml, conf) = accounts(&[
        (
            "A",
            r#"exports = [{ stream = "events.>" }, { stream = "one.*.two.*" }, { stream = "plain" }, { stream = "only.b", accounts = ["B"] },
                { stream = "by.*.token", account_token_position = 2 }]"#,
        ),
        (
            "B",
            r#"imports = [{ stream = { account = "A", subject = "events.>" }, prefix = "from.a" },
                { stream = { account = "A", subject = "one.*.two.*" }, to = "two.$2.one.$1" },
                { stream = { account = "A", subject = "plain" }, to = "renamed.here" },
                { stream = { account = "A", subject = "only.b" } },
                { stream = { account = "A", subject = "by.B.token" } }]"#,
        ),
        ("C", r#"imports = [{ stream = { account = "A", subject = "events.*.x" } }]"#),
    ]);
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let all = publish(&[
        "events.1",
        "events.1.x",
        "events.1.x.y",
        "one.a.two.b",
        "plain",
        "only.b",
        "by.B.token",
        "by.C.token",
        "secret",
    ]);
    let answers = both
        .play(&[
            ("a", of("a")),
            ("all", of("b") + "SUB > 1\r\n"),
            (
                "narrow",
                of("b") + "SUB from.a.events.1 1\r\nSUB from.*.events.*.x 2\r\nSUB two.b.> 3\r\nSUB *.here 4\r\n",
            ),
            ("swapped", of("b") + "SUB two.b.one.* 1\r\nSUB two.*.one.a 2\r\nSUB two.c.one.a 3\r\nSUB events.1 4\r\n"),
            ("c", of("c") + "SUB > 1\r\nSUB events.1.x 2\r\nSUB events.2.x 3\r\n"),
            ("a", all.clone()),
            ("all", String::new()),
            ("narrow", String::new()),
            ("swapped", String::new()),
            ("c", String::new()),
            // Interest that is gone, limited, or in groups.
            ("narrow", "UNSUB 1\r\nSUB events.> 5\r\nSUB renamed.> g 6\r\nSUB renamed.> g 7\r\n".into()),
            ("swapped", "UNSUB 2\r\nSUB only.b 5\r\n".into()),
            ("a", all.clone() + &all),
            ("all", String::new()),
            ("swapped", String::new()),
            ("c", "UNSUB 1\r\nUNSUB 2\r\n".into()),
            ("a", all),
            ("c", String::new()),
            // Nothing goes back.
            ("a", "SUB > 1\r\n".into()),
            ("all", publish(&["from.a.events.1", "plain", "only.b"])),
            ("a", String::new()),
        ])
        .await;
    assert_eq!(answers[6].matches("MSG").count(), 7, "{}", answers[6]);
    assert!(answers[7].starts_with("MSG from.a.events.1 1 1\r\nx\r\nMSG from.a.events.1.x 2 1\r\n"), "{}", answers[7]);
    assert_eq!(answers.last().map(String::as_str), Some(""));
}

#[tokio::test]
async fn groups_of_importer_and_exporter_are_one() {
    let (toml, conf) = accounts(&[
        ("A", r#"exports = [{ stream = "work" }]"#),
        ("B", r#"imports = [{ stream = { account = "A", subject = "work" }, to = "jobs" }]"#),
    ]);
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for address in both.addresses() {
        let mut speakers = Vec::new();
        for (user, sub) in [("a", "SUB work g 1\r\n"), ("b", "SUB jobs g 1\r\n"), ("b", "SUB jobs g 1\r\n")] {
            let mut raw = Raw::connect(address).await;
            raw.say(&(of(user) + sub)).await;
            speakers.push(raw);
        }
        let mut publisher = Raw::connect(address).await;
        publisher.say(&(of("a") + &publish(&["work"; 60]))).await;
        let mut counts = Vec::new();
        for raw in &mut speakers {
            counts.push(raw.say("").await.matches("MSG").count());
        }
        assert_eq!(counts.iter().sum::<usize>(), 60, "{address}: {counts:?}");
        assert!(counts.iter().all(|count| *count > 0), "{address}: {counts:?}");
    }
}

#[tokio::test]
async fn a_reload_changes_what_is_shared_for_those_who_are_connected() {
    let shared = |prefix: &str| {
        let import = format!(r#"imports = [{{ stream = {{ account = "A", subject = "x" }}, prefix = "{prefix}" }}]"#);
        accounts(&[("A", r#"exports = [{ stream = "x" }]"#), ("B", &import)]).0
    };
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), &shared("old"));
    leafd.start();
    let address = leafd.clients.expect("it listens");
    let (mut a, mut b) = (Raw::connect(address).await, Raw::connect(address).await);
    b.say(&(of("b") + "SUB > 1\r\n")).await;
    a.say(&(of("a") + &publish(&["x"]))).await;
    assert_eq!(b.say("").await, "MSG old.x 1 1\r\nx\r\n");
    for (config, want) in [(shared("new"), "MSG new.x 1 1\r\nx\r\n"), (accounts(&[("A", ""), ("B", "")]).0, "")] {
        let before = leafd.log().len();
        leafd.configure(&config);
        leafd.hup();
        leafd.wait_log("configuration read again", before);
        a.say(&publish(&["x"])).await;
        assert_eq!(b.say("").await, want);
    }
}
