//! Origins of web pages: scheme, host and port (RFC 6454).

use std::fmt;

/// Scheme, host and port of a web page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    host: String,
    port: u16,
}

/// Not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin such as \"https://example.com\" or \"http://localhost:8080\"")]
pub struct OriginError(String);

impl Origin {
    /// `http://host`, `https://host:port`, ...
    pub fn parse(text: &str) -> Result<Origin, OriginError> {
        let failed = || OriginError(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(failed)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(failed()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Origin::of_host(secure, authority).ok_or_else(failed)
    }

    /// What a page has that came from the server at `host`, as in the header Host, by HTTP or HTTPS.
    pub fn of_host(secure: bool, host: &str) -> Option<Origin> {
        let default = if secure { 443 } else { 80 };
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
            _ => (host, default),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        (!name.is_empty()).then(|| Origin { secure, host: name.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_belongs_to_the_scheme() {
        let origin = |text| Origin::parse(text).expect("an origin").to_string();
        assert_eq!(origin("http://Example.com"), "http://example.com:80");
        assert_eq!(origin("https://example.com/page?x#y"), "https://example.com:443");
        assert_eq!(origin("HTTPS://[::1]:8443"), "https://::1:8443");
        assert_eq!(origin("http://[::1]"), "http://::1:80");
        for text in
            ["", "null", "example.com", "ftp://example.com", "http://", "http://:80", "http://a:b", "http://a:70000"]
        {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
