//! Passwords and tokens, plain or as bcrypt hashes (nats-server `auth.go`, `comparePasswords`).

use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// A bcrypt check keeps a processor busy for up to a second: so many at a time, the others wait their turn or for the
/// authentication timeout, whichever comes first.
const PARALLEL_HASHES: usize = 2;

/// The hashes that may be worked on at a time.
#[derive(Clone)]
pub struct Hashing(Arc<Semaphore>);

impl Default for Hashing {
    fn default() -> Self {
        Hashing(Arc::new(Semaphore::new(PARALLEL_HASHES)))
    }
}

/// Whether `stored` is a bcrypt hash: `$2a$`, `$2b$`, `$2x$` or `$2y$`, and a cost of two digits.
pub fn is_bcrypt(stored: &str) -> bool {
    matches!(stored.as_bytes(), [b'$', b'2', b'a' | b'b' | b'x' | b'y', b'$', a, b, b'$', ..]
        if a.is_ascii_digit() && b.is_ascii_digit())
}

/// Whether `given` is the password that is stored, plain or hashed. Takes the time of a hash where it is one, off the
/// runtime's own threads.
pub async fn matches(stored: &str, given: &str, hashing: &Hashing) -> bool {
    if !is_bcrypt(stored) {
        return equal(stored, given);
    }
    // The semaphore is never closed.
    let Ok(permit) = hashing.0.clone().acquire_owned().await else { return false };
    let (stored, given) = (stored.to_owned(), given.to_owned());
    let verified = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        bcrypt::verify(given, &stored).unwrap_or(false)
    });
    verified.await.unwrap_or(false)
}

/// Whether both are the same, in a time that tells nothing but their lengths.
pub fn equal(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_and_hashed() {
        let hashing = Hashing::default();
        assert!(matches("s3cret", "s3cret", &hashing).await && !matches("s3cret", "S3cret", &hashing).await);
        let hash = bcrypt::hash("foo", 4).expect("hashes");
        let old = hash.replacen("$2b$", "$2a$", 1);
        for stored in [&hash, &old] {
            assert!(is_bcrypt(stored) && matches(stored, "foo", &hashing).await, "{stored}");
            assert!(!matches(stored, "bar", &hashing).await && !matches(stored, stored, &hashing).await);
        }
        assert!(!matches("$2a$11$broken", "$2a$11$broken", &hashing).await);
        assert!(!is_bcrypt("$2a$1") && !is_bcrypt("$1a$11$") && !is_bcrypt("$2c$11$"));
    }
}
