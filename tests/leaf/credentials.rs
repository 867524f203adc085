//! Every way in which a leaf can show a nats-server hub who it is.

use crate::common::certificates::Authority;
use crate::common::nats_server::NatsServer;
use crate::common::{LIMIT, wait_for};
use crate::rig;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Starts a leafd with `remote`, and proves that it is joined to the hub where `user` of the client ends.
async fn joins(hub: &NatsServer, user: async_nats::ConnectOptions, scheme: &str, remote: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let url = format!("\"{scheme}://localhost:{}\"", rig::leaf_port(hub).await);
    let leafd = rig::leafd(dir.path(), &rig::remote(&url, remote));
    let app = user.connect(hub.clients.to_string()).await.expect("connected");
    rig::joined(&app, &leafd.client().await).await;
    assert!(!hub.log().contains("Authorization"), "{}", hub.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn user_token_and_nkey() {
    let options = async_nats::ConnectOptions::new;
    let own = "authorization { user: gw, password: secret }";
    joins(&rig::nats_hub(own, "").await, options(), "nats", "user = \"gw\"\npassword = \"secret\"").await;
    let hub = rig::nats_hub("", "authorization { token: sesame }").await;
    joins(&hub, options().token("sesame".into()), "nats", "token = \"sesame\"").await;
    let pair = KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{ nkey: {} }}, {{ user: a, password: a }} ] }}", pair.public_key());
    let nkey = format!("nkey = {:?}", pair.seed().expect("a seed"));
    let app = options().user_and_password("a".into(), "a".into());
    joins(&rig::nats_hub("", &users).await, app, "nats", &nkey).await;
    let own = format!("authorization {{ nkey: {} }}", pair.public_key());
    joins(&rig::nats_hub(&own, "").await, options(), "nats", &nkey).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_both_sides() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path());
    let (server, client) = (authority.server("hub"), authority.client("gw"));
    let tls = |more: &str| {
        format!(
            "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true\n{more} }}",
            server.cert,
            server.key,
            authority.file()
        )
    };
    let own = |more: &str| {
        format!(
            "tls = {{ ca_file = {:?}, cert_file = {:?}, key_file = {:?}{more} }}",
            authority.file(),
            client.cert,
            client.key
        )
    };
    let options = async_nats::ConnectOptions::new;
    joins(&rig::nats_hub(&tls(""), "").await, options(), "tls", &own("")).await;
    // A hub that asks for TLS gets it, whatever the URL says.
    joins(&rig::nats_hub(&tls(""), "").await, options(), "nats", &own("")).await;
    let first = rig::nats_hub(&tls("handshake_first: true"), "").await;
    joins(&first, options(), "tls", &own(", handshake_first = true")).await;
    let mapped =
        format!("{}\nauthorization {{ users: [ {{ user: \"gw@localhost\" }} ] }}", tls("verify_and_map: true"));
    joins(&rig::nats_hub(&mapped, "").await, options(), "tls", &own("")).await;
    // Pinned: the hub's key, and another one.
    let hub = rig::nats_hub(&tls(""), "").await;
    let pin = pin(&server.cert);
    joins(&hub, options(), "tls", &own(&format!(", pinned_certs = [\"{}\", \"{pin}\"]", "0".repeat(64)))).await;
    let url = format!("\"tls://localhost:{}\"", rig::leaf_port(&hub).await);
    let wrong = own(&format!(", pinned_certs = [\"{}\"]", "0".repeat(64)));
    let leafd = rig::leafd(dir.path(), &rig::remote(&url, &wrong));
    rig::link_says(&leafd, "not among tls.pinned_certs").await;
    // What does not fit is told with what to do.
    for (hub, tls, says) in [
        (tls(""), format!("tls = {{ ca_file = {:?} }}", authority.file()), "set tls.cert_file and tls.key_file"),
        (tls(""), own(", server_name = \"other\""), "or set tls.server_name"),
        (tls(""), own(", handshake_first = true"), "leave tls.handshake_first out"),
        (tls("handshake_first: true"), own(""), "set tls.handshake_first"),
        (String::new(), own(""), "dial nats-leaf://"),
    ] {
        let hub = rig::nats_hub(&hub, "").await;
        let url = format!("\"tls://localhost:{}\"", rig::leaf_port(&hub).await);
        let dir = tempfile::tempdir().expect("a folder");
        rig::link_says(&rig::leafd(dir.path(), &rig::remote(&url, &tls)), says).await;
    }
    // The hub pins ours.
    let pinned = tls(&format!("pinned_certs: [\"{}\"]", self::pin(&client.cert)));
    joins(&rig::nats_hub(&pinned, "").await, options(), "tls", &own("")).await;
}

