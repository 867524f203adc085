//! The upgrade from HTTP to WebSocket, with the checks of RFC 6455, 4.2 (nats-server `wsUpgrade`).

use super::origin::Origins;
use crate::protocol::Connect;
use crate::system::http::{Request, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use std::net::IpAddr;

/// Appended to the client's key (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const DEFLATE: &str = "permessage-deflate";
/// What is offered and granted of compression: each message on its own.
pub const DEFLATE_OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// Header by which masking is left out (nats-server `wsNoMaskingHeader`).
pub const NO_MASKING: &str = "Nats-No-Masking";

/// Names of the cookies that carry credentials.
#[derive(Clone, Debug, Default)]
pub struct CookieNames {
    /// User JWT.
    pub jwt: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Token.
    pub token: Option<String>,
}

/// What an upgrade may bring.
#[derive(Clone, Debug, Default)]
pub struct UpgradeRules {
    /// Pages that may connect.
    pub origins: Origins,
    /// Whether compression is granted to clients that ask for it.
    pub compression: bool,
    /// Whether leaf nodes are taken.
    pub leafs: bool,
    /// Where credentials may be.
    pub cookies: CookieNames,
}

/// An upgrade that is granted.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The answer, as sent.
    pub answer: String,
    /// What the client sends is masked. A client may ask to leave it out.
    pub masked: bool,
    /// Messages may be compressed.
    pub compression: bool,
    /// The client is a browser.
    pub browser: bool,
    /// Who it is.
    pub visitor: Visitor,
    /// It is a leaf node.
    pub leaf: bool,
}

/// What the request said of the client.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// The client's address as a proxy saw it.
    pub forwarded_for: Option<IpAddr>,
    jwt: Option<String>,
    user: Option<String>,
    pass: Option<String>,
    token: Option<String>,
}

impl Visitor {
    /// Fills in from the cookies what CONNECT leaves out.
    pub fn complete(&self, connect: &mut Connect) {
        for (field, cookie) in [
            (&mut connect.jwt, &self.jwt),
            (&mut connect.user, &self.user),
            (&mut connect.pass, &self.pass),
            (&mut connect.auth_token, &self.token),
        ] {
            if field.as_deref().is_none_or(str::is_empty) {
                field.clone_from(cookie);
            }
        }
    }
}

/// An upgrade that is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("websocket handshake error: {reason}")]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// For the log.
    pub reason: String,
}

impl Refusal {
    fn new(status: u16, reason: impl Into<String>) -> Refusal {
        Refusal { status, reason: reason.into() }
    }

    /// The client did not wait for the answer.
    pub fn early() -> Refusal {
        Refusal::new(400, "client sent data before handshake is complete")
    }

    /// What the client gets.
    pub fn answer(&self) -> Response {
        let headers = vec![("Sec-WebSocket-Version", "13".to_owned())];
        Response { headers, ..Response::status(self.status) }
    }
}

/// Whether `request`, which came by TLS if `secure`, becomes a WebSocket connection of a client.
pub fn upgrade(request: &Request, rules: &UpgradeRules, secure: bool) -> Result<Upgrade, Refusal> {
    let leaf = request.path.ends_with("/leafnode");
    for (refused, what) in [(leaf && !rules.leafs, "leaf nodes"), (request.path.ends_with("/mqtt"), "MQTT")] {
        if refused {
            return Err(Refusal::new(404, format!("{what} over WebSocket is not offered")));
        }
    }
    if request.method != "GET" {
        return Err(Refusal::new(405, "request method must be GET"));
    }
    let bad = |reason| Refusal::new(400, reason);
    let host = request.header("Host").filter(|host| !host.is_empty()).ok_or(bad("'Host' missing in request"))?;
    if !request.lists("Upgrade", "websocket") {
        return Err(bad("invalid value for header 'Upgrade'"));
    }
    if !request.lists("Connection", "Upgrade") {
        return Err(bad("invalid value for header 'Connection'"));
    }
    let key = request.header("Sec-WebSocket-Key").filter(|key| !key.is_empty()).ok_or(bad("key missing"))?;
    if STANDARD.decode(key).map_or(0, |key| key.len()) != 16 {
        return Err(bad("invalid websocket key"));
    }
    if !request.lists("Sec-WebSocket-Version", "13") {
        return Err(bad("invalid version"));
    }
    let origin = request.header("Origin").or(request.header("Sec-WebSocket-Origin")).filter(|o| !o.is_empty());
    let allowed = rules.origins.check(origin, secure, host);
    allowed.map_err(|reason| Refusal::new(403, format!("origin not allowed: {reason}")))?;
    let compression = rules.compression && offers_deflate(request);
    let unmasked = request.header(NO_MASKING) == Some("true");
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        accept_key(key)
    );
    if compression {
        answer.push_str(&format!("Sec-WebSocket-Extensions: {DEFLATE_OFFER}\r\n"));
    }
    if unmasked {
        answer.push_str(&format!("{NO_MASKING}: true\r\n"));
    }
    answer.push_str("\r\n");
    Ok(Upgrade {
        answer,
        masked: !unmasked,
        compression,
        browser: request.header("User-Agent").is_some_and(|agent| agent.starts_with("Mozilla/")),
        visitor: visitor(request, &rules.cookies),
        leaf,
    })
}

