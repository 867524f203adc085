//! `[[leaf.remote]]` and `[leaf.listen]`.

use super::files::{certificates, key, readable};
use super::uplink::bucket;
use super::{limits, subjects};
use crate::config::Config;
use crate::config::leaf::{ListenConfig, RemoteConfig, URL_SCHEMES};

pub(super) fn check(config: &Config, errors: &mut Vec<String>) {
    for remote in &config.leaf.remote {
        check_remote(remote, errors);
        account(config, &format!("[[leaf.remote]] {:?}", remote.name), &remote.account, errors);
    }
    if let Some(listen) = &config.leaf.listen {
        check_listen(listen, errors);
        for name in listen.account.iter().chain(listen.users.iter().filter_map(|user| user.account.as_ref())) {
            account(config, "[leaf.listen]", name, errors);
        }
    }
}

fn account(config: &Config, what: &str, name: &str, errors: &mut Vec<String>) {
    if !config.has_account(name) {
        errors.push(format!("{what}: there is no account {name:?}"));
    }
}

fn pins(what: &str, pins: &[String], errors: &mut Vec<String>) {
    for pin in pins {
        if pin.len() != 64 || !pin.bytes().all(|b| b.is_ascii_hexdigit()) {
            errors.push(format!("{what}: {pin:?} in tls.pinned_certs is no SHA-256 in hexadecimal"));
        }
    }
}

fn check_remote(remote: &RemoteConfig, errors: &mut Vec<String>) {
    let what = format!("[[leaf.remote]] {:?}", remote.name);
    if remote.urls.is_empty() {
        errors.push(format!("{what}: urls is empty; name at least one, such as \"tls://hub.example.com:7422\""));
    }
    for url in &remote.urls {
        if !url.split_once("://").is_some_and(|(scheme, host)| URL_SCHEMES.contains(&scheme) && !host.is_empty()) {
            let url = url.rsplit('@').next().unwrap_or(url);
            errors.push(format!("{what}: url {url:?} must begin with {}://", URL_SCHEMES.join("://, ")));
        }
    }
    let websockets = remote.urls.iter().filter(|url| url.starts_with("ws")).count();
    if websockets != 0 && websockets != remote.urls.len() {
        errors.push(format!("{what}: urls has WebSocket and other URLs; use one kind"));
    }
    pins(&what, &remote.tls.pinned_certs, errors);
    limits::positive(&format!("{what} status_interval"), remote.status_interval, errors);
    if remote.status_bucket.as_ref().is_some_and(|name| !bucket(name)) {
        errors.push(format!("{what}: status_bucket is a name of letters, digits, '-' and '_'"));
    }
    subjects(&format!("{what} export"), &remote.export, errors);
    subjects(&format!("{what} import"), &remote.import, errors);
    subjects(&format!("{what} deny_export"), &remote.deny_export, errors);
    subjects(&format!("{what} deny_import"), &remote.deny_import, errors);
    certificates(&format!("{what} tls.ca_file"), remote.tls.ca_file.as_deref(), errors);
    certificates(&format!("{what} tls.cert_file"), remote.tls.cert_file.as_deref(), errors);
    key(&format!("{what} tls.key_file"), remote.tls.key_file.as_deref(), errors);
    readable(&format!("{what} creds"), remote.creds.as_deref(), errors);
    if remote.tls.cert_file.is_some() != remote.tls.key_file.is_some() {
        errors.push(format!("{what}: tls.cert_file and tls.key_file go together"));
    }
    let kinds = [remote.user.is_some(), remote.token.is_some(), remote.nkey.is_some(), remote.creds.is_some()];
    if kinds.iter().filter(|k| **k).count() > 1 {
        errors.push(format!("{what}: only one of user, token, nkey and creds can be used"));
    }
    if remote.user.is_some() != remote.password.is_some() {
        errors.push(format!("{what}: user and password go together"));
    }
    remote.ping_interval.iter().for_each(|i| limits::positive(&format!("{what} ping_interval"), *i, errors));
    limits::positive(&format!("{what} dial_timeout"), remote.dial_timeout, errors);
    limits::positive(&format!("{what} first_info_timeout"), remote.first_info_timeout, errors);
    limits::positive(&format!("{what} reconnect.min"), remote.reconnect.min, errors);
    if remote.reconnect.min > remote.reconnect.max {
        errors.push(format!("{what}: reconnect.min is longer than reconnect.max"));
    }
}

fn check_listen(listen: &ListenConfig, errors: &mut Vec<String>) {
    if let Some(tls) = &listen.tls {
        certificates("[leaf.listen] tls.cert_file", Some(&tls.cert_file), errors);
        key("[leaf.listen] tls.key_file", Some(&tls.key_file), errors);
        certificates("[leaf.listen] tls.ca_file", tls.ca_file.as_deref(), errors);
        pins("[leaf.listen]", &tls.pinned_certs, errors);
        if !tls.pinned_certs.is_empty() && tls.ca_file.is_none() {
            errors
                .push("[leaf.listen]: tls.pinned_certs needs tls.ca_file, as leafs show no certificate without".into());
        }
    }
    if listen.nkey.is_some() && !listen.users.is_empty() {
        errors.push("[leaf.listen]: nkey and users cannot be used together".into());
    }
    if listen.nkey.as_ref().is_some_and(|key| !key.starts_with('U') || nkeys::KeyPair::from_public_key(key).is_err()) {
        errors.push("[leaf.listen]: nkey is not the public nkey of a user".into());
    }
    for (at, user) in listen.users.iter().enumerate() {
        let what = format!("[leaf.listen] user {:?}", user.user);
        if listen.users[..at].iter().any(|other| other.user == user.user) {
            errors.push(format!("{what} is there twice"));
        }
        subjects(&format!("{what} publish"), user.publish.iter().flatten(), errors);
        subjects(&format!("{what} subscribe"), user.subscribe.iter().flatten(), errors);
    }
}
