//! What does not fit together in a configuration whose every table is right by itself.

mod files;
mod leaf;
mod limits;
pub(super) mod secrets;
mod uplink;
mod websocket;

use super::Config;
use super::shares::Subjects;
use crate::account::{Accounts, SYSTEM_ACCOUNT};
use crate::auth::{Rules, ServerKeys};
use crate::subject;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is wrong.
pub(super) fn all(config: &Config) -> Vec<String> {
    let mut errors = Vec::new();
    if config.server_name.contains(char::is_whitespace) {
        errors.push(format!("server_name {:?}: server name cannot contain spaces", config.server_name));
    }
    names("leaf.remote", config.leaf.remote.iter().map(|r| &*r.name), &mut errors);
    names("uplink", config.uplink.iter().map(|u| &*u.name), &mut errors);
    names("adapter.serial", config.adapter.serial.iter().map(|s| &*s.name), &mut errors);
    names("adapter.mqtt", config.adapter.mqtt.iter().map(|m| &*m.name), &mut errors);
    limits::check(&config.limits, &mut errors);
    leaf::check(config, &mut errors);
    config.websocket.iter().for_each(|websocket| websocket::check(websocket, &mut errors));
    config.tls.iter().for_each(|tls| files::tls("[tls]", tls, &mut errors));
    secrets::check(config, &mut errors);
    if config.jetstream.sync_interval.0 < Duration::from_secs(1) {
        errors.push("jetstream.sync_interval must be at least 1s".into());
    }
    for (name, account) in &config.accounts {
        if account.jetstream.enabled && name.contains('/') {
            errors.push(format!("[accounts.{name:?}] jetstream: the name of an account with streams has no slash"));
        }
    }
    let named = config.authorization.as_ref().filter(|authorization| {
        // An operator's accounts are known by their JWTs.
        authorization.operator.is_empty() && authorization.trusted_keys.is_empty()
    });
    if let Some(name) = named.and_then(|authorization| authorization.system_account.as_ref())
        && name != SYSTEM_ACCOUNT
        && !config.accounts.contains_key(name)
    {
        errors.push(format!("[authorization] system_account: there is no account {name:?}"));
    }
    let known = config.authorization.as_ref().map(|authorization| authorization.resolver_preload.clone());
    let keys = Arc::new(ServerKeys::generate());
    let rules = Rules::new(config, &known.unwrap_or_default(), &Accounts::new(None), &keys);
    errors.extend(rules.err().map(|error| error.to_string()));
    errors.extend(Subjects::read(config).err().into_iter().flatten());
    uplink::check(config, &mut errors);
    check_adapters(config, &mut errors);
    errors
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
            (REMOTE.replace("tls://", "https://"), "must begin with tls://, "),
            (REMOTE.replace("tls://h:7422", "h:7422"), "must begin with tls://, "),
            (format!("{REMOTE}ping_interval = \"0s\"\n"), "\"hub\" ping_interval must be longer"),
            (format!("{REMOTE}reconnect = {{ min = \"1m\" }}\n"), "reconnect.min is longer than"),
            (
                "[leaf.listen]\ntls = { cert_file = \"/nowhere/c.pem\", key_file = \"/nowhere/k.pem\" }\n".into(),
                "cannot read /nowhere/k.pem",
            ),
            (
                "[leaf.listen]\nusers = [{ user = \"u\", password = { file = \"/no\" } }]\n".into(),
                "read the secret in /no",
            ),
            (format!("{REMOTE}account = \"A\"\n"), "there is no account \"A\""),
            ("[limits]\nping_interval = \"0s\"\n".into(), "limits.ping_interval must be longer"),
            ("[limits]\nmax_payload = 0\n".into(), "limits.max_payload must be at least 1"),
            ("[limits]\nmax_payload = \"65MB\"\n".into(), "at most 64 MB"),
            ("[limits]\nmax_payload = \"2MB\"\nmax_pending = \"1MB\"\n".into(), "above limits.max_pending"),
            ("[jetstream]\nsync_interval = \"10ms\"\n".into(), "jetstream.sync_interval must be at least 1s"),
            ("[limits]\nmax_control_line = 0\n".into(), "limits.max_control_line must be at least 1"),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"a.*\", \"a.b\"]\n"), "\"a.b\" overlaps \"a.*\""),
            (
                format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\">\"]\n"),
                "\">\" takes in _INBOX.>, where replies go",
            ),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"$JS.>\"]\n"), "takes in $JS.>, which is"),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\n"), "needs one of subjects, kv and object"),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\nkv = \"a.b\"\n"), "a bucket is a name"),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"a\"]\nbatch = 1001\n"), "batch is at most 1000"),
            (format!("{REMOTE}[[uplink]]\nname = \"t\"\nkv = \"a\"\norder = \"newest\"\n"), "has to be \"oldest\""),
            (
                format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"a\"]\norder = \"live\"\non_full = \"thin\"\n"),
                "on_full = \"thin\" needs order = \"oldest\"",
            ),
            (
                format!("{REMOTE}[[uplink]]\nname = \"t\"\nsubjects = [\"a\"]\nrate = \"1bit/s\"\n"),
                "rate must be at least",
            ),
            ("[wan]\ndaily = 0\n".into(), "[wan] daily must be at least"),
            ("[wan]\nburst = \"4KB\"\n".into(), "[wan] burst means nothing without rate"),
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
