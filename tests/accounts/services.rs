//! Service exports and imports.

use super::play::{Both, Raw};
use super::{accounts, nobody, of, plainly};

/// One request and its answers, with what is random made plain.
struct Case {
    /// Who serves, with its subscription.
    server: (&'static str, &'static str),
    /// Who asks, with its subscription and request.
    client: (&'static str, &'static str),
    /// What the server answers to each reply subject, one after the other; `REPLY` stands for it.
    answers: &'static [&'static str],
}

/// What server and client heard, `_R_` subjects and round-trip times made plain.
async fn heard(both: &Both, case: &Case) -> String {
    let mut sides = Vec::new();
    for address in both.addresses() {
        let (mut server, mut client) = (Raw::connect(address).await, Raw::connect(address).await);
        let mut text = server.say(&(of(case.server.0) + case.server.1)).await;
        text += "-> ";
        text += &client.say(&(of(case.client.0) + case.client.1)).await;
        let request = server.say("").await;
        let reply = request.split_ascii_whitespace().find(|word| word.starts_with("_R_.")).unwrap_or("none").to_owned();
        text += &format!("service: {}", plain(&request, &reply));
        for answer in case.answers {
            text += &format!("answered: {}", plain(&server.say(&answer.replace("REPLY", &reply)).await, &reply));
            text += &format!("client: {}", plain(&client.say("").await, &reply));
        }
        sides.push(text);
    }
    assert_eq!(sides[0], sides[1], "first ours, then nats-server's");
    sides.swap_remove(0)
}

fn plain(text: &str, reply: &str) -> String {
    let text = text.replace(reply, "REPLY");
    let mut out = String::new();
    // Sizes differ with the round-trip time in the header, so both go.
    for line in text.split_inclusive("\r\n") {
        match (line.split_once(",\"rtt\":"), line.strip_prefix("HMSG ")) {
            (Some((before, after)), _) => {
                out += before;
                out += after.trim_start_matches(|c: char| c.is_ascii_digit());
            }
            (None, Some(rest)) => {
                let words: Vec<_> = rest.split_ascii_whitespace().collect();
                out += &format!("HMSG {}\r\n", words[..words.len().saturating_sub(2)].join(" "));
            }
            (None, None) => out += line,
        }
    }
    out
}

fn shared() -> (String, String) {
    accounts(&[
        (
            "S",
            r#"exports = [{ service = "one" }, { service = "svc.*.v.*" }, { service = "all.>" },
                { service = "many", response_type = "stream" }, { service = "chunks", response_type = "chunked" },
                { service = "private", accounts = ["C"] }]"#,
        ),
        (
            "C",
            r#"imports = [{ service = { account = "S", subject = "one" } },
                { service = { account = "S", subject = "svc.*.v.*" }, to = "ask.$2.$1" },
                { service = { account = "S", subject = "all.>" } },
                { service = { account = "S", subject = "many" }, to = "many.now" },
                { service = { account = "S", subject = "chunks" } },
                { service = { account = "S", subject = "private" }, to = "mine" }]"#,
        ),
    ])
}

#[tokio::test]
async fn requests_and_answers_cross() {
    let (toml, conf) = shared();
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for (sub, subject, arrives) in [
        ("SUB > 1\r\n", "one", "one"),
        ("SUB svc.> 1\r\n", "ask.x.y", "svc.y.v.x"),
        ("SUB all.a.b g 1\r\n", "all.a.b", "all.a.b"),
        ("SUB * 1\r\n", "mine", "private"),
    ] {
        for request in [
            format!("PUB {subject} in 1\r\n?\r\n"),
            format!("HPUB {subject} in 22 23\r\nNATS/1.0\r\nX-Y: zzz\r\n\r\n?\r\n"),
        ] {
            let client: &'static str = format!("SUB in 7\r\n{request}").leak();
            let case = Case {
                server: ("s", sub),
                client: ("c", client),
                answers: &["PUB REPLY 1\r\n!\r\n", "PUB REPLY 1\r\n!\r\n"],
            };
            let text = heard(&both, &case).await;
            assert!(text.contains(&format!("HMSG {arrives} 1 REPLY\r\n")), "{text}");
            assert!(text.contains("MSG in 7 1\r\n!\r\n"), "{text}");
        }
    }
}

