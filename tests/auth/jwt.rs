//! Operator mode: the same JWTs at leafd and at nats-server.

use super::play::{Both, Raw, connect};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n(closed)";

/// A token of `kind` about `subject`; `claims` goes over the usual.
pub fn sign(by: &KeyPair, subject: &str, kind: &str, claims: Value) -> String {
    let mut all = json!({
        "iss": by.public_key(), "sub": subject, "name": kind, "iat": now(), "jti": "x",
        "nats": { "type": kind, "version": 2 },
    });
    if kind == "user" && claims["nats"]["scoped"] != true {
        for limit in ["subs", "data", "payload"] {
            all["nats"][limit] = json!(-1);
        }
    }
    merge(&mut all, &claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&all));
    let signature = by.sign(signed.as_bytes()).expect("signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An operator with accounts, known to both servers.
struct World {
    both: Both,
    accounts: Vec<KeyPair>,
    signing: KeyPair,
    scoped: KeyPair,
}

pub fn limits() -> Value {
    json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1})
}

impl World {
    async fn new() -> Option<World> {
        let (operator, stranger) = (KeyPair::new_operator(), KeyPair::new_operator());
        let accounts: Vec<KeyPair> = (0..7).map(|_| KeyPair::new_account()).collect();
        let (signing, scoped) = (KeyPair::new_account(), KeyPair::new_account());
        let template = json!({
            "pub": {"allow": ["{{name()}}.>", "{{tag(plant)}}.{{account-name()}}"], "deny": ["{{subject()}}.no"]},
            "sub": {"allow": ["_INBOX.>", "{{account-tag(region)}}.>"]}, "subs": 2, "data": -1, "payload": 100,
        });
        let claims = [
            json!({"limits": limits()}),
            json!({"limits": limits(), "signing_keys": [signing.public_key(),
                {"kind": "user_scope", "key": scoped.public_key(), "role": "r", "template": template}],
                "tags": ["region:eu"], "default_permissions": {"pub": {"allow": ["d.>"]}}}),
            json!({"limits": {"disallow_bearer": true, "subs": 1, "payload": 10, "conn": 1}}),
            json!({"limits": limits(), "revocations": {"*": now() - 100}}),
            json!({"limits": limits()}),
            json!({"limits": limits()}),
            json!({"limits": limits()}),
        ];
        let mut toml = "[authorization.resolver_preload]\n".to_owned();
        let mut conf = "resolver: MEMORY\nresolver_preload: {\n".to_owned();
        for (at, (account, nats)) in accounts.iter().zip(claims).enumerate() {
            // The last is known to nobody, the one before is signed by a stranger, the one before that is over soon.
            if at == 6 {
                continue;
            }
            let by = if at == 5 { &stranger } else { &operator };
            let mut all = json!({"name": "acc", "nats": nats});
            merge(&mut all["nats"]["limits"], &json!({}));
            let mut limits = limits();
            merge(&mut limits, &all["nats"]["limits"]);
            all["nats"]["limits"] = limits;
            if at == 4 {
                all["exp"] = json!(now() + 3);
            }
            let (key, token) = (account.public_key(), sign(by, &account.public_key(), "account", all));
            toml += &format!("{key} = \"{token}\"\n");
            conf += &format!("{key}: {token}\n");
        }
        let token = sign(
            &operator,
            &operator.public_key(),
            "operator",
            json!({"nats": {"system_account": accounts[0].public_key()}}),
        );
        let toml = format!("[authorization]\noperator = [\"{token}\"]\n{toml}");
        let conf = format!("operator: {token}\n{conf}}}\n");
        let both = Both::start(&toml, &conf).await?;
        Some(World { both, accounts, signing, scoped })
    }

    /// Both servers' answers to a user of `account`, signed by `by`, who then sends `text`; they must be the same.
    async fn user(&self, account: usize, by: &KeyPair, claims: Value, text: &str) -> String {
        let key = KeyPair::new_user();
        let mut all = json!({});
        if by.public_key() != self.accounts[account].public_key() {
            all = json!({"nats": {"issuer_account": self.accounts[account].public_key()}});
        }
        merge(&mut all, &claims);
        let token = sign(by, &key.public_key(), "user", all);
        let mut answers = Vec::new();
        for address in self.both.addresses() {
            let mut raw = Raw::connect(address).await;
            let nonce = raw.info["nonce"].as_str().expect("a nonce");
            let sig = URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes()).expect("signs"));
            let first = raw.say(&connect(&format!("\"jwt\":\"{token}\",\"sig\":\"{sig}\""))).await;
            let then = raw.say(&text.replace("KEY", &key.public_key())).await;
            answers.push(first.replace(&self.accounts[account].public_key(), "ACCOUNT") + &then);
        }
        let ours = answers[0].replace(&key.public_key(), "KEY");
        assert_eq!(answers[0], answers[1], "first ours, then nats-server's; {claims}");
        ours
    }
}

const WELCOME: &str = "INFO \"ACCOUNT\" null true\r\n";