fn visitor(request: &Request, names: &CookieNames) -> Visitor {
    let cookie = |name: &Option<String>| {
        let name = name.as_deref()?;
        request.cookies().find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
    };
    Visitor {
        forwarded_for: request.header("X-Forwarded-For").and_then(|address| address.parse().ok()),
        jwt: cookie(&names.jwt),
        user: cookie(&names.user),
        pass: cookie(&names.pass),
        token: cookie(&names.token),
    }
}

fn offers_deflate(request: &Request) -> bool {
    let mut extensions = request.values("Sec-WebSocket-Extensions").flat_map(|value| value.split(','));
    extensions.any(|e| e.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(DEFLATE)))
}

/// What a server answers to a client's key.
pub fn accept_key(key: &str) -> String {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl Fn(String) -> String) -> Request {
        let text = "GET / HTTP/1.1\r\nHost: h:80\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: http://h\r\nCookie: u=alice; p=secret\r\n\r\n";
        let text = change(text.to_owned());
        Request::parse(text.as_bytes()).expect("valid").expect("whole").0
    }

    fn refused(rules: &UpgradeRules, change: impl Fn(String) -> String) -> (u16, String) {
        let refusal = upgrade(&request(change), rules, false).expect_err("refused");
        (refusal.status, refusal.reason)
    }

    #[test]
    fn the_answer_is_that_of_the_standard() {
        let granted = upgrade(&request(|r| r), &UpgradeRules::default(), false).expect("granted");
        assert!(granted.answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!granted.answer.contains("Extensions") && granted.masked && !granted.compression && !granted.browser);
        let rules = UpgradeRules { compression: true, ..UpgradeRules::default() };
        let asked = request(|r| r.replace("Cookie", "Nats-No-Masking: true\r\nUser-Agent: Mozilla/5.0\r\nCookie"));
        let granted = upgrade(&asked, &rules, false).expect("granted");
        assert!(granted.answer.contains("permessage-deflate") && granted.answer.contains("Nats-No-Masking: true\r\n"));
        assert!(granted.compression && granted.browser && !granted.masked);
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        let rules = UpgradeRules::default();
        for (from, to, status, reason) in [
            ("GET", "POST", 405, "request method must be GET"),
            ("Host: h:80", "Host:", 400, "'Host' missing in request"),
            ("WebSocket\r", "h2c\r", 400, "invalid value for header 'Upgrade'"),
            ("keep-alive, Upgrade", "keep-alive", 400, "invalid value for header 'Connection'"),
            ("Sec-WebSocket-Key", "X", 400, "key missing"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "invalid websocket key"),
            ("Version: 13", "Version: 8", 400, "invalid version"),
            ("GET / ", "GET /leafnode ", 404, "leaf nodes over WebSocket is not offered"),
        ] {
            assert_eq!(refused(&rules, |r| r.replacen(from, to, 1)), (status, reason.to_owned()));
        }
        let same = UpgradeRules { origins: Origins { same: true, allowed: vec![] }, ..rules };
        assert!(upgrade(&request(|r| r), &same, false).is_ok());
        assert_eq!(refused(&same, |r| r.replace("Origin: http://h", "Origin: http://evil.example")).0, 403);
    }

    #[test]
    fn cookies_fill_in_what_connect_leaves_out() {
        let cookies = CookieNames { user: Some("u".into()), pass: Some("p".into()), ..CookieNames::default() };
        let rules = UpgradeRules { cookies, ..UpgradeRules::default() };
        let visitor = upgrade(&request(|r| r), &rules, false).expect("granted").visitor;
        let mut connect = Connect { pass: Some("own".into()), user: Some(String::new()), ..Connect::default() };
        visitor.complete(&mut connect);
        assert_eq!((connect.user.as_deref(), connect.pass.as_deref()), (Some("alice"), Some("own")));
        assert_eq!((connect.jwt, connect.auth_token), (None, None));
    }
}
