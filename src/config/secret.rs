//! Secrets are named by where they lie, and read when they are used, so that a rotated one is picked up at the next dial.

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::path::PathBuf;

/// Where a password or token lies.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In the configuration itself; accepted, but such a file must be kept from others' eyes.
    Inline(String),
    /// `{ file = PATH }`: the file's content without the line end.
    File {
        /// The file.
        file: PathBuf,
    },
    /// `{ env = NAME }`: an environment variable.
    Env {
        /// Its name.
        env: String,
    },
    /// `{ credential = NAME }`: a systemd credential (`LoadCredential=`).
    Credential {
        /// Its name.
        credential: String,
    },
}

/// A secret that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A file that cannot be read.
    #[error("cannot read the secret in {path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// An environment variable that is not set.
    #[error("the environment variable {0} that holds the secret is not set")]
    Env(String),
    /// Not started by systemd with credentials.
    #[error(
        "the systemd credential {0} is not there: CREDENTIALS_DIRECTORY is not set; add LoadCredential={0}:PATH to the unit"
    )]
    Credential(String),
}

impl Secret {
    /// Reads it.
    pub fn read(&self) -> Result<String, SecretError> {
        let path = match self {
            Secret::Inline(text) => return Ok(text.clone()),
            Secret::Env { env } => return std::env::var(env).map_err(|_| SecretError::Env(env.clone())),
            Secret::File { file } => file.clone(),
            Secret::Credential { credential } => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(dir) => PathBuf::from(dir).join(credential),
                None => return Err(SecretError::Credential(credential.clone())),
            },
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err(SecretError::File { path, error }),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret: its text, { file = PATH }, { env = NAME } or { credential = NAME }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::Inline(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                let source = map.next_key()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let secret = match source {
                    Source::File => Secret::File { file: map.next_value()? },
                    Source::Env => Secret::Env { env: map.next_value()? },
                    Source::Credential => Secret::Credential { credential: map.next_value()? },
                };
                match map.next_key::<Source>()? {
                    None => Ok(secret),
                    Some(_) => Err(de::Error::custom("a secret lies in one place: file, env or credential")),
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// The key of a secret's table; an unknown one is told with those there are.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Source {
    File,
    Env,
    Credential,
}

/// Never shows an inline secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Inline(_) => f.write_str("Secret(inline)"),
            Secret::File { file } => write!(f, "Secret(file {})", file.display()),
            Secret::Env { env } => write!(f, "Secret(env {env})"),
            Secret::Credential { credential } => write!(f, "Secret(credential {credential})"),
        }
    }
}
