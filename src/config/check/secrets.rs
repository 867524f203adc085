//! Passwords, tokens and seeds: whether they can be had, and whether others can read them.

use crate::config::Config;
use crate::config::auth::UserConfig;
use crate::config::secret::Secret;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Those that cannot be read.
pub(super) fn check(config: &Config, errors: &mut Vec<String>) {
    for (what, secret) in all(config) {
        if let Err(error) = secret.read() {
            errors.push(format!("{what}: {error}"));
        }
    }
}

/// A warning for each secret that stands in `file` itself, whose content is `config`, if every user of the machine can
/// read it. Hashes of passwords (bcrypt) are no secrets.
pub(in crate::config) fn exposed(file: &Path, config: &Config) -> Vec<String> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.permissions().mode() & 0o004 != 0 => {}
        _ => return Vec::new(),
    }
    let inline = |secret: &Secret| matches!(secret, Secret::Inline(text) if !text.starts_with("$2"));
    let warning = |what: String| {
        format!(
            "{}: everybody on this machine can read {what}; take the file from others' eyes (chmod o-r), or write \
             {{ file = PATH }} for the secret",
            file.display()
        )
    };
    all(config).into_iter().filter(|(_, secret)| inline(secret)).map(|(what, _)| warning(what)).collect()
}

/// All there are, with what they are for.
fn all<'a>(config: &'a Config) -> Vec<(String, &'a Secret)> {
    let mut found = Vec::new();
    let mut note = |what: String, key: &str, secret: Option<&'a Secret>| {
        found.extend(secret.map(|secret| (format!("{what} {key}"), secret)));
    };
    for remote in &config.leaf.remote {
        let what = format!("[[leaf.remote]] {:?}", remote.name);
        note(what.clone(), "password", remote.password.as_ref());
        note(what.clone(), "token", remote.token.as_ref());
        note(what, "nkey", remote.nkey.as_ref());
    }
    for user in config.leaf.listen.iter().flat_map(|listen| &listen.users) {
        note(format!("[leaf.listen] user {:?}", user.user), "password", Some(&user.password));
    }
    if let Some(authorization) = &config.authorization {
        note("[authorization]".to_owned(), "password", authorization.password.as_ref());
        note("[authorization]".to_owned(), "token", authorization.token.as_ref());
    }
    let in_accounts = config.accounts.values().flat_map(|account| &account.users);
    let users = config.authorization.iter().flat_map(|authorization| &authorization.users).chain(in_accounts);
    for UserConfig { user, password, .. } in users {
        note(format!("user {:?}", user.as_deref().unwrap_or_default()), "password", password.as_ref());
    }
    note("[http]".to_owned(), "password", config.http.as_ref().and_then(|http| http.password.as_ref()));
    if let Some(encryption) = &config.store.encryption {
        note("[store.encryption]".to_owned(), "key", Some(&encryption.key));
        note("[store.encryption]".to_owned(), "previous_key", encryption.previous_key.as_ref());
    }
    for mqtt in &config.adapter.mqtt {
        note(format!("[[adapter.mqtt]] {:?}", mqtt.name), "password", mqtt.password.as_ref());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn only_what_others_can_read_is_warned_of() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("leafd.toml");
        let config = |password: &str| {
            let text = format!("[leaf.listen]\nusers = [{{ user = \"u\", password = {password} }}]\n");
            toml::from_str(&text).expect("parses")
        };
        write(&file, "").expect("written");
        for (mode, password, warned) in [
            (0o644, "\"p\"", true),
            (0o640, "\"p\"", false),
            (0o644, "{ file = \"/f\" }", false),
            (0o644, "\"$2a$04$x\"", false),
        ] {
            set_permissions(&file, Permissions::from_mode(mode)).expect("set");
            let found = exposed(&file, &config(password)).concat();
            assert_eq!(found.contains("user \"u\" password"), warned, "{mode:o} {password}: {found}");
            assert!(!warned || found.contains("leafd.toml"), "{found}");
        }
    }
}
