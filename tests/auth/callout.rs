//! Auth callout: the same service beside leafd and beside nats-server, which must come to the same.

use super::jwt::{merge, now, sign};
use super::play::{Both, Raw, connect, login};
use async_nats::{Client, HeaderMap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n(closed)";

/// A service that decides by the user's name.
struct Service {
    issuer: KeyPair,
    curve: Option<XKey>,
    asked: Mutex<Vec<Value>>,
}

impl Service {
    /// Serves the server at `address` until the end of the test.
    async fn start(self: &Arc<Self>, address: SocketAddr, options: async_nats::ConnectOptions) -> Client {
        let client = options.connect(address.to_string()).await.expect("the service connects");
        let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.expect("subscribes");
        client.flush().await.expect("flushes");
        let (service, own) = (self.clone(), client.clone());
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                // Who is not asked about may publish there as well; nobody waits for an answer to that.
                let Some(reply) = request.reply.clone() else { continue };
                if let Some(answer) = service.answer(request.headers.as_ref(), &request.payload) {
                    own.publish(reply, answer.into()).await.expect("answers");
                }
            }
        });
        client
    }

    fn answer(&self, headers: Option<&HeaderMap>, payload: &[u8]) -> Option<Vec<u8>> {
        let server = headers.and_then(|headers| headers.get("Nats-Server-Xkey")).map(|key| key.as_str().to_owned());
        let theirs = server.map(|key| XKey::from_public_key(&key).expect("a curve key"));
        let opened = match (&self.curve, &theirs) {
            (Some(ours), Some(theirs)) => ours.open(payload, theirs).expect("opens"),
            _ => payload.to_vec(),
        };
        let token = String::from_utf8(opened).expect("a JWT");
        let body = token.split('.').nth(1).expect("three parts");
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).expect("base64")).expect("JSON");
        self.asked.lock().expect("a lock").push(claims.clone());
        let nats = &claims["nats"];
        let (user, server) = (nats["user_nkey"].as_str().expect("a user"), nats["server_id"]["id"].clone());
        let name = nats["connect_opts"]["user"].as_str().unwrap_or_default();
        let other = KeyPair::new_account();
        // Who it is: the user's own claims go over these.
        let mut own = json!({"aud": "APP", "nats": {"pub": {"allow": ["a.>"]}}});
        let change = match name {
            "named" => json!({"name": "somebody"}),
            "global" => json!({"aud": "$G"}),
            "auth-account" => json!({"aud": "AUTH", "nats": {"pub": {"allow": [">"]}}}),
            "nowhere" => json!({"aud": "NOWHERE"}),
            "no-account" => json!({"aud": ""}),
            "default" => json!({"nats": {"pub": {"allow": []}}}),
            "expired" => json!({"exp": now() - 10}),
            "expiring" => json!({"exp": now() + 2}),
            "for-account" => json!({"nats": {"issuer_account": self.issuer.public_key()}}),
            _ => json!({}),
        };
        merge(&mut own, &change);
        let by = if name == "stranger" { &other } else { &self.issuer };
        let subject = if name == "other-user" { KeyPair::new_user().public_key() } else { user.to_owned() };
        let token = sign(by, &subject, "user", own);
        let mut answer = json!({"aud": server, "nats": {"jwt": token}});
        match name {
            "silent" => return None,
            "empty" => return Some(Vec::new()),
            "garbage" => return Some(b"garbage".to_vec()),
            "refused" => answer = json!({"aud": server, "nats": {"error": "no"}}),
            "both" => answer["nats"]["error"] = json!("no"),
            "neither" => answer["nats"] = json!({}),
            "other-server" => answer["aud"] = json!(KeyPair::new_server().public_key()),
            "no-server" => answer["aud"] = json!("here"),
            _ => {}
        }
        let subject = if name == "other-answer" { KeyPair::new_user().public_key() } else { user.to_owned() };
        let by = if name == "other-signer" { &other } else { &self.issuer };
        let answer = sign(by, &subject, "authorization_response", answer);
        Some(match (&self.curve, &theirs) {
            (Some(ours), Some(theirs)) if name != "open" => ours.seal(answer.as_bytes(), theirs).expect("seals"),
            _ => answer.into_bytes(),
        })
    }
}

