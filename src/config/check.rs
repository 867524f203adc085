//! What does not fit together in a configuration whose every table is right by itself.

use super::leaf::RemoteConfig;
use super::secret::Secret;
use super::tls::TlsConfig;
use super::{Config, LimitsConfig};
use crate::subject;
use std::path::Path;

/// Everything that is wrong.
pub(super) fn all(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    if config.server_name.contains(|c: char| c.is_whitespace() || ".*>".contains(c)) {
        errors.push(format!(
            "server_name {:?}: blanks, dots and wildcards are not allowed, as it becomes a subject token",
            config.server_name
        ));
    }
    names("leaf.remote", config.leaf.remote.iter().map(|r| &*r.name), &mut errors);
    names("uplink", config.uplink.iter().map(|u| &*u.name), &mut errors);
    names("adapter.serial", config.adapter.serial.iter().map(|s| &*s.name), &mut errors);
    names("adapter.mqtt", config.adapter.mqtt.iter().map(|m| &*m.name), &mut errors);
    config.leaf.remote.iter().for_each(|remote| check_remote(remote, &mut errors));
    config.tls.iter().for_each(|tls| check_tls("[tls]", tls, &mut errors));
    not_built_yet(config, &mut errors);
    check_uplinks(config, &mut errors);
    check_adapters(config, &mut errors);
    errors
}

/// What the configuration can say and leafd cannot do yet is refused: nobody shall believe a door locked that is open.
fn not_built_yet(config: &Config, errors: &mut Vec<String>) {
    let defaults = LimitsConfig::default();
    for (set, what) in [
        (config.tls.as_ref().is_some_and(|tls| tls.verify_and_map), "tls.verify_and_map: users by their certificates"),
        (config.websocket.is_some(), "[websocket]: the WebSocket listener"),
        (config.http.is_some(), "[http]: monitoring over HTTP"),
        (config.authorization.is_some(), "[authorization]: authentication of clients"),
        (!config.accounts.is_empty(), "[accounts]: more than one account"),
        (!config.mappings.is_empty(), "[mappings]: subject mapping"),
        (config.limits.max_subscriptions != 0, "limits.max_subscriptions: a bound on subscriptions"),
        (
            config.limits.lame_duck_duration != defaults.lame_duck_duration
                || config.limits.lame_duck_grace_period != defaults.lame_duck_grace_period,
            "limits.lame_duck_*: lame duck mode",
        ),
    ] {
        if set {
            errors.push(format!("{what} is not built yet; take it out of the configuration"));
        }
    }
}

fn names<'a>(table: &str, names: impl Iterator<Item = &'a str>, errors: &mut Vec<String>) {
    let mut seen = Vec::new();
    for name in names {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || ".*>".contains(c)) {
            errors.push(format!("[[{table}]] name {name:?}: must be a word without blanks, dots and wildcards"));
        }
        if seen.contains(&name) {
            errors.push(format!("[[{table}]] name {name:?} is used twice"));
        }
        seen.push(name);
    }
}

fn subjects<'a>(what: &str, list: impl IntoIterator<Item = &'a String>, errors: &mut Vec<String>) {
    for subject in list {
        if !subject::is_valid(subject) {
            errors.push(format!("{what}: {subject:?} is not a valid subject"));
        }
    }
}

fn readable(what: &str, path: Option<&Path>, errors: &mut Vec<String>) {
    if let Some(path) = path
        && let Err(error) = std::fs::File::open(path)
    {
        errors.push(format!("{what}: cannot read {}: {error}", path.display()));
    }
}

/// A PEM file with at least one certificate.
fn certificates(what: &str, path: Option<&Path>, errors: &mut Vec<String>) {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::{Error, PemObject};
    let Some(path) = path else { return };
    let found = CertificateDer::pem_file_iter(path).and_then(|mut certificates| certificates.next().transpose());
    match found {
        Ok(Some(_)) => {}
        Ok(None) | Err(Error::NoItemsFound) => {
            errors.push(format!("{what}: there is no PEM certificate in {}", path.display()));
        }
        Err(Error::Io(error)) => errors.push(format!("{what}: cannot read {}: {error}", path.display())),
        Err(error) => errors.push(format!("{what}: {} is no PEM file: {error}", path.display())),
    }
}

