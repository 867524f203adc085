//! Whether an account's JWT fits together and keeps to what the operator allows (nats-io/jwt `account_claims.go`,
//! `Validate`). nats-server knows no account whose JWT does not.

use super::Claims;
use super::claims::{AccountClaims, JetStreamClaims, UNLIMITED};
use super::sharing::{ActivationClaims, ExportClaims, ImportClaims, Shared};
use crate::auth::nkey;
use crate::subject::{is_literal, is_subset, is_valid};
use nkeys::KeyPairType;

impl Claims<AccountClaims> {
    /// Checks it by itself, time left aside.
    ///
    /// # Errors
    /// What is wrong with it, in the words of nats-io/jwt.
    pub fn validate(&self) -> Result<(), String> {
        let nats = &self.nats;
        nats.exports.iter().try_for_each(export)?;
        contained(&nats.exports, Shared::Stream)?;
        contained(&nats.exports, Shared::Service)?;
        nats.imports.iter().try_for_each(|one| import(one, &self.subject))?;
        for (source, destinations) in &nats.mappings {
            let everywhere = destinations.iter().filter(|to| to.cluster.is_empty());
            if everywhere.map(|to| u32::from(to.weight())).sum::<u32>() > 100 {
                return Err(format!("Mapping {source:?} exceeds 100% among all of it's weighted to mappings"));
            }
        }
        let limits = &nats.limits;
        if !limits.tiered_limits.is_empty() && limits.jetstream != JetStreamClaims::default() {
            return Err("JetStream Limits and tiered JetStream Limits are mutually exclusive".into());
        }
        let within = |limit: i64, count: usize| limit == UNLIMITED || i64::try_from(count).is_ok_and(|c| c <= limit);
        if !within(limits.imports, nats.imports.len()) {
            return Err("the account contains more imports than allowed by the operator".into());
        }
        if !within(limits.exports, nats.exports.len()) {
            return Err("the account contains more exports than allowed by the operator".into());
        }
        if limits.exports != UNLIMITED && !limits.wildcards && nats.exports.iter().any(|e| !is_literal(&e.subject)) {
            return Err("the account contains wildcard exports that are not allowed by the operator".into());
        }
        self.authorization()
    }

    fn authorization(&self) -> Result<(), String> {
        let own = &self.nats.authorization;
        if !own.allowed_accounts.is_empty() && own.auth_users.is_empty() {
            return Err("External authorization cannot have accounts without users specified".into());
        }
        if let Some(user) = own.auth_users.iter().find(|user| !nkey::is_public(user, KeyPairType::User)) {
            return Err(format!("AuthUser {user:?} is not a valid user public key"));
        }
        let any = own.allowed_accounts.iter().any(|account| account == "*");
        if any && own.allowed_accounts.len() > 1 {
            return Err("AllowedAccounts can only be a list of accounts or \"*\"".into());
        }
        match own.allowed_accounts.iter().find(|key| !any && !nkey::is_public(key, KeyPairType::Account)) {
            Some(key) => Err(format!("Account {key:?} is not a valid account public key")),
            None => Ok(()),
        }
    }
}

fn export(export: &ExportClaims) -> Result<(), String> {
    let ExportClaims { subject, kind, response_type, response_threshold, .. } = export;
    if !is_valid(subject) {
        return Err(format!("export subject {subject:?} is not valid"));
    }
    let known = matches!(&**response_type, "" | "Singleton" | "Stream" | "Chunked");
    match kind {
        Shared::Service if !known => return Err(format!("invalid response type for service: {response_type:?}")),
        Shared::Stream if !response_type.is_empty() => {
            return Err(format!("invalid response type for stream: {response_type:?}"));
        }
        Shared::Stream if *response_threshold > 0 => return Err("response threshold only valid for services".into()),
        _ if *response_threshold < 0 => return Err("negative response threshold is invalid".into()),
        _ => {}
    }
    let position = export.account_token_position;
    if position > 0 && subject.split('.').nth(position - 1) != Some("*") {
        return Err(format!("Account Token Position {position} must match a * in: {subject}"));
    }
    Ok(())
}

/// No export of a kind lies within another.
fn contained(exports: &[ExportClaims], kind: Shared) -> Result<(), String> {
    let subjects: Vec<&str> = exports.iter().filter(|e| e.kind == kind).map(|e| &*e.subject).collect();
    for (at, inner) in subjects.iter().enumerate() {
        for outer in subjects.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, outer)| outer) {
            if is_subset(inner, outer) {
                return Err(format!("export subject {outer:?} already exports {inner:?}"));
            }
        }
    }
    Ok(())
}

fn import(import: &ImportClaims, importer: &str) -> Result<(), String> {
    let subject = &import.subject;
    if import.account.is_empty() {
        return Err("account to import from is not specified".into());
    }
    if !is_valid(subject) {
        return Err(format!("import subject {subject:?} is not valid"));
    }
    if !import.local_subject.is_empty() && !import.to.is_empty() {
        return Err("Local Subject replaces To".into());
    }
    if import.share && import.kind != Shared::Service {
        return Err(format!("sharing information (for latency tracking) is only valid for services: {subject:?}"));
    }
    if import.token.is_empty() {
        return Ok(());
    }
    let token = Claims::<ActivationClaims>::decode(&import.token);
    let token = token.map_err(|_| format!("import {subject:?} contains an invalid activation token"))?;
    if token.issuer != import.account && token.nats.issuer_account != import.account {
        return Err(format!("activation token doesn't match account for import {subject:?}"));
    }
    if token.subject != importer {
        return Err(format!("activation token doesn't match account it is being included in, {subject:?}"));
    }
    if token.nats.kind != import.kind {
        return Err("mismatch between token import type and type of import".into());
    }
    if !is_subset(import.there(), &token.nats.subject) {
        return Err(format!(
            "activation token import subject {:?} doesn't match import {subject:?}",
            token.nats.subject
        ));
    }
    Ok(())
}