#[tokio::test]
async fn users_are_who_their_account_says() {
    let Some(world) = World::new().await else { return };
    let [a0, a1, a2, a3, _, a5, a6] = &world.accounts[..] else { panic!("seven accounts") };
    assert_eq!(world.user(0, a0, json!({}), "").await, "INFO \"ACCOUNT\" true true\r\n");
    assert_eq!(world.user(1, a1, json!({}), "").await, WELCOME);
    assert_eq!(world.user(1, &world.signing, json!({}), "").await, WELCOME);
    let refused = |answer: String| assert!(answer.starts_with(VIOLATION), "{answer}");
    refused(world.user(1, a2, json!({"nats": {"issuer_account": a1.public_key()}}), "").await);
    refused(world.user(0, &world.signing, json!({}), "").await);
    refused(world.user(5, a5, json!({}), "").await);
    refused(world.user(6, a6, json!({}), "").await);
    refused(world.user(1, a1, json!({"exp": now() - 10}), "").await);
    refused(world.user(1, a1, json!({"nbf": now() + 100}), "").await);
    refused(world.user(3, a3, json!({"iat": now() - 200}), "").await);
    assert_eq!(world.user(3, a3, json!({}), "").await, WELCOME);
    refused(world.user(1, a1, json!({"nats": {"src": ["10.0.0.0/8"]}}), "").await);
    assert_eq!(world.user(1, a1, json!({"nats": {"src": ["127.0.0.0/8"]}}), "").await, WELCOME);
    refused(world.user(1, a1, json!({"nats": {"allowed_connection_types": ["WEBSOCKET"]}}), "").await);
    refused(world.user(1, a1, json!({"nats": {"allowed_connection_types": ["CARRIER_PIGEON"]}}), "").await);
    assert_eq!(world.user(1, a1, json!({"nats": {"allowed_connection_types": ["STANDARD", "X"]}}), "").await, WELCOME);
    refused(world.user(2, a2, json!({"nats": {"bearer_token": true}}), "").await);
}

#[tokio::test]
async fn what_users_may_do_stands_in_their_tokens() {
    let Some(world) = World::new().await else { return };
    let a1 = &world.accounts[1];
    let try_all = "PUB a 0\r\n\r\nPUB d.x 0\r\n\r\nSUB a 1\r\nSUB b q 2\r\n";
    let own = json!({"nats": {"pub": {"allow": ["a"]}, "sub": {"deny": ["a", "b q"]}}});
    let answer = world.user(1, a1, own, try_all).await;
    assert!(answer.contains("Publish to \"d.x\"") && answer.contains("using queue \"q\""), "{answer}");
    let answer = world.user(1, a1, json!({}), try_all).await;
    assert!(answer.contains("Publish to \"a\"") && !answer.contains("d.x"), "{answer}");
    let responses = json!({"nats": {"resp": {"max": 2, "ttl": 1_000_000_000}}});
    world.user(1, a1, responses, "SUB q 1\r\nPUB q r 0\r\n\r\nPUB r 0\r\n\r\n").await;
    // A scoped key: permissions and limits come from its template.
    let scoped = json!({"name": "plc", "nats": {"scoped": true, "tags": ["plant:a", "plant:b"]}});
    let text = "PUB plc.x 0\r\n\r\nPUB a.acc 0\r\n\r\nPUB b.acc 0\r\n\r\nPUB c.acc 0\r\n\r\nPUB KEY.no 0\r\n\r\nSUB eu.x 1\r\nSUB us.x 2\r\nSUB eu.y 3\r\nSUB eu.z 4\r\n";
    let answer = world.user(1, &world.scoped, scoped.clone(), text).await;
    assert!(answer.contains("Publish to \"c.acc\"") && answer.contains("maximum subscriptions exceeded"), "{answer}");
    assert!(!answer.contains("plc.x") && !answer.contains("b.acc"), "{answer}");
    let answer = world.user(1, &world.scoped, scoped, &format!("PUB plc.x 101\r\n{}\r\n", "x".repeat(101))).await;
    assert!(answer.contains("Maximum Payload Violation"), "{answer}");
    let answer = world.user(1, &world.scoped, json!({"nats": {"scoped": true, "pub": {"allow": ["x"]}}}), "").await;
    assert!(answer.starts_with(VIOLATION), "{answer}");
}

#[tokio::test]
async fn limits_of_the_account_hold_for_its_users() {
    let Some(world) = World::new().await else { return };
    let a2 = &world.accounts[2];
    let answer = world.user(2, a2, json!({"nats": {"subs": 5}}), "SUB a 1\r\nSUB b 2\r\n").await;
    assert!(answer.ends_with("-ERR 'maximum subscriptions exceeded'\r\n"), "{answer}");
    let key = KeyPair::new_user();
    let token = sign(a2, &key.public_key(), "user", json!({}));
    for address in world.both.addresses() {
        let mut pair = Vec::new();
        for _ in 0..2 {
            let mut raw = Raw::connect(address).await;
            let sig = key.sign(raw.info["nonce"].as_str().expect("a nonce").as_bytes()).expect("signs");
            let sig = URL_SAFE_NO_PAD.encode(sig);
            pair.push((raw.say(&connect(&format!("\"jwt\":\"{token}\",\"sig\":\"{sig}\""))).await, raw));
        }
        assert_eq!(pair[1].0, "-ERR 'maximum account active connections exceeded'\r\n(closed)");
    }
}

#[tokio::test]
async fn time_runs_out() {
    let Some(world) = World::new().await else { return };
    let mut waiting = Vec::new();
    for (account, claims, want) in [
        (
            1,
            json!({"exp": now() + 2, "nats": {"bearer_token": true}}),
            "-ERR 'User Authentication Expired'\r\n(closed)",
        ),
        (4, json!({"nats": {"bearer_token": true}}), "-ERR 'Account Authentication Expired'\r\n(closed)"),
    ] {
        let key = KeyPair::new_user();
        let token = sign(&world.accounts[account], &key.public_key(), "user", claims);
        for address in world.both.addresses() {
            let mut raw = Raw::connect(address).await;
            raw.say(&connect(&format!("\"jwt\":\"{token}\""))).await;
            waiting.push((raw, want));
        }
    }
    for (mut raw, want) in waiting {
        assert_eq!(raw.rest().await, want);
    }
}