fn check_tls(what: &str, tls: &TlsConfig, errors: &mut Vec<String>) {
    certificates(&format!("{what} cert_file"), Some(&tls.cert_file), errors);
    certificates(&format!("{what} ca_file"), tls.ca_file.as_deref(), errors);
    readable(&format!("{what} key_file"), Some(&tls.key_file), errors);
}

fn check_remote(remote: &RemoteConfig, errors: &mut Vec<String>) {
    let what = format!("[[leaf.remote]] {:?}", remote.name);
    if remote.urls.is_empty() {
        errors.push(format!("{what}: urls is empty; name at least one, such as \"tls://hub.example.com:7422\""));
    }
    subjects(&format!("{what} export"), &remote.export, errors);
    subjects(&format!("{what} import"), &remote.import, errors);
    certificates(&format!("{what} tls.ca_file"), remote.tls.ca_file.as_deref(), errors);
    certificates(&format!("{what} tls.cert_file"), remote.tls.cert_file.as_deref(), errors);
    readable(&format!("{what} tls.key_file"), remote.tls.key_file.as_deref(), errors);
    readable(&format!("{what} creds"), remote.creds.as_deref(), errors);
    if remote.tls.cert_file.is_some() != remote.tls.key_file.is_some() {
        errors.push(format!("{what}: tls.cert_file and tls.key_file go together"));
    }
    for (key, secret) in [("password", &remote.password), ("token", &remote.token), ("nkey", &remote.nkey)] {
        secret_readable(&format!("{what} {key}"), secret.as_ref(), errors);
    }
    let kinds = [remote.user.is_some(), remote.token.is_some(), remote.nkey.is_some(), remote.creds.is_some()];
    if kinds.iter().filter(|k| **k).count() > 1 {
        errors.push(format!("{what}: only one of user, token, nkey and creds can be used"));
    }
    if remote.user.is_some() != remote.password.is_some() {
        errors.push(format!("{what}: user and password go together"));
    }
}

fn secret_readable(what: &str, secret: Option<&Secret>, errors: &mut Vec<String>) {
    if let Some(Err(error)) = secret.map(Secret::read) {
        errors.push(format!("{what}: {error}"));
    }
}

fn check_uplinks(config: &Config, errors: &mut Vec<String>) {
    for (at, uplink) in config.uplink.iter().enumerate() {
        let what = format!("[[uplink]] {:?}", uplink.name);
        if uplink.subjects.is_empty() {
            errors.push(format!("{what}: subjects is empty"));
        }
        subjects(&format!("{what} subjects"), &uplink.subjects, errors);
        if config.remote_of(uplink).is_none() {
            errors.push(match &uplink.remote {
                Some(name) => format!("{what}: there is no [[leaf.remote]] named {name:?}"),
                None => format!("{what}: remote is needed, as there is not exactly one [[leaf.remote]]"),
            });
        }
        if !config.jetstream.enabled {
            errors.push(format!("{what}: needs [jetstream] enabled = true"));
        }
        if uplink.window == 0 {
            errors.push(format!("{what}: window must be at least 1"));
        }
        for other in &config.uplink[..at] {
            if other.stream() == uplink.stream() {
                errors.push(format!(
                    "{what}: its stream would be {}, as that of [[uplink]] {:?}",
                    uplink.stream(),
                    other.name
                ));
            }
            for (a, b) in uplink.subjects.iter().flat_map(|a| other.subjects.iter().map(move |b| (a, b))) {
                if subject::overlap(a, b) {
                    errors.push(format!("{what}: {a:?} overlaps {b:?} of [[uplink]] {:?}", other.name));
                }
            }
        }
    }
}