#[tokio::test]
async fn several_answers_where_the_service_says_so() {
    let (toml, conf) = shared();
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for client in ["SUB in 7\r\nPUB many.now in 1\r\n?\r\n", "SUB in 7\r\nPUB chunks in 1\r\n?\r\n"] {
        let answers = &["PUB REPLY 1\r\na\r\n", "PUB REPLY 1\r\nb\r\n", "PUB REPLY 0\r\n\r\n", "PUB REPLY 1\r\nc\r\n"];
        let text = heard(&both, &Case { server: ("s", "SUB > 1\r\n"), client: ("c", client), answers }).await;
        assert_eq!(text.matches("MSG in 7").count(), 3, "{text}");
    }
}

#[tokio::test]
async fn answers_that_nobody_waits_for_end_the_request() {
    let (toml, conf) = shared();
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let client = "SUB in 7\r\nUNSUB 7 1\r\nPUB many.now in 1\r\n?\r\n";
    let answers = &["PUB REPLY 1\r\na\r\n", "PUB REPLY back 1\r\nb\r\n", "SUB back 9\r\nPUB REPLY back 1\r\nc\r\n"];
    heard(&both, &Case { server: ("s", "SUB > 1\r\n"), client: ("c", client), answers }).await;
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let (toml, conf) = shared();
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let answers = both
        .play(&[
            ("c", of("c") + "SUB in 1\r\nPUB one in 0\r\n\r\nPUB ask.1.2 in 0\r\n\r\nPUB one 0\r\n\r\n"),
            ("old", plainly("c") + "SUB in 1\r\nPUB one in 0\r\n\r\n"),
            ("guest", nobody()),
        ])
        .await;
    assert_eq!(answers[0].matches("HMSG in 1").count(), 2, "{}", answers[0]);
}

#[tokio::test]
async fn requests_go_on_through_a_third_account() {
    let (toml, conf) = accounts(&[
        ("S", r#"exports = [{ service = "deep.*" }]"#),
        (
            "M",
            r#"exports = [{ service = "mid.*" }, { stream = "seen.>" }]
imports = [{ service = { account = "S", subject = "deep.*" }, to = "mid.*" }]
mappings = { "mid.old" = "mid.new" }"#,
        ),
        ("C", r#"imports = [{ service = { account = "M", subject = "mid.*" }, to = "near.*" }]"#),
    ]);
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for subject in ["near.x", "near.old"] {
        let client: &'static str = format!("SUB in 7\r\nPUB {subject} in 1\r\n?\r\n").leak();
        let case =
            Case { server: ("s", "SUB deep.> 1\r\n"), client: ("c", client), answers: &["PUB REPLY 1\r\n!\r\n"] };
        let text = heard(&both, &case).await;
        assert!(text.contains("\"svc\":\"M\"") && text.contains("MSG in 7 1\r\n!\r\n"), "{text}");
    }
}

#[tokio::test]
async fn what_came_as_a_request_is_not_exported_as_a_stream() {
    let (toml, conf) = accounts(&[
        ("S", r#"exports = [{ service = "both.>" }, { stream = "both.>" }]"#),
        (
            "C",
            r#"imports = [{ service = { account = "S", subject = "both.>" }, to = "ask.>" }, { stream = { account = "S", subject = "both.>" } }]"#,
        ),
    ]);
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let answers = both
        .play(&[
            ("c", of("c") + "SUB both.> 1\r\nSUB in 2\r\nPUB ask.x in 0\r\n\r\n"),
            ("s", of("s") + "SUB both.y 3\r\nPUB both.x 0\r\n\r\n"),
            ("c", "PUB ask.y 0\r\n\r\n".into()),
        ])
        .await;
    assert!(answers[2].contains("MSG both.x 1 0"), "{answers:?}");
}

#[tokio::test]
async fn a_client_cannot_have_answers_sent_where_servers_want_them() {
    let (toml, conf) = shared();
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let replies = ["_R_.x.y", "_R_.", "_R_x", "$JS.ACK.a", "$JS.ACK.", "_GR_.x", "_INBOX._R_.x"];
    let requests: String = replies.iter().map(|reply| format!("PUB any {reply} 1\r\nx\r\n")).collect();
    let answers = both.play(&[("c", of("c") + "SUB any 1\r\n" + &requests)]).await;
    assert_eq!(
        answers[0].matches("-ERR 'Permissions Violation for Publish with Reply of").count(),
        4,
        "{}",
        answers[0]
    );
}
