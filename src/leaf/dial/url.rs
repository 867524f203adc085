//! Where a hub is: `scheme://host[:port][/path]`.

use super::DialError;

const DEFAULT_PORT: u16 = 7422;

/// A place to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// TLS whatever the hub's INFO says.
    pub tls: bool,
    /// By WebSocket.
    pub websocket: bool,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Of a WebSocket; empty, or with a slash at its beginning and none at its end.
    pub path: String,
}

impl Url {
    /// Reads it. Without a port it is 7422, whatever the scheme, as in nats-server.
    pub fn parse(text: &str) -> Result<Url, DialError> {
        let bad = || DialError::Url(text.to_owned());
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
        Ok(Url { tls, websocket, host: host.to_owned(), port, path })
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
        for bad in [
            "hub:7422",
            "http://hub",
            "tls://",
            "tls://u:p@hub:1",
            "tls://hub:x",
            "tls://hub:99999",
            "tls://hub:1/path",
            "ws://hub/a b",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
