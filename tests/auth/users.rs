//! Users, tokens, nkeys, and those who say nothing.

use super::play::{Both, Raw, connect, login};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n(closed)";

/// `foo`, hashed with the least cost.
fn hash() -> String {
    bcrypt::hash("foo", 4).expect("hashes").replacen("$2b$", "$2a$", 1)
}

#[tokio::test]
async fn users_by_password_plain_and_hashed() {
    let hash = hash();
    let toml = format!(
        "[authorization]\nusers = [{{ user = \"a\", password = \"pw\" }}, {{ user = \"b\", password = \"{hash}\" }}, \
         {{ user = \"w\", password = \"pw\", allowed_connection_types = [\"WEBSOCKET\"] }}]"
    );
    let conf = format!(
        "authorization {{ users = [{{user: a, password: pw}}, {{user: b, password: \"{hash}\"}}, \
         {{user: w, password: pw, allowed_connection_types: [\"WEBSOCKET\"]}}] }}"
    );
    let Some(both) = Both::start(&toml, &conf).await else { return };
    for address in both.addresses() {
        let info = Raw::connect(address).await.info;
        assert_eq!((&info["auth_required"], &info["nonce"]), (&true.into(), &serde_json::Value::Null), "{info}");
    }
    let answers = both
        .play(&[
            ("a", login("a", "pw")),
            ("b", login("b", "foo")),
            ("a wrong", login("a", "pW")),
            ("b wrong", login("b", "bar")),
            ("b's hash", login("b", &hash)),
            ("w, elsewhere", login("w", "pw")),
            ("nobody", login("x", "pw")),
            ("silent", connect("")),
            ("empty", login("", "")),
            ("token", connect("\"auth_token\":\"pw\"")),
            ("no connect", String::new()),
            ("no connect, pub", "PUB a 1\r\nx\r\n".into()),
            ("new account", connect("\"user\":\"a\",\"pass\":\"pw\",\"account\":\"x\"")),
        ])
        .await;
    assert_eq!(answers[0], "INFO \"$G\" null true\r\n");
    assert_eq!(answers[0], answers[1]);
    assert!(answers[2..].iter().all(|answer| answer == VIOLATION), "{answers:?}");
}

#[tokio::test]
async fn one_user_or_one_token() {
    let hash = hash();
    for (toml, conf, right) in [
        ("user = \"u\"\npassword = \"pw\"".to_owned(), "user: u, password: pw".to_owned(), login("u", "pw")),
        (format!("user = \"u\"\npassword = \"{hash}\""), format!("user: u, password: \"{hash}\""), login("u", "foo")),
        ("token = \"t0k\"".to_owned(), "token: t0k".to_owned(), connect("\"auth_token\":\"t0k\"")),
        (format!("token = \"{hash}\""), format!("token: \"{hash}\""), connect("\"auth_token\":\"foo\"")),
    ] {
        let (toml, conf) = (format!("[authorization]\n{toml}"), format!("authorization {{ {conf} }}"));
        let Some(both) = Both::start(&toml, &conf).await else { return };
        let answers = both
            .play(&[
                ("right", right),
                ("wrong", login("u", "no")),
                ("wrong token", connect("\"auth_token\":\"no\"")),
                ("silent", connect("")),
            ])
            .await;
        assert_eq!(answers[0], "INFO \"$G\" null true\r\n", "{toml}");
        assert!(answers[1..].iter().all(|answer| answer == VIOLATION), "{toml}: {answers:?}");
    }
}

