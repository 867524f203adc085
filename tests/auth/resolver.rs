//! Accounts by JWT that change while the servers run: what the operator orders in the system account, and what becomes of
//! the clients, at leafd and at nats-server.

use super::common::{LIMIT, wait_for};
use super::jwt::{limits, merge, now, sign};
use super::play::{Both, Raw, connect};
use async_nats::{Client, ConnectOptions};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

/// An operator with a system account, known to both servers, and accounts that are not.
pub struct World {
    pub both: Both,
    dir: tempfile::TempDir,
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    bearer: KeyPair,
}

impl World {
    /// `resolver` of both, `DIR` for a folder of each; `preloaded` accounts.
    pub async fn new(toml: &str, conf: &str, preloaded: bool) -> Option<World> {
        let (operator, system, account) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let dir = tempfile::tempdir().expect("a folder");
        let op = sign(
            &operator,
            &operator.public_key(),
            "operator",
            json!({"nats": {"system_account": system.public_key()}}),
        );
        let system_token = account_token(&operator, &system, json!({}));
        let (key, mut preload) = (system.public_key(), format!("{} = \"{system_token}\"\n", system.public_key()));
        let mut conf_preload = format!("{key}: {system_token}\n");
        if preloaded {
            let token = account_token(&operator, &account, json!({}));
            preload += &format!("{} = \"{token}\"\n", account.public_key());
            conf_preload += &format!("{}: {token}\n", account.public_key());
        }
        let place = |text: &str, who: &str| text.replace("DIR", &format!("{:?}", dir.path().join(who)));
        let toml = format!(
            "[authorization]\noperator = [\"{op}\"]\n{}\n[authorization.resolver_preload]\n{preload}",
            place(toml, "ours")
        );
        let conf = format!("operator: {op}\n{}\nresolver_preload: {{\n{conf_preload}}}\n", place(conf, "theirs"));
        let both = Both::start(&toml, &conf).await?;
        Some(World { both, dir, operator, system, account, bearer: KeyPair::new_user() })
    }

    pub async fn full() -> Option<World> {
        World::new(
            "resolver = { dir = DIR, allow_delete = true }",
            "resolver: { type: full, dir: DIR, allow_delete: true }",
            false,
        )
        .await
    }

    /// Somebody in the system account of each.
    pub async fn systems(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for address in self.both.addresses() {
            clients.push(client(address, &self.system).await.expect("the system account is let in"));
        }
        clients
    }

    /// What both answer, which must be the same.
    pub async fn ask(&self, systems: &[Client], subject: &str, payload: &str) -> Value {
        let mut answers = Vec::new();
        for system in systems {
            let answer = system.request(subject.to_owned(), payload.to_owned().into()).await;
            answers.push(match answer {
                Err(_) => Value::Null,
                Ok(answer) => match serde_json::from_slice::<Value>(&answer.payload) {
                    Err(_) => json!(String::from_utf8_lossy(&answer.payload)),
                    Ok(mut value) => {
                        assert!(value["server"]["id"].is_string(), "{value}");
                        value["server"] = json!("server");
                        if let Some(Value::Array(list)) = value.get_mut("data") {
                            list.sort_by_key(Value::to_string);
                        }
                        value
                    }
                },
            });
        }
        assert_eq!(answers[0], answers[1], "{subject} {payload}; first ours, then nats-server's");
        answers.remove(0)
    }

    /// A bare connection of a user of the account to each; both hear the same first.
    async fn users(&self) -> (Vec<Raw>, String) {
        let token = bearer(&self.account, &self.bearer);
        let (mut raws, mut said) = (Vec::new(), Vec::new());
        for address in self.both.addresses() {
            let mut raw = Raw::connect(address).await;
            said.push(raw.say(&connect(&format!("\"jwt\":\"{token}\""))).await);
            raws.push(raw);
        }
        assert_eq!(said[0], said[1], "first ours, then nats-server's");
        (raws, said.remove(0))
    }

    /// A JWT of the account.
    pub fn token(&self, claims: Value) -> String {
        account_token(&self.operator, &self.account, claims)
    }

    /// A JWT of a user of the account that needs no signature.
    pub fn user_token(&self) -> String {
        bearer(&self.account, &self.bearer)
    }

