//! How lines in the log name a client (nats-server `client.go`, `initClient` and `processConnect`):
//! `127.0.0.1:50832 - cid:7`, and what it said of itself behind that once it has been let in.

use super::client::Client;
use super::trace::Quoted;
use crate::auth::Session;
use crate::protocol::Connect;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

/// What is added to a client's address and number.
#[derive(Default)]
pub(super) struct Names {
    /// For whom a proxy has let it in, where it came by WebSocket.
    forwarded_for: Option<IpAddr>,
    /// ` - "v1.2:rust:app" - "ACCOUNT/user:name"`, from its first CONNECT.
    said: OnceLock<String>,
}

impl Names {
    /// Of a connection that has come in.
    pub fn new(forwarded_for: Option<IpAddr>) -> Names {
        Names { forwarded_for, said: OnceLock::new() }
    }

    /// Its CONNECT has been taken; what a later one says changes nothing.
    pub fn let_in(&self, connect: &Connect, session: &Session) {
        self.said.get_or_init(|| {
            let version = if connect.version.is_empty() { String::new() } else { format!("v{}", connect.version) };
            let parts = [&version, &connect.lang, &connect.name];
            let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            let mut said = String::new();
            if !parts.is_empty() {
                said += &format!(" - {}", Quoted(parts.join(":").as_bytes()));
            }
            let user = match User::of(connect) {
                User::Nkey(key) => format!("nkey:{key}"),
                User::Name(name) => format!("user:{name}"),
                User::Jwt => format!("jwt:{}", session.user),
                User::Token => "token".to_owned(),
                User::Nobody => return said,
            };
            said += &format!(" - {}", Quoted(format!("{}/{user}", session.account.name()).as_bytes()));
            said
        });
    }
}

/// By what a CONNECT says who it is, in the order in which nats-server looks.
pub(super) enum User<'a> {
    Nkey(&'a str),
    Name(&'a str),
    Jwt,
    Token,
    Nobody,
}

impl User<'_> {
    pub fn of(connect: &Connect) -> User<'_> {
        let given = |text: &'_ Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        match (&connect.nkey, &connect.user) {
            (Some(key), _) if !key.is_empty() => User::Nkey(key),
            (_, Some(name)) if !name.is_empty() => User::Name(name),
            _ if given(&connect.jwt) => User::Jwt,
            _ if given(&connect.auth_token) => User::Token,
            _ => User::Nobody,
        }
    }
}

impl fmt::Display for User<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Nkey(key) => write!(f, "Nkey {}", Quoted(key.as_bytes())),
            User::Name(name) => write!(f, "User {}", Quoted(name.as_bytes())),
            User::Jwt => f.write_str("JWT User"),
            User::Token => f.write_str("Token \"[REDACTED]\""),
            User::Nobody => f.write_str("User \"N/A\""),
        }
    }
}

/// A client as lines name it.
#[derive(Clone, Copy)]
pub(super) struct Label<'a>(pub &'a Client);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = &self.0.about;
        match about.names.forwarded_for {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]/")?,
            Some(ip) => write!(f, "{ip}/")?,
            None => {}
        }
        let kind = if about.websocket { "wid" } else { "cid" };
        write!(f, "{} - {kind}:{}", about.address, self.0.id.get())?;
        f.write_str(about.names.said.get().map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Accounts;

    fn said(connect: &str) -> String {
        let (names, accounts) = (Names::default(), Accounts::new(None));
        let connect = Connect::read(connect.as_bytes(), None).expect("a CONNECT");
        names.let_in(&connect, &Session::anybody(accounts.global()));
        names.said.get().cloned().unwrap_or_default()
    }

    #[test]
    fn what_a_client_says_of_itself_names_it() {
        assert_eq!(said("{}"), "");
        assert_eq!(said(r#"{"lang":"go","version":"1.2"}"#), r#" - "v1.2:go""#);
        assert_eq!(said(r#"{"name":"a \"b\"","lang":"go"}"#), r#" - "go:a \"b\"""#);
        assert_eq!(said(r#"{"user":"u","pass":"p"}"#), r#" - "$G/user:u""#);
        assert_eq!(said(r#"{"auth_token":"t","name":"n"}"#), r#" - "n" - "$G/token""#);
    }
}
