//! `proxy` of a leaf remote: through what the hub is dialled.

use super::secret::Secret;
use super::units::Duration;
use serde::Deserialize;
use std::path::PathBuf;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Http,
    /// HTTP CONNECT inside TLS.
    Https,
    /// SOCKS5.
    Socks5,
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Text")]
pub struct ProxyConfig {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User name.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// PEM file of the certificate authorities of an `https` proxy; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// How long it may take until the hub is connected.
    pub timeout: Option<Duration>,
}

impl ProxyConfig {
    /// For log lines.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    url: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<Secret>,
    #[serde(default)]
    ca_file: Option<PathBuf>,
    #[serde(default)]
    timeout: Option<Duration>,
}

impl TryFrom<Text> for ProxyConfig {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let bad = || {
            // There may be a password in it.
            let url = text.url.rsplit_once('@').map_or(text.url.clone(), |(_, rest)| format!("...@{rest}"));
            format!(
                "{url:?} is no proxy URL: write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, user and password apart"
            )
        };
        let (scheme, rest) = text.url.split_once("://").ok_or_else(bad)?;
        let (kind, usual) = match scheme {
            "http" => (ProxyKind::Http, 80),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            "https" => (ProxyKind::Https, 443),
            _ => return Err(bad()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() || host.contains(['@', '/', ' ']) {
            return Err(bad());
        }
        let port = port.map_or(Some(usual), |port| port.parse().ok()).ok_or_else(bad)?;
        if text.user.is_some() != text.password.is_some() {
            return Err("user and password of a proxy go together".into());
        }
        if text.ca_file.is_some() && kind != ProxyKind::Https {
            return Err("ca_file is for an https:// proxy".into());
        }
        let Text { user, password, ca_file, timeout, .. } = text;
        Ok(ProxyConfig { kind, host: host.to_owned(), port, user, password, ca_file, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        let read = |text: &str| toml::from_str::<ProxyConfig>(text);
        let http = read("url = \"http://p:3128\"\nuser = \"u\"\npassword = \"x\"\ntimeout = \"3s\"").expect("valid");
        assert_eq!((http.kind, http.address().as_str(), http.user.as_deref()), (ProxyKind::Http, "p:3128", Some("u")));
        let socks = read("url = \"socks5://[::1]\"").expect("valid");
        assert_eq!((socks.kind, socks.host.as_str(), socks.port), (ProxyKind::Socks5, "::1", 1080));
        let secure = read("url = \"https://p\"").expect("valid");
        assert_eq!((secure.kind, secure.port), (ProxyKind::Https, 443));
        for (text, why) in [
            ("url = \"p:1\"", "no proxy URL"),
            ("url = \"ftp://p\"", "no proxy URL"),
            ("url = \"http://u:p@h\"", "no proxy URL"),
            ("url = \"http://p:x\"", "no proxy URL"),
            ("url = \"http://p\"\nca_file = \"/x\"", "https"),
            ("url = \"http://p\"\nuser = \"u\"", "go together"),
        ] {
            assert!(read(text).is_err_and(|e| e.to_string().contains(why)), "{text}");
        }
        let secret = serde_json::from_str::<ProxyConfig>(r#"{ "url": "http://u:secret@h" }"#);
        assert!(secret.is_err_and(|e| !e.to_string().contains("secret")));
    }
}
