//! Account JWTs in a directory, one file each (nats-server `dirstore.go`): `A....jwt`, by the account's public nkey.

use super::ResolverError;
use crate::auth::jwt::MAX_TOKEN;
use crate::config::auth::ResolverConfig;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Accounts at most, unless configured.
const MAX_ACCOUNTS: usize = 10_000;
const EXTENSION: &str = "jwt";

/// A directory of account JWTs, which this process alone writes to.
pub(super) struct Directory {
    path: PathBuf,
    limit: usize,
    /// Whether accounts may be deleted.
    pub deletes: bool,
    hard: bool,
}

impl Directory {
    /// The directory of `config`, and what lies in it by account; made if it is not there.
    pub fn open(config: &ResolverConfig) -> Result<(Directory, BTreeMap<String, String>), ResolverError> {
        let path = config.dir.clone();
        let failed = |error| ResolverError::Directory { path: path.clone(), error };
        fs::create_dir_all(&path).map_err(failed)?;
        let limit = config.limit.filter(|limit| *limit > 0).unwrap_or(MAX_ACCOUNTS);
        let mut tokens = BTreeMap::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let Some(key) = account_of(&file) else { continue };
            if tokens.len() == limit {
                return Err(ResolverError::Full { path, limit });
            }
            let token = read(&file).map_err(|error| ResolverError::Directory { path: file.clone(), error })?;
            tokens.insert(key, token);
        }
        Ok((Directory { path, limit, deletes: config.allow_delete, hard: config.hard_delete }, tokens))
    }

    /// Keeps `token` for `key`, on disk when this returns; `known` accounts are there without it.
    pub fn save(&self, key: &str, token: &str, known: usize) -> Result<(), String> {
        if known >= self.limit {
            return Err("jwt store is full".into());
        }
        let file = self.file(key);
        write(&file, token).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Forgets `key`.
    pub fn delete(&self, key: &str) -> Result<(), String> {
        let file = self.file(key);
        let result = match self.hard {
            true => fs::remove_file(&file),
            false => fs::rename(&file, file.with_extension("jwt.deleted")),
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
            _ => sync_parent(&file).map_err(|error| error.to_string()),
        }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.path.join(format!("{key}.{EXTENSION}"))
    }
}

fn account_of(file: &Path) -> Option<String> {
    let key = file.file_stem()?.to_str()?;
    let is_token = file.extension().is_some_and(|extension| extension == EXTENSION);
    (is_token && super::is_account(key)).then(|| key.to_owned())
}

fn read(file: &Path) -> io::Result<String> {
    let mut token = String::new();
    File::open(file)?.take(MAX_TOKEN as u64 + 1).read_to_string(&mut token)?;
    Ok(token.trim().to_owned())
}

/// By way of a new file, so that a power cut leaves either what was there or what comes.
fn write(file: &Path, token: &str) -> io::Result<()> {
    let new = file.with_extension("jwt.new");
    let mut writer = File::create(&new)?;
    writer.write_all(token.as_bytes())?;
    writer.sync_all()?;
    fs::rename(&new, file)?;
    sync_parent(file)
}

fn sync_parent(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::KeyPair;

    #[test]
    fn what_is_saved_is_there_when_it_is_opened_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("jwt");
        let config = ResolverConfig { dir: path.clone(), allow_delete: true, hard_delete: false, limit: Some(2) };
        let (first, second) = (KeyPair::new_account().public_key(), KeyPair::new_account().public_key());
        let (directory, tokens) = Directory::open(&config).expect("made");
        assert!(tokens.is_empty());
        directory.save(&first, "a.b.c", 0).expect("saved");
        directory.save(&first, "d.e.f", 0).expect("saved");
        directory.save(&second, "g.h.i", 1).expect("saved");
        assert_eq!(directory.save("third", "j.k.l", 2), Err("jwt store is full".into()));
        fs::write(path.join("README"), "no token").expect("written");
        let (_, tokens) = Directory::open(&config).expect("opened");
        assert_eq!(tokens, BTreeMap::from([(first.clone(), "d.e.f".into()), (second.clone(), "g.h.i".into())]));
        directory.delete(&first).expect("deleted");
        directory.delete(&first).expect("gone already");
        assert!(path.join(format!("{first}.jwt.deleted")).exists());
        let (hard, tokens) = Directory::open(&ResolverConfig { hard_delete: true, ..config.clone() }).expect("opened");
        assert_eq!(tokens.len(), 1);
        hard.delete(&second).expect("deleted");
        assert!(!path.join(format!("{second}.jwt.deleted")).exists());
        directory.save(&first, "a.b.c", 0).expect("saved");
        directory.save(&second, "a.b.c", 1).expect("saved");
        let small = Directory::open(&ResolverConfig { limit: Some(1), ..config });
        assert!(matches!(small, Err(ResolverError::Full { limit: 1, .. })));
    }
}