fn check_adapters(config: &Config, errors: &mut Vec<String>) {
    let filled = |template: &String| template.replace("{name}", "n").replace("{topic}", "t");
    for serial in &config.adapter.serial {
        let what = format!("[[adapter.serial]] {:?}", serial.name);
        subject_template(&format!("{what} subject"), &filled(&serial.subject), errors);
        serial.command.iter().for_each(|c| subject_template(&format!("{what} command"), &filled(c), errors));
        if !(5..=8).contains(&serial.data_bits) || !(1..=2).contains(&serial.stop_bits) {
            errors.push(format!("{what}: data_bits is 5 to 8, stop_bits 1 or 2"));
        }
        if serial.max_length == 0 {
            errors.push(format!("{what}: max_length must be at least 1"));
        }
    }
    for mqtt in &config.adapter.mqtt {
        let what = format!("[[adapter.mqtt]] {:?}", mqtt.name);
        subject_template(&format!("{what} subject"), &filled(&mqtt.subject), errors);
        mqtt.command.iter().for_each(|c| subject_template(&format!("{what} command"), &filled(c), errors));
        secret_readable(&format!("{what} password"), mqtt.password.as_ref(), errors);
        if !mqtt.url.starts_with("mqtt://") {
            errors.push(format!("{what}: url {:?} must begin with mqtt://", mqtt.url));
        }
        if mqtt.topics.is_empty() {
            errors.push(format!("{what}: topics is empty"));
        }
        if mqtt.topics.iter().any(|t| t.qos > 1) {
            errors.push(format!("{what}: qos is 0 or 1"));
        }
    }
}

fn subject_template(what: &str, filled: &str, errors: &mut Vec<String>) {
    if !subject::is_valid_literal(filled) || filled.contains(['{', '}']) {
        errors.push(format!(
            "{what}: {filled:?} is not a subject; {{gateway}}, {{name}} and {{topic}} (MQTT) can be used"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        let mut config: Config = toml::from_str(text).expect("parses");
        config.server_name = "gw1".into();
        all(&config).join("\n")
    }

    const REMOTE: &str = "[[leaf.remote]]\nname = \"hub\"\nurls = [\"tls://h:7422\"]\n";

    #[test]
    fn a_good_one_passes() {
        let text = format!("{REMOTE}export = [\"a.>\"]\n[[uplink]]\nname = \"t\"\nsubjects = [\"a.t.>\"]\n");
        assert_eq!(check(&text), "");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (text, want) in [
            ("[[uplink]]\nname = \"t\"\nsubjects = [\"a\"]\n".to_owned(), "not exactly one"),
            (
                format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"a\"]\nremote = \"x\"\n"),
                "no [[leaf.remote]] named \"x\"",
            ),
            (format!("{REMOTE}{REMOTE}"), "used twice"),
            (format!("{REMOTE}export = [\"a..b\"]\n"), "not a valid subject"),
            (format!("{REMOTE}tls = {{ ca_file = \"/nowhere/ca.pem\" }}\n"), "cannot read /nowhere/ca.pem"),
            (format!("{REMOTE}user = \"u\"\npassword = {{ env = \"LEAFD_NOT_SET\" }}\n"), "LEAFD_NOT_SET"),
            (format!("{REMOTE}user = \"u\"\n"), "go together"),
            (
                format!(
                    "{REMOTE}[[uplink]]\nname = \"a\"\nsubjects = [\"x.>\"]\n[[uplink]]\nname = \"b\"\nsubjects = [\"x.y\"]\n"
                ),
                "overlaps",
            ),
            ("[[adapter.serial]]\nname = \"s\"\nport = \"p\"\nsubject = \"a.{nmae}\"\n".to_owned(), "{name}"),
            ("[[adapter.mqtt]]\nname = \"m\"\nurl = \"tcp://x\"\ntopics = []\nsubject = \"a\"\n".to_owned(), "mqtt://"),
        ] {
            let found = check(&text);
            assert!(found.contains(want), "{text}\n=> {found}");
        }
    }
}
