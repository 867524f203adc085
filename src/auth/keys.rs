//! The keys of this process: the server nkey that is its id and signs what it asks an auth callout, and the curve key with
//! which such requests are sealed (nats-server `server.go`, `NewServer`). Both are new at each start.

use nkeys::{KeyPair, XKey};

/// The keys of this process.
pub struct ServerKeys {
    signing: KeyPair,
    curve: XKey,
}

impl ServerKeys {
    /// New keys.
    pub fn generate() -> ServerKeys {
        ServerKeys { signing: KeyPair::new_server(), curve: XKey::new() }
    }

    /// The server's id: the public server nkey, `N` and 55 characters.
    pub fn id(&self) -> String {
        self.signing.public_key()
    }

    /// The public curve key, `X` and 55 characters; `xkey` in INFO.
    pub fn xkey(&self) -> String {
        self.curve.public_key()
    }

    /// The key that signs.
    pub fn signing(&self) -> &KeyPair {
        &self.signing
    }

    /// The key that seals and opens (`xkv1`).
    pub fn curve(&self) -> &XKey {
        &self.curve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_public_nkeys_of_their_kinds() {
        let (keys, other) = (ServerKeys::generate(), ServerKeys::generate());
        assert!(crate::auth::nkey::is_public(&keys.id(), nkeys::KeyPairType::Server));
        assert!(XKey::from_public_key(&keys.xkey()).is_ok() && keys.xkey() != other.xkey());
        let sealed = keys.curve().seal(b"secret", other.curve()).expect("sealed");
        assert_eq!(other.curve().open(&sealed, keys.curve()).expect("opened"), b"secret");
        assert_eq!(keys.signing().public_key(), keys.id());
    }
}