    /// A client of the account.
    pub async fn client(&self, address: SocketAddr) -> Client {
        client(address, &self.account).await.expect("let in")
    }
}

fn account_token(by: &KeyPair, account: &KeyPair, claims: Value) -> String {
    let mut all = json!({"name": "acc", "nats": {"limits": limits()}});
    merge(&mut all, &claims);
    sign(by, &account.public_key(), "account", all)
}

fn bearer(account: &KeyPair, user: &KeyPair) -> String {
    sign(account, &user.public_key(), "user", json!({"nats": {"bearer_token": true}}))
}

async fn client(address: SocketAddr, account: &KeyPair) -> Result<Client, async_nats::ConnectError> {
    let token = bearer(account, &KeyPair::new_user());
    let options = ConnectOptions::with_jwt(token, |_| async { Ok(Vec::new()) });
    options.connect(address.to_string()).await
}

/// Each hears `want` at its end.
async fn all_hear(raws: Vec<Raw>, want: &str) {
    for (mut raw, who) in raws.into_iter().zip(["leafd", "nats-server"]) {
        assert_eq!(raw.rest().await, want, "{who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_pushed_are_kept() {
    let Some(mut world) = World::full().await else { return };
    let systems = world.systems().await;
    let (account, key) = (&world.account, world.account.public_key());
    let violation = "-ERR 'Authorization Violation'\r\n(closed)";
    assert_eq!(world.users().await.1, violation);
    let lookup = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP");
    assert_eq!(world.ask(&systems, &lookup, "").await, "");

    // What is not taken.
    let update = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.UPDATE");
    let other = account_token(&world.operator, &KeyPair::new_account(), json!({}));
    let broken = world.token(json!({"nats": {"exports": [{"subject": "a b", "type": "stream"}]}}));
    world.ask(&systems, &update, &other).await;
    for (subject, token) in [("$SYS.REQ.CLAIMS.UPDATE", "x.y"), ("$SYS.REQ.CLAIMS.UPDATE", &*broken)] {
        for (at, system) in systems.iter().enumerate() {
            let answer = system.request(subject.to_owned(), token.to_owned().into()).await.expect("answered");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            assert_eq!(answer["error"]["code"], 500, "{at}: {answer}");
        }
    }

    // What is.
    let token = world.token(json!({}));
    assert_eq!(world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &token).await["data"]["message"], "jwt updated");
    assert_eq!(world.ask(&systems, &lookup, "").await, json!(token));
    let (raws, said) = world.users().await;
    assert!(said.contains(&key), "{said}");
    assert_eq!(world.ask(&systems, "$SYS.REQ.CLAIMS.LIST", "").await["data"].as_array().map(Vec::len), Some(2));
    world.ask(&systems, "$SYS.REQ.CLAIMS.PACK", "").await;

    // A user that is revoked goes; another token of the same user may come.
    let revoked = world.token(json!({"jti": "y", "nats": {"revocations": {world.bearer.public_key(): now() + 10}}}));
    assert_eq!(world.ask(&systems, &update, &revoked).await["data"]["code"], 200);
    all_hear(raws, "-ERR 'User Authentication Revoked'\r\n(closed)").await;
    assert_eq!(world.users().await.1, violation);
    let old = format!("$SYS.ACCOUNT.{key}.CLAIMS.UPDATE");
    assert_eq!(world.ask(&systems, &old, &token).await["data"]["account"], json!(key));

    // The files are nats-server's, and last.
    let file = |who: &str| world.dir.path().join(who).join(format!("{key}.jwt"));
    assert_eq!(read(&file("ours")), read(&file("theirs")));
    world.both.leafd.kill9();
    world.both.leafd.start();
    let [ours, _] = world.both.addresses();
    let system = client(ours, &world.system).await.expect("let in");
    client(ours, account).await.expect("the account is known after a restart");
    let listed = system.request("$SYS.REQ.CLAIMS.LIST", "".into()).await.expect("answered");
    assert!(String::from_utf8_lossy(&listed.payload).contains(&key));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_deletes_accounts() {
    let Some(world) = World::full().await else { return };
    let systems = world.systems().await;
    let key = world.account.public_key();
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &world.token(json!({}))).await;
    let (raws, _) = world.users().await;
    let delete = |by: &KeyPair, accounts: Value| {
        let mut claims = json!({"nats": {"accounts": accounts}});
        claims["nats"]["type"] = json!("");
        sign(by, &by.public_key(), "", claims)
    };
    for accounts in [json!([world.system.public_key()]), json!(["A"]), json!(null)] {
        world.ask(&systems, "$SYS.REQ.CLAIMS.DELETE", &delete(&world.operator, accounts)).await;
    }
    world.ask(&systems, "$SYS.REQ.CLAIMS.DELETE", &delete(&KeyPair::new_operator(), json!([key]))).await;
    let answer = world.ask(&systems, "$SYS.REQ.CLAIMS.DELETE", &delete(&world.operator, json!([key]))).await;
    assert_eq!(answer["data"]["message"], "deleted 1 accounts");
    all_hear(raws, "-ERR 'Account Authentication Expired'\r\n(closed)").await;
    assert_eq!(world.users().await.1, "-ERR 'Authorization Violation'\r\n(closed)");
    assert_eq!(world.ask(&systems, "$SYS.REQ.CLAIMS.LIST", "").await["data"], json!([world.system.public_key()]));
    for who in ["ours", "theirs"] {
        let file = world.dir.path().join(who).join(format!("{key}.jwt.deleted"));
        assert!(file.exists(), "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_keys_that_change_hold_at_once() {
    let Some(world) = World::full().await else { return };
    let systems = world.systems().await;
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &world.token(json!({}))).await;
    let (mut raws, _) = world.users().await;
    let smaller = world.token(json!({"jti": "y", "nats": {"limits": {"payload": 4, "subs": 1}}}));
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &smaller).await;
    let mut said = Vec::new();
    for raw in &mut raws {
        said.push(raw.say("SUB a 1\r\nSUB b 2\r\nPUB a 5\r\n12345\r\n").await);
    }
    assert_eq!(said[0], said[1], "first ours, then nats-server's");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_in_memory_can_be_changed_until_the_next_reload() {
    let conf = "resolver: MEMORY";
    let Some(world) = World::new("", conf, true).await else { return };
    let systems = world.systems().await;
    let key = world.account.public_key();
    let update = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.UPDATE");
    // nats-server knows an account once somebody has asked for it.
    let (raws, _) = world.users().await;
    for (payload, message) in [("", "jwt update error - request body is empty"), (&*world.token(json!({})), "")] {
        let answer = world.ask(&systems, &update, payload).await;
        assert_eq!(answer["error"]["description"].as_str().unwrap_or_default(), message, "{answer}");
    }
    let stranger = account_token(&KeyPair::new_operator(), &world.account, json!({"jti": "z"}));
    let answer = world.ask(&systems, &update, &stranger).await;
    assert_eq!(answer["error"]["description"], "jwt update resulted in error - account validation failed");
    let unknown = KeyPair::new_account();
    let token = account_token(&world.operator, &unknown, json!({}));
    let subject = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", unknown.public_key());
    assert_eq!(world.ask(&systems, &subject, &token).await["data"]["message"], "jwt update skipped");
    assert_eq!(world.ask(&systems, "$SYS.REQ.CLAIMS.LIST", "").await, Value::Null);
    let revoked = world.token(json!({"jti": "y", "nats": {"revocations": {"*": now() + 10}}}));
    assert_eq!(world.ask(&systems, &update, &revoked).await["data"]["message"], "jwt updated");
    all_hear(raws, "-ERR 'User Authentication Revoked'\r\n(closed)").await;
    world.both.leafd.hup();
    let [ours, _] = world.both.addresses();
    wait_for("what stands in the configuration", LIMIT, || async { client(ours, &world.account).await.ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_come_and_grow_with_the_jwt() {
    let conf = "resolver: MEMORY\njetstream: { store_dir: DIR }";
    let Some(world) = World::new("", conf, true).await else { return };
    let systems = world.systems().await;
    let mut users = Vec::new();
    for address in world.both.addresses() {
        users.push(client(address, &world.account).await.expect("let in"));
    }
    let update = format!("$SYS.REQ.ACCOUNT.{}.CLAIMS.UPDATE", world.account.public_key());
    let stream = r#"{"name":"S","subjects":["s"],"storage":"file"}"#;
    let mut seen = Vec::new();
    for (id, streams) in [
        ("none", json!({})),
        ("some", json!({"disk_storage": 10_000})),
        ("more", json!({"disk_storage": 20_000, "mem_storage": 500, "streams": 2})),
    ] {
        let token = world.token(json!({"jti": id, "nats": {"limits": streams}}));
        assert_eq!(world.ask(&systems, &update, &token).await["data"]["code"], 200);
        let mut said = Vec::new();
        for user in &users {
            let mut answers = Vec::new();
            for (subject, payload) in [
                ("$JS.API.INFO", ""),
                ("$JS.API.STREAM.CREATE.S", stream),
                ("$JS.API.STREAM.INFO.S", ""),
                ("$JS.API.CONSUMER.LIST.S", ""),
                ("$JS.API.STREAM.MSG.GET.S", "{\"seq\":1}"),
            ] {
                answers.push(match user.request(subject, payload.into()).await {
                    Err(_) => Value::Null,
                    Ok(answer) => {
                        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
                        json!([answer["type"], answer["error"], answer["limits"], answer["config"]["name"]])
                    }
                });
            }
            said.push(answers);
        }
        assert_eq!(said[0], said[1], "{id}; first ours, then nats-server's");
        seen.push(said.remove(0));
    }
    assert_eq!((&seen[1][1][3], &seen[2][0][2]["max_storage"]), (&json!("S"), &json!(20_000)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connz_tells_who_has_signed_and_hides_what_alone_lets_in() {
    let signing = KeyPair::new_account();
    let Some(world) = World::full().await else { return };
    let systems = world.systems().await;
    let token = world.token(json!({"name": "plant", "nats": {"signing_keys": [signing.public_key()]}}));
    world.ask(&systems, "$SYS.REQ.CLAIMS.UPDATE", &token).await;
    let issuer =
        json!({"nats": {"issuer_account": world.account.public_key(), "tags": ["a:b", "c"], "bearer_token": true}});
    let user = KeyPair::new_user();
    let own = sign(&world.account, &user.public_key(), "user", json!({}));
    let other = sign(&signing, &user.public_key(), "user", issuer);
    let mut raws = Vec::new();
    for address in world.both.addresses() {
        for token in [&own, &other] {
            let mut raw = Raw::connect(address).await;
            let signature = user.sign(raw.info["nonce"].as_str().expect("a nonce").as_bytes()).expect("signs");
            let signature = URL_SAFE_NO_PAD.encode(signature);
            raw.say(&connect(&format!("\"jwt\":\"{token}\",\"sig\":\"{signature}\""))).await;
            raws.push(raw);
        }
    }
    let mut told = Vec::new();
    for system in &systems {
        let options = format!(r#"{{"auth":true,"acc":"{}"}}"#, world.account.public_key());
        let answer = system.request("$SYS.REQ.SERVER.PING.CONNZ", options.into()).await.expect("answered");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        let labels = |connection: &Value| {
            let keys = ["authorized_user", "account", "issuer_key", "tags", "name_tag", "jwt"];
            keys.map(|key| connection[key].clone())
        };
        told.push(answer["data"]["connections"].as_array().expect("a list").iter().map(labels).collect::<Vec<_>>());
    }
    assert_eq!(told[0], told[1], "first ours, then nats-server's");
    assert_eq!((told[0].len(), &told[0][0][5], &told[0][1][5]), (2, &json!(own), &Value::Null));
    assert_eq!(told[0][1][2], json!(signing.public_key()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pinned_accounts_are_let_in() {
    let other = KeyPair::new_account().public_key();
    let toml = format!("resolver_pinned_accounts = [\"{other}\"]");
    let conf = format!("resolver: MEMORY\nresolver_pinned_accounts: [{other}]");
    let Some(world) = World::new(&toml, &conf, true).await else { return };
    world.systems().await;
    assert_eq!(world.users().await.1, "-ERR 'Authorization Violation'\r\n(closed)");
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