struct World {
    both: Both,
    services: [Arc<Service>; 2],
    _clients: Vec<Client>,
}

impl World {
    async fn new(sealed: bool, allowed: Option<&[&str]>) -> Option<World> {
        let (issuer, curve) = (KeyPair::new_account(), sealed.then(XKey::new));
        let seed = issuer.seed().expect("a seed");
        let mut toml = format!(
            "[authorization]\ntimeout = \"1s\"\n[authorization.auth_callout]\nissuer = \"{0}\"\naccount = \"AUTH\"\nauth_users = [\"auth\"]\n",
            issuer.public_key()
        );
        let mut conf = format!(
            "authorization {{ timeout: 1\n auth_callout {{ issuer: {0}, account: AUTH, auth_users: [auth]\n",
            issuer.public_key()
        );
        if let Some(curve) = &curve {
            toml += &format!("xkey = \"{}\"\n", curve.public_key());
            conf += &format!("xkey: {}\n", curve.public_key());
        }
        if let Some(allowed) = allowed {
            toml += &format!("allowed_accounts = {allowed:?}\n");
            conf += &format!("allowed_accounts: {allowed:?}\n");
        }
        toml += "[accounts.AUTH]\nusers = [{ user = \"auth\", password = \"p\" }]\n\
            [accounts.APP]\nusers = [{ user = \"local\", password = \"p\" }]\ndefault_permissions = { publish = \"d.>\" }\n\
            [accounts.FREE]\nusers = [{ user = \"free\", password = \"p\" }]\n";
        conf += "}}\naccounts {\n AUTH { users: [{user: auth, password: p}] }\n\
            APP { users: [{user: local, password: p}], default_permissions: { publish: \"d.>\" } }\n\
            FREE { users: [{user: free, password: p}] }\n}\n";
        let both = Both::start(&toml, &conf).await?;
        let mut clients = Vec::new();
        let services = [(); 2].map(|()| {
            let issuer = KeyPair::from_seed(&seed).expect("a seed");
            Arc::new(Service { issuer, curve: curve.clone(), asked: Mutex::default() })
        });
        for (address, service) in both.addresses().into_iter().zip(&services) {
            let options = async_nats::ConnectOptions::with_user_and_password("auth".into(), "p".into());
            clients.push(service.start(address, options).await);
        }
        Some(World { both, services, _clients: clients })
    }

    /// What both servers say to `user`, who then sends `text`: the same.
    async fn user(&self, user: &str, text: &str) -> String {
        self.say(&login(user, "secret"), text).await
    }

    async fn say(&self, connect: &str, text: &str) -> String {
        let mut answers = Vec::new();
        for address in self.both.addresses() {
            let mut raw = Raw::connect(address).await;
            let first = raw.say(connect).await;
            answers
                .push(first.clone() + &if first.ends_with("(closed)") { String::new() } else { raw.say(text).await });
        }
        assert_eq!(answers[0], answers[1], "{connect}: first ours, then nats-server's");
        answers.remove(0)
    }
}

const TRY: &str = "PUB a.x 0\r\n\r\nPUB d.x 0\r\n\r\nPUB $SYS.REQ.USER.AUTH 0\r\n\r\n";