/// SHA-256 of a certificate's public key.
fn pin(file: &Path) -> String {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let certificate = CertificateDer::from_pem_file(file).expect("a certificate");
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("a certificate");
    let digest = ring::digest::digest(&ring::digest::SHA256, parsed.tbs_certificate.subject_pki.raw);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token of `kind` about `subject`.
fn token(by: &KeyPair, subject: &str, kind: &str, mut nats: Value, expires: Option<u64>) -> String {
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let mut claims = json!({
        "iss": by.public_key(), "sub": subject, "name": kind, "iat": now(), "jti": "x", "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = expires.into();
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = by.sign(signed.as_bytes()).expect("signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A credentials file.
fn creds(file: &Path, account: &KeyPair, user: &KeyPair, nats: Value, expires: Option<u64>) {
    let mut limits = json!({"subs": -1, "data": -1, "payload": -1});
    if let (Value::Object(into), Value::Object(from)) = (&mut limits, nats) {
        into.extend(from);
    }
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        token(account, &user.public_key(), "user", limits, expires),
        user.seed().expect("a seed")
    );
    std::fs::write(file, text).expect("written");
}

/// The tokens of an operator and of its one account.
fn operator(account: &KeyPair) -> (String, String) {
    let operator = KeyPair::new_operator();
    let limits = json!({"limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
        "wildcards": true, "conn": -1, "leaf": -1}});
    (
        token(&operator, &operator.public_key(), "operator", json!({}), None),
        token(&operator, &account.public_key(), "account", limits, None),
    )
}

/// An account with JetStream, of an operator with a system account.
pub struct Account {
    pair: KeyPair,
    server: String,
}

impl Account {
    pub fn new() -> Account {
        let (operator, system, pair) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let about =
            token(&operator, &operator.public_key(), "operator", json!({"system_account": system.public_key()}), None);
        let limits = json!({"limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
            "consumer": -1, "max_ack_pending": -1}});
        let none = json!({"limits": {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1}});
        let (one, other) = (pair.public_key(), system.public_key());
        let server = format!(
            "operator: {about}\nsystem_account: {other}\nresolver: MEMORY\nresolver_preload: {{ {one}: {}, {other}: {} }}\n",
            token(&operator, &one, "account", limits, None),
            token(&operator, &other, "account", none, None),
        );
        Account { pair, server }
    }

    /// What a nats-server is configured with.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The credentials file of a new user; `nats` is what its JWT says besides, permissions among it.
    pub fn user(&self, dir: &Path, name: &str, nats: Value) -> PathBuf {
        let file = dir.join(format!("{name}.creds"));
        creds(&file, &self.pair, &KeyPair::new_user(), nats, None);
        file
    }
}

/// A client of `hub` with the credentials in `file`.
pub async fn connect(file: &Path, hub: &NatsServer) -> async_nats::Client {
    let options = async_nats::ConnectOptions::with_credentials_file(file).await.expect("credentials");
    options.connect(hub.clients.to_string()).await.expect("connected")
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_an_operator_are_read_at_every_dial() {
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let (operator, known) = operator(&account);
    let key = account.public_key();
    let hub = format!("operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {key}: {known} }}\n");
    let hub = rig::nats_hub("", &hub).await;
    let dir = tempfile::tempdir().expect("a folder");
    let (own, app) = (dir.path().join("gw.creds"), dir.path().join("app.creds"));
    creds(&app, &account, &user, json!({}), None);
    creds(&own, &account, &user, json!({"pub": {"allow": ["rig.>", "_INBOX.>", "_R_.>"]}}), Some(now() + 4));
    let app = async_nats::ConnectOptions::with_credentials_file(&app).await.expect("credentials");
    let app = app.connect(hub.clients.to_string()).await.expect("connected");
    let url = format!("\"nats://127.0.0.1:{}\"", rig::leaf_port(&hub).await);
    let leafd = rig::leafd(dir.path(), &rig::remote(&url, &format!("creds = {own:?}")));
    rig::joined(&app, &leafd.client().await).await;
    let export = leafd.status().expect("a status")["links"][0]["export"].clone();
    assert!(export.as_array().expect("a list").contains(&json!("rig.>")), "the JWT's permissions hold here: {export}");
    // It expires; dialling goes on, and a new file is enough to be let in again.
    leafd.wait_log("put a new credentials file in place", 0);
    creds(&own, &account, &user, json!({}), None);
    rig::joined(&app, &leafd.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leafd_takes_leafs_by_their_operators_tokens() {
    let (account, user) = (KeyPair::new_account(), KeyPair::new_user());
    let dir = tempfile::tempdir().expect("a folder");
    let (operator, known) = operator(&account);
    let key = account.public_key();
    let config = format!(
        "[leaf.listen]\nport = 0\n[authorization]\noperator = [{operator:?}]\nresolver_preload = {{ {key} = {known:?} }}\n"
    );
    let leafd = rig::leafd(dir.path(), &config);
    let own = dir.path().join("gw.creds");
    creds(&own, &account, &user, json!({}), Some(now() + 6));
    let leaf = NatsServer::start(&format!(
        "leafnodes {{ reconnect: 1, remotes: [ {{ url: \"{}\", credentials: {own:?} }} ] }}\n",
        leafd.port("leafnodes")
    ))
    .await;
    let app = async_nats::ConnectOptions::with_credentials_file(&own).await.expect("credentials");
    let app = app.connect(leafd.url()).await.expect("connected");
    rig::joined(&app, &leaf.client().await).await;
    wait_for("the end of the token's time", LIMIT, || async {
        leaf.log().contains("User Authentication Expired").then_some(())
    })
    .await;
}

/// Two hubs that know us by different names, each in its URL; the log has no password.
#[tokio::test(flavor = "multi_thread")]
async fn each_url_may_have_its_own_user() {
    let one = rig::nats_hub("authorization { user: first, password: \"p@1\" }", "").await;
    let two = rig::nats_hub("authorization { user: second, password: two-secret }", "").await;
    let ports = (rig::leaf_port(&one).await, rig::leaf_port(&two).await);
    let urls =
        format!("\"nats://first:p%401@127.0.0.1:{}\", \"nats://second:two-secret@127.0.0.1:{}\"", ports.0, ports.1);
    let dir = tempfile::tempdir().expect("a folder");
    let leafd = rig::leafd(dir.path(), &rig::remote(&urls, "no_randomize = true"));
    let local = leafd.client().await;
    rig::joined(&one.client().await, &local).await;
    drop(one);
    rig::joined(&two.client().await, &local).await;
    assert!(
        !leafd.log().contains("two-secret") && !leafd.status().expect("a status").to_string().contains("two-secret")
    );
}
