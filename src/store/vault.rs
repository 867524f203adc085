//! Encryption at rest: whose key it is, and how bytes are sealed with it.
//!
//! The operator's key wraps a key drawn for the data directory, in `store.key`; all others are derived from that one: for each
//! segment of each log, for the state log, and for hints. Why no nonce is ever used twice with a key stands in
//! docs/decisions/0002-encryption.md.

use super::StoreError;
use super::frame::{self, Parsed, UNSALTED};
use super::io::Place;
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Least length of the operator's key, bytes: it is not stretched, so it must be one that cannot be guessed.
const LEAST_KEY: usize = 16;
/// Bytes of a nonce, and of a tag.
const NONCE: usize = aead::NONCE_LEN;
const TAG: usize = 16;
/// What sealing adds to some bytes.
pub(super) const OVERHEAD: usize = NONCE + TAG;
const SALT: usize = 16;
const KEY: usize = 32;
/// Format of `store.key`.
const VERSION: u8 = 1;
/// How often the file holds it, as losing it loses everything.
const COPIES: usize = 2;
/// Where its second copy begins: another block.
const COPY: u64 = 4096;

/// How bytes are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Cipher {
    /// Quick on any processor.
    #[default]
    #[serde(rename = "chacha20-poly1305")]
    ChaCha20Poly1305,
    /// Quick where the processor has instructions for it.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

impl Cipher {
    fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
        }
    }
}

/// The operator's wish that a data directory be encrypted.
#[derive(Clone, Default)]
pub struct Encryption {
    /// The key, at least 16 bytes.
    pub key: Vec<u8>,
    /// The key before: a directory that has it gets the new one.
    pub previous: Option<Vec<u8>>,
    /// Of new directories; others keep theirs.
    pub cipher: Cipher,
}

impl Encryption {
    /// Whether the key will do.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.key.len() < LEAST_KEY { Err(StoreError::ShortKey(LEAST_KEY)) } else { Ok(()) }
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// The state log.
    State,
    /// Index files and checkpoints.
    Hint,
}

/// The keys of an open data directory.
pub(super) struct Vault {
    cipher: Cipher,
    root: Prk,
    nonces: Arc<Nonces>,
    state: FileKey,
    hint: FileKey,
}

/// Nonces of one opening of a store: a place drawn among all of 96 bits, and those behind it.
struct Nonces {
    prefix: [u8; 4],
    next: AtomicU64,
}

/// What seals the pieces of a file.
pub(super) struct FileKey {
    key: LessSafeKey,
    nonces: Arc<Nonces>,
}

