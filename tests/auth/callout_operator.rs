//! Auth callout in operator mode: an account's JWT names those who say who its users are, the same at leafd and at nats-server.

use super::jwt::{limits, sign};
use super::play::{Both, Raw, connect};
use async_nats::ConnectOptions;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers requests by the user's name, in the accounts `own` and `other`.
fn answer(payload: &[u8], own: &KeyPair, other: &KeyPair) -> Option<String> {
    let body = std::str::from_utf8(payload).ok()?.split('.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
    let nats = &claims["nats"];
    let (user, name) = (nats["user_nkey"].as_str()?, nats["connect_opts"]["user"].as_str().unwrap_or_default());
    let stranger = KeyPair::new_account();
    let (signer, into, permissions) = match name {
        "own" => (own, own, json!({"pub": {"allow": ["a"]}})),
        "other" => (own, other, json!({})),
        "stranger" => (&stranger, &stranger, json!({})),
        "unsigned" => (&stranger, own, json!({})),
        _ => {
            return Some(sign(
                own,
                user,
                "authorization_response",
                json!({"aud": nats["server_id"]["id"], "nats": {"error": "no"}}),
            ));
        }
    };
    let token = sign(into, user, "user", json!({"name": name, "nats": permissions}));
    Some(sign(signer, user, "authorization_response", json!({"aud": nats["server_id"]["id"], "nats": {"jwt": token}})))
}

#[tokio::test]
async fn an_account_has_its_users_named_by_a_service() {
    let [own, other, system] = [(); 3].map(|()| Arc::new(KeyPair::new_account()));
    let (operator, service, sentinel) = (KeyPair::new_operator(), KeyPair::new_user(), KeyPair::new_user());
    let op =
        sign(&operator, &operator.public_key(), "operator", json!({"nats": {"system_account": system.public_key()}}));
    let asking = json!({"name": "own", "nats": {"limits": limits(), "authorization": {
        "auth_users": [service.public_key()], "allowed_accounts": [other.public_key()]}}});
    let plain = || json!({"name": "acc", "nats": {"limits": limits()}});
    let mut preload = Vec::new();
    for (account, claims) in [(&own, asking), (&other, plain()), (&system, plain())] {
        preload.push((account.public_key(), sign(&operator, &account.public_key(), "account", claims)));
    }
    let toml = preload.iter().map(|(key, token)| format!("{key} = \"{token}\"\n")).collect::<String>();
    let toml = format!("[authorization]\noperator = [\"{op}\"]\n[authorization.resolver_preload]\n{toml}");
    let conf = preload.iter().map(|(key, token)| format!("{key}: {token}\n")).collect::<String>();
    let conf = format!("operator: {op}\nresolver: MEMORY\nresolver_preload {{\n{conf}}}\n");
    let Some(both) = Both::start(&toml, &conf).await else { return };
    let bearer = |user: &KeyPair| sign(&own, &user.public_key(), "user", json!({"nats": {"bearer_token": true}}));
    let mut said: Vec<Vec<String>> = Vec::new();
    for address in both.addresses() {
        let options = ConnectOptions::with_jwt(bearer(&service), |_| async { Ok(Vec::new()) });
        let client = options.connect(address.to_string()).await.expect("the service is not asked about");
        let mut requests = client.subscribe("$SYS.REQ.USER.AUTH").await.expect("subscribed");
        client.flush().await.expect("flushed");
        let (one, two) = (own.clone(), other.clone());
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                if let (Some(reply), Some(answer)) = (request.reply.clone(), answer(&request.payload, &one, &two)) {
                    client.publish(reply, answer.into()).await.expect("answered");
                }
            }
        });
        let mut all = Vec::new();
        for name in ["other", "own", "stranger", "unsigned", "nobody"] {
            let mut raw = Raw::connect(address).await;
            let first = raw.say(&connect(&format!("\"jwt\":\"{}\",\"user\":\"{name}\"", bearer(&sentinel)))).await;
            let then = if first.ends_with("(closed)") {
                String::new()
            } else {
                raw.say("PUB a 0\r\n\r\nPUB b 0\r\n\r\n").await
            };
            all.push(format!("{name}: {first}{then}"));
        }
        said.push(all);
    }
    assert_eq!(said[0], said[1], "first ours, then nats-server's");
    let violation = "-ERR 'Authorization Violation'\r\n(closed)";
    assert!(said[0][1].contains(&own.public_key()) && said[0][1].contains("Publish to \"b\""), "{said:?}");
    assert!(said[0][0].contains(&other.public_key()), "{said:?}");
    assert!(said[0][2..].iter().all(|said| said.ends_with(violation)), "{said:?}");
}
