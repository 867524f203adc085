//! Where a hub is: `scheme://[user[:password]@]host[:port][/path]`.

use super::DialError;
use crate::config::percent;

const DEFAULT_PORT: u16 = 7422;

/// A place to dial.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// TLS whatever the hub's INFO says.
    pub tls: bool,
    /// By WebSocket.
    pub websocket: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Who we are there, before what the remote says; without a password it is a token.
    pub login: Option<Login>,
    /// Of a WebSocket; empty, or with a slash at its beginning and none at its end.
    pub path: String,
}

/// User and password of a URL, decoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name, or a token.
    pub user: String,
    /// Password of the user.
    pub password: Option<String>,
}

impl Url {
    /// Reads it. Without a port it is 7422, whatever the scheme, as in nats-server.
    pub fn parse(text: &str) -> Result<Url, DialError> {
        // A password has no place in a log.
        let bad = || DialError::Url(bare(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let (tls, websocket) = match scheme {
            "tls" => (true, false),
            "nats-leaf" | "nats" | "leaf" => (false, false),
            "wss" => (true, true),
            "ws" => (false, true),
            _ => return Err(bad()),
        };
        let (rest, path) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        if !path.is_empty() && !websocket || path.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(bad());
        }
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        let login = login.map(|login| {
            let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
            Login { user: percent::decoded(user), password: password.map(percent::decoded) }
        });
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control()) {
            return Err(bad());
        }
        let port = port.map_or(Ok(DEFAULT_PORT), |p| p.parse().map_err(|_| bad()))?;
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Url { tls, websocket, host: host.to_owned(), port, login, path })
    }

    /// Whether both are the same place, whoever we are there.
    pub fn is_at(&self, other: &Url) -> bool {
        Url { login: None, ..self.clone() } == Url { login: None, ..other.clone() }
    }

    /// `host:port`, with an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let brackets = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{}{}{}:{}", brackets.0, self.host, brackets.1, self.port)
    }

    fn scheme(&self) -> &'static str {
        match (self.websocket, self.tls) {
            (false, false) => "nats-leaf",
            (false, true) => "tls",
            (true, false) => "ws",
            (true, true) => "wss",
        }
    }
}

/// A URL without user and password.
pub fn bare(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned(),
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, want) in [
            ("tls://hub:1234", "tls://hub:1234"),
            ("nats://hub", "nats-leaf://hub:7422"),
            ("nats-leaf://[::1]:7", "nats-leaf://[::1]:7"),
            ("tls://[::1]/", "tls://[::1]:7422"),
            ("ws://hub:80", "ws://hub:80"),
            ("wss://hub:443/a/b/", "wss://hub:443/a/b"),
        ] {
            assert_eq!(Url::parse(text).map(|u| u.to_string()).ok().as_deref(), Some(want), "{text}");
        }
        for (text, user, password) in
            [("tls://u%40x:p%3a%40@hub:1", "u@x", Some("p:@")), ("tls://token@hub:1", "token", None)]
        {
            let url = Url::parse(text).expect("valid");
            let login = url.login.as_ref().expect("has one");
            assert_eq!((login.user.as_str(), login.password.as_deref()), (user, password));
            assert_eq!(url.to_string(), "tls://hub:1");
            assert!(url.is_at(&Url::parse("tls://hub:1").expect("valid")));
        }
        assert!(Url::parse("x://u:secret@hub").is_err_and(|e| !e.to_string().contains("secret")));
        for bad in
            ["hub:7422", "http://hub", "tls://", "tls://hub:x", "tls://hub:99999", "tls://hub:1/path", "ws://hub/a b"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