impl FileKey {
    /// Seals what [`FileKey::begin`] was followed by.
    pub fn seal(&self, out: &mut Vec<u8>, begin: usize, aad: &[u8]) {
        let nonce = self.nonces.draw();
        out[begin..begin + NONCE].copy_from_slice(&nonce);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = &mut out[begin + NONCE..];
        match self.key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain) {
            Ok(tag) => out.extend_from_slice(tag.as_ref()),
            // Longer than any record can be: rather lost than readable.
            Err(_) => plain.fill(0),
        }
    }

    /// Leaves room for the nonce; what is to be sealed comes behind it.
    pub fn begin(out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&[0; NONCE]);
        out.len() - NONCE
    }

    /// What was sealed; `None` if it was not by this key, or was changed since.
    pub fn open(&self, sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let mut plain = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.key.open_in_place(nonce, Aad::from(aad), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

impl Nonces {
    fn new() -> Result<Nonces, StoreError> {
        let (mut prefix, mut start) = ([0; 4], [0; 8]);
        draw(&mut prefix).and_then(|()| draw(&mut start))?;
        Ok(Nonces { prefix, next: AtomicU64::new(u64::from_le_bytes(start)) })
    }

    fn draw(&self) -> [u8; NONCE] {
        let mut nonce = [0; NONCE];
        nonce[..4].copy_from_slice(&self.prefix);
        nonce[4..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        nonce
    }
}

fn draw(bytes: &mut [u8]) -> Result<(), StoreError> {
    SystemRandom::new().fill(bytes).map_err(|_| StoreError::NoRandom)
}

/// Derives the key for `purpose`.
fn derive(from: &Prk, purpose: &[&[u8]], algorithm: &'static aead::Algorithm) -> Result<LessSafeKey, StoreError> {
    let key = from.expand(purpose, algorithm).map_err(|_| StoreError::NoRandom)?;
    Ok(LessSafeKey::new(UnboundKey::from(key)))
}

impl Vault {
    fn new(cipher: Cipher, key: &[u8; KEY]) -> Result<Vault, StoreError> {
        let (root, nonces) = (Prk::new_less_safe(HKDF_SHA256, key), Arc::new(Nonces::new()?));
        let of = |purpose: &[u8]| {
            Ok(FileKey { key: derive(&root, &[purpose], cipher.algorithm())?, nonces: nonces.clone() })
        };
        let (state, hint) = (of(b"leafd state")?, of(b"leafd hint")?);
        Ok(Vault { cipher, root, nonces, state, hint })
    }

    /// The key of a segment of the log in `dir`.
    pub fn segment(&self, dir: &Path, base: u64) -> Result<FileKey, StoreError> {
        let log = dir.file_name().unwrap_or_default().as_encoded_bytes();
        let purpose: [&[u8]; 3] = [b"leafd segment", &base.to_le_bytes(), log];
        Ok(FileKey { key: derive(&self.root, &purpose, self.cipher.algorithm())?, nonces: self.nonces.clone() })
    }

    fn key(&self, kind: Kind) -> &FileKey {
        match kind {
            Kind::State => &self.state,
            Kind::Hint => &self.hint,
        }
    }
}

/// Appends a frame whose body `write` writes, sealed if the directory is encrypted.
pub(super) fn push(vault: Option<&Arc<Vault>>, kind: Kind, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    frame::push(out, UNSALTED, |out| match vault {
        Some(vault) => {
            let begin = FileKey::begin(out);
            write(out);
            vault.key(kind).seal(out, begin, b"");
        }
        None => write(out),
    });
}

/// What [`push`] was given to write, from the body of the frame; `None` if it was not sealed by this directory's key.
pub(super) fn open_body<'a>(vault: Option<&Arc<Vault>>, kind: Kind, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    match vault {
        Some(vault) => vault.key(kind).open(body, b"").map(Cow::Owned),
        None => Some(Cow::Borrowed(body)),
    }
}

/// The keys of the directory, if it is encrypted and that is wished; a new directory is made so.
///
/// # Errors
/// It is encrypted and there is no key, or another one; or it is not and there is one. Nothing has been changed then.
pub(super) fn unlock(place: &Place, wish: Option<&Encryption>) -> Result<Option<Arc<Vault>>, StoreError> {
    let path = path(place);
    let failed = |e| StoreError::io("read", &path, e);
    let bytes = match place.disk.open(&path, false) {
        Ok(file) => Some(file.read_all().map_err(failed)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(failed(e)),
    };
    let (wish, bytes) = match (wish, bytes) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(StoreError::NoKey { path }),
        (Some(wish), None) => {
            let used =
                ["state.log", "store.salt"].iter().any(|name| place.disk.open(&place.dir.join(name), false).is_ok());
            if used {
                return Err(StoreError::NotEncrypted { path: place.dir.clone() });
            }
            return make(place, wish).map(Some);
        }
        (Some(wish), Some(bytes)) => (wish, bytes),
    };
    let bodies = || bodies(&bytes);
    if bodies().next().is_none() {
        return Err(StoreError::KeyLost { path });
    }
    if let Some((cipher, key)) = bodies().find_map(|body| unwrap(body, &wish.key)) {
        if bodies().count() < COPIES {
            // While the other one can be read; where nothing may be written it stays as it is.
            match write(place, cipher, &wish.key, &key) {
                Ok(()) => tracing::warn!("{}: one of its two copies was damaged, and is made anew", path.display()),
                Err(error) => tracing::warn!("{}: one of its two copies is damaged: {error}", path.display()),
            }
        }
        return Vault::new(cipher, &key).map(|vault| Some(Arc::new(vault)));
    }
    let previous = wish.previous.as_deref();
    let Some((cipher, key)) = previous.and_then(|previous| bodies().find_map(|body| unwrap(body, previous))) else {
        return Err(StoreError::WrongKey { path });
    };
    write(place, cipher, &wish.key, &key)?;
    tracing::info!("{}: the previous key has opened it; from now on the new one does", path.display());
    Vault::new(cipher, &key).map(|vault| Some(Arc::new(vault)))
}

/// What the copies in a key file hold, of those that are whole.
fn bodies(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let copies = [Some(bytes), bytes.get(COPY as usize..)];
    copies.into_iter().flatten().filter_map(|copy| match frame::parse(copy, UNSALTED) {
        Parsed::Whole(body, _) => Some(body),
        Parsed::Short(_) | Parsed::Bad => None,
    })
}

/// The key file, if it holds its key once only.
pub(super) fn half_lost(place: &Place) -> Option<PathBuf> {
    let bytes = place.disk.open(&path(place), false).and_then(|file| file.read_all()).ok()?;
    (bodies(&bytes).count() < COPIES).then(|| path(place))
}

fn make(place: &Place, wish: &Encryption) -> Result<Arc<Vault>, StoreError> {
    let mut key = [0; KEY];
    draw(&mut key)?;
    write(place, wish.cipher, &wish.key, &key)?;
    Vault::new(wish.cipher, &key).map(Arc::new)
}

/// The key of the directory out of the body of `store.key`: version, cipher, salt, and the sealed key; `None` if it is another
/// operator's.
fn unwrap(body: &[u8], operator: &[u8]) -> Option<(Cipher, [u8; KEY])> {
    let (&[VERSION, cipher], rest) = body.split_first_chunk()? else { return None };
    let cipher = [Cipher::ChaCha20Poly1305, Cipher::Aes256Gcm].into_iter().find(|known| *known as u8 == cipher)?;
    let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
    let key = wrapping(operator, salt, cipher).ok()?.open_with(sealed)?;
    Some((cipher, key))
}

/// What wraps the key of the directory.
struct Wrapping(LessSafeKey);

fn wrapping(operator: &[u8], salt: &[u8], cipher: Cipher) -> Result<Wrapping, StoreError> {
    let root = Salt::new(HKDF_SHA256, salt).extract(operator);
    derive(&root, &[b"leafd store key"], cipher.algorithm()).map(Wrapping)
}

impl Wrapping {
    fn open_with(&self, sealed: &[u8]) -> Option<[u8; KEY]> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let mut plain = rest.to_vec();
        let plain = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut plain).ok()?;
        (&*plain).try_into().ok()
    }
}

