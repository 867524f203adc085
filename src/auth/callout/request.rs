//! What the service is asked: a JWT about the client, signed by the server (nats-io/jwt `authorization_claims.go`).

use crate::auth::jwt::{self, JwtError};
use crate::auth::rules::Attempt;
use crate::config::auth::ConnectionType;
use crate::protocol::{Connect, NATS_VERSION};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// Audience of requests.
const AUDIENCE: &str = "nats-authorization-request";
/// Characters of base64 in a line of PEM.
const PEM_LINE: usize = 64;

/// The server that asks.
pub struct Asking<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it listens.
    pub host: &'a str,
    /// Its key.
    pub key: &'a KeyPair,
    /// Its public curve key, where requests are sealed.
    pub xkey: Option<String>,
}

/// What is asked.
pub struct Question<'a> {
    /// Public nkey of whom it is about: the issuer in the configuration, or the account.
    pub subject: &'a str,
    /// Public user nkey that the answer must be about, used once.
    pub user: &'a str,
    /// As whom the client is known so far; empty: nobody.
    pub known_as: &'a str,
    /// What it said in CONNECT.
    pub connect: &'a Connect,
    /// Until when the answer is waited for.
    pub timeout: Duration,
}

/// The token.
///
/// # Errors
/// It cannot be signed.
pub fn token(asking: &Asking<'_>, question: &Question<'_>, attempt: &Attempt<'_>) -> Result<String, JwtError> {
    let mut server = json!({
        "name": asking.name,
        "host": asking.host,
        "id": asking.key.public_key(),
        "version": NATS_VERSION,
    });
    if let Some(xkey) = &asking.xkey {
        server["xkey"] = json!(xkey);
    }
    let mut nats = json!({
        "server_id": server,
        "user_nkey": question.user,
        "client_info": client_info(question, attempt),
        "connect_opts": connect_opts(question.connect),
        "type": "authorization_request",
        "version": 2,
    });
    if let Some(tls) = &attempt.tls {
        let chain: Vec<String> = tls.certificates.iter().map(|certificate| pem(certificate)).collect();
        nats["client_tls"] = json!({ "version": tls.version, "cipher": tls.cipher_suite });
        if !chain.is_empty() {
            // A certificate is only asked for to be verified.
            nats["client_tls"]["verified_chains"] = json!([chain]);
        }
    }
    let now = jwt::seconds(SystemTime::now());
    let expires = jwt::seconds(SystemTime::now() + question.timeout);
    jwt::sign(asking.key, json!({ "aud": AUDIENCE, "exp": expires, "iat": now, "sub": question.subject, "nats": nats }))
}

fn client_info(question: &Question<'_>, attempt: &Attempt<'_>) -> Value {
    let (kind, by) = match attempt.kind {
        ConnectionType::Websocket => ("Client", "websocket"),
        ConnectionType::Leafnode | ConnectionType::LeafnodeWs => ("Leafnode", ""),
        _ => ("Client", "nats"),
    };
    let mut info = texts([
        ("host", Some(&*attempt.from.to_string())),
        ("user", Some(question.known_as)),
        ("name", Some(&*question.connect.name)),
        ("kind", Some(kind)),
        ("type", Some(by)),
        ("nonce", question.connect.sig.as_ref().map(|_| attempt.nonce)),
    ]);
    if attempt.client != 0 {
        info.insert("id".to_owned(), attempt.client.into());
    }
    Value::Object(info)
}

fn connect_opts(connect: &Connect) -> Value {
    let mut opts = texts([
        ("jwt", connect.jwt.as_deref()),
        ("nkey", connect.nkey.as_deref()),
        ("sig", connect.sig.as_deref()),
        ("auth_token", connect.auth_token.as_deref()),
        ("user", connect.user.as_deref()),
        ("pass", connect.pass.as_deref()),
        ("name", Some(&*connect.name)),
        ("lang", Some(&*connect.lang)),
        ("version", Some(&*connect.version)),
    ]);
    opts.insert("protocol".to_owned(), connect.protocol.into());
    Value::Object(opts)
}

/// Members whose text is not empty.
fn texts<const N: usize>(members: [(&str, Option<&str>); N]) -> Map<String, Value> {
    let set = members.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    set.map(|(name, text)| (name.to_owned(), text.into())).collect()
}

/// A certificate as PEM.
fn pem(certificate: &[u8]) -> String {
    let base64 = STANDARD.encode(certificate);
    let mut out = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = &*base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        out += line;
        out.push('\n');
        rest = after;
    }
    out + "-----END CERTIFICATE-----\n"
}