#[tokio::test]
async fn nkeys_sign_the_nonce() {
    let (key, other) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let public = key.public_key();
    let toml = format!("[authorization]\nusers = [{{ nkey = \"{public}\" }}]");
    let conf = format!("authorization {{ users = [{{nkey: {public}}}] }}");
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let signed = |key: &nkeys::KeyPair, nonce: &str| URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes()).expect("signs"));
    for address in both.addresses() {
        let mut heard = Vec::new();
        for case in 0..5 {
            let mut raw = Raw::connect(address).await;
            let nonce = raw.info["nonce"].as_str().expect("a nonce").to_owned();
            assert_eq!(nonce.len(), 15);
            let (user, sig) = match case {
                0 => (public.clone(), signed(&key, &nonce)),
                1 => (public.clone(), signed(&other, &nonce)),
                2 => (public.clone(), signed(&key, "yesterday's")),
                3 => (other.public_key(), signed(&other, &nonce)),
                _ => (public.clone(), String::new()),
            };
            heard.push(raw.say(&connect(&format!("\"nkey\":\"{user}\",\"sig\":\"{sig}\""))).await);
        }
        assert_eq!(heard[0], "INFO \"$G\" null true\r\n");
        assert!(heard[1..].iter().all(|answer| answer == VIOLATION), "{heard:?}");
    }
}

#[tokio::test]
async fn those_who_say_nothing_are_the_no_auth_user() {
    let toml = "[authorization]\nno_auth_user = \"guest\"\n\
        [accounts.A]\nusers = [{ user = \"guest\", password = \"x\", permissions = { publish = \"open.>\" } }]\n\
        [accounts.B]\nusers = [{ user = \"b\", password = \"pw\" }]\n\
        [accounts.S]\nusers = [{ user = \"s\", password = \"pw\" }]";
    let conf = "no_auth_user: guest\naccounts { \
        A { users = [{user: guest, password: x, permissions: {publish: \"open.>\"}}] }, \
        B { users = [{user: b, password: pw}] }, S { users = [{user: s, password: pw}] } }";
    let system = toml.replace("guest\"\n[", "guest\"\nsystem_account = \"S\"\n[");
    let Some(both) = Both::start(&system, &format!("{conf}\nsystem_account: S")).await else { return };
    let answers = both
        .play(&[
            ("guest", connect("")),
            ("guest", "SUB > 1\r\nPUB open.x 1\r\nx\r\nPUB shut 1\r\nx\r\n".into()),
            ("telnet", "SUB open.* 1\r\nPUB open.y 0\r\n\r\nPUB shut 0\r\n\r\n".into()),
            ("b", login("b", "pw")),
            ("b", "SUB > 1\r\nPUB open.z 0\r\n\r\n".into()),
            ("s", login("s", "pw")),
            ("guest", String::new()),
            ("wrong", login("guest", "y")),
            ("half", connect("\"user\":\"guest\"")),
            // Becomes somebody else; what it subscribed to before is gone.
            ("b", login("guest", "x")),
            ("b", "SUB open.q 2\r\nPUB open.q 0\r\n\r\nPUB open.r 0\r\n\r\n".into()),
        ])
        .await;
    assert_eq!(answers[0], "INFO \"A\" null true\r\n");
    assert!(answers[1].contains("-ERR 'Permissions Violation for Publish to \"shut\"'"), "{answers:?}");
    assert!(answers[2].contains("MSG open.y 1 0"), "{answers:?}");
    assert_eq!(answers[4], "MSG open.z 1 0\r\n\r\n");
    assert_eq!(answers[5], "INFO \"S\" true true\r\n");
    assert!(answers[6].contains("open.y") && !answers[6].contains("open.z"), "{answers:?}");
    assert_eq!(answers[7], VIOLATION);
    assert_eq!(answers[10], "MSG open.q 2 0\r\n\r\n");
}

#[tokio::test]
async fn who_says_nothing_at_all_is_sent_away() {
    let user = "user = \"u\"\npassword = \"pw\"";
    let toml = format!("[authorization]\n{user}\ntimeout = \"200ms\"");
    let Some(both) = Both::start(&toml, "authorization { user: u, password: pw, timeout: 0.2 }").await else { return };
    for address in both.addresses() {
        let mut raw = Raw::connect(address).await;
        assert_eq!(raw.rest().await, "-ERR 'Authentication Timeout'\r\n(closed)");
    }
}