async fn decisions(world: &World) {
    let welcome = |account: &str| format!("INFO \"{account}\" null true\r\n");
    let ours = world.user("fine", TRY).await;
    assert!(
        ours.starts_with(&welcome("APP")) && ours.contains("Publish to \"d.x\"") && !ours.contains("\"a.x\""),
        "{ours}"
    );
    assert!(world.user("named", "").await.starts_with(&welcome("APP")));
    // The account's default permissions are not theirs.
    assert_eq!(world.user("default", TRY).await, welcome("APP"));
    assert!(world.user("global", "").await.starts_with(&welcome("$G")));
    // Who is in the service's account cannot ask it.
    let inside = world.user("auth-account", TRY).await;
    assert!(inside.starts_with(&welcome("AUTH")) && inside.contains("Publish to \"$SYS.REQ.USER.AUTH\""), "{inside}");
    let service = world.say(&login("auth", "p"), TRY).await;
    assert!(service.contains("Publish to \"$SYS.REQ.USER.AUTH\""), "{service}");
    // Local users are asked about too.
    assert!(world.say(&login("local", "p"), TRY).await.contains("Publish to \"d.x\""));
    for refused in [
        "refused",
        "nowhere",
        "no-account",
        "expired",
        "for-account",
        "stranger",
        "other-user",
        "silent",
        "empty",
        "garbage",
        "both",
        "neither",
        "other-server",
        "no-server",
        "other-answer",
    ] {
        assert_eq!(world.user(refused, "").await, VIOLATION, "{refused}");
    }
    assert_eq!(world.say(&login("auth", "wrong"), "").await, VIOLATION);
    assert!(world.say(&connect(""), "").await.starts_with(&welcome("APP")));
}

#[tokio::test]
async fn a_service_says_who_somebody_is() {
    let Some(world) = World::new(false, None).await else { return };
    decisions(&world).await;
    assert_eq!(world.say(&login("free", "wrong"), "").await.split(' ').nth(1), Some("\"APP\""));
    assert_eq!(world.user("other-signer", "").await, VIOLATION);
}

#[tokio::test]
async fn a_service_with_a_curve_key() {
    let Some(world) = World::new(true, None).await else { return };
    decisions(&world).await;
    assert!(world.user("open", "").await.starts_with("INFO \"APP\""));
    // What is sealed shows by that where it comes from.
    assert!(world.user("other-signer", "").await.starts_with("INFO \"APP\""));
}

#[tokio::test]
async fn accounts_that_are_not_asked_about() {
    let Some(world) = World::new(false, Some(&["APP"])).await else { return };
    assert!(world.say(&login("free", "p"), TRY).await.starts_with("INFO \"FREE\""));
    assert!(world.say(&login("local", "p"), "").await.starts_with("INFO \"APP\""));
    let service = world.say(&login("auth", "p"), TRY).await;
    assert!(service.starts_with("INFO \"AUTH\""), "{service}");
    let fine = world.user("fine", TRY).await;
    assert!(fine.starts_with("INFO \"APP\""), "{fine}");
}

#[tokio::test]
async fn users_of_a_service_expire() {
    let Some(world) = World::new(false, None).await else { return };
    for address in world.both.addresses() {
        let mut raw = Raw::connect(address).await;
        assert!(raw.say(&login("expiring", "p")).await.starts_with("INFO"));
        assert_eq!(raw.rest().await, "-ERR 'User Authentication Expired'\r\n(closed)");
    }
}

/// Requests without what differs from server to server and from connection to connection.
fn comparable(mut request: Value) -> Value {
    for path in ["/exp", "/iat", "/jti", "/iss", "/nats/user_nkey", "/nats/client_info/id", "/nats/client_info/nonce"] {
        if let Some(value) = request.pointer_mut(path) {
            *value = json!("...");
        }
    }
    let server = request["nats"]["server_id"].as_object_mut().expect("a server");
    server.values_mut().for_each(|value| *value = json!("..."));
    request
}

#[tokio::test]
async fn requests_say_the_same_of_a_client() {
    let Some(world) = World::new(true, None).await else { return };
    world.user("fine", "").await;
    world.say(&connect("\"auth_token\":\"t\",\"name\":\"n\",\"lang\":\"l\",\"version\":\"v\""), "").await;
    world.say(&connect("\"nkey\":\"UX\",\"sig\":\"s\",\"jwt\":\"j\""), "").await;
    world.say(&login("local", "p"), "").await;
    let [ours, theirs] = [0, 1].map(|at| world.services[at].asked.lock().expect("a lock").clone());
    assert_eq!(ours.len(), 4);
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_eq!(comparable(ours), comparable(theirs));
    }
}
