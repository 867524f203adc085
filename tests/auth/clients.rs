//! The official clients, with nkeys and credentials files.

use super::common::{Leafd, have};
use super::jwt::sign;
use nkeys::KeyPair;
use serde_json::json;
use std::process::Command;

/// leafd with one nkey user, or with an operator's account and a user's credentials.
async fn by_async_nats(toml: &str, options: async_nats::ConnectOptions) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut leafd = Leafd::new(dir.path(), toml);
    leafd.start();
    let client = options.connect(leafd.url()).await.expect("let in");
    let mut sub = client.subscribe("a.*").await.expect("subscribed");
    client.publish("a.b", "x".into()).await.expect("published");
    let message = futures_util::StreamExt::next(&mut sub).await.expect("delivered");
    assert_eq!(&*message.payload, b"x");
    assert!(async_nats::connect(leafd.url()).await.is_err(), "without credentials");
}

/// Configuration of an operator, and the credentials file of a user.
fn operator() -> (String, String) {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1});
    let own = sign(&operator, &operator.public_key(), "operator", json!({}));
    let account_token = sign(&operator, &account.public_key(), "account", json!({"nats": {"limits": limits}}));
    let user_token = sign(&account, &user.public_key(), "user", json!({}));
    let toml = format!(
        "[authorization]\noperator = [\"{own}\"]\n[authorization.resolver_preload]\n{} = \"{account_token}\"\n",
        account.public_key()
    );
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\n{user_token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().expect("a seed")
    );
    (toml, creds)
}

#[tokio::test]
async fn async_nats_by_nkey_and_by_credentials() {
    let key = KeyPair::new_user();
    let toml = format!("[authorization]\nusers = [{{ nkey = \"{}\" }}]", key.public_key());
    by_async_nats(&toml, async_nats::ConnectOptions::with_nkey(key.seed().expect("a seed"))).await;
    let (toml, creds) = operator();
    by_async_nats(&toml, async_nats::ConnectOptions::with_credentials(&creds).expect("valid")).await;
}

#[test]
fn nats_py_by_nkey_and_by_credentials() {
    let python = std::env::var("LEAFD_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !have(&python) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let (seed, creds) = (dir.path().join("user.nk"), dir.path().join("user.creds"));
    let key = KeyPair::new_user();
    let (operator, text) = operator();
    std::fs::write(&seed, key.seed().expect("a seed")).expect("written");
    std::fs::write(&creds, text).expect("written");
    let nkey = format!("[authorization]\nusers = [{{ nkey = \"{}\" }}]", key.public_key());
    for (toml, argument, file) in [(nkey, "nkeys_seed", &seed), (operator, "user_credentials", &creds)] {
        let own = tempfile::tempdir().expect("a folder");
        let mut leafd = Leafd::new(own.path(), &toml);
        leafd.start();
        let script = format!(
            "import asyncio, nats\nasync def main():\n    nc = await nats.connect({:?}, {argument}={:?}, allow_reconnect=False)\n    \
             sub = await nc.subscribe('a.*')\n    await nc.publish('a.b', b'x')\n    print((await sub.next_msg(10)).data)\nasyncio.run(main())",
            leafd.url(),
            file.to_str().expect("text"),
        );
        let output = Command::new(&python).arg("-c").arg(script).output().expect("python runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.contains("b'x'"), "{argument}: {out}{err}");
    }
}