/// Writes `store.key`, by way of a new name, before anything is sealed with it.
fn write(place: &Place, cipher: Cipher, operator: &[u8], key: &[u8; KEY]) -> Result<(), StoreError> {
    let (mut salt, mut nonce) = ([0; SALT], [0; NONCE]);
    draw(&mut salt).and_then(|()| draw(&mut nonce))?;
    let mut sealed = key.to_vec();
    // The wrapping key is used once, as its salt is drawn anew.
    let tag = wrapping(operator, &salt, cipher)?
        .0
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .map_err(|_| StoreError::NoRandom)?;
    let mut bytes = Vec::new();
    frame::push(&mut bytes, UNSALTED, |out| {
        out.extend_from_slice(&[VERSION, cipher as u8]);
        out.extend_from_slice(&salt);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out.extend_from_slice(tag.as_ref());
    });
    let (path, new) = (path(place), path(place).with_extension("key.new"));
    let failed = |e| StoreError::io("write", &path, e);
    let file = place.disk.open(&new, true).map_err(failed)?;
    file.truncate(0).and_then(|()| file.write_at(&bytes, 0)).map_err(failed)?;
    file.write_at(&bytes, COPY).and_then(|()| file.sync()).map_err(failed)?;
    place.disk.rename(&new, &path).and_then(|()| place.disk.sync_dir(&place.dir)).map_err(failed)
}

fn path(place: &Place) -> PathBuf {
    place.dir.join("store.key")
}
