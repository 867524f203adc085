//! Clients by WebSocket: by whose credentials they come, and what INFO says to them, at leafd and at nats-server.

use super::common::LIMIT;
use super::jwt::{limits, sign};
use super::play::{Both, connect};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A bare connection by WebSocket.
struct Browser {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Browser {
    /// With these cookies.
    async fn open(url: &str, cookies: &str) -> Browser {
        let address = url.rsplit('/').next().expect("an address");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{cookies}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut browser = Browser { stream, got: Vec::new() };
        let end = browser.until(|got| got.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)).await;
        let head = String::from_utf8_lossy(&browser.got[..end]).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        browser.got.drain(..end);
        browser
    }

    /// Reads until `found` finds something; 0 at the end of the connection.
    async fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> usize {
        loop {
            if let Some(at) = found(&self.got) {
                return at;
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.got)).await.expect("in time");
            if matches!(read, Ok(0) | Err(_)) {
                return 0;
            }
        }
    }

    /// The next frame's text; empty if the server closes.
    async fn frame(&mut self) -> String {
        let whole = |got: &[u8]| match got {
            [_, 126, a, b, ..] => Some((4, usize::from(*a) << 8 | usize::from(*b))),
            [_, short, ..] if *short < 126 => Some((2, usize::from(*short))),
            _ => None,
        };
        let end = self.until(|got| whole(got).map(|(head, size)| head + size).filter(|end| got.len() >= *end)).await;
        if end == 0 || self.got[0] & 0x0f == 8 {
            return String::new();
        }
        let (head, _) = whole(&self.got).expect("whole");
        let text = String::from_utf8_lossy(&self.got[head..end]).into_owned();
        self.got.drain(..end);
        text
    }

    /// What comes until a PONG or the end.
    async fn say(&mut self, text: &str) -> String {
        let text = format!("{text}PING\r\n");
        let mut frame = vec![0x82, 0xfe, (text.len() >> 8) as u8, text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        let _ = self.stream.write_all(&frame).await;
        let mut all = String::new();
        while !all.contains("PONG") {
            match self.frame().await {
                part if part.is_empty() => return all + "(closed)",
                part => all += &part,
            }
        }
        all
    }
}

/// What both say to one with these cookies and this CONNECT, INFO aside; and INFO.
async fn visit(both: &Both, cookies: &str, members: &str) -> (String, Vec<Value>) {
    let (mut said, mut infos) = (Vec::new(), Vec::new());
    for url in both.ports("websocket") {
        let mut browser = Browser::open(&url, cookies).await;
        let info = browser.frame().await;
        let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").expect("INFO")).expect("JSON");
        infos.push(info);
        let text = format!("{}SUB own 1\r\nPUB own 1\r\nx\r\nSUB open 2\r\nPUB open 1\r\ny\r\n", connect(members));
        // INFO comes once more behind the first PONG.
        let all = browser.say(&text).await;
        said.push(all.split("INFO ").next().unwrap_or_default().to_owned());
    }
    assert_eq!(said[0], said[1], "{cookies:?} {members:?}; first ours, then nats-server's");
    (said.remove(0), infos)
}

#[tokio::test]
async fn who_says_nothing_is_the_user_for_browsers() {
    let toml = r#"[jetstream]
enabled = false
[authorization]
no_auth_user = "anybody"
users = [{ user = "anybody", password = "pw" }, { user = "browser", password = "pw", permissions = { publish = "open", subscribe = "open" } }]
[websocket]
port = 0
no_tls = true
no_auth_user = "browser"
user_cookie = "u"
pass_cookie = "p""#;
    let conf = r#"no_auth_user: anybody
authorization { users = [{user: anybody, password: pw}, {user: browser, password: pw, permissions: {publish: open, subscribe: open}}] }
websocket { listen: "127.0.0.1:-1", no_tls: true, no_auth_user: browser, user_cookie: u, pass_cookie: p }"#;
    let Some(both) = Both::start(toml, conf).await else { return };
    let (silent, infos) = visit(&both, "", "").await;
    assert!(silent.contains("Permissions Violation for Publish to \"own\"") && silent.contains("MSG open"), "{silent}");
    let keys = |info: &Value| info.as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&infos[0]), keys(&infos[1]), "INFO");
    let (by_cookie, _) = visit(&both, "u=anybody; p=pw", "").await;
    assert!(by_cookie.contains("MSG own"), "{by_cookie}");
    visit(&both, "u=anybody; p=wrong", "").await;
    visit(&both, "u=anybody; p=wrong", "\"user\":\"browser\",\"pass\":\"pw\"").await;
}

#[tokio::test]
async fn a_cookie_may_carry_a_token_or_a_jwt() {
    let toml = "[authorization]\ntoken = \"s3cret\"\n[websocket]\nport = 0\nno_tls = true\ntoken_cookie = \"t\"";
    let conf = "authorization { token: s3cret }\nwebsocket { listen: \"127.0.0.1:-1\", no_tls: true, token_cookie: t }";
    let Some(both) = Both::start(toml, conf).await else { return };
    assert!(visit(&both, "t=s3cret", "").await.0.contains("MSG own"));
    assert!(visit(&both, "t=other", "").await.0.contains("Authorization Violation"));

    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let op = sign(&operator, &operator.public_key(), "operator", json!({}));
    let known = sign(&operator, &account.public_key(), "account", json!({"nats": {"limits": limits()}}));
    let key = account.public_key();
    let toml = format!(
        "[authorization]\noperator = [\"{op}\"]\nresolver_preload = {{ {key} = \"{known}\" }}\n[websocket]\nport = 0\nno_tls = true\njwt_cookie = \"j\""
    );
    let conf = format!(
        "operator: {op}\nresolver: MEMORY\nresolver_preload {{ {key}: {known} }}\nwebsocket {{ listen: \"127.0.0.1:-1\", no_tls: true, jwt_cookie: j }}"
    );
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let bearer = sign(&account, &user.public_key(), "user", json!({"nats": {"bearer_token": true}}));
    assert!(visit(&both, &format!("j={bearer}"), "").await.0.contains("MSG own"));
    assert!(visit(&both, "j=nothing", "").await.0.contains("Authorization Violation"));
}
