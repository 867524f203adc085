//! JWTs of version 1, from before 2021, which nats-server still takes: what they say is read as version 2 says it
//! (nats-io/jwt `decoder_user.go` and its neighbours).

use super::claims::UNLIMITED;
use serde_json::{Map, Value};

/// Members beside `nats` that version 2 has within it.
const MOVED: [&str; 3] = ["type", "tags", "issuer_account"];

/// What version 1 knows of the part of a kind of JWT; the rest is not read.
fn members(kind: &str) -> &'static [&'static str] {
    match kind {
        "user" => &["pub", "sub", "resp", "src", "times", "times_location", "subs", "data", "payload", "bearer_token"],
        "operator" => &["signing_keys", "account_server_url", "operator_service_urls", "system_account"],
        "account" => &["imports", "exports", "limits", "signing_keys", "revocations"],
        "activation" => &["subject", "kind"],
        _ => &[],
    }
}

const ACCOUNT_LIMITS: [&str; 9] =
    ["subs", "data", "payload", "imports", "exports", "wildcards", "disallow_bearer", "conn", "leaf"];

/// The claims of a JWT of that kind, as version 2 has them.
pub(super) fn migrate(kind: &str, mut claims: Map<String, Value>) -> Map<String, Value> {
    let mut nats = match claims.remove("nats") {
        Some(Value::Object(nats)) => nats,
        _ => Map::new(),
    };
    if let Some(shared) = nats.remove("type") {
        nats.insert("kind".into(), shared);
    }
    nats.retain(|name, _| members(kind).contains(&&**name));
    match kind {
        // What a user of version 1 leaves out is no limit.
        "user" => {
            for limit in ["subs", "data", "payload"] {
                nats.entry(limit).or_insert(UNLIMITED.into());
            }
        }
        "account" => {
            if let Some(Value::Object(limits)) = nats.get_mut("limits") {
                limits.retain(|name, _| ACCOUNT_LIMITS.contains(&&**name));
            }
        }
        _ => {}
    }
    for name in MOVED {
        if let Some(value) = claims.remove(name) {
            nats.insert(name.into(), value);
        }
    }
    claims.insert("nats".into(), nats.into());
    claims
}

#[cfg(test)]
mod tests {
    use super::super::{AccountClaims, Claims, JwtError, OperatorClaims, UserClaims};
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use nkeys::KeyPair;
    use serde_json::json;

    /// A token as version 1 has it: of another algorithm's name, and only the body is signed.
    fn sign(key: &KeyPair, mut claims: Value) -> String {
        claims["iss"] = key.public_key().into();
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let body = part(&claims.to_string());
        let signature = key.sign(body.as_bytes()).expect("signs");
        format!("{}.{body}.{}", part(r#"{"typ":"jwt","alg":"ed25519"}"#), URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn what_version_1_says_is_understood() {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let token = sign(
            &account,
            json!({"sub": "U", "type": "user", "tags": ["t"], "issuer_account": "A", "nats": {
                "pub": {"deny": ["x"]}, "payload": 10, "max": 5, "proxy_required": true,
            }}),
        );
        let user = Claims::<UserClaims>::decode(&token).expect("valid").nats;
        assert_eq!((user.issuer_account.as_str(), user.tags), ("A", vec!["t".to_owned()]));
        assert_eq!((user.limits.subs, user.limits.payload, user.limits.proxy_required), (UNLIMITED, 10, false));
        assert_eq!(user.limits.permissions.publish.deny, ["x"]);

        let nats = json!({"limits": {"conn": -1, "mem_storage": 7}, "signing_keys": ["AX"], "default_permissions": 1});
        let token = sign(&operator, json!({"sub": "A", "type": "account", "nats": nats}));
        let limits = Claims::<AccountClaims>::decode(&token).expect("valid").nats.limits;
        assert_eq!((limits.conn, limits.leaf, limits.jetstream.mem_storage), (UNLIMITED, 0, 0));

        let token = sign(&operator, json!({"sub": operator.public_key(), "type": "operator"}));
        assert!(Claims::<OperatorClaims>::decode(&token).expect("valid").nats.system_account.is_empty());
        assert!(matches!(Claims::<UserClaims>::decode(&token), Err(JwtError::Type { .. })));
        assert!(Claims::<OperatorClaims>::decode(&token.replace('.', "x.")).is_err());
        let other = sign(&KeyPair::new_operator(), json!({"sub": "O", "type": "operator"}));
        let forged =
            format!("{}.{}", token.rsplit_once('.').expect("parts").0, other.rsplit_once('.').expect("parts").1);
        assert_eq!(Claims::<OperatorClaims>::decode(&forged).err(), Some(JwtError::Signature));
    }
}
