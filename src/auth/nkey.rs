//! Nkeys: the nonce that a client has to sign, and the check of what it signed (nats-server `nkey.go`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nkeys::{KeyPair, KeyPairType};
use ring::rand::{SecureRandom, SystemRandom};

/// Random bytes in a nonce.
const NONCE_BYTES: usize = 11;

/// A nonce for INFO, 15 characters of base64url; `None` if the system has no randomness to give.
pub fn nonce() -> Option<String> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether `signature` (base64url, or plain base64 as old clients send it) is that of `nonce` by the public nkey `key`.
pub fn verifies(key: &str, nonce: &str, signature: &str) -> bool {
    let signature = URL_SAFE_NO_PAD.decode(signature).or_else(|_| STANDARD.decode(signature));
    match (KeyPair::from_public_key(key), signature) {
        (Ok(key), Ok(signature)) => key.verify(nonce.as_bytes(), &signature).is_ok(),
        _ => false,
    }
}

/// Whether `key` is a public nkey of that kind.
pub fn is_public(key: &str, kind: KeyPairType) -> bool {
    key.starts_with(match kind {
        KeyPairType::Operator => 'O',
        KeyPairType::Account => 'A',
        KeyPairType::User => 'U',
        KeyPairType::Server => 'N',
        KeyPairType::Cluster => 'C',
        _ => return false,
    }) && KeyPair::from_public_key(key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_s_own_signature_of_the_nonce_counts() {
        let key = KeyPair::new_user();
        let (public, nonce) = (key.public_key(), nonce().expect("randomness"));
        assert_eq!(nonce.len(), 15);
        let signed = key.sign(nonce.as_bytes()).expect("signs");
        assert!(verifies(&public, &nonce, &URL_SAFE_NO_PAD.encode(&signed)));
        assert!(verifies(&public, &nonce, &STANDARD.encode(&signed)));
        assert!(!verifies(&public, "other", &URL_SAFE_NO_PAD.encode(&signed)));
        assert!(!verifies(&KeyPair::new_user().public_key(), &nonce, &URL_SAFE_NO_PAD.encode(&signed)));
        assert!(!verifies("UABC", &nonce, "x") && !verifies(&public, &nonce, ""));
        assert!(is_public(&public, KeyPairType::User) && !is_public(&public, KeyPairType::Account));
        assert!(!is_public("U", KeyPairType::User));
    }
}
